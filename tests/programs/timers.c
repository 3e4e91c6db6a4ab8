/* Timers of the process: timers states | flow | spent | cpu | due | ended | foreign
 *
 * states: alarm and POSIX timers of several kinds, far away, disarmed, absolute, to a thread, with ids that are kept;
 * flow: a periodic timer and an interval timer beat on; cpu: POSIX timers of CPU clocks
 * keep the CPU time left and expire; ended, foreign: those of a thread that has ended, of the parent. */
#include "scene.h"
#include <sys/time.h>

static timer_t make(int clock, int notify, int signo, int value, int tid)
{
    struct sigevent e = {.sigev_notify = notify, .sigev_signo = signo, .sigev_value.sival_int = value};
    e._sigev_un._tid = tid;
    int id = -1;
    MUST(syscall(SYS_timer_create, clock, &e, &id) == 0);
    return (timer_t)(long)id;
}

static void set(timer_t id, int flags, double value, double interval)
{
    struct itimerspec t = {{(time_t)interval, (long)((interval - (time_t)interval) * 1e9)},
                           {(time_t)value, (long)((value - (time_t)value) * 1e9)}};
    MUST(syscall(SYS_timer_settime, (int)(long)id, flags, &t, NULL) == 0);
}

static void expect_left(timer_t id, double least, double most, double interval, const char *what)
{
    struct itimerspec t;
    EXPECT(syscall(SYS_timer_gettime, (int)(long)id, &t) == 0, "%s: %s", what, strerror(errno));
    double left = t.it_value.tv_sec + t.it_value.tv_nsec / 1e9, every = t.it_interval.tv_sec + t.it_interval.tv_nsec / 1e9;
    EXPECT(left >= least && left <= most, "%s: %.3f s are left instead of %.0f to %.0f", what, left, least, most);
    EXPECT(every == interval, "%s: the interval is %.3f s", what, every);
}

static atomic_int beats, ticks, thread_value;
static atomic_long thread_tid;

static void on_beat(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)context;
    if (info->si_value.sival_int == 5)
        beats++;
}

static void on_tick(int signo)
{
    (void)signo;
    ticks++;
}

static void on_thread(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)context;
    thread_value = info->si_value.sival_int;
    thread_tid = syscall(SYS_gettid);
}

static void handle(int signo, void (*handler)(int, siginfo_t *, void *))
{
    struct sigaction a = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
    MUST(sigaction(signo, &a, NULL) == 0);
}

static atomic_int stop;
static atomic_long other;

static void *thread(void *unused)
{
    other = syscall(SYS_gettid);
    while (!stop)
        rest(0.01);
    return unused;
}

static int states(void)
{
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    pthread_t t;
    handle(SIGRTMIN + 2, on_thread);
    MUST(pthread_create(&t, NULL, thread, NULL) == 0);
    while (!other)
        rest(0.01);
    timer_t gone = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 1, 0);
    timer_t far = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 2, 0), off = make(CLOCK_BOOTTIME, SIGEV_SIGNAL, SIGUSR1, 3, 0);
    timer_t absolute = make(CLOCK_REALTIME, SIGEV_NONE, 0, 4, 0);
    timer_t to = make(CLOCK_MONOTONIC, SIGEV_SIGNAL | SIGEV_THREAD_ID, SIGRTMIN + 2, 42, (int)other);
    MUST(syscall(SYS_timer_delete, (int)(long)gone) == 0);
    set(far, 0, 5000, 3);
    set(absolute, TIMER_ABSTIME, wall.tv_sec + 4000.0, 0);
    set(to, 0, 2000, 0);
    MUST(alarm(3000) == 0);
    ready();
    wait_go();

    expect_left(far, 4000, 5000, 3, "far away");
    expect_left(off, 0, 0, 0, "disarmed");
    expect_left(absolute, 3000, 4000.5, 0, "absolute wall time");
    expect_left(to, 1000, 2000, 0, "to a thread");
    set(to, 0, 0.05, 0);
    for (int k = 0; k < 500 && !thread_tid; k++)
        rest(0.01);
    EXPECT(thread_value == 42 && thread_tid == other, "thread %ld was told %d instead of %ld", (long)thread_tid, thread_value, (long)other);
    struct itimerval left;
    EXPECT(getitimer(ITIMER_REAL, &left) == 0 && left.it_value.tv_sec > 2000 && left.it_value.tv_sec <= 3000,
           "%ld s are left of the alarm", (long)left.it_value.tv_sec);
    EXPECT(alarm(0) > 2000, "the alarm is not there");
    int again = -1;
    struct sigevent e = {.sigev_notify = SIGEV_NONE};
    EXPECT(syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &again) == 0 && again != (int)(long)far, "a new timer has the id %d", again);
    stop = 1;
    pthread_join(t, NULL);
    return verdict();
}

static int flow(void)
{
    handle(SIGRTMIN + 1, on_beat);
    signal(SIGALRM, on_tick);
    timer_t id = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 1, 5, 0);
    set(id, 0, 0.05, 0.05);
    struct itimerval i = {{0, 50000}, {0, 50000}};
    MUST(setitimer(ITIMER_REAL, &i, NULL) == 0);
    ready();
    wait_go();
    int before[2] = {beats, ticks};
    rest(1);
    EXPECT(beats - before[0] >= 5 && beats - before[0] <= 25, "%d beats in a second", beats - before[0]);
    EXPECT(ticks - before[1] >= 5 && ticks - before[1] <= 25, "%d ticks in a second", ticks - before[1]);
    return verdict();
}

