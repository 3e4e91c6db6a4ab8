/* Text snapshots of everything the kernel tells a process about itself, to be compared before and after. */
#ifndef SNAPSHOT_H
#define SNAPSHOT_H
#include "scene.h"

#define SNAPSHOT_SIZE (1 << 20)

struct snapshot {
    char *text;
    size_t length;
};

/* Memory that is there from the start: taking a snapshot must not change the memory map. */
static inline struct snapshot new_snapshot(void)
{
    static char pool[4][SNAPSHOT_SIZE];
    static int used;
    MUST(used < 4);
    struct snapshot s = {pool[used++], 0};
    memset(s.text, 0, SNAPSHOT_SIZE);
    return s;
}

static void add(struct snapshot *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct snapshot *s, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int n = vsnprintf(s->text + s->length, SNAPSHOT_SIZE - s->length, format, list);
    va_end(list);
    MUST(n >= 0 && s->length + n < SNAPSHOT_SIZE - 1);
    s->length += n;
}

static inline int is_line(const char *text, size_t length, const char *line, size_t n)
{
    for (const char *at = text, *end = text + length; at < end;) {
        const char *stop = memchr(at, '\n', end - at);
        size_t have = (stop ? stop : end) - at;
        if (have == n && !memcmp(at, line, n))
            return 1;
        at += have + 1;
    }
    return 0;
}

/* Every line of one that the other does not have is a fault. */
static inline void compare(const char *title, struct snapshot before, struct snapshot after)
{
    if (before.length == after.length && !memcmp(before.text, after.text, before.length))
        return;
    int differences = 0;
    for (int side = 0; side < 2; side++) {
        struct snapshot a = side ? after : before, b = side ? before : after;
        for (char *at = a.text, *end = a.text + a.length; at < end;) {
            char *stop = memchr(at, '\n', end - at);
            size_t n = (stop ? stop : end) - at;
            if (!is_line(b.text, b.length, at, n)) {
                FAIL("%s: %s: %.*s", title, side ? "is new" : "is gone", (int)(n < 300 ? n : 300), at);
                differences++;
            }
            at += n + 1;
        }
    }
    if (!differences)
        FAIL("%s: the lines are in another order", title);
}

/* The memory map with flags, one line per range; neighbours that differ in nothing are one range, because the kernel
 * may merge them. `ac` (accounting) and `sd` (soft-dirty) say nothing about what the process has. */
static inline struct snapshot snapshot_maps(void)
{
    static char smaps[SNAPSHOT_SIZE];
    struct snapshot s = new_snapshot();
    long length = slurp("/proc/self/smaps", smaps, sizeof smaps);
    MUST(length > 0);
    struct range {
        unsigned long from, to, offset, inode;
        char perms[8], path[256], flags[128];
    } last = {0}, next = {0};
    for (char *line = strtok(smaps, "\n"); line; line = strtok(NULL, "\n")) {
        int at = 0;
        struct range r = {0};
        if (sscanf(line, "%lx-%lx %7s %lx %*x:%*x %lu %n", &r.from, &r.to, r.perms, &r.offset, &r.inode, &at) >= 5 && at) {
            snprintf(r.path, sizeof r.path, "%s", line + at);
            next = r;
            continue;
        }
        if (strncmp(line, "VmFlags:", 8))
            continue;
        for (char *word = line + 8; *word;) {
            while (*word == ' ')
                word++;
            size_t n = strcspn(word, " ");
            /* `sh` of a shared mapping that cannot be written depends on how its file was opened, and means nothing. */
            int idle = n == 2 && (!memcmp(word, "ac", 2) || !memcmp(word, "sd", 2) ||
                                  (!memcmp(word, "sh", 2) && !strstr(word, "mw")));
            if (n && !idle) {
                size_t have = strlen(next.flags);
                snprintf(next.flags + have, sizeof next.flags - have, " %.*s", (int)n, word);
            }
            word += n;
        }
        /* Shared memory without a file has an inode of its own, whose number says nothing. */
        if (!strncmp(next.path, "/dev/zero (deleted)", 19))
            next.inode = 1;
        /* So has a file without a name; where a removed one is kept is nobody's business. */
        size_t n = strlen(next.path);
        if (n > 10 && !strcmp(next.path + n - 10, " (deleted)")) {
            next.inode = 1;
            if (strncmp(next.path, "/memfd:", 7) && strncmp(next.path, "/dev/zero", 9) &&
                strncmp(next.path, "/anon_hugepage", 14))
                strcpy(next.path, "(deleted)");
            /* Private huge pages: the offset is an internal matter, as it is for other anonymous memory. */
            if (next.perms[3] == 'p' && !strncmp(next.path, "/anon_hugepage", 14))
                next.inode = 0;
        }
        /* The stack may have grown since. */
        if (!strcmp(next.path, "[stack]"))
            next.from = 0;
        int joins = last.to && last.to == next.from && !strcmp(last.perms, next.perms) && last.inode == next.inode &&
                    !strcmp(last.path, next.path) && !strcmp(last.flags, next.flags) &&
                    (!last.inode || last.offset + (last.to - last.from) == next.offset);
        if (joins) {
            last.to = next.to;
        } else {
            if (last.to)
                add(&s, "%lx-%lx %s %lx %lu %s%s\n", last.from, last.to, last.perms, last.inode ? last.offset : 0,
                    last.inode, last.path, last.flags);
            last = next;
        }
    }
    add(&s, "%lx-%lx %s %lx %lu %s%s\n", last.from, last.to, last.perms, last.inode ? last.offset : 0, last.inode,
        last.path, last.flags);
    return s;
}
#endif
