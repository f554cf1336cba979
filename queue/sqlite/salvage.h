/* Copies what is readable in a damaged database into a new one. The old database and its log are only read, neither
 * changed nor checkpointed. */
#ifndef QUEUE_SQLITE_SALVAGE_H
#define QUEUE_SQLITE_SALVAGE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/sqlite/database.h"
#include "queue/sqlite/files.h"

#define SALVAGE_NAME 80

/* What was unreadable of a table's rows, as of a source's events. Times are Unix time in milliseconds. */
struct unreadable {
    size_t numbers;         /* unreadable ids: an event each, or a gap where there was none */
    size_t ranges;          /* ranges of consecutive unreadable ids */
    int64_t first, last;    /* the lowest and the highest such id */
    int64_t from_ms;        /* when the last readable event before the first range was received; 0: none */
    int64_t until_ms;       /* the same of the first readable event after the last range; 0: none */
    uint64_t not_accounted; /* events accepted, but neither settled nor found nor recorded as lost before */
};

struct salvaged_source {
    char name[SALVAGE_NAME];
    uint32_t number;
    size_t events; /* waiting in the new database */
    struct unreadable gone;
    double identities; /* estimated part of its identities that was unreadable, 0 to 1 */
};

struct salvaged {
    struct salvaged_source *source;
    size_t count;
    size_t rows;               /* copied, of all tables */
    struct unreadable letters; /* of all sources */
    size_t journal;            /* unreadable rows of the identity journal */
    bool names_lost;           /* the numbers of the sources were unreadable: see salvage_copy */
    bool whole_tables_lost;    /* counts or notes were only partly readable */
};

/* A salvage in progress; shared by the salvage files. */
struct salvage {
    sqlite3 *old;
    struct database new;
    struct salvaged *out;
    struct error *why;
    bool failed; /* with the reason: the copy must not be used */
};

/* Copies all that is readable at old_path into the new database at new_path, created by schema_make_file, and leaves
 * that as a single closed file, not synced. Where the names of the sources are unreadable, their events get the name
 * "recovered-NUMBER". Returns false with the reason when anything but the damage prevents it (no space, no memory, a
 * newer release's database): then the copy must not be used. Free with salvaged_free in either case. */
bool salvage_copy(const char *old_path, const char *new_path, struct salvaged *out, struct error *why);
void salvaged_free(struct salvaged *salvaged);

/* ---- shared by the salvage files ---- */

/* Whether a result code means that the old database is unreadable at that point. Any other failure is recorded and
 * fails the copy. */
bool salvage_is_damage(struct salvage *salvage, int code);

/* Prepares a statement on either database; NULL on failure, which is recorded unless it is the damage. */
sqlite3_stmt *salvage_prepare(struct salvage *salvage, sqlite3 *db, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Copies a row into the new database. Returns false on failure, which is recorded. */
bool salvage_row(struct salvage *salvage, sqlite3_stmt *row, sqlite3_stmt *write);

/* "INSERT OR IGNORE INTO t VALUES (?,?,...)" */
sqlite3_stmt *salvage_insert(struct salvage *salvage, const char *table, int columns);

/* Runs SQL on the new database. Returns false on failure, which is recorded. */
bool salvage_write(struct salvage *salvage, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Reads one number from the old database; fallback where it is unreadable. */
int64_t salvage_old_number(struct salvage *salvage, int64_t fallback, const char *text);

/* A table whose rows have numbers. received: index of the column with the time of arrival; -1: none. */
struct numbered_table {
    const char *table;
    const char *number;
    int columns;
    int received;
};

/* salvage_rows.c: copies such a table and records what was unreadable. */
void salvage_numbered(struct salvage *salvage, const struct numbered_table *table, struct unreadable *gone);

/* Continues the table's AUTOINCREMENT sequence: an id is never reused. */
void salvage_sequence(struct salvage *salvage, const struct numbered_table *table);

/* salvage_rows.c: copies the identities of a source, continuing beyond unreadable pages. */
void salvage_known(struct salvage *salvage, struct salvaged_source *source);

/* ---- A damaged database whose first page is lost, and with it the header and the location of all tables: a copy of it
 * gets a new first page, derived from how this program lays out its databases (salvage_schema.c). ---- */

/* Whether the table of tables is readable. Also true where something other than damage prevents reading. */
bool salvage_has_schema(const char *path);

/* Copies the database at old_path, with its log, into the directory and gives the copy a first page. new_path: an
 * empty, closed database of this release. *copied: the copy at copy_path is usable; else the first page is not the
 * problem, or this program did not lay out the database, and no copy is left. Returns false with the reason when
 * anything but the damage prevents it; call salvage_remove_copy then too. */
bool salvage_make_schema(const char *old_path, const char *new_path, const char *directory, char copy_path[STATE_PATH],
                         bool *copied, struct error *why);

/* Removes the copy and SQLite's files beside it, if they exist. */
void salvage_remove_copy(const char *directory);

#endif
