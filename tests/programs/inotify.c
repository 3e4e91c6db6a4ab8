/* What inotify instances watch, by which numbers, and events that were not read: inotify [overflow|alike|lost|family]
 *
 * The queue is compared event by event; then everything is touched again, and must be told with the old numbers.
 * overflow: a queue that is full. alike: events that only the kernel can tell apart. lost: a watch on something without a
 * path. family: two processes, what they share and what is watched by one and open in the other. */
#include "scene.h"
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/wait.h>

enum { SIZE = 1 << 20 };
static char queue[2][SIZE];

/* All that is in the queue, as text. */
static void drain(int fd, char *out)
{
    static char buffer[SIZE];
    size_t at = 0;
    ssize_t n = read(fd, buffer, sizeof buffer);
    out[0] = 0;
    for (ssize_t k = 0; k < n;) {
        struct inotify_event *e = (void *)(buffer + k);
        at += (size_t)snprintf(out + at, SIZE - at, "%d %#x %u '%s'\n", e->wd, e->mask, e->cookie, e->len ? e->name : "");
        k += (ssize_t)sizeof *e + e->len;
    }
}

static void touch(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    MUST(fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0);
}

static void expect_told(int fd, const char *what, const char *wanted)
{
    drain(fd, queue[1]);
    EXPECT(!strcmp(queue[1], wanted), "%s: told '%.150s' instead of '%.150s'", what, queue[1], wanted);
}

/* Makes the same events once before and once behind, so that the unread ones can be compared with read ones. */
static void unread_events(void)
{
    touch("folder/made");
    MUST(rename("folder/made", "folder/moved") == 0 && unlink("folder/moved") == 0);
    touch("folder/a name with \\ and \303\244");
    MUST(mkdir("folder/below", 0700) == 0 && rmdir("folder/below") == 0);
    MUST(unlink("folder/a name with \\ and \303\244") == 0);
}

static int overflow(void)
{
    int fd = inotify_init1(IN_NONBLOCK);
    MUST(mkdir("folder", 0700) == 0);
    int wd = inotify_add_watch(fd, "folder", IN_CREATE);
    int gone = inotify_add_watch(fd, "/tmp", IN_CLOSE_WRITE);
    MUST(fd >= 0 && wd == 1 && gone == 2);
    for (int k = 0; k < 40; k++) {
        char name[64];
        snprintf(name, sizeof name, "folder/%d", k);
        touch(name);
        if (k == 3) {
            touch("/tmp/inotify-scene");
            MUST(unlink("/tmp/inotify-scene") == 0);
        }
    }
    /* The end of this watch is lost in the overflow. */
    MUST(inotify_rm_watch(fd, gone) == 0);
    int bytes = 0;
    MUST(ioctl(fd, FIONREAD, &bytes) == 0);
    ready();
    wait_go();
    int now = 0;
    EXPECT(ioctl(fd, FIONREAD, &now) == 0 && now == bytes, "%d bytes are unread, were %d", now, bytes);
    drain(fd, queue[0]);
    char *last = strstr(queue[0], "-1 0x4000 0 ''\n");
    EXPECT(last && !last[15], "the overflow is not the end of the queue: %.150s", queue[0]);
    EXPECT(strstr(queue[0], "1 0x100 0 '0'\n") == queue[0], "the first event is lost: %.40s", queue[0]);
    EXPECT(strstr(queue[0], "\n2 0x8 0 'inotify-scene'\n") != NULL, "the event of the watch that is gone is lost");
    EXPECT(strstr(queue[0], "0x8000") == NULL, "the end of the watch that is gone was not lost");
    touch("folder/new");
    expect_told(fd, "behind the overflow", "1 0x100 0 'new'\n");
    EXPECT(inotify_add_watch(fd, ".", IN_CREATE) == 3, "the next watch has another number");
    return verdict();
}

