/* Twenty-odd ways to wait: blocking pure|all SECONDS
 *
 * Each thread waits in one system call. `pure` waits only on what can be checkpointed; `all` adds the waits on objects
 * that cannot (epoll, eventfd, ...), for use with `crctl check`, which freezes and thaws like a checkpoint. Until the
 * scene creates `go`, no call without a timeout may return; none may ever see EINTR that no signal of ours caused, and
 * none may return before its time. The scene holds locks on the file `lock` until this program says
 * `awake`. */
#include "scene.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>

static double timeout;
static volatile int signalled;
static int pipe_read[2], pipe_write[2], pipe_poll[2], pipe_select[2], futex_word;
static int event_fd, signal_fd, inotify_fd, epoll_fd, message_queue, semaphore, sockets[2], child_pipe[2];

struct wait {
    const char *name;
    void (*run)(struct wait *);
    /* What the call must return and set errno to; when it waits with a timeout; when it is one of `all` only. */
    long result;
    int error;
    char timed, impure;
    pthread_t thread;
    long got;
    int got_error;
    double from, to;
    volatile int done;
};

#define CALL(w, expression)                                                                                            \
    do {                                                                                                               \
        errno = 0;                                                                                                     \
        (w)->from = now();                                                                                             \
        (w)->got = (long)(expression);                                                                                 \
        (w)->got_error = (w)->got < 0 ? errno : 0;                                                                     \
        (w)->to = now();                                                                                               \
    } while (0)

static struct timespec span(void)
{
    struct timespec t = {(time_t)timeout, (long)((timeout - (time_t)timeout) * 1e9)};
    return t;
}

static void do_nanosleep(struct wait *w)
{
    struct timespec t = span();
    CALL(w, nanosleep(&t, NULL));
}
static void do_clock_nanosleep(struct wait *w)
{
    struct timespec t, s = span();
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += s.tv_sec;
    t.tv_nsec += s.tv_nsec;
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        t.tv_sec++;
    }
    CALL(w, -clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL));
}
static void do_poll_timeout(struct wait *w)
{
    CALL(w, poll(NULL, 0, (int)(timeout * 1000)));
}
static void do_poll(struct wait *w)
{
    struct pollfd p = {pipe_poll[0], POLLIN, 0};
    CALL(w, poll(&p, 1, -1));
}
static void do_ppoll_timeout(struct wait *w)
{
    struct timespec t = span();
    sigset_t mask;
    sigfillset(&mask);
    sigdelset(&mask, SIGHUP);
    CALL(w, ppoll(NULL, 0, &t, &mask));
    sigset_t after;
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    EXPECT(!sigismember(&after, SIGTERM), "ppoll did not put the signal mask back");
}
static void do_ppoll(struct wait *w)
{
    struct pollfd p = {pipe_poll[0], POLLIN, 0};
    CALL(w, ppoll(&p, 1, NULL, NULL));
}
static void do_select_timeout(struct wait *w)
{
    struct timeval t = {(time_t)timeout, (long)((timeout - (time_t)timeout) * 1e6)};
    CALL(w, select(0, NULL, NULL, NULL, &t));
}
static void do_select(struct wait *w)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(pipe_select[0], &set);
    CALL(w, select(pipe_select[0] + 1, &set, NULL, NULL, NULL));
    EXPECT(FD_ISSET(pipe_select[0], &set), "select does not name the descriptor that is ready");
}
static void do_pselect_timeout(struct wait *w)
{
    struct timespec t = span();
    CALL(w, pselect(0, NULL, NULL, NULL, &t, NULL));
}
static void do_futex(struct wait *w)
{
    CALL(w, syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));
}
static void do_futex_timeout(struct wait *w)
{
    static int word;
    struct timespec t = span();
    CALL(w, syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &t, NULL, 0));
}
static void do_futex_bitset(struct wait *w)
{
    static int word;
    struct timespec t, s = span();
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += s.tv_sec + 1;
    CALL(w, syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 0, &t, NULL, FUTEX_BITSET_MATCH_ANY));
}
static void do_read(struct wait *w)
{
    char c = 0;
    CALL(w, read(pipe_read[0], &c, 1));
    EXPECT(c == 'r', "read got the byte %d", c);
}
static void do_write(struct wait *w)
{
    CALL(w, write(pipe_write[1], "w", 1));
}
static void do_pause(struct wait *w)
{
    CALL(w, pause());
}
static void do_sigsuspend(struct wait *w)
{
    sigset_t mask, after;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    CALL(w, sigsuspend(&mask));
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    EXPECT(!sigismember(&after, SIGTERM) && sigismember(&after, SIGUSR2), "sigsuspend did not put the mask back");
}
static void do_sigtimedwait(struct wait *w)
{
    struct timespec t = span();
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    CALL(w, sigtimedwait(&set, NULL, &t));
}
static void do_sigwaitinfo(struct wait *w)
{
    siginfo_t info = {0};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 3);
    CALL(w, sigwaitinfo(&set, &info));
    w->got = w->got == SIGRTMIN + 3 ? 1 : w->got;
    EXPECT(info.si_value.sival_int == 4711, "sigwaitinfo: the value is %d", info.si_value.sival_int);
}
static void do_open_fifo(struct wait *w)
{
    CALL(w, open("fifo", O_RDONLY) >= 0 ? 0 : -1);
}
static void do_flock(struct wait *w)
{
    int fd = open("lock", O_RDWR | O_CLOEXEC);
    MUST(fd >= 0);
    CALL(w, flock(fd, LOCK_EX));
}
static void do_fcntl_lock(struct wait *w)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 1};
    int fd = open("lock", O_RDWR | O_CLOEXEC);
    MUST(fd >= 0);
    CALL(w, fcntl(fd, F_SETLKW, &l));
}