static int spent(void)
{
    signal(SIGPROF, on_tick);
    struct itimerval i = {{0, 20000}, {0, 20000}};
    MUST(setitimer(ITIMER_PROF, &i, NULL) == 0);
    struct itimerval far = {{0, 0}, {5000, 0}};
    MUST(setitimer(ITIMER_VIRTUAL, &far, NULL) == 0);
    ready();
    wait_go();
    int before = ticks;
    double begin = now();
    while (ticks - before < 5 && now() - begin < 60)
        ;
    EXPECT(ticks - before >= 5, "%d ticks of the profiling timer", ticks - before);
    EXPECT(getitimer(ITIMER_VIRTUAL, &far) == 0 && far.it_value.tv_sec > 4900, "%ld s of user time are left", (long)far.it_value.tv_sec);
    return verdict();
}

/* Takes CPU time of the calling thread. */
static void burn(double seconds)
{
    struct timespec t;
    double end = -1, spent;
    do {
        MUST(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0);
        spent = t.tv_sec + t.tv_nsec / 1e9;
        end = end < 0 ? spent + seconds : end;
    } while (spent < end);
}

static atomic_int burnt;

static void *burner(void *unused)
{
    other = syscall(SYS_gettid);
    burn(0.4);
    burnt = 1;
    while (!stop)
        rest(0.01);
    return unused;
}

static int cpu(void)
{
    pthread_t t;
    clockid_t its;
    handle(SIGRTMIN + 1, on_beat);
    handle(SIGRTMIN + 2, on_thread);
    timer_t process = make(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, SIGUSR1, 1, 0);
    timer_t main_thread = make(CLOCK_THREAD_CPUTIME_ID, SIGEV_SIGNAL, SIGUSR1, 2, 0);
    set(process, 0, 5000, 7);
    set(main_thread, 0, 4000, 0);
    MUST(pthread_create(&t, NULL, burner, NULL) == 0);
    MUST(pthread_getcpuclockid(t, &its) == 0);
    timer_t of_thread = make(its, SIGEV_SIGNAL, SIGUSR1, 3, 0), silent = make(CLOCK_PROCESS_CPUTIME_ID, SIGEV_NONE, 0, 4, 0);
    timer_t off = make(its, SIGEV_NONE, 0, 6, 0), soon = make(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, SIGRTMIN + 1, 5, 0);
    set(of_thread, 0, 3000, 0);
    set(silent, 0, 2000, 0);
    set(soon, 0, 300, 0.02);
    while (!burnt)
        rest(0.01);
    ready();
    wait_go();

    expect_left(process, 4900, 4999.61, 7, "of the process");
    expect_left(main_thread, 3900, 4000, 0, "of the main thread");
    expect_left(of_thread, 2900, 2999.9, 0, "of a thread");
    expect_left(silent, 1900, 1999.9, 0, "without a signal");
    expect_left(off, 0, 0, 0, "disarmed");
    EXPECT(beats == 0, "%d beats too early", beats);
    /* The clocks are those of the same process and threads. */
    struct itimerspec left;
    MUST(syscall(SYS_timer_gettime, (int)(long)of_thread, &left) == 0);
    double before = left.it_value.tv_sec + left.it_value.tv_nsec / 1e9;
    burn(0.3);
    expect_left(main_thread, 3900, 3999.71, 0, "of the main thread, which worked");
    expect_left(of_thread, before - 0.2, before, 0, "of a thread that rests");
    set(soon, 0, 0.05, 0.02);
    double begin = now();
    while (beats < 5 && now() - begin < 60)
        ;
    EXPECT(beats >= 5, "%d beats of CPU time", beats);
    stop = 1;
    pthread_join(t, NULL);
    return verdict();
}

/* A timer that is due while the process is away from the processor: it comes with the next CPU time, not before. */
static int due(void)
{
    handle(SIGRTMIN + 1, on_beat);
    timer_t once = make(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, SIGRTMIN + 1, 5, 0);
    set(once, 0, 0.8, 0);
    burn(0.3);
    ready();
    wait_go();
    double begin = now();
    while (!beats && now() - begin < 60)
        ;
    EXPECT(beats == 1, "it expired %d times", beats);
    expect_left(once, 0, 0, 0, "expired");
    return verdict();
}

static int ended(void)
{
    pthread_t t;
    clockid_t its;
    MUST(pthread_create(&t, NULL, thread, NULL) == 0);
    MUST(pthread_getcpuclockid(t, &its) == 0);
    make(its, SIGEV_SIGNAL, SIGUSR1, 1, 0);
    stop = 1;
    MUST(pthread_join(t, NULL) == 0);
    ready();
    wait_go();
    return verdict();
}

static int foreign(void)
{
    clockid_t its;
    MUST(clock_getcpuclockid(getppid(), &its) == 0);
    make(its, SIGEV_SIGNAL, SIGUSR1, 1, 0);
    ready();
    wait_go();
    return verdict();
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "states";
    const struct {
        const char *name;
        int (*run)(void);
    } all[] = {{"states", states}, {"flow", flow}, {"spent", spent}, {"cpu", cpu}, {"due", due}, {"ended", ended}, {"foreign", foreign}};
    for (unsigned k = 0; k < sizeof(all) / sizeof(*all); k++)
        if (!strcmp(what, all[k].name))
            return all[k].run();
    return 2;
}
