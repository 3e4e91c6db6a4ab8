/* Every kind of descriptor: kinds_fds all | NAME...
 *
 * Sockets are tried for all families, types and some protocols, devices are all nodes in /dev, files are one of each file
 * system that the kernel makes up by itself. After `go` every descriptor must lead to what it led to. */
#include "kinds.h"
#include <dirent.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <mqueue.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#define MOST 2048

static struct made {
    char name[64];
    int fd;
    mode_t type;
    dev_t device;
} made[MOST];
static int count;

static void note(const char *name, int fd)
{
    struct stat st;
    if (fd < 0) {
        none(name);
        return;
    }
    MUST(count < MOST && fstat(fd, &st) == 0);
    snprintf(made[count].name, sizeof made[count].name, "%s", name);
    made[count].fd = fd;
    made[count].type = st.st_mode & S_IFMT;
    made[count++].device = st.st_rdev;
    say("made %s fd %d", name, fd);
}

/* Things with a call of their own ------------------------------------------------------------------------------------ */

static long event(void) { return eventfd(3, 0); }
static long event_semaphore(void) { return eventfd(3, EFD_SEMAPHORE | EFD_CLOEXEC); }
static long poll_set(void) { return epoll_create1(0); }
static long timer_monotonic(void) { return timerfd_create(CLOCK_MONOTONIC, 0); }
static long timer_real(void) { return timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK); }
static long timer_alarm(void) { return timerfd_create(CLOCK_BOOTTIME_ALARM, 0); }

static long timer_cancel(void)
{
    int fd = timerfd_create(CLOCK_REALTIME, 0);
    struct itimerspec t = {{0, 0}, {time(NULL) + 5000, 0}};
    return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &t, NULL) ? -1 : fd;
}

static long signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    return signalfd(-1, &set, 0);
}

static long watch(void)
{
    int fd = inotify_init1(IN_NONBLOCK);
    return fd < 0 || inotify_add_watch(fd, "/tmp", IN_CREATE) < 0 ? -1 : fd;
}

static long watch_empty(void) { return inotify_init1(0); }

static long marks(void)
{
    int fd = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK, O_RDONLY);
    return fd < 0 || fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, "/scratch") ? -1 : fd;
}

static long faults_(void) { return syscall(SYS_userfaultfd, O_CLOEXEC); }

static long faults_device(void)
{
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    int fd = device < 0 ? -1 : ioctl(device, _IO(0xAA, 0), O_CLOEXEC);
    close(device);
    return fd;
}

static long counter(void)
{
    struct perf_event_attr a = {.type = PERF_TYPE_SOFTWARE, .size = sizeof a, .config = PERF_COUNT_SW_TASK_CLOCK};
    return syscall(SYS_perf_event_open, &a, 0, -1, -1, 0);
}

static long breakpoint(void)
{
    struct perf_event_attr a = {.type = PERF_TYPE_BREAKPOINT, .size = sizeof a, .bp_type = 4, .bp_len = 8};
    a.bp_addr = (unsigned long)&breakpoint;
    return syscall(SYS_perf_event_open, &a, 0, -1, -1, 0);
}

static long bpf(int command, union bpf_attr *a) { return syscall(SYS_bpf, command, a, sizeof *a); }

static long map_of(int type, int key, int value, int entries, int flags)
{
    union bpf_attr a = {0};
    a.map_type = type;
    a.key_size = key;
    a.value_size = value;
    a.max_entries = entries;
    a.map_flags = flags;
    return bpf(BPF_MAP_CREATE, &a);
}

static long bpf_array(void) { return map_of(BPF_MAP_TYPE_ARRAY, 4, 8, 4, 0); }
static long bpf_hash(void) { return map_of(BPF_MAP_TYPE_HASH, 4, 8, 4, 0); }
static long bpf_ring(void) { return map_of(BPF_MAP_TYPE_RINGBUF, 0, 0, 4096, 0); }

static long bpf_program_of(int type, int attach)
{
    struct bpf_insn code[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 0}, {.code = BPF_JMP | BPF_EXIT}};
    union bpf_attr a = {0};
    a.prog_type = type;
    a.expected_attach_type = attach;
    a.insn_cnt = 2;
    a.insns = (unsigned long)code;
    a.license = (unsigned long)"GPL";
    return bpf(BPF_PROG_LOAD, &a);
}