static int alike(void)
{
    int fd = inotify_init1(IN_NONBLOCK), from = open("/bin/true", O_RDONLY), to;
    MUST(fd >= 0 && from >= 0 && mkdir("folder", 0700) == 0);
    to = open("folder/true", O_WRONLY | O_CREAT, 0700);
    while (sendfile(to, from, NULL, 1 << 20) > 0)
        ;
    MUST(close(to) == 0 && inotify_add_watch(fd, "folder", IN_OPEN) == 1);
    pid_t child = fork();
    if (child == 0) {
        execl("folder/true", "true", NULL);
        _exit(1);
    }
    int status;
    MUST(waitpid(child, &status, 0) == child && status == 0);
    for (int k = 0; k < 3; k++) {
        to = open("folder/true", O_RDONLY);
        MUST(to >= 0 && close(to) == 0);
    }
    ready();
    wait_go();
    /* The second is like the first one to a program; the others were the same to the kernel as well. */
    expect_told(fd, "an execution and an opening", "1 0x20 0 'true'\n1 0x20 0 'true'\n");
    return verdict();
}

static int lost(void)
{
    int fd = inotify_init1(IN_NONBLOCK);
    touch("lost");
    MUST(fd >= 0 && inotify_add_watch(fd, "lost", IN_MODIFY) == 1);
    ready();
    wait_go();
    expect_told(fd, "the end of a watch", "1 0x8000 0 ''\n");
    return verdict();
}

static volatile sig_atomic_t signals;

static void on_signal(int signo)
{
    (void)signo;
    signals++;
}

/* What the child has: an instance of its own, polled and signalling, a removed file that the parent watches. */
static int child_of_family(int shared, int removed, int parent)
{
    int own = inotify_init1(IN_NONBLOCK), poll = epoll_create1(0);
    struct epoll_event e = {EPOLLIN, {.u64 = 77}};
    MUST(own >= 0 && poll >= 0 && epoll_ctl(poll, EPOLL_CTL_ADD, own, &e) == 0);
    MUST(inotify_add_watch(own, "folder", IN_CREATE | IN_DELETE) == 1);
    touch("folder/one");
    signal(SIGIO, on_signal);
    MUST(fcntl(own, F_SETOWN, getpid()) == 0 && fcntl(own, F_SETFL, O_NONBLOCK | O_ASYNC) == 0);
    MUST(write(parent, "r", 1) == 1);
    wait_go();
    EXPECT(signals == 0, "%d signals tell of events that were put back", signals);
    EXPECT(epoll_wait(poll, &e, 1, 5000) == 1 && e.data.u64 == 77, "what is unread is not found ready");
    expect_told(own, "the child's own instance", "1 0x100 0 'one'\n");
    touch("folder/two");
    EXPECT(signals == 1, "%d signals instead of one", signals);
    expect_told(own, "the child's own instance, later", "1 0x100 0 'two'\n");
    /* Told to the parent. */
    EXPECT(write(removed, "x", 1) == 1, "write: %s", strerror(errno));
    EXPECT(inotify_add_watch(shared, "/", IN_DELETE_SELF) == 4, "the next watch of the shared instance has another number");
    return atomic_load(&faults) != 0;
}