static void do_epoll_timeout(struct wait *w)
{
    struct epoll_event e;
    int fd = epoll_create1(0);
    CALL(w, epoll_wait(fd, &e, 1, (int)(timeout * 1000)));
}
static void do_epoll(struct wait *w)
{
    struct epoll_event e;
    CALL(w, epoll_wait(epoll_fd, &e, 1, -1));
}
static void do_eventfd(struct wait *w)
{
    uint64_t v;
    CALL(w, read(event_fd, &v, sizeof v));
}
static void do_timerfd(struct wait *w)
{
    struct itimerspec t = {{0, 0}, span()};
    uint64_t v;
    int fd = timerfd_create(CLOCK_MONOTONIC, 0);
    timerfd_settime(fd, 0, &t, NULL);
    CALL(w, read(fd, &v, sizeof v));
}
static void do_signalfd(struct wait *w)
{
    struct signalfd_siginfo i;
    CALL(w, read(signal_fd, &i, sizeof i));
}
static void do_inotify(struct wait *w)
{
    char b[512];
    CALL(w, read(inotify_fd, b, sizeof b) > 0 ? 1 : -1);
}
static void do_msgrcv(struct wait *w)
{
    struct {
        long type;
        char text[8];
    } m;
    CALL(w, msgrcv(message_queue, &m, sizeof m.text, 0, 0));
}
static void do_semop(struct wait *w)
{
    struct sembuf b = {0, -1, 0};
    CALL(w, semop(semaphore, &b, 1));
}
static void do_semtimedop(struct wait *w)
{
    struct sembuf b = {1, -1, 0};
    struct timespec t = span();
    CALL(w, semtimedop(semaphore, &b, 1, &t));
}
static void do_recv(struct wait *w)
{
    char b[8];
    CALL(w, recv(sockets[0], b, sizeof b, 0));
}
static void do_recv_timeout(struct wait *w)
{
    struct timeval t = {(time_t)timeout, 0};
    int pair[2];
    char b[8];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    CALL(w, recv(pair[0], b, sizeof b, 0));
}
static void do_getevents(struct wait *w)
{
    aio_context_t context = 0;
    struct io_event e;
    struct timespec t = span();
    MUST(syscall(SYS_io_setup, 4, &context) == 0);
    CALL(w, syscall(SYS_io_getevents, context, 1, 1, &e, &t));
}
static void do_waitpid(struct wait *w)
{
    pid_t child = fork();
    if (child == 0) {
        char c;
        close(child_pipe[1]);
        _exit(read(child_pipe[0], &c, 1) == 1 ? 7 : 8);
    }
    int status = 0;
    CALL(w, waitpid(child, &status, 0) == child ? WEXITSTATUS(status) : -1);
}

