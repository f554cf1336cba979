/* A damaged database: it is moved aside whole, a new one is made, and what can be read of the old one is put in.
 * Nothing of the old one is ever deleted; what could not be read is said loudly. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "queue/sqlite/database.h"
#include "queue/sqlite/directory.h"
#include "queue/sqlite/store.h"
#include "watch/log.h"

#define PROBES_MOST 5000000 /* rows looked for one by one where a table cannot be read on */

/* A table whose rows have numbers, and how many columns with that number. %u: the source's. */
struct numbered {
    const char *table;
    const char *number;
    int columns;
};

static const struct numbered of_each_source = {"event_%u", "id", 4};
static const struct numbered of_all[] = {{"letter", "id", 9}, {"journal", "n", 5}};

/* Tables without numbers: taken as far as they can be read. What is lost of these costs no event. */
static const char *const whole[] = {"known", "count", "note", "parked"};

struct salvage {
    sqlite3 *old;
    struct database *new;
    size_t kept;
    size_t lost; /* numbers at which nothing could be read: events, or gaps where there was none */
};

static sqlite3_stmt *prepare(sqlite3 *db, const char *format, ...) __attribute__((format(printf, 2, 3)));

static sqlite3_stmt *prepare(sqlite3 *db, const char *format, ...)
{
    sqlite3_stmt *statement = NULL;
    va_list args;
    va_start(args, format);
    char *text = sqlite3_vmprintf(format, args);
    va_end(args);
    if (text != NULL)
        sqlite3_prepare_v2(db, text, -1, &statement, NULL);
    sqlite3_free(text);
    return statement;
}

static void copy_row(struct salvage *salvage, sqlite3_stmt *row, sqlite3_stmt *write, int columns)
{
    for (int i = 0; i < columns; i++)
        sqlite3_bind_value(write, i + 1, sqlite3_column_value(row, i));
    salvage->kept += sqlite3_step(write) == SQLITE_DONE;
    sqlite3_reset(write);
}

/* "INSERT OR IGNORE INTO t VALUES (?,?,...)" */
static sqlite3_stmt *prepare_write(struct salvage *salvage, const char *table, int columns)
{
    char marks[64] = "?";
    for (int i = 1; i < columns; i++)
        strcat(marks, ",?"); /* NOLINT: nine at most */
    return prepare(salvage->new->db, "INSERT OR IGNORE INTO %s VALUES (%s)", table, marks);
}

static int64_t highest(sqlite3 *old, const char *table, const char *number)
{
    int64_t most = 0;
    sqlite3_stmt *find = prepare(old, "SELECT seq FROM sqlite_sequence WHERE name = '%s'", table);
    if (find != NULL && sqlite3_step(find) == SQLITE_ROW)
        most = sqlite3_column_int64(find, 0);
    sqlite3_finalize(find);
    find = prepare(old, "SELECT %s FROM %s ORDER BY 1 DESC LIMIT 1", number, table);
    if (find != NULL && sqlite3_step(find) == SQLITE_ROW && sqlite3_column_int64(find, 0) > most)
        most = sqlite3_column_int64(find, 0);
    sqlite3_finalize(find);
    return most;
}

/* Reads on in order, as far as it goes; returns the number up to which all was read, *end whether that was the end. */
static int64_t read_on(struct salvage *salvage, sqlite3_stmt *read, sqlite3_stmt *write, int columns, int64_t after,
                       bool *end)
{
    int code;
    sqlite3_bind_int64(read, 1, after);
    while ((code = sqlite3_step(read)) == SQLITE_ROW) {
        after = sqlite3_column_int64(read, 0);
        copy_row(salvage, read, write, columns);
    }
    sqlite3_reset(read);
    *end = code == SQLITE_DONE;
    return after;
}

