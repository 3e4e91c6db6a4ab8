/* Every kind of memory area: kinds_areas all | NAME...
 *
 * What can be written has contents, which must be there after `go`. Devices are mapped where they allow it. */
#include "kinds.h"
#include <glob.h>
#include <linux/aio_abi.h>
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>

#define PAGE 4096ul
#define HUGE (2ul << 20)

/* Length of the area that was made last, and whether its contents are ours. */
static size_t length;
static int ours;

static long mapped(size_t bytes, int protection, int flags, int fd, off_t offset)
{
    void *at = mmap(NULL, bytes, protection, flags, fd, offset);
    length = bytes;
    return at == MAP_FAILED ? -1 : (long)at;
}

static long filled(size_t bytes, int flags, int fd)
{
    ours = 1;
    return mapped(bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
}

static long of_file(const char *path, size_t bytes, int flags)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    long at = fd < 0 || ftruncate(fd, bytes) ? -1 : filled(bytes, flags, fd);
    close(fd);
    return at;
}

static long read_only(const char *path, size_t bytes, int flags)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    long at = fd < 0 ? -1 : mapped(bytes, PROT_READ, flags, fd, 0);
    close(fd);
    return at;
}

static long advised(long at, int advice) { return at == -1 || madvise((void *)at, length, advice) ? -1 : at; }

static long anonymous(void) { return filled(4 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1); }
static long shared(void) { return filled(4 * PAGE, MAP_SHARED | MAP_ANONYMOUS, -1); }
static long reserved(void) { return mapped(64 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0); }
static long growing(void) { return filled(4 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1); }
static long droppable(void) { return mapped(4 * PAGE, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | 0x08, -1, 0); }
static long locked(void) { return filled(4 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1); }
static long stack_hint(void) { return filled(4 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1); }
static long mergeable(void) { return advised(anonymous(), MADV_MERGEABLE); }
static long huge_wanted(void) { return advised(filled(2 * HUGE, MAP_PRIVATE | MAP_ANONYMOUS, -1), MADV_HUGEPAGE); }
static long huge_unwanted(void) { return advised(anonymous(), MADV_NOHUGEPAGE); }
static long not_forked(void) { return advised(anonymous(), MADV_DONTFORK); }
static long wiped(void) { return advised(anonymous(), MADV_WIPEONFORK); }
static long not_dumped(void) { return advised(anonymous(), MADV_DONTDUMP); }
static long random_(void) { return advised(of_file("random", 4 * PAGE, MAP_SHARED), MADV_RANDOM); }
static long sequential(void) { return advised(of_file("sequential", 4 * PAGE, MAP_SHARED), MADV_SEQUENTIAL); }
static long cold(void) { return advised(anonymous(), MADV_COLD); }

static long lazy(void)
{
    /* May be taken away at any time: not compared. */
    long at = mapped(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset((void *)at, 7, length);
    return advised(at, MADV_FREE);
}

static long guarded(void)
{
    long at = anonymous();
    return at == -1 || madvise((void *)(at + 3 * PAGE), PAGE, 102 /* MADV_GUARD_INSTALL */) ? -1 : (length = 3 * PAGE, at);
}

static long sealed(void)
{
    long at = anonymous();
    return at == -1 || syscall(462 /* mseal */, at, length, 0) ? -1 : at;
}

static long named(void)
{
    long at = anonymous();
    return at == -1 || prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at, length, "kinds") ? -1 : at;
}

static long shared_named(void)
{
    long at = shared();
    return at == -1 || prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at, length, "kinds") ? -1 : at;
}

static long keyed(void)
{
    long at = anonymous();
    int key = pkey_alloc(0, 0);
    return at == -1 || key < 0 || pkey_mprotect((void *)at, length, PROT_READ | PROT_WRITE, key) ? -1 : at;
}

