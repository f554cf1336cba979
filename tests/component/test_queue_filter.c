/* The file that keeps the Bloom filter over the identity index from one owner to the next: it spares reading the index,
 * and never hides a key that somebody else has put there. */
#include "tests/suites.h"

#include <poll.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "queue/queue.h"
#include "queue/sqlite/store.h"
#include "tests/support/check.h"
#include "tests/support/queue_rig.h"

#define INDEXED 20000
#define SETTLED 1000
#define ASKED 5000
#define MERGED 9000 /* more than are merged when nothing happens */
#define PATIENCE_MS 60000
#define FILE_NAME "identities.filter"

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct events events;

static int set_up(void)
{
    return queue_rig_set_up(&made, directory, state);
}

static int tear_down(void)
{
    return queue_rig_tear_down(directory, &events);
}

/* As hashes are: all over. */
static void make_key(unsigned char key[16], uint64_t number)
{
    for (size_t i = 0; i < 2; i++) {
        uint64_t x = (number * 2 + i + 1) * 0x9e3779b97f4a7c15u;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
        x ^= x >> 31;
        memcpy(key + 8 * i, &x, sizeof x);
    }
}

static sqlite3 *open_database(void)
{
    char path[PATH_SIZE];
    sqlite3 *db = NULL;
    path_join(path, state, "queue.db");
    CU_ASSERT_EQUAL_FATAL(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, PATIENCE_MS);
    return db;
}

/* What somebody else does while nobody owns the queue. */
static void meanwhile(const char *text)
{
    sqlite3 *db = open_database();
    check(sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK, "%s: %s", text, sqlite3_errmsg(db));
    sqlite3_close(db);
}

