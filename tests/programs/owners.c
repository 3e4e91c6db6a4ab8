/* Open files that signal when they are ready: owners of every kind, chosen signals, O_ASYNC; owners [dropped]
 *
 * Checked by asking for them again, and by making one ready: the signal must go to the thread that owns it.
 * dropped: root sets some owners, then becomes another user, and sets others. */
#include "scene.h"
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#ifndef F_GETOWNER_UIDS
#define F_GETOWNER_UIDS 17
#endif

enum { KINDS = 11 };

static struct {
    const char *name;
    int fd;
    struct f_owner_ex owner;
    int signal, flags;
    uid_t users[2];
} files[KINDS];
static int used;

static volatile int worker_tid, got_signal, got_tid, got_fd, got_band, count;

static void on_signal(int signo, siginfo_t *info, void *context)
{
    (void)context;
    got_signal = signo, got_tid = own_tid(), got_fd = info->si_fd, got_band = (int)info->si_band;
    count++;
}

static void *worker(void *arg)
{
    (void)arg;
    worker_tid = own_tid();
    wait_go();
    while (is_go() && !got_tid)
        rest(0.02);
    return NULL;
}

static void own(const char *name, int fd, int type, pid_t pid, int signal, int async)
{
    MUST(fd >= 0 && used < KINDS);
    struct f_owner_ex owner = {type, pid};
    MUST(fcntl(fd, F_SETOWN_EX, &owner) == 0);
    MUST(fcntl(fd, F_SETSIG, signal) == 0);
    MUST(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | (async ? O_ASYNC : 0)) == 0);
    files[used].name = name, files[used].fd = fd, files[used].signal = signal;
    MUST(fcntl(fd, F_GETOWN_EX, &files[used].owner) == 0);
    MUST(fcntl(fd, F_GETOWNER_UIDS, files[used].users) == 0);
    files[used++].flags = fcntl(fd, F_GETFL);
}

int main(int argc, char **argv)
{
    int both[2], quiet[2];
    pthread_t t;
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    MUST(sigaction(SIGRTMIN + 4, &action, NULL) == 0 && sigaction(SIGIO, &action, NULL) == 0);
    MUST(pthread_create(&t, NULL, worker, NULL) == 0);
    while (!worker_tid)
        rest(0.01);
    MUST(pipe2(both, O_NONBLOCK) == 0 && pipe(quiet) == 0);
    /* Unread bytes must not signal anybody when they are put back. */
    MUST(write(quiet[1], "unread", 6) == 6);
    MUST(mkfifo("fifo", 0600) == 0 || errno == EEXIST);
    own("pipe", both[0], F_OWNER_TID, worker_tid, SIGRTMIN + 4, 1);
    own("pipe with unread bytes", quiet[0], F_OWNER_PID, getpid(), 0, 1);
    own("write end", quiet[1], F_OWNER_PID, getpid(), SIGRTMIN + 4, 0);
    own("fifo", open("fifo", O_RDWR | O_NONBLOCK), F_OWNER_PGRP, getpgrp(), 0, 1);
    own("regular file", open("file", O_RDWR | O_CREAT | O_APPEND, 0600), F_OWNER_PID, getpid(), SIGRTMIN + 4, 0);
    own("folder", open(".", O_RDONLY | O_DIRECTORY), F_OWNER_PID, getpid(), 0, 0);
    own("eventfd", eventfd(3, EFD_NONBLOCK), F_OWNER_TID, own_tid(), SIGRTMIN + 4, 0);
    own("nobody", timerfd_create(CLOCK_MONOTONIC, 0), F_OWNER_PID, 0, SIGRTMIN + 4, 0);
    own("without signal", open("/dev/null", O_RDWR), F_OWNER_PGRP, getpgrp(), 0, 0);
    /* An owner that has ended is nobody. */
    pid_t child = fork();
    if (child == 0)
        pause();
    int ended = eventfd(0, 0);
    own("ended", ended, F_OWNER_PID, child, 0, 0);
    MUST(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    MUST(fcntl(ended, F_GETOWN_EX, &files[used - 1].owner) == 0 && files[used - 1].owner.pid == 0);
    if (argc > 1 && !strcmp(argv[1], "dropped")) {
        /* The C library changes all threads. */
        MUST(setresuid(1001, 1001, 1001) == 0);
        own("set by another user", eventfd(0, 0), F_OWNER_PID, getpid(), 0, 0);
    }
    ready();
    wait_go();

    EXPECT(count == 0, "a signal %d came without anything being ready", got_signal);
    for (int k = 0; k < used; k++) {
        struct f_owner_ex owner = {-1, -1};
        EXPECT(fcntl(files[k].fd, F_GETOWN_EX, &owner) == 0, "%s: %s", files[k].name, strerror(errno));
        EXPECT(owner.type == files[k].owner.type && owner.pid == files[k].owner.pid,
               "%s: the owner is %d %d, was %d %d", files[k].name, owner.type, owner.pid, files[k].owner.type,
               files[k].owner.pid);
        uid_t users[2] = {77, 77};
        EXPECT(fcntl(files[k].fd, F_GETOWNER_UIDS, users) == 0 && users[0] == files[k].users[0] &&
                   users[1] == files[k].users[1],
               "%s: set by user %d, was %d", files[k].name, users[0], files[k].users[0]);
        EXPECT(fcntl(files[k].fd, F_GETSIG) == files[k].signal, "%s: the signal is %d, was %d", files[k].name,
               fcntl(files[k].fd, F_GETSIG), files[k].signal);
        EXPECT(fcntl(files[k].fd, F_GETFL) == files[k].flags, "%s: flags are %o, were %o", files[k].name,
               fcntl(files[k].fd, F_GETFL), files[k].flags);
    }
    EXPECT(write(both[1], "x", 1) == 1, "write: %s", strerror(errno));
    for (int k = 0; k < 500 && !got_tid; k++)
        rest(0.01);
    EXPECT(got_signal == SIGRTMIN + 4 && got_tid == worker_tid, "signal %d for thread %d instead of %d for %d",
           got_signal, got_tid, SIGRTMIN + 4, worker_tid);
    EXPECT(got_fd == both[0] && (got_band & 1), "the signal says descriptor %d, band %#x", got_fd, got_band);
    got_signal = count = 0;
    EXPECT(write(quiet[1], "y", 1) == 1, "write: %s", strerror(errno));
    for (int k = 0; k < 500 && !count; k++)
        rest(0.01);
    EXPECT(got_signal == SIGIO, "signal %d instead of SIGIO", got_signal);
    got_tid = 1;
    pthread_join(t, NULL);
    return verdict();
}
