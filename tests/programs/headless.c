/* Processes whose main thread has ended while others go on: headless work | status | tree. work: two threads compute and wait for
 * each other. status: all threads end one by one, so that the process has the status of the last one. tree: a child
 * that the main thread has made, and which asks for a signal at the end of its parent once that has happened. */
#include "scene.h"
#include <limits.h>
#include <linux/futex.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define STATUS 7

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn = PTHREAD_COND_INITIALIZER;
static pthread_t others[2];
static int whose;
static uint64_t sum;
static const char *mode;
static pid_t child;

/* The main thread is there, and has ended. */
static int main_has_ended(void)
{
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)getpid());
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    char *end = n > 0 ? strrchr(text, ')') : NULL;
    return end && end[2] == 'Z';
}

static void last_words(void)
{
    EXPECT(main_has_ended(), "the main thread is not what it was");
    EXPECT(own_tid() != getpid(), "the thread has become the main thread");
    /* The tid that main had is still in use: it gets signals for the process, and takes none. */
    EXPECT(syscall(SYS_tgkill, getpid(), getpid(), 0) == 0, "tgkill: %s", strerror(errno));
    if (child) {
        int status = -1;
        EXPECT(waitpid(child, &status, 0) == child && status == 0, "the child ended with %#x", status);
    }
}

static void *work(void *arg)
{
    int me = (int)(intptr_t)arg;
    if (me == 0) {
        while (!main_has_ended())
            rest(0.01);
        ready();
    }
    for (uint64_t k = 0; !is_go(); k++) {
        pthread_mutex_lock(&lock);
        while (whose != me)
            pthread_cond_wait(&turn, &lock);
        sum += mix(5, k);
        whose = !me;
        pthread_cond_broadcast(&turn);
        pthread_mutex_unlock(&lock);
        rest(0.01);
    }
    pthread_mutex_lock(&lock);
    whose = !me;
    pthread_cond_broadcast(&turn);
    pthread_mutex_unlock(&lock);
    if (me == 0) {
        /* The other one ends first. */
        pthread_join(others[1], NULL);
        last_words();
        int result = verdict();
        if (strcmp(mode, "status") != 0)
            _exit(result);
        if (result)
            _exit(result);
        /* Not by return: the C library would end the process with 0. The kernel takes the status of the last thread. */
        syscall(SYS_exit, 3);
    }
    return NULL;
}

static volatile sig_atomic_t told;

static void on_death(int sig)
{
    told = sig;
}

static void live_as_child(pid_t parent)
{
    /* When the main thread has ended, another thread is the parent. */
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    char text[64];
    for (;;) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd >= 0 ? read(fd, text, sizeof text) : -1;
        if (fd >= 0)
            close(fd);
        if (n == 0)
            break;
        rest(0.01);
    }
    signal(SIGUSR1, on_death);
    MUST(prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0);
    say("child is set");
    wait_go();
    EXPECT(!told, "signal %d for the end of a thread that has ended long ago", (int)told);
    EXPECT(getppid() == parent, "the parent is %d", (int)getppid());
    int which = 0;
    EXPECT(prctl(PR_GET_PDEATHSIG, &which) == 0 && which == SIGUSR1, "the death signal is %d", which);
    _exit(atomic_load(&faults) != 0);
}

int main(int argc, char **argv)
{
    mode = argc > 1 ? argv[1] : "work";
    prctl(PR_SET_NAME, "head");
    if (!strcmp(mode, "tree")) {
        pid_t parent = getpid();
        child = fork();
        MUST(child >= 0);
        if (child == 0)
            live_as_child(parent);
    }
    for (intptr_t n = 0; n < 2; n++)
        MUST(pthread_create(&others[n], NULL, work, (void *)n) == 0);
    prctl(PR_SET_NAME, "lost head");
    /* Not pthread_exit, for the status. */
    syscall(SYS_exit, STATUS);
    return 1;
}
