/* One of each: programs that make every kind of descriptor, memory area or state that the running kernel offers.
 *
 * kinds_X all | NAME...: makes them, and says of each `made NAME WHERE` or `none NAME: why`. WHERE is `fd N`, `at ADDRESS`
 * or nothing. After `go` each one that was made is looked at by its own check. */
#ifndef KINDS_H
#define KINDS_H
#include "scene.h"

struct kind {
    const char *name;
    /* What it is made of (a descriptor, an address), or -1 with errno. */
    long (*make)(void);
    /* Is it still so? Without one only the scene compares. */
    int (*check)(void);
};

static inline void none(const char *name)
{
    say("none %s: %s", name, errno ? strerror(errno) : "?");
}

static inline int is_wanted(const char *name, int argc, char **argv)
{
    for (int k = 1; k < argc; k++)
        if (!strcmp(argv[k], "all") || !strcmp(argv[k], name))
            return 1;
    return 0;
}
#endif
