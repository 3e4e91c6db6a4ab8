/* Small processes with one kind of state each, for images that are kept (also static): small KIND [COUNT]
 *
 * plain | threads COUNT | pipes | deleted | signals | avx | memory | same
 * It says `ready` when the state is there and waits for `go`; nothing is checked but that it gets there, except by
 * `deleted`, `avx` and `same`, which look at what they made. */
#include "scene.h"
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { PAGE = 4096 };

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static void *map(size_t bytes, int flags)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    MUST(at != MAP_FAILED);
    return at;
}

static void text(char *at, size_t bytes)
{
    for (size_t k = 0, line = 0; k + 40 < bytes; line++)
        k += (size_t)sprintf(at + k, "line %zu of a page of text\n", line);
}

static void plain(void)
{
    char *note = map(2 * PAGE, MAP_PRIVATE);
    text(note, 2 * PAGE);
    prctl(PR_SET_NAME, "plain \033[31m");
}

/* Threads that wait in different calls. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t set_up;

static void *waiting(void *arg)
{
    int n = (int)(intptr_t)arg;
    char name[16];
    snprintf(name, sizeof name, "worker-%02d", n);
    prctl(PR_SET_NAME, name);
    pthread_barrier_wait(&set_up);
    switch (n % 4) {
    case 0:
        for (;;)
            pause();
    case 1:
        for (;;)
            rest(1000);
    case 2:
        for (;;)
            poll(NULL, 0, -1);
    default:
        pthread_mutex_lock(&lock);
        for (;;)
            pthread_cond_wait(&never, &lock);
    }
    return NULL;
}

static void threads(int count)
{
    pthread_attr_t attr;
    MUST(pthread_barrier_init(&set_up, NULL, (unsigned)count) == 0);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 64 << 10);
    for (int n = 1; n < count; n++) {
        pthread_t t;
        MUST(pthread_create(&t, &attr, waiting, (void *)(intptr_t)n) == 0);
    }
    pthread_barrier_wait(&set_up);
    rest(0.3);
}

static void pipes(void)
{
    int a[2], packets[2];
    char c[4];
    MUST(pipe(a) == 0 && write(a[1], "gone unread bytes", 17) == 17 && read(a[0], c, 4) == 4);
    MUST(fcntl(a[1], F_SETPIPE_SZ, 16 * PAGE) == 16 * PAGE);
    MUST(pipe2(packets, O_DIRECT | O_NONBLOCK | O_CLOEXEC) == 0);
    MUST(write(packets[1], "one", 3) == 3 && write(packets[1], "two\n", 4) == 4);
    MUST(dup2(a[0], 40) == 40);
    unlink("fifo");
    MUST(mkfifo("fifo", 0600) == 0);
    int fifo = open("fifo", O_RDWR);
    MUST(fifo >= 0 && write(fifo, "in the fifo", 11) == 11);
}

static int removed;

static void deleted(void)
{
    removed = open("removed", O_RDWR | O_CREAT | O_TRUNC, 0640);
    int log = open("kept.txt", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644);
    char data[3 * PAGE];
    text(data, sizeof data);
    MUST(removed >= 0 && log >= 0 && write(log, "kept\n", 5) == 5);
    MUST(pwrite(removed, data, sizeof data, 0) == sizeof data);
    MUST(pwrite(removed, "behind a hole", 13, 20 * PAGE) == 13);
    MUST(pwrite(removed, data, PAGE, 24 * PAGE) == PAGE && pwrite(removed, data, PAGE, 25 * PAGE) == PAGE);
    MUST(unlink("removed") == 0 && lseek(removed, 5, SEEK_SET) == 5 && dup(removed) >= 0);
}

static void check_deleted(void)
{
    char c[16] = "";
    EXPECT(lseek(removed, 0, SEEK_CUR) == 5, "the offset of the removed file changed");
    EXPECT(pread(removed, c, 13, 20 * PAGE) == 13 && !strcmp(c, "behind a hole"), "the removed file lost its end");
    char first[PAGE], same[PAGE];
    EXPECT(pread(removed, first, PAGE, 0) == PAGE && !memcmp(first, "line 0 ", 7), "the first page is wrong");
    for (int k = 24; k < 26; k++)
        EXPECT(pread(removed, same, PAGE, k * PAGE) == PAGE && !memcmp(first, same, PAGE), "page %d is wrong", k);
    EXPECT(pread(removed, c, 4, 10 * PAGE) == 4 && !c[0], "the hole is none");
}

static void on_signal(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)info, (void)context;
}

static void signals(void)
{
    static char stack[16 * 1024];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    sigset_t set;
    MUST(sigaltstack(&alternate, NULL) == 0);
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGTERM);
    MUST(sigaction(SIGUSR1, &action, NULL) == 0 && sigaction(SIGRTMIN + 3, &action, NULL) == 0);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGRTMIN + 3);
    MUST(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    MUST(kill(getpid(), SIGUSR2) == 0);
    for (int n = 1; n <= 3; n++)
        MUST(sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = 1000 + n}) == 0);
    MUST(pthread_kill(pthread_self(), SIGUSR1) == 0);
}

/* Two threads that hold patterns in all vector registers while they spin. */
static atomic_int spinning;
static volatile int stop_spinning;

