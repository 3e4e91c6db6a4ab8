/* Locks on files: record locks of the process and of open files, flock, on ranges and to the end; checked by a child,
 * for locks do not keep out their own owner. */
#include "scene.h"
#include <sys/file.h>
#include <sys/wait.h>

static int records, described, whole, shared, deleted;

static void lock(int fd, int command, int type, long start, long len)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
    MUST(fcntl(fd, command, &l) == 0);
}

/* Who is in the way of a lock that another owner asks for: F_UNLCK for nobody. */
static int in_the_way(const char *path, int type, long start, long len)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(path, O_RDWR);
        struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
        _exit(fd < 0 || fcntl(fd, F_GETLK, &l) ? 99 : l.l_type);
    }
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
}

static int is_free(const char *path, int how)
{
    int fd = open(path, O_RDWR);
    int r = fd >= 0 && flock(fd, how | LOCK_NB) == 0;
    close(fd);
    return r;
}

int main(void)
{
    records = open("records", O_RDWR | O_CREAT, 0600);
    int twin = open("records", O_RDONLY);
    described = open("described", O_RDWR | O_CREAT, 0600);
    whole = open("whole", O_RDWR | O_CREAT, 0600);
    shared = open("shared", O_RDONLY | O_CREAT, 0600);
    deleted = open("gone", O_RDWR | O_CREAT, 0600);
    MUST(records >= 0 && twin >= 0 && described >= 0 && whole >= 0 && shared >= 0 && deleted >= 0);
    lock(records, F_SETLK, F_WRLCK, 0, 10);
    lock(records, F_SETLK, F_RDLCK, 20, 5);
    lock(records, F_SETLK, F_WRLCK, 100, 0);
    lock(described, F_OFD_SETLK, F_WRLCK, 7, 3);
    MUST(flock(whole, LOCK_EX) == 0 && flock(shared, LOCK_SH) == 0 && flock(deleted, LOCK_EX) == 0);
    MUST(unlink("gone") == 0);
    ready();
    wait_go();

    EXPECT(in_the_way("records", F_RDLCK, 0, 1) == F_WRLCK, "bytes 0 to 9 are not locked");
    EXPECT(in_the_way("records", F_WRLCK, 10, 10) == F_UNLCK, "bytes 10 to 19 are locked");
    EXPECT(in_the_way("records", F_RDLCK, 20, 5) == F_UNLCK, "bytes 20 to 24 are locked for readers");
    EXPECT(in_the_way("records", F_WRLCK, 20, 1) == F_RDLCK, "bytes 20 to 24 are not locked for writers");
    EXPECT(in_the_way("records", F_WRLCK, 25, 75) == F_UNLCK, "bytes 25 to 99 are locked");
    EXPECT(in_the_way("records", F_RDLCK, 1 << 30, 1) == F_WRLCK, "the end is not locked");
    EXPECT(in_the_way("described", F_RDLCK, 7, 1) == F_WRLCK, "the lock of the open file is lost");
    EXPECT(in_the_way("described", F_WRLCK, 10, 10) == F_UNLCK, "the lock of the open file is too long");
    EXPECT(!is_free("whole", LOCK_SH), "the exclusive flock is lost");
    EXPECT(is_free("shared", LOCK_SH) && !is_free("shared", LOCK_EX), "the shared flock is lost or exclusive");
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", deleted);
    EXPECT(!is_free(self, LOCK_EX), "the lock of the removed file is lost");
    EXPECT(flock(whole, LOCK_UN) == 0 && is_free("whole", LOCK_EX), "the flock does not go away");
    return verdict();
}
