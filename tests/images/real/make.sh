#!/bin/sh
# Makes the images of this folder, inside the test machine:
#   cargo xtask build && cargo xtask vm --timeout 900 --out OUT -- tests/images/real/make.sh
# then copy OUT/* here. Every image is also restarted, and its program must be content. With a gdb in /opt/gdb
# (--file FOLDER:/opt/gdb, started by /opt/gdb/gdb) the backtraces of bt are written too.
set -e
PATH=$PATH:/opt/crkit/programs
work=/scratch/real
mkdir -p "$work" && cd "$work"

# make NAME OPTIONS PROGRAM...: a process in a state, its image, its kill, its restart.
make() {
    name=$1 options=$2
    shift 2
    rm -rf "$work/$name" && mkdir "$work/$name" && cd "$work/$name"
    HOME=/root LANG=C setsid env -i PATH=/usr/bin "PURPOSE=image for tests" "$@" >log 2>&1 </dev/null &
    launched=$!
    n=0
    until grep -q '^ready\|^skipped' log; do
        n=$((n + 1))
        [ $n -lt 300 ] || { cat log; exit 1; }
        sleep 0.1
    done
    if grep -q '^skipped' log; then
        echo "$name: $(cat log)"
        return 0
    fi
    # The program itself may be a child of what was launched (unshare).
    pid=$(pgrep -n -f "/opt/crkit/programs/${program:-small-static}") || pid=$launched
    if [ "$name" = bt ]; then
        cat "/proc/$pid/maps" >"/out/bt.maps"
        if [ -x /opt/gdb/gdb ]; then
            /opt/gdb/gdb -p "$pid" -batch -ex 'set pagination off' -ex 'thread apply all bt full' >/out/bt.gdb 2>/out/bt.gdb.err || true
            /opt/gdb/gdb -p "$pid" -batch -ex 'thread apply all info registers' >/out/bt.registers 2>/dev/null || true
            /opt/gdb/gdb -p "$pid" -batch -ex 'generate-core-file /out/bt.core' >/dev/null 2>&1 || true
        fi
    fi
    # shellcheck disable=SC2086
    crctl checkpoint "$pid" -o "$name.ckpt" --kill $options
    wait "$launched" 2>/dev/null || true
    cp "$name.ckpt" /out
    crctl restart "$name.ckpt" --detach >>restart.log 2>&1
    touch go
    n=0
    until grep -q 'PASS\|FAIL' log; do
        n=$((n + 1))
        [ $n -lt 300 ] || { cat log; exit 1; }
        sleep 0.1
    done
    grep -q PASS log || { cat log; exit 1; }
    ls -l "$name.ckpt"
}

small=/opt/crkit/programs/small-static
make plain "" $small plain
make pipes "" $small pipes
make deleted "" $small deleted
make signals "" $small signals
make avx "" $small avx
make threads --zstd $small threads 32
make memory "" $small memory
make timens "" unshare --time --monotonic 1000 --boottime 2000 --fork $small plain
make same --zstd=19 $small same
program=bt make bt "" /opt/crkit/programs/bt
cp /opt/crkit/programs/bt /out/bt.elf
if dmesg | grep 'WARNING:\|BUG:\|Oops\|Call Trace'; then exit 1; fi
uname -r >/out/kernel
