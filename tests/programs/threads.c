/* Threads of four kinds that watch themselves (also static): threads COUNT
 *
 * spinning: an xmm pattern, a TLS variable and its own tid must never change; sleeping: nanosleep must return 0;
 * mutex: the sum under a lock must agree with the threads' own counts; condvar: rounds of broadcast and answer, in
 * which a lost wake-up shows as a round that does not end. */
#include "scene.h"

static volatile int stop;
static __thread uint64_t own = 7;
static pthread_mutex_t sum_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t sum;
static pthread_mutex_t round_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t round_begins, round_answers;
static uint64_t round_number;
static int answers, condvar_threads;
static pthread_barrier_t set_up;

enum { ANSWERING, ADDING, SPINNING, SLEEPING };

struct thread {
    pthread_t handle;
    int number, tid, kind;
    uint64_t count;
};

static void check_self(struct thread *t)
{
    EXPECT(own == 1000u + t->number, "thread %d: its TLS variable is %llu", t->number, (unsigned long long)own);
    EXPECT(own_tid() == t->tid, "thread %d: its tid changed from %d to %d", t->number, t->tid, own_tid());
    EXPECT(pthread_equal(pthread_self(), t->handle), "thread %d: pthread_self() changed", t->number);
}

static void begin(struct thread *t)
{
    t->tid = own_tid();
    own = 1000u + t->number;
    t->handle = pthread_self();
    pthread_barrier_wait(&set_up);
}

static void *spinning(void *arg)
{
    struct thread *t = arg;
    begin(t);
    uint64_t low = 0x1122334455667788u + t->number, high = ~low;
    __asm__ volatile("movq %0, %%xmm14\n\tmovq %1, %%xmm15" ::"r"(low), "r"(high) : "xmm14", "xmm15");
    while (!stop) {
        uint64_t a, b;
        for (int k = 0; k < 20000; k++) {
            __asm__ volatile("movq %%xmm14, %0\n\tmovq %%xmm15, %1" : "=r"(a), "=r"(b));
            if (a != low || b != high) {
                FAIL("thread %d: xmm14/15 hold %llx %llx", t->number, (unsigned long long)a, (unsigned long long)b);
                return NULL;
            }
        }
        check_self(t);
        __asm__ volatile("movq %0, %%xmm14\n\tmovq %1, %%xmm15" ::"r"(low), "r"(high) : "xmm14", "xmm15");
        t->count++;
    }
    return NULL;
}

static void *sleeping(void *arg)
{
    struct thread *t = arg;
    begin(t);
    while (!stop) {
        struct timespec nap = {0, 20000000 + 1000000 * (t->number % 32)};
        double from = now();
        int r = nanosleep(&nap, NULL), e = errno;
        EXPECT(r == 0, "thread %d: nanosleep: %s", t->number, strerror(e));
        EXPECT(now() - from >= 0.02, "thread %d: nanosleep returned after %.4f s", t->number, now() - from);
        check_self(t);
        t->count++;
    }
    return NULL;
}

static void *adding(void *arg)
{
    struct thread *t = arg;
    begin(t);
    while (!stop) {
        for (int k = 0; k < 50; k++) {
            pthread_mutex_lock(&sum_lock);
            sum++;
            pthread_mutex_unlock(&sum_lock);
            t->count++;
        }
        check_self(t);
        rest(0.005);
    }
    return NULL;
}

static void *answering(void *arg)
{
    struct thread *t = arg;
    begin(t);
    uint64_t seen = 0;
    pthread_mutex_lock(&round_lock);
    for (;;) {
        while (round_number == seen)
            pthread_cond_wait(&round_begins, &round_lock);
        EXPECT(round_number == seen + 1, "thread %d: round %llu follows %llu", t->number,
               (unsigned long long)round_number, (unsigned long long)seen);
        seen = round_number;
        t->count++;
        if (++answers == condvar_threads)
            pthread_cond_signal(&round_answers);
        if (stop)
            break;
    }
    pthread_mutex_unlock(&round_lock);
    check_self(t);
    return NULL;
}

/* One round: wakes all condvar threads and waits until each has answered. */
static int one_round(void)
{
    int lost = 0;
    pthread_mutex_lock(&round_lock);
    answers = 0;
    round_number++;
    pthread_cond_broadcast(&round_begins);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += 30;
    while (answers < condvar_threads && !lost)
        if (pthread_cond_timedwait(&round_answers, &round_lock, &until) == ETIMEDOUT) {
            FAIL("round %llu: %d of %d threads answered within 30 s: a wake-up was lost",
                 (unsigned long long)round_number, answers, condvar_threads);
            lost = 1;
        }
    pthread_mutex_unlock(&round_lock);
    return lost;
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 4;
    void *(*const kinds[])(void *) = {answering, adding, spinning, sleeping};
    struct thread *threads = calloc(count, sizeof *threads);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&round_begins, &monotonic);
    pthread_cond_init(&round_answers, &monotonic);
    pthread_barrier_init(&set_up, NULL, count);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 128 << 10);
    own = 1;
    /* The main thread is one of the COUNT. Only two threads spin, or an emulated machine does nothing else. */
    for (int k = 1; k < count; k++) {
        int kind = (k - 1) % 4;
        if (kind == SPINNING && k > 8)
            kind = SLEEPING;
        condvar_threads += kind == ANSWERING;
        threads[k].number = k;
        threads[k].kind = kind;
        MUST(pthread_create(&threads[k].handle, &small, kinds[kind], &threads[k]) == 0);
    }
    pthread_barrier_wait(&set_up);
    int tid = own_tid();
    ready();
    uint64_t rounds = 0;
    while (!is_go()) {
        if (condvar_threads && one_round())
            break;
        rounds++;
        EXPECT(own == 1 && own_tid() == tid, "main thread: TLS %llu, tid %d", (unsigned long long)own, own_tid());
        struct timespec nap = {0, 10000000};
        int r = nanosleep(&nap, NULL), e = errno;
        EXPECT(r == 0, "main thread: nanosleep: %s", strerror(e));
    }
    /* Everybody is still able to do all it could: one more round, and every loop once more. */
    uint64_t before[256] = {0};
    for (int k = 1; k < count && k < 256; k++)
        before[k] = *(volatile uint64_t *)&threads[k].count;
    for (int k = 1; k < count && k < 256; k++) {
        if (threads[k].kind == ANSWERING)
            continue;
        double from = now();
        while (*(volatile uint64_t *)&threads[k].count == before[k] && now() - from < 30)
            rest(0.01);
        EXPECT(*(volatile uint64_t *)&threads[k].count != before[k], "thread %d does not go on", k);
    }
    stop = 1;
    if (condvar_threads)
        one_round();
    uint64_t added = 0;
    for (int k = 1; k < count; k++) {
        pthread_join(threads[k].handle, NULL);
        if (threads[k].kind == ADDING)
            added += threads[k].count;
        if (threads[k].kind == ANSWERING)
            EXPECT(threads[k].count == rounds + 1 || atomic_load(&faults), "thread %d took part in %llu of %llu rounds",
                   k, (unsigned long long)threads[k].count, (unsigned long long)rounds + 1);
    }
    EXPECT(added == sum, "the threads added %llu, the sum is %llu", (unsigned long long)added, (unsigned long long)sum);
    say("threads %d rounds %llu sum %llu", count, (unsigned long long)rounds, (unsigned long long)sum);
    return verdict();
}
