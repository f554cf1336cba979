/* Copying what can be read of a damaged database into a new one. The old one, its log included, is only read: nothing
 * of it is changed, and it is not checkpointed. */
#ifndef QUEUE_SQLITE_SALVAGE_H
#define QUEUE_SQLITE_SALVAGE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/sqlite/database.h"
#include "queue/sqlite/directory.h"

#define SALVAGE_NAME 80

/* What could not be read of the events of a source. Times are Unix time in milliseconds. */
struct gone {
    size_t numbers;         /* ids at which nothing could be read: an event each, or a gap where there was none */
    size_t ranges;          /* of neighbouring ids */
    int64_t first, last;    /* the lowest and the highest such id */
    int64_t from_ms;        /* when the last readable event before the first range was received; 0: there is none */
    int64_t until_ms;       /* the same of the first readable one after the last range; 0: there is none */
    uint64_t not_accounted; /* accepted, neither settled nor there, beyond what was noted as lost before */
};

struct salvaged_source {
    char name[SALVAGE_NAME];
    uint32_t number;
    size_t events; /* that wait in the new one */
    struct gone gone;
    double identities; /* how much of its identities could not be read, from 0 to 1, by estimate */
};

struct salvaged {
    struct salvaged_source *source;
    size_t count;
    size_t rows;            /* copied, of all tables */
    struct gone letters;    /* of all sources */
    size_t journal;         /* numbers in the journal of identities that could not be read */
    bool names_lost;        /* which source has which number could not be read: see salvage_copy */
    bool whole_tables_lost; /* counts or notes could not be read to their end */
};

/* A copy in hand; what the files of salvaging share. */
struct salvage {
    sqlite3 *old;
    struct database new;
    struct salvaged *out;
    struct error *why;
    bool failed; /* with the reason: the copy is worth nothing */
};

/* Copies all that can be read from old_path into the new database at new_path, which schema_make_file has made, and
 * leaves that as a single closed file, not synced. Where the names of the sources cannot be read the events stand under
 * "recovered-NUMBER". Returns false with the reason when anything but the damage stands in the way (no room, no memory,
 * a newer release's database): then the copy must not be used. Free with salvaged_free in either case. */
bool salvage_copy(const char *old_path, const char *new_path, struct salvaged *out, struct error *why);
void salvaged_free(struct salvaged *salvaged);

/* ---- between the files of salvaging ---- */

/* Whether a code says that the old database cannot be read at that place; all else that is no success fails the copy,
 * which salvage_is_damage notes. */
bool salvage_is_damage(struct salvage *salvage, int code);

/* Prepares a statement on either database; NULL when it cannot be: noted as failure unless it is the damage. */
sqlite3_stmt *salvage_prepare(struct salvage *salvage, sqlite3 *db, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Writes a row that was read into the new database. Returns false, noted, when that failed. */
bool salvage_row(struct salvage *salvage, sqlite3_stmt *row, sqlite3_stmt *write);

/* "INSERT OR IGNORE INTO t VALUES (?,?,...)" */
sqlite3_stmt *salvage_insert(struct salvage *salvage, const char *table, int columns);

/* Executes text on the new database. Returns false, noted, when that failed. */
bool salvage_write(struct salvage *salvage, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A single number out of the old database; fallback where it cannot be read. */
int64_t salvage_old_number(struct salvage *salvage, int64_t fallback, const char *text);

/* A table whose rows have numbers. received: which column says when; -1: none. */
struct numbered {
    const char *table;
    const char *number;
    int columns;
    int received;
};

/* salvage_rows.c: copies such a table, and notes what is gone of it. */
void salvage_numbered(struct salvage *salvage, const struct numbered *table, struct gone *gone);

/* Numbers go on where they were: an id is never used twice. */
void salvage_sequence(struct salvage *salvage, const struct numbered *table);

/* salvage_keys.c: the identities of a source, going on beyond what cannot be read. */
void salvage_known(struct salvage *salvage, struct salvaged_source *source);

/* A damaged database whose first page is lost, and with it the header and the places of all tables: a copy of it is
 * given a first page again, made from what is known of how this program lays out its databases. */

/* Whether the database says which tables it has. True, too, where something other than damage is in the way. */
bool salvage_has_schema(const char *path);

/* Copies the database at old_path, with its log, into the directory and gives the copy a first page. new_path: an empty
 * database of this release, closed. *copied: the copy can be used, and its path is in copy_path; else the first page is
 * not what is wrong, or the database was not laid out by this program, and nothing is left. Returns false with the
 * reason when anything but the damage stands in the way; then salvage_remove_copy is still to be called. */
bool salvage_make_schema(const char *old_path, const char *new_path, const char *directory, char copy_path[STATE_PATH],
                         bool *copied, struct error *why);

/* Removes the copy and what SQLite made beside it. None there is fine. */
void salvage_remove_copy(const char *directory);

#endif
