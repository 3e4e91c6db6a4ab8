/* Pipes in every state: pipes states | flow | outside
 *
 * states: half-read, full, packet mode, enlarged, empty, one end closed, non-blocking, duplicated, FIFO; flow: two
 * threads send checked data through pipes as fast as they can; outside: standard output is a pipe to somebody else, and
 * the program writes a numbered line now and then. */
#include "scene.h"
#include <poll.h>
#include <sys/ioctl.h>

static void expect_text(int fd, const char *text, size_t ask, const char *what)
{
    char got[256] = {0};
    ssize_t n = read(fd, got, ask);
    EXPECT(n == (ssize_t)strlen(text) && !memcmp(got, text, strlen(text)), "%s: read %zd bytes '%s' instead of '%s'",
           what, n, got, text);
}

static int queued(int fd)
{
    int n = -1;
    ioctl(fd, FIONREAD, &n);
    return n;
}

static int is_empty(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, 0) == 0;
}

static int states(void)
{
    int half[2], full[2], packets[2], large[2], empty[2], closed[2], broken[2], second[2], fifo[2], small[2];
    MUST(pipe(half) == 0 && write(half[1], "abcdef", 6) == 6);
    char two[2];
    MUST(read(half[0], two, 2) == 2);
    /* Several buffers, the first of them half read. */
    MUST(pipe(second) == 0 && write(second[1], "one", 3) == 3 && write(second[1], "two", 3) == 3 &&
         write(second[1], "three", 5) == 5 && read(second[0], two, 2) == 2);
    MUST(pipe2(full, O_NONBLOCK) == 0);
    char block[4096];
    int blocks = 0;
    do
        memset(block, 'A' + blocks % 26, sizeof block);
    while (write(full[1], block, sizeof block) == sizeof block && ++blocks);
    MUST(errno == EAGAIN);
    MUST(pipe2(packets, O_DIRECT) == 0 && write(packets[1], "first", 5) == 5 && write(packets[1], "second", 6) == 6 &&
         write(packets[1], "x", 1) == 1);
    MUST(pipe(large) == 0 && fcntl(large[1], F_SETPIPE_SZ, 1 << 20) == 1 << 20);
    static char much[300000], got[300000];
    fill(much, sizeof much, 61);
    MUST(write(large[1], much, sizeof much) == sizeof much);
    MUST(pipe(small) == 0 && fcntl(small[0], F_SETPIPE_SZ, 4096) == 4096);
    MUST(pipe2(empty, O_CLOEXEC) == 0);
    MUST(pipe(closed) == 0 && write(closed[1], "last words", 10) == 10 && close(closed[1]) == 0);
    MUST(pipe(broken) == 0 && close(broken[0]) == 0);
    MUST(mkfifo("states-fifo", 0600) == 0 || errno == EEXIST);
    fifo[0] = open("states-fifo", O_RDONLY | O_NONBLOCK);
    fifo[1] = open("states-fifo", O_WRONLY);
    MUST(fifo[0] >= 0 && fifo[1] >= 0 && write(fifo[1], "in the fifo", 11) == 11 && read(fifo[0], two, 2) == 2);
    int twin = fcntl(half[0], F_DUPFD, 300);
    MUST(twin == 300);
    signal(SIGPIPE, SIG_IGN);
    ready();
    wait_go();

    EXPECT(queued(half[0]) == 4, "half-read pipe: %d bytes are queued", queued(half[0]));
    expect_text(half[0], "cd", 2, "half-read pipe");
    expect_text(twin, "ef", 100, "half-read pipe, duplicate");
    EXPECT(is_empty(half[0]), "the half-read pipe has more than its unread bytes");
    EXPECT(write(half[1], "new", 3) == 3, "write to the half-read pipe: %s", strerror(errno));
    expect_text(half[0], "new", 100, "half-read pipe, new bytes");
    expect_text(second[0], "etwothree", 100, "pipe with several buffers");
    EXPECT(is_empty(second[0]), "the pipe with several buffers has more than its unread bytes");
    EXPECT(write(full[1], "x", 1) == -1 && errno == EAGAIN, "the full pipe is not full");
    for (int k = 0; k < blocks; k++) {
        ssize_t n = read(full[0], block, sizeof block);
        EXPECT(n == sizeof block && block[0] == 'A' + k % 26 && block[4095] == block[0], "full pipe: block %d", k);
    }
    EXPECT(read(full[0], block, 1) == -1 && errno == EAGAIN, "the full pipe has more than it took, or blocks");
    /* One read per packet; what does not fit is thrown away. */
    EXPECT(fcntl(packets[1], F_GETFL) & O_DIRECT, "the packet pipe lost O_DIRECT");
    expect_text(packets[0], "first", 100, "packet pipe");
    expect_text(packets[0], "sec", 3, "packet pipe, cut");
    expect_text(packets[0], "x", 100, "packet pipe");
    EXPECT(is_empty(packets[0]), "the packet pipe has more than its packets");
    EXPECT(write(packets[1], "ab", 2) == 2 && write(packets[1], "cd", 2) == 2, "write to the packet pipe");
    expect_text(packets[0], "ab", 100, "packet pipe, new packet");
    expect_text(packets[0], "cd", 100, "packet pipe, new packet");
    EXPECT(fcntl(large[0], F_GETPIPE_SZ) == 1 << 20, "the large pipe holds %d bytes", fcntl(large[0], F_GETPIPE_SZ));
    size_t n = 0;
    while (n < sizeof got && queued(large[0]) > 0) {
        ssize_t r = read(large[0], got + n, sizeof got - n);
        if (r <= 0)
            break;
        n += r;
    }
    EXPECT(n == sizeof got && !memcmp(got, much, sizeof got), "the large pipe gave %zu of %zu bytes, or wrong ones", n,
           sizeof got);
    EXPECT(is_empty(large[0]), "the large pipe has more than its unread bytes");
    EXPECT(fcntl(small[0], F_GETPIPE_SZ) == 4096, "the small pipe holds %d bytes", fcntl(small[0], F_GETPIPE_SZ));
    EXPECT(is_empty(empty[0]) && fcntl(empty[0], F_GETFD) == FD_CLOEXEC, "the empty pipe");
    EXPECT(write(empty[1], "e", 1) == 1, "write to the empty pipe: %s", strerror(errno));
    expect_text(empty[0], "e", 10, "the empty pipe");
    expect_text(closed[0], "last words", 100, "pipe without writer");
    EXPECT(read(closed[0], block, 1) == 0, "the pipe without writer does not end");
    EXPECT(write(broken[1], "x", 1) == -1 && errno == EPIPE, "the pipe without reader takes data");
    expect_text(fifo[0], " the fifo", 100, "FIFO");
    EXPECT(read(fifo[0], block, 1) == -1 && errno == EAGAIN, "the FIFO has more than its unread bytes");
    int outside = open("states-fifo", O_WRONLY | O_NONBLOCK);
    EXPECT(outside >= 0 && write(outside, "by name", 7) == 7, "the FIFO is not reached by its name: %s", strerror(errno));
    expect_text(fifo[0], "by name", 100, "FIFO by its name");
    return verdict();
}

