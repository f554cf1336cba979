/* Each of SQLite's allocations fails once while the queue is opened or read: no transaction stays open, which would
 * lock out all that write and let its own connection begin no other; and with memory everything works again. Settling
 * takes no memory for bodies, and says to all processes that it fails. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/sqlite/database.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/http_expect.h"
#include "tests/support/queue_rig.h"

#define PATIENCE_MS 60000
#define CALLS_MOST 5000
#define LARGE ((size_t)4 * 1024 * 1024) /* bytes of an event */

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct events found;

/* ---- SQLite's memory ---- */

static sqlite3_mem_methods usual;
/* What the housekeeper allocates would make n mean something else each time. */
static _Thread_local bool counts;
static _Thread_local unsigned left;
static _Thread_local size_t largest; /* allocation since it was set to 0 */

static bool fails(int size)
{
    largest = (size_t)size > largest ? (size_t)size : largest;
    return counts && left > 0 && --left == 0;
}

static void *take(int size)
{
    return fails(size) ? NULL : usual.xMalloc(size);
}

static void *take_more(void *old, int size)
{
    return fails(size) ? NULL : usual.xRealloc(old, size);
}

/* SQLite takes other functions only while it is not in use. Without slots of a connection's own each allocation is met,
 * not only those that find none free. */
static bool use_memory(void *(*malloc)(int), void *(*realloc)(void *, int))
{
    sqlite3_mem_methods methods;
    sqlite3_shutdown();
    if (usual.xMalloc == NULL)
        sqlite3_config(SQLITE_CONFIG_GETMALLOC, &usual);
    methods = usual;
    methods.xMalloc = malloc == NULL ? usual.xMalloc : malloc;
    methods.xRealloc = realloc == NULL ? usual.xRealloc : realloc;
    int slots = malloc == NULL ? 100 : 0;
    sqlite3_config(SQLITE_CONFIG_LOOKASIDE, slots == 0 ? 0 : 1200, slots); /* 1200, 100: SQLite's own */
    return sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) == SQLITE_OK && sqlite3_initialize() == SQLITE_OK;
}

static int set_up(void)
{
    temporary_in_memory();
    return queue_rig_set_up_quiet(&made, directory, state) != 0 || !use_memory(take, take_more);
}

static int tear_down(void)
{
    use_memory(NULL, NULL);
    return queue_rig_tear_down_quiet(directory, &found);
}

/* From now on the n-th allocation fails; 0: none. Returns whether the one before has failed. */
static bool fail(unsigned n)
{
    bool failed = counts && left == 0;
    counts = n > 0;
    left = n;
    return failed;
}

/* ---- a connection ---- */

static void opening_leaves_no_transaction_open(void)
{
    struct database database;
    bool failed = true;
    unsigned n;
    path_join(state, directory, "opened");
    queue_close(queue_rig_open(&made));
    for (n = 1; failed && n < CALLS_MOST; n++) {
        fail(n);
        enum database_result result = schema_open(&database, state, true);
        failed = fail(0);
        check(result != DATABASE_DONE || sqlite3_get_autocommit(database.db) != 0, "allocation %u: it is open", n);
        database_close(&database);
    }
    printf("(%u allocations) ", n - 2);
    CU_ASSERT(!failed && n > 10);
}

/* ---- the queue ---- */

enum way { AGAIN, KNOWN, COUNT, WAYS };

static bool read_queue(struct queue *queue, enum way way, uint64_t id)
{
    size_t asked;
    struct counts counted;
    struct known known;
    struct error why = {0};
    static const struct identity identity = {.key = {1}, .updated_us = 1};
    switch (way) {
    case AGAIN:
        return queue_again(queue, "one", &id, 1, 1 << 20, &found, &asked, &why) >= 0;
    case KNOWN:
        return queue_known(queue, "one", &identity, 1, &known, &why);
    default:
        return queue_count(queue, "one", &counted, &why);
    }
}

/* Who has read settles, whatever became of reading. Returns whether there was an n-th allocation. */
static bool settle_after_reading(enum way way, unsigned n)
{
    struct error why = {0};
    struct queue *queue = queue_rig_open(&made);
    CU_ASSERT_EQUAL(queue_append(queue, "one", "body", 4, clock_now() + PATIENCE_MS, &why), QUEUE_STORED);
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    CU_ASSERT_EQUAL_FATAL(queue_next(queue, "one", 0, 1, 1 << 20, &found, &why), 1);
    struct verdict verdict = {.id = found.at[0].id, .kind = VERDICT_DUPLICATE};
    fail(n);
    read_queue(queue, way, verdict.id);
    bool failed = fail(0);
    check(queue_settle(queue, "one", &verdict, 1, &why), "way %d, allocation %u, then settling: %s", (int)way, n,
          why.text);
    check(read_queue(queue, way, verdict.id), "way %d, allocation %u, and then reading works", (int)way, n);
    queue_close(queue);
    return failed;
}

