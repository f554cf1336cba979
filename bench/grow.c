/* Makes a queue large, straight in its database, as the program would take hours for it:
 *   grow identities COUNT    that many remembered events more, in the first source of a configuration (CLOSECRM_CONFIG)
 *   grow events BYTES        waiting events, until the database has that size
 * While nobody uses the queue. Identities get keys in two passes, so that the index's pages are as full as those of an
 * index that has grown. Prints one line: how many, and the seconds it took. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "bench/sample.h"
#include "config/config.h"
#include "queue/queue.h"
#include "queue/sqlite/database.h"

#define STEP 65536 /* rows in a transaction */
#define DAY_MS INT64_C(86400000)

static void execute(sqlite3 *db, const char *text)
{
    if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
        bench_give_up(sqlite3_errmsg(db));
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *text)
{
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(db, text, -1, &statement, NULL) != SQLITE_OK)
        bench_give_up(sqlite3_errmsg(db));
    return statement;
}

static void insert(sqlite3 *db, sqlite3_stmt *statement, uint64_t row)
{
    if (row % STEP == 0)
        execute(db, row == 0 ? "BEGIN" : "COMMIT; BEGIN");
    if (sqlite3_step(statement) != SQLITE_DONE)
        bench_give_up(sqlite3_errmsg(db));
    sqlite3_reset(statement);
}

/* Keys are hashes: here they are spread evenly, and of no event that the benchmarks make. */
static void make_key(unsigned char key[static 16], uint64_t number, uint64_t count)
{
    uint64_t at = UINT64_MAX / count * number;
    for (size_t i = 0; i < 8; i++)
        key[i] = (unsigned char)(at >> (56 - 8 * i));
    uint64_t rest = (number + 1) * 0x9e3779b97f4a7c15U;
    memcpy(key + 8, &rest, 8);
}

static void grow_identities(sqlite3 *db, uint64_t count)
{
    sqlite3_stmt *add = prepare(db, "INSERT OR IGNORE INTO known (source, key, updated, at) VALUES (1, ?1, ?2, ?3)");
    int64_t now = clock_unix_ms();
    uint64_t row = 0;
    unsigned char key[16];
    for (uint64_t pass = 0; pass < 2; pass++) {
        for (uint64_t number = pass; number < count; number += 2) {
            int64_t at = now - (int64_t)(number * 2654435761U % (uint64_t)(20 * DAY_MS));
            make_key(key, number, count);
            sqlite3_bind_blob(add, 1, key, sizeof key, SQLITE_STATIC);
            sqlite3_bind_int64(add, 2, at * 1000);
            sqlite3_bind_int64(add, 3, at);
            insert(db, add, row++);
        }
    }
    sqlite3_finalize(add);
    execute(db, "COMMIT");
    printf("identities=%llu", (unsigned long long)row);
}

static uint64_t size_of(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? (uint64_t)status.st_size : 0;
}

static void grow_events(sqlite3 *db, const char *path, uint64_t bytes)
{
    sqlite3_stmt *add = prepare(db, "INSERT INTO event_1 (received, body) VALUES (?1, ?2)");
    struct sample sample;
    uint64_t row = 0;
    sample_read(&sample, SAMPLE_PATH);
    for (; row % STEP != 0 || size_of(path) < bytes; row++) {
        sample_number(&sample, sample.body, UINT32_MAX, row);
        sqlite3_bind_int64(add, 1, clock_unix_ms());
        sqlite3_bind_blob(add, 2, sample.body, (int)sample.length, SQLITE_STATIC);
        insert(db, add, row);
    }
    sqlite3_finalize(add);
    execute(db, "COMMIT");
    sample_free(&sample);
    printf("events=%llu", (unsigned long long)row);
}

int main(int argc, char **argv)
{
    struct error why = {0};
    char path[4096];
    struct database database = {.write_lock = -1};
    if (argc != 3) {
        fprintf(stderr, "usage: grow identities COUNT | grow events BYTES\n");
        return 2;
    }
    int64_t start = bench_now();
    log_open(LEVEL_WARN);
    struct config *config = config_load(&why);
    struct queue *queue = config == NULL ? NULL : queue_open(config, &why); /* makes its tables */
    errno = 0;
    if (queue == NULL)
        bench_give_up(why.text);
    queue_close(queue);
    snprintf(path, sizeof path, "%s/queue.db", config->state_dir);
    if (database_connect(&database, path) != DATABASE_DONE)
        bench_give_up(database.why.text);
    execute(database.db, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536");
    if (strcmp(argv[1], "events") == 0)
        grow_events(database.db, path, strtoull(argv[2], NULL, 10));
    else
        grow_identities(database.db, strtoull(argv[2], NULL, 10));
    database_close(&database);
    config_free(config);
    printf(" seconds=%.1f\n", (double)(bench_now() - start) / 1e9);
    return 0;
}
