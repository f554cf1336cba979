/* A new first page for a damaged database: see salvage.h. The file format: sqlite.org/fileformat2.html.
 *
 * The locations of the tables follow without the first page. With auto_vacuum all root pages are at the beginning of
 * the file, in the order in which the tables were created; page 2 has the type of each page. The tables of version 1
 * are created first, together, so their root pages are those of an empty new database. The event tables of the sources
 * follow in the order of the sources' numbers, and among them what a later release added: an index of dead letters and,
 * right after it, the requests. */
#include "queue/sqlite/salvage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "queue/sqlite/database.h"

#define COPY "old.db"
#define COPY_LOG COPY "-wal"
#define PAGE 16384      /* as in schema.c */
#define ROOTS_MOST 3276 /* pages that page 2 can describe: entries of 5 bytes */
#define ROOT_ENTRY 1    /* type of a root page in page 2 */
#define HEADER 100      /* bytes of the database header on the first page */
#define FORMAT_WAL 2    /* format versions in the header */
#define FORMAT_JOURNAL 1

struct copy {
    char path[STATE_PATH];
    const char *new_path;
    unsigned char page[PAGE];
    uint32_t root[ROOTS_MOST]; /* root pages of the sources' events */
    int roots;
    int first_roots; /* root pages of an empty new database, page 2 included */
    struct error *why;
};

static bool salvage_cannot(struct copy *copy, const char *what)
{
    error_set(copy->why, "cannot %s the copy of the damaged database, %.300s: %s", what, copy->path, strerror(errno));
    return false;
}

/* ---- reading numbers ---- */

static int64_t ask_number(sqlite3 *db, const char *text, int *code)
{
    sqlite3_stmt *one = NULL;
    int64_t number = 0;
    *code = sqlite3_prepare_v2(db, text, -1, &one, NULL);
    if (*code == SQLITE_OK && (*code = sqlite3_step(one)) == SQLITE_ROW)
        number = sqlite3_column_int64(one, 0);
    sqlite3_finalize(one);
    return number;
}

