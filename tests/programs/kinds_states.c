/* Every kind of state of a process that is neither a descriptor nor memory: kinds_states NAME...
 *
 * After `go` the state is looked at: if it is gone, and no obstacle was named, it was lost silently. */
#include "kinds.h"
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>

/* Somebody else, no child of ours: runs until we are gone. */
static pid_t stranger(void (*run)(pid_t))
{
    static pid_t *told;
    pid_t me = getpid();
    told = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = fork();
    if (child == 0) {
        pid_t other = fork();
        if (other)
            _exit(0);
        setsid();
        *told = getpid();
        if (run)
            run(me);
        while (kill(me, 0) == 0)
            rest(0.02);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    while (!*(volatile pid_t *)told)
        rest(0.01);
    pid_t found = *told;
    munmap(told, 4096);
    rest(0.1);
    return found;
}

static void *idle(void *arg)
{
    for (;;)
        rest(0.05);
    return arg;
}

static pthread_t in_thread(void *(*run)(void *))
{
    pthread_t t;
    MUST(pthread_create(&t, NULL, run, NULL) == 0);
    return t;
}

/* Being watched ------------------------------------------------------------------------------------------------------ */

/* Goes on after every signal that it gets, as under a debugger that only looks. */
static void trace(pid_t pid)
{
    int status;
    ptrace(PTRACE_SEIZE, pid, 0, 0);
    while (kill(pid, 0) == 0) {
        if (waitpid(pid, &status, WNOHANG | __WALL) == pid && WIFSTOPPED(status))
            ptrace(PTRACE_CONT, pid, 0, status >> 16 ? 0 : WSTOPSIG(status));
        rest(0.02);
    }
}

static long traced(void)
{
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    return stranger(trace);
}

/* What a debugger leaves behind that had a hardware breakpoint: gdb, and CRIU at every dump. */
static void breakpoint(pid_t pid, unsigned long on)
{
    int status;
    ptrace(PTRACE_SEIZE, pid, 0, 0);
    ptrace(PTRACE_INTERRUPT, pid, 0, 0);
    waitpid(pid, &status, __WALL);
    ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[0]), (void *)none);
    ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]), 1);
    ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]), on);
    ptrace(PTRACE_DETACH, pid, 0, 0);
}

static void breakpoint_on(pid_t pid) { breakpoint(pid, 1); }
static void breakpoint_off(pid_t pid) { breakpoint(pid, 0); }

static long has_breakpoint(void)
{
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    return stranger(breakpoint_on);
}

static long had_breakpoint(void)
{
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    return stranger(breakpoint_off);
}

static long tracer(void)
{
    pid_t other = stranger(NULL);
    return ptrace(PTRACE_SEIZE, other, 0, 0);
}

static void measure(pid_t pid)
{
    struct perf_event_attr a = {.type = PERF_TYPE_SOFTWARE, .size = sizeof a, .config = PERF_COUNT_SW_TASK_CLOCK};
    syscall(SYS_perf_event_open, &a, pid, -1, -1, 0);
}

static long measured(void) { return stranger(measure); }

/* Namespaces and roots ------------------------------------------------------------------------------------------------ */

static long ns_uts(void) { return unshare(CLONE_NEWUTS); }
static long ns_ipc(void) { return unshare(CLONE_NEWIPC); }
static long ns_net(void) { return unshare(CLONE_NEWNET); }
static long ns_mnt(void) { return unshare(CLONE_NEWNS); }
static long ns_cgroup(void) { return unshare(CLONE_NEWCGROUP); }
static long ns_user(void) { return unshare(CLONE_NEWUSER); }
static long ns_pid(void) { return unshare(CLONE_NEWPID); }
static long ns_time(void) { return unshare(0x80 /* CLONE_NEWTIME */); }

static void *other_network(void *arg)
{
    unshare(CLONE_NEWNET);
    return idle(arg);
}

static long ns_of_thread(void) { return in_thread(other_network) ? (rest(0.1), 0) : -1; }

static void *own_files(void *arg)
{
    unshare(CLONE_FILES);
    return idle(arg);
}

