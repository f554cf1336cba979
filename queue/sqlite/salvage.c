/* Salvaging: copies all tables of a damaged database; see salvage.h. */
#include "queue/sqlite/salvage.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "queue/sqlite/store.h"

/* ---- shared by the salvage files ---- */

static void record_failure(struct salvage *salvage, const char *what, const char *words)
{
    if (!salvage->failed)
        error_set(salvage->why, "%s: %.300s", what, words);
    salvage->failed = true;
}

bool salvage_is_damage(struct salvage *salvage, int code)
{
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return false;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* a table that no longer exists */
        return true;
    case SQLITE_IOERR: /* a bad sector: retrying does not help */
        if (code == SQLITE_IOERR_READ || code == SQLITE_IOERR_SHORT_READ || code == SQLITE_IOERR_DATA)
            return true;
        break;
    default:
        break;
    }
    record_failure(salvage, "the damaged database cannot be read", sqlite3_errmsg(salvage->old));
    return false;
}

static bool write_is_good(struct salvage *salvage, int code)
{
    if (code == SQLITE_OK || code == SQLITE_DONE)
        return !salvage->failed;
    record_failure(salvage, "the new database cannot be written", sqlite3_errmsg(salvage->new.db));
    return false;
}

sqlite3_stmt *salvage_prepare(struct salvage *salvage, sqlite3 *db, const char *format, ...)
{
    sqlite3_stmt *statement = NULL;
    va_list args;
    va_start(args, format);
    char *text = sqlite3_vmprintf(format, args);
    va_end(args);
    if (text == NULL) {
        record_failure(salvage, "salvaging", "out of memory");
        return NULL;
    }
    int code = sqlite3_prepare_v2(db, text, -1, &statement, NULL);
    if (db == salvage->old)
        salvage_is_damage(salvage, code);
    else
        write_is_good(salvage, code);
    sqlite3_free(text);
    return statement;
}

bool salvage_row(struct salvage *salvage, sqlite3_stmt *row, sqlite3_stmt *write)
{
    int code = SQLITE_OK;
    for (int i = 0; code == SQLITE_OK && i < sqlite3_column_count(row); i++)
        code = sqlite3_bind_value(write, i + 1, sqlite3_column_value(row, i));
    if (code == SQLITE_OK)
        code = sqlite3_step(write);
    bool good = write_is_good(salvage, code);
    if (good)
        salvage->out->rows += (size_t)sqlite3_changes(salvage->new.db);
    sqlite3_reset(write);
    return good;
}

sqlite3_stmt *salvage_insert(struct salvage *salvage, const char *table, int columns)
{
    char marks[2 * 64 + 2] = "?";
    for (int i = 1; i < columns && i < 64; i++)
        memcpy(marks + 2 * i - 1, ",?", 3);
    return salvage_prepare(salvage, salvage->new.db, "INSERT OR IGNORE INTO \"%s\" VALUES (%s)", table, marks);
}

bool salvage_write(struct salvage *salvage, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = sqlite3_vmprintf(format, args);
    va_end(args);
    int code = text == NULL ? SQLITE_NOMEM : sqlite3_exec(salvage->new.db, text, NULL, NULL, NULL);
    sqlite3_free(text);
    return write_is_good(salvage, code);
}

int64_t salvage_old_number(struct salvage *salvage, int64_t fallback, const char *text)
{
    int64_t number = fallback;
    sqlite3_stmt *find = salvage_prepare(salvage, salvage->old, "%s", text);
    int code = find == NULL ? SQLITE_ERROR : sqlite3_step(find);
    if (code == SQLITE_ROW && sqlite3_column_type(find, 0) != SQLITE_NULL)
        number = sqlite3_column_int64(find, 0);
    salvage_is_damage(salvage, code);
    sqlite3_finalize(find);
    return number;
}

/* ---- tables without row numbers ---- */

/* Copies a table as far as it is readable: small tables, whose loss costs no event. */
static void salvage_whole(struct salvage *salvage, const char *table)
{
    sqlite3_stmt *read = salvage_prepare(salvage, salvage->old, "SELECT * FROM \"%s\"", table);
    sqlite3_stmt *write = read == NULL ? NULL : salvage_insert(salvage, table, sqlite3_column_count(read));
    int code = SQLITE_ERROR;
    while (write != NULL && (code = sqlite3_step(read)) == SQLITE_ROW && salvage_row(salvage, read, write))
        ;
    if (!salvage->failed && salvage_is_damage(salvage, code)) {
        salvage->out->whole_tables_lost = true;
        log_write(LEVEL_ERROR, "msg=salvaged table=%s reason=\"it cannot be read to its end\"", table);
    }
    sqlite3_finalize(read);
    sqlite3_finalize(write);
}

static bool is_missing(struct salvage *salvage, const char *name)
{
    sqlite3_stmt *find =
        salvage_prepare(salvage, salvage->new.db, "SELECT 1 FROM sqlite_master WHERE name = '%s'", name);
    bool missing = find != NULL && sqlite3_step(find) == SQLITE_DONE;
    sqlite3_finalize(find);
    return missing;
}