/* Goes on number by number, until one can be read again. */
static int64_t probe_on(struct salvage *salvage, sqlite3_stmt *probe, sqlite3_stmt *write, int columns, int64_t after,
                        int64_t last)
{
    for (int64_t n = after + 1, tries = 0; n <= last && tries < PROBES_MOST; n++, tries++) {
        sqlite3_bind_int64(probe, 1, n);
        int code = sqlite3_step(probe);
        if (code == SQLITE_ROW)
            copy_row(salvage, probe, write, columns);
        else if (code != SQLITE_DONE)
            salvage->lost++;
        sqlite3_reset(probe);
        if (code == SQLITE_ROW)
            return n;
    }
    return last;
}

static void salvage_numbered(struct salvage *salvage, const char *table, const char *number, int columns)
{
    sqlite3_stmt *read = prepare(salvage->old, "SELECT * FROM %s WHERE %s > ?1 ORDER BY %s", table, number, number);
    sqlite3_stmt *probe = prepare(salvage->old, "SELECT * FROM %s WHERE %s = ?1", table, number);
    sqlite3_stmt *write = prepare_write(salvage, table, columns);
    int64_t last = highest(salvage->old, table, number), at = 0;
    size_t kept = salvage->kept, lost = salvage->lost;
    bool end = read == NULL || probe == NULL || write == NULL;
    if (end)
        salvage->lost++;
    while (!end) {
        at = read_on(salvage, read, write, columns, at, &end);
        if (!end)
            at = probe_on(salvage, probe, write, columns, at, last);
        end = end || at >= last;
    }
    sqlite3_finalize(read);
    sqlite3_finalize(probe);
    sqlite3_finalize(write);
    log_write(salvage->lost > lost ? LEVEL_ERROR : LEVEL_INFO, "msg=salvaged table=%s rows=%zu unreadable=%zu", table,
              salvage->kept - kept, salvage->lost - lost);
}

static void salvage_whole(struct salvage *salvage, const char *table)
{
    sqlite3_stmt *read = prepare(salvage->old, "SELECT * FROM %s", table);
    int columns = read == NULL ? 0 : sqlite3_column_count(read);
    sqlite3_stmt *write = columns == 0 ? NULL : prepare_write(salvage, table, columns);
    while (write != NULL && sqlite3_step(read) == SQLITE_ROW)
        copy_row(salvage, read, write, columns);
    sqlite3_finalize(read);
    sqlite3_finalize(write);
}

/* Numbers go on where they were: an id is never used twice. */
static void set_sequence(struct salvage *salvage, const char *table, int64_t last)
{
    char text[256];
    sqlite3_snprintf(sizeof text, text,
                     "DELETE FROM sqlite_sequence WHERE name = '%s'; INSERT INTO sqlite_sequence VALUES ('%s', %lld)",
                     table, table, (long long)last);
    sqlite3_exec(salvage->new->db, text, NULL, NULL, NULL);
}

