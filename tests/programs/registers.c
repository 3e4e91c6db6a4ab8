/* Every register that belongs to a thread, each held by a loop that touches no memory but one flag (also static).
 *
 * One thread per kind: general registers and flags, x87 stack and control word, mxcsr, xmm, ymm, zmm and mask
 * registers (where the processor has them). The loops end when the scene says `go`; then the values are compared. */
#include "scene.h"
#include <immintrin.h>

static volatile int stop;
static atomic_int running;

static void *general(void *arg)
{
    uint64_t in[10], out[10], flags;
    for (int k = 0; k < 10; k++)
        in[k] = mix(77, k);
    atomic_fetch_add(&running, 1);
    /* Direction flag set on purpose: it is kept for the thread although the kernel clears it for itself. */
    __asm__ volatile("movq 0(%2), %%r8\n\tmovq 8(%2), %%r9\n\tmovq 16(%2), %%r10\n\tmovq 24(%2), %%r12\n\t"
                     "movq 32(%2), %%r13\n\tmovq 40(%2), %%r14\n\tmovq 48(%2), %%r15\n\tmovq 56(%2), %%rdx\n\t"
                     "movq 64(%2), %%rcx\n\tmovq 72(%2), %%rax\n\tstd\n"
                     "1:\n\tpause\n\tcmpl $0, %3\n\tje 1b\n\t"
                     "movq %%rax, 72(%1)\n\tpushfq\n\tpopq %%rax\n\tcld\n\tmovq %%rax, %0\n\t"
                     "movq %%r8, 0(%1)\n\tmovq %%r9, 8(%1)\n\tmovq %%r10, 16(%1)\n\tmovq %%r12, 24(%1)\n\t"
                     "movq %%r13, 32(%1)\n\tmovq %%r14, 40(%1)\n\tmovq %%r15, 48(%1)\n\tmovq %%rdx, 56(%1)\n\t"
                     "movq %%rcx, 64(%1)\n\t"
                     : "=m"(flags)
                     : "D"(out), "S"(in), "m"(stop)
                     : "r8", "r9", "r10", "r12", "r13", "r14", "r15", "rax", "rcx", "rdx", "memory", "cc");
    for (int k = 0; k < 10; k++)
        EXPECT(in[k] == out[k], "general register %d: %llx instead of %llx", k, (unsigned long long)out[k],
               (unsigned long long)in[k]);
    EXPECT(flags & 0x400, "the direction flag is lost: flags %llx", (unsigned long long)flags);
    return NULL;
}

static void *x87(void *arg)
{
    uint16_t control = 0x0f7f & ~0x0300, got_control = 0;
    double got[4];
    /* Round towards zero, 24 bits of mantissa; three values on the stack. */
    control = (control & ~0x0c00) | 0x0c00;
    atomic_fetch_add(&running, 1);
    __asm__ volatile("fninit\n\tfldcw %1\n\tfldpi\n\tfldl2e\n\tfldln2\n"
                     "1:\n\tpause\n\tcmpl $0, %2\n\tje 1b\n\t"
                     "fnstcw %0\n\tfstpl 0(%3)\n\tfstpl 8(%3)\n\tfstpl 16(%3)\n\tfninit"
                     : "=m"(got_control)
                     : "m"(control), "m"(stop), "r"(got)
                     : "memory", "cc", "st", "st(1)", "st(2)");
    EXPECT(got_control == (control | 0x40), "the x87 control word is %x instead of %x", got_control, control | 0x40);
    EXPECT(got[0] > 0.6931 && got[0] < 0.6932 && got[1] > 1.4426 && got[1] < 1.4427 && got[2] > 3.14159 &&
               got[2] < 3.1416,
           "the x87 stack holds %f %f %f", got[0], got[1], got[2]);
    return NULL;
}

