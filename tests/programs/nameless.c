/* Files without a name, open and mapped: nameless memfd | seals | huge | deleted | program | family
 *
 * memfd: memory files with descriptors, offsets, shared and private mappings, holes; seals: every seal, also with a
 * mapping that may still write; huge: memory files of huge pages; deleted: mapped files that were removed or replaced;
 * program: the program itself was removed while it runs; family: what parent, child and grandchild have of such files, each
 * in another way. */
#include "snapshot.h"
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 16u
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 32
#endif

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

static int reopen(int fd, int flags)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int again = open(path, flags);
    MUST(again >= 0);
    return again;
}

/* What readlink, fstat and fcntl say about a descriptor; inode numbers are compared between descriptors only. */
static void describe(struct snapshot *s, int fd)
{
    char path[40], target[300] = "";
    struct stat st;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    MUST(readlink(path, target, sizeof target - 1) > 0 && fstat(fd, &st) == 0);
    if (!S_ISREG(st.st_mode))
        return;
    if (strncmp(target, "/memfd:", 7))
        target[0] = 0;
    add(s, "%d %s mode %o size %lld mtime %lld.%09ld flags %o cloexec %d seals %x at %lld\n", fd, target, st.st_mode,
        (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, fcntl(fd, F_GETFL), fcntl(fd, F_GETFD),
        fcntl(fd, F_GET_SEALS), (long long)lseek(fd, 0, SEEK_CUR));
}

static void describe_all(struct snapshot *s)
{
    for (int fd = 3; fd < 40; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            describe(s, fd);
}

static ino_t inode(int fd)
{
    struct stat st;
    MUST(fstat(fd, &st) == 0);
    return st.st_ino;
}

static int memory_file(const char *name, unsigned flags, size_t bytes, uint64_t seed)
{
    int fd = memfd_create(name, flags);
    MUST(fd >= 0 && ftruncate(fd, bytes) == 0);
    if (seed) {
        char *at = map(bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        fill(at, bytes / 8 * 8, seed);
        MUST(munmap(at, bytes) == 0);
    }
    return fd;
}

static int memfd(void)
{
    int cache = memory_file("cache", MFD_ALLOW_SEALING | MFD_CLOEXEC, 5 * PAGE + 104, 1);
    MUST(lseek(cache, 1234, SEEK_SET) == 1234);
    int reader = reopen(cache, O_RDONLY), appender = reopen(cache, O_WRONLY | O_APPEND | O_CLOEXEC), twin = dup(cache);
    MUST(lseek(reader, 77, SEEK_SET) == 77 && fchmod(cache, 0640) == 0);
    char *shared = map(5 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, cache, 0);
    char *part = map(2 * PAGE, PROT_READ, MAP_SHARED, reader, 2 * PAGE);
    char *private = map(5 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, reader, 0);
    fill(private + PAGE, PAGE, 2);

    /* Descriptors are gone, two mappings are left. */
    int fd = memory_file("with a \"strange\" name/\n", 0, 4 * PAGE, 3);
    char *left = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *right = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 2 * PAGE);
    close(fd);
    /* Only a private mapping is left, behind the end of the file there is nothing. */
    fd = memory_file("", 0, 3 * PAGE, 4);
    char *copy = map(4 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE, fd, 0);
    fill(copy, PAGE, 5);
    close(fd);

    int sparse = memory_file("sparse", MFD_EXEC, 1ul << 30, 0);
    char page[PAGE];
    for (int k = 0; k < 3; k++) {
        fill(page, PAGE, 10 + k);
        MUST(pwrite(sparse, page, PAGE, (k + 1) * (200l << 20)) == PAGE);
    }
    int empty = memory_file("empty", 0, 0, 0), append = memory_file("log", 0, 0, 0);
    MUST(fcntl(append, F_SETFL, O_APPEND | O_NONBLOCK) == 0 && write(append, "begin\n", 6) == 6);
    MUST(empty >= 0);

    struct snapshot maps = snapshot_maps(), before = new_snapshot(), after = new_snapshot();
    describe_all(&before);
    ready();
    wait_go();
    describe_all(&after);
    compare("descriptors", before, after);
    compare("memory map", maps, snapshot_maps());

    EXPECT(inode(cache) == inode(reader) && inode(cache) == inode(appender) && inode(twin) == inode(cache),
           "descriptors of one memory file are of several now");
    expect_contents("shared mapping", shared, 5 * PAGE, 1);
    EXPECT(!memcmp(part, shared + 2 * PAGE, 2 * PAGE), "the second mapping differs");
    expect_contents("private page", private + PAGE, PAGE, 2);
    EXPECT(!memcmp(private + 2 * PAGE, shared + 2 * PAGE, 3 * PAGE), "clean private pages differ from the file");
    shared[3 * PAGE] ^= 1;
    char byte;
    EXPECT(part[PAGE] == shared[3 * PAGE] && private[3 * PAGE] == shared[3 * PAGE], "the mappings show several files");
    EXPECT(pread(reader, &byte, 1, 3 * PAGE) == 1 && byte == shared[3 * PAGE], "descriptor and mapping differ");
    EXPECT(lseek(twin, 5, SEEK_CUR) == 1239 && lseek(cache, 0, SEEK_CUR) == 1239, "dup shares no position any more");
    EXPECT(write(appender, "x", 1) == 1 && lseek(cache, 0, SEEK_END) == 5 * PAGE + 105, "nothing was appended");
    expect_contents("mapping without descriptor", left, 4 * PAGE, 3);
    left[2 * PAGE + 5] ^= 7;
    EXPECT(right[5] == left[2 * PAGE + 5], "two mappings of a memory file without descriptor are two files");
    expect_contents("own page over a memory file", copy, PAGE, 5);
    uint64_t *whole = malloc(3 * PAGE);
    fill(whole, 3 * PAGE, 4);
    EXPECT(!memcmp(copy + PAGE, (char *)whole + PAGE, 2 * PAGE), "pages of the memory file behind the own one");
    for (int k = 0; k < 3; k++) {
        EXPECT(pread(sparse, page, PAGE, (k + 1) * (200l << 20)) == PAGE, "pread: %s", strerror(errno));
        expect_contents("sparse memory file", page, PAGE, 10 + k);
    }
    EXPECT(pread(sparse, page, PAGE, 100l << 20) == PAGE && is_zero(page, PAGE), "the hole is none");
    struct stat st;
    EXPECT(fstat(sparse, &st) == 0 && st.st_blocks < 64, "the sparse memory file has %ld blocks", (long)st.st_blocks);
    EXPECT(write(append, "end\n", 4) == 4 && lseek(append, 0, SEEK_END) == 10, "the log did not grow");
    EXPECT(fcntl(cache, F_ADD_SEALS, F_SEAL_GROW) == 0 && ftruncate(cache, 1 << 20) == -1, "it cannot be sealed any more");
    EXPECT(fcntl(empty, F_ADD_SEALS, F_SEAL_GROW) == -1, "what was never to be sealed can be sealed");
    return verdict();
}

static int seals(void)
{
    int fds[5];
    fds[0] = memory_file("all", MFD_ALLOW_SEALING, 4 * PAGE, 1);
    fds[1] = memory_file("future", MFD_ALLOW_SEALING, 4 * PAGE, 2);
    fds[2] = memory_file("noexec", MFD_NOEXEC_SEAL, 4 * PAGE, 3);
    fds[3] = memory_file("exec", MFD_ALLOW_SEALING | MFD_EXEC, 4 * PAGE, 4);
    fds[4] = memory_file("final", MFD_ALLOW_SEALING, 4 * PAGE, 5);
    char *future = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fds[1], 0);
    MUST(fcntl(fds[0], F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
    MUST(fcntl(fds[1], F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK) == 0);
    MUST(fcntl(fds[3], F_ADD_SEALS, F_SEAL_EXEC) == 0);
    MUST(fcntl(fds[4], F_ADD_SEALS, F_SEAL_SEAL) == 0);
    char *all = map(4 * PAGE, PROT_READ, MAP_SHARED, fds[0], 0);
    char *over = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fds[0], 0);
    fill(over, PAGE, 6);
    /* Nobody can write it by a descriptor any more, but the seals are still there. */
    int reader = reopen(fds[0], O_RDONLY);
    close(fds[0]);
    fds[0] = reader;

    struct snapshot maps = snapshot_maps(), before = new_snapshot(), after = new_snapshot();
    describe_all(&before);
    ready();
    wait_go();
    describe_all(&after);
    compare("descriptors", before, after);
    compare("memory map", maps, snapshot_maps());
    expect_contents("sealed memory file", all, 4 * PAGE, 1);
    expect_contents("own page over it", over, PAGE, 6);
    EXPECT(mprotect(all, PAGE, PROT_READ | PROT_WRITE) == -1, "a sealed file can be written through its mapping");
    EXPECT(pwrite(reopen(reader, O_RDWR), "x", 1, 0) == -1 && errno == EPERM, "a sealed file can be written");
    expect_contents("mapping from before the seal", future, 4 * PAGE, 2);
    future[7] ^= 1;
    char byte;
    EXPECT(pread(fds[1], &byte, 1, 7) == 1 && byte == future[7], "the mapping from before the seal writes elsewhere");
    future[7] ^= 1;
    EXPECT(pwrite(fds[1], "x", 1, 0) == -1 && errno == EPERM, "a file sealed for the future can be written");
    EXPECT(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fds[1], 0) == MAP_FAILED, "it can be mapped for writing");
    EXPECT(fchmod(fds[2], 0777) == -1 && fchmod(fds[3], 0600) == -1, "the exec seal does not hold");
    EXPECT(fcntl(fds[4], F_ADD_SEALS, F_SEAL_WRITE) == -1, "a final file gets another seal");
    for (int k = 1; k < 5; k++) {
        char *at = map(4 * PAGE, PROT_READ, MAP_PRIVATE, fds[k], 0);
        expect_contents("contents", at, 4 * PAGE, k + 1);
    }
    return verdict();
}

static int huge(void)
{
    int fd = memory_file("huge", MFD_HUGETLB | MFD_ALLOW_SEALING, 3 * HUGE, 0);
    char *at = map(HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, HUGE);
    fill(at, HUGE, 1);
    MUST(munmap(at, HUGE) == 0);
    int sealed = memory_file("huge and sealed", MFD_HUGETLB | MFD_ALLOW_SEALING, HUGE, 2);
    MUST(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SEAL) == 0);
    struct snapshot before = new_snapshot(), after = new_snapshot();
    describe_all(&before);
    ready();
    wait_go();
    describe_all(&after);
    compare("descriptors", before, after);
    struct stat st;
    EXPECT(fstat(fd, &st) == 0 && st.st_blksize == (long)HUGE, "pages of %ld bytes", (long)st.st_blksize);
    EXPECT(fstat(fd, &st) == 0 && st.st_blocks * 512 == (long)HUGE, "%ld blocks", (long)st.st_blocks);
    at = map(3 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    expect_contents("second huge page", at + HUGE, HUGE, 1);
    EXPECT(is_zero(at, HUGE), "the first huge page is not zero");
    at = map(HUGE, PROT_READ, MAP_PRIVATE, sealed, 0);
    expect_contents("sealed huge page", at, HUGE, 2);
    return verdict();
}

static int make(const char *name, size_t bytes, uint64_t seed)
{
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0755);
    MUST(fd >= 0 && ftruncate(fd, bytes) == 0);
    char *at = map(bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    fill(at, bytes, seed);
    MUST(munmap(at, bytes) == 0);
    return fd;
}

static int deleted(void)
{
    /* With a descriptor, mapped shared and privately. */
    int open_one = make("open", 6 * PAGE, 1);
    char *shared = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, open_one, PAGE);
    char *private = map(6 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, open_one, 0);
    fill(private, PAGE, 2);
    MUST(unlink("open") == 0);
    /* Without a descriptor. */
    int fd = make("closed", 3 * PAGE, 3);
    char *left = map(3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *right = map(PAGE, PROT_READ, MAP_SHARED, fd, PAGE);
    close(fd);
    MUST(unlink("closed") == 0);
    /* A library that was replaced, as an upgrade does; somebody keeps the old one under another name. */
    fd = make("library", 5 * PAGE, 4);
    char *library = map(4 * PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, PAGE);
    char *data = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    fill(data, PAGE, 5);
    close(fd);
    MUST(link("library", "backup") == 0);
    close(make("library.new", 2 * PAGE, 6));
    MUST(rename("library.new", "library") == 0);

    struct snapshot before = snapshot_maps();
    ready();
    wait_go();
    compare("memory map", before, snapshot_maps());
    char *expected = malloc(6 * PAGE);
    fill(expected, 6 * PAGE, 1);
    EXPECT(!memcmp(shared, expected + PAGE, 4 * PAGE), "shared mapping of a removed file");
    expect_contents("private page over a removed file", private, PAGE, 2);
    EXPECT(!memcmp(private + PAGE, expected + PAGE, 5 * PAGE), "clean private pages of a removed file");
    shared[3] ^= 1;
    char byte;
    EXPECT(private[PAGE + 3] == shared[3], "the two mappings of a removed file are of two files");
    EXPECT(pread(open_one, &byte, 1, PAGE + 3) == 1 && byte == shared[3], "mapping and descriptor are of two files");
    expect_contents("mapping of a removed file without descriptor", left, 3 * PAGE, 3);
    left[PAGE + 9] ^= 1;
    EXPECT(right[9] == left[PAGE + 9], "two mappings without descriptor are of two files");
    fill(expected, 5 * PAGE, 4);
    EXPECT(!memcmp(library, expected + PAGE, 4 * PAGE), "the replaced library has other code");
    expect_contents("data of the replaced library", data, PAGE, 5);
    EXPECT(!memcmp(data + PAGE, expected + PAGE, PAGE), "clean data of the replaced library");
    return verdict();
}

static int program(const char *path)
{
    struct stat before, after;
    char target[300] = "";
    MUST(stat("/proc/self/exe", &before) == 0);
    MUST(unlink(path) == 0);
    struct snapshot maps = snapshot_maps();
    ready();
    wait_go();
    compare("memory map", maps, snapshot_maps());
    EXPECT(stat("/proc/self/exe", &after) == 0, "/proc/self/exe: %s", strerror(errno));
    EXPECT(after.st_size == before.st_size && after.st_mode == before.st_mode, "the program is another file: %lld %o",
           (long long)after.st_size, after.st_mode);
    EXPECT(readlink("/proc/self/exe", target, sizeof target - 1) > 0 && strstr(target, "(deleted)"), "exe is %s", target);
    return verdict();
}

/* Waits for a child that checks itself. */
static void expect_good_end(pid_t pid)
{
    int status = -1;
    EXPECT(waitpid(pid, &status, 0) == pid && status == 0, "a child found faults: %#x", status);
}

static int family(void)
{
    /* Parent: by descriptor; child: by the inherited descriptor and by another mapping; grandchild: only mapped. */
    int common = memory_file("common", MFD_ALLOW_SEALING, 4 * PAGE, 1);
    char *mine = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, common, 0);
    MUST(lseek(common, 100, SEEK_SET) == 100);
    int up[2];
    MUST(pipe(up) == 0);
    pid_t child = fork();
    MUST(child >= 0);
    if (!child) {
        char *second = map(2 * PAGE, PROT_READ, MAP_SHARED, common, 2 * PAGE);
        /* Only the two younger ones have these. */
        int own = memory_file("of the child", MFD_ALLOW_SEALING, 3 * PAGE, 2);
        char *writable = map(3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, own, 0);
        MUST(fcntl(own, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_GROW) == 0);
        int fd = make("removed", 3 * PAGE, 3);
        char *removed = map(3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        char *over = map(3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
        fill(over, PAGE, 4);
        close(fd);
        MUST(unlink("removed") == 0);
        pid_t grandchild = fork();
        MUST(grandchild >= 0);
        if (!grandchild) {
            close(common);
            close(own);
            fill(over + 2 * PAGE, PAGE, 5);
            MUST(write(up[1], "g", 1) == 1);
            wait_go();
            /* When the child has looked at the times of the files. */
            char go;
            MUST(read(up[0], &go, 1) == 1);
            expect_contents("common, grandchild", mine, 4 * PAGE, 1);
            expect_contents("of the child, grandchild", writable, 3 * PAGE, 2);
            expect_contents("removed, grandchild", removed, 3 * PAGE, 3);
            expect_contents("own page of the child over it", over, PAGE, 4);
            expect_contents("own page of the grandchild over it", over + 2 * PAGE, PAGE, 5);
            writable[1] ^= 1;
            removed[2] ^= 1;
            mine[3 * PAGE] ^= 1;
            _exit(verdict());
        }
        MUST(write(up[1], "c", 1) == 1);
        struct snapshot before = new_snapshot(), after = new_snapshot();
        describe_all(&before);
        char first = writable[1], other = removed[2], third = second[PAGE];
        wait_go();
        describe_all(&after);
        compare("descriptors of the child", before, after);
        MUST(write(up[1], "l", 1) == 1);
        expect_contents("common, child", mine, 2 * PAGE, 1);
        expect_contents("own page over a removed file", over, PAGE, 4);
        expect_good_end(grandchild);
        EXPECT(writable[1] == (first ^ 1) && removed[2] == (other ^ 1) && second[PAGE] == (third ^ 1),
               "child and grandchild have files of their own");
        char byte;
        EXPECT(pread(own, &byte, 1, 1) == 1 && byte == writable[1], "descriptor and mapping of the child differ");
        EXPECT(pwrite(own, "x", 1, 0) == -1 && errno == EPERM, "the seal of the child's file does not hold");
        EXPECT(lseek(common, 23, SEEK_CUR) == 123, "the position of the common file differs");
        _exit(verdict());
    }
    char two[2];
    MUST(read(up[0], two, 1) == 1 && read(up[0], two + 1, 1) == 1);
    char third = mine[3 * PAGE];
    ready();
    wait_go();
    expect_good_end(child);
    EXPECT(lseek(common, 0, SEEK_CUR) == 123, "parent and child do not share the position of the common file");
    EXPECT(mine[3 * PAGE] == (third ^ 1), "parent and grandchild have files of their own");
    mine[3 * PAGE] ^= 1;
    expect_contents("common", mine, 4 * PAGE, 1);
    return verdict();
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "memfd";
    if (!strcmp(mode, "seals"))
        return seals();
    if (!strcmp(mode, "huge"))
        return huge();
    if (!strcmp(mode, "deleted"))
        return deleted();
    if (!strcmp(mode, "program"))
        return program(argv[0]);
    if (!strcmp(mode, "family"))
        return family();
    return memfd();
}
