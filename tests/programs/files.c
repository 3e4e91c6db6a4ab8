/* Descriptors of every kind that a checkpoint keeps: files many | append | deleted
 *
 * many: regular files, directories, devices, O_PATH, shared and separate offsets, close-on-exec, high numbers; append:
 * a log that grows by numbered lines; deleted: files without a name (unlinked, O_TMPFILE) with contents and holes. */
#include "snapshot.h"
#include <dirent.h>
#include <sys/sysmacros.h>

static int open_or_die(const char *path, int flags, int mode)
{
    int fd = open(path, flags, mode);
    if (fd < 0)
        say("FAIL cannot open %s: %s", path, strerror(errno));
    MUST(fd >= 0);
    return fd;
}

static int sorted_numbers(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* Number, path, position, flags and close-on-exec of each descriptor. */
static struct snapshot snapshot_descriptors(void)
{
    struct snapshot s = new_snapshot();
    int numbers[256], n = 0;
    for (int fd = 0; fd < 1024; fd++)
        if (fcntl(fd, F_GETFD) != -1 && n < 256)
            numbers[n++] = fd;
    qsort(numbers, n, sizeof *numbers, sorted_numbers);
    for (int k = 0; k < n; k++) {
        char link[64], path[512];
        struct stat st = {0};
        snprintf(link, sizeof link, "/proc/self/fd/%d", numbers[k]);
        ssize_t length = readlink(link, path, sizeof path - 1);
        path[length < 0 ? 0 : length] = 0;
        fstat(numbers[k], &st);
        /* A log that this program itself writes to moves on. */
        long position = numbers[k] < 3 ? 0 : (long)lseek(numbers[k], 0, SEEK_CUR);
        add(&s, "descriptor %d: %s position %ld flags %o close-on-exec %d mode %o device %u:%u\n", numbers[k], path,
            position, fcntl(numbers[k], F_GETFL), fcntl(numbers[k], F_GETFD), st.st_mode, major(st.st_rdev),
            minor(st.st_rdev));
    }
    return s;
}

static void expect_read(int fd, const char *text, const char *what)
{
    char got[64] = {0};
    ssize_t n = read(fd, got, strlen(text));
    EXPECT(n == (ssize_t)strlen(text) && !strcmp(got, text), "%s: read %zd bytes '%s' instead of '%s'", what, n, got,
           text);
}

static int many(void)
{
    int setup = open_or_die("alphabet", O_RDWR | O_CREAT | O_TRUNC, 0644);
    MUST(write(setup, "abcdefghijklmnopqrstuvwxyz0123456789", 36) == 36);
    close(setup);
    MUST(mkdir("folder", 0755) == 0 || errno == EEXIST);
    for (int k = 0; k < 40; k++) {
        char name[64];
        snprintf(name, sizeof name, "folder/entry-with-a-name-%02d", k);
        close(open_or_die(name, O_CREAT | O_WRONLY, 0600));
    }
    MUST(symlink("alphabet", "link") == 0 || errno == EEXIST);

    int first = open_or_die("alphabet", O_RDONLY, 0);
    int second = open_or_die("alphabet", O_RDONLY | O_CLOEXEC, 0);
    MUST(lseek(first, 3, SEEK_SET) == 3 && lseek(second, 10, SEEK_SET) == 10);
    int twin = dup(first);
    int high = fcntl(first, F_DUPFD_CLOEXEC, 700);
    MUST(twin >= 0 && high == 700);
    int both = open_or_die("alphabet", O_RDWR | O_NONBLOCK, 0);
    MUST(lseek(both, 30, SEEK_SET) == 30);
    int append = open_or_die("appended", O_WRONLY | O_CREAT | O_APPEND | O_TRUNC, 0640);
    MUST(write(append, "begin\n", 6) == 6);
    int beyond = open_or_die("sparse", O_RDWR | O_CREAT | O_TRUNC, 0600);
    MUST(lseek(beyond, 5000000, SEEK_SET) == 5000000);
    int folder = open_or_die("folder", O_RDONLY | O_DIRECTORY, 0);
    char entries[512];
    long first_part = syscall(SYS_getdents64, folder, entries, sizeof entries);
    MUST(first_part > 0);
    int path = open_or_die("alphabet", O_PATH, 0);
    int path_folder = open_or_die("folder", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    int path_link = open_or_die("link", O_PATH | O_NOFOLLOW, 0);
    int through = open_or_die("link", O_RDONLY, 0);
    int null = open_or_die("/dev/null", O_RDWR, 0);
    int zero = open_or_die("/dev/zero", O_RDONLY, 0);
    int full = open_or_die("/dev/full", O_WRONLY, 0);
    int random = open_or_die("/dev/random", O_RDONLY, 0);
    int urandom = open_or_die("/dev/urandom", O_RDONLY, 0);
    int root = open_or_die("/", O_RDONLY | O_DIRECTORY, 0);

    struct snapshot before = snapshot_descriptors();
    ready();
    wait_go();
    struct snapshot after = snapshot_descriptors();
    compare("descriptors", before, after);

    expect_read(first, "de", "the first descriptor");
    expect_read(twin, "fg", "its duplicate, which shares the position");
    expect_read(high, "hi", "its duplicate with a high number");
    expect_read(second, "klm", "the second descriptor, with its own position");
    expect_read(both, "456", "the third descriptor");
    EXPECT(pwrite(both, "A", 1, 0) == 1, "write: %s", strerror(errno));
    char c;
    EXPECT(pread(through, &c, 1, 0) == 1 && c == 'A', "a write through one descriptor is not seen through another");
    EXPECT(write(append, "end\n", 4) == 4, "append: %s", strerror(errno));
    char text[64];
    EXPECT(slurp("appended", text, sizeof text) == 10 && !strcmp(text, "begin\nend\n"), "the appended file has '%s'",
           text);
    EXPECT(write(beyond, "x", 1) == 1, "write behind the end: %s", strerror(errno));
    struct stat st;
    EXPECT(fstat(beyond, &st) == 0 && st.st_size == 5000001, "the sparse file has %lld bytes", (long long)st.st_size);
    /* The folder is read on where it was: every entry once. */
    int seen[64] = {0}, total = 0;
    for (long n = first_part; n > 0; n = syscall(SYS_getdents64, folder, entries, sizeof entries))
        for (long at = 0; at < n;) {
            struct {
                uint64_t ino, off;
                unsigned short length;
                unsigned char type;
                char name[];
            } *e = (void *)(entries + at);
            int k;
            if (sscanf(e->name, "entry-with-a-name-%d", &k) == 1 && k >= 0 && k < 64)
                seen[k]++;
            total++;
            at += e->length;
        }
    for (int k = 0; k < 40; k++)
        EXPECT(seen[k] == 1, "entry %d of the folder was read %d times", k, seen[k]);
    EXPECT(total == 42, "the folder has %d entries", total);
    EXPECT(read(path, &c, 1) == -1 && errno == EBADF, "O_PATH: read did not fail with EBADF");
    int at = openat(path_folder, "entry-with-a-name-07", O_RDONLY);
    EXPECT(at >= 0, "openat of the O_PATH folder: %s", strerror(errno));
    ssize_t n = readlinkat(path_link, "", text, sizeof text);
    EXPECT(n == 8 && !memcmp(text, "alphabet", 8), "the O_PATH descriptor of the link: %zd", n);
    EXPECT(write(null, "x", 1) == 1 && read(null, &c, 1) == 0, "/dev/null");
    EXPECT(read(zero, &c, 1) == 1 && c == 0, "/dev/zero");
    EXPECT(write(full, "x", 1) == -1 && errno == ENOSPC, "/dev/full");
    EXPECT(read(random, text, 16) == 16 && read(urandom, text, 16) == 16, "/dev/random, /dev/urandom");
    EXPECT(fchdir(root) == 0 && access("proc", F_OK) == 0, "the descriptor of /");
    return verdict();
}

static int append(void)
{
    int log = open_or_die("log", O_WRONLY | O_CREAT | O_APPEND, 0644);
    ready();
    unsigned long k = 0;
    while (!is_go()) {
        char line[64];
        int n = snprintf(line, sizeof line, "line %lu\n", k++);
        EXPECT(write(log, line, n) == n, "write: %s", strerror(errno));
        rest(0.01);
    }
    say("lines %lu", k);
    return verdict();
}

static int deleted(void)
{
    static char contents[100000], got[100000];
    fill(contents, sizeof contents, 3);
    int unlinked = open_or_die("unlinked", O_RDWR | O_CREAT | O_TRUNC, 0640);
    MUST(write(unlinked, contents, sizeof contents) == sizeof contents);
    MUST(ftruncate(unlinked, 3000000) == 0 && pwrite(unlinked, "tail", 4, 2999996) == 4);
    MUST(lseek(unlinked, 1234, SEEK_SET) == 1234);
    int second = open_or_die("unlinked", O_RDONLY, 0);
    int twin = dup(unlinked);
    MUST(unlink("unlinked") == 0);
    int nameless = open(".", O_TMPFILE | O_RDWR, 0600);
    MUST(nameless >= 0);
    MUST(write(nameless, "no name", 7) == 7);
    int write_only = open_or_die("write-only", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    MUST(write(write_only, "secret", 6) == 6);
    MUST(unlink("write-only") == 0);
    int empty = open_or_die("empty", O_RDWR | O_CREAT | O_TRUNC, 0600);
    MUST(unlink("empty") == 0);
    ready();
    wait_go();
    struct stat st, st2;
    EXPECT(fstat(unlinked, &st) == 0 && st.st_nlink == 0 && st.st_size == 3000000 && (st.st_mode & 07777) == 0640,
           "the unlinked file: links %d, size %lld, mode %o", (int)st.st_nlink, (long long)st.st_size, st.st_mode);
    EXPECT(lseek(twin, 0, SEEK_CUR) == 1234, "the unlinked file: position %lld", (long long)lseek(twin, 0, SEEK_CUR));
    EXPECT(fstat(second, &st2) == 0 && st2.st_ino == st.st_ino, "two descriptors of one unlinked file are two files");
    EXPECT(pread(second, got, sizeof got, 0) == sizeof got && !memcmp(got, contents, sizeof got),
           "the contents of the unlinked file are wrong");
    EXPECT(pread(second, got, 4, 2999996) == 4 && !memcmp(got, "tail", 4), "the tail of the unlinked file is wrong");
    EXPECT(pread(second, got, 1000, 1500000) == 1000 && got[0] == 0 && !memcmp(got, got + 1, 999),
           "the hole of the unlinked file is not zero");
    EXPECT(st.st_blocks < 1500, "the unlinked file lost its hole: %lld blocks", (long long)st.st_blocks);
    EXPECT(pwrite(unlinked, "Z", 1, 0) == 1 && pread(second, got, 1, 0) == 1 && got[0] == 'Z',
           "a write to the unlinked file is not seen through its other descriptor");
    EXPECT(access("unlinked", F_OK) == -1 && access("write-only", F_OK) == -1, "the unlinked file has a name again");
    EXPECT(pread(nameless, got, 100, 0) == 7 && !memcmp(got, "no name", 7), "the contents of the O_TMPFILE are wrong");
    EXPECT(lseek(nameless, 0, SEEK_CUR) == 7, "the O_TMPFILE: position %lld", (long long)lseek(nameless, 0, SEEK_CUR));
    EXPECT(write(write_only, "+", 1) == 1 && fstat(write_only, &st) == 0 && st.st_size == 7,
           "the write-only file has %lld bytes", (long long)st.st_size);
    EXPECT(read(write_only, got, 1) == -1 && errno == EBADF, "the write-only file can be read");
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", write_only);
    int back = open(link, O_RDONLY);
    EXPECT(back >= 0 && read(back, got, 10) == 7 && !memcmp(got, "secret+", 7), "the write-only file's contents");
    EXPECT(fstat(empty, &st) == 0 && st.st_size == 0, "the empty file has %lld bytes", (long long)st.st_size);
    return verdict();
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "many";
    if (!strcmp(mode, "append"))
        return append();
    if (!strcmp(mode, "deleted"))
        return deleted();
    return many();
}
