#!/bin/sh
# SQLite in WAL mode: what SQLITE_FCNTL_SIZE_HINT, asked for by one connection, does while another one copies the log.
#
# Guess: it allocates room at the end of the database's file, or does nothing ("a hint"); whatever else goes on, no page
#        changes.
# Seen:  better-sqlite3 8.0.1 (SQLite 3.40.0) and 13.2.0 (SQLite 3.54.1), compiled without HAVE_POSIX_FALLOCATE as Debian
#        does: with SQLITE_FCNTL_CHUNK_SIZE set, the hint looks how long the file is and then writes one zero byte into
#        each block beyond that. What a checkpoint of another connection has written there in between has zeros in it, and
#        no call has failed. With HAVE_POSIX_FALLOCATE nothing is altered.
# SQLite itself gives the hint only under its lock of checkpoints (WAL_CKPT_LOCK). Who gives it must hold that, too.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/hint.c" <<'C'
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "sqlite3.h"

static sqlite3 *writer, *copier;
static int (*real_fstat)(int, struct stat *);
static int hinting;

static int slow_fstat(int fd, struct stat *status) /* the moment in which the other connection has its turn */
{
    int result = real_fstat(fd, status);
    if (hinting) {
        hinting = 0;
        if (sqlite3_wal_checkpoint_v2(copier, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) != SQLITE_OK)
            puts("the checkpoint failed");
    }
    return result;
}

static void run(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        printf("%s: %s\n", sql, sqlite3_errmsg(db));
}

static int zeros(const char *path)
{
    sqlite3_stmt *read;
    int n = 0;
    sqlite3 *db;
    sqlite3_open(path, &db);
    sqlite3_prepare_v2(db, "SELECT body FROM t", -1, &read, NULL);
    while (sqlite3_step(read) == SQLITE_ROW) {
        const char *body = sqlite3_column_blob(read, 0);
        for (int i = 0; body != NULL && i < sqlite3_column_bytes(read, 0); i++)
            n += body[i] == 0;
    }
    sqlite3_finalize(read);
    sqlite3_close(db);
    return n;
}

int main(int argc, char **argv)
{
    int chunk = 4096;
    sqlite3_int64 size = 1 << 20;
    sqlite3_vfs *vfs = sqlite3_vfs_find("unix");
    (void)argc;
    real_fstat = (int (*)(int, struct stat *))vfs->xGetSystemCall(vfs, "fstat");
    vfs->xSetSystemCall(vfs, "fstat", (sqlite3_syscall_ptr)slow_fstat);
    sqlite3_open(argv[1], &writer);
    run(writer, "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (body BLOB);");
    run(writer, "PRAGMA wal_checkpoint(TRUNCATE)");
    sqlite3_open(argv[1], &copier);
    run(copier, "SELECT count(*) FROM t");
    for (int i = 0; i < 100; i++)
        run(writer, "INSERT INTO t VALUES (CAST(replace(hex(zeroblob(2000)), '0', 'x') AS BLOB))");
    sqlite3_file_control(writer, "main", SQLITE_FCNTL_CHUNK_SIZE, &chunk);
    hinting = 1;
    if (sqlite3_file_control(writer, "main", SQLITE_FCNTL_SIZE_HINT, &size) != SQLITE_OK)
        puts("the hint failed");
    run(copier, "PRAGMA wal_checkpoint(TRUNCATE)");
    sqlite3_close(writer);
    sqlite3_close(copier);
    puts(zeros(argv[1]) > 0 ? "bodies have zeros" : "bodies are whole");
    return 0;
}
C
failed=0
try() { # VERSION OPTION WHAT-IS-EXPECTED
    (cd "$work" && npm pack --silent "better-sqlite3@$1" >/dev/null && tar xzf "better-sqlite3-$1.tgz")
    gcc -O1 -DSQLITE_THREADSAFE=1 $2 -I"$work/package/deps/sqlite3" -o "$work/hint" "$work/hint.c" \
        "$work/package/deps/sqlite3/sqlite3.c" -lpthread -ldl -lm
    version=$(sed -n 's/^#define SQLITE_VERSION  *"\(.*\)"/\1/p' "$work/package/deps/sqlite3/sqlite3.h")
    rm -f "$work"/db*
    seen=$("$work/hint" "$work/db")
    echo "SQLite $version ${2:--}: $seen"
    [ "$seen" = "$3" ] || { echo "  changed: it was $3"; failed=1; }
    rm -rf "$work/package"
}
try 8.0.1 "" "bodies have zeros"
try 8.0.1 "-DHAVE_POSIX_FALLOCATE=1" "bodies are whole"
try 13.2.0 "" "bodies have zeros"
exit $failed
