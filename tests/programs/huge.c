/* Huge pages: huge anonymous | files FOLDER | transparent | mixed
 *
 * anonymous: private and shared memory of MAP_HUGETLB, with protections, holes and without reservation; files: files of
 * hugetlbfs, mapped shared and privately, with and without name; transparent: memory that the kernel has made huge; mixed: one
 * area with huge pages here and small ones there. */
#include "snapshot.h"
#include <sys/mman.h>
#include <sys/prctl.h>

enum { PAGE = 4096 };
static const size_t HUGE = 2ul << 20;

static void *map(size_t bytes, int prot, int flags, int fd, off_t offset)
{
    void *at = mmap(NULL, bytes, prot, flags, fd, offset);
    MUST(at != MAP_FAILED);
    return at;
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

/* Sum of a field of smaps, in KiB, over the areas in from..to. */
static long smaps(const char *field, const void *from, const void *to)
{
    static char text[SNAPSHOT_SIZE];
    unsigned long start = 0, end = 0;
    long sum = 0, n = strlen(field);
    MUST(slurp("/proc/self/smaps", text, sizeof text) > 0);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        unsigned long a, b;
        if (sscanf(line, "%lx-%lx ", &a, &b) == 2)
            start = a, end = b;
        else if (start < (unsigned long)to && end > (unsigned long)from && !strncmp(line, field, n) && line[n] == ':')
            sum += atol(line + n + 1);
    }
    return sum;
}

static int anonymous(void)
{
    const int huge = MAP_ANONYMOUS | MAP_HUGETLB, rw = PROT_READ | PROT_WRITE;
    char *private = map(4 * HUGE, rw, MAP_PRIVATE | huge, -1, 0);
    fill(private, HUGE, 1);
    fill(private + 2 * HUGE + 5 * PAGE, PAGE, 2);
    MUST(mprotect(private + HUGE, HUGE, PROT_NONE) == 0 && mprotect(private + 2 * HUGE, HUGE, PROT_READ) == 0);
    char *shared = map(3 * HUGE, rw, MAP_SHARED | huge, -1, 0);
    fill(shared + HUGE, HUGE, 3);
    MUST(mprotect(shared + HUGE, HUGE, PROT_READ) == 0);
    char *loose = map(64 * HUGE, rw, MAP_PRIVATE | huge | MAP_NORESERVE, -1, 0);
    fill(loose + 63 * HUGE, PAGE, 4);
    MUST(madvise(private + 3 * HUGE, HUGE, MADV_DONTFORK) == 0);
    long before[] = {smaps("Private_Hugetlb", private, private + 4 * HUGE), smaps("Shared_Hugetlb", shared, shared + 3 * HUGE) +
                     smaps("Private_Hugetlb", shared, shared + 3 * HUGE)};
    struct snapshot maps = snapshot_maps();
    ready();
    wait_go();
    compare("memory map", maps, snapshot_maps());
    expect_contents("private huge page", private, HUGE, 1);
    expect_contents("page of a read-only huge page", private + 2 * HUGE + 5 * PAGE, PAGE, 2);
    EXPECT(is_zero(private + 2 * HUGE, 5 * PAGE), "the rest of the huge page is not zero");
    expect_contents("shared huge page", shared + HUGE, HUGE, 3);
    expect_contents("huge page without reservation", loose + 63 * HUGE, PAGE, 4);
    long after = smaps("Private_Hugetlb", private, private + 4 * HUGE);
    EXPECT(after == before[0], "private memory has %ld KiB of huge pages, had %ld", after, before[0]);
    EXPECT(smaps("KernelPageSize", loose, loose + 64 * HUGE) == 2048, "normal pages");
    EXPECT(mprotect(private + HUGE, HUGE, rw) == 0 && is_zero(private + HUGE, HUGE), "behind PROT_NONE is no zero page");
    EXPECT(mprotect(shared, 3 * HUGE, rw) == 0, "mprotect: %s", strerror(errno));
    fill(shared, HUGE, 5);
    fill(shared + 2 * HUGE, HUGE, 6);
    fill(private + 3 * HUGE, HUGE, 7);
    expect_contents("first shared huge page", shared, HUGE, 5);
    expect_contents("a reserved huge page that was not there", private + 3 * HUGE, HUGE, 7);
    return verdict();
}

