/* Open files of /proc: proc family | monitor | writes | mounts | outside. family: a parent and a child, each with files and folders of both and
 * of the system, some read in part. monitor: one that reads the same open files all the time. The others have one file that is an
 * obstacle. */
#include "scene.h"
#include <dirent.h>
#include <sys/wait.h>

#define FILES 10

static char paths[FILES][64];
static int fds[FILES];
static off_t positions[FILES];
static int count;

static void have(const char *path, int flags, size_t read_first)
{
    char some[256];
    snprintf(paths[count], sizeof paths[0], "%s", path);
    fds[count] = open(path, flags);
    MUST(fds[count] >= 0 && read_first <= sizeof some);
    MUST(read_first == 0 || read(fds[count], some, read_first) == (ssize_t)read_first);
    positions[count] = lseek(fds[count], 0, SEEK_CUR);
    count++;
}

/* Reads on in the last one to its last but some bytes: further than a process that is not complete yet has something to say. */
static void to_its_end(size_t but)
{
    char text[16384];
    int whole = open(paths[count - 1], O_RDONLY);
    ssize_t size = 0;
    for (ssize_t n; (n = read(whole, text, sizeof text)) > 0;)
        size += n;
    close(whole);
    for (ssize_t left = size - (ssize_t)but, n; left > 0; left -= n)
        MUST((n = read(fds[count - 1], text, (size_t)left < sizeof text ? (size_t)left : sizeof text)) > 0);
    positions[count - 1] = lseek(fds[count - 1], 0, SEEK_CUR);
    MUST(positions[count - 1] == size - (ssize_t)but);
}

/* Every descriptor leads where it led, stands where it stood, and gives what a new one gives there. */
static void check(void)
{
    for (int n = 0; n < count; n++) {
        char link[64], target[128] = "";
        snprintf(link, sizeof link, "/proc/self/fd/%d", fds[n]);
        EXPECT(readlink(link, target, sizeof target - 1) > 0 && !strcmp(target, paths[n]), "%.60s leads to %.60s", paths[n], target);
        EXPECT(lseek(fds[n], 0, SEEK_CUR) == positions[n], "%.60s stands at %ld, not %ld", paths[n], (long)lseek(fds[n], 0, SEEK_CUR),
               (long)positions[n]);
        struct stat st;
        if (fstat(fds[n], &st) == 0 && S_ISDIR(st.st_mode))
            continue;
        char a[256] = "", b[256] = "";
        int again = open(paths[n], O_RDONLY | O_CLOEXEC);
        ssize_t x = pread(fds[n], a, sizeof a - 1, 0), y = again < 0 ? -1 : pread(again, b, sizeof b - 1, 0);
        /* The first words do not change. */
        EXPECT(x > 0 && y > 0 && !strncmp(a, b, 5), "%.60s says %.20s, not %.20s", paths[n], a, b);
        x = read(fds[n], a, sizeof a - 1), y = again < 0 ? -1 : pread(again, b, sizeof b - 1, positions[n]);
        EXPECT(x > 0 && y > 0 && !strncmp(a, b, 5), "%.60s at %ld says %.20s, not %.20s", paths[n], (long)positions[n], a, b);
        close(again);
    }
}

static const char *of(pid_t pid, const char *file)
{
    static char path[64];
    snprintf(path, sizeof path, "/proc/%d%s", (int)pid, file);
    return path;
}

static int family(void)
{
    pid_t parent = getpid();
    have(of(parent, "/status"), O_RDONLY, 5);
    have(of(parent, "/maps"), O_RDONLY | O_CLOEXEC, 0);
    to_its_end(150);
    have(of(parent, "/fd"), O_RDONLY | O_DIRECTORY, 0);
    have("/proc/meminfo", O_RDONLY, 20);
    have("/proc/sys/kernel/pid_max", O_RDONLY, 0);
    pid_t child = fork();
    MUST(child >= 0);
    if (child == 0) {
        have(of(getpid(), "/stat"), O_RDONLY, 0);
        have(of(parent, "/cmdline"), O_RDONLY, 0);
        wait_go();
        /* What it shares with its parent is looked at by that one. */
        memmove(fds, fds + 5, sizeof fds[0] * (count - 5));
        memmove(paths, paths + 5, sizeof paths[0] * (count - 5));
        memmove(positions, positions + 5, sizeof positions[0] * (count - 5));
        count -= 5;
        check();
        _exit(atomic_load(&faults) != 0);
    }
    have(of(child, "/stat"), O_RDONLY, 0);
    have(of(child, ""), O_RDONLY | O_DIRECTORY, 0);
    ready();
    wait_go();
    check();
    int status = -1;
    EXPECT(waitpid(child, &status, 0) == child && status == 0, "the child ended with %#x", status);
    return verdict();
}

static int monitor(void)
{
    int stat = open("/proc/stat", O_RDONLY), self = open("/proc/self/stat", O_RDONLY), load = open("/proc/loadavg", O_RDONLY);
    MUST(stat >= 0 && self >= 0 && load >= 0);
    ready();
    while (!is_go()) {
        char text[4096];
        int pid = 0;
        EXPECT(pread(stat, text, sizeof text, 0) > 4 && !strncmp(text, "cpu ", 4), "/proc/stat: %s", strerror(errno));
        EXPECT(lseek(self, 0, SEEK_SET) == 0 && read(self, text, sizeof text) > 4, "/proc/self/stat: %s", strerror(errno));
        EXPECT(sscanf(text, "%d", &pid) == 1 && pid == getpid(), "/proc/self/stat is of %d", pid);
        EXPECT(pread(load, text, sizeof text, 0) > 4, "/proc/loadavg: %s", strerror(errno));
        rest(0.01);
    }
    return verdict();
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "family"))
        return family();
    if (!strcmp(what, "monitor"))
        return monitor();
    if (!strcmp(what, "writes"))
        MUST(open("/proc/self/comm", O_RDWR) >= 0);
    else if (!strcmp(what, "mounts"))
        MUST(open("/proc/self/mountinfo", O_RDONLY) >= 0);
    else
        MUST(!strcmp(what, "outside") && open("/proc/1/status", O_RDONLY) >= 0);
    ready();
    wait_go();
    return verdict();
}
