/* What the kernel knows about a process beside its memory and files: attributes plain|sched|creds|caps|limits|fs
 *
 * Each mode sets what it is about, takes a snapshot in words, waits, takes another and compares. `plain` sets names,
 * personality and the small prctl values; the others scheduling, users and groups,
 * capabilities, limits, working folder and umask. */
#include "snapshot.h"
#include <dirent.h>
#include <grp.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <linux/membarrier.h>
#include <linux/securebits.h>

struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t util_min, util_max;
};

static int tids[8], threads;
static const char *mode;

static void add_file(struct snapshot *s, const char *path)
{
    static char text[1 << 16];
    long n = slurp(path, text, sizeof text);
    if (n < 0)
        return;
    for (long k = 0; k < n; k++)
        if (!text[k])
            text[k] = ' ';
    add(s, "%s: %s%s", path, text, n && text[n - 1] == '\n' ? "" : "\n");
}

static void add_status(struct snapshot *s, int tid)
{
    static const char *const keys[] = {"Name:",   "Umask:",  "Tgid:",        "Pid:",     "Uid:",     "Gid:",
                                       "Groups:", "NSpid:",  "Kthread:",     "CapInh:",  "CapPrm:",  "CapEff:",
                                       "CapBnd:", "CapAmb:", "NoNewPrivs:",  "Seccomp:", "SigBlk:",  "SigIgn:",
                                       "SigCgt:", "SigPnd:", "ShdPnd:",      "Threads:", "THP_enabled:", "untag_mask:",
                                       "Cpus_allowed:", "Mems_allowed:", "Speculation_Store_Bypass:", "CoreDumping:"};
    char path[64];
    static char text[1 << 16];
    snprintf(path, sizeof path, "/proc/self/task/%d/status", tid);
    MUST(slurp(path, text, sizeof text) > 0);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        for (unsigned k = 0; k < sizeof keys / sizeof *keys; k++)
            if (!strncmp(line, keys[k], strlen(keys[k])))
                add(s, "thread %d: %s\n", tid, line);
}