static void *sse(void *arg)
{
    uint8_t in[256] __attribute__((aligned(16))), out[256] __attribute__((aligned(16)));
    uint32_t control = 0x1f80 | 0x6000 | 0x8000, got = 0, usual = 0x1f80; /* truncate, flush to zero */
    fill(in, sizeof in, 5);
    atomic_fetch_add(&running, 1);
#define EACH16(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define LOAD_X(n) "movdqa " #n "*16(%4), %%xmm" #n "\n\t"
#define SAVE_X(n) "movdqa %%xmm" #n ", " #n "*16(%3)\n\t"
    __asm__ volatile("ldmxcsr %1\n\t" EACH16(LOAD_X) "1:\n\tpause\n\tcmpl $0, %2\n\tje 1b\n\t" EACH16(SAVE_X)
                     "stmxcsr %0\n\tldmxcsr %5"
                     : "=m"(got)
                     : "m"(control), "m"(stop), "r"(out), "r"(in), "m"(usual)
                     : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                       "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    EXPECT((got & ~0x3fu) == control, "mxcsr is %x instead of %x", got, control);
    EXPECT(wrong(out, sizeof out, 5) == -1, "xmm: wrong from word %ld", wrong(out, sizeof out, 5));
    return NULL;
}

__attribute__((target("avx"))) static void *avx(void *arg)
{
    uint8_t in[512] __attribute__((aligned(32))), out[512] __attribute__((aligned(32)));
    fill(in, sizeof in, 6);
    atomic_fetch_add(&running, 1);
#define LOAD_Y(n) "vmovdqa " #n "*32(%2), %%ymm" #n "\n\t"
#define SAVE_Y(n) "vmovdqa %%ymm" #n ", " #n "*32(%1)\n\t"
    __asm__ volatile(EACH16(LOAD_Y) "1:\n\tpause\n\tcmpl $0, %0\n\tje 1b\n\t" EACH16(SAVE_Y) "vzeroupper"
                     :
                     : "m"(stop), "r"(out), "r"(in)
                     : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                       "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    EXPECT(wrong(out, sizeof out, 6) == -1, "ymm: wrong from word %ld", wrong(out, sizeof out, 6));
    return NULL;
}

__attribute__((target("avx512f,avx512bw"))) static void *avx512(void *arg)
{
    uint8_t in[2048] __attribute__((aligned(64))), out[2048] __attribute__((aligned(64)));
    uint64_t masks[8], got[8];
    fill(in, sizeof in, 8);
    fill(masks, sizeof masks, 9);
    atomic_fetch_add(&running, 1);
#define EACH32(X)                                                                                                      \
    EACH16(X) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)
#define EACH8(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define LOAD_Z(n) "vmovdqa64 " #n "*64(%2), %%zmm" #n "\n\t"
#define SAVE_Z(n) "vmovdqa64 %%zmm" #n ", " #n "*64(%1)\n\t"
#define LOAD_K(n) "kmovq " #n "*8(%4), %%k" #n "\n\t"
#define SAVE_K(n) "kmovq %%k" #n ", " #n "*8(%3)\n\t"
    __asm__ volatile(EACH32(LOAD_Z) EACH8(LOAD_K) "1:\n\tpause\n\tcmpl $0, %0\n\tje 1b\n\t" EACH32(SAVE_Z)
                         EACH8(SAVE_K) "vzeroupper"
                     :
                     : "m"(stop), "r"(out), "r"(in), "r"(got), "r"(masks)
                     : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                       "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19",
                       "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29",
                       "xmm30", "xmm31", "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7");
    EXPECT(wrong(out, sizeof out, 8) == -1, "zmm: wrong from word %ld", wrong(out, sizeof out, 8));
    EXPECT(wrong(got, sizeof got, 9) == -1, "mask registers: wrong from word %ld", wrong(got, sizeof got, 9));
    return NULL;
}

int main(void)
{
    pthread_t threads[8];
    int n = 0;
    MUST(pthread_create(&threads[n++], NULL, general, NULL) == 0);
    MUST(pthread_create(&threads[n++], NULL, x87, NULL) == 0);
    MUST(pthread_create(&threads[n++], NULL, sse, NULL) == 0);
    if (__builtin_cpu_supports("avx"))
        MUST(pthread_create(&threads[n++], NULL, avx, NULL) == 0);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw"))
        MUST(pthread_create(&threads[n++], NULL, avx512, NULL) == 0);
    while (atomic_load(&running) < n)
        rest(0.01);
    rest(0.1);
    say("# kinds of registers: %d", n);
    ready();
    wait_go();
    stop = 1;
    for (int k = 0; k < n; k++)
        pthread_join(threads[k], NULL);
    return verdict();
}
