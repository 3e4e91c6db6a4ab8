/* Memory protection keys: keys
 *
 * Keys 1, 2 and 4 are in use, 3 has been freed. One area may not be written by the leader, another not be read, by a second thread it is
 * the other way round; one may only be executed, for which the kernel has taken key 4. The rights are those of before, a violation
 * says which key it was, and the next key that is allocated is 3. */
#include "scene.h"
#include <setjmp.h>
#include <sys/mman.h>

#define PAGE 4096

static char *one, *two, *code, *freed;
static __thread sigjmp_buf back;
static __thread volatile int key, why;

static void on_fault(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    why = info->si_code;
    key = (int)info->si_pkey;
    siglongjmp(back, 1);
}

static unsigned rights(void)
{
    unsigned pkru, high;
    __asm__ volatile("rdpkru" : "=a"(pkru), "=d"(high) : "c"(0));
    return pkru;
}

static void set_rights(unsigned pkru)
{
    __asm__ volatile("wrpkru" : : "a"(pkru), "c"(0), "d"(0) : "memory");
}

/* The key that keeps this thread from reading or writing a byte; 0: none does, -1: another reason. */
static int touch(volatile char *at, int write)
{
    /* The handler begins with other rights, and leaves with them. */
    volatile unsigned own = rights();
    if (!sigsetjmp(back, 1)) {
        if (write)
            *at = *at + 1;
        else
            (void)*at;
        return 0;
    }
    set_rights(own);
    return why == SEGV_PKUERR ? key : -1;
}

static void expect(const char *who, int read_one, int write_one, int read_two, int write_two)
{
    int is[] = {touch(one, 0), touch(one, 1), touch(two, 0), touch(two, 1)};
    int want[] = {read_one, write_one, read_two, write_two};
    for (int k = 0; k < 4; k++)
        EXPECT(is[k] == want[k], "%s: access %d is kept off by key %d, not %d", who, k, is[k], want[k]);
    EXPECT(touch(code, 0) == 4, "%s: code that may only be executed can be read, or key %d keeps it off", who, key);
    EXPECT(((int (*)(void))code)() == 42, "%s: the code gives something else", who);
}

static void *thread(void *barrier)
{
    MUST(pkey_set(1, PKEY_DISABLE_ACCESS) == 0 && pkey_set(2, PKEY_DISABLE_WRITE) == 0);
    expect("the thread", 1, 1, 0, 2);
    pthread_barrier_wait(barrier);
    wait_go();
    EXPECT(pkey_get(1) == PKEY_DISABLE_ACCESS && pkey_get(2) == PKEY_DISABLE_WRITE, "the thread has other rights");
    expect("the thread", 1, 1, 0, 2);
    return 0;
}

int main(void)
{
    struct sigaction act = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    MUST(sigaction(SIGSEGV, &act, 0) == 0);
    if (pkey_alloc(0, 0) != 1) {
        say("skipped keys");
        ready();
        wait_go();
        return verdict();
    }
    MUST(pkey_alloc(0, 0) == 2 && pkey_alloc(0, 0) == 3);
    one = mmap(0, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(one != MAP_FAILED);
    two = one + PAGE;
    code = one + 2 * PAGE;
    freed = one + 3 * PAGE;
    one[5] = 'a';
    two[5] = 'b';
    /* mov eax, 42; ret */
    memcpy(code, "\xb8\x2a\0\0\0\xc3", 6);
    MUST(mprotect(code, PAGE, PROT_EXEC) == 0);
    MUST(pkey_free(3) == 0);
    MUST(pkey_mprotect(one, PAGE, PROT_READ | PROT_WRITE, 1) == 0 && pkey_mprotect(two, PAGE, PROT_READ | PROT_WRITE, 2) == 0);
    /* A key can be freed while memory has it. */
    MUST(pkey_alloc(0, 0) == 3 && pkey_alloc(0, 0) == 5);
    MUST(pkey_mprotect(freed, PAGE, PROT_READ | PROT_WRITE, 5) == 0 && pkey_set(5, PKEY_DISABLE_WRITE) == 0);
    MUST(pkey_free(5) == 0 && pkey_free(3) == 0);
    pthread_barrier_t barrier;
    pthread_t other;
    MUST(pthread_barrier_init(&barrier, 0, 2) == 0 && pthread_create(&other, 0, thread, &barrier) == 0);
    MUST(pkey_set(1, PKEY_DISABLE_WRITE) == 0 && pkey_set(2, PKEY_DISABLE_ACCESS) == 0);
    expect("the leader", 0, 1, 2, 2);
    pthread_barrier_wait(&barrier);
    ready();
    wait_go();
    EXPECT(pkey_get(1) == PKEY_DISABLE_WRITE && pkey_get(2) == PKEY_DISABLE_ACCESS, "the leader has other rights");
    expect("the leader", 0, 1, 2, 2);
    EXPECT(touch(freed, 0) == 0 && touch(freed, 1) == 5, "memory with a key that was freed can be written");
    MUST(pthread_join(other, 0) == 0);
    EXPECT(pkey_set(1, 0) == 0 && pkey_set(2, 0) == 0 && one[5] == 'a' && two[5] == 'b', "the memory differs");
    int next = pkey_alloc(0, 0), last = pkey_alloc(0, 0);
    EXPECT(next == 3 && last == 5, "the next keys are %d and %d, not 3 and 5", next, last);
    return verdict();
}
