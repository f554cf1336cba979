#!/bin/sh
# SQLite 3.46.1 (APSW 3.46.1.0 from PyPI): which error says that there is no room to write?
#
# Guess: SQLITE_FULL, "database or disk is full", whatever the kernel's reason, and sqlite3_system_errno() tells which.
# Seen:  the kernel's ENOSPC (here a small tmpfs; needs the right to mount) is SQLITE_FULL, and sqlite3_system_errno()
#        is 0. A limit on the size of files (EFBIG; a quota's EDQUOT goes the same way) is SQLITE_IOERR_WRITE, "disk I/O
#        error", and there sqlite3_system_errno() is right.
# So who looks for SQLITE_FULL does not see that the quota of a shared host is used up, and takes it for a broken disk;
# and who looks at sqlite3_system_errno() does not see a full disk.
set -eu
work=$(mktemp -d)
trap 'umount "$work/small" 2>/dev/null || true; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install --only-binary :all: apsw==3.46.1.0
cat >"$work/fill.py" <<'PY'
import apsw, resource, signal, sys

place, limited = sys.argv[1], sys.argv[2] == "limited"
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if limited:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
connection = apsw.Connection(place + "/database")
connection.execute("PRAGMA journal_mode = " + sys.argv[3])
connection.execute("CREATE TABLE t (a)")
try:
    connection.execute("INSERT INTO t VALUES (zeroblob(3000000))")
except apsw.Error as error:
    print(f"{type(error).__name__} {error.extendedresult}, system error {connection.system_errno}")
connection.close(True)
PY
echo "SQLite $("$work/venv/bin/python" -c 'import apsw; print(apsw.sqlite_lib_version())')"
failed=0
expect() { # WHAT WANTED FILL'S-ARGUMENTS...
    what=$1 wanted=$2
    shift 2
    rm -f "$1"/database*
    seen=$("$work/venv/bin/python" "$work/fill.py" "$@")
    echo "$what: $seen"
    [ "$seen" = "$wanted" ] || { echo "changed: it was $wanted"; failed=1; }
}
mkdir "$work/small" "$work/large"
mount -t tmpfs -o size=1m none "$work/small"
for mode in delete wal; do
    expect "a full file system, $mode" "FullError 13, system error 0" "$work/small" full "$mode"
    expect "a limit on files, $mode" "IOError 778, system error 27" "$work/large" limited "$mode"
done
exit $failed
