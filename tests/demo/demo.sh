#!/bin/bash
# The story of one checkpoint and restart, on a stock Debian kernel, told by the commands themselves. Runs as root in the
# test machine (cargo xtask demo), or on a machine with the modules installed. Every command is shown before its output;
# the last line is the verdict, and the exit status says it too.
set -u
# One stream, so that commands, output and messages stay in their order.
exec 2>&1
here=${CRKIT_DEMO:-$(dirname "$(readlink -f "$0")")}
place=$(mktemp -d "${TMPDIR:-/var/tmp}/crkit-demo.XXXXXX") || exit 1
cd "$place" || exit 1
big_mib=${DEMO_MIB:-256} big_workers=15
pids=() wrong=()

tidy_up() {
    for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null; done
    cd / && rm -rf "$place"
}
trap tidy_up EXIT

say() { printf '\n%s\n' "--- $*"; }
# Shows a command and runs it.
run() {
    printf '$ %s\n' "$*"
    "$@"
}
# Like run, and the command must succeed.
must() {
    run "$@" || fault "'$*' ended with status $?"
}
fault() {
    wrong+=("$*")
    printf '!!! %s\n' "$*"
}
# The number in the last whole line of the log.
line_number() { sed -n 's/^line \([0-9]*\): .*/\1/p' "$1" | tail -n 1; }
# Waits until a command succeeds; at most 30 s.
until_true() {
    for _ in $(seq 300); do "$@" && return 0; sleep 0.1; done
    return 1
}
has_line() { [ "$(line_number "$1" 2>/dev/null || echo 0)" -ge "$2" ] 2>/dev/null; }
is_ready() { grep -q '^ready' "$1" 2>/dev/null; }
runs() { [ -e "/proc/$1" ] && [ "$(cut -d' ' -f3 <"/proc/$1/stat" 2>/dev/null)" != Z ]; }

say "A stock Debian kernel, and none of our modules loaded."
run uname -r
# The banner of a Debian kernel carries the version of its package.
run cat /proc/version
printf '$ lsmod | grep ^cr_\n'
lsmod | grep ^cr_ && fault "modules of ours are loaded already"
dmesg_before=$(dmesg | wc -l)

say "A program that nobody prepared: CPython with four threads."
printf '$ python3 counter.py >counter.log &\n'
pid=$(setsid python3 "$here/counter.py" >counter.log 2>&1 </dev/null & echo $!)
pids+=("$pid")
until_true has_line counter.log 8 || fault "the program does not count"
run tail -n 2 counter.log
run ls "/proc/$pid/task"

say "Can it be checkpointed?"
must crctl check "$pid"

say "The checkpoint. The program is killed when its image is complete."
must crctl checkpoint "$pid" -o counter.ckpt --kill
until_true eval '! [ -e /proc/'"$pid"' ]'
before=$(line_number counter.log)
printf '$ ls -d /proc/%s\n' "$pid"
ls -d "/proc/$pid" 2>&1 && fault "the program is still there"
run tail -n 1 counter.log
printf '$ lsmod | grep ^cr_\n'
lsmod | grep ^cr_ || fault "no module of ours is loaded"

say "What is in the image?"
must crimg show counter.ckpt
must crimg verify counter.ckpt

say "The restart. The same program goes on, with the same pid, where it was."
must crctl restart counter.ckpt --detach --pidfile counter.pid
run cat counter.pid
[ "$(cat counter.pid 2>/dev/null)" = "$pid" ] || fault "the pid is not $pid any more"
until_true has_line counter.log $((before + 5)) || fault "the program does not count on after line $before"
run tail -n 7 counter.log
run ls "/proc/$pid/task"
# The program goes on writing: judge a copy.
cp counter.log seen.log
after=$(sed -n "s/^line \([0-9]*\): .*/\1/p" seen.log)
[ "$after" = "$(seq "$(line_number seen.log)")" ] || fault "lines of the log are missing or doubled"
run crctl status
run kill "$pid"
until_true eval '! runs '"$pid" || fault "the restarted program does not end"

say "A bigger one: $big_mib MiB in use by $((big_workers + 1)) threads."
printf '$ work %s %s >work.log &\n' "$big_mib" "$big_workers"
work=work
command -v work >/dev/null || work=/opt/crkit/programs/work
pid=$(setsid "$work" "$big_mib" "$big_workers" >work.log 2>&1 </dev/null & echo $!)
pids+=("$pid")
until_true is_ready work.log || fault "the program is not ready"
printf '$ crctl checkpoint %s -o work.ckpt --kill\n' "$pid"
begin=$(date +%s%N)
crctl checkpoint "$pid" -o work.ckpt --kill --json >work.json || fault "the checkpoint ended with status $?"
end=$(date +%s%N)
until_true eval '! [ -e /proc/'"$pid"' ]' || fault "the program is still there"
field() { sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p" "$2" | head -n 1; }
frozen=$(field frozen_ns work.json) bytes=$(field image_bytes work.json) threads=$(field threads work.json)
printf 'threads %s, image %s MiB, time frozen %s ms, whole checkpoint with crctl and fsync %s ms\n' "${threads:-?}" \
    "$((${bytes:-0} >> 20))" "$((${frozen:-0} / 1000000))" "$(((end - begin) / 1000000))"
[ "${bytes:-0}" -ge $((big_mib << 20)) ] || fault "the image is smaller than the memory"
printf '$ crctl restart work.ckpt --detach\n'
begin=$(date +%s%N)
crctl restart work.ckpt --detach || fault "the restart ended with status $?"
end=$(date +%s%N)
printf 'whole restart %s ms\n' "$(((end - begin) / 1000000))"
run touch go
until_true eval '! runs '"$pid" || fault "the program does not end"
run tail -n 1 work.log
[ "$(tail -n 1 work.log)" = PASS ] || fault "the program found its memory changed: $(grep FAIL work.log | head -n 3)"

say "The modules go, and the kernel has nothing to complain about."
must crctl unload
printf '$ lsmod | grep ^cr_\n'
lsmod | grep ^cr_ && fault "modules of ours are still loaded"
printf '$ dmesg | tail -n +%s | grep -E "WARNING|BUG|Oops|Call Trace"\n' "$((dmesg_before + 1))"
dmesg | tail -n +"$((dmesg_before + 1))" | grep -E 'WARNING:|BUG:|Oops|Call Trace|general protection|refcount_t' |
    grep -v 'soft lockup' && fault "the kernel complained"

printf '\n'
if [ ${#wrong[@]} -eq 0 ]; then
    echo "demo: everything went as it must"
    exit 0
fi
printf 'demo: wrong: %s\n' "${wrong[@]}"
exit 1
