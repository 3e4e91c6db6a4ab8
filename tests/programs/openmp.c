/* A program of parallel loops (OpenMP): openmp
 *
 * Two loops with different schedules, a reduction and tasks give the same numbers in every round. Linked with its own libgomp. */
#include "scene.h"

enum { CELLS = 4096, ROUNDS_MOST = 1 << 20 };
static uint64_t cell[CELLS];

static uint64_t step(uint64_t x)
{
    for (int k = 0; k < 40; k++)
        x = x * 6364136223846793005u + 1442695040888963407u;
    return x;
}

static uint64_t tree(int depth, uint64_t x)
{
    if (depth == 0)
        return step(x) >> 7;
    uint64_t a, b;
#pragma omp task shared(a)
    a = tree(depth - 1, 2 * x);
    b = tree(depth - 1, 2 * x + 1);
#pragma omp taskwait
    return a + b;
}

static uint64_t one_round(void)
{
    uint64_t sum = 0, leaves = 0;
#pragma omp parallel for schedule(dynamic, 16)
    for (int k = 0; k < CELLS; k++)
        cell[k] = step((uint64_t)k);
#pragma omp parallel for schedule(static) reduction(+ : sum)
    for (int k = 0; k < CELLS; k++)
        sum += cell[k] ^ cell[(k + 1) % CELLS];
#pragma omp parallel
#pragma omp single
    leaves = tree(7, 1);
    return sum * 31 + leaves;
}

int main(void)
{
    uint64_t want = one_round();
    int round = 0;
    ready();
    for (; round < ROUNDS_MOST && access("go", F_OK); round++) {
        uint64_t got = one_round();
        EXPECT(got == want, "round %d: %llx instead of %llx", round, (unsigned long long)got, (unsigned long long)want);
    }
    EXPECT(round > 3, "only %d rounds", round);
    return verdict();
}
