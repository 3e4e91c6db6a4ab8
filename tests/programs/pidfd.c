/* Descriptors of processes: pidfd family | thread | reaped | outside. family: a parent with pidfds of a child that waits, of one that has
 * ended, of itself, one for its main thread, one that does not block, and one in an epoll; the child has one of the parent
 * and shares the others. thread: one of a thread. reaped: one of a process that was waited for. outside: one of init. */
#include "scene.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#define PIDFD_THREAD O_EXCL

static int open_pidfd(pid_t pid, unsigned flags)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, flags);
    MUST(fd >= 0);
    return fd;
}

/* The process that the kernel says a descriptor is of, as that one sees itself: the last number of `NSpid: 181 1`. */
static int pid_of(int fd)
{
    char path[64], line[128];
    int pid = -2;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    FILE *f = fopen(path, "r");
    if (!f)
        return -3;
    while (fgets(line, sizeof line, f))
        if (!strncmp(line, "NSpid:", 6))
            pid = atoi(strrchr(line, '\t') + 1);
    fclose(f);
    return pid;
}

static int is_readable(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLIN);
}

static void *linger(void *tid)
{
    atomic_store((atomic_int *)tid, own_tid());
    for (;;)
        rest(1);
    return NULL;
}

static void child_of(int parent_fd, pid_t parent)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int own = open_pidfd(getpid(), 0);
    int got = 0;
    /* Told by the parent through its descriptor. */
    MUST(sigwait(&set, &got) == 0);
    EXPECT(pid_of(own) == getpid(), "own descriptor of %d", pid_of(own));
    EXPECT(pid_of(parent_fd) == parent, "descriptor of the parent: %d", pid_of(parent_fd));
    EXPECT(syscall(SYS_pidfd_send_signal, parent_fd, 0, NULL, 0) == 0, "the parent: %s", strerror(errno));
    EXPECT(!is_readable(parent_fd), "the parent has ended?");
    _exit(atomic_load(&faults) ? 1 : 3);
}

static int family(void)
{
    int self = open_pidfd(getpid(), 0), main_thread = open_pidfd(getpid(), PIDFD_THREAD);
    pid_t parent = getpid();
    pid_t child = fork();
    MUST(child >= 0);
    if (child == 0)
        child_of(self, parent);
    pid_t dead = fork();
    MUST(dead >= 0);
    if (dead == 0)
        _exit(5);
    int of_child = open_pidfd(child, O_NONBLOCK), of_dead = open_pidfd(dead, 0), again = dup(of_child);
    int poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 42};
    MUST(again >= 0 && poll >= 0 && epoll_ctl(poll, EPOLL_CTL_ADD, of_child, &event) == 0);
    while (!is_readable(of_dead))
        rest(0.01);
    ready();
    wait_go();
    EXPECT(pid_of(self) == parent && pid_of(main_thread) == parent, "self: %d and %d", pid_of(self), pid_of(main_thread));
    EXPECT(pid_of(of_child) == child && pid_of(again) == child, "child: %d and %d", pid_of(of_child), pid_of(again));
    EXPECT(fcntl(of_child, F_GETFL) & O_NONBLOCK, "flags %#o", fcntl(of_child, F_GETFL));
    EXPECT(!(fcntl(self, F_GETFL) & O_NONBLOCK), "flags %#o", fcntl(self, F_GETFL));
    EXPECT(fcntl(main_thread, F_GETFL) & PIDFD_THREAD, "flags %#o", fcntl(main_thread, F_GETFL));
    EXPECT(fcntl(self, F_GETFD) & FD_CLOEXEC, "it is not closed by exec");
    EXPECT(!(fcntl(again, F_GETFD) & FD_CLOEXEC), "it is closed by exec");
    /* The one that has ended is waited for by its descriptor. */
    siginfo_t info = {0};
    EXPECT(is_readable(of_dead), "the end of the other child is not seen");
    EXPECT(waitid(P_PIDFD, of_dead, &info, WEXITED) == 0 && info.si_pid == dead && info.si_status == 5, "waitid: %s, status %d",
           strerror(errno), info.si_status);
    EXPECT(syscall(SYS_pidfd_send_signal, of_dead, 0, NULL, 0) < 0 && errno == ESRCH, "it is still there");
    /* The other one lives, and does not block. */
    EXPECT(waitid(P_PIDFD, of_child, &info, WEXITED) < 0 && errno == EAGAIN, "waitid: %s", strerror(errno));
    EXPECT(epoll_wait(poll, &event, 1, 0) == 0, "the child has ended?");
    EXPECT(syscall(SYS_pidfd_send_signal, again, SIGUSR1, NULL, 0) == 0, "signal: %s", strerror(errno));
    event.data.u64 = 0;
    EXPECT(epoll_wait(poll, &event, 1, 10000) == 1 && event.data.u64 == 42, "epoll does not see the end of the child");
    EXPECT(waitid(P_PIDFD, of_child, &info, WEXITED) == 0 && info.si_status == 3, "waitid: %s, status %d", strerror(errno),
           info.si_status);
    return verdict();
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "family"))
        return family();
    atomic_int tid = 0;
    pthread_t thread;
    if (!strcmp(what, "thread")) {
        MUST(pthread_create(&thread, NULL, linger, &tid) == 0);
        while (!atomic_load(&tid))
            rest(0.01);
        open_pidfd(tid, PIDFD_THREAD);
    } else if (!strcmp(what, "reaped")) {
        pid_t child = fork();
        MUST(child >= 0);
        if (child == 0)
            _exit(0);
        open_pidfd(child, 0);
        MUST(waitpid(child, NULL, 0) == child);
    } else {
        MUST(!strcmp(what, "outside"));
        open_pidfd(1, 0);
    }
    ready();
    wait_go();
    return verdict();
}