static long policy(void)
{
    unsigned long nodes = 1;
    long at = mapped(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ours = 1;
    return syscall(SYS_mbind, at, length, 2 /* MPOL_BIND */, &nodes, 8, 0) ? -1 : at;
}

static long executable(void) { return mapped(PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }
static long low(void)
{
    ours = 1;
    return mapped(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
}

static long huge_private(void) { return filled(HUGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1); }
static long huge_shared(void) { return filled(HUGE, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1); }

static long of_memfd(const char *name, unsigned flags, size_t bytes, int how)
{
    int fd = memfd_create(name, flags);
    long at = fd < 0 || ftruncate(fd, bytes) ? -1 : filled(bytes, how, fd);
    close(fd);
    return at;
}

static long memfd_shared(void) { return of_memfd("shared", 0, 4 * PAGE, MAP_SHARED); }
static long memfd_private(void) { return of_memfd("private", 0, 4 * PAGE, MAP_PRIVATE); }
static long memfd_huge(void) { return of_memfd("huge", MFD_HUGETLB, HUGE, MAP_SHARED); }

static long secret(void)
{
    int fd = (int)syscall(SYS_memfd_secret, 0);
    long at = fd < 0 || ftruncate(fd, PAGE) ? -1 : filled(PAGE, MAP_SHARED, fd);
    close(fd);
    return at;
}

static long system_v(int flags, size_t bytes)
{
    int id = shmget(IPC_PRIVATE, bytes, 0600 | flags);
    void *at = id < 0 ? (void *)-1 : shmat(id, NULL, 0);
    if (id >= 0)
        shmctl(id, IPC_RMID, NULL);
    length = bytes;
    ours = 1;
    return (long)at;
}

static long shm(void) { return system_v(0, 4 * PAGE); }
static long shm_huge(void) { return system_v(SHM_HUGETLB, HUGE); }

static long file_shared(void) { return of_file("shared", 4 * PAGE, MAP_SHARED); }
static long file_private(void) { return of_file("private", 4 * PAGE, MAP_PRIVATE); }
static long file_in_memory(void) { return of_file("/dev/shm/kinds-area", 4 * PAGE, MAP_SHARED); }

static long file_deleted(void)
{
    long at = of_file("deleted", 4 * PAGE, MAP_SHARED);
    unlink("deleted");
    return at;
}

static long file_deleted_private(void)
{
    long at = of_file("deleted-too", 4 * PAGE, MAP_PRIVATE);
    unlink("deleted-too");
    return at;
}

static long file_beyond(void)
{
    /* The last page is behind the end of the file: touching it is SIGBUS. */
    int fd = open("short", O_RDWR | O_CREAT, 0600);
    long at = fd < 0 || ftruncate(fd, PAGE) ? -1 : mapped(2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    ours = at != -1;
    length = PAGE;
    return at;
}

static long zero_private(void)
{
    int fd = open("/dev/zero", O_RDWR);
    long at = filled(4 * PAGE, MAP_PRIVATE, fd);
    close(fd);
    return at;
}

static long zero_shared(void)
{
    int fd = open("/dev/zero", O_RDWR);
    long at = filled(4 * PAGE, MAP_SHARED, fd);
    close(fd);
    return at;
}

static long dev_mem(void)
{
    int fd = open("/dev/mem", O_RDONLY);
    long at = mapped(PAGE, PROT_READ, MAP_SHARED, fd, 0xf0000);
    close(fd);
    return at;
}

static long dev_hpet(void) { return read_only("/dev/hpet", PAGE, MAP_SHARED); }

static long pci(void)
{
    glob_t found;
    long at = -1;
    if (glob("/sys/bus/pci/devices/*/resource[0-9]", 0, NULL, &found) == 0)
        for (size_t k = 0; k < found.gl_pathc && at == -1; k++)
            at = read_only(found.gl_pathv[k], PAGE, MAP_SHARED);
    return at;
}

static long btf(void) { return read_only("/sys/kernel/btf/vmlinux", PAGE, MAP_PRIVATE); }
static long trace(void) { return read_only("/sys/kernel/tracing/per_cpu/cpu0/trace_pipe_raw", PAGE, MAP_SHARED); }

static long perf(void)
{
    struct perf_event_attr a = {.type = PERF_TYPE_SOFTWARE, .size = sizeof a, .config = PERF_COUNT_SW_TASK_CLOCK};
    int fd = (int)syscall(SYS_perf_event_open, &a, 0, -1, -1, 0);
    long at = fd < 0 ? -1 : mapped(3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return at;
}

static long uring(void)
{
    struct io_uring_params p = {0};
    int fd = (int)syscall(SYS_io_uring_setup, 4, &p);
    long at = fd < 0 ? -1 : mapped(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
    close(fd);
    return at;
}

static long packets(void)
{
    struct tpacket_req r = {PAGE, 2, 2048, 4};
    int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    long at = fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &r, sizeof r)
                  ? -1
                  : mapped(2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return at;
}

static long tcp(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    long at = mapped(4 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    return at;
}

static long aio(void)
{
    aio_context_t context = 0;
    length = 0;
    return syscall(SYS_io_setup, 4, &context) ? -1 : (long)context;
}

static long bpf_map(int type, unsigned entries, unsigned flags)
{
    union bpf_attr a = {0};
    a.map_type = type;
    if (type == BPF_MAP_TYPE_ARRAY)
        a.key_size = 4, a.value_size = 4096;
    a.max_entries = entries;
    a.map_flags = flags;
    return syscall(SYS_bpf, BPF_MAP_CREATE, &a, sizeof a);
}

static long bpf_array(void)
{
    int fd = (int)bpf_map(BPF_MAP_TYPE_ARRAY, 1, BPF_F_MMAPABLE);
    long at = fd < 0 ? -1 : mapped(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return at;
}

static long bpf_ring(void)
{
    int fd = (int)bpf_map(BPF_MAP_TYPE_RINGBUF, 4096, 0);
    long at = fd < 0 ? -1 : mapped(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return at;
}

static long bpf_arena(void)
{
    union bpf_attr a = {0};
    a.map_type = 33; /* BPF_MAP_TYPE_ARENA */
    a.max_entries = 4;
    a.map_flags = BPF_F_MMAPABLE;
    int fd = (int)syscall(SYS_bpf, BPF_MAP_CREATE, &a, sizeof a);
    long at = fd < 0 ? -1 : mapped(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return at;
}

static long buffer(void)
{
    struct {
        uint64_t length;
        uint32_t fd, flags;
        uint64_t heap_flags;
    } data = {PAGE, 0, O_RDWR | O_CLOEXEC, 0};
    int heap = open("/dev/dma_heap/system", O_RDWR | O_CLOEXEC);
    if (heap < 0 || ioctl(heap, _IOWR('H', 0, data), &data))
        return -1;
    close(heap);
    long at = filled(PAGE, MAP_SHARED, data.fd);
    close(data.fd);
    return at;
}

static long faults_handled(uint64_t mode, uint64_t features)
{
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    struct uffdio_api api = {.api = UFFD_API, .features = features};
    long at = mapped(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
        return -1;
    if (mode == UFFDIO_REGISTER_MODE_WP)
        memset((void *)at, 1, length);
    struct uffdio_register r = {{at, length}, mode, 0};
    /* The descriptor stays open: closing it ends the registration. */
    return ioctl(fd, UFFDIO_REGISTER, &r) ? -1 : at;
}

static long faults_missing(void) { return faults_handled(UFFDIO_REGISTER_MODE_MISSING, 0); }
static long faults_written(void) { return faults_handled(UFFDIO_REGISTER_MODE_WP, UFFD_FEATURE_PAGEFAULT_FLAG_WP); }

static long shadow(void)
{
    length = 0;
    return syscall(453 /* map_shadow_stack */, 0, PAGE, 0);
}

static const struct kind KINDS[] = {
    {"anonymous", anonymous}, {"shared", shared}, {"reserved", reserved}, {"growing", growing}, {"droppable", droppable},
    {"locked", locked}, {"stack-hint", stack_hint}, {"mergeable", mergeable}, {"huge-wanted", huge_wanted},
    {"huge-unwanted", huge_unwanted}, {"not-forked", not_forked}, {"wiped", wiped}, {"not-dumped", not_dumped},
    {"random", random_}, {"sequential", sequential}, {"cold", cold}, {"lazy", lazy}, {"guarded", guarded},
    {"sealed", sealed}, {"named", named}, {"shared-named", shared_named}, {"keyed", keyed}, {"policy", policy},
    {"executable", executable}, {"low", low}, {"hugetlb-private", huge_private}, {"hugetlb-shared", huge_shared},
    {"memfd-shared", memfd_shared}, {"memfd-private", memfd_private}, {"memfd-huge", memfd_huge}, {"secret", secret},
    {"shm", shm}, {"shm-huge", shm_huge}, {"file-shared", file_shared}, {"file-private", file_private},
    {"file-in-memory", file_in_memory}, {"file-deleted", file_deleted}, {"file-deleted-private", file_deleted_private},
    {"file-beyond-its-end", file_beyond}, {"zero-private", zero_private}, {"zero-shared", zero_shared},
    {"device-mem", dev_mem}, {"device-hpet", dev_hpet}, {"device-pci", pci}, {"btf", btf}, {"trace-ring", trace},
    {"perf-ring", perf}, {"io_uring-ring", uring}, {"packet-ring", packets}, {"tcp-receive", tcp}, {"aio-ring", aio},
    {"bpf-array", bpf_array}, {"bpf-ringbuf", bpf_ring}, {"bpf-arena", bpf_arena}, {"dma-buf", buffer},
    {"userfault-missing", faults_missing}, {"userfault-written", faults_written}, {"shadow-stack", shadow},
};
#define COUNT (sizeof KINDS / sizeof *KINDS)

int main(int argc, char **argv)
{
    long made[COUNT];
    size_t lengths[COUNT];
    for (unsigned k = 0; k < COUNT; k++) {
        made[k] = -1;
        errno = ours = 0;
        if (!is_wanted(KINDS[k].name, argc, argv))
            continue;
        if ((made[k] = KINDS[k].make()) == -1) {
            none(KINDS[k].name);
            continue;
        }
        lengths[k] = ours ? length : 0;
        if (lengths[k])
            fill((void *)made[k], lengths[k], k);
        say("made %s at %lx", KINDS[k].name, made[k]);
    }
    ready();
    wait_go();
    for (unsigned k = 0; k < COUNT; k++)
        if (made[k] != -1 && lengths[k]) {
            long at = wrong((void *)made[k], lengths[k], k);
            EXPECT(at == -1, "%s: word %ld is another one", KINDS[k].name, at);
        }
    return verdict();
}