static int files(const char *folder)
{
    char path[300], gone[300];
    snprintf(path, sizeof path, "%s/named", folder);
    snprintf(gone, sizeof gone, "%s/gone", folder);
    int fd = open(path, O_RDWR | O_CREAT, 0600), removed = open(gone, O_RDWR | O_CREAT, 0600);
    MUST(fd >= 0 && removed >= 0 && ftruncate(fd, 3 * HUGE) == 0 && ftruncate(removed, 2 * HUGE) == 0);
    char *shared = map(3 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    fill(shared, HUGE, 1);
    fill(shared + HUGE, HUGE, 2);
    char *private = map(3 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    fill(private + HUGE, HUGE, 3);
    char *left = map(2 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, removed, 0);
    fill(left + HUGE, HUGE, 4);
    char *over = map(2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, removed, 0);
    fill(over, HUGE, 5);
    MUST(mprotect(over, HUGE, PROT_READ) == 0);
    MUST(unlink(gone) == 0);
    close(removed);
    int memory = memfd_create("huge", MFD_HUGETLB);
    MUST(memory >= 0 && ftruncate(memory, HUGE) == 0);
    char *shown = map(HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    fill(shown, HUGE, 6);
    char *hidden = map(HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, memory, 0);
    fill(hidden, HUGE, 7);
    struct snapshot maps = snapshot_maps();
    ready();
    wait_go();
    compare("memory map", maps, snapshot_maps());
    expect_contents("shared", shared, HUGE, 1);
    expect_contents("shared, hidden by a private page", shared + HUGE, HUGE, 2);
    expect_contents("private, of the file", private, HUGE, 1);
    expect_contents("private, own", private + HUGE, HUGE, 3);
    expect_contents("file without a name", left + HUGE, HUGE, 4);
    EXPECT(is_zero(left, HUGE), "the hole of the file without a name");
    expect_contents("own page over it", over, HUGE, 5);
    expect_contents("its page", over + HUGE, HUGE, 4);
    expect_contents("memory file", shown, HUGE, 6);
    expect_contents("own page over the memory file", hidden, HUGE, 7);
    unlink(path);
    return verdict();
}

static int transparent(void)
{
    size_t bytes = 8 * HUGE;
    char *all = map(bytes + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *at = (char *)(((uintptr_t)all + HUGE - 1) & ~(HUGE - 1));
    MUST(madvise(at, bytes, MADV_HUGEPAGE) == 0);
    fill(at, 6 * HUGE, 1);
    fill(at + 6 * HUGE + 7 * PAGE, PAGE, 2);
    long before = smaps("AnonHugePages", at, at + bytes);
    MUST(before >= 4 * 2048);
    ready();
    wait_go();
    expect_contents("transparent huge pages", at, 6 * HUGE, 1);
    expect_contents("one page of a huge one", at + 6 * HUGE + 7 * PAGE, PAGE, 2);
    long after = smaps("AnonHugePages", at, at + bytes);
    say("huge %ld then, %ld now", before, after);
    EXPECT(after >= before, "%ld KiB are huge, were %ld", after, before);
    return verdict();
}

static int mixed(void)
{
    size_t bytes = 16 * HUGE;
    char *all = map(bytes + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *at = (char *)(((uintptr_t)all + HUGE - 1) & ~(HUGE - 1));
    /* Small pages: all of two, one of each of six, none of the last two. */
    MUST(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
    fill(at, 2 * HUGE, 1);
    for (int k = 2; k < 8; k++)
        fill(at + k * HUGE + 9 * PAGE, PAGE, k);
    /* Huge ones between them: with contents everywhere, and in one place only; one cannot be written any more. */
    MUST(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0) == 0);
    fill(at + 8 * HUGE, 4 * HUGE, 8);
    fill(at + 12 * HUGE + 5 * PAGE, PAGE, 9);
    fill(at + 13 * HUGE, HUGE, 10);
    MUST(mprotect(at + 13 * HUGE, HUGE, PROT_READ) == 0);
    long huge = smaps("AnonHugePages", at, at + bytes), own = smaps("Anonymous", at, at + bytes);
    MUST(huge == 6 * 2048 && own == 6 * 2048 + 2 * 2048 + 6 * 4);
    ready();
    wait_go();
    long huge_now = smaps("AnonHugePages", at, at + bytes), own_now = smaps("Anonymous", at, at + bytes);
    EXPECT(huge_now == huge, "%ld KiB are huge, were %ld", huge_now, huge);
    EXPECT(own_now == own, "%ld KiB of memory, were %ld", own_now, own);
    expect_contents("small pages", at, 2 * HUGE, 1);
    for (int k = 2; k < 8; k++)
        expect_contents("a small page", at + k * HUGE + 9 * PAGE, PAGE, k);
    expect_contents("huge pages", at + 8 * HUGE, 4 * HUGE, 8);
    expect_contents("a part of a huge page", at + 12 * HUGE + 5 * PAGE, PAGE, 9);
    expect_contents("a huge page that cannot be written", at + 13 * HUGE, HUGE, 10);
    /* The process may have huge pages as before. */
    EXPECT(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 0, "huge pages are disabled for the process");
    return verdict();
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "anonymous";
    if (!strcmp(mode, "files"))
        return files(argc > 2 ? argv[2] : ".");
    if (!strcmp(mode, "transparent"))
        return transparent();
    if (!strcmp(mode, "mixed"))
        return mixed();
    return anonymous();
}