static long files_of_thread(void) { return in_thread(own_files) ? (rest(0.1), 0) : -1; }

static void *own_folder(void *arg)
{
    unshare(CLONE_FS);
    return idle(arg);
}

static long folder_of_thread(void) { return in_thread(own_folder) ? (rest(0.1), 0) : -1; }
static long root(void) { return chroot("."); }

static long folder_removed(void)
{
    /* `go` is looked for from there, and so it is never found: the scene kills the program. */
    return mkdir("gone", 0700) || chdir("gone") || rmdir("../gone") ? -1 : 0;
}

/* Confinement -------------------------------------------------------------------------------------------------------- */

static struct sock_filter allow[] = {{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
static struct sock_fprog program = {1, allow};

static long seccomp_filter(void)
{
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int seccomp_mode(void) { return prctl(PR_GET_SECCOMP) == SECCOMP_MODE_FILTER; }

static void *filtered(void *arg)
{
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
    return idle(arg);
}

static long seccomp_thread(void) { return in_thread(filtered) ? (rest(0.1), 0) : -1; }

static int ends[2];
static void *strict(void *arg)
{
    char c;
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
    syscall(SYS_read, ends[0], &c, 1);
    syscall(SYS_exit, 0);
    return arg;
}

static long seccomp_strict(void) { return pipe(ends) || !in_thread(strict) ? -1 : (rest(0.1), 0); }

static long landlock(void)
{
    uint64_t handled = 1;
    int rules = (int)syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    long r = rules < 0 ? -1 : syscall(SYS_landlock_restrict_self, rules, 0);
    close(rules);
    return r;
}

static int is_landlock(void)
{
    /* It forbids to run files. */
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/true", "true", NULL);
        _exit(errno == EACCES ? 1 : 2);
    }
    int status = 0;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

static long mdwe(void) { return prctl(65, 1, 0, 0, 0); }
static int is_mdwe(void) { return prctl(66, 0, 0, 0, 0) == 1; }

/* Keys --------------------------------------------------------------------------------------------------------------- */

static long keyctl(int what, long a, long b, long c) { return syscall(SYS_keyctl, what, a, b, c, 0); }
static long key(int ring) { return syscall(SYS_add_key, "user", "kinds", "secret", 6, ring); }

static int has_key(int ring)
{
    char text[16] = {0};
    long id = keyctl(KEYCTL_SEARCH, ring, (long)"user", (long)"kinds");
    return id > 0 && keyctl(KEYCTL_READ, id, (long)text, sizeof text) == 6 && !memcmp(text, "secret", 6);
}

static long key_session(void)
{
    return keyctl(KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0) < 0 ? -1 : key(KEY_SPEC_SESSION_KEYRING);
}

static int has_key_session(void) { return has_key(KEY_SPEC_SESSION_KEYRING); }
static long key_process(void) { return key(KEY_SPEC_PROCESS_KEYRING); }
static int has_key_process(void) { return has_key(KEY_SPEC_PROCESS_KEYRING); }
static long key_thread(void) { return key(KEY_SPEC_THREAD_KEYRING); }
static int has_key_thread(void) { return has_key(KEY_SPEC_THREAD_KEYRING); }

/* Timers and limits --------------------------------------------------------------------------------------------------- */

static timer_t timer_id;

static long timer_of(int clock)
{
    struct sigevent e = {.sigev_notify = SIGEV_NONE};
    struct itimerspec t = {{0, 0}, {5000, 0}};
    return timer_create(clock, &e, &timer_id) || timer_settime(timer_id, 0, &t, NULL) ? -1 : 0;
}

static int timer_left(void)
{
    struct itimerspec t;
    return timer_gettime(timer_id, &t) == 0 && t.it_value.tv_sec > 4000;
}

static long timer_process(void) { return timer_of(CLOCK_PROCESS_CPUTIME_ID); }
static long timer_thread(void) { return timer_of(CLOCK_THREAD_CPUTIME_ID); }
static long timer_alarm(void) { return timer_of(CLOCK_BOOTTIME_ALARM); }
static long timer_tai(void) { return timer_of(CLOCK_TAI); }

static long interval_of(int which)
{
    struct itimerval t = {{0, 0}, {5000, 0}};
    return setitimer(which, &t, NULL);
}

static int interval_left(int which)
{
    struct itimerval t;
    return getitimer(which, &t) == 0 && t.it_value.tv_sec > 4000;
}

static long interval_prof(void) { return interval_of(ITIMER_PROF); }
static int is_prof(void) { return interval_left(ITIMER_PROF); }
static long interval_virtual(void) { return interval_of(ITIMER_VIRTUAL); }
static int is_virtual(void) { return interval_left(ITIMER_VIRTUAL); }
static long limit_cpu(void) { return setrlimit(RLIMIT_CPU, &(struct rlimit){5000, 6000}); }

static int is_limited(void)
{
    struct rlimit l;
    return getrlimit(RLIMIT_CPU, &l) == 0 && l.rlim_cur == 5000 && l.rlim_max == 6000;
}

static long timer_restore_ids(void) { return prctl(77, 1, 0, 0, 0); }
static int is_restore_ids(void) { return prctl(77, 2, 0, 0, 0) == 1; }

/* Settings that prctl(2) makes ---------------------------------------------------------------------------------------- */

static long thp_off(void) { return prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); }
static int is_thp_off(void) { return prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1; }
static long thp_advised(void) { return prctl(PR_SET_THP_DISABLE, 1, 2 /* EXCEPT_ADVISED */, 0, 0); }
static int is_thp_advised(void) { return prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 3; }
static long merge(void) { return prctl(67, 1, 0, 0, 0); }
static int is_merge(void) { return prctl(68, 0, 0, 0, 0) == 1; }
static long flusher(void) { return prctl(57, 1, 0, 0, 0); }
static int is_flusher(void) { return prctl(58, 0, 0, 0, 0) == 1; }
static long machine_check(void) { return prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0); }
static int is_machine_check(void) { return prctl(PR_MCE_KILL_GET, 0, 0, 0, 0) == PR_MCE_KILL_EARLY; }
static long core_cookie(void) { return prctl(62, 1, 0, 0, 0); }
static long dispatch(void) { return prctl(59, 1, (long)&dispatch, 1ul << 46, 0); }
static long death(void) { return prctl(PR_SET_PDEATHSIG, SIGURG); }

static int is_death(void)
{
    int number = 0;
    return prctl(PR_GET_PDEATHSIG, &number) == 0 && number == SIGURG;
}

static long subreaper(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1); }

