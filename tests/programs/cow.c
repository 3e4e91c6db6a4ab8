/* Memory that processes share since a fork until one of them writes: cow
 *
 * The first process fills private memory, of its own and of a file, and forks: a child that changes nothing, one that writes,
 * drops, unmaps and protects parts of what it got, and has a child in turn; then the first one changes some itself. All note
 * how much memory is theirs alone. At the end each has the contents it had, and hardly more memory to itself than before. */
#include "scene.h"
#include <sys/mman.h>
#include <sys/wait.h>

#define PAGE 4096ul
#define PAGES 4096ul
#define LENGTH (PAGES * PAGE)
/* What may come on top: buffers of the C library, stacks, page tables of a restart. */
#define SLACK 768

enum { FIRST, SAME, OTHER, GRAND, COUNT };

static struct shared {
    atomic_int arrived, measured, checked, faults;
    long alone[COUNT];
} * all;

static unsigned char data[64 * PAGE] __attribute__((aligned(4096))) = {1};
static unsigned char zero[64 * PAGE] __attribute__((aligned(4096)));

/* Memory of this process that no other one has, KiB. */
static long alone(void)
{
    char text[4096];
    int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
    MUST(fd >= 0);
    long n = read(fd, text, sizeof text - 1), sum = 0;
    MUST(n > 0);
    close(fd);
    text[n] = 0;
    for (char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        long kib;
        if (sscanf(line, "Private_Clean: %ld", &kib) == 1 || sscanf(line, "Private_Dirty: %ld", &kib) == 1)
            sum += kib;
    }
    return sum;
}

static void meet(atomic_int *barrier)
{
    atomic_fetch_add(barrier, 1);
    while (atomic_load(barrier) < COUNT)
        rest(0.01);
}

/* The seed of page `k` as process `who` has it; 0 for zeros. */
static uint64_t seed(int who, size_t k)
{
    int other = who == OTHER || who == GRAND;
    if (who == GRAND && k % 64 == 5)
        return 400000 + k;
    if (who == FIRST && k % 32 == 1)
        return 200000 + k;
    if (other && k % 16 == 0)
        return 300000 + k;
    if (other && k >= 1000 && k < 1100)
        return 0;
    return 100000 + k;
}

static void check(int who, const char *mem)
{
    size_t bad = 0;
    for (size_t k = 0; k < PAGES; k++) {
        int other = who == OTHER || who == GRAND;
        if (other && k >= 2000 && k < 2100)
            continue;
        uint64_t s = seed(who, k);
        if (s)
            bad += wrong(mem + k * PAGE, PAGE, s) >= 0;
        else
            for (size_t i = 0; i < PAGE; i += 512)
                if (mem[k * PAGE + i]) {
                    bad++;
                    break;
                }
    }
    EXPECT(!bad, "process %d: %zu pages differ", who, bad);
    uint64_t own = who == OTHER || who == GRAND ? 8 : 7;
    EXPECT(wrong(data, 32 * PAGE, own) < 0 && wrong(data + 32 * PAGE, 32 * PAGE, 7) < 0, "process %d: its data differs", who);
    EXPECT(wrong(zero, sizeof zero, 9) < 0, "process %d: its other data differs", who);
}

static void life(int who, char *mem)
{
    meet(&all->arrived);
    all->alone[who] = alone();
    meet(&all->measured);
    if (who == FIRST)
        ready();
    wait_go();
    long is = alone();
    EXPECT(is <= all->alone[who] + SLACK, "process %d has %ld KiB alone, had %ld", who, is, all->alone[who]);
    check(who, mem);
    say("process %d: %ld KiB alone, had %ld", who, is, all->alone[who]);
    /* What one writes, no other sees. */
    meet(&all->checked);
    for (size_t k = 0; k < PAGES; k += 3)
        if (k < 1900)
            fill(mem + k * PAGE, PAGE, 1000000 * (who + 1) + k);
    rest(0.2);
    size_t bad = 0;
    for (size_t k = 0; k < 1900; k++)
        if (k % 3 == 0)
            bad += wrong(mem + k * PAGE, PAGE, 1000000 * (who + 1) + k) >= 0;
        else if (seed(who, k))
            bad += wrong(mem + k * PAGE, PAGE, seed(who, k)) >= 0;
    EXPECT(!bad, "process %d: %zu pages are not its own", who, bad);
}

static void leave(void)
{
    atomic_fetch_add(&all->faults, atomic_load(&faults));
    _exit(0);
}

int main(void)
{
    all = mmap(0, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *mem = mmap(0, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(all != MAP_FAILED && mem != MAP_FAILED);
    for (size_t k = 0; k < PAGES; k++)
        fill(mem + k * PAGE, PAGE, 100000 + k);
    fill(data, 32 * PAGE, 7);
    fill(data + 32 * PAGE, 32 * PAGE, 7);
    fill(zero, sizeof zero, 9);
    pid_t same, other;
    MUST((same = fork()) >= 0);
    if (!same) {
        life(SAME, mem);
        leave();
    }
    MUST((other = fork()) >= 0);
    if (!other) {
        for (size_t k = 0; k < PAGES; k += 16)
            fill(mem + k * PAGE, PAGE, 300000 + k);
        for (size_t k = 1000; k < 1100; k++)
            if (k % 16)
                MUST(madvise(mem + k * PAGE, PAGE, MADV_DONTNEED) == 0);
        MUST(munmap(mem + 2000 * PAGE, 100 * PAGE) == 0);
        MUST(mprotect(mem + 3000 * PAGE, 100 * PAGE, PROT_READ) == 0);
        fill(data, 32 * PAGE, 8);
        pid_t grand = fork();
        MUST(grand >= 0);
        if (!grand) {
            for (size_t k = 5; k < 3000; k += 64)
                if (k < 2000 || k >= 2100)
                    fill(mem + k * PAGE, PAGE, 400000 + k);
            MUST(mprotect(mem + 3000 * PAGE, 100 * PAGE, PROT_READ | PROT_WRITE) == 0);
            for (size_t k = 3000 - 3000 % 64 + 5; k < PAGES; k += 64)
                if (k >= 3000)
                    fill(mem + k * PAGE, PAGE, 400000 + k);
            life(GRAND, mem);
            leave();
        }
        life(OTHER, mem);
        int status;
        EXPECT(waitpid(grand, &status, 0) == grand && status == 0, "the grandchild ended with %#x", status);
        leave();
    }
    for (size_t k = 1; k < PAGES; k += 32)
        fill(mem + k * PAGE, PAGE, 200000 + k);
    life(FIRST, mem);
    int status;
    EXPECT(waitpid(same, &status, 0) == same && status == 0, "a child ended with %#x", status);
    EXPECT(waitpid(other, &status, 0) == other && status == 0, "a child ended with %#x", status);
    atomic_fetch_add(&faults, atomic_load(&all->faults));
    return verdict();
}