static struct snapshot take(void)
{
    struct snapshot s = new_snapshot();
    char path[512];
    for (int k = 0; k < threads; k++) {
        int tid = tids[k];
        add_status(&s, tid);
        struct attributes a = {0};
        MUST(syscall(SYS_sched_getattr, tid, &a, sizeof a, 0) == 0);
        add(&s, "thread %d: policy %u flags %llx nice %d priority %u runtime %llu deadline %llu period %llu\n", tid,
            a.policy, (unsigned long long)a.flags, a.nice, a.priority,
            /* The slice of a fair task is a kernel default that depends on the load. */
            a.policy == SCHED_DEADLINE ? (unsigned long long)a.runtime : 0,
            a.policy == SCHED_DEADLINE ? (unsigned long long)a.deadline : 0,
            a.policy == SCHED_DEADLINE ? (unsigned long long)a.period : 0);
        cpu_set_t cpus;
        CPU_ZERO(&cpus);
        MUST(sched_getaffinity(tid, sizeof cpus, &cpus) == 0);
        add(&s, "thread %d: %d processors, first two %d %d\n", tid, CPU_COUNT(&cpus), CPU_ISSET(0, &cpus),
            CPU_ISSET(1, &cpus));
        add(&s, "thread %d: io priority %ld\n", tid, syscall(SYS_ioprio_get, 1, tid));
        snprintf(path, sizeof path, "/proc/self/task/%d/comm", tid);
        add_file(&s, path);
        snprintf(path, sizeof path, "/proc/%d/timerslack_ns", tid);
        add_file(&s, path);
    }
    for (int k = 0; k < RLIM_NLIMITS; k++) {
        struct rlimit l = {0};
        if (getrlimit(k, &l) == 0)
            add(&s, "limit %d: %llx %llx\n", k, (unsigned long long)l.rlim_cur, (unsigned long long)l.rlim_max);
    }
    static const char *const links[] = {"/proc/self/cwd", "/proc/self/root", "/proc/self/exe"};
    for (int k = 0; k < 3; k++) {
        ssize_t n = readlink(links[k], path, sizeof path - 1);
        path[n < 0 ? 0 : n] = 0;
        add(&s, "%s: %s\n", links[k], path);
    }
    static const char *const files[] = {"/proc/self/cmdline",       "/proc/self/environ",     "/proc/self/personality",
                                        "/proc/self/oom_score_adj", "/proc/self/coredump_filter"};
    for (unsigned k = 0; k < sizeof files / sizeof *files; k++)
        add_file(&s, files[k]);
    unsigned long auxv[128] = {0};
    int fd = open("/proc/self/auxv", O_RDONLY);
    ssize_t n = read(fd, auxv, sizeof auxv);
    close(fd);
    for (int k = 0; k < n / 16; k++)
        add(&s, "auxv %lu: %lx\n", auxv[2 * k], auxv[2 * k + 1]);
    int value = 0;
    add(&s, "dumpable %d\n", prctl(PR_GET_DUMPABLE));
    prctl(PR_GET_CHILD_SUBREAPER, &value);
    add(&s, "child subreaper %d\n", value);
    add(&s, "membarrier %ld\n", syscall(SYS_membarrier, 1 << 9 /* GET_REGISTRATIONS */, 0, 0));
    add(&s, "memory deny write execute %d\n", prctl(66 /* PR_GET_MDWE */, 0, 0, 0, 0));
    add(&s, "speculation %d %d\n", prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0),
        prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH, 0, 0, 0));
    value = 0;
    prctl(PR_GET_PDEATHSIG, &value);
    add(&s, "parent death signal %d\n", value);
    add(&s, "keep capabilities %d securebits %x\n", prctl(PR_GET_KEEPCAPS), prctl(PR_GET_SECUREBITS));
    add(&s, "timer slack %d\n", prctl(PR_GET_TIMERSLACK));
    add(&s, "thp disabled %d\n", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
    value = 0;
    prctl(PR_GET_TSC, &value);
    add(&s, "time stamp counter %d\n", value);
    add(&s, "machine check %d\n", prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
    unsigned uid[3], gid[3];
    getresuid(&uid[0], &uid[1], &uid[2]);
    getresgid(&gid[0], &gid[1], &gid[2]);
    add(&s, "users %u %u %u groups %u %u %u file system %d %d\n", uid[0], uid[1], uid[2], gid[0], gid[1], gid[2],
        setfsuid(-1), setfsgid(-1));
    add(&s, "pid %d group %d session %d\n", getpid(), getpgrp(), getsid(0));
    return s;
}

static volatile int stop;
static pthread_barrier_t set_up;

static void *other(void *arg)
{
    int k = (int)(uintptr_t)arg;
    tids[k] = own_tid();
    if (!strcmp(mode, "plain")) {
        prctl(PR_SET_NAME, k == 1 ? "second (thread)" : "third\nthread");
        prctl(PR_SET_TIMERSLACK, 70000ul * k);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
    }
    if (!strcmp(mode, "sched")) {
        cpu_set_t cpus;
        CPU_ZERO(&cpus);
        CPU_SET(k == 1 ? 1 : 0, &cpus);
        MUST(sched_setaffinity(0, sizeof cpus, &cpus) == 0 || errno == EINVAL);
        struct sched_param none = {0}, some = {.sched_priority = 3};
        if (k == 1) {
            MUST(setpriority(PRIO_PROCESS, tids[k], 7) == 0);
            MUST(sched_setscheduler(0, SCHED_BATCH, &none) == 0);
        } else if (k == 2) {
            MUST(sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &some) == 0);
        } else {
            MUST(sched_setscheduler(0, SCHED_IDLE, &none) == 0);
        }
    }
    pthread_barrier_wait(&set_up);
    while (!stop)
        rest(0.02);
    return NULL;
}