static int is_subreaper(void)
{
    int on = 0;
    return prctl(PR_GET_CHILD_SUBREAPER, &on) == 0 && on == 1;
}

static long keep_caps(void) { return prctl(PR_SET_KEEPCAPS, 1); }
static int is_keep_caps(void) { return prctl(PR_GET_KEEPCAPS) == 1; }
static long undumpable(void) { return prctl(PR_SET_DUMPABLE, 0); }
static int is_undumpable(void) { return prctl(PR_GET_DUMPABLE) == 0; }
static long slack(void) { return prctl(PR_SET_TIMERSLACK, 123456); }
static int is_slack(void) { return prctl(PR_GET_TIMERSLACK) == 123456; }
static long futex_hash(void) { return prctl(78, 1, 64, 0, 0); }
static int is_futex_hash(void) { return prctl(78, 2, 0, 0, 0) == 64; }
static long futex_global(void) { return prctl(78, 1, 0, 0, 0); }
static int is_futex_global(void) { return prctl(78, 2, 0, 0, 0) == 0; }
static long speculation(void) { return prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, PR_SPEC_DISABLE, 0, 0); }
static int is_speculation(void)
{
    return prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0) == (PR_SPEC_PRCTL | PR_SPEC_DISABLE);
}

static atomic_int tsc_mode;
static void *no_tsc(void *arg)
{
    /* The clock must not be read here: that would be the forbidden instruction. */
    prctl(PR_SET_TSC, PR_TSC_SIGSEGV);
    for (;;) {
        int mode = 0;
        prctl(PR_GET_TSC, &mode);
        atomic_store(&tsc_mode, mode);
        syscall(SYS_nanosleep, &(struct timespec){0, 20000000}, NULL);
    }
    return arg;
}