bool salvage_has_schema(const char *path)
{
    struct database database = {.write_lock = -1};
    int code = SQLITE_ERROR, yes = 1;
    int64_t tables = 0;
    if (database_connect(&database, path) != DATABASE_FAILED) {
        sqlite3_db_config(database.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        sqlite3_file_control(database.db, "main", SQLITE_FCNTL_PERSIST_WAL, &yes);
        tables = ask_number(database.db,
                            "SELECT count(*) FROM sqlite_master WHERE name IN ('source', 'count', 'journal', 'known',"
                            " 'letter', 'note', 'parked', 'sqlite_sequence')",
                            &code);
    }
    database_close(&database);
    code &= 0xff;
    return code == SQLITE_ROW ? tables == 8 : code != SQLITE_CORRUPT && code != SQLITE_NOTADB;
}

/* ---- copying ---- */

/* Copies by SQLite's file methods, so that other connections of this process keep their locks. An unreadable page is
 * all zero in the copy. */
static bool copy_pages(struct copy *copy, sqlite3_file *from, int to)
{
    sqlite3_int64 size = 0;
    if (from->pMethods->xFileSize(from, &size) != SQLITE_OK)
        return salvage_cannot(copy, "measure");
    for (sqlite3_int64 at = 0; at < size; at += PAGE) {
        int length = size - at < PAGE ? (int)(size - at) : PAGE;
        if (from->pMethods->xRead(from, copy->page, length, at) != SQLITE_OK)
            memset(copy->page, 0, sizeof copy->page);
        if (pwrite(to, copy->page, (size_t)length, at) != length)
            return salvage_cannot(copy, "write");
    }
    return true;
}

/* Copies a file if it exists. suffix: of the log. */
static bool copy_file(struct copy *copy, const char *old_path, const char *suffix)
{
    char from_path[STATE_PATH + 8] = "", to_path[STATE_PATH + 8];
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    int flags = SQLITE_OPEN_READONLY | (suffix[0] == '\0' ? SQLITE_OPEN_MAIN_JOURNAL : SQLITE_OPEN_WAL);
    snprintf(from_path, sizeof from_path, "%s%s", old_path, suffix);
    snprintf(to_path, sizeof to_path, "%s%s", copy->path, suffix);
    if (access(from_path, F_OK) != 0)
        return true;
    sqlite3_file *from = calloc(1, (size_t)vfs->szOsFile);
    if (from == NULL || vfs->xOpen(vfs, from_path, from, flags, NULL) != SQLITE_OK) {
        free(from);
        return salvage_cannot(copy, "read for");
    }
    int to = open(to_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool good = to >= 0 ? copy_pages(copy, from, to) : salvage_cannot(copy, "make");
    if (to >= 0)
        close(to);
    from->pMethods->xClose(from);
    free(from);
    return good;
}

void salvage_remove_copy(const char *directory)
{
    static const char *const names[] = {COPY, COPY_LOG, COPY "-shm", COPY "-journal"};
    char path[STATE_PATH];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        directory_path(path, directory, names[i]);
        unlink(path);
    }
}

/* ---- the first page ---- */

static void put_big_endian(unsigned char *at, int bytes, uint32_t value)
{
    for (int i = bytes - 1; i >= 0; i--, value >>= 8)
        at[i] = (unsigned char)value;
}

/* Makes a header and an empty table of tables. */
static void make_first_page(unsigned char page[static PAGE], uint32_t pages, unsigned char format)
{
    static const unsigned char fractions[] = {64, 32, 32};
    memset(page, 0, PAGE);
    memcpy(page, "SQLite format 3", 16);
    put_big_endian(page + 16, 2, PAGE);
    page[18] = page[19] = format;
    memcpy(page + 21, fractions, sizeof fractions);
    put_big_endian(page + 24, 4, 1); /* change counter; at 92 the one for which the page count is valid */
    put_big_endian(page + 28, 4, pages);
    put_big_endian(page + 40, 4, 1); /* schema cookie */
    put_big_endian(page + 44, 4, 4); /* schema format */
    put_big_endian(page + 52, 4, 3); /* auto_vacuum; at 64: incremental */
    put_big_endian(page + 56, 4, SQLITE_UTF8);
    put_big_endian(page + 60, 4, SCHEMA_VERSION);
    put_big_endian(page + 64, 4, 1);
    put_big_endian(page + 92, 4, 1);
    put_big_endian(page + 96, 4, SQLITE_VERSION_NUMBER);
    page[HEADER] = 0x0d; /* a table leaf without rows: content begins at the end of the page */
    put_big_endian(page + HEADER + 5, 2, PAGE);
}

/* Call with the copy closed. */
static bool write_first_page(struct copy *copy, unsigned char format)
{
    struct stat status;
    int fd = open(copy->path, O_RDWR | O_CLOEXEC);
    bool good = fd >= 0 && fstat(fd, &status) == 0;
    if (good) {
        make_first_page(copy->page, (uint32_t)(status.st_size / PAGE), format);
        good = pwrite(fd, copy->page, PAGE, 0) == PAGE;
    }
    if (!good)
        salvage_cannot(copy, "write");
    if (fd >= 0)
        close(fd);
    return good;
}

/* Checkpoints the copy's log into the copy. */
static bool fold_log(struct copy *copy)
{
    struct database database = {.write_lock = -1};
    char log[STATE_PATH + 8];
    snprintf(log, sizeof log, "%s-wal", copy->path);
    if (access(log, F_OK) != 0)
        return write_first_page(copy, FORMAT_JOURNAL);
    if (!write_first_page(copy, FORMAT_WAL))
        return false;
    enum database_result result = database_connect(&database, copy->path);
    if (result == DATABASE_DONE)
        result = database_result_of(&database,
                                    sqlite3_exec(database.db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL));
    bool good = result == DATABASE_DONE || result == DATABASE_DAMAGED;
    if (!good)
        *copy->why = database.why;
    database_close(&database);
    unlink(log);
    return good && write_first_page(copy, FORMAT_JOURNAL);
}

/* ---- locations of the tables ---- */

enum root { ROOT_NONE, ROOT_TABLE, ROOT_INDEX };

static enum root kind_of(int fd, uint32_t page)
{
    unsigned char type = 0;
    if (pread(fd, &type, 1, (off_t)(page - 1) * PAGE) != 1)
        return ROOT_NONE;
    if (type == 0x0d || type == 0x05)
        return ROOT_TABLE;
    return type == 0x0a || type == 0x02 ? ROOT_INDEX : ROOT_NONE;
}

/* Whether the first root pages have the types of a new database's; one may be damaged. */
static bool begins_as_new(const struct copy *copy, int fd)
{
    int fresh = open(copy->new_path, O_RDONLY | O_CLOEXEC), same = 0;
    for (int page = 3; fresh >= 0 && page <= copy->first_roots; page++) {
        enum root kind = kind_of(fd, (uint32_t)page);
        if (kind == kind_of(fresh, (uint32_t)page))
            same++;
        else if (kind != ROOT_NONE)
            same = -ROOTS_MOST;
    }
    if (fresh >= 0)
        close(fresh);
    return same > (copy->first_roots - 2) / 2;
}

/* Finds the event tables' root pages by page 2. After an added index comes the table of requests, which may be lost. */
static bool find_roots(struct copy *copy)
{
    bool behind_index = false;
    int fd = open(copy->path, O_RDONLY | O_CLOEXEC);
    bool good = fd >= 0 && pread(fd, copy->page, PAGE, PAGE) == PAGE && begins_as_new(copy, fd);
    for (int i = 0; good && i < ROOTS_MOST && copy->page[5 * i] == ROOT_ENTRY; i++) {
        uint32_t page = (uint32_t)i + 3;
        enum root kind = kind_of(fd, page);
        if (page > (uint32_t)copy->first_roots && kind != ROOT_INDEX && !behind_index)
            copy->root[copy->roots++] = page;
        behind_index = page > (uint32_t)copy->first_roots && kind == ROOT_INDEX;
    }
    if (fd >= 0)
        close(fd);
    return good;
}

/* ---- the table of tables ---- */

static int run_salvage_sql(sqlite3 *db, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = sqlite3_vmprintf(format, args);
    va_end(args);
    int code = text == NULL ? SQLITE_NOMEM : sqlite3_exec(db, text, NULL, NULL, NULL);
    sqlite3_free(text);
    return code;
}

/* Declares the tables of a new database at their known pages, and the event tables of these sources. */
static int write_tables(struct copy *copy, sqlite3 *db, const int64_t *numbers)
{
    char text[256];
    int code = run_salvage_sql(db, "PRAGMA writable_schema = ON; ATTACH '%q' AS fresh", copy->new_path);
    if (code == SQLITE_OK)
        code = run_salvage_sql(db, "BEGIN; DELETE FROM main.sqlite_master; INSERT INTO main.sqlite_master"
                                   " SELECT * FROM fresh.sqlite_master WHERE rootpage > 0 ORDER BY rowid");
    for (int i = 0; i < copy->roots && code == SQLITE_OK; i++) {
        schema_events_text(text, sizeof text, (uint32_t)numbers[i]);
        code =
            run_salvage_sql(db, "INSERT INTO main.sqlite_master VALUES ('table', 'event_%lld', 'event_%lld', %u, '%q')",
                            (long long)numbers[i], (long long)numbers[i], (unsigned)copy->root[i], text);
    }
    if (code == SQLITE_OK)
        code = run_salvage_sql(db, "COMMIT; DETACH fresh; PRAGMA main.user_version = %d", SCHEMA_VERSION);
    return code;
}

/* Declares the tables and closes the copy again, so that the next connection reads them. */
static bool rewrite_tables(struct copy *copy, const int64_t *numbers)
{
    struct database database = {.write_lock = -1};
    enum database_result result = database_connect(&database, copy->path);
    if (result == DATABASE_DONE)
        result = database_result_of(&database, write_tables(copy, database.db, numbers));
    if (result != DATABASE_DONE)
        *copy->why = database.why;
    database_close(&database);
    return result == DATABASE_DONE;
}

/* Reads the numbers of the sources, ascending, with the tables declared under 1, 2 and so on. Returns whether there are
 * as many as event tables, and no table has an id above its source's last assigned one. */
static bool find_numbers(struct copy *copy, int64_t *numbers)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *sources = NULL;
    char text[200];
    int found = 0, code = sqlite3_open_v2(copy->path, &db, SQLITE_OPEN_READONLY, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_prepare_v2(db, "SELECT number FROM source ORDER BY number", -1, &sources, NULL);
    while (code == SQLITE_OK && sqlite3_step(sources) == SQLITE_ROW) {
        if (found < copy->roots)
            numbers[found] = sqlite3_column_int64(sources, 0);
        found++;
    }
    sqlite3_finalize(sources);
    bool good = found == copy->roots;
    for (int i = 0; good && i < copy->roots; i++) {
        sqlite3_snprintf(sizeof text, text,
                         "SELECT coalesce((SELECT max(id) FROM event_%d), 0)"
                         " > coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event_%lld'), 0)",
                         i + 1, (long long)numbers[i]);
        good = ask_number(db, text, &code) == 0;
    }
    sqlite3_close(db);
    return good;
}

/* Removes the sources' names where it is uncertain which events are whose. */
static bool forget_names(struct copy *copy)
{
    struct database database = {.write_lock = -1};
    enum database_result result = database_connect(&database, copy->path);
    if (result == DATABASE_DONE)
        result = database_result_of(&database, run_salvage_sql(database.db,
                                                               "PRAGMA writable_schema = ON;"
                                                               "DELETE FROM sqlite_master WHERE tbl_name = 'source'"));
    if (result != DATABASE_DONE)
        *copy->why = database.why;
    database_close(&database);
    return result == DATABASE_DONE;
}

static bool declare_tables(struct copy *copy)
{
    int64_t *numbers = calloc(2 * ROOTS_MOST, sizeof *numbers);
    if (numbers == NULL) {
        error_set(copy->why, "out of memory");
        return false;
    }
    for (int i = 0; i < copy->roots; i++)
        numbers[i] = i + 1;
    bool good = rewrite_tables(copy, numbers);
    bool sure = good && find_numbers(copy, numbers + ROOTS_MOST);
    if (good)
        good = sure ? rewrite_tables(copy, numbers + ROOTS_MOST) : forget_names(copy);
    free(numbers);
    log_write(LEVEL_ERROR, "msg=queue_header_made tables_of_events=%d names=%s", copy->roots, sure ? "kept" : "lost");
    return good;
}

/* ---- all of it ---- */

/* The number of root pages of an empty new database without sources. */
static int count_first_roots(const char *new_path)
{
    sqlite3 *db = NULL;
    int64_t last = 0;
    int code = sqlite3_open_v2(new_path, &db, SQLITE_OPEN_READONLY, NULL);
    if (code == SQLITE_OK)
        last = ask_number(db, "SELECT max(rootpage) FROM sqlite_master", &code);
    sqlite3_close(db);
    return (int)last;
}

bool salvage_make_schema(const char *old_path, const char *new_path, const char *directory, char copy_path[STATE_PATH],
                         bool *copied, struct error *why)
{
    *copied = false;
    struct copy *copy = calloc(1, sizeof *copy);
    if (copy == NULL) {
        error_set(why, "out of memory");
        return false;
    }
    copy->why = why;
    copy->new_path = new_path;
    directory_path(copy->path, directory, COPY);
    copy->first_roots = count_first_roots(new_path);
    salvage_remove_copy(directory);
    bool good = copy_file(copy, old_path, "") && copy_file(copy, old_path, "-wal") && fold_log(copy);
    if (good && copy->first_roots > 0 && find_roots(copy)) {
        good = declare_tables(copy);
        *copied = good;
        snprintf(copy_path, STATE_PATH, "%s", copy->path);
    }
    free(copy);
    return good;
}
