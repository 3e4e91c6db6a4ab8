/* Landlock domains: landlock layers | family | scoped | rules. layers: three threads with no layer, one and two of them, which
 * find the same things allowed and denied. family: two processes in one domain. scoped: the same with a scope. rules: a
 * domain that allows something by name. */
#include "scene.h"
#include <sys/prctl.h>
#include <sys/wait.h>

#define WRITE_FILE (1u << 1)
#define READ_FILE (1u << 2)
#define MAKE_DIR (1u << 7)
#define SCOPE_SIGNAL (1u << 1)

struct attr {
    uint64_t fs, net, scope;
};

static int confine(struct attr attr, const char *allowed)
{
    int rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (rules < 0)
        return -1;
    if (allowed) {
        struct {
            uint64_t access;
            int fd;
        } __attribute__((packed)) rule = {attr.fs, open(allowed, O_PATH | O_CLOEXEC)};
        MUST(rule.fd >= 0 && syscall(SYS_landlock_add_rule, rules, 1, &rule, 0) == 0);
        close(rule.fd);
    }
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    MUST(syscall(SYS_landlock_restrict_self, rules, 0) == 0);
    close(rules);
    return 0;
}

/* 1 if it works, 0 if it is denied. */
static int opens(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    EXPECT(fd >= 0 || errno == EACCES, "open: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* A folder for each thread: one that another thread has just made is found (EEXIST) before a domain is asked. */
static int makes(void)
{
    char path[32];
    snprintf(path, sizeof path, "made.%d", (int)syscall(SYS_gettid));
    int r = mkdir(path, 0700);
    EXPECT(r == 0 || errno == EACCES, "mkdir: %s", strerror(errno));
    return r == 0 && rmdir(path) == 0;
}

static int signals(void)
{
    int r = kill(1, 0);
    EXPECT(r == 0 || errno == EPERM, "kill: %s", strerror(errno));
    return r == 0;
}

static void expect(const char *who, int writes, int reads, int making, int signalling)
{
    EXPECT(opens("file", O_WRONLY) == writes, "%s: writing is %s", who, writes ? "denied" : "allowed");
    EXPECT(opens("file", O_RDONLY) == reads, "%s: reading is %s", who, reads ? "denied" : "allowed");
    EXPECT(makes() == making, "%s: making a folder is %s", who, making ? "denied" : "allowed");
    EXPECT(signals() == signalling, "%s: signalling is %s", who, signalling ? "denied" : "allowed");
}

static pthread_barrier_t made;

static void *unconfined(void *unused)
{
    pthread_barrier_wait(&made);
    wait_go();
    expect("thread without a domain", 1, 1, 1, 1);
    return unused;
}

static void *nested(void *unused)
{
    MUST(confine((struct attr){READ_FILE, 0, SCOPE_SIGNAL}, NULL) == 0);
    expect("thread with two layers, before", 0, 0, 0, 0);
    pthread_barrier_wait(&made);
    wait_go();
    expect("thread with two layers", 0, 0, 0, 0);
    return unused;
}

static int layers(void)
{
    pthread_t free_, inner;
    pthread_barrier_init(&made, NULL, 3);
    MUST(pthread_create(&free_, NULL, unconfined, NULL) == 0);
    MUST(confine((struct attr){WRITE_FILE | MAKE_DIR, 0, 0}, NULL) == 0);
    MUST(pthread_create(&inner, NULL, nested, NULL) == 0);
    expect("main thread, before", 0, 1, 0, 1);
    pthread_barrier_wait(&made);
    ready();
    wait_go();
    pthread_join(free_, NULL);
    expect("main thread", 0, 1, 0, 1);
    pthread_join(inner, NULL);
    return verdict();
}

static int family(uint64_t scope)
{
    MUST(confine((struct attr){WRITE_FILE, 0, scope}, NULL) == 0);
    pid_t child = fork();
    MUST(child >= 0);
    if (child == 0) {
        wait_go();
        expect("child", 0, 1, 1, !scope);
        _exit(atomic_load(&faults) != 0);
    }
    ready();
    wait_go();
    expect("parent", 0, 1, 1, !scope);
    int status = -1;
    EXPECT(waitpid(child, &status, 0) == child && status == 0, "the child ended with %#x", status);
    return verdict();
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    uint64_t version = syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
    MUST((int64_t)version >= 6);
    int fd = open("file", O_CREAT | O_RDWR, 0600);
    MUST(fd >= 0);
    close(fd);
    if (!strcmp(what, "layers"))
        return layers();
    if (!strcmp(what, "family"))
        return family(0);
    if (!strcmp(what, "scoped"))
        return family(SCOPE_SIGNAL);
    MUST(!strcmp(what, "rules") && confine((struct attr){READ_FILE, 0, 0}, ".") == 0);
    ready();
    wait_go();
    return verdict();
}
