/* Each of SQLite's allocations fails once while the queue is opened or read: no transaction stays open, which would
 * lock out all that write and let its own connection begin no other; and with memory everything works again. */
#include <sqlite3.h>
#include <stdio.h>

#include "queue/sqlite/database.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/queue_rig.h"

#define PATIENCE_MS 60000
#define CALLS_MOST 5000

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct events found;

/* ---- SQLite's memory ---- */

static sqlite3_mem_methods usual;
/* What the housekeeper allocates would make n mean something else each time. */
static _Thread_local bool counts;
static _Thread_local unsigned left;

static bool fails(void)
{
    return counts && left > 0 && --left == 0;
}

static void *take(int size)
{
    return fails() ? NULL : usual.xMalloc(size);
}

static void *take_more(void *old, int size)
{
    return fails() ? NULL : usual.xRealloc(old, size);
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

void suite_queue_sqlite_memory(void)
{
    static CU_TestInfo tests[] = {
        {"opening leaves no transaction open", opening_leaves_no_transaction_open},
        {"reading leaves no transaction open", reading_leaves_no_transaction_open},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue sqlite memory", set_up, tear_down, tests);
}