static volatile int stop;
enum { CHUNK = 1021 };

struct channel {
    int pipe[2];
    uint64_t seed;
    atomic_ulong sent, received;
};

static void *sender(void *arg)
{
    struct channel *c = arg;
    uint64_t chunk[CHUNK];
    for (unsigned long k = 0; !stop; k++) {
        fill(chunk, sizeof chunk, c->seed + k);
        size_t length = 8 * (1 + k % CHUNK);
        for (size_t at = 0; at < length;) {
            ssize_t n = write(c->pipe[1], (char *)chunk + at, length - at);
            EXPECT(n > 0, "write: %zd %s", n, strerror(errno));
            if (n <= 0)
                return NULL;
            at += n;
        }
        atomic_fetch_add(&c->sent, 1);
    }
    close(c->pipe[1]);
    return NULL;
}

static void *receiver(void *arg)
{
    struct channel *c = arg;
    uint64_t chunk[CHUNK];
    for (unsigned long k = 0;; k++) {
        size_t length = 8 * (1 + k % CHUNK), at = 0;
        while (at < length) {
            ssize_t n = read(c->pipe[0], (char *)chunk + at, length - at);
            EXPECT(n > 0 || (n == 0 && at == 0), "read: %zd %s", n, strerror(errno));
            if (n <= 0)
                return NULL;
            at += n;
        }
        long bad = wrong(chunk, length, c->seed + k);
        EXPECT(bad == -1, "chunk %lu is wrong from word %ld on", k, bad);
        if (bad != -1)
            return NULL;
        atomic_fetch_add(&c->received, 1);
    }
}

static int flow(void)
{
    static struct channel channels[2];
    pthread_t threads[4];
    for (int k = 0; k < 2; k++) {
        MUST(pipe(channels[k].pipe) == 0);
        channels[k].seed = 1000000 * (k + 1);
        MUST(pthread_create(&threads[2 * k], NULL, sender, &channels[k]) == 0);
        MUST(pthread_create(&threads[2 * k + 1], NULL, receiver, &channels[k]) == 0);
    }
    rest(0.1);
    ready();
    wait_go();
    unsigned long before = atomic_load(&channels[0].received);
    rest(0.3);
    EXPECT(atomic_load(&channels[0].received) > before, "nothing flows any more");
    stop = 1;
    for (int k = 0; k < 4; k++)
        pthread_join(threads[k], NULL);
    for (int k = 0; k < 2; k++) {
        EXPECT(channels[k].sent == channels[k].received, "channel %d: %lu chunks sent, %lu received", k,
               channels[k].sent, channels[k].received);
        say("chunks %lu", channels[k].received);
    }
    return verdict();
}

static int outside(void)
{
    ready();
    for (int k = 0; !is_go(); k++) {
        say("line %d", k);
        rest(0.02);
    }
    return verdict();
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "states";
    if (!strcmp(mode, "flow"))
        return flow();
    if (!strcmp(mode, "outside"))
        return outside();
    return states();
}
