/* Memory areas: areas many N | swapped MIB | kinds
 *
 * many: N areas that the kernel cannot join; swapped: private, shared and memory file pages that have been written to swap;
 * kinds: what areas do is still so: guards kill, stacks grow, a child does not get or see what it should not. */
#include "snapshot.h"
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { PAGE = 4096 };
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

static void *map(size_t bytes, int prot, int flags)
{
    void *at = mmap(NULL, bytes, prot, flags | MAP_ANONYMOUS, -1, 0);
    MUST(at != MAP_FAILED);
    return at;
}

static void expect_contents(const char *what, const void *at, size_t bytes, uint64_t seed)
{
    long k = wrong(at, bytes, seed);
    EXPECT(k == -1, "%s: wrong from byte %ld on", what, k * 8);
}

static long count_areas(void)
{
    FILE *f = fopen("/proc/self/maps", "r");
    MUST(f);
    long n = 0;
    for (int c; (c = getc(f)) != EOF;)
        n += c == '\n';
    fclose(f);
    return n;
}

static int many(long n)
{
    char *at = map(n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    for (long k = 0; k < n; k++)
        fill(at + k * PAGE, 64, k);
    for (long k = 0; k < n; k += 2)
        MUST(mprotect(at + k * PAGE, PAGE, PROT_READ) == 0);
    long before = count_areas();
    MUST(before >= n);
    ready();
    wait_go();
    long now = count_areas();
    /* The kernel joins and splits neighbours that are alike as it likes, but none of these. */
    EXPECT(now >= n && labs(now - before) < 5, "%ld areas, were %ld", now, before);
    for (long k = 0; k < n; k++)
        expect_contents("an area of many", at + k * PAGE, 64, k);
    return verdict();
}

/* KiB in swap, of the whole process. */
static long swapped_out(void)
{
    static char text[1 << 16];
    MUST(slurp("/proc/self/status", text, sizeof text) > 0);
    char *line = strstr(text, "VmSwap:");
    MUST(line);
    return atol(line + 7);
}

static int swapped(long mib)
{
    size_t bytes = mib << 20;
    int fd = memfd_create("swapped", 0);
    MUST(fd >= 0 && ftruncate(fd, bytes) == 0);
    char *at[] = {map(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE), map(bytes, PROT_READ | PROT_WRITE, MAP_SHARED),
                  mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)};
    MUST(at[2] != MAP_FAILED);
    for (int k = 0; k < 3; k++) {
        fill(at[k], bytes, k + 1);
        MUST(madvise(at[k], bytes, MADV_PAGEOUT) == 0);
    }
    for (int k = 0; k < 100 && swapped_out() < mib * 512; k++) {
        MUST(madvise(at[0], bytes, MADV_PAGEOUT) == 0);
        rest(0.05);
    }
    say("KiB in swap: %ld", swapped_out());
    MUST(swapped_out() >= mib * 512);
    ready();
    wait_go();
    for (int k = 0; k < 3; k++)
        expect_contents(k ? k > 1 ? "memory file" : "shared memory" : "private memory", at[k], bytes, k + 1);
    return verdict();
}

static sigjmp_buf back;
static void on_fault(int signal)
{
    siglongjmp(back, signal);
}

static int faults_at(volatile char *at)
{
    if (sigsetjmp(back, 1))
        return 1;
    (void)*at;
    return 0;
}

static int kinds(void)
{
    const int rw = PROT_READ | PROT_WRITE;
    struct sigaction act = {.sa_handler = on_fault};
    MUST(sigaction(SIGSEGV, &act, NULL) == 0);
    char *guarded = map(8 * PAGE, rw, MAP_PRIVATE);
    fill(guarded, 8 * PAGE, 1);
    MUST(madvise(guarded + 2 * PAGE, 2 * PAGE, MADV_GUARD_INSTALL) == 0 && madvise(guarded + 6 * PAGE, PAGE, MADV_GUARD_INSTALL) == 0);
    /* A stack with room below it. */
    char *room = map(64 << 20, PROT_NONE, MAP_PRIVATE);
    MUST(munmap(room, 64 << 20) == 0);
    char *stack = mmap(room + (48 << 20), 2 * PAGE, rw, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
    MUST(stack != MAP_FAILED);
    fill(stack, 2 * PAGE, 2);
    fill(stack - PAGE, PAGE, 3);
    char *unforked = map(2 * PAGE, rw, MAP_PRIVATE), *wiped = map(2 * PAGE, rw, MAP_PRIVATE);
    fill(unforked, 2 * PAGE, 4);
    fill(wiped, 2 * PAGE, 5);
    MUST(madvise(unforked, 2 * PAGE, MADV_DONTFORK) == 0 && madvise(wiped, 2 * PAGE, MADV_WIPEONFORK) == 0);
    struct snapshot before = snapshot_maps();
    ready();
    wait_go();
    compare("memory map", before, snapshot_maps());
    for (int k = 0; k < 8; k++) {
        int guard = k == 2 || k == 3 || k == 6;
        EXPECT(faults_at(guarded + k * PAGE) == guard, "page %d of 8 %s", k, guard ? "is no guard any more" : "cannot be read");
    }
    expect_contents("in front of a guard", guarded, 2 * PAGE, 1);
    MUST(madvise(guarded, 8 * PAGE, MADV_GUARD_REMOVE) == 0);
    EXPECT(!faults_at(guarded + 2 * PAGE) && !guarded[2 * PAGE], "behind a guard that was removed is no zero page");
    expect_contents("stack", stack, 2 * PAGE, 2);
    expect_contents("a page it had grown by", stack - PAGE, PAGE, 3);
    EXPECT(!faults_at(stack - 2 * PAGE) && !faults_at(stack - 9 * PAGE), "the stack does not grow any more");
    fill(stack - 40 * PAGE, 30 * PAGE, 6);
    expect_contents("stack that has grown", stack - 40 * PAGE, 30 * PAGE, 6);
    pid_t child = fork();
    MUST(child >= 0);
    if (!child) {
        atomic_store(&faults, 0);
        unsigned char there[2];
        EXPECT(mincore(unforked, 2 * PAGE, there) == -1 && errno == ENOMEM, "a child got what it should not");
        EXPECT(!wiped[0] && !wiped[PAGE + 8], "a child sees what was to be wiped");
        expect_contents("in the child", stack, 2 * PAGE, 2);
        _exit(atomic_load(&faults));
    }
    int status = -1;
    EXPECT(waitpid(child, &status, 0) == child && status == 0, "the child found faults: %#x", status);
    expect_contents("memory that is not forked", unforked, 2 * PAGE, 4);
    expect_contents("memory that a child finds wiped", wiped, 2 * PAGE, 5);
    return verdict();
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "kinds";
    if (!strcmp(mode, "many"))
        return many(argc > 2 ? atol(argv[2]) : 1000);
    if (!strcmp(mode, "swapped"))
        return swapped(argc > 2 ? atol(argv[2]) : 16);
    return kinds();
}
