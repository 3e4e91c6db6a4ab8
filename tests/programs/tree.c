/* Trees of processes: tree family | workers N | storm | sleepers N | plain N | leaderless | daemon | source | sink
 *
 * family: children and grandchildren in groups and sessions of their own, two that have ended and nobody has waited for,
 * shared memory, private memory, a pipe in each direction, one file whose position all share. workers: N processes
 * that pass a token around in a ring of pipes and count in shared memory. storm: processes that fork, end and wait all
 * the time. sleepers: N processes that wait for the end. plain: the same without anything that they share; the first one must
 * find itself without children. leaderless: groups and a session whose leaders have ended, below one that takes orphans. daemon:
 * one whose session leader has ended, with a child. source and sink: ends of a pipeline. Every process checks itself; the first
 * one gives the verdict, of a pipeline the last. */
#include "scene.h"
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define MOST 256

/* What all of them see. */
struct shared {
    atomic_int arrived, stop, faults, counted;
    atomic_long count;
    struct kin {
        int pid, ppid, pgid, sid;
    } kin[MOST];
};
static struct shared *all;

static struct kin who(void)
{
    return (struct kin){getpid(), getppid(), getpgid(0), getsid(0)};
}

static void arrive(int n)
{
    all->kin[n] = who();
    atomic_fetch_add(&all->arrived, 1);
}

static void compare(int n)
{
    struct kin was = all->kin[n], is = who();
    /* The parent of the first process is whoever restarts it. */
    if (!n)
        was.ppid = is.ppid;
    if (memcmp(&was, &is, sizeof was)) {
        FAIL("process %d: pid %d ppid %d pgid %d sid %d, was pid %d ppid %d pgid %d sid %d", n, is.pid, is.ppid, is.pgid, is.sid,
             was.pid, was.ppid, was.pgid, was.sid);
    }
}

/* The end of a child: its faults are for the first process to count. */
static void leave(int status)
{
    atomic_fetch_add(&all->faults, atomic_load(&faults));
    _exit(atomic_load(&faults) ? 99 : status);
}

static void await(int n)
{
    for (int k = 0; atomic_load(&all->arrived) < n && k < 4000; k++)
        rest(0.005);
    MUST(atomic_load(&all->arrived) == n);
}

static void expect_exit(pid_t pid, int status, const char *what)
{
    int got = -1;
    pid_t r = waitpid(pid, &got, 0);
    EXPECT(r == pid && WIFEXITED(got) && WEXITSTATUS(got) == status, "%s: waitpid gave %d, status %#x: %s", what, r, got,
           strerror(errno));
}

static volatile sig_atomic_t children;
static void on_child(int signal)
{
    (void)signal;
    children++;
}

/* The children wait until the first process has counted those that have ended. */
static void wait_turn(void)
{
    wait_go();
    while (!atomic_load(&all->counted))
        rest(0.01);
}

