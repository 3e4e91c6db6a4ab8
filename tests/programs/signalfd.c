/* Descriptors that signals are read from: pending ones, an empty one, one that a thread waits for. */
#include "scene.h"
#include <sys/signalfd.h>

static int waited;

static void *waiter(void *unused)
{
    struct signalfd_siginfo s = {0};
    ssize_t n = read(waited, &s, sizeof s);
    EXPECT(n == sizeof s && s.ssi_signo == SIGUSR2, "the waiting thread read %zd bytes, signal %u (%s)", n, s.ssi_signo,
           strerror(errno));
    return unused;
}

int main(void)
{
    sigset_t all, one, two;
    sigemptyset(&all);
    sigaddset(&all, SIGUSR1);
    sigaddset(&all, SIGUSR2);
    sigaddset(&all, SIGRTMIN + 3);
    MUST(sigprocmask(SIG_BLOCK, &all, NULL) == 0);
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    sigaddset(&one, SIGRTMIN + 3);
    sigemptyset(&two);
    sigaddset(&two, SIGUSR2);
    int fd = signalfd(-1, &one, SFD_NONBLOCK | SFD_CLOEXEC);
    waited = signalfd(-1, &two, 0);
    MUST(fd >= 0 && waited >= 0);
    union sigval v = {.sival_int = 77};
    MUST(kill(getpid(), SIGUSR1) == 0 && sigqueue(getpid(), SIGRTMIN + 3, v) == 0);
    pthread_t t;
    MUST(pthread_create(&t, NULL, waiter, NULL) == 0);
    ready();
    wait_go();

    EXPECT(fcntl(fd, F_GETFL) == (O_RDWR | O_NONBLOCK), "flags are %#o", fcntl(fd, F_GETFL));
    EXPECT(fcntl(fd, F_GETFD) == FD_CLOEXEC, "close-on-exec is lost");
    struct signalfd_siginfo s = {0};
    EXPECT(read(fd, &s, sizeof s) == sizeof s && s.ssi_signo == SIGUSR1, "first signal: %u", s.ssi_signo);
    EXPECT(read(fd, &s, sizeof s) == sizeof s && (int)s.ssi_signo == SIGRTMIN + 3 && s.ssi_int == 77,
           "second signal: %u with %d", s.ssi_signo, s.ssi_int);
    EXPECT(read(fd, &s, sizeof s) == -1 && errno == EAGAIN, "there is a third signal: %u", s.ssi_signo);
    EXPECT(kill(getpid(), SIGUSR2) == 0, "kill: %s", strerror(errno));
    pthread_join(t, NULL);
    return verdict();
}