static int64_t ask_database(const char *text)
{
    sqlite3 *db = open_database();
    sqlite3_stmt *statement = NULL;
    int64_t n = -1;
    if (sqlite3_prepare_v2(db, text, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
        n = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return n;
}

/* Puts keys into the index, as an older release does when it merges. */
static void put_into_index(uint64_t first, uint64_t count)
{
    sqlite3 *db = open_database();
    sqlite3_stmt *add = NULL;
    unsigned char key[16];
    sqlite3_exec(db, "BEGIN", NULL, NULL, NULL);
    sqlite3_prepare_v2(db, "INSERT INTO known SELECT number, ?1, 100, ?2 FROM source WHERE name = 'one'", -1, &add,
                       NULL);
    for (uint64_t i = first; i < first + count; i++) {
        make_key(key, i);
        sqlite3_bind_blob(add, 1, key, sizeof key, SQLITE_STATIC);
        sqlite3_bind_int64(add, 2, clock_unix_ms());
        CU_ASSERT_EQUAL_FATAL(sqlite3_step(add), SQLITE_DONE);
        sqlite3_reset(add);
    }
    sqlite3_finalize(add);
    CU_ASSERT_EQUAL(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static struct queue *begin_owning(void)
{
    struct error why = {0};
    struct queue *queue = queue_rig_open(&made);
    CU_ASSERT_FATAL(check(queue_claim(queue, &why), "it is claimed: %s", why.text));
    return queue;
}

static size_t count_known(struct queue *queue, uint64_t first, size_t count)
{
    struct identity identity = {.updated_us = 1};
    struct known known;
    struct error why = {0};
    size_t n = 0;
    for (uint64_t i = first; i < first + count; i++) {
        make_key(identity.key, i);
        CU_ASSERT_FATAL(queue_known(queue, "one", &identity, 1, &known, &why));
        n += known.delivered;
    }
    return n;
}

/* Settles one event, delivered, with so many identities, as if they were as many events. */
static void settle(struct queue *queue, uint64_t first, size_t count)
{
    struct error why = {0};
    struct verdict *verdicts = calloc(count, sizeof *verdicts);
    CU_ASSERT_PTR_NOT_NULL_FATAL(verdicts);
    CU_ASSERT_EQUAL_FATAL(queue_append(queue, "one", "{}", 2, clock_now() + PATIENCE_MS, &why), QUEUE_STORED);
    CU_ASSERT_EQUAL_FATAL(queue_next(queue, "one", 0, 1, 100, &events, &why), 1);
    for (size_t i = 0; i < count; i++) {
        verdicts[i] = (struct verdict){.id = events.at[0].id, .kind = VERDICT_DELIVERED, .remember = true};
        verdicts[i].identity.updated_us = 100;
        make_key(verdicts[i].identity.key, first + i);
    }
    CU_ASSERT(check(queue_settle(queue, "one", verdicts, count, &why), "they are settled: %s", why.text));
    free(verdicts);
}

/* Asks for so many that a filter pays, and waits for it. Returns how many keys it has. */
static uint64_t wait_for_filter(struct queue *queue)
{
    struct store *store = queue->state;
    uint64_t added = 0;
    bool whole = false;
    CU_ASSERT_EQUAL(count_known(queue, 9000000, ASKED), 0);
    for (moment until = clock_now() + PATIENCE_MS; !whole && clock_now() < until; poll(NULL, 0, 10)) {
        housekeeper_call(store);
        pthread_mutex_lock(&store->mirror_lock);
        whole = store->bloom.whole;
        added = store->bloom.added;
        pthread_mutex_unlock(&store->mirror_lock);
    }
    CU_ASSERT(whole);
    return added;
}

static bool has_file(void)
{
    char *file = temporary_read(state, FILE_NAME);
    free(file);
    return file != NULL;
}

/* A queue whose index has keys from 0, whose journal has others after them, and whose last owner has left a file. */
static void leave_a_file(void)
{
    static unsigned tests;
    char name[32];
    snprintf(name, sizeof name, "state-%u", tests++);
    path_join(state, directory, name);
    queue_close(begin_owning());
    put_into_index(0, INDEXED);
    struct queue *queue = begin_owning();
    settle(queue, INDEXED, SETTLED);
    CU_ASSERT(wait_for_filter(queue) >= INDEXED);
    for (moment until = clock_now() + PATIENCE_MS; !has_file() && clock_now() < until;)
        poll(NULL, 0, 10);
    queue_close(queue);
}

/* Ends a test: all is known that was, and one more key that somebody has put into the index. */
static void end_knowing(struct queue *queue, uint64_t other)
{
    CU_ASSERT_EQUAL(count_known(queue, 0, INDEXED + SETTLED), INDEXED + SETTLED);
    CU_ASSERT_EQUAL(count_known(queue, other, 1), 1);
    queue_close(queue);
}

static void the_next_owner_reads_it(void)
{
    leave_a_file();
    meanwhile("DELETE FROM known"); /* who reads the index finds nothing */
    struct queue *queue = begin_owning();
    CU_ASSERT(wait_for_filter(queue) >= INDEXED + SETTLED);
    CU_ASSERT_EQUAL(count_known(queue, INDEXED, SETTLED), SETTLED);
    queue_close(queue);
}

/* It merges all of the journal, knows nothing of the file, and goes on: row numbers begin anew. */
static void an_older_release_makes_it_void(void)
{
    leave_a_file();
    put_into_index(INDEXED, SETTLED);
    meanwhile("DELETE FROM journal");
    put_into_index(7000000, 1);
    meanwhile("INSERT INTO journal (source, key, updated, at) SELECT source, key, updated, at FROM known LIMIT 2000");
    struct queue *queue = begin_owning();
    wait_for_filter(queue);
    end_knowing(queue, 7000000);
}

static void a_move_makes_it_void(void)
{
    leave_a_file();
    put_into_index(7000000, 1);
    meanwhile("INSERT INTO count VALUES (0, 20, 1) ON CONFLICT (source, kind) DO UPDATE SET n = n + 1");
    struct queue *queue = begin_owning();
    wait_for_filter(queue);
    end_knowing(queue, 7000000);
}

static void another_database_makes_it_void(void)
{
    leave_a_file();
    put_into_index(7000000, 1);
    meanwhile("UPDATE count SET n = n + 1 WHERE source = 0 AND kind = 14");
    struct queue *queue = begin_owning();
    wait_for_filter(queue);
    end_knowing(queue, 7000000);
}

/* Each byte counts: with a bit less a key would be denied. Also a file that ends too early. */
static void a_damaged_file_is_not_used(void)
{
    char path[PATH_SIZE];
    leave_a_file();
    put_into_index(7000000, 1); /* only who reads the index finds it */
    path_join(path, state, FILE_NAME);
    FILE *file = fopen(path, "r+b");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_EQUAL(fseek(file, 5000, SEEK_SET), 0);
    int byte = fgetc(file);
    CU_ASSERT_EQUAL(fseek(file, 5000, SEEK_SET), 0);
    CU_ASSERT(fputc(byte ^ 0x10, file) != EOF);
    CU_ASSERT_EQUAL(fclose(file), 0);
    struct queue *queue = begin_owning();
    wait_for_filter(queue);
    end_knowing(queue, 7000000);
}

/* Merges, by an owner that has made a filter before or not. */
static void merge_many(bool filtered)
{
    leave_a_file();
    struct queue *queue = begin_owning();
    if (filtered)
        wait_for_filter(queue);
    settle(queue, INDEXED + SETTLED, MERGED);
    for (moment until = clock_now() + PATIENCE_MS; clock_now() < until; poll(NULL, 0, 50)) {
        if (ask_database("SELECT count(*) FROM journal") == 1)
            break;
    }
    CU_ASSERT_EQUAL(ask_database("SELECT count(*) FROM journal"), 1);
    CU_ASSERT_EQUAL(ask_database("SELECT count(*) FROM known"), INDEXED + SETTLED + MERGED);
    queue_close(queue);
}

/* The row that the file names stays in the journal, and only that. */
static void what_is_merged_is_in_it(bool filtered)
{
    merge_many(filtered);
    struct queue *queue = begin_owning();
    CU_ASSERT_EQUAL(count_known(queue, 0, INDEXED + SETTLED + MERGED), INDEXED + SETTLED + MERGED);
    queue_close(queue);
    meanwhile("DELETE FROM known");
    queue = begin_owning();
    CU_ASSERT(wait_for_filter(queue) >= INDEXED + SETTLED + MERGED);
    queue_close(queue);
}

static void what_is_merged_by_who_has_a_filter_is_in_it(void)
{
    what_is_merged_is_in_it(true);
}

static void what_is_merged_by_who_has_none_is_in_it(void)
{
    what_is_merged_is_in_it(false);
}

void suite_queue_filter(void)
{
    static CU_TestInfo tests[] = {
        {"the next owner reads it", the_next_owner_reads_it},
        {"what is merged by who has a filter is in it", what_is_merged_by_who_has_a_filter_is_in_it},
        {"what is merged by who has none is in it", what_is_merged_by_who_has_none_is_in_it},
        {"an older release makes it void", an_older_release_makes_it_void},
        {"a move makes it void", a_move_makes_it_void},
        {"another database makes it void", another_database_makes_it_void},
        {"a damaged file is not used", a_damaged_file_is_not_used},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue filter", set_up, tear_down, tests);
}
