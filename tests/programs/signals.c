/* Signals in every state: signals
 *
 * Handlers and their flags and masks; signals that wait (for a thread, for the process, real-time with values, in
 * order); ignored ones; a handler that is running on an alternate stack, with a second one on top of it, while the
 * checkpoint is taken; an alternate stack with SS_AUTODISARM; a thread in sigsuspend whose real mask is another. */
#include "snapshot.h"

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

static volatile int outer_done, inner_done, inner_entered, suspended_done;
static char *alternate, *disarmed;
enum { STACK = 65536 };

static int on(const void *stack, const void *address)
{
    return (char *)address >= (char *)stack && (char *)address < (char *)stack + STACK;
}

static void inner(int signal, siginfo_t *info, void *context)
{
    volatile uint64_t here[16];
    fill((void *)here, sizeof here, 31);
    inner_entered = 1;
    wait_go();
    EXPECT(wrong((void *)here, sizeof here, 31) == -1, "the frame of the running handler changed");
    EXPECT(on(alternate, (void *)here), "the inner handler left the alternate stack");
    EXPECT(info->si_signo == SIGUSR2 && info->si_code == SI_TKILL, "inner handler: signal %d code %d", info->si_signo,
           info->si_code);
    stack_t s;
    EXPECT(sigaltstack(NULL, &s) == 0 && (s.ss_flags & SS_ONSTACK), "inner handler: the kernel does not see the stack");
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    EXPECT(sigismember(&mask, SIGUSR2) && sigismember(&mask, SIGUSR1) && sigismember(&mask, SIGWINCH) &&
               !sigismember(&mask, SIGTERM),
           "inner handler: the mask is wrong");
    inner_done = 1;
}

static void outer(int signal, siginfo_t *info, void *context)
{
    volatile uint64_t here[16];
    fill((void *)here, sizeof here, 30);
    EXPECT(info->si_value.sival_int == 55 && info->si_code == SI_QUEUE, "outer handler: value %d code %d",
           info->si_value.sival_int, info->si_code);
    pthread_kill(pthread_self(), SIGUSR2);
    EXPECT(inner_done, "the inner handler did not run to its end");
    EXPECT(wrong((void *)here, sizeof here, 30) == -1, "the frame of the interrupted handler changed");
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    EXPECT(!sigismember(&mask, SIGUSR2) && sigismember(&mask, SIGUSR1), "outer handler: the mask is wrong");
    outer_done = 1;
}

static void *handling(void *arg)
{
    stack_t s = {.ss_sp = alternate, .ss_size = STACK};
    MUST(sigaltstack(&s, NULL) == 0);
    pthread_sigqueue(pthread_self(), SIGUSR1, (union sigval){.sival_int = 55});
    EXPECT(outer_done, "the outer handler did not run to its end");
    int local;
    EXPECT(!on(alternate, &local) && sigaltstack(NULL, &s) == 0 && s.ss_flags == 0 && s.ss_sp == alternate &&
               s.ss_size == STACK,
           "the alternate stack after the handlers: %p %zu flags %x", s.ss_sp, s.ss_size, s.ss_flags);
    return NULL;
}

static void suspended_handler(int signal)
{
    suspended_done++;
}

static void *suspended(void *arg)
{
    stack_t s = {.ss_sp = disarmed, .ss_size = STACK, .ss_flags = SS_AUTODISARM};
    MUST(sigaltstack(&s, NULL) == 0);
    sigset_t mask, during, after;
    sigemptyset(&mask);
    sigaddset(&mask, SIGHUP);
    sigaddset(&mask, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &mask, NULL);
    sigfillset(&during);
    sigdelset(&during, SIGHUP);
    *(volatile int *)arg = own_tid();
    int r = sigsuspend(&during);
    EXPECT(r == -1 && errno == EINTR && suspended_done == 1, "sigsuspend returned %d, handler ran %d times", r,
           suspended_done);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    EXPECT(sigismember(&after, SIGHUP) && sigismember(&after, SIGALRM) && !sigismember(&after, SIGTERM),
           "the mask after sigsuspend is wrong");
    EXPECT(sigaltstack(NULL, &s) == 0 && s.ss_sp == disarmed && (s.ss_flags & SS_AUTODISARM),
           "the alternate stack lost SS_AUTODISARM: flags %x", s.ss_flags);
    return NULL;
}

