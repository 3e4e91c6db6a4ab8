/* Memory of every kind: memory maps | reserve GIB | big MIB [SHARED] | dirty | grow
 *
 * maps: one region of each kind with contents, and the memory map as the kernel shows it; reserve: a huge PROT_NONE
 * reservation with a few pages in use; big: much memory with reproducible contents; dirty: threads that write all the
 * time, in an order that a torn copy would betray; grow: heap, stack and new mappings still grow afterwards. */
#include "snapshot.h"
#include <sys/mman.h>
#include <sys/prctl.h>

enum { PAGE = 4096 };

static void *map(size_t bytes, int prot, int flags, int fd, off_t offset)
{
    void *at = mmap(NULL, bytes, prot, flags, fd, offset);
    MUST(at != MAP_FAILED);
    return at;
}

static void *anonymous(size_t bytes)
{
    return map(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void expect_contents(const char *what, const void *at, size_t bytes, uint64_t seed)
{
    long k = wrong(at, bytes, seed);
    EXPECT(k == -1, "%s: wrong from byte %ld on", what, k * 8);
}

static int is_zero(const void *at, size_t bytes)
{
    const char *c = at;
    for (size_t k = 0; k < bytes; k++)
        if (c[k])
            return 0;
    return 1;
}

static int maps(void)
{
    char *plain = anonymous(64 * PAGE);
    fill(plain, 64 * PAGE, 1);
    char *hidden = anonymous(8 * PAGE);
    fill(hidden, 8 * PAGE, 2);
    MUST(mprotect(hidden, 8 * PAGE, PROT_NONE) == 0);
    char *constant = anonymous(8 * PAGE);
    fill(constant, 8 * PAGE, 3);
    MUST(mprotect(constant, 8 * PAGE, PROT_READ) == 0);
    unsigned char *code = anonymous(PAGE);
    memcpy(code, "\xb8\x2a\x00\x00\x00\xc3", 6); /* mov $42, %eax; ret */
    MUST(mprotect(code, PAGE, PROT_READ | PROT_EXEC) == 0);
    volatile char *zero = anonymous(16 * PAGE);
    for (int k = 0; k < 16; k++)
        MUST(zero[k * PAGE] == 0);
    char *sparse = map(256ul << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (int k = 0; k < 16; k++)
        fill(sparse + ((size_t)k << 24), PAGE, 40 + k);

    char *shared = map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *alias = mremap(shared, 0, 8 * PAGE, MREMAP_MAYMOVE);
    MUST(alias != MAP_FAILED);
    fill(shared, 7 * PAGE, 4);
    expect_contents("alias of the shared memory before", alias, 7 * PAGE, 4);

    int fd = open("mapped", O_RDWR | O_CREAT | O_TRUNC, 0644);
    MUST(fd >= 0);
    static char contents[16 * PAGE];
    fill(contents, sizeof contents, 5);
    MUST(write(fd, contents, sizeof contents) == sizeof contents);
    char *private_file = map(16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    fill(private_file + 2 * PAGE, PAGE, 6);
    fill(private_file + 5 * PAGE, PAGE, 7);
    char *shared_file = map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 8 * PAGE);
    fill(shared_file + PAGE, PAGE, 8);
    MUST(msync(shared_file, 8 * PAGE, MS_SYNC) == 0);
    int read_only = open("mapped", O_RDONLY);
    MUST(read_only >= 0);
    char *shared_read = map(4 * PAGE, PROT_READ, MAP_SHARED, read_only, 0);
    close(fd);
    close(read_only);

    char *locked = anonymous(4 * PAGE);
    fill(locked, 4 * PAGE, 9);
    MUST(mlock(locked, 4 * PAGE) == 0);
    /* One region per kind of advice; a kernel without one of them says EINVAL. */
    const int advice[] = {MADV_DONTFORK, MADV_DONTDUMP,  MADV_WIPEONFORK, MADV_HUGEPAGE,
                          MADV_NOHUGEPAGE, MADV_SEQUENTIAL, MADV_RANDOM};
    char *advised[sizeof advice / sizeof *advice];
    for (unsigned k = 0; k < sizeof advice / sizeof *advice; k++) {
        advised[k] = anonymous(4 * PAGE);
        if (madvise(advised[k], 4 * PAGE, advice[k]) && errno != EINVAL)
            MUST(!"madvise");
        fill(advised[k], 3 * PAGE, 100 + k);
    }
    char *named = anonymous(3 * PAGE);
    fill(named, 3 * PAGE, 10);
    prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, named, 3 * PAGE, "scene memory");
#ifdef SYS_mseal
    char *sealed = anonymous(2 * PAGE);
    fill(sealed, 2 * PAGE, 11);
    syscall(SYS_mseal, sealed, 2 * PAGE, 0);
#endif
    uint64_t *heap = malloc(300000);
    fill(heap, 300000, 12);
    char *old_break = sbrk(0);
    /* Grows downwards into a hole that nothing else takes. */
    char *hole = map(16 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    MUST(munmap(hole, 16 << 20) == 0);
    char *down = mmap(hole + (12 << 20), 4 * PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
    MUST(down != MAP_FAILED);
    fill(down, 4 * PAGE, 13);

    struct snapshot before = snapshot_maps();
    ready();
    wait_go();

    struct snapshot after = snapshot_maps();
    compare("memory map", before, after);
    expect_contents("private memory", plain, 64 * PAGE, 1);
    MUST(mprotect(hidden, 8 * PAGE, PROT_READ) == 0);
    expect_contents("memory behind PROT_NONE", hidden, 8 * PAGE, 2);
    expect_contents("read-only memory", constant, 8 * PAGE, 3);
    EXPECT(((int (*)(void))code)() == 42, "the generated code is wrong");
    EXPECT(is_zero((void *)zero, 16 * PAGE), "memory that was only read is not zero");
    for (int k = 0; k < 16; k++) {
        expect_contents("sparse memory", sparse + ((size_t)k << 24), PAGE, 40 + k);
        EXPECT(is_zero(sparse + ((size_t)k << 24) + PAGE, PAGE), "a hole of the sparse memory is not zero");
    }
    expect_contents("shared memory", shared, 7 * PAGE, 4);
    EXPECT(is_zero(shared + 7 * PAGE, PAGE), "the untouched page of the shared memory is not zero");
    shared[3 * PAGE] ^= 1;
    EXPECT(alias[3 * PAGE] == shared[3 * PAGE], "two mappings of the same shared memory are two memories now");
    expect_contents("private file mapping, own page", private_file + 2 * PAGE, PAGE, 6);
    expect_contents("private file mapping, own page", private_file + 5 * PAGE, PAGE, 7);
    EXPECT(!memcmp(private_file, contents, 2 * PAGE), "private file mapping: a page of the file is wrong");
    expect_contents("shared file mapping", shared_file + PAGE, PAGE, 8);
    expect_contents("private file mapping of a page written through the other", private_file + 9 * PAGE, PAGE, 8);
    EXPECT(!memcmp(shared_read, contents, 4 * PAGE), "the read-only mapping of the file is wrong");
    shared_file[2 * PAGE] = 'x';
    EXPECT(msync(shared_file, 8 * PAGE, MS_SYNC) == 0, "msync");
    char byte = 0;
    fd = open("mapped", O_RDONLY);
    EXPECT(pread(fd, &byte, 1, 10 * PAGE) == 1 && byte == 'x', "a write through the shared mapping is not in the file");
    expect_contents("locked memory", locked, 4 * PAGE, 9);
    for (unsigned k = 0; k < sizeof advice / sizeof *advice; k++)
        expect_contents("memory with advice", advised[k], 3 * PAGE, 100 + k);
    expect_contents("named memory", named, 3 * PAGE, 10);
#ifdef SYS_mseal
    expect_contents("sealed memory", sealed, 2 * PAGE, 11);
#endif
    expect_contents("heap", heap, 300000 / 8 * 8, 12);
    EXPECT(sbrk(0) == old_break, "the program break moved");
    expect_contents("memory that grows down", down, 4 * PAGE, 13);
    down[-1] = 1;
    EXPECT(down[-1] == 1, "memory that grows down does not grow");
    return verdict();
}

static int reserve(size_t gib)
{
    size_t bytes = gib << 30;
    char *base = map(bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (int k = 0; k < 8; k++) {
        char *at = base + bytes / 8 * k + PAGE * 100;
        MUST(mprotect(at, 4 * PAGE, PROT_READ | PROT_WRITE) == 0);
        fill(at, 4 * PAGE, k);
    }
    ready();
    wait_go();
    for (int k = 0; k < 8; k++)
        expect_contents("page of the reservation", base + bytes / 8 * k + PAGE * 100, 4 * PAGE, k);
    char *fresh = base + bytes / 2 + PAGE * 5000;
    EXPECT(mprotect(fresh, PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect: %s", strerror(errno));
    EXPECT(is_zero(fresh, PAGE), "a new page of the reservation is not zero");
    return verdict();
}

static int big(size_t mib, int is_shared)
{
    size_t bytes = mib << 20;
    char *base = map(bytes, PROT_READ | PROT_WRITE, (is_shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
    fill(base, bytes, 21);
    ready();
    wait_go();
    expect_contents("big memory", base, bytes, 21);
    return verdict();
}

static volatile int stop;
static volatile uint64_t *left, *right;
enum { PAIRS = 256 };

static void *writer(void *arg)
{
    for (uint64_t n = 1; !stop; n++)
        for (int k = (uintptr_t)arg; k < PAIRS && !stop; k += 2) {
            left[k * PAGE / 8] = n;
            right[(PAIRS - 1 - k) * PAGE / 8] = n;
        }
    return NULL;
}

static int dirty(void)
{
    left = anonymous(PAIRS * PAGE);
    right = anonymous(PAIRS * PAGE);
    pthread_t writers[2];
    for (uintptr_t k = 0; k < 2; k++)
        MUST(pthread_create(&writers[k], NULL, writer, (void *)k) == 0);
    rest(0.1);
    ready();
    int looks = 0;
    do {
        for (int k = 0; k < PAIRS; k++) {
            /* The left one is written first, so it is never behind a value read earlier from the right one. */
            uint64_t r = right[(PAIRS - 1 - k) * PAGE / 8], l = left[k * PAGE / 8];
            EXPECT(l >= r, "pair %d: left %llu, right %llu: the copy is torn", k, (unsigned long long)l,
                   (unsigned long long)r);
        }
        looks++;
        rest(0.002);
    } while (!is_go());
    stop = 1;
    for (int k = 0; k < 2; k++)
        pthread_join(writers[k], NULL);
    say("looks %d", looks);
    return verdict();
}

__attribute__((noinline)) static uint64_t deep(int depth)
{
    volatile uint64_t here[128];
    fill((void *)here, sizeof here, depth);
    uint64_t below = depth ? deep(depth - 1) : 0;
    return below + (wrong((void *)here, sizeof here, depth) != -1);
}

static int grow(void)
{
    ready();
    wait_go();
    EXPECT(deep(3000) == 0, "the stack does not hold what was written");
    for (int k = 0; k < 200; k++) {
        char *small = malloc(5000), *large = malloc(400000);
        MUST(small && large);
        memset(small, k, 5000);
        memset(large, k, 400000);
        if (k % 2) {
            free(small);
            free(large);
        }
    }
    char *at = anonymous(1 << 20);
    memset(at, 1, 1 << 20);
    EXPECT(munmap(at, 1 << 20) == 0, "munmap: %s", strerror(errno));
    EXPECT(sbrk(1 << 20) != (void *)-1, "sbrk: %s", strerror(errno));
    /* Time through the vdso and by the system call must agree. */
    struct timespec a, b;
    clock_gettime(CLOCK_REALTIME, &a);
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &b);
    double gap = (b.tv_sec - a.tv_sec) + (b.tv_nsec - a.tv_nsec) / 1e9;
    EXPECT(gap > -0.001 && gap < 1, "the vdso's time is %.3f s off", gap);
    return verdict();
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "maps";
    long number = argc > 2 ? atol(argv[2]) : 64;
    if (!strcmp(mode, "reserve"))
        return reserve(number);
    if (!strcmp(mode, "big"))
        return big(number, argc > 3);
    if (!strcmp(mode, "dirty"))
        return dirty();
    if (!strcmp(mode, "grow"))
        return grow();
    return maps();
}