int main(int argc, char **argv)
{
    mode = argc > 1 ? argv[1] : "plain";
    threads = 4;
    tids[0] = own_tid();
    if (!strcmp(mode, "plain")) {
        MUST(personality(personality(0xffffffff) | ADDR_NO_RANDOMIZE | SHORT_INODE) != -1);
        prctl(PR_SET_NAME, "a (first) name");
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        prctl(PR_SET_TIMERSLACK, 123456ul);
        prctl(PR_SET_PDEATHSIG, SIGUSR1);
        prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH, PR_SPEC_DISABLE, 0, 0);
        syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
        prctl(65 /* PR_SET_MDWE */, 1ul /* PR_MDWE_REFUSE_EXEC_GAIN */, 0, 0, 0);
        int fd = open("/proc/self/oom_score_adj", O_WRONLY);
        MUST(fd >= 0 && write(fd, "321", 3) == 3);
        close(fd);
        fd = open("/proc/self/coredump_filter", O_WRONLY);
        MUST(fd >= 0 && write(fd, "0x7f", 4) == 4);
        close(fd);
    }
    if (!strcmp(mode, "sched")) {
        MUST(setpriority(PRIO_PROCESS, 0, -5) == 0);
        MUST(syscall(SYS_ioprio_set, 1, 0, (2 << 13) | 6) == 0);
    }
    if (!strcmp(mode, "limits")) {
        const struct {
            int resource;
            rlim_t soft, hard;
        } limits[] = {{RLIMIT_NOFILE, 777, 888},       {RLIMIT_CORE, 4096, 1 << 20}, {RLIMIT_STACK, 3 << 20, 64 << 20},
                      {RLIMIT_AS, 8ul << 30, 9ul << 30}, {RLIMIT_CPU, 5000, 6000},     {RLIMIT_FSIZE, 1 << 30, 1 << 30},
                      {RLIMIT_DATA, 1ul << 30, 2ul << 30}, {RLIMIT_NPROC, 4000, 5000},   {RLIMIT_MEMLOCK, 65536, 65536},
                      {RLIMIT_SIGPENDING, 100, 200},   {RLIMIT_MSGQUEUE, 1000, 2000},  {RLIMIT_NICE, 5, 10},
                      {RLIMIT_RTPRIO, 2, 4},           {RLIMIT_RTTIME, 1000000, RLIM_INFINITY}};
        for (unsigned k = 0; k < sizeof limits / sizeof *limits; k++) {
            struct rlimit l = {limits[k].soft, limits[k].hard};
            if (setrlimit(limits[k].resource, &l) == -1)
                say("# limit %d stays: %s", limits[k].resource, strerror(errno));
        }
    }
    if (!strcmp(mode, "fs")) {
        MUST(mkdir("a folder", 0755) == 0 || errno == EEXIST);
        MUST(chdir("a folder") == 0);
        umask(0137);
    }
    if (!strcmp(mode, "caps")) {
        /* Root with fewer rights: some capabilities out of the bounding set, one securebit, one ambient. */
        for (int cap = 20; cap < 26; cap++)
            MUST(prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0);
        MUST(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) == 0);
    }
    pthread_barrier_init(&set_up, NULL, threads);
    pthread_t handles[8];
    for (int k = 1; k < threads; k++)
        MUST(pthread_create(&handles[k], NULL, other, (void *)(uintptr_t)k) == 0);
    pthread_barrier_wait(&set_up);
    if (!strcmp(mode, "creds")) {
        /* After the threads are there: the C library changes all of them. The scene prepared a folder that this
         * user may enter. */
        gid_t groups[] = {7, 100, 4242, 65530};
        MUST(setgroups(4, groups) == 0);
        MUST(setresgid(1001, 1001, 1002) == 0);
        MUST(setresuid(1001, 1001, 1002) == 0);
        prctl(PR_SET_DUMPABLE, 1);
    }
    struct snapshot before = take();
    ready();
    while (access(strcmp(mode, "fs") ? "go" : "../go", F_OK))
        rest(0.05);
    struct snapshot after = take();
    compare(mode, before, after);
    if (!strcmp(mode, "fs")) {
        int fd = open("made", O_CREAT | O_WRONLY | O_TRUNC, 0777);
        struct stat st;
        EXPECT(fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & 0777) == 0640, "a new file has mode %o", st.st_mode);
    }
    if (!strcmp(mode, "creds"))
        EXPECT(setuid(0) == -1 && errno == EPERM, "an ordinary user became root");
    stop = 1;
    for (int k = 1; k < threads; k++)
        pthread_join(handles[k], NULL);
    return verdict();
}