static struct wait waits[] = {
    {"nanosleep", do_nanosleep, 0, 0, 1, 0},
    {"clock_nanosleep (absolute)", do_clock_nanosleep, 0, 0, 1, 0},
    {"poll (timeout)", do_poll_timeout, 0, 0, 1, 0},
    {"poll", do_poll, 1, 0, 0, 0},
    {"ppoll (timeout, mask)", do_ppoll_timeout, 0, 0, 1, 0},
    {"ppoll", do_ppoll, 1, 0, 0, 0},
    {"select (timeout)", do_select_timeout, 0, 0, 1, 0},
    {"select", do_select, 1, 0, 0, 0},
    {"pselect6 (timeout)", do_pselect_timeout, 0, 0, 1, 0},
    {"futex", do_futex, 0, 0, 0, 0},
    {"futex (timeout)", do_futex_timeout, -1, ETIMEDOUT, 1, 0},
    {"futex (absolute)", do_futex_bitset, -1, ETIMEDOUT, 1, 0},
    {"read of an empty pipe", do_read, 1, 0, 0, 0},
    {"write to a full pipe", do_write, 1, 0, 0, 0},
    {"pause", do_pause, -1, EINTR, 0, 0},
    {"sigsuspend", do_sigsuspend, -1, EINTR, 0, 0},
    {"sigtimedwait", do_sigtimedwait, -1, EAGAIN, 1, 0},
    {"sigwaitinfo", do_sigwaitinfo, 1, 0, 0, 0},
    {"open of a FIFO", do_open_fifo, 0, 0, 0, 0},
    {"flock", do_flock, 0, 0, 0, 0},
    {"fcntl (F_SETLKW)", do_fcntl_lock, 0, 0, 0, 0},
    {"epoll_wait (timeout)", do_epoll_timeout, 0, 0, 1, 1},
    {"epoll_wait", do_epoll, 1, 0, 0, 1},
    {"read of an eventfd", do_eventfd, 8, 0, 0, 1},
    {"read of a timerfd", do_timerfd, 8, 0, 1, 1},
    {"read of a signalfd", do_signalfd, sizeof(struct signalfd_siginfo), 0, 0, 1},
    {"read of an inotify", do_inotify, 1, 0, 0, 1},
    {"msgrcv", do_msgrcv, 8, 0, 0, 1},
    {"semop", do_semop, 0, 0, 0, 1},
    {"semtimedop", do_semtimedop, -1, EAGAIN, 1, 1},
    {"recv", do_recv, 4, 0, 0, 1},
    {"recv (timeout)", do_recv_timeout, -1, EAGAIN, 1, 1},
    {"io_getevents", do_getevents, 0, 0, 1, 1},
    {"waitpid", do_waitpid, 7, 0, 0, 1},
};
enum { WAITS = sizeof waits / sizeof *waits };

static void handler(int signal)
{
    signalled = signal;
}

static void *thread(void *arg)
{
    struct wait *w = arg;
    w->run(w);
    w->done = 1;
    return NULL;
}

static struct wait *find(const char *name)
{
    for (int k = 0; k < WAITS; k++)
        if (!strcmp(waits[k].name, name))
            return &waits[k];
    abort();
}