static long bpf_program(void) { return bpf_program_of(BPF_PROG_TYPE_SOCKET_FILTER, 0); }

static long bpf_link(void)
{
    union bpf_attr a = {0};
    int program = (int)bpf_program_of(BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_EGRESS);
    int group = open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY);
    a.link_create.prog_fd = program;
    a.link_create.target_fd = group;
    a.link_create.attach_type = BPF_CGROUP_INET_EGRESS;
    long fd = program < 0 || group < 0 ? -1 : bpf(BPF_LINK_CREATE, &a);
    close(program);
    close(group);
    return fd;
}

static long bpf_btf(void)
{
    union bpf_attr a = {0};
    if (bpf(BPF_BTF_GET_NEXT_ID, &a))
        return -1;
    uint32_t id = a.next_id;
    memset(&a, 0, sizeof a);
    a.btf_id = id;
    return bpf(BPF_BTF_GET_FD_BY_ID, &a);
}

static long bpf_stats(void)
{
    union bpf_attr a = {0};
    a.enable_stats.type = BPF_STATS_RUN_TIME;
    return bpf(BPF_ENABLE_STATS, &a);
}

static long ring(void)
{
    struct io_uring_params p = {0};
    long fd = syscall(SYS_io_uring_setup, 4, &p);
    /* Without its memory it would be of no use, and an obstacle. */
    if (fd >= 0 && (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING) == MAP_FAILED
                    || mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQES) == MAP_FAILED))
        return -1;
    return fd;
}

static long rules(void)
{
    uint64_t handled = 1;
    return syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0);
}

static long process(void) { return syscall(SYS_pidfd_open, getpid(), 0); }
static long process_init(void) { return syscall(SYS_pidfd_open, 1, 0); }
static long process_thread(void) { return syscall(SYS_pidfd_open, getpid(), O_EXCL); }
static long memory_file(void) { return memfd_create("kinds", MFD_CLOEXEC); }
static long memory_sealed(void)
{
    int fd = memfd_create("sealed", MFD_ALLOW_SEALING);
    return fd < 0 || ftruncate(fd, 8192) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) ? -1 : fd;
}
static long memory_huge(void) { return memfd_create("huge", MFD_HUGETLB); }
static long memory_secret(void) { return syscall(SYS_memfd_secret, 0); }

static long mount_context(void) { return syscall(SYS_fsopen, "tmpfs", 0); }

static long mount_detached(void)
{
    int context = (int)mount_context();
    syscall(SYS_fsconfig, context, 6 /* FSCONFIG_CMD_CREATE */, NULL, NULL, 0);
    long fd = syscall(SYS_fsmount, context, 0, 0);
    close(context);
    return fd;
}

static long mount_file(void)
{
    int mount = (int)mount_detached(), fd = mount < 0 ? -1 : openat(mount, "file", O_RDWR | O_CREAT, 0600);
    close(mount);
    return fd;
}

static long mount_tree(void) { return syscall(SYS_open_tree, AT_FDCWD, "/tmp", 1 /* OPEN_TREE_CLONE */); }
static long mount_picked(void) { return syscall(SYS_fspick, AT_FDCWD, "/tmp", 0); }

static long queue(void)
{
    struct mq_attr a = {.mq_maxmsg = 4, .mq_msgsize = 64};
    int fd = mq_open("/kinds", O_RDWR | O_CREAT, 0600, &a);
    mq_unlink("/kinds");
    return fd;
}

