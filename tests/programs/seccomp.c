/* System calls that threads leave themselves: seccomp layers | own | strict | sleep | family | headless | listener.
 * layers: threads with one filter, two, and one that is as long as filters get, under one that all have, and which one of
 * them can impose another filter on. own: of three threads one has none, and two have a copy of the same. strict: a thread that
 * may only read, write and end. sleep: one that sleeps and is killed for any call that it does not need, restart_syscall(2) above
 * all. family: a parent and its child, which has one more. headless: the main thread has ended. */
#include "scene.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define LONGEST 4096
#define CALL(nr) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1)
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)
#define LOAD BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))

static long install(struct sock_filter *filter, size_t count, unsigned flags)
{
    struct sock_fprog program = {(unsigned short)count, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return -1;
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

/* From here on this call gives this error. */
static long deny(int nr, int error, unsigned flags)
{
    struct sock_filter filter[] = {LOAD, CALL(nr), RETURN(SECCOMP_RET_ERRNO | error), RETURN(SECCOMP_RET_ALLOW)};
    return install(filter, 4, flags);
}

/* The same by a program of the greatest length. */
static long deny_at_length(int nr, int error)
{
    struct sock_filter *filter = calloc(LONGEST, sizeof *filter);
    MUST(filter);
    for (int k = 0; k < LONGEST - 4; k++)
        filter[k] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_IMM, (unsigned)k);
    struct sock_filter end[] = {LOAD, CALL(nr), RETURN(SECCOMP_RET_ERRNO | error), RETURN(SECCOMP_RET_ALLOW)};
    memcpy(filter + LONGEST - 4, end, sizeof end);
    long r = install(filter, LONGEST, 0);
    free(filter);
    return r;
}

/* What this call gives: 0 or an error. */
static int gives(int nr)
{
    long r = syscall(nr);
    return r < 0 ? errno : 0;
}

/* getuid, getgid and geteuid give these errors, or 0. */
static void expect(const char *who, int uid, int gid, int euid)
{
    int is[] = {gives(SYS_getuid), gives(SYS_getgid), gives(SYS_geteuid)};
    EXPECT(is[0] == uid && is[1] == gid && is[2] == euid, "%s: %d %d %d, not %d %d %d", who, is[0], is[1], is[2], uid, gid, euid);
}

static pthread_barrier_t made, checked, imposed;

static void *plain(void *unused)
{
    pthread_barrier_wait(&made);
    wait_go();
    expect("thread with the filter of all", 5, 0, 0);
    pthread_barrier_wait(&checked);
    pthread_barrier_wait(&imposed);
    expect("thread with a filter from another", 5, 0, 9);
    return unused;
}

static void *longer(void *unused)
{
    MUST(deny_at_length(SYS_getgid, 7) == 0);
    expect("thread with a long filter, before", 5, 7, 0);
    pthread_barrier_wait(&made);
    wait_go();
    expect("thread with a long filter", 5, 7, 0);
    pthread_barrier_wait(&checked);
    return unused;
}

static void *doubled(void *unused)
{
    MUST(deny(SYS_getgid, 11, SECCOMP_FILTER_FLAG_LOG) == 0);
    MUST(deny(SYS_geteuid, 12, 0) == 0);
    expect("thread with two filters, before", 5, 11, 12);
    pthread_barrier_wait(&made);
    wait_go();
    expect("thread with two filters", 5, 11, 12);
    pthread_barrier_wait(&checked);
    return unused;
}

static int layers(void)
{
    pthread_t a, b, c;
    pthread_barrier_init(&made, NULL, 4);
    pthread_barrier_init(&checked, NULL, 4);
    pthread_barrier_init(&imposed, NULL, 2);
    MUST(deny(SYS_getuid, 5, 0) == 0);
    MUST(pthread_create(&a, NULL, plain, NULL) == 0);
    MUST(pthread_create(&b, NULL, longer, NULL) == 0);
    MUST(pthread_create(&c, NULL, doubled, NULL) == 0);
    pthread_barrier_wait(&made);
    ready();
    wait_go();
    expect("main thread", 5, 0, 0);
    pthread_barrier_wait(&checked);
    pthread_join(b, NULL);
    pthread_join(c, NULL);
    EXPECT(deny(SYS_geteuid, 9, SECCOMP_FILTER_FLAG_TSYNC) == 0, "a filter cannot be imposed: %s", strerror(errno));
    expect("main thread, with one more", 5, 0, 9);
    pthread_barrier_wait(&imposed);
    pthread_join(a, NULL);
    return verdict();
}

static void *second(void *unused)
{
    pthread_barrier_wait(&made);
    wait_go();
    expect("thread of a confined thread", 6, 0, 0);
    return unused;
}

static void *first(void *unused)
{
    pthread_t inner;
    MUST(deny(SYS_getuid, 6, 0) == 0);
    MUST(pthread_create(&inner, NULL, second, NULL) == 0);
    pthread_barrier_wait(&made);
    wait_go();
    expect("confined thread", 6, 0, 0);
    pthread_join(inner, NULL);
    return unused;
}

static int own(void)
{
    pthread_t thread;
    pthread_barrier_init(&made, NULL, 3);
    MUST(pthread_create(&thread, NULL, first, NULL) == 0);
    pthread_barrier_wait(&made);
    ready();
    wait_go();
    expect("main thread", 0, 0, 0);
    pthread_join(thread, NULL);
    return verdict();
}

static int to[2], from[2], doomed[2];

static void *strict(void *unused)
{
    char c;
    MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
    while (syscall(SYS_read, to[0], &c, 1) == 1 && c != 'q') {
        c++;
        syscall(SYS_write, from[1], &c, 1);
    }
    syscall(SYS_exit, 0);
    return unused;
}

/* It ends at the first call but those three: nobody reads what it would say. */
static void *killed(void *unused)
{
    char c;
    MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
    syscall(SYS_read, doomed[0], &c, 1);
    syscall(SYS_getuid);
    syscall(SYS_write, from[1], "!", 1);
    syscall(SYS_exit, 0);
    return unused;
}

static int strictly(void)
{
    pthread_t a, b;
    char c = 0;
    MUST(pipe(to) == 0 && pipe(from) == 0 && pipe(doomed) == 0);
    MUST(pthread_create(&a, NULL, strict, NULL) == 0 && pthread_create(&b, NULL, killed, NULL) == 0);
    rest(0.2);
    ready();
    wait_go();
    for (char k = 'a'; k < 'e'; k++) {
        EXPECT(write(to[1], &k, 1) == 1 && read(from[0], &c, 1) == 1 && c == k + 1, "it answers %c to %c", c, k);
    }
    MUST(write(doomed[1], "x", 1) == 1);
    rest(0.3);
    MUST(write(to[1], "y", 1) == 1);
    EXPECT(read(from[0], &c, 1) == 1 && c == 'z', "a thread in strict mode has made another call and lives");
    MUST(write(to[1], "q", 1) == 1);
    pthread_join(a, NULL);
    expect("main thread", 0, 0, 0);
    return verdict();
}

/* Sleeps of all lengths, with nothing allowed but what is in this function. */
static int sleeper(void)
{
    static const int allowed[] = {SYS_clock_nanosleep, SYS_write, SYS_access, SYS_exit_group, SYS_clock_gettime};
    enum { COUNT = sizeof allowed / sizeof *allowed };
    struct sock_filter filter[COUNT + 3] = {LOAD};
    for (int k = 0; k < COUNT; k++)
        filter[k + 1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)allowed[k], (unsigned char)(COUNT - k), 0);
    filter[COUNT + 1] = (struct sock_filter)RETURN(SECCOMP_RET_KILL_PROCESS);
    filter[COUNT + 2] = (struct sock_filter)RETURN(SECCOMP_RET_ALLOW);
    MUST(install(filter, COUNT + 3, 0) == 0);
    ready();
    double begin = now(), slept = 0;
    do {
        struct timespec t = {1, 500000000};
        long r = syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &t, NULL);
        EXPECT(r == 0, "clock_nanosleep: %s", strerror(errno));
        slept += 1.5;
    } while (!is_go());
    double took = now() - begin;
    EXPECT(took >= slept, "%.1f s of sleep took %.1f s", slept, took);
    _exit(verdict());
}

