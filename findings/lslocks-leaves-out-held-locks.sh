#!/bin/sh
# lslocks (util-linux 2.38.1, Debian 12) while other processes lock and unlock: is a lock listed that is held all the time?
#
# Guess: always. Locks that come and go may be there or not; one that was held before lslocks began, and still is when it
#        has ended, is in the list.
# Seen:  with more than some eighty locks on the machine a part of the runs leaves out locks that were held throughout.
#        /proc/locks gives one page for each read, however large the buffer, and goes on by counting lines: for each lock
#        above the cut that is released meanwhile, one below it is skipped. Nothing says that the list is incomplete.
# So "nobody holds this lock" must not be believed from one look: look again, or ask for the very lock (F_OFD_GETLK).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && apt-get -q download util-linux=2.38.1-5+deb12u3 >/dev/null 2>&1)
dpkg -x "$work"/util-linux_*.deb "$work/root"
cat >"$work/look.py" <<'PY'
import fcntl, os, random, signal, subprocess, sys, time

lslocks, place, runs = sys.argv[1], sys.argv[2], int(sys.argv[3])


def lock(name, count):
    files = [open(f"{place}/{name}{i}", "w") for i in range(count)]
    for file in files:
        fcntl.flock(file, fcntl.LOCK_EX)
    return files


changing, held, more = lock("changing", 75), lock("held", 20), lock("more", 75)
wanted = {os.fstat(file.fileno()).st_ino for file in held}


def is_held(file):
    with open(file.name, "w") as other:
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


child = os.fork()
while child == 0:
    file = random.choice(changing)
    fcntl.flock(file, fcntl.LOCK_UN)
    fcntl.flock(file, fcntl.LOCK_EX)
    time.sleep(0.0002)
    if os.getppid() == 1:
        os._exit(0)
incomplete = 0
try:
    for _ in range(runs):
        listed = subprocess.run([lslocks, "--noheadings", "--raw", "--output", "INODE"], stdout=subprocess.PIPE, text=True)
        incomplete += not wanted <= {int(word) for word in listed.stdout.split() if word.isdigit()}
finally:
    os.kill(child, signal.SIGKILL)
    os.wait()
print(f"{incomplete} of {runs} runs leave out a lock that is held all the time; held are {sum(map(is_held, held))} of {len(held)}")
sys.exit(incomplete == 0 or not all(map(is_held, held)))
PY
"$work/root/usr/bin/lslocks" --version
mkdir "$work/locked"
if ! python3 "$work/look.py" "$work/root/usr/bin/lslocks" "$work/locked" 300; then
    echo "changed: it was 14 to 76 of 300"
    exit 1
fi