static long tsc(void) { return in_thread(no_tsc) ? (rest(0.1), 0) : -1; }

static int is_tsc(void)
{
    atomic_store(&tsc_mode, 0);
    rest(0.3);
    return atomic_load(&tsc_mode) == PR_TSC_SIGSEGV;
}

/* The processor ------------------------------------------------------------------------------------------------------- */

static long ports(void) { return ioperm(0x80, 1, 1); }
static long ports_all(void) { return iopl(3); }

static long segments(void)
{
    struct {
        unsigned entry, base, limit, bits;
    } d = {0, 0, 0xfffff, 0x51};
    return syscall(SYS_modify_ldt, 1, &d, sizeof d);
}

static long segment_tls(void)
{
    struct {
        unsigned entry, base, limit, bits;
    } d = {-1u, 0, 0xfffff, 0x51};
    return syscall(SYS_set_thread_area, &d);
}

static long cpuid(void) { return syscall(SYS_arch_prctl, 0x1012, 0); }
static long tagged(void) { return syscall(SYS_arch_prctl, 0x4002, 6); }
static long amx(void) { return syscall(SYS_arch_prctl, 0x1023, 18); }
static long barrier(void) { return syscall(SYS_membarrier, 1 << 4, 0, 0); }
static int is_barrier(void) { return (syscall(SYS_membarrier, 1 << 9, 0, 0) & (1 << 4)) != 0; }

static long memory_policy(void)
{
    unsigned long nodes = 1;
    return syscall(SYS_set_mempolicy, 2 /* MPOL_BIND */, &nodes, 8);
}

static int is_memory_policy(void)
{
    int mode = 0;
    unsigned long nodes[16] = {0};
    return syscall(SYS_get_mempolicy, &mode, nodes, 1024, 0, 0) == 0 && mode == 2 && nodes[0] == 1;
}

static long lock_future(void) { return mlockall(MCL_CURRENT | MCL_FUTURE); }
static long lock_on_fault(void) { return mlockall(MCL_CURRENT | MCL_FUTURE | 4); }

/* New memory is locked: in how many of its pages does the kernel say so at once? */
static int new_is_resident(void)
{
    unsigned char resident[4] = {0};
    void *at = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return mincore(at, 16384, resident) == 0 && (resident[0] & resident[1] & resident[2] & resident[3] & 1);
}

static int is_locked(void) { return new_is_resident(); }

static int is_locked_on_fault(void)
{
    static char text[1 << 18];
    char word[32];
    char *at = mmap(NULL, 16384, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    snprintf(word, sizeof word, "%lx-", (unsigned long)at);
    slurp("/proc/self/smaps", text, sizeof text);
    char *area = strstr(text, word), *flags = area ? strstr(area, "VmFlags:") : NULL;
    char line[128] = "";
    if (flags)
        snprintf(line, sizeof line, "%.100s", flags);
    line[strcspn(line, "\n")] = 0;
    return flags && strstr(line, " lo") && strstr(line, " lf") ? 1 : 0;
}

static long person(void) { return personality(ADDR_NO_RANDOMIZE | ADDR_COMPAT_LAYOUT | UNAME26 | STICKY_TIMEOUTS); }
static int is_person(void)
{
    return personality(0xffffffff) == (ADDR_NO_RANDOMIZE | ADDR_COMPAT_LAYOUT | UNAME26 | STICKY_TIMEOUTS);
}

/* Scheduling, groups --------------------------------------------------------------------------------------------------- */

struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t least, most;
};

static long scheduled(struct attributes a)
{
    a.size = sizeof a;
    return syscall(SYS_sched_setattr, 0, &a, 0);
}

static long deadline(void)
{
    struct attributes a = {.policy = 6, .runtime = 100000000, .deadline = 900000000, .period = 1000000000};
    return scheduled(a);
}

