/* What the engine sqlite remembers of very many events: the journal's mirror, the index, and the Bloom filter over the
 * index.
 */
#include "tests/suites.h"

#include <poll.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "queue/inspect.h"
#include "queue/queue.h"
#include "queue/sqlite/store.h"
#include "tests/support/check.h"
#include "tests/support/queue_rig.h"

#define MANY 66000 /* more than are merged at once */
#define AT_ONCE 1000
#define PATIENCE_MS 60000

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct events events;

/* A key that looks like the hash that real ones are. */
static void make_key(unsigned char key[16], uint64_t number)
{
    for (int half = 0; half < 2; half++) {
        uint64_t x = (number * 2 + (uint64_t)half + 1) * 0x9e3779b97f4a7c15u;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
        x ^= x >> 31;
        memcpy(key + (ptrdiff_t)half * 8, &x, sizeof x);
    }
}

static void the_mirror(void)
{
    struct mirror mirror = {0};
    struct mirrored one = {.source = 1, .updated = 5, .at = 7};
    CU_ASSERT_PTR_NULL(mirror_find(&mirror, 1, one.key));
    for (uint64_t i = 0; i < 10000; i++) {
        make_key(one.key, i);
        CU_ASSERT(mirror_add(&mirror, &one));
    }
    CU_ASSERT_EQUAL(mirror.used, 10000);
    make_key(one.key, 77);
    one.updated = 4; /* an older version changes nothing */
    CU_ASSERT(mirror_add(&mirror, &one));
    CU_ASSERT_EQUAL(mirror_find(&mirror, 1, one.key)->updated, 5);
    one.updated = 6;
    CU_ASSERT(mirror_add(&mirror, &one));
    CU_ASSERT_EQUAL(mirror_find(&mirror, 1, one.key)->updated, 6);
    CU_ASSERT_EQUAL(mirror.used, 10000);
    CU_ASSERT_PTR_NULL(mirror_find(&mirror, 2, one.key)); /* of another source */
    size_t wrong = 0;
    for (uint64_t i = 0; i < 20000; i++) {
        make_key(one.key, i);
        const struct mirrored *found = mirror_find(&mirror, 1, one.key);
        wrong += i < 10000 ? found == NULL || memcmp(found->key, one.key, 16) != 0 : found != NULL;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    struct mirrored *sorted = mirror_sorted(&mirror);
    CU_ASSERT_PTR_NOT_NULL_FATAL(sorted);
    for (size_t i = 1; i < mirror.used; i++)
        wrong += mirror_compare(&sorted[i - 1], &sorted[i]) >= 0;
    CU_ASSERT_EQUAL(wrong, 0);
    free(sorted);
    mirror_free(&mirror);
    CU_ASSERT_PTR_NULL(mirror_sorted(&mirror));
}

static void the_bloom_filter(void)
{
    struct bloom bloom = {0};
    unsigned char key[16];
    size_t denied = 0, lost = 0;
    make_key(key, 1);
    bloom_add(&bloom, key);
    CU_ASSERT(bloom_may_have(&bloom, key)); /* without one, anything may be there */
    CU_ASSERT_FATAL(bloom_begin(&bloom, 2000000));
    CU_ASSERT(bloom_may_have(&bloom, key)); /* and while it is not whole */
    for (uint64_t i = 0; i < 2000000; i++) {
        make_key(key, i);
        bloom_add(&bloom, key);
    }
    bloom.whole = true;
    for (uint64_t i = 0; i < 2000000; i++) {
        make_key(key, i);
        lost += !bloom_may_have(&bloom, key);
        make_key(key, 2000000 + i);
        denied += !bloom_may_have(&bloom, key);
    }
    CU_ASSERT_EQUAL(lost, 0);
    check(denied > 1900000, "%zu of two millions are denied", denied);
    bloom_free(&bloom);
    CU_ASSERT(bloom_may_have(&bloom, key));
}

/* Settles one event, delivered, with identities first, first + 1, ...: as if they were so many. */
static void settle(struct queue *queue, uint64_t first, size_t count)
{
    static struct verdict verdicts[AT_ONCE];
    struct error why = {0};
    bool stored = queue_append(queue, "one", "{}", 2, clock_now() + 10000, &why) == QUEUE_STORED;
    CU_ASSERT_FATAL(check(stored, "an event is appended: %s", why.text));
    CU_ASSERT_EQUAL_FATAL(queue_next(queue, "one", 0, 1, 100, &events, &why), 1);
    for (size_t i = 0; i < count; i++) {
        verdicts[i] = (struct verdict){.id = events.at[0].id, .kind = VERDICT_DELIVERED, .remember = true};
        verdicts[i].identity.updated_us = 100;
        make_key(verdicts[i].identity.key, first + i);
    }
    CU_ASSERT_FATAL(queue_settle(queue, "one", verdicts, count, &why));
    events_free(&events);
    events = (struct events){.count = 0};
}

/* How many of at most AT_ONCE are known to be delivered. */
static size_t count_known_at_once(struct queue *queue, const char *source, uint64_t first, size_t count)
{
    static struct identity identities[AT_ONCE];
    static struct known known[AT_ONCE];
    struct error why = {0};
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        make_key(identities[i].key, first + i);
    CU_ASSERT_FATAL(queue_known(queue, source, identities, count, known, &why));
    for (size_t i = 0; i < count; i++)
        n += known[i].delivered;
    return n;
}

/* How many of many are. */
static size_t count_known_of(struct queue *queue, const char *source, uint64_t first, size_t count)
{
    size_t n = 0;
    for (size_t done = 0; done < count; done += AT_ONCE)
        n += count_known_at_once(queue, source, first + done, AT_ONCE);
    return n;
}

static size_t count_known(struct queue *queue, uint64_t first, size_t count)
{
    return count_known_of(queue, "one", first, count);
}

static int64_t ask_database(sqlite3 *db, const char *text)
{
    sqlite3_stmt *statement = NULL;
    int64_t n = -1;
    if (sqlite3_prepare_v2(db, text, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
        n = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return n;
}

/* Waits until the index has so many. */
static bool wait_merged(sqlite3 *db, int64_t count)
{
    for (moment deadline = clock_now() + PATIENCE_MS; clock_now() < deadline; poll(NULL, 0, 20)) {
        if (ask_database(db, "SELECT count(*) FROM known") >= count)
            return true;
    }
    return false;
}

/* A key that gets into the index behind the owner's back is found as long as the index is asked for each. */
static bool index_is_asked(struct queue *queue, sqlite3 *db, uint64_t number)
{
    sqlite3_stmt *statement = NULL;
    unsigned char key[16];
    make_key(key, number);
    sqlite3_prepare_v2(db, "INSERT INTO known SELECT number, ?1, 100, ?2 FROM source WHERE name = 'one'", -1,
                       &statement, NULL);
    sqlite3_bind_blob(statement, 1, key, sizeof key, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 2, clock_unix_ms());
    CU_ASSERT_EQUAL_FATAL(sqlite3_step(statement), SQLITE_DONE);
    sqlite3_finalize(statement);
    return count_known_at_once(queue, "one", number, 1) == 1;
}

/* Asks for so many that a Bloom filter is made of the index, and waits until it is in use. */
static bool wait_for_bloom(struct queue *queue, sqlite3 *db)
{
    uint64_t unknown = 5000000, behind = 6000000;
    for (moment deadline = clock_now() + PATIENCE_MS; clock_now() < deadline; poll(NULL, 0, 20)) {
        CU_ASSERT_EQUAL(count_known(queue, unknown, 10000), 0);
        settle(queue, 4000000, 1); /* the housekeeper works when something was written */
        if (!index_is_asked(queue, db, behind++))
            return true;
    }
    return false;
}

static void many_are_remembered(void)
{
    char path[PATH_SIZE], url[] = "http://127.0.0.1:1";
    struct error why = {0};
    sqlite3 *db = NULL;
    CU_ASSERT_FATAL(temporary_make(directory));
    path_join(state, directory, "state");
    path_join(path, state, "queue.db");
    made_config_init(&made, url, url);
    made.config.queue = QUEUE_SQLITE;
    made.config.state_dir = state;
    made.config.queue_max_bytes = 1 << 30;
    struct queue *queue = queue_open(&made.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    CU_ASSERT_FATAL(queue_claim(queue, &why));
    CU_ASSERT_EQUAL_FATAL(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);

    for (uint64_t i = 0; i < MANY; i += AT_ONCE)
        settle(queue, i, AT_ONCE);
    CU_ASSERT_EQUAL(count_known(queue, 0, MANY), MANY); /* while they are merged, too */
    CU_ASSERT(wait_merged(db, MANY - AT_ONCE));
    CU_ASSERT(wait_for_bloom(queue, db));
    CU_ASSERT_EQUAL(count_known(queue, 0, MANY), MANY);
    for (uint64_t i = MANY; i < 2 * MANY; i += AT_ONCE)
        settle(queue, i, AT_ONCE);
    CU_ASSERT_EQUAL(count_known(queue, 0, 2 * MANY), 2 * MANY);
    CU_ASSERT(wait_merged(db, 2 * (MANY - AT_ONCE)));
    CU_ASSERT_EQUAL(count_known(queue, 0, 2 * MANY), 2 * MANY);
    CU_ASSERT_EQUAL(count_known(queue, 5000000, 10000), 0);

    /* another process gives it all to the other source: part of it was in the mirror only, which no Bloom filter has */
    struct queue *command = queue_open(&made.config, &why);
    struct moved moved;
    CU_ASSERT_PTR_NOT_NULL_FATAL(command);
    settle(queue, 2 * MANY, AT_ONCE);
    CU_ASSERT(queue_move(command, "one", "two", &moved, &why));
    CU_ASSERT_EQUAL(count_known_of(queue, "two", 0, 2 * MANY + AT_ONCE), 2 * MANY + AT_ONCE);
    queue_close(command);
    queue_close(queue);
    sqlite3_close(db);
    temporary_remove(directory);
}

/* ---- what the model of the queue has found ---- */

static struct queue *begin(void)
{
    struct error why = {0};
    CU_ASSERT_EQUAL_FATAL(queue_rig_set_up(&made, directory, state), 0);
    path_join(state, directory, "state");
    struct queue *queue = queue_rig_open(&made);
    CU_ASSERT_FATAL(queue_claim(queue, &why));
    return queue;
}

static void end(struct queue *queue)
{
    queue_close(queue);
    queue_rig_tear_down(directory, &events);
    events = (struct events){.count = 0};
}

/* Appends an event and settles it as this version of identity 1. Returns its id. */
static uint64_t settle_version(struct queue *queue, int64_t updated_us)
{
    struct error why = {0};
    struct verdict verdict = {.kind = VERDICT_DELIVERED, .remember = true, .identity = {.updated_us = updated_us}};
    make_key(verdict.identity.key, 1);
    CU_ASSERT_EQUAL(queue_append(queue, "one", "{}", 2, clock_now() + 10000, &why), QUEUE_STORED);
    CU_ASSERT_EQUAL_FATAL(queue_next(queue, "one", 0, 1, 100, &events, &why), 1);
    verdict.id = events.at[0].id;
    CU_ASSERT(queue_settle(queue, "one", &verdict, 1, &why));
    return verdict.id;
}

/* The newest version of an identity that is known to be delivered; 0: none. */
static int64_t known_version(struct queue *queue, uint64_t number)
{
    struct error why = {0};
    struct identity identity = {.updated_us = INT64_MAX};
    struct known known;
    make_key(identity.key, number);
    CU_ASSERT_FATAL(queue_known(queue, "one", &identity, 1, &known, &why));
    return known.delivered ? known.delivered_us : 0;
}

/* The backup's journal has the older version, the index the newer one, of the queue that was there. */
static void a_restored_queue_knows_the_newer_version(void)
{
    char path[PATH_SIZE];
    struct error why = {0};
    bool busy;
    struct queue *queue = begin();
    path_join(path, directory, "backup");
    settle_version(queue, 100);
    CU_ASSERT(queue_backup(queue, path, NULL, clock_unix_ms(), &why));
    settle_version(queue, 200);
    queue_close(queue);
    int lock = backup_lock(state, &busy, &why);
    struct backup *backup = backup_open(path, &why);
    CU_ASSERT_FATAL(
        check(lock >= 0 && backup != NULL && backup_build(backup, state, &why) && backup_commit(state, &why),
              "it is restored: %s", why.text));
    backup_close(backup);
    close(lock);
    queue = queue_rig_open(&made);
    CU_ASSERT_FATAL(queue_claim(queue, &why));
    CU_ASSERT_EQUAL(known_version(queue, 1), 200);
    end(queue);
}

/* ---- forgetting ---- */

static int64_t count_in_index(const char *path)
{
    sqlite3 *db;
    sqlite3_stmt *count;
    int64_t n = -1;
    CU_ASSERT_EQUAL(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, PATIENCE_MS);
    if (sqlite3_prepare_v2(db, "SELECT count(*) FROM known", -1, &count, NULL) == SQLITE_OK &&
        sqlite3_step(count) == SQLITE_ROW)
        n = sqlite3_column_int64(count, 0);
    sqlite3_finalize(count);
    sqlite3_close(db);
    return n;
}

/* However many are too old, they are forgotten as fast as they come: not a part of them each minute. */
static void what_is_old_is_forgotten_in_time(void)
{
    char path[PATH_SIZE], clock[64], sql[400];
    struct error why = {0};
    struct queue *queue = begin();
    queue_close(queue);
    path_join(path, state, "queue.db");
    sqlite3 *db;
    CU_ASSERT_EQUAL_FATAL(sqlite3_open(path, &db), SQLITE_OK);
    snprintf(sql, sizeof sql,
             "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
             " INSERT INTO known (source, key, updated, at) SELECT 1, randomblob(16), 1,"
             " CASE i %% 1000 WHEN 0 THEN %lld ELSE 1 END FROM n",
             AT_ONCE * 40, (long long)clock_unix_ms());
    CU_ASSERT_EQUAL(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    int64_t now = clock_unix_ms(), steady = now - (int64_t)48 * 3600 * 1000;
    snprintf(clock, sizeof clock, "%lld %lld\n", (long long)now, (long long)steady);
    CU_ASSERT(files_replace(state, "clock", clock, &why));
    queue = queue_rig_open(&made);
    CU_ASSERT_FATAL(queue_claim(queue, &why));
    int64_t left = AT_ONCE * 40;
    for (moment deadline = clock_now() + PATIENCE_MS / 2; left > 40 && clock_now() < deadline; poll(NULL, 0, 20))
        left = count_in_index(path);
    check(left == 40, "%lld are left", (long long)left);
    end(queue);
}

void suite_queue_remember(void)
{
    static CU_TestInfo tests[] = {
        {"the mirror finds what was added, the newest version", the_mirror},
        {"the Bloom filter denies nothing that was added", the_bloom_filter},
        {"what is merged stays known, with a Bloom filter and without", many_are_remembered},
        {"a restored queue knows the newer version", a_restored_queue_knows_the_newer_version},
        {"what is old is forgotten in time", what_is_old_is_forgotten_in_time},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue remember", NULL, NULL, tests);
}