/* Tables that other releases have added, with their indexes. */
static void salvage_others(struct salvage *salvage)
{
    sqlite3_stmt *others = salvage_prepare(salvage, salvage->old,
                                           "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"
                                           " AND name NOT LIKE 'sqlite%%' AND type IN ('table', 'index')"
                                           " ORDER BY type DESC, name");
    int code = SQLITE_ERROR;
    while (others != NULL && !salvage->failed && (code = sqlite3_step(others)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(others, 1);
        const char *sql = (const char *)sqlite3_column_text(others, 2);
        if (name == NULL || sql == NULL || strpbrk(name, "\"'") != NULL || strncmp(name, "event_", 6) == 0 ||
            !is_missing(salvage, name))
            continue;
        /* A damaged definition is skipped. */
        if (sqlite3_exec(salvage->new.db, sql, NULL, NULL, NULL) == SQLITE_OK &&
            strcmp((const char *)sqlite3_column_text(others, 0), "table") == 0)
            salvage_whole(salvage, name);
    }
    salvage_is_damage(salvage, code);
    sqlite3_finalize(others);
}

/* ---- sources ---- */

static struct salvaged_source *add_source(struct salvage *salvage, uint32_t number, const char *name)
{
    struct salvaged *out = salvage->out;
    for (size_t i = 0; i < out->count; i++) {
        if (out->source[i].number == number)
            return NULL;
    }
    struct salvaged_source *more = realloc(out->source, (out->count + 1) * sizeof *more);
    if (more == NULL) {
        record_failure(salvage, "salvaging", "out of memory");
        return NULL;
    }
    out->source = more;
    struct salvaged_source *added = &more[out->count++];
    *added = (struct salvaged_source){.number = number};
    snprintf(added->name, sizeof added->name, "%s", name);
    return added;
}

/* Whether the name was found already: with a damaged index it may have been added twice. */
static bool has_name(const struct salvaged *out, const char *name)
{
    for (size_t i = 0; i < out->count; i++) {
        if (strcmp(out->source[i].name, name) == 0)
            return true;
    }
    return false;
}

/* Finds the names and numbers of the sources, and makes up names for tables whose source has lost its name. */
static void find_sources(struct salvage *salvage)
{
    char name[SALVAGE_NAME];
    sqlite3_stmt *sources = salvage_prepare(salvage, salvage->old, "SELECT number, name FROM source ORDER BY number");
    int code = SQLITE_ERROR;
    while (sources != NULL && !salvage->failed && (code = sqlite3_step(sources)) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(sources, 1);
        if (text != NULL && !has_name(salvage->out, text))
            add_source(salvage, (uint32_t)sqlite3_column_int64(sources, 0), text);
    }
    salvage->out->names_lost = salvage_is_damage(salvage, code);
    sqlite3_finalize(sources);
    sqlite3_stmt *tables =
        salvage_prepare(salvage, salvage->old,
                        "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'event\\_%%' ESCAPE '\\'");
    while (tables != NULL && !salvage->failed && (code = sqlite3_step(tables)) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(tables, 0);
        unsigned long number = text == NULL ? 0 : strtoul(text + 6, NULL, 10);
        snprintf(name, sizeof name, "recovered-%lu", number);
        if (number > 0 && number <= UINT32_MAX && add_source(salvage, (uint32_t)number, name) != NULL)
            salvage->out->names_lost = true;
    }
    salvage->out->names_lost |= tables == NULL || salvage_is_damage(salvage, code);
    sqlite3_finalize(tables);
}

static void salvage_source(struct salvage *salvage, struct salvaged_source *source)
{
    char name[32];
    const struct numbered_table table = {name, "id", 4, 1};
    snprintf(name, sizeof name, "event_%u", (unsigned)source->number);
    sqlite3_stmt *add = salvage_prepare(salvage, salvage->new.db, "INSERT INTO source VALUES (?1, ?2)");
    sqlite3_bind_int64(add, 1, source->number);
    sqlite3_bind_text(add, 2, source->name, -1, SQLITE_STATIC);
    bool added = add != NULL && write_is_good(salvage, sqlite3_step(add));
    sqlite3_finalize(add);
    if (!added)
        return;
    if (schema_make_events(&salvage->new, source->number) != DATABASE_DONE) {
        record_failure(salvage, "the new database cannot be written", salvage->new.why.text);
        return;
    }
    size_t rows = salvage->out->rows;
    salvage_numbered(salvage, &table, &source->gone);
    source->events = salvage->out->rows - rows;
    salvage_sequence(salvage, &table);
    salvage_known(salvage, source);
}

/* ---- events lost without a trace ---- */

/* Counts as lost what was accepted and is neither settled nor found: it must not count as waiting. */
static void count_lost(struct salvage *salvage, struct salvaged_source *source)
{
    unsigned number = source->number;
    int64_t before = 0, now = 0;
    sqlite3_stmt *count = salvage_prepare(
        salvage, salvage->new.db,
        "SELECT coalesce((SELECT n FROM count WHERE source = %u AND kind = %d), 0),"
        " max(0, (SELECT seq FROM sqlite_sequence WHERE name = 'event_%u') - (SELECT count(*) FROM event_%u)"
        " - (SELECT coalesce(sum(n), 0) FROM count WHERE source = %u AND kind IN (%d, %d, %d, %d, %d)))",
        number, COUNT_LOST, number, number, number, COUNT_DELIVERED, COUNT_DUPLICATES, COUNT_DROPPED, COUNT_DEAD,
        COUNT_MOVED_OUT);
    if (count != NULL && sqlite3_step(count) == SQLITE_ROW) {
        before = sqlite3_column_int64(count, 0);
        now = sqlite3_column_int64(count, 1);
    }
    sqlite3_finalize(count);
    source->gone.not_accounted = now > before ? (uint64_t)(now - before) : 0;
    salvage_write(salvage, "REPLACE INTO count VALUES (%u, %d, %lld)", number, COUNT_LOST, (long long)now);
}

/* ---- all of it ---- */

static void salvage_all(struct salvage *salvage)
{
    static const struct numbered_table letter = {"letter", "id", 9, 4}, journal = {"journal", "n", 5, -1};
    static const char *const whole[] = {"count", "note", "parked"};
    struct unreadable identities = {0};
    if (!salvage_write(salvage, "BEGIN IMMEDIATE"))
        return;
    find_sources(salvage);
    for (size_t i = 0; i < salvage->out->count && !salvage->failed; i++)
        salvage_source(salvage, &salvage->out->source[i]);
    if (!salvage->failed)
        salvage_numbered(salvage, &letter, &salvage->out->letters);
    if (!salvage->failed)
        salvage_sequence(salvage, &letter);
    if (!salvage->failed)
        salvage_numbered(salvage, &journal, &identities);
    salvage->out->journal = identities.numbers;
    for (size_t i = 0; i < sizeof whole / sizeof *whole && !salvage->failed; i++)
        salvage_whole(salvage, whole[i]);
    if (!salvage->failed)
        salvage_others(salvage);
    for (size_t i = 0; i < salvage->out->count && !salvage->failed; i++)
        count_lost(salvage, &salvage->out->source[i]);
    salvage_write(salvage, "COMMIT");
}

/* No other process uses either database. */
static bool open_old(struct salvage *salvage, const char *path)
{
    struct database old = {.write_lock = -1};
    int yes = 1;
    enum database_result result = database_connect(&old, path);
    salvage->old = old.db;
    if (result == DATABASE_FULL || result == DATABASE_FAILED) {
        record_failure(salvage, "the damaged database cannot be opened", old.why.text);
        return false;
    }
    sqlite3_extended_result_codes(salvage->old, 1);
    sqlite3_db_config(salvage->old, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_file_control(salvage->old, "main", SQLITE_FCNTL_PERSIST_WAL, &yes);
    sqlite3_exec(salvage->old, "PRAGMA wal_autocheckpoint = 0; PRAGMA query_only = 1; PRAGMA temp_store = MEMORY", NULL,
                 NULL, NULL);
    int64_t version = salvage_old_number(salvage, SCHEMA_VERSION, "PRAGMA user_version");
    if (version > SCHEMA_VERSION)
        record_failure(salvage, "the damaged database is of a newer release",
                       "repair it with that one: `queue check --repair`");
    return !salvage->failed;
}

/* Without a journal: if this process is killed, the file is not used. */
static bool open_new(struct salvage *salvage, const char *path)
{
    if (database_connect(&salvage->new, path) != DATABASE_DONE) {
        record_failure(salvage, "the new database cannot be opened", salvage->new.why.text);
        return false;
    }
    sqlite3_extended_result_codes(salvage->new.db, 1);
    return salvage_write(salvage, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY");
}

/* Sets the journal mode of a newly created database in the file. */
static void set_journal(struct salvage *salvage, const char *path)
{
    char directory[STATE_PATH];
    snprintf(directory, sizeof directory, "%s", path);
    *strrchr(directory, '/') = '\0';
    if (!salvage->failed && database_set_journal_mode(&salvage->new, directory) != DATABASE_DONE)
        record_failure(salvage, "the new database cannot be written", salvage->new.why.text);
}

bool salvage_copy(const char *old_path, const char *new_path, struct salvaged *out, struct error *why)
{
    struct salvage salvage = {.new = {.write_lock = -1}, .out = out, .why = why};
    *out = (struct salvaged){.count = 0};
    if (open_old(&salvage, old_path) && open_new(&salvage, new_path))
        salvage_all(&salvage);
    set_journal(&salvage, new_path);
    sqlite3_close(salvage.old);
    database_close(&salvage.new);
    return !salvage.failed;
}

void salvaged_free(struct salvaged *salvaged)
{
    free(salvaged->source);
    *salvaged = (struct salvaged){.count = 0};
}
