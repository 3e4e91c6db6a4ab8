/* Rings of io_uring by plain system calls: idle, with events not taken, with entries not submitted, of one issuer, with
 * large entries, disabled, registered by index; a thread that waits for an event; and what refuses a checkpoint. */
#include "scene.h"
#include <linux/io_uring.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>

struct ring {
    int fd;
    struct io_uring_params p;
    unsigned char *sq, *cq;             /* the rings; the same memory */
    size_t sq_len, cq_len, sqes_len;
    unsigned char *sqes;
    unsigned sq_tail, cq_head;          /* as the program counts */
};

#define WORD(base, offset) ((_Atomic unsigned *)((base) + (offset)))

static int enter(const struct ring *r, unsigned submit, unsigned wait, unsigned flags)
{
    return (int)syscall(SYS_io_uring_enter, r->fd, submit, wait, flags, NULL, 0);
}

static void map_ring(struct ring *r, int one_area)
{
    size_t sqe = r->p.flags & IORING_SETUP_SQE128 ? 128 : 64, cqe = r->p.flags & IORING_SETUP_CQE32 ? 32 : 16;
    r->sq_len = r->p.sq_off.array + r->p.sq_entries * sizeof(unsigned);
    r->cq_len = r->p.cq_off.cqes + r->p.cq_entries * cqe;
    if (r->p.flags & IORING_SETUP_NO_SQARRAY)
        r->sq_len = r->cq_len;
    if (one_area && r->cq_len > r->sq_len)
        r->sq_len = r->cq_len;
    r->sqes_len = r->p.sq_entries * sqe;
    r->sq = mmap(NULL, r->sq_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
    MUST(r->sq != MAP_FAILED);
    r->cq = r->sq;
    if (!one_area) {
        r->cq = mmap(NULL, r->cq_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_CQ_RING);
        MUST(r->cq != MAP_FAILED);
    }
    r->sqes = mmap(NULL, r->sqes_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQES);
    MUST(r->sqes != MAP_FAILED);
}

static void make(struct ring *r, unsigned entries, unsigned flags, unsigned cq_entries)
{
    memset(r, 0, sizeof *r);
    r->p.flags = flags | (cq_entries ? IORING_SETUP_CQSIZE : 0);
    r->p.cq_entries = cq_entries;
    r->fd = (int)syscall(SYS_io_uring_setup, entries, &r->p);
    if (r->fd < 0 && (errno == ENOSYS || errno == EPERM)) {
        say("skipped io_uring");
        say("ready");
        say("PASS");
        _exit(0);
    }
    MUST(r->fd >= 0);
    map_ring(r, !cq_entries);
}

/* Puts an entry into the ring without submitting it. */
static struct io_uring_sqe *put(struct ring *r, int op, uint64_t user_data)
{
    unsigned at = r->sq_tail & (r->p.sq_entries - 1);
    size_t size = r->p.flags & IORING_SETUP_SQE128 ? 128 : 64;
    struct io_uring_sqe *s = (void *)(r->sqes + at * size);
    memset(s, 0, size);
    s->opcode = op;
    s->user_data = user_data;
    if (!(r->p.flags & IORING_SETUP_NO_SQARRAY))
        atomic_store(WORD(r->sq, r->p.sq_off.array) + at, at);
    atomic_store(WORD(r->sq, r->p.sq_off.tail), ++r->sq_tail);
    return s;
}

/* The next event; its result, or `none`. */
static int take(struct ring *r, uint64_t want, int none)
{
    if (atomic_load(WORD(r->cq, r->p.cq_off.tail)) == r->cq_head)
        return none;
    size_t size = r->p.flags & IORING_SETUP_CQE32 ? 32 : 16;
    struct io_uring_cqe *c = (void *)(r->cq + r->p.cq_off.cqes + (r->cq_head & (r->p.cq_entries - 1)) * size);
    int res = c->res;
    EXPECT(c->user_data == want, "event %llu instead of %llu", (unsigned long long)c->user_data, (unsigned long long)want);
    atomic_store(WORD(r->cq, r->p.cq_off.head), ++r->cq_head);
    return res;
}

static void expect_event(struct ring *r, uint64_t want, const char *what)
{
    int res = take(r, want, -1000);
    EXPECT(res == 0, "%s: the result is %d", what, res);
}

static void expect_empty(struct ring *r, const char *what)
{
    unsigned tail = atomic_load(WORD(r->cq, r->p.cq_off.tail));
    EXPECT(tail == r->cq_head, "%s: %u events too many", what, tail - r->cq_head);
    unsigned head = atomic_load(WORD(r->sq, r->p.sq_off.head));
    EXPECT(head == r->sq_tail, "%s: the kernel has taken %u of %u entries", what, head, r->sq_tail);
}

/* Submits an entry that does nothing and takes its event. */
static void nop(struct ring *r, uint64_t user_data, const char *what)
{
    put(r, IORING_OP_NOP, user_data);
    int n = enter(r, 1, 1, IORING_ENTER_GETEVENTS);
    EXPECT(n == 1, "%s: io_uring_enter gave %d (%s)", what, n, strerror(errno));
    expect_event(r, user_data, what);
}

/* Reads through the ring, by a worker of the kernel with IOSQE_ASYNC. */
static void transfer(struct ring *r, int flags, const char *what)
{
    int p[2];
    char got[8] = "";
    MUST(pipe(p) == 0 && write(p[1], "through", 8) == 8);
    struct io_uring_sqe *s = put(r, IORING_OP_READ, 4711);
    s->fd = p[0];
    s->flags = flags;
    s->addr = (uintptr_t)got;
    s->len = 8;
    int n = enter(r, 1, 1, IORING_ENTER_GETEVENTS), res = take(r, 4711, -1000);
    EXPECT(n == 1 && res == 8 && !strcmp(got, "through"), "%s: read %d bytes \"%s\" (enter %d)", what, res, got, n);
    close(p[0]);
    close(p[1]);
}

/* ---- a thread with a ring of its own */

static struct ring own;
static int own_index = -1;
static atomic_int begun;

static void by_index(uint64_t user_data)
{
    put(&own, IORING_OP_NOP, user_data);
    int n = (int)syscall(SYS_io_uring_enter, own_index, 1, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_REGISTERED_RING, NULL, 0);
    EXPECT(n == 1, "the registered ring: io_uring_enter gave %d (%s)", n, strerror(errno));
    expect_event(&own, user_data, "the registered ring");
}

static void *issuer(void *unused)
{
    make(&own, 16, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, 0);
    struct io_uring_rsrc_update u = {.offset = 5, .data = own.fd};
    MUST(syscall(SYS_io_uring_register, own.fd, IORING_REGISTER_RING_FDS, &u, 1) == 1);
    own_index = u.offset;
    MUST(own_index == 5);
    by_index(1);
    atomic_store(&begun, 1);
    wait_go();
    by_index(2);
    nop(&own, 3, "the ring of one issuer");
    transfer(&own, IOSQE_ASYNC, "the ring of one issuer");
    expect_empty(&own, "the ring of one issuer");
    atomic_store(&begun, 2);
    return unused;
}

/* Rings that tell an eventfd of their events: all of them, or only those that nobody waits for. */
static int tells(void)
{
    struct ring all, some;
    uint64_t n;
    int e = eventfd(5, EFD_NONBLOCK), f = eventfd(0, EFD_NONBLOCK);
    MUST(e >= 0 && f >= 0);
    make(&all, 8, IORING_SETUP_SINGLE_ISSUER, 0);
    make(&some, 8, 0, 0);
    MUST(syscall(SYS_io_uring_register, all.fd, IORING_REGISTER_EVENTFD, &e, 1) == 0);
    MUST(syscall(SYS_io_uring_register, some.fd, IORING_REGISTER_EVENTFD_ASYNC, &f, 1) == 0);
    nop(&all, 1, "set-up");
    nop(&some, 1, "set-up");
    ready();
    wait_go();
    EXPECT(read(e, &n, 8) == 8 && n == 6, "the counter was %llu", (unsigned long long)n);
    EXPECT(read(f, &n, 8) == -1, "the other counter was %llu", (unsigned long long)n);
    nop(&all, 2, "the ring that tells");
    n = 0;
    EXPECT(read(e, &n, 8) == 8 && n == 1, "the ring has told %llu events", (unsigned long long)n);
    nop(&some, 2, "the ring that tells some");
    EXPECT(read(f, &n, 8) == -1, "an event was told that was waited for");
    transfer(&some, IOSQE_ASYNC, "the ring that tells some");
    EXPECT(read(f, &n, 8) == 8 && n == 1, "the event of a worker was not told");
    return verdict();
}

static int states(void)
{
    struct ring idle, used, large, off, worn;
    pthread_t t;
    make(&idle, 8, 0, 0);
    make(&used, 8, IORING_SETUP_CLAMP, 0);
    make(&large, 4, IORING_SETUP_SQE128 | IORING_SETUP_CQE32 | IORING_SETUP_NO_SQARRAY, 4);
    make(&off, 4, IORING_SETUP_R_DISABLED, 0);
    make(&worn, 4, IORING_SETUP_COOP_TASKRUN, 32);
    MUST(pthread_create(&t, NULL, issuer, NULL) == 0);
    while (!atomic_load(&begun))
        rest(0.01);
    MUST(madvise(used.sq, used.sq_len, MADV_DONTFORK) == 0);

    /* Five events, of which two are taken; three entries that are not submitted. */
    for (unsigned k = 0; k < 5; k++)
        put(&used, IORING_OP_NOP, 100 + k);
    MUST(enter(&used, 5, 0, 0) == 5);
    expect_event(&used, 100, "set-up");
    expect_event(&used, 101, "set-up");
    for (unsigned k = 0; k < 3; k++)
        put(&used, IORING_OP_NOP, 200 + k);
    /* Around its ring many times. */
    for (unsigned k = 0; k < 1001; k++)
        nop(&worn, k, "set-up");
    nop(&large, 7, "set-up");
    /* Leaves a worker behind, which waits for more. */
    transfer(&idle, IOSQE_ASYNC, "set-up");
    int twin = dup(idle.fd);
    MUST(twin >= 0);
    ready();
    wait_go();

    EXPECT(fcntl(idle.fd, F_GETFD) == FD_CLOEXEC, "close-on-exec is lost");
    for (unsigned k = 2; k < 5; k++)
        expect_event(&used, 100 + k, "event that was not taken");
    EXPECT(take(&used, 0, -1000) == -1000, "there are more events");
    int n = enter(&used, 3, 3, IORING_ENTER_GETEVENTS);
    EXPECT(n == 3, "entries that were not submitted: io_uring_enter gave %d (%s)", n, strerror(errno));
    for (unsigned k = 0; k < 3; k++)
        expect_event(&used, 200 + k, "entry that was not submitted");
    for (unsigned k = 0; k < 20; k++)
        nop(&used, 300 + k, "used ring");
    transfer(&used, 0, "used ring");
    expect_empty(&used, "used ring");
    EXPECT(*WORD(used.sq, used.p.sq_off.dropped) == 0 && *WORD(used.cq, used.p.cq_off.overflow) == 0, "counts of losses");

    for (unsigned k = 0; k < 20; k++)
        nop(&idle, k, "idle ring");
    close(idle.fd);
    idle.fd = twin;
    nop(&idle, 20, "idle ring, by its duplicate");
    expect_empty(&idle, "idle ring");
    for (unsigned k = 0; k < 100; k++)
        nop(&worn, 2000 + k, "worn ring");
    expect_empty(&worn, "worn ring");
    nop(&large, 8, "ring of large entries");
    transfer(&large, IOSQE_ASYNC, "ring of large entries");
    expect_empty(&large, "ring of large entries");

    put(&off, IORING_OP_NOP, 1);
    EXPECT(enter(&off, 1, 0, 0) == -1 && errno == EBADFD, "the disabled ring is enabled");
    EXPECT(syscall(SYS_io_uring_register, off.fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) == 0, "enable: %s", strerror(errno));
    EXPECT(enter(&off, 1, 1, IORING_ENTER_GETEVENTS) == 1, "the enabled ring: %s", strerror(errno));
    expect_event(&off, 1, "the enabled ring");

    pthread_join(t, NULL);
    EXPECT(atomic_load(&begun) == 2, "the thread with a ring of its own did not end");
    /* A ring of one issuer is nobody else's. */
    put(&own, IORING_OP_NOP, 9);
    EXPECT(enter(&own, 1, 0, 0) == -1 && errno == EEXIST, "another thread may submit to the ring of one issuer");
    return verdict();
}

/* ---- a thread that waits for an event that another makes */

static struct ring shared;

static void *waiter(void *unused)
{
    atomic_store(&begun, 1);
    int n = enter(&shared, 0, 1, IORING_ENTER_GETEVENTS);
    EXPECT(n == 0, "the waiting thread got %d (%s)", n, strerror(errno));
    expect_event(&shared, 77, "the waiting thread");
    return unused;
}

static int waits(void)
{
    pthread_t t;
    make(&shared, 8, 0, 0);
    MUST(pthread_create(&t, NULL, waiter, NULL) == 0);
    while (!atomic_load(&begun))
        rest(0.01);
    rest(0.2);
    ready();
    wait_go();
    put(&shared, IORING_OP_NOP, 77);
    EXPECT(enter(&shared, 1, 0, 0) == 1, "io_uring_enter: %s", strerror(errno));
    pthread_join(t, NULL);
    return verdict();
}

/* ---- rings of several processes */

static void hear(int fd)
{
    char c;
    EXPECT(read(fd, &c, 1) == 1, "the other process said nothing");
}

static void tell(int fd)
{
    EXPECT(write(fd, "x", 1) == 1, "write: %s", strerror(errno));
}

/* Has the ring `both` with its parent, `left` alone since its parent closed it, and one that only itself may use. */
static void child(struct ring *both, struct ring *left, int in, int out)
{
    issuer(NULL);
    nop(left, 31, "the ring that the parent has left");
    expect_empty(left, "the ring that the parent has left");
    hear(in);
    put(both, IORING_OP_NOP, 3);
    EXPECT(enter(both, 1, 0, 0) == 1, "the child cannot submit: %s", strerror(errno));
    tell(out);
    _exit(atomic_load(&faults) != 0);
}

static int family(void)
{
    struct ring both, left;
    int down[2], up[2], status;
    pid_t sub, idle;
    make(&both, 8, 0, 0);
    make(&left, 4, IORING_SETUP_COOP_TASKRUN, 0);
    nop(&left, 30, "set-up");
    put(&both, IORING_OP_NOP, 1);
    put(&both, IORING_OP_NOP, 2);
    MUST(enter(&both, 2, 0, 0) == 2);
    MUST(pipe(down) == 0 && pipe(up) == 0);
    MUST((sub = fork()) >= 0);
    if (sub == 0)
        child(&both, &left, down[0], up[1]);
    /* Has the descriptor, and no memory of the ring. */
    MUST((idle = fork()) >= 0);
    if (idle == 0) {
        munmap(both.sq, both.sq_len);
        munmap(both.sqes, both.sqes_len);
        wait_go();
        EXPECT(enter(&both, 0, 0, IORING_ENTER_GETEVENTS) == 0, "the second child: %s", strerror(errno));
        _exit(atomic_load(&faults) != 0);
    }
    close(left.fd);
    munmap(left.sq, left.sq_len);
    munmap(left.sqes, left.sqes_len);
    rest(0.3);
    ready();
    wait_go();
    expect_event(&both, 1, "event that was not taken");
    expect_event(&both, 2, "event that was not taken");
    tell(down[1]);
    hear(up[0]);
    expect_event(&both, 3, "event of the child");
    both.sq_tail++;
    nop(&both, 4, "the ring of both");
    expect_empty(&both, "the ring of both");
    EXPECT(waitpid(sub, &status, 0) == sub && status == 0, "the child ended with %#x", status);
    EXPECT(waitpid(idle, &status, 0) == idle && status == 0, "the second child ended with %#x", status);
    return verdict();
}

/* ---- what is in the way of a checkpoint */

static void submit_read(struct ring *r, int fd, void *to)
{
    struct io_uring_sqe *s = put(r, IORING_OP_READ, 1);
    s->fd = fd;
    s->addr = (uintptr_t)to;
    s->len = 1;
    MUST(enter(r, 1, 0, 0) == 1);
}

static int obstacle(const char *kind)
{
    static char page[4096] __attribute__((aligned(4096)));
    struct ring r;
    int p[2], child = 0;
    MUST(pipe(p) == 0);
    make(&r, 4, !strcmp(kind, "polling") ? IORING_SETUP_SQPOLL : 0, 0);
    if (!strcmp(kind, "flight")) {
        submit_read(&r, p[0], page);
    } else if (!strcmp(kind, "buffers")) {
        struct iovec v = {page, sizeof page};
        MUST(syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_BUFFERS, &v, 1) == 0);
    } else if (!strcmp(kind, "files")) {
        MUST(syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_FILES, p, 2) == 0);
    } else if (!strcmp(kind, "eventfd")) {
        int e = eventfd(0, 0);
        MUST(syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_EVENTFD, &e, 1) == 0);
        close(e);
    } else if (!strcmp(kind, "credentials")) {
        MUST(syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_PERSONALITY, NULL, 0) > 0);
    } else if (!strcmp(kind, "closed")) {
        close(r.fd);
    } else if (!strcmp(kind, "unmapped")) {
        MUST(munmap(r.sqes, r.sqes_len) == 0);
    } else if (!strcmp(kind, "readonly")) {
        MUST(mprotect(r.sq, r.sq_len, PROT_READ) == 0);
    } else if (!strcmp(kind, "foreign")) {
        MUST((child = fork()) >= 0);
        if (child == 0) {
            wait_go();
            _exit(0);
        }
    } else {
        MUST(!strcmp(kind, "polling"));
    }
    ready();
    wait_go();
    if (!strcmp(kind, "flight")) {
        EXPECT(write(p[1], "x", 1) == 1 && enter(&r, 0, 1, IORING_ENTER_GETEVENTS) == 0, "enter: %s", strerror(errno));
        EXPECT(take(&r, 1, -1000) == 1 && page[0] == 'x', "the read did not end");
    }
    if (child)
        waitpid(child, NULL, 0);
    return verdict();
}

/* Always one request in flight, each for a moment: a checkpoint finds the moment between two. */
static int busy(void)
{
    struct ring r;
    struct __kernel_timespec moment = {.tv_nsec = 20 * 1000 * 1000};
    make(&r, 4, 0, 0);
    ready();
    uint64_t rounds = 0;
    while (!is_go()) {
        struct io_uring_sqe *s = put(&r, IORING_OP_TIMEOUT, ++rounds);
        s->addr = (uintptr_t)&moment;
        s->len = 1;
        EXPECT(enter(&r, 1, 0, 0) == 1, "submit: %s", strerror(errno));
        EXPECT(enter(&r, 0, 1, IORING_ENTER_GETEVENTS) == 0, "wait: %s", strerror(errno));
        int res = take(&r, rounds, -1000);
        EXPECT(res == -ETIME, "the time-out ended with %d", res);
        rest(0.02);
    }
    return verdict();
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "states";
    if (!strcmp(mode, "states"))
        return states();
    if (!strcmp(mode, "waits"))
        return waits();
    if (!strcmp(mode, "busy"))
        return busy();
    if (!strcmp(mode, "tells"))
        return tells();
    if (!strcmp(mode, "family"))
        return family();
    return obstacle(mode);
}