static long clamped(void) { return scheduled((struct attributes){.flags = 0x60, .least = 100, .most = 500}); }
static long slice(void) { return scheduled((struct attributes){.runtime = 5000000}); }
static long reset_on_fork(void) { return scheduled((struct attributes){.flags = 1, .policy = 1, .priority = 7}); }
static long batch(void) { return scheduled((struct attributes){.policy = 3, .nice = 3}); }
static long idle_policy(void) { return scheduled((struct attributes){.policy = 5}); }

static long write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    long n = fd < 0 ? -1 : write(fd, text, strlen(text));
    close(fd);
    return n < 0 ? -1 : 0;
}

static long group(void)
{
    char pid[16];
    snprintf(pid, sizeof pid, "%d", getpid());
    return mkdir("/sys/fs/cgroup/kinds", 0755) && errno != EEXIST ? -1 : write_text("/sys/fs/cgroup/kinds/cgroup.procs", pid);
}

static long autogroup(void) { return write_text("/proc/self/autogroup", "7"); }
static long login(void) { return write_text("/proc/self/loginuid", "1000"); }
static long score(void) { return write_text("/proc/self/oom_score_adj", "-500"); }
static long core_filter(void) { return write_text("/proc/self/coredump_filter", "7f"); }

/* Semaphores, futexes, others' memory ---------------------------------------------------------------------------------- */

static int sem = -1;
static long semaphore_undo(void)
{
    sem = semget(IPC_PRIVATE, 1, 0600);
    struct sembuf up = {0, 1, SEM_UNDO};
    return sem < 0 ? -1 : semop(sem, &up, 1);
}

static int semaphore_end(void) { return semctl(sem, 0, IPC_RMID) == 0; }

static pthread_mutex_t inherit;
static atomic_int got;
static void *want(void *arg)
{
    pthread_mutex_lock(&inherit);
    atomic_store(&got, 1);
    pthread_mutex_unlock(&inherit);
    return arg;
}

static long pi_mutex(void)
{
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
    MUST(pthread_mutex_init(&inherit, &a) == 0 && pthread_mutex_lock(&inherit) == 0);
    in_thread(want);
    in_thread(want);
    return rest(0.1), 0;
}

static int pi_works(void)
{
    int early = atomic_load(&got), ok = pthread_mutex_unlock(&inherit) == 0;
    for (int k = 0; k < 100 && !atomic_load(&got); k++)
        rest(0.02);
    return ok && !early && atomic_load(&got);
}

static atomic_uint words[2];
static atomic_long woken = -1;
static void *wait_two(void *arg)
{
    struct {
        uint64_t value, address;
        uint32_t flags, unused;
    } w[2] = {{0, (uintptr_t)&words[0], 0x82, 0}, {0, (uintptr_t)&words[1], 0x82, 0}};
    long r = syscall(449 /* futex_waitv */, w, 2, 0, NULL, 0);
    atomic_store(&woken, r < 0 ? -errno : r);
    return arg;
}

static long futex_vector(void) { return in_thread(wait_two) ? (rest(0.1), 0) : -1; }