static bool salvage_sources(struct salvage *salvage)
{
    sqlite3_stmt *sources = prepare(salvage->old, "SELECT number, name FROM source ORDER BY number");
    bool good = sources != NULL;
    int code = SQLITE_DONE;
    while (good && (code = sqlite3_step(sources)) == SQLITE_ROW) {
        char table[32];
        uint32_t number = 0, old_number = (uint32_t)sqlite3_column_int64(sources, 0);
        const char *name = (const char *)sqlite3_column_text(sources, 1);
        good = schema_add_source(salvage->new, name, &number) == DATABASE_DONE && number == old_number;
        if (!good)
            break;
        sqlite3_snprintf(sizeof table, table, of_each_source.table, (unsigned)number);
        sqlite3_exec(salvage->new->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
        salvage_numbered(salvage, table, of_each_source.number, of_each_source.columns);
        set_sequence(salvage, table, highest(salvage->old, table, of_each_source.number));
        sqlite3_exec(salvage->new->db, "COMMIT", NULL, NULL, NULL);
    }
    sqlite3_finalize(sources);
    return good && code == SQLITE_DONE;
}

/* What is counted as accepted, and is neither settled nor there, is lost: it does not wait. */
static void count_lost(struct salvage *salvage, uint32_t number)
{
    char text[512];
    sqlite3_snprintf(
        sizeof text, text,
        "REPLACE INTO count SELECT %u, %d, max(0, (SELECT seq FROM sqlite_sequence WHERE name = 'event_%u')"
        " - (SELECT count(*) FROM event_%u)"
        " - (SELECT coalesce(sum(n), 0) FROM count WHERE source = %u AND kind IN (%d, %d, %d, %d, %d)))",
        (unsigned)number, COUNT_LOST, (unsigned)number, (unsigned)number, (unsigned)number, COUNT_DELIVERED,
        COUNT_DUPLICATES, COUNT_DROPPED, COUNT_DEAD, COUNT_MOVED_OUT);
    sqlite3_exec(salvage->new->db, text, NULL, NULL, NULL);
}

static void count_all_lost(struct salvage *salvage)
{
    sqlite3_stmt *sources = prepare(salvage->new->db, "SELECT number FROM source");
    while (sources != NULL && sqlite3_step(sources) == SQLITE_ROW)
        count_lost(salvage, (uint32_t)sqlite3_column_int64(sources, 0));
    sqlite3_finalize(sources);
}

static void salvage_all(struct salvage *salvage)
{
    if (!salvage_sources(salvage)) {
        salvage->lost++;
        log_write(LEVEL_ERROR, "msg=salvage_incomplete reason=\"the list of sources cannot be read\"");
    }
    sqlite3_exec(salvage->new->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    for (size_t i = 0; i < sizeof of_all / sizeof *of_all; i++)
        salvage_numbered(salvage, of_all[i].table, of_all[i].number, of_all[i].columns);
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        salvage_whole(salvage, whole[i]);
    count_all_lost(salvage);
    sqlite3_exec(salvage->new->db, "COMMIT", NULL, NULL, NULL);
}

/* Database, log and index of the log together: apart they are worth nothing. */
static bool move_aside(const char *directory, char aside[static STATE_PATH], struct why *why)
{
    static const char *const files[] = {"queue.db", "queue.db-wal", "queue.db-shm", "queue.db-journal"};
    char name[64], from[STATE_PATH], to[STATE_PATH];
    time_t now = time(NULL);
    struct tm day;
    gmtime_r(&now, &day);
    strftime(name, sizeof name, "damaged-%Y%m%dT%H%M%SZ", &day);
    directory_path(aside, directory, name);
    if (mkdir(aside, 0700) != 0) {
        why_set(why, "cannot make %.300s: %s", aside, strerror(errno));
        return false;
    }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        directory_path(from, directory, files[i]);
        directory_path(to, aside, files[i]);
        if (rename(from, to) != 0 && errno != ENOENT) {
            why_set(why, "cannot move %.200s to %.200s: %s", from, to, strerror(errno));
            return false;
        }
    }
    return true;
}

bool salvage(const char *directory, struct why *why)
{
    char aside[STATE_PATH], path[STATE_PATH];
    struct database fresh = {.write_lock = -1};
    struct salvage work = {.new = &fresh};
    if (!move_aside(directory, aside, why))
        return false;
    log_write(LEVEL_ERROR,
              "msg=queue_moved_aside to=\"%s\" reason=\"it is damaged; what can be read of it goes into a "
              "new one\"",
              aside);
    directory_path(path, aside, "queue.db");
    enum database_result result = schema_make(directory, why);
    if (result != DATABASE_DONE)
        return false;
    result = schema_open(&fresh, directory, true);
    if (result != DATABASE_DONE) {
        *why = fresh.why;
    } else if (sqlite3_open_v2(path, &work.old, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK) {
        salvage_all(&work);
        log_write(LEVEL_ERROR, "msg=queue_repaired rows=%zu unreadable=%zu damaged=\"%s\" advice=\"%s\"", work.kept,
                  work.lost, aside,
                  work.lost > 0 ? "some events could not be read: the damaged files are kept" : "nothing was lost");
    }
    sqlite3_close(work.old);
    database_close(&fresh);
    return result == DATABASE_DONE;
}
