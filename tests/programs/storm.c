/* Threads that come and go all the time: storm CREATORS
 *
 * Each creator makes a thread, joins it and checks what it returned; the created thread leaves a mark in its own TLS
 * and stack. A checkpoint meets threads that are being born, and threads that are dying. */
#include "scene.h"

static volatile int stop;
static atomic_ulong made;
static __thread uint64_t mark = 3;

static void *child(void *arg)
{
    volatile uint64_t here[64];
    fill((void *)here, sizeof here, (uintptr_t)arg);
    EXPECT(mark == 3, "a new thread has the TLS of another: %llu", (unsigned long long)mark);
    mark = (uintptr_t)arg;
    EXPECT(wrong((void *)here, sizeof here, (uintptr_t)arg) == -1, "the stack of a new thread changed");
    EXPECT(mark == (uintptr_t)arg, "the TLS of a new thread changed");
    return (void *)((uintptr_t)arg * 3 + 1);
}

static void *creator(void *arg)
{
    for (uintptr_t n = (uintptr_t)arg << 32; !stop; n++) {
        pthread_t t;
        void *result = NULL;
        int e = pthread_create(&t, NULL, child, (void *)n);
        if (e) {
            FAIL("pthread_create: %s", strerror(e));
            break;
        }
        e = pthread_join(t, &result);
        EXPECT(e == 0, "pthread_join: %s", strerror(e));
        EXPECT(result == (void *)(n * 3 + 1), "a thread returned %p", result);
        atomic_fetch_add(&made, 1);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 4;
    pthread_t creators[64];
    for (int k = 0; k < count && k < 64; k++)
        MUST(pthread_create(&creators[k], NULL, creator, (void *)(uintptr_t)(k + 1)) == 0);
    rest(0.1);
    ready();
    wait_go();
    unsigned long before = atomic_load(&made);
    rest(0.5);
    EXPECT(atomic_load(&made) > before, "no more threads are made");
    stop = 1;
    for (int k = 0; k < count && k < 64; k++)
        pthread_join(creators[k], NULL);
    say("made %lu", atomic_load(&made));
    return verdict();
}
