/* Timers behind descriptors: timerfd states | flow
 *
 * states: armed far away, disarmed, periodic, expired and unread, absolute wall clock, several clocks; flow: a thread
 * counts the beats of a periodic timer, which must go on and lose none. */
#include "scene.h"
#include <poll.h>
#include <sys/timerfd.h>

static int timer(int clock, int flags, double value, double interval, int settime)
{
    int fd = timerfd_create(clock, flags);
    MUST(fd >= 0);
    struct itimerspec t = {{(time_t)interval, (long)((interval - (time_t)interval) * 1e9)},
                           {(time_t)value, (long)((value - (time_t)value) * 1e9)}};
    MUST(timerfd_settime(fd, settime, &t, NULL) == 0);
    return fd;
}

static void expect_left(int fd, double least, double most, double interval, const char *what)
{
    struct itimerspec t;
    EXPECT(timerfd_gettime(fd, &t) == 0, "%s: %s", what, strerror(errno));
    double left = t.it_value.tv_sec + t.it_value.tv_nsec / 1e9, every = t.it_interval.tv_sec + t.it_interval.tv_nsec / 1e9;
    EXPECT(left >= least && left <= most, "%s: %.3f s are left instead of %.0f to %.0f", what, left, least, most);
    EXPECT(every == interval, "%s: the interval is %.3f s", what, every);
}

static int states(void)
{
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    int far = timer(CLOCK_MONOTONIC, TFD_CLOEXEC, 5000, 0, 0), off = timer(CLOCK_MONOTONIC, TFD_NONBLOCK, 0, 0, 0);
    int boot = timer(CLOCK_BOOTTIME, 0, 3000, 7, 0), absolute = timer(CLOCK_REALTIME, 0, wall.tv_sec + 4000.0, 0, TFD_TIMER_ABSTIME);
    int late = timer(CLOCK_MONOTONIC, TFD_NONBLOCK, 0.05, 0, 0), beats = timer(CLOCK_MONOTONIC, TFD_NONBLOCK, 0.05, 0.5, 0);
    rest(0.3);
    ready();
    wait_go();

    /* The scene takes less than 1000 s. */
    expect_left(far, 4000, 5000, 0, "far away");
    EXPECT(fcntl(far, F_GETFD) == FD_CLOEXEC, "close-on-exec is lost");
    expect_left(off, 0, 0, 0, "disarmed");
    uint64_t n = 0;
    EXPECT(read(off, &n, 8) == -1 && errno == EAGAIN, "the disarmed timer has expired");
    expect_left(boot, 2000, 3000, 7, "boot time");
    clock_gettime(CLOCK_REALTIME, &wall);
    expect_left(absolute, 3000, 4000.5, 0, "absolute wall time");
    EXPECT(read(late, &n, 8) == 8 && n == 1, "the expired timer gives %llu", (unsigned long long)n);
    EXPECT(read(late, &n, 8) == -1 && errno == EAGAIN, "the expired timer expires again");
    EXPECT(read(beats, &n, 8) == 8 && n >= 1, "the periodic timer gives %llu", (unsigned long long)n);
    struct pollfd p = {beats, POLLIN, 0};
    double before = now();
    EXPECT(poll(&p, 1, 20000) == 1, "the periodic timer does not go on");
    EXPECT(now() - before < 5, "the periodic timer took %.1f s for 0.5 s", now() - before);
    return verdict();
}

static int flow(void)
{
    int fd = timer(CLOCK_MONOTONIC, 0, 0.05, 0.05, 0);
    uint64_t beats = 0, n;
    double begin = now();
    ready();
    while (access("go", F_OK) != 0) {
        ssize_t r = read(fd, &n, 8);
        EXPECT(r == 8 && n > 0, "read: %zd (%s)", r, strerror(errno));
        beats += n;
    }
    double gone = now() - begin;
    /* The clock of the process and the timer go together: both stood still, or neither. */
    EXPECT(beats * 0.05 > gone * 0.5 - 1 && beats * 0.05 < gone + 2, "%llu beats in %.2f s", (unsigned long long)beats, gone);
    return verdict();
}

int main(int argc, char **argv)
{
    return argc > 1 && !strcmp(argv[1], "flow") ? flow() : states();
}
