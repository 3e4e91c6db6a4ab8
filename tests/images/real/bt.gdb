[New LWP 366]
[New LWP 367]
[New LWP 368]
[Thread debugging using libthread_db enabled]
Using host libthread_db library "/lib/x86_64-linux-gnu/libthread_db.so.1".
0x00007f433625072e in ?? () from /lib/x86_64-linux-gnu/libc.so.6

Thread 4 (Thread 0x7f43351b06c0 (LWP 368) "waiter"):
#0  0x00007f433625072e in ?? () from /lib/x86_64-linux-gnu/libc.so.6
No symbol table info available.
#1  0x00007f4336245388 in ?? () from /lib/x86_64-linux-gnu/libc.so.6
No symbol table info available.
#2  0x00007f43362459ac in ?? () from /lib/x86_64-linux-gnu/libc.so.6
No symbol table info available.
#3  0x00007f4336247e98 in pthread_cond_wait () from /lib/x86_64-linux-gnu/libc.so.6
No symbol table info available.
#4  0x00005619190d432d in wait_for_ever (job=0x5619190d70d0 <jobs+80>) at bt.c:50
No locals.
#5  0x00005619190d435f in waiter (arg=<optimized out>) at bt.c:67
No locals.
#6  0x00007f43362488bb in ?? () from /lib/x86_64-linux-gnu/libc.so.6
No symbol table info available.
#7  0x00007f43362c6538 in ?? () from /lib/x86_64-linux-gnu/libc.so.6
No symbol table info available.

Thread 3 (Thread 0x7f43359b16c0 (LWP 367) "sleeper"):
#0  0x00007f433625072e in ?? () from /lib/x86_64-linux-gnu/libc.so.6
No symbol table info available.
#1  0x00007f4336245388 in ?? () from /lib/x86_64-linux-gnu/libc.so.6
No symbol table info available.
#2  0x00007f4336291cfa in clock_nanosleep () from /lib/x86_64-linux-gnu/libc.so.6
No symbol table info available.
#3  0x00007f433629d113 in nanosleep () from /lib/x86_64-linux-gnu/libc.so.6
No symbol table info available.
#4  0x00005619190d43b4 in rest (seconds=100000) at /crkit/src/programs-src/scene.h:84
        t = {tv_sec = 99995, tv_nsec = 71452187}
#5  descend (job=job@entry=0x5619190d70a8 <jobs+40>, depth=depth@entry=0) at bt.c:38
        below = <optimized out>
#6  0x00005619190d4382 in descend (job=job@entry=0x5619190d70a8 <jobs+40>, depth=depth@entry=1) at bt.c:41
        below = <optimized out>
#7  0x00005619190d4382 in descend (job=job@entry=0x5619190d70a8 <jobs+40>, depth=depth@entry=2) at bt.c:41
        below = <optimized out>
#8  0x00005619190d4382 in descend (job=job@entry=0x5619190d70a8 <jobs+40>, depth=depth@entry=3) at bt.c:41
        below = <optimized out>
#9  0x00005619190d4382 in descend (job=job@entry=0x5619190d70a8 <jobs+40>, depth=depth@entry=4) at bt.c:41
        below = <optimized out>
#10 0x00005619190d4382 in descend (job=0x5619190d70a8 <jobs+40>, depth=depth@entry=5) at bt.c:41
        below = <optimized out>
#11 0x00005619190d43d7 in sleeper (arg=<optimized out>) at bt.c:62
No locals.
#12 0x00007f43362488bb in ?? () from /lib/x86_64-linux-gnu/libc.so.6
No symbol table info available.
#13 0x00007f43362c6538 in ?? () from /lib/x86_64-linux-gnu/libc.so.6
No symbol table info available.

Thread 2 (Thread 0x7f43361b26c0 (LWP 366) "spinner"):
#0  mix (seed=3353489254679470088, k=1) at /crkit/src/programs-src/scene.h:122
        z = <optimized out>
        z = <optimized out>
#1  spin_inner (job=job@entry=0x5619190d7080 <jobs>, seed=3353489254679470088, seed@entry=17) at bt.c:23
No locals.
#2  0x00005619190d42ce in spin_outer (job=0x5619190d7080 <jobs>) at bt.c:29
        result = <optimized out>
#3  0x00005619190d42e4 in spinner (arg=<optimized out>) at bt.c:57
No locals.
#4  0x00007f43362488bb in ?? () from /lib/x86_64-linux-gnu/libc.so.6
No symbol table info available.
#5  0x00007f43362c6538 in ?? () from /lib/x86_64-linux-gnu/libc.so.6
No symbol table info available.

Thread 1 (Thread 0x7f43361b3780 (LWP 363) "bt"):
#0  0x00007f433625072e in ?? () from /lib/x86_64-linux-gnu/libc.so.6
No symbol table info available.
#1  0x00007f4336245388 in ?? () from /lib/x86_64-linux-gnu/libc.so.6
No symbol table info available.
#2  0x00007f4336291cfa in clock_nanosleep () from /lib/x86_64-linux-gnu/libc.so.6
No symbol table info available.
#3  0x00007f433629d113 in nanosleep () from /lib/x86_64-linux-gnu/libc.so.6
No symbol table info available.
#4  0x00005619190d4538 in rest (seconds=1) at /crkit/src/programs-src/scene.h:84
        t = {tv_sec = 0, tv_nsec = 163882645}
#5  main_waits (why=why@entry=0x5619190d502c "PASS") at bt.c:79
No locals.
#6  0x00005619190d4637 in main () at bt.c:95
        jobs = {{number = 1, name = 0x5619190d5031 "spinner", weights = {0.5, 1, 2}}, {number = 2, name = 0x5619190d5039 "sleeper", weights = {1, 0, 0}}, {number = 3, name = 0x5619190d5041 "waiter", weights = {2, 0, 0}}}
        work = {0x5619190d42db <spinner>, 0x5619190d43c9 <sleeper>, 0x5619190d4356 <waiter>}
[Inferior 1 (process 363) detached]