/* A listener, in a process of its own so that this one keeps its freedom. */
static long listener(void)
{
    int pair[2];
    struct sock_filter allow[] = {{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
    struct sock_fprog program = {1, allow};
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    char space[CMSG_SPACE(sizeof(int))], byte = 0;
    struct iovec one = {&byte, 1};
    struct msghdr m = {.msg_iov = &one, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        *c = (struct cmsghdr){CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
        _exit(fd < 0 || sendmsg(pair[1], &m, 0) != 1);
    }
    int status, fd = -1;
    waitpid(child, &status, 0);
    if (status == 0 && recvmsg(pair[0], &m, 0) == 1)
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
    close(pair[0]);
    close(pair[1]);
    return fd;
}

static long fence(void)
{
    /* sw_sync: a fence that is never signalled. */
    struct {
        uint32_t value;
        char name[32];
        int32_t fence;
    } data = {1, "kinds", -1};
    int timeline = open("/sys/kernel/debug/sync/sw_sync", O_RDWR);
    if (timeline < 0 || ioctl(timeline, _IOWR('W', 0, data), &data))
        return -1;
    close(timeline);
    return data.fence;
}

static long buffer(void)
{
    struct {
        uint64_t length;
        uint32_t fd, flags;
        uint64_t heap_flags;
    } data = {4096, 0, O_RDWR | O_CLOEXEC, 0};
    int heap = open("/dev/dma_heap/system", O_RDWR | O_CLOEXEC);
    int r = heap < 0 ? -1 : ioctl(heap, _IOWR('H', 0, data), &data);
    close(heap);
    return r < 0 ? -1 : (int)data.fd;
}

static long pipe_outside(void)
{
    int pair[2], back[2];
    MUST(pipe(pair) == 0 && pipe(back) == 0);
    if (fork() == 0) {
        /* Out of the family, so that it is somebody else. It ends with the last writer. */
        if (fork())
            _exit(0);
        char c;
        for (int fd = 3; fd < 1024; fd++)
            if (fd != pair[0])
                close(fd);
        while (read(pair[0], &c, 1) == 1)
            ;
        _exit(0);
    }
    wait(NULL);
    close(pair[0]);
    close(back[0]);
    close(back[1]);
    return pair[1];
}

static long pipe_inside(void)
{
    int pair[2];
    return pipe(pair) || write(pair[1], "abc", 3) != 3 ? -1 : pair[0];
}

static long pipe_packets(void)
{
    int pair[2];
    return pipe2(pair, O_DIRECT) || write(pair[1], "abc", 3) != 3 ? -1 : pair[0];
}

static long notification_pipe(void)
{
    int pair[2];
    return pipe2(pair, O_EXCL) ? -1 : pair[0]; /* O_NOTIFICATION_PIPE */
}

static long fifo(void)
{
    mkfifo("fifo", 0600);
    return open("fifo", O_RDWR);
}

static long terminal_master(void) { return posix_openpt(O_RDWR | O_NOCTTY); }

static long terminal_slave(void)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    return master < 0 || grantpt(master) || unlockpt(master) ? -1 : open(ptsname(master), O_RDWR | O_NOCTTY);
}

/* Files ---------------------------------------------------------------------------------------------------------------- */

static long file(void) { return open("file", O_RDWR | O_CREAT, 0600); }
static long file_append(void) { return open("file", O_WRONLY | O_APPEND); }
static long file_direct(void) { return open("file", O_RDONLY | O_DIRECT); }
static long file_sync(void) { return open("file", O_WRONLY | O_SYNC); }
static long file_noatime(void) { return open("file", O_RDONLY | O_NOATIME); }
static long file_path(void) { return open("file", O_PATH); }
static long file_symlink(void) { return symlink("file", "link") && errno != EEXIST ? -1 : open("link", O_PATH | O_NOFOLLOW); }
static long file_temporary(void) { return open(".", O_TMPFILE | O_RDWR, 0600); }

static long file_unlinked(void)
{
    int fd = open("unlinked", O_RDWR | O_CREAT, 0600);
    return fd < 0 || write(fd, "contents", 8) != 8 || unlink("unlinked") ? -1 : fd;
}

static long file_linked_elsewhere(void)
{
    int fd = open("first-name", O_RDWR | O_CREAT, 0600);
    return fd < 0 || link("first-name", "second-name") || unlink("first-name") ? -1 : fd;
}

static long file_replaced(void)
{
    int fd = open("replaced", O_RDWR | O_CREAT, 0600), other = open("replacing", O_RDWR | O_CREAT, 0600);
    close(other);
    return fd < 0 || rename("replacing", "replaced") ? -1 : fd;
}

static long file_in_memory(void) { return open("/dev/shm/kinds", O_RDWR | O_CREAT, 0600); }
static long folder(void) { return open("/tmp", O_RDONLY | O_DIRECTORY); }

static long folder_removed(void)
{
    mkdir("removed", 0700);
    int fd = open("removed", O_RDONLY | O_DIRECTORY);
    return rmdir("removed") ? -1 : fd;
}

static long leased(void)
{
    int fd = open("leased", O_RDWR | O_CREAT, 0600);
    return fd < 0 || fcntl(fd, F_SETLEASE, F_WRLCK) ? -1 : fd;
}

static long folder_watched(void)
{
    int fd = open("/tmp", O_RDONLY | O_DIRECTORY);
    return fd < 0 || fcntl(fd, F_NOTIFY, DN_CREATE | DN_MULTISHOT) ? -1 : fd;
}

static long locked(void)
{
    int fd = open("locked", O_RDWR | O_CREAT, 0600);
    struct flock l = {.l_type = F_WRLCK};
    return fd < 0 || flock(fd, LOCK_EX) || fcntl(fd, F_SETLK, &l) ? -1 : fd;
}

static long file_hint(void)
{
    uint64_t hint = 3;
    int fd = open("hinted", O_RDWR | O_CREAT, 0600);
    return fd < 0 || fcntl(fd, 1024 + 12 /* F_SET_RW_HINT */, &hint) ? -1 : fd;
}

static long owned(void)
{
    int pair[2];
    return pipe(pair) || fcntl(pair[0], F_SETOWN, getpid()) || fcntl(pair[0], F_SETFL, O_ASYNC) ? -1 : pair[0];
}

static const struct kind KINDS[] = {
    {"eventfd", event}, {"eventfd-semaphore", event_semaphore}, {"epoll", poll_set}, {"timerfd", timer_monotonic},
    {"timerfd-realtime", timer_real}, {"timerfd-alarm", timer_alarm}, {"timerfd-cancel-on-set", timer_cancel},
    {"signalfd", signals}, {"inotify", watch}, {"inotify-empty", watch_empty}, {"fanotify", marks},
    {"userfaultfd", faults_}, {"userfaultfd-device", faults_device}, {"perf-event", counter}, {"perf-breakpoint", breakpoint},
    {"bpf-array", bpf_array}, {"bpf-hash", bpf_hash}, {"bpf-ringbuf", bpf_ring}, {"bpf-program", bpf_program},
    {"bpf-link", bpf_link}, {"bpf-btf", bpf_btf}, {"bpf-stats", bpf_stats}, {"io_uring", ring}, {"landlock-ruleset", rules},
    {"pidfd-self", process}, {"pidfd-init", process_init}, {"pidfd-thread", process_thread}, {"memfd", memory_file},
    {"memfd-sealed", memory_sealed}, {"memfd-huge", memory_huge}, {"memfd-secret", memory_secret},
    {"fsopen", mount_context}, {"fsmount", mount_detached}, {"file-on-detached-mount", mount_file},
    {"open_tree", mount_tree}, {"fspick", mount_picked}, {"mqueue", queue}, {"seccomp-listener", listener},
    {"sync-fence", fence}, {"dma-buf", buffer}, {"pipe", pipe_inside}, {"pipe-packets", pipe_packets},
    {"pipe-notification", notification_pipe}, {"pipe-outside", pipe_outside}, {"fifo", fifo},
    {"terminal-master", terminal_master}, {"terminal-slave", terminal_slave}, {"file", file}, {"file-append", file_append},
    {"file-direct", file_direct}, {"file-sync", file_sync}, {"file-noatime", file_noatime}, {"file-path", file_path},
    {"file-symlink", file_symlink}, {"file-temporary", file_temporary}, {"file-unlinked", file_unlinked},
    {"file-linked-elsewhere", file_linked_elsewhere}, {"file-replaced", file_replaced}, {"file-in-memory", file_in_memory},
    {"file-leased", leased}, {"file-locked", locked}, {"file-hint", file_hint}, {"folder", folder},
    {"folder-removed", folder_removed}, {"folder-watched", folder_watched}, {"pipe-owned", owned},
};

/* Kinds that are found by looking ------------------------------------------------------------------------------------ */

static void sockets(int argc, char **argv)
{
    /* Besides 0: TCP, UDP, ICMP, raw IP, UDP-Lite, SCTP, ICMPv6, MPTCP, and for netlink and packet their first. */
    static const int PROTOCOLS[] = {0, 1, 4, 6, 9, 12, 15, 16, 17, 20, 21, 33, 58, 115, 132, 136, 255, 262, 0x300};
    static const char *const TYPES[] = {"?", "stream", "dgram", "raw", "rdm", "seqpacket", "dccp", "?", "?", "?", "packet"};
    static const int NUMBERS[] = {1, 2, 3, 4, 5, 6, 10};
    for (int family = 1; family < 64; family++)
        for (unsigned t = 0; t < sizeof NUMBERS / sizeof *NUMBERS; t++)
            for (unsigned p = 0; p < sizeof PROTOCOLS / sizeof *PROTOCOLS; p++) {
                char name[64];
                snprintf(name, sizeof name, "socket-%d-%s-%d", family, TYPES[NUMBERS[t]], PROTOCOLS[p]);
                if (!is_wanted(name, argc, argv))
                    continue;
                int fd = socket(family, NUMBERS[t], PROTOCOLS[p]);
                if (fd >= 0)
                    note(name, fd);
            }
    int pair[2];
    if (is_wanted("socketpair", argc, argv) && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0)
        note("socketpair", pair[0]);
}

static void devices(const char *folder, int argc, char **argv)
{
    DIR *d = opendir(folder);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        char path[300];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        /* A watchdog restarts the machine; most consoles are alike; our own output goes through the ports. */
        if (e->d_name[0] == '.' || strstr(path, "watchdog") || strstr(path, "vport") || lstat(path, &st) || S_ISLNK(st.st_mode))
            continue;
        if (!strncmp(e->d_name, "tty", 3) && atoi(e->d_name + 3) > 1)
            continue;
        if (S_ISDIR(st.st_mode) && strcmp(e->d_name, "pts") && strcmp(e->d_name, "shm"))
            devices(path, argc, argv);
        if (!(S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) || !is_wanted(path, argc, argv))
            continue;
        int fd = open(path, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
            fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        note(path, fd);
    }
    if (d)
        closedir(d);
}

static void files(int argc, char **argv)
{
    static const char *const FILES[] = {
        "/proc", "/proc/self/status", "/proc/self/maps", "/proc/self/mem", "/proc/self/fd", "/proc/1/status", "/proc/meminfo",
        "/proc/sys/kernel/pid_max", "/proc/self/ns/mnt", "/proc/self/ns/net", "/proc/self/ns/pid", "/proc/self/ns/user",
        "/proc/self/ns/uts", "/proc/self/ns/ipc", "/proc/self/ns/cgroup", "/proc/self/ns/time", "/proc/self/pagemap",
        "/proc/net/tcp", "/proc/self/mountinfo", "/proc/pressure/memory", "/sys", "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/kernel/btf/vmlinux", "/sys/kernel/uevent_seqnum", "/sys/fs/cgroup", "/sys/fs/cgroup/cgroup.procs",
        "/sys/fs/cgroup/cgroup.events", "/sys/kernel/debug", "/sys/kernel/debug/sleep_time", "/sys/kernel/debug/wakeup_sources",
        "/sys/kernel/tracing", "/sys/kernel/tracing/trace_pipe", "/sys/kernel/tracing/trace_marker",
        "/sys/kernel/tracing/per_cpu/cpu0/trace_pipe_raw", "/sys/kernel/security", "/sys/fs/bpf", "/sys/fs/pstore",
        "/sys/firmware/acpi/tables/DSDT", "/sys/bus/pci/devices/0000:00:00.0/config", "/dev/mqueue", "/dev/hugepages",
    };
    for (unsigned k = 0; k < sizeof FILES / sizeof *FILES; k++)
        if (is_wanted(FILES[k], argc, argv)) {
            int fd = open(FILES[k], O_RDWR | O_NONBLOCK);
            note(FILES[k], fd < 0 ? open(FILES[k], O_RDONLY | O_NONBLOCK) : fd);
        }
}

int main(int argc, char **argv)
{
    struct rlimit many = {4096, 4096};
    setrlimit(RLIMIT_NOFILE, &many);
    for (unsigned k = 0; k < sizeof KINDS / sizeof *KINDS; k++) {
        errno = 0;
        if (is_wanted(KINDS[k].name, argc, argv))
            note(KINDS[k].name, (int)KINDS[k].make());
    }
    sockets(argc, argv);
    devices("/dev", argc, argv);
    files(argc, argv);
    ready();
    wait_go();
    for (int k = 0; k < count; k++) {
        struct stat st;
        int there = fstat(made[k].fd, &st) == 0;
        EXPECT(there, "%.60s: descriptor %d: %s", made[k].name, made[k].fd, strerror(errno));
        EXPECT(!there || ((st.st_mode & S_IFMT) == made[k].type && st.st_rdev == made[k].device), "%.60s: it is something else",
               made[k].name);
    }
    return verdict();
}