static void reading_leaves_no_transaction_open(void)
{
    path_join(state, directory, "read");
    for (enum way way = AGAIN; way < WAYS; way++) {
        unsigned n = 1;
        while (n < CALLS_MOST && settle_after_reading(way, n))
            n++;
        printf("(%u allocations) ", n - 1);
        CU_ASSERT(n > 10 && n < CALLS_MOST);
    }
}

/* ---- settling ---- */

static void settling_reads_no_body(void)
{
    /* the letter of the first that dies is replayed, dies again, is replayed, and is delivered */
    static const enum verdict_kind kinds[] = {VERDICT_DELIVERED, VERDICT_DUPLICATE, VERDICT_DROPPED,
                                              VERDICT_DEAD,      VERDICT_DEAD,      VERDICT_DELIVERED};
    struct error why = {0};
    struct letters letters = {0};
    char *body = http_expect_body(LARGE);
    path_join(state, directory, "large");
    struct queue *queue = queue_rig_open(&made);
    queue_rig_claim(queue);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        uint64_t letter = 1;
        size_t replayed = 0;
        bool there = i < 4 ? queue_append(queue, "one", body, LARGE, clock_now() + PATIENCE_MS, &why) == QUEUE_STORED
                           : queue_replay(queue, &letter, 1, &replayed, &why) && replayed == 1;
        CU_ASSERT_TRUE(there);
        CU_ASSERT_EQUAL_FATAL(queue_next(queue, "one", 0, 1, LARGE, &found, &why), 1);
        struct verdict verdict = {.id = found.at[0].id, .kind = kinds[i]};
        largest = 0;
        CU_ASSERT_TRUE(queue_settle(queue, "one", &verdict, 1, &why));
        check(largest > 0 && largest < LARGE / 16, "verdict %d: an allocation of %zu bytes", (int)kinds[i], largest);
        if (kinds[i] != VERDICT_DEAD)
            continue;
        CU_ASSERT_EQUAL_FATAL(queue_letters(queue, "one", 0, 2, 2 * LARGE, &letters, &why), 1);
        CU_ASSERT_TRUE(letters.at[0].id == letter && letters.at[0].length == LARGE);
        CU_ASSERT_EQUAL(memcmp(letters.at[0].body, body, LARGE), 0);
    }
    CU_ASSERT_EQUAL(queue_letters(queue, "one", 0, 1, LARGE, &letters, &why), 0);
    letters_free(&letters);
    queue_close(queue);
    free(body);
}

/* Returns whether there was an n-th allocation. */
static bool fail_to_settle(enum verdict_kind kind, unsigned n, unsigned *failures)
{
    struct error why = {0}, words = {0};
    struct queue *queue = queue_rig_open(&made), *other = queue_rig_open(&made);
    queue_rig_claim(queue);
    queue_rig_append(queue, "one", "body");
    CU_ASSERT_EQUAL_FATAL(queue_next(queue, "one", 0, 1, 1 << 20, &found, &why), 1);
    struct verdict verdict = {.id = found.at[0].id, .kind = kind};
    fail(n);
    bool good = queue_settle(queue, "one", &verdict, 1, &why);
    bool failed = fail(0);
    check(queue_can_be_settled(other, &words) == good, "allocation %u, settled %d, but others see \"%s\"", n, good,
          words.text);
    *failures += !good;
    CU_ASSERT_TRUE(good || queue_settle(queue, "one", &verdict, 1, &why));
    check(queue_can_be_settled(other, &words), "allocation %u: settled then, but others see \"%s\"", n, words.text);
    queue_close(other);
    queue_close(queue);
    return failed;
}

static void all_processes_see_that_settling_fails(void)
{
    static const enum verdict_kind kinds[] = {VERDICT_DELIVERED, VERDICT_DEAD};
    path_join(state, directory, "unsettled");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        unsigned n = 1, failures = 0;
        while (n < CALLS_MOST && fail_to_settle(kinds[i], n, &failures))
            n++;
        printf("(%u allocations, %u failures) ", n - 1, failures);
        CU_ASSERT(n < CALLS_MOST && failures > 5);
    }
}

void suite_queue_sqlite_memory(void)
{
    static CU_TestInfo tests[] = {
        {"opening leaves no transaction open", opening_leaves_no_transaction_open},
        {"reading leaves no transaction open", reading_leaves_no_transaction_open},
        {"settling reads no body", settling_reads_no_body},
        {"all processes see that settling fails", all_processes_see_that_settling_fails},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue sqlite memory", set_up, tear_down, tests);
}
