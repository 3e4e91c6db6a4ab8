/* Call stacks that a debugger can be asked for: bt
 *
 * Thread `spinner` is in a loop of its own, `sleeper` in a system call below a recursion, `waiter` on a condition
 * variable, the main thread in pause. The executable has debug information and frame pointers. */
#pragma GCC optimize("no-omit-frame-pointer")
#include "scene.h"

struct job {
    int number;
    const char *name;
    double weights[3];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static volatile int stop;
static atomic_int at_work;

__attribute__((noinline)) static uint64_t spin_inner(struct job *job, uint64_t seed)
{
    atomic_fetch_add(&at_work, 1);
    while (!stop)
        seed = mix(seed, (uint64_t)job->number);
    return seed;
}

__attribute__((noinline)) static uint64_t spin_outer(struct job *job)
{
    uint64_t result = spin_inner(job, 17) + 1;
    job->number++;
    return result;
}

__attribute__((noinline)) static int descend(struct job *job, int depth)
{
    if (depth == 0) {
        atomic_fetch_add(&at_work, 1);
        rest(100000);
        return job->number;
    }
    int below = descend(job, depth - 1);
    return below + depth;
}

__attribute__((noinline)) static void wait_for_ever(struct job *job)
{
    pthread_mutex_lock(&lock);
    atomic_fetch_add(&at_work, 1);
    while (!stop)
        pthread_cond_wait(&never, &lock);
    pthread_mutex_unlock(&lock);
    job->number = 0;
}

static void *spinner(void *arg)
{
    return (void *)(uintptr_t)spin_outer(arg);
}

static void *sleeper(void *arg)
{
    return (void *)(intptr_t)descend(arg, 5);
}

static void *waiter(void *arg)
{
    wait_for_ever(arg);
    return NULL;
}

__attribute__((noinline)) static void main_waits(const char *why)
{
    while (!is_go()) {
        if (atomic_load(&at_work) == 3) {
            atomic_fetch_add(&at_work, 1);
            ready();
        }
        if (atomic_load(&at_work) == 4)
            rest(1);
        else
            rest(0.05);
    }
    say("%s", why);
}

int main(void)
{
    static struct job jobs[3] = {{1, "spinner", {0.5, 1, 2}}, {2, "sleeper", {1}}, {3, "waiter", {2}}};
    void *(*const work[3])(void *) = {spinner, sleeper, waiter};
    for (int k = 0; k < 3; k++) {
        pthread_t t;
        MUST(pthread_create(&t, NULL, work[k], &jobs[k]) == 0);
        pthread_setname_np(t, jobs[k].name);
    }
    main_waits("PASS");
    return 0;
}