static int family(void)
{
    int shared = inotify_init1(IN_NONBLOCK), ends[2], status;
    MUST(shared >= 0 && mkdir("folder", 0700) == 0 && pipe(ends) == 0);
    touch("removed");
    MUST(inotify_add_watch(shared, "folder", IN_MOVED_TO) == 1 && inotify_add_watch(shared, "removed", IN_MODIFY) == 2);
    MUST(inotify_add_watch(shared, ".", IN_DELETE) == 3 && inotify_rm_watch(shared, 3) == 0);
    drain(shared, queue[0]);
    pid_t child = fork();
    if (child == 0) {
        int removed = open("removed", O_WRONLY);
        MUST(removed >= 0 && unlink("removed") == 0);
        _exit(child_of_family(shared, removed, ends[1]));
    }
    char byte;
    MUST(read(ends[0], &byte, 1) == 1);
    touch("x");
    MUST(rename("x", "folder/x") == 0);
    ready();
    MUST(waitpid(child, &status, 0) == child);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %#x", status);
    drain(shared, queue[0]);
    EXPECT(!strncmp(queue[0], "1 0x80 ", 7) && strstr(queue[0], " 'x'\n2 0x2 0 ''\n"), "told '%.150s'", queue[0]);
    return verdict();
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "alike"))
        return alike();
    if (argc > 1 && !strcmp(argv[1], "lost"))
        return lost();
    if (argc > 1 && !strcmp(argv[1], "family"))
        return family();
    if (argc > 1 && !strcmp(argv[1], "overflow"))
        return overflow();
    /* Twice the same: one queue is read before the checkpoint, the other behind it. */
    int all[2], pipe_ends[2], quiet = inotify_init1(IN_CLOEXEC);
    MUST(quiet >= 0 && mkdir("folder", 0700) == 0 && mkdir("yard", 0700) == 0);
    touch("file");
    touch("once");
    touch("yard/gone");
    touch("removed");
    int removed = open("removed", O_RDWR);
    MUST(symlink("file", "link") == 0 && pipe(pipe_ends) == 0);
    char end[64];
    snprintf(end, sizeof end, "/proc/self/fd/%d", pipe_ends[0]);
    for (int k = 0; k < 2; k++) {
        all[k] = inotify_init1(IN_NONBLOCK);
        MUST(all[k] >= 0);
        MUST(inotify_add_watch(all[k], "file", IN_ALL_EVENTS & ~(IN_OPEN | IN_CLOSE | IN_ACCESS)) == 1);
        MUST(inotify_add_watch(all[k], "yard/gone", IN_ALL_EVENTS) == 2);
        MUST(inotify_add_watch(all[k], "folder", IN_CREATE | IN_DELETE | IN_MOVE | IN_CLOSE_WRITE | IN_ONLYDIR | IN_EXCL_UNLINK) == 3);
        MUST(inotify_add_watch(all[k], "once", IN_MODIFY | IN_ONESHOT) == 4);
        MUST(inotify_add_watch(all[k], "link", IN_ATTRIB | IN_DONT_FOLLOW) == 5);
        MUST(inotify_add_watch(all[k], "removed", IN_MODIFY | IN_CLOSE_WRITE) == 6);
        MUST(inotify_add_watch(all[k], end, IN_MODIFY) == 7);
        MUST(inotify_add_watch(all[k], "yard", IN_DELETE) == 8);
        /* A watch that has been removed and read: its number is not used again. */
        MUST(inotify_add_watch(all[k], "/", IN_DELETE_SELF) == 9 && inotify_rm_watch(all[k], 9) == 0);
        drain(all[k], queue[0]);
        MUST(!strcmp(queue[0], "9 0x8000 0 ''\n"));
    }
    int twin = dup(all[1]);
    MUST(twin >= 0 && unlink("removed") == 0);
    touch("file");
    unread_events();
    touch("yard/gone");
    MUST(unlink("yard/gone") == 0);
    touch("file");
    drain(all[0], queue[0]);
    int bytes = 0, now = 0;
    MUST(ioctl(all[1], FIONREAD, &bytes) == 0);
    ready();
    wait_go();

    EXPECT(ioctl(all[1], FIONREAD, &now) == 0 && now == bytes, "%d bytes are unread, were %d", now, bytes);
    expect_told(all[1], "unread events", queue[0]);
    expect_told(all[0], "what happened meanwhile", "");
    touch("file");
    expect_told(twin, "a file, by a duplicate", "1 0x2 0 ''\n");
    touch("folder/new");
    expect_told(all[1], "a folder", "3 0x100 0 'new'\n3 0x8 0 'new'\n");
    touch("once");
    touch("once");
    expect_told(all[1], "a watch for one event", "4 0x2 0 ''\n4 0x8000 0 ''\n");
    touch("file");
    EXPECT(lchown("link", getuid(), getgid()) == 0, "lchown: %s", strerror(errno));
    expect_told(all[1], "a link itself", "1 0x2 0 ''\n5 0x4 0 ''\n");
    EXPECT(write(removed, "more", 4) == 4, "write: %s", strerror(errno));
    expect_told(all[1], "a removed file", "6 0x2 0 ''\n");
    EXPECT(write(pipe_ends[1], "x", 1) == 1, "write: %s", strerror(errno));
    expect_told(all[1], "a pipe", "7 0x2 0 ''\n");
    EXPECT(inotify_rm_watch(all[1], 3) == 0, "a watch cannot be removed: %s", strerror(errno));
    expect_told(all[1], "a watch that is removed", "3 0x8000 0 ''\n");
    int next = inotify_add_watch(all[1], "/", IN_DELETE_SELF);
    EXPECT(next == 10, "the next watch has number %d instead of 10", next);
    EXPECT(fcntl(all[1], F_GETFL) == (O_RDONLY | O_NONBLOCK) && fcntl(quiet, F_GETFD) == FD_CLOEXEC, "flags");
    EXPECT(inotify_add_watch(quiet, "folder", IN_CREATE) == 1, "the instance without watches");
    return verdict();
}
