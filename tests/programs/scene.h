/* What all test programs share: the handshake with the scene, and the verdict.
 *
 * A program sets itself up, prints `ready`, and lives until the scene creates the file `go` in the current folder.
 * Then it checks itself: every fault is one line `FAIL ...`, the last line is `PASS` or `FAILED n`, and the exit
 * status is 0 or 1. The scene freezes, checkpoints, kills and restarts it in between; the program is not told. */
#ifndef SCENE_H
#define SCENE_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static atomic_int faults;

/* One line by one write, so that lines of several threads do not mix. */
static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    char line[1024];
    va_list list;
    va_start(list, format);
    int n = vsnprintf(line, sizeof line - 1, format, list);
    va_end(list);
    if (n > (int)sizeof line - 2)
        n = sizeof line - 2;
    line[n++] = '\n';
    for (int at = 0; at < n;) {
        ssize_t w = write(1, line + at, n - at);
        if (w <= 0)
            break;
        at += w;
    }
}

/* Counts a fault and says where. Only the first hundred are printed. */
#define FAIL(...)                                                                                                      \
    do {                                                                                                               \
        char text_[512];                                                                                               \
        snprintf(text_, sizeof text_, __VA_ARGS__);                                                                    \
        if (atomic_fetch_add(&faults, 1) < 100)                                                                        \
            say("FAIL %s:%d %s", __FILE__, __LINE__, text_);                                                           \
    } while (0)

#define EXPECT(condition, ...)                                                                                         \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            FAIL(__VA_ARGS__);                                                                                         \
    } while (0)

/* For set-up: what does not work here makes the scene invalid, not failed by the checkpoint. */
#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            say("FAIL %s:%d set-up: %s: %s", __FILE__, __LINE__, #condition, strerror(errno));                         \
            _exit(3);                                                                                                  \
        }                                                                                                              \
    } while (0)

static inline double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* Sleeps without caring about signals. */
static inline void rest(double seconds)
{
    struct timespec t = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    while (nanosleep(&t, &t) == -1 && errno == EINTR)
        ;
}

static inline void ready(void)
{
    say("ready");
}

static inline int is_go(void)
{
    return access("go", F_OK) == 0;
}

static inline void wait_go(void)
{
    while (!is_go())
        rest(0.05);
}

static inline int verdict(void)
{
    int n = atomic_load(&faults);
    if (n)
        say("FAILED %d", n);
    else
        say("PASS");
    return n ? 1 : 0;
}

static inline int own_tid(void)
{
    return (int)syscall(SYS_gettid);
}

/* Reproducible contents: the k-th word of the stream `seed`. */
static inline uint64_t mix(uint64_t seed, uint64_t k)
{
    uint64_t z = seed * 0x9e3779b97f4a7c15u + k * 0xbf58476d1ce4e5b9u + 1;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline void fill(void *at, size_t bytes, uint64_t seed)
{
    uint64_t *w = at;
    for (size_t k = 0; k < bytes / 8; k++)
        w[k] = mix(seed, k);
}

/* Index of the first wrong word, or -1. */
static inline long wrong(const void *at, size_t bytes, uint64_t seed)
{
    const uint64_t *w = at;
    for (size_t k = 0; k < bytes / 8; k++)
        if (w[k] != mix(seed, k))
            return (long)k;
    return -1;
}

/* Whole text of a small file, in `buffer`; returns its length or -1. */
static inline long slurp(const char *path, char *buffer, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    size_t n = 0;
    ssize_t r;
    while (n + 1 < size && (r = read(fd, buffer + n, size - 1 - n)) > 0)
        n += r;
    close(fd);
    buffer[n] = 0;
    return (long)n;
}
#endif