static int family(void)
{
    MUST(deny(SYS_getuid, 5, 0) == 0);
    pid_t child = fork();
    MUST(child >= 0);
    if (child == 0) {
        MUST(deny(SYS_getgid, 7, 0) == 0);
        wait_go();
        expect("child", 5, 7, 0);
        _exit(atomic_load(&faults) != 0);
    }
    rest(0.2);
    ready();
    wait_go();
    expect("parent", 5, 0, 0);
    int status = -1;
    EXPECT(waitpid(child, &status, 0) == child && status == 0, "the child ended with %#x", status);
    return verdict();
}

static void *left(void *unused)
{
    rest(0.3);
    ready();
    wait_go();
    expect("thread that is left", 5, 0, 0);
    exit(verdict());
    return unused;
}

static int headless(void)
{
    pthread_t thread;
    MUST(deny(SYS_getuid, 5, 0) == 0);
    MUST(pthread_create(&thread, NULL, left, NULL) == 0);
    syscall(SYS_exit, 0);
    return 0;
}

static int listener(void)
{
    struct sock_filter filter[] = {LOAD, CALL(SYS_getuid), RETURN(SECCOMP_RET_USER_NOTIF), RETURN(SECCOMP_RET_ALLOW)};
    long fd = install(filter, 4, SECCOMP_FILTER_FLAG_NEW_LISTENER);
    MUST(fd >= 0);
    ready();
    wait_go();
    return verdict();
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(void);
    } modes[] = {{"layers", layers}, {"own", own},           {"strict", strictly},   {"sleep", sleeper},
                 {"family", family}, {"headless", headless}, {"listener", listener}};
    for (size_t k = 0; k < sizeof modes / sizeof *modes; k++)
        if (argc > 1 && !strcmp(argv[1], modes[k].name))
            return modes[k].run();
    MUST(!"mode");
    return 3;
}