static int family(void)
{
    all = mmap(0, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(all != MAP_FAILED);
    struct sigaction act = {.sa_handler = on_child, .sa_flags = SA_RESTART};
    MUST(sigaction(SIGCHLD, &act, 0) == 0);
    int down[2], up[2], file = open("tree-file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    MUST(pipe(down) == 0 && pipe(up) == 0 && file >= 0 && write(file, "0123456789", 10) == 10 && lseek(file, 3, SEEK_SET) == 3);
    size_t len = 1 << 20;
    char *own = mmap(0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(own != MAP_FAILED);
    fill(own, len, 1);

    pid_t a, b, z, k;
    MUST((z = fork()) >= 0);
    if (!z)
        _exit(42);
    MUST((k = fork()) >= 0);
    if (!k)
        for (;;)
            pause();
    MUST(kill(k, SIGUSR2) == 0);
    /* A child in a group of its own, with a child in that group that answers through pipes. */
    MUST((a = fork()) >= 0);
    if (!a) {
        MUST(setpgid(0, 0) == 0);
        fill(own, len / 2, 2);
        pid_t a1 = fork();
        MUST(a1 >= 0);
        if (!a1) {
            fill(own + len / 2, len / 2, 3);
            arrive(2);
            char c = 0, two[2];
            EXPECT(read(down[0], &c, 1) == 1 && c == 'x', "a1 read '%c'", c);
            EXPECT(read(file, two, 2) == 2 && two[0] == '3', "a1 read '%c' from the shared file", two[0]);
            EXPECT(write(up[1], "y", 1) == 1, "a1 cannot answer");
            EXPECT(wrong(own, len / 2, 2) < 0 && wrong(own + len / 2, len / 2, 3) < 0, "a1: memory differs");
            compare(2);
            leave(7);
        }
        arrive(1);
        wait_turn();
        compare(1);
        EXPECT(wrong(own, len / 2, 2) < 0, "a: memory differs");
        expect_exit(a1, 7, "a1");
        leave(8);
    }
    /* A session leader with a child from before and one from after. */
    MUST((b = fork()) >= 0);
    if (!b) {
        pid_t b1 = fork(), b2;
        MUST(b1 >= 0);
        if (!b1) {
            arrive(4);
            wait_turn();
            compare(4);
            leave(10);
        }
        MUST(setsid() == getpid());
        MUST((b2 = fork()) >= 0);
        if (!b2) {
            arrive(5);
            wait_turn();
            compare(5);
            leave(11);
        }
        arrive(3);
        wait_turn();
        compare(3);
        expect_exit(b1, 10, "b1");
        expect_exit(b2, 11, "b2");
        leave(9);
    }
    arrive(0);
    await(6);
    siginfo_t info;
    MUST(waitid(P_PID, z, &info, WEXITED | WNOWAIT) == 0 && waitid(P_PID, k, &info, WEXITED | WNOWAIT) == 0);
    int before = children;
    MUST(before >= 1);
    ready();
    wait_go();
    EXPECT(children == before, "%d SIGCHLD came from nowhere", children - before);
    atomic_store(&all->counted, 1);
    compare(0);
    EXPECT(wrong(own, len, 1) < 0, "the first process: memory differs");
    char c = 0;
    EXPECT(write(down[1], "x", 1) == 1 && read(up[0], &c, 1) == 1 && c == 'y', "no answer from a1: '%c'", c);
    EXPECT(lseek(file, 0, SEEK_CUR) == 5, "the position of the file is %ld, not 5: it is not shared", (long)lseek(file, 0, SEEK_CUR));
    expect_exit(z, 42, "the zombie");
    int status = 0;
    EXPECT(waitpid(k, &status, 0) == k && WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR2, "the killed zombie: status %#x", status);
    expect_exit(a, 8, "a");
    expect_exit(b, 9, "b");
    EXPECT(waitpid(-1, &status, 0) == -1 && errno == ECHILD, "there is one more child");
    EXPECT(children > before, "no SIGCHLD at the end of the children");
    atomic_fetch_add(&faults, atomic_load(&all->faults));
    return verdict();
}

static int workers(int n)
{
    all = mmap(0, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(all != MAP_FAILED && n > 0 && n < MOST);
    int ring[MOST + 1][2];
    pid_t pid[MOST];
    for (int k = 0; k <= n; k++)
        MUST(pipe(ring[k]) == 0);
    for (int k = 0; k < n; k++) {
        MUST((pid[k] = fork()) >= 0);
        if (pid[k])
            continue;
        for (int j = 0; j <= n; j++) {
            if (j != k)
                close(ring[j][0]);
            if (j != k + 1)
                close(ring[j][1]);
        }
        char name[16];
        snprintf(name, sizeof name, "worker-%d", k);
        prctl(PR_SET_NAME, name);
        arrive(k + 1);
        uint32_t token, last = 0;
        while (read(ring[k][0], &token, sizeof token) == sizeof token) {
            EXPECT(token == last + 1, "worker %d: token %u after %u", k, token, last);
            last = token;
            atomic_fetch_add(&all->count, 1);
            if (write(ring[k + 1][1], &token, sizeof token) != sizeof token)
                break;
        }
        compare(k + 1);
        leave(k % 90);
    }
    for (int k = 0; k <= n; k++) {
        if (k)
            close(ring[k][1]);
        if (k != n)
            close(ring[k][0]);
    }
    arrive(0);
    await(n + 1);
    ready();
    uint32_t sent = 0, got;
    do {
        sent++;
        EXPECT(write(ring[0][1], &sent, sizeof sent) == sizeof sent, "cannot send token %u", sent);
        EXPECT(read(ring[n][0], &got, sizeof got) == sizeof got && got == sent, "token %u came back as %u", sent, got);
        rest(0.001);
    } while (!is_go() && !atomic_load(&faults));
    EXPECT(atomic_load(&all->count) == (long)sent * n, "%ld counts, not %ld", atomic_load(&all->count), (long)sent * n);
    close(ring[0][1]);
    for (int k = 0; k < n; k++)
        expect_exit(pid[k], k % 90, "worker");
    compare(0);
    atomic_fetch_add(&faults, atomic_load(&all->faults));
    return verdict();
}

static int storm(void)
{
    all = mmap(0, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(all != MAP_FAILED);
    pid_t pid[4];
    for (int k = 0; k < 4; k++) {
        MUST((pid[k] = fork()) >= 0);
        if (pid[k])
            continue;
        arrive(k + 1);
        while (!is_go()) {
            pid_t c = fork();
            if (!c) {
                pid_t d = vfork();
                if (!d)
                    _exit(3);
                int status = 0;
                pid_t r = waitpid(d, &status, 0);
                _exit(r == d && WEXITSTATUS(status) == 3 ? 5 : 6);
            }
            EXPECT(c > 0, "fork: %s", strerror(errno));
            if (c < 0)
                break;
            expect_exit(c, 5, "a child of the storm");
            atomic_fetch_add(&all->count, 1);
        }
        compare(k + 1);
        leave(k);
    }
    arrive(0);
    await(5);
    ready();
    wait_go();
    for (int k = 0; k < 4; k++)
        expect_exit(pid[k], k, "a brother of the storm");
    EXPECT(atomic_load(&all->count) > 0, "there was no storm");
    compare(0);
    atomic_fetch_add(&faults, atomic_load(&all->faults));
    return verdict();
}

static int sleepers(int n)
{
    all = mmap(0, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(all != MAP_FAILED && n > 0 && n < MOST);
    pid_t pid[MOST];
    for (int k = 0; k < n; k++) {
        MUST((pid[k] = fork()) >= 0);
        if (!pid[k]) {
            arrive(k + 1);
            wait_go();
            compare(k + 1);
            leave(0);
        }
    }
    arrive(0);
    await(n + 1);
    ready();
    wait_go();
    compare(0);
    for (int k = 0; k < n; k++)
        expect_exit(pid[k], 0, "a sleeper");
    atomic_fetch_add(&faults, atomic_load(&all->faults));
    return verdict();
}

static int plain(int n)
{
    for (int k = 0; k < n; k++) {
        pid_t pid = fork();
        MUST(pid >= 0);
        if (!pid) {
            /* Or the pid of the first would stay in use as that of its group and session. */
            MUST(setsid() == getpid());
            wait_go();
            _exit(0);
        }
    }
    ready();
    wait_go();
    EXPECT(waitpid(-1, 0, 0) == -1 && errno == ECHILD, "there is a child");
    return verdict();
}

static int leaderless(void)
{
    all = mmap(0, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(all != MAP_FAILED && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0);
    /* Two that live and one that has ended, in the group of one that has been waited for. */
    pid_t a = fork(), member[3], leader, sub;
    MUST(a >= 0);
    if (!a)
        for (;;)
            pause();
    MUST(setpgid(a, a) == 0);
    for (int k = 0; k < 3; k++) {
        MUST((member[k] = fork()) >= 0);
        if (!member[k]) {
            MUST(setpgid(0, a) == 0);
            if (k == 2)
                _exit(21);
            arrive(k + 1);
            wait_go();
            compare(k + 1);
            leave(k);
        }
    }
    siginfo_t info;
    MUST(waitid(P_PID, member[2], &info, WEXITED | WNOWAIT) == 0);
    /* A session whose leader ends: a child in its group, one in a group of its own, whose child has gone back. */
    MUST((leader = fork()) >= 0);
    if (!leader) {
        MUST(setsid() == getpid());
        for (int k = 3; k < 5; k++) {
            pid_t c = fork();
            MUST(c >= 0);
            if (c)
                continue;
            if (k == 4) {
                MUST(setpgid(0, 0) == 0 && (sub = fork()) >= 0);
                if (!sub) {
                    MUST(setpgid(0, getsid(0)) == 0);
                    arrive(5);
                    wait_go();
                    compare(5);
                    leave(5);
                }
            }
            while (getppid() == getsid(0))
                rest(0.005);
            arrive(k);
            wait_go();
            compare(k);
            if (k == 4)
                expect_exit(sub, 5, "the one that has gone back");
            leave(k);
        }
        while (atomic_load(&all->arrived) < 3)
            rest(0.005);
        _exit(0);
    }
    MUST(waitpid(leader, 0, 0) == leader && kill(a, SIGKILL) == 0 && waitpid(a, 0, 0) == a);
    arrive(0);
    await(6);
    ready();
    wait_go();
    compare(0);
    expect_exit(member[2], 21, "the one that has ended");
    expect_exit(member[0], 0, "a member");
    expect_exit(member[1], 1, "a member");
    EXPECT(kill(-a, 0) == -1 && errno == ESRCH, "the group goes on");
    int seen = 0, status, r;
    while ((r = waitpid(-1, &status, 0)) > 0) {
        EXPECT(WIFEXITED(status) && (WEXITSTATUS(status) == 3 || WEXITSTATUS(status) == 4), "an orphan: status %#x", status);
        seen++;
    }
    EXPECT(seen == 2, "%d orphans, not 2", seen);
    atomic_fetch_add(&faults, atomic_load(&all->faults));
    return verdict();
}

static int daemonized(void)
{
    all = mmap(0, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(all != MAP_FAILED && getsid(0) == getpid());
    pid_t leader = getpid(), first = fork(), child;
    MUST(first >= 0);
    if (first)
        _exit(0);
    while (getppid() == leader)
        rest(0.005);
    MUST((child = fork()) >= 0);
    if (!child) {
        arrive(1);
        wait_go();
        compare(1);
        leave(12);
    }
    arrive(0);
    await(2);
    say("daemon %d of %d", (int)getpid(), (int)leader);
    wait_go();
    compare(0);
    EXPECT(getsid(0) == leader && getpgid(0) == leader, "session %d, group %d, not %d", getsid(0), getpgid(0), leader);
    expect_exit(child, 12, "the child");
    atomic_fetch_add(&faults, atomic_load(&all->faults));
    return verdict();
}

/* The two ends of a pipeline; whoever is between hands on what it reads. */
static int source(void)
{
    for (int k = 0; !is_go(); k++) {
        if (dprintf(1, "line %d\n", k) < 0)
            return 1;
        rest(0.002);
    }
    return 0;
}

static int sink(void)
{
    pid_t group = getpgid(0), session = getsid(0);
    int k = 0, got;
    while (scanf("line %d ", &got) == 1) {
        EXPECT(got == k, "line %d after %d", got, k - 1);
        if (k++ == 20)
            ready();
    }
    EXPECT(k > 20, "%d lines", k);
    EXPECT(getpgid(0) == group, "group %d, not %d", getpgid(0), group);
    EXPECT(getsid(0) == session || getenv("ANY_SESSION"), "session %d, not %d", getsid(0), session);
    return verdict() ? 1 : 7;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    int n = argc > 2 ? atoi(argv[2]) : 0;
    if (!strcmp(what, "family"))
        return family();
    if (!strcmp(what, "workers"))
        return workers(n);
    if (!strcmp(what, "storm"))
        return storm();
    if (!strcmp(what, "sleepers"))
        return sleepers(n);
    if (!strcmp(what, "plain"))
        return plain(n);
    if (!strcmp(what, "leaderless"))
        return leaderless();
    if (!strcmp(what, "daemon"))
        return daemonized();
    if (!strcmp(what, "source"))
        return source();
    if (!strcmp(what, "sink"))
        return sink();
    say("usage: tree family|workers N|storm|sleepers N|plain N|leaderless|daemon|source|sink");
    return 2;
}