int main(int argc, char **argv)
{
    int all = argc > 1 && !strcmp(argv[1], "all");
    timeout = argc > 2 ? atof(argv[2]) : 4;
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGUSR1, &action, NULL);
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    sigaddset(&blocked, SIGRTMIN + 3);
    sigaddset(&blocked, SIGRTMIN + 4);
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    MUST(pipe(pipe_read) == 0 && pipe(pipe_write) == 0 && pipe(pipe_poll) == 0 && pipe(pipe_select) == 0);
    MUST(mkfifo("fifo", 0600) == 0 || errno == EEXIST);
    static char block[4096];
    MUST(fcntl(pipe_write[1], F_SETPIPE_SZ, 4096) > 0);
    int size = fcntl(pipe_write[1], F_GETPIPE_SZ);
    for (int n = 0; n < size; n += sizeof block)
        MUST(write(pipe_write[1], block, sizeof block) == sizeof block);
    if (all) {
        sigset_t one;
        sigemptyset(&one);
        sigaddset(&one, SIGRTMIN + 4);
        event_fd = eventfd(0, 0);
        signal_fd = signalfd(-1, &one, 0);
        inotify_fd = inotify_init();
        MUST(inotify_add_watch(inotify_fd, "fifo", IN_ATTRIB) >= 0);
        epoll_fd = epoll_create1(0);
        struct epoll_event e = {EPOLLIN, {.u64 = 1}};
        MUST(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, pipe_poll[0], &e) == 0);
        message_queue = msgget(IPC_PRIVATE, 0600);
        semaphore = semget(IPC_PRIVATE, 2, 0600);
        MUST(message_queue >= 0 && semaphore >= 0);
        MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0 && pipe(child_pipe) == 0);
    }
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 128 << 10);
    for (int k = 0; k < WAITS; k++)
        if (all || !waits[k].impure)
            MUST(pthread_create(&waits[k].thread, &small, thread, &waits[k]) == 0);
    /* Everybody is in its system call. */
    rest(0.3);
    ready();
    wait_go();
    for (int k = 0; k < WAITS; k++)
        if (waits[k].thread && waits[k].done && !waits[k].timed)
            FAIL("%s: returned %ld (%s) although nothing happened", waits[k].name, waits[k].got,
                 strerror(waits[k].got_error));
    /* Now each gets what it waits for. */
    pthread_kill(find("pause")->thread, SIGUSR1);
    pthread_kill(find("sigsuspend")->thread, SIGUSR1);
    union sigval value = {.sival_int = 4711};
    pthread_sigqueue(find("sigwaitinfo")->thread, SIGRTMIN + 3, value);
    futex_word = 1;
    syscall(SYS_futex, &futex_word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    EXPECT(write(pipe_read[1], "r", 1) == 1, "write to the pipe");
    EXPECT(write(pipe_poll[1], "p", 1) == 1, "write to the pipe");
    EXPECT(write(pipe_select[1], "s", 1) == 1, "write to the pipe");
    EXPECT(read(pipe_write[0], block, sizeof block) == sizeof block, "read from the full pipe");
    int fifo = open("fifo", O_WRONLY | O_NONBLOCK);
    EXPECT(fifo >= 0, "nobody waits in open() of the FIFO: %s", strerror(errno));
    if (all) {
        struct {
            long type;
            char text[8];
        } m = {1, "message"};
        struct sembuf up = {0, 1, 0};
        uint64_t one = 1;
        EXPECT(write(event_fd, &one, 8) == 8, "write to the eventfd");
        pthread_sigqueue(find("read of a signalfd")->thread, SIGRTMIN + 4, value);
        EXPECT(chmod("fifo", 0640) == 0, "chmod");
        EXPECT(msgsnd(message_queue, &m, sizeof m.text, 0) == 0, "msgsnd");
        EXPECT(semop(semaphore, &up, 1) == 0, "semop");
        EXPECT(send(sockets[1], "1234", 4, 0) == 4, "send");
        EXPECT(write(child_pipe[1], "c", 1) == 1, "write to the child's pipe");
    }
    say("awake");
    for (int k = 0; k < WAITS; k++) {
        struct wait *w = &waits[k];
        if (!w->thread)
            continue;
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += (time_t)timeout + 30;
        if (pthread_timedjoin_np(w->thread, NULL, &until) != 0) {
            FAIL("%s: never returned", w->name);
            continue;
        }
        EXPECT(w->got == w->result && w->got_error == w->error, "%s: returned %ld (%s) instead of %ld (%s)", w->name,
               w->got, strerror(w->got_error), w->result, strerror(w->error));
        if (w->timed)
            EXPECT(w->to - w->from >= timeout - 0.02, "%s: returned after %.3f of %.3f s", w->name, w->to - w->from,
                   timeout);
        say("# %-26s %ld after %.2f s", w->name, w->got, w->to - w->from);
    }
    EXPECT(signalled == SIGUSR1, "the handler saw signal %d", signalled);
    if (all) {
        msgctl(message_queue, IPC_RMID, NULL);
        semctl(semaphore, 0, IPC_RMID);
    }
    return verdict();
}
