/* Event polls: epoll states | replaced
 *
 * states: level and edge triggered, one-shot armed and fired, nested, data, a waiting thread; replaced: an entry whose
 * descriptor number belongs to another file now. */
#include "scene.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>

static int waited;

static void add(int poll, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event e = {events, {.u64 = data}};
    MUST(epoll_ctl(poll, EPOLL_CTL_ADD, fd, &e) == 0);
}

static void *waiter(void *unused)
{
    struct epoll_event e = {0};
    int n = epoll_wait(waited, &e, 1, -1);
    EXPECT(n == 1 && e.data.u64 == 0xabcdef0123456789, "the waiting thread got %d, data %#llx (%s)", n,
           (unsigned long long)e.data.u64, strerror(errno));
    return unused;
}

/* What is ready, as a set of bits by data. */
static uint64_t ready_set(int poll)
{
    struct epoll_event e[16];
    int n = epoll_wait(poll, e, 16, 0);
    uint64_t set = 0;
    for (int k = 0; k < n; k++)
        set |= 1ULL << e[k].data.u64;
    return set;
}

static void signal_it(int fd)
{
    uint64_t one = 1;
    EXPECT(write(fd, &one, 8) == 8, "write: %s", strerror(errno));
}

int main(int argc, char **argv)
{
    int poll = epoll_create1(EPOLL_CLOEXEC), inner = epoll_create1(0);
    int full = eventfd(1, EFD_NONBLOCK), empty = eventfd(0, EFD_NONBLOCK), edge = eventfd(0, EFD_NONBLOCK);
    int armed = eventfd(0, EFD_NONBLOCK), fired = eventfd(1, EFD_NONBLOCK), deep = eventfd(0, EFD_NONBLOCK), late = eventfd(0, 0);
    int pipe_[2];
    waited = epoll_create1(0);
    MUST(poll >= 0 && inner >= 0 && waited >= 0 && late >= 0 && pipe(pipe_) == 0);
    add(poll, full, EPOLLIN, 1);
    add(poll, empty, EPOLLIN, 2);
    add(poll, edge, EPOLLIN | EPOLLET, 3);
    add(poll, armed, EPOLLIN | EPOLLONESHOT, 4);
    add(poll, inner, EPOLLIN, 6);
    add(inner, deep, EPOLLIN, 7);
    add(poll, pipe_[0], EPOLLIN | EPOLLRDHUP, 8);
    add(waited, late, EPOLLIN, 0xabcdef0123456789);
    int shot = epoll_create1(0);
    add(shot, fired, EPOLLIN | EPOLLONESHOT, 5);
    MUST(ready_set(shot) == 1 << 5 && ready_set(shot) == 0);
    int twin = fcntl(poll, F_DUPFD, 250);
    MUST(twin == 250);
    if (argc > 1 && !strcmp(argv[1], "replaced")) {
        int kept = dup(full);
        MUST(dup2(empty, full) == full && kept >= 0);
    }
    pthread_t t;
    MUST(pthread_create(&t, NULL, waiter, NULL) == 0);
    ready();
    wait_go();

    EXPECT(fcntl(poll, F_GETFD) == FD_CLOEXEC, "close-on-exec is lost");
    EXPECT(ready_set(twin) == 1 << 1, "ready: %#llx", (unsigned long long)ready_set(poll));
    EXPECT(ready_set(shot) == 0, "the fired one-shot entry reports again");
    struct epoll_event again = {EPOLLIN | EPOLLONESHOT, {.u64 = 9}};
    EXPECT(epoll_ctl(shot, EPOLL_CTL_MOD, fired, &again) == 0, "one-shot: %s", strerror(errno));
    EXPECT(ready_set(shot) == 1 << 9, "the one-shot entry that was armed again does not report");
    signal_it(edge);
    signal_it(armed);
    signal_it(deep);
    EXPECT(write(pipe_[1], "x", 1) == 1, "pipe: %s", strerror(errno));
    uint64_t all = ready_set(poll);
    EXPECT(all == (1 << 1 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 8), "ready: %#llx", (unsigned long long)all);
    all = ready_set(poll);
    EXPECT(all == (1 << 1 | 1 << 6 | 1 << 8), "ready again: %#llx", (unsigned long long)all);
    EXPECT(ready_set(inner) == 1 << 7, "inner");
    EXPECT(epoll_ctl(poll, EPOLL_CTL_DEL, full, NULL) == 0, "delete: %s", strerror(errno));
    struct epoll_event one = {EPOLLIN, {.u64 = 1}};
    EXPECT(epoll_ctl(poll, EPOLL_CTL_ADD, empty, &one) == -1 && errno == EEXIST, "an entry is there twice");
    signal_it(late);
    pthread_join(t, NULL);
    return verdict();
}