/* The waiting signals of the main thread, collected with sigtimedwait after the restart. */
static void expect_waiting(int signal, int code, int value, const char *what)
{
    sigset_t set;
    siginfo_t info = {0};
    struct timespec none = {0, 0};
    sigemptyset(&set);
    sigaddset(&set, signal);
    int got = sigtimedwait(&set, &info, &none);
    EXPECT(got == signal, "%s: signal %d does not wait any more: %s", what, signal, strerror(errno));
    if (got != signal)
        return;
    EXPECT(info.si_code == code, "%s: code %d instead of %d", what, info.si_code, code);
    EXPECT(code != SI_QUEUE || info.si_value.sival_int == value, "%s: value %d instead of %d", what,
           info.si_value.sival_int, value);
    EXPECT(info.si_pid == getpid() && info.si_uid == getuid(), "%s: sender %d, user %d", what, (int)info.si_pid,
           (int)info.si_uid);
}

static void add_actions(struct snapshot *s)
{
    for (int k = 1; k < 65; k++) {
        struct sigaction a;
        if (k == SIGKILL || k == SIGSTOP || sigaction(k, NULL, &a))
            continue;
        uint64_t mask = 0;
        for (int m = 1; m < 64; m++)
            mask |= (uint64_t)(sigismember(&a.sa_mask, m) == 1) << m;
        add(s, "action %d: handler %p flags %x mask %llx\n", k, (void *)a.sa_handler, a.sa_flags,
            (unsigned long long)mask);
    }
}

int main(void)
{
    alternate = aligned_alloc(4096, STACK);
    disarmed = aligned_alloc(4096, STACK);
    struct sigaction a = {.sa_sigaction = outer, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    sigemptyset(&a.sa_mask);
    MUST(sigaction(SIGUSR1, &a, NULL) == 0);
    a.sa_sigaction = inner;
    sigaddset(&a.sa_mask, SIGWINCH);
    MUST(sigaction(SIGUSR2, &a, NULL) == 0);
    struct sigaction b = {.sa_handler = suspended_handler, .sa_flags = SA_ONSTACK | SA_NODEFER};
    MUST(sigaction(SIGHUP, &b, NULL) == 0);
    b.sa_flags = SA_RESETHAND;
    MUST(sigaction(SIGVTALRM, &b, NULL) == 0);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);

    /* What waits for the process is blocked in every thread. */
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGRTMIN + 1);
    sigaddset(&blocked, SIGINT);
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    pthread_t handler_thread, suspended_thread;
    int suspended_tid = 0;
    MUST(pthread_create(&handler_thread, NULL, handling, NULL) == 0);
    MUST(pthread_create(&suspended_thread, NULL, suspended, &suspended_tid) == 0);
    while (!inner_entered || !*(volatile int *)&suspended_tid)
        rest(0.01);
    rest(0.1);

    sigemptyset(&blocked);
    sigaddset(&blocked, SIGRTMIN);
    sigaddset(&blocked, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    /* For this thread: three of the same number, in order; one standard signal. */
    for (int k = 0; k < 3; k++)
        MUST(pthread_sigqueue(pthread_self(), SIGRTMIN, (union sigval){.sival_int = 900 + k}) == 0);
    MUST(pthread_kill(pthread_self(), SIGTERM) == 0);
    /* For the process: two of the same number, one standard signal. */
    for (int k = 0; k < 2; k++)
        MUST(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = 700 + k}) == 0);
    MUST(kill(getpid(), SIGINT) == 0);
    struct snapshot before = new_snapshot();
    add_actions(&before);
    ready();
    /* This thread waits with these signals blocked, so they stay where they are. */
    wait_go();

    struct snapshot after = new_snapshot();
    add_actions(&after);
    compare("signal actions", before, after);
    for (int k = 0; k < 3; k++)
        expect_waiting(SIGRTMIN, SI_QUEUE, 900 + k, "real-time signal for the thread");
    /* The C library shows SI_TKILL as SI_USER. */
    expect_waiting(SIGTERM, SI_USER, 0, "standard signal for the thread");
    for (int k = 0; k < 2; k++)
        expect_waiting(SIGRTMIN + 1, SI_QUEUE, 700 + k, "real-time signal for the process");
    expect_waiting(SIGINT, SI_USER, 0, "standard signal for the process");
    sigset_t left;
    sigpending(&left);
    for (int k = 1; k < 64; k++)
        EXPECT(sigismember(&left, k) != 1, "signal %d waits, and nobody sent it", k);
    pthread_kill(suspended_thread, SIGHUP);
    pthread_join(handler_thread, NULL);
    pthread_join(suspended_thread, NULL);
    EXPECT(outer_done && inner_done && suspended_done == 1, "not every handler ran once");
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    EXPECT(sigismember(&mask, SIGRTMIN + 1) && sigismember(&mask, SIGINT) && !sigismember(&mask, SIGUSR1),
           "the main thread's mask is wrong");
    return verdict();
}