static int futex_wakes(void)
{
    long early = atomic_load(&woken);
    for (int k = 0; k < 100 && atomic_load(&woken) == -1; k++) {
        syscall(SYS_futex, &words[1], FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
        rest(0.02);
    }
    return early == -1 && atomic_load(&woken) == 1;
}

/* The child runs in our memory while a thread of ours waits for it. */
static void *vfork_(void *arg)
{
    if (vfork() == 0) {
        while (access("go", F_OK))
            syscall(SYS_nanosleep, &(struct timespec){0, 20000000}, NULL);
        _exit(0);
    }
    return arg;
}

static long vfork_parent(void) { return in_thread(vfork_) ? (rest(0.2), 0) : -1; }

static const struct kind KINDS[] = {
    {"traced", traced}, {"breakpoint", has_breakpoint}, {"breakpoint-off", had_breakpoint}, {"tracer", tracer}, {"perf-attached", measured}, {"ns-uts", ns_uts}, {"ns-ipc", ns_ipc},
    {"ns-net", ns_net}, {"ns-mnt", ns_mnt}, {"ns-cgroup", ns_cgroup}, {"ns-user", ns_user}, {"ns-pid-for-children", ns_pid},
    {"ns-time-for-children", ns_time}, {"ns-of-thread", ns_of_thread}, {"files-of-thread", files_of_thread},
    {"folder-of-thread", folder_of_thread}, {"chroot", root}, {"folder-removed", folder_removed},
    {"seccomp-filter", seccomp_filter, seccomp_mode}, {"seccomp-thread", seccomp_thread}, {"seccomp-strict", seccomp_strict},
    {"landlock", landlock, is_landlock}, {"mdwe", mdwe, is_mdwe}, {"key-session", key_session, has_key_session},
    {"key-process", key_process, has_key_process}, {"key-thread", key_thread, has_key_thread},
    {"timer-process-cpu", timer_process, timer_left}, {"timer-thread-cpu", timer_thread, timer_left},
    {"timer-alarm", timer_alarm, timer_left}, {"timer-tai", timer_tai, timer_left}, {"interval-prof", interval_prof, is_prof},
    {"interval-virtual", interval_virtual, is_virtual}, {"limit-cpu", limit_cpu, is_limited},
    {"timer-restore-ids", timer_restore_ids, is_restore_ids}, {"thp-off", thp_off, is_thp_off},
    {"thp-advised", thp_advised, is_thp_advised}, {"merge-any", merge, is_merge}, {"io-flusher", flusher, is_flusher},
    {"machine-check", machine_check, is_machine_check}, {"core-scheduling", core_cookie}, {"dispatch", dispatch},
    {"death-signal", death, is_death}, {"subreaper", subreaper, is_subreaper}, {"keep-caps", keep_caps, is_keep_caps},
    {"undumpable", undumpable, is_undumpable}, {"timer-slack", slack, is_slack}, {"futex-hash", futex_hash, is_futex_hash},
    {"futex-hash-global", futex_global, is_futex_global}, {"speculation", speculation, is_speculation}, {"no-tsc", tsc, is_tsc},
    {"ioperm", ports}, {"iopl", ports_all}, {"ldt", segments}, {"tls-segment", segment_tls}, {"no-cpuid", cpuid},
    {"tagged-addresses", tagged}, {"amx", amx}, {"membarrier", barrier, is_barrier},
    {"memory-policy", memory_policy, is_memory_policy}, {"lock-future", lock_future, is_locked},
    {"lock-on-fault", lock_on_fault, is_locked_on_fault}, {"personality", person, is_person}, {"deadline", deadline},
    {"uclamp", clamped}, {"slice", slice}, {"reset-on-fork", reset_on_fork}, {"batch", batch}, {"idle", idle_policy},
    {"cgroup", group}, {"autogroup-nice", autogroup}, {"loginuid", login}, {"oom-score", score}, {"core-filter", core_filter},
    {"semaphore-undo", semaphore_undo, semaphore_end}, {"pi-mutex", pi_mutex, pi_works},
    {"futex-vector", futex_vector, futex_wakes}, {"vfork-parent", vfork_parent},
};
#define COUNT (sizeof KINDS / sizeof *KINDS)

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "list")) {
        for (unsigned k = 0; k < COUNT; k++)
            say("%s", KINDS[k].name);
        return 0;
    }
    long made[COUNT];
    for (unsigned k = 0; k < COUNT; k++) {
        made[k] = -1;
        errno = 0;
        if (!is_wanted(KINDS[k].name, argc, argv))
            continue;
        if ((made[k] = KINDS[k].make()) == -1)
            none(KINDS[k].name);
        else
            say("made %s", KINDS[k].name);
    }
    ready();
    wait_go();
    for (unsigned k = 0; k < COUNT; k++)
        if (made[k] != -1 && KINDS[k].check)
            EXPECT(KINDS[k].check(), "%s is lost", KINDS[k].name);
    return verdict();
}
