/* A worker with memory and threads: work MIB THREADS
 *
 * Each thread owns a slice of the memory, checks it, rewrites it and counts; a line `count N` is printed twice a second.
 * The demo and the speed scenes use it. It ends when the file `go` appears. */
#include "scene.h"
#include <sys/mman.h>

static volatile int stop;
static char *base;
static size_t slice;
static atomic_ulong count;
static atomic_int filled;

static void *worker(void *arg)
{
    int number = (int)(uintptr_t)arg;
    char *own = base + slice * number;
    /* All of it is there from the start; then page after page gets new contents. */
    size_t pages = slice / 4096;
    uint64_t *seeds = calloc(pages, sizeof *seeds);
    for (size_t k = 0; k < pages; k++)
        fill(own + k * 4096, 4096, seeds[k] = number * 1000003ul + k);
    atomic_fetch_add(&filled, 1);
    for (size_t k = 0; !stop; k = (k + 1) % pages) {
        long bad = wrong(own + k * 4096, 4096, seeds[k]);
        EXPECT(bad == -1, "thread %d: page %zu is wrong from word %ld on", number, k, bad);
        fill(own + k * 4096, 4096, ++seeds[k]);
        atomic_fetch_add(&count, 1);
        if (k % 16 == 0)
            rest(0.002);
    }
    for (size_t k = 0; k < pages; k++) {
        long bad = wrong(own + k * 4096, 4096, seeds[k]);
        EXPECT(bad == -1, "thread %d: page %zu is wrong from word %ld on", number, k, bad);
    }
    free(seeds);
    return NULL;
}

int main(int argc, char **argv)
{
    size_t mib = argc > 1 ? atol(argv[1]) : 16;
    int threads = argc > 2 ? atoi(argv[2]) : 4;
    pthread_t handles[256];
    MUST(threads > 0 && threads <= 256);
    slice = (mib << 20) / threads / 4096 * 4096;
    base = mmap(NULL, slice * threads, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(base != MAP_FAILED);
    for (int k = 0; k < threads; k++)
        MUST(pthread_create(&handles[k], NULL, worker, (void *)(uintptr_t)k) == 0);
    while (atomic_load(&filled) < threads)
        rest(0.02);
    ready();
    for (int k = 0; !is_go(); k++) {
        if (k % 10 == 0)
            say("count %lu", atomic_load(&count));
        rest(0.05);
    }
    stop = 1;
    for (int k = 0; k < threads; k++)
        pthread_join(handles[k], NULL);
    return verdict();
}
