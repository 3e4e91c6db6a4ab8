/* State that cannot be checkpointed, one kind per argument: obstacles KIND...
 *
 * After `ready` the program counts on in the file `heartbeat`, which shows that looking at it did not stop it. Kinds
 * that this kernel does not have are said to be skipped. */
#include "scene.h"
#include <linux/aio_abi.h>
#include <linux/userfaultfd.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <sched.h>
#include <stddef.h>
#include <sys/fanotify.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>

static void skip(const char *kind)
{
    say("skipped %s: %s", kind, strerror(errno));
}

/* A child that lives as long as its parent. */
static pid_t child(void (*run)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (run)
            run();
        for (;;)
            pause();
    }
    return pid;
}

static void *traced_thread(void *arg)
{
    *(volatile int *)arg = own_tid();
    for (;;)
        rest(0.05);
    return NULL;
}

static int traced_tid;

static void trace_parent(void)
{
    rest(0.1);
    ptrace(PTRACE_SEIZE, traced_tid, 0, 0);
}

static volatile int ending;

static void *other_credentials(void *arg)
{
    syscall(SYS_setresuid, 1001, 1001, 1001);
    for (;;)
        rest(0.05);
    return NULL;
}

static int make(const char *kind)
{
    int pair[2];
    if (!strcmp(kind, "socket"))
        return socket(AF_INET, SOCK_STREAM, 0);
    if (!strcmp(kind, "socketpair"))
        return socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    if (!strcmp(kind, "fanotify"))
        return fanotify_init(FAN_CLASS_NOTIF, O_RDONLY);
    if (!strcmp(kind, "userfaultfd"))
        return (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    if (!strcmp(kind, "io_uring")) {
        char params[256] = {0};
        return (int)syscall(SYS_io_uring_setup, 4, params);
    }
    if (!strcmp(kind, "aio")) {
        aio_context_t context = 0;
        return (int)syscall(SYS_io_setup, 4, &context);
    }
    if (!strcmp(kind, "landlock")) {
        uint64_t handled = 1; /* LANDLOCK_ACCESS_FS_EXECUTE */
        int rules = (int)syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0);
        if (rules < 0)
            return -1;
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        int r = (int)syscall(SYS_landlock_restrict_self, rules, 0);
        close(rules);
        return r;
    }
    if (!strcmp(kind, "terminal")) {
        int master = posix_openpt(O_RDWR | O_NOCTTY);
        return master < 0 || grantpt(master) || unlockpt(master) ? -1 : open(ptsname(master), O_RDWR | O_NOCTTY);
    }
    if (!strcmp(kind, "shm")) {
        int id = shmget(IPC_PRIVATE, 4096, 0600);
        void *at = shmat(id, NULL, 0);
        shmctl(id, IPC_RMID, NULL);
        return at == (void *)-1 ? -1 : 0;
    }
    if (!strcmp(kind, "secretmem")) {
        int fd = (int)syscall(SYS_memfd_secret, 0);
        if (fd < 0 || ftruncate(fd, 4096))
            return -1;
        void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        return at == MAP_FAILED ? -1 : 0;
    }
    if (!strcmp(kind, "lease")) {
        int fd = open("leased", O_RDWR | O_CREAT, 0600);
        return fd < 0 ? -1 : fcntl(fd, F_SETLEASE, F_WRLCK);
    }
    if (!strcmp(kind, "owner")) {
        /* Without O_ASYNC, or the end of this program would signal its parent. */
        return pipe(pair) ? -1 : fcntl(pair[0], F_SETOWN, getppid());
    }
    if (!strcmp(kind, "dnotify")) {
        int fd = open(".", O_RDONLY | O_DIRECTORY);
        /* The signal must not end the program when it writes its heartbeat. */
        signal(SIGIO, SIG_IGN);
        return fd < 0 ? -1 : fcntl(fd, F_NOTIFY, DN_RENAME | DN_MULTISHOT);
    }
    if (!strcmp(kind, "mqueue")) {
        struct mq_attr a = {.mq_maxmsg = 4, .mq_msgsize = 64};
        int fd = mq_open("/scene", O_RDWR | O_CREAT, 0600, &a);
        mq_unlink("/scene");
        return fd;
    }
    if (!strcmp(kind, "proc"))
        return open("/proc/self/mountinfo", O_RDONLY);
    if (!strcmp(kind, "device"))
        return open("/dev/kmsg", O_RDONLY);
    if (!strcmp(kind, "traced")) {
        pthread_t t;
        if (pthread_create(&t, NULL, traced_thread, &traced_tid))
            return -1;
        while (!*(volatile int *)&traced_tid)
            rest(0.01);
        prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
        return child(trace_parent);
    }
    if (!strcmp(kind, "namespace"))
        /* A thread in another network namespace than the rest of the process. */
        return unshare(CLONE_NEWNET);
    if (!strcmp(kind, "shared-memory-process")) {
        /* A process of its own, no child of ours, in the same memory. It has no stack to return on. */
        long pid = SYS_clone;
        __asm__ volatile("xorl %%r10d, %%r10d\n\txorl %%r8d, %%r8d\n\tsyscall\n\ttestq %%rax, %%rax\n\tjnz 2f\n"
                         "1:\n\tpause\n\tcmpl $0, %4\n\tje 1b\n\tmovl %5, %%eax\n\txorl %%edi, %%edi\n\tsyscall\n2:"
                         : "+a"(pid)
                         : "D"(CLONE_VM | CLONE_PARENT | SIGCHLD), "S"(0), "d"(0), "m"(ending), "i"(SYS_exit)
                         : "rcx", "r8", "r10", "r11", "memory", "cc");
        return pid < 0 ? -1 : 0;
    }
    if (!strcmp(kind, "credentials")) {
        /* The C library would change all threads; one is changed by hand. */
        pthread_t t;
        return pthread_create(&t, NULL, other_credentials, NULL) ? -1 : 0;
    }
    if (!strcmp(kind, "none"))
        return 0;
    say("FAIL unknown kind %s", kind);
    _exit(2);
}

int main(int argc, char **argv)
{
    for (int k = 1; k < argc; k++) {
        errno = 0;
        if (make(argv[k]) < 0)
            skip(argv[k]);
        else
            say("made %s", argv[k]);
    }
    rest(0.2);
    ready();
    for (unsigned long k = 0; !is_go(); k++) {
        /* Opened anew each time, so that no descriptor is in the way. */
        int fd = open("heartbeat", O_WRONLY | O_CREAT | O_TRUNC, 0644);
        char line[32];
        int n = snprintf(line, sizeof line, "%lu\n", k);
        EXPECT(fd >= 0 && write(fd, line, n) == n, "heartbeat: %s", strerror(errno));
        close(fd);
        rest(0.05);
    }
    ending = 1;
    return verdict();
}