__attribute__((target("avx"))) static void *spin(void *arg)
{
    uint64_t pattern[4], seen[2][4];
    unsigned mxcsr = arg ? 0x7f80 : 0x1f80; /* one thread rounds to zero */
    for (int k = 0; k < 4; k++)
        pattern[k] = mix(arg ? 91 : 90, (uint64_t)k);
    __asm__ volatile("ldmxcsr %0\n\tfldpi\n\tfldl2e" ::"m"(mxcsr));
    __asm__ volatile("vmovdqu %0, %%ymm7\n\tvmovdqu %0, %%ymm15" ::"m"(pattern) : "xmm7", "xmm15");
    atomic_fetch_add(&spinning, 1);
    while (!stop_spinning)
        __asm__ volatile("pause");
    /* Both at once: what is called for the comparison may use any register. */
    __asm__ volatile("vmovdqu %%ymm7, %0\n\tvmovdqu %%ymm15, %1" : "=m"(seen[0]), "=m"(seen[1]));
    EXPECT(!memcmp(seen[0], pattern, sizeof pattern), "ymm7 changed");
    EXPECT(!memcmp(seen[1], pattern, sizeof pattern), "ymm15 changed");
    return NULL;
}

static pthread_t spinners[2];

static void avx(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx")) {
        say("skipped: this processor has no AVX");
        exit(0);
    }
    for (int n = 0; n < 2; n++)
        MUST(pthread_create(&spinners[n], NULL, spin, n ? &spinners : NULL) == 0);
    while (atomic_load(&spinning) < 2)
        rest(0.01);
}

static void check_avx(void)
{
    stop_spinning = 1;
    for (int n = 0; n < 2; n++)
        pthread_join(spinners[n], NULL);
}

static void memory(void)
{
    char *guarded = map(8 * PAGE, MAP_PRIVATE), *named = map(3 * PAGE, MAP_PRIVATE), *fixed = map(2 * PAGE, MAP_PRIVATE);
    text(guarded, 8 * PAGE);
    madvise(guarded + 4 * PAGE, 2 * PAGE, MADV_GUARD_INSTALL);
    text(named, 3 * PAGE);
    prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, named, 3 * PAGE, "scene memory");
    text(fixed, 2 * PAGE);
    MUST(mprotect(fixed, 2 * PAGE, PROT_READ) == 0);
#ifdef SYS_mseal
    syscall(SYS_mseal, fixed, 2 * PAGE, 0);
#endif
    char *huge = map(4 << 20, MAP_PRIVATE);
    huge = (char *)(((uintptr_t)huge + (2 << 20) - 1) & ~(uintptr_t)((2 << 20) - 1));
    madvise(huge, 2 << 20, MADV_HUGEPAGE);
    strcpy(huge, "a huge page");
    strcpy(huge + (1 << 20), "its middle");
    char *none = map(4 * PAGE, MAP_PRIVATE), *locked = map(PAGE, MAP_PRIVATE);
    strcpy(none, "hidden");
    MUST(mprotect(none, 4 * PAGE, PROT_NONE) == 0);
    strcpy(locked, "locked");
    MUST(mlock(locked, PAGE) == 0);
    char *shared = map(4 * PAGE, MAP_SHARED);
    strcpy(shared + PAGE, "shared");
    MUST(mremap(shared, 0, 4 * PAGE, MREMAP_MAYMOVE) != MAP_FAILED);
    int fd = open("mapped", O_RDWR | O_CREAT | O_TRUNC, 0644);
    MUST(fd >= 0 && ftruncate(fd, 4 * PAGE) == 0);
    char *file = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    MUST(file != MAP_FAILED);
    strcpy(file + 2 * PAGE, "written privately");
    close(fd);
    volatile char *zero = map(16 * PAGE, MAP_PRIVATE);
    for (int k = 0; k < 16; k++)
        zero[k * PAGE] = 0;
}

/* Many pages of few kinds: what compression and deduplication are good for. */
enum { SAME = 512 };
static char *same_private, *same_shared;

static void same(void)
{
    same_private = map(SAME * PAGE, MAP_PRIVATE);
    same_shared = map(64 * PAGE, MAP_SHARED);
    for (int k = 0; k < SAME; k++)
        fill(same_private + k * PAGE, PAGE, (uint64_t)(k / 300));
    for (int k = 0; k < 64; k++)
        fill(same_shared + k * PAGE, PAGE, (uint64_t)(200 + k % 2));
}

static void check_same(void)
{
    for (int k = 0; k < SAME; k++)
        EXPECT(wrong(same_private + k * PAGE, PAGE, (uint64_t)(k / 300)) == -1, "private page %d is wrong", k);
    for (int k = 0; k < 64; k++)
        EXPECT(wrong(same_shared + k * PAGE, PAGE, (uint64_t)(200 + k % 2)) == -1, "shared page %d is wrong", k);
}

int main(int argc, char **argv)
{
    const char *kind = argc > 1 ? argv[1] : "plain";
    if (!strcmp(kind, "threads"))
        threads(argc > 2 ? atoi(argv[2]) : 32);
    else if (!strcmp(kind, "pipes"))
        pipes();
    else if (!strcmp(kind, "deleted"))
        deleted();
    else if (!strcmp(kind, "signals"))
        signals();
    else if (!strcmp(kind, "avx"))
        avx();
    else if (!strcmp(kind, "memory"))
        memory();
    else if (!strcmp(kind, "same"))
        same();
    else
        plain();
    ready();
    wait_go();
    if (removed)
        check_deleted();
    if (spinners[0])
        check_avx();
    if (same_private)
        check_same();
    /* Threads that wait for ever end with the process. */
    _exit(verdict());
}
