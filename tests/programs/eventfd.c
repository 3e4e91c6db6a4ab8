/* Event counters: empty, counted, semaphore, beyond 32 bits, non-blocking, duplicated; and one that a thread waits for. */
#include "scene.h"
#include <sys/eventfd.h>

static int waited;

static void *waiter(void *unused)
{
    uint64_t n = 0;
    ssize_t r = read(waited, &n, 8);
    EXPECT(r == 8 && n == 5, "the waiting thread read %zd bytes, %llu (%s)", r, (unsigned long long)n, strerror(errno));
    return unused;
}

static void expect_count(int fd, uint64_t want, const char *what)
{
    uint64_t n = 0;
    ssize_t r = read(fd, &n, 8);
    EXPECT(r == 8 && n == want, "%s: read %zd bytes, %llu instead of %llu", what, r, (unsigned long long)n,
           (unsigned long long)want);
}

static void expect_empty(int fd, const char *what)
{
    uint64_t n = 0;
    EXPECT(read(fd, &n, 8) == -1 && errno == EAGAIN, "%s: is not empty", what);
}

int main(void)
{
    int counted = eventfd(42, EFD_NONBLOCK), semaphore = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK);
    int large = eventfd(0, EFD_CLOEXEC), full = eventfd(0, EFD_NONBLOCK), empty = eventfd(0, EFD_NONBLOCK);
    waited = eventfd(0, 0);
    MUST(counted >= 0 && semaphore >= 0 && large >= 0 && full >= 0 && empty >= 0 && waited >= 0);
    uint64_t big = (1ULL << 40) + 7, most = UINT64_MAX - 1;
    MUST(write(large, &big, 8) == 8 && write(full, &most, 8) == 8);
    int twin = fcntl(counted, F_DUPFD, 400);
    MUST(twin == 400);
    pthread_t t;
    MUST(pthread_create(&t, NULL, waiter, NULL) == 0);
    ready();
    wait_go();

    EXPECT(fcntl(counted, F_GETFL) == (O_RDWR | O_NONBLOCK), "flags are %#o", fcntl(counted, F_GETFL));
    EXPECT(fcntl(large, F_GETFD) == FD_CLOEXEC, "close-on-exec is lost");
    expect_empty(empty, "empty counter");
    expect_count(twin, 42, "counter, by its duplicate");
    expect_empty(counted, "counter that was read");
    for (int k = 0; k < 3; k++)
        expect_count(semaphore, 1, "semaphore");
    expect_empty(semaphore, "semaphore");
    uint64_t one = 1;
    EXPECT(write(semaphore, &one, 8) == 8, "semaphore: write: %s", strerror(errno));
    expect_count(semaphore, 1, "semaphore, after a write");
    expect_count(large, big, "counter beyond 32 bits");
    EXPECT(write(full, &one, 8) == -1 && errno == EAGAIN, "the full counter took one more");
    expect_count(full, most, "full counter");
    uint64_t five = 5;
    EXPECT(write(waited, &five, 8) == 8, "write: %s", strerror(errno));
    pthread_join(t, NULL);
    return verdict();
}
