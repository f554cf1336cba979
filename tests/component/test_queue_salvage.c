/* What can be read of a damaged database, whatever part of it is gone: rows, identities, names, its first page, all. */
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/inspect.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/repair_rig.h"

#define SECTOR 4096
#define EVENTS 1500 /* several pages of them */

static struct repair_rig rig;

static int set_up(void)
{
    return repair_rig_set_up(&rig);
}

static int tear_down(void)
{
    return repair_rig_tear_down(&rig);
}

static void append(struct queue *queue, const char *source, int count)
{
    struct error why = {0};
    char body[100];
    memset(body, 'x', sizeof body);
    for (int i = 0; i < count; i++)
        CU_ASSERT_EQUAL(queue_append(queue, source, body, sizeof body, clock_now() + REPAIR_PATIENCE_MS, &why),
                        QUEUE_STORED);
}

#define IDENTITIES 4000

/* Evenly spread, as real ones are, and in the index as if they were merged. */
static void make_identities(struct identity *identities)
{
    char path[PATH_SIZE];
    sqlite3 *db = NULL;
    sqlite3_stmt *add = NULL;
    path_join(path, rig.state, "queue.db");
    CU_ASSERT_EQUAL(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_exec(db, "BEGIN", NULL, NULL, NULL);
    sqlite3_prepare_v2(db, "INSERT INTO known VALUES (1, ?1, 0, 9000000000000)", -1, &add, NULL);
    for (uint32_t i = 0; i < IDENTITIES; i++) {
        uint32_t hash = i * 2654435761U;
        for (int b = 0; b < 4; b++)
            identities[i].key[b] = (unsigned char)(hash >> (24 - 8 * b));
        sqlite3_bind_blob(add, 1, identities[i].key, sizeof identities[i].key, SQLITE_STATIC);
        CU_ASSERT_EQUAL(sqlite3_step(add), SQLITE_DONE);
        sqlite3_reset(add);
    }
    sqlite3_finalize(add);
    CU_ASSERT_EQUAL(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void identities_beyond_a_damaged_page_are_read(void)
{
    static struct identity identities[IDENTITIES];
    static struct known known[IDENTITIES];
    bool any;
    int left = 0;
    struct loss loss;
    struct error why = {0};
    repair_rig_use(&rig, "identities");
    queue_close(repair_rig_open(&rig));
    make_identities(identities);
    repair_rig_spoil(rig.state, repair_rig_page(rig.state, "known", "pagetype = 'leaf'", 0), 0x55);
    repair_rig_mark(&rig);
    struct queue *queue = repair_rig_open(&rig);
    CU_ASSERT_TRUE(queue_look_known(queue, "one", identities, IDENTITIES, known, &why));
    for (int i = 0; i < IDENTITIES; i++)
        left += known[i].delivered;
    check(left < IDENTITIES && left > IDENTITIES - 600, "one page is lost: %d of %d are left", left, IDENTITIES);
    queue_close(queue);
    CU_ASSERT_TRUE(loss_read(rig.state, "one", &loss, &any, &why));
    CU_ASSERT_TRUE(any && !loss.identities_kept);
    double share = 0;
    const char *words = strstr(loss.words, "delivered, ");
    CU_ASSERT_TRUE(words != NULL && sscanf(words, "delivered, %lf", &share) == 1);
    check(share > 50.0 * (IDENTITIES - left) / IDENTITIES && share < 200.0 * (IDENTITIES - left) / IDENTITIES,
          "it says how much: %g %% of which %d are gone", share, IDENTITIES - left);
    repair_rig_remove(&rig);
}

static void events_of_sources_without_names_are_kept(void)
{
    bool any;
    struct loss loss;
    struct error why = {0};
    struct counts counts;
    repair_rig_use(&rig, "names");
    struct queue *queue = repair_rig_open(&rig);
    append(queue, "two", 10);
    queue_close(queue);
    repair_rig_fill(rig.state, 1, true);
    repair_rig_spoil(rig.state, repair_rig_page(rig.state, "source", "pagetype = 'leaf'", 0), 0x55);
    repair_rig_mark(&rig);
    queue = repair_rig_open(&rig);
    CU_ASSERT_TRUE(queue_count(queue, "recovered-2", &counts, &why));
    CU_ASSERT_EQUAL(counts.waiting, 10);
    queue_close(queue);
    CU_ASSERT_TRUE(loss_read(rig.state, "two", &loss, &any, &why));
    CU_ASSERT_TRUE(any && !loss.identities_kept && loss.from_ms == 0);
    repair_rig_remove(&rig);
}

/* Overwrites a disk's sector in a page with what looks random, by a generator that the test knows. */
static void spoil_sector(const char *in, long page, int sector, unsigned *random)
{
    char path[PATH_SIZE];
    path_join(path, in, "queue.db");
    FILE *file = fopen(path, "r+e");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fseek(file, page * REPAIR_PAGE + (long)sector * SECTOR, SEEK_SET);
    for (int i = 0; i < SECTOR; i++)
        fputc((int)(rand_r(random) >> 7 & 0xff), file);
    fclose(file);
}

/* How many of the ids can be found one by one, with their whole body. */
static int count_found(const char *in, int last)
{
    char path[PATH_SIZE];
    sqlite3 *db = NULL;
    sqlite3_stmt *find = NULL;
    int count = 0;
    path_join(path, in, "queue.db");
    CU_ASSERT_EQUAL(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_prepare_v2(db, "SELECT received, letter, body FROM event_1 WHERE id = ?1", -1, &find, NULL);
    for (int id = 1; id <= last; id++) {
        sqlite3_bind_int(find, 1, id);
        count += sqlite3_step(find) == SQLITE_ROW && sqlite3_column_type(find, 0) != SQLITE_NULL &&
                 sqlite3_column_blob(find, 2) != NULL;
        sqlite3_reset(find);
    }
    sqlite3_finalize(find);
    sqlite3_close(db);
    return count;
}

/* Such a page shows rows whose numbers are made up: they must not hide what stands behind them. */
static void a_spoilt_sector_hides_nothing(void)
{
    unsigned random = 1;
    char good[PATH_SIZE];
    repair_rig_use(&rig, "good");
    queue_close(repair_rig_open(&rig));
    repair_rig_fill(rig.state, EVENTS, true);
    path_join(good, rig.state, "queue.db");
    for (int round = 0; round < 16; round++) {
        char name[32];
        struct error why = {0};
        snprintf(name, sizeof name, "sector-%d", round);
        repair_rig_use(&rig, name);
        CU_ASSERT_EQUAL_FATAL(mkdir(rig.state, 0700), 0);
        CU_ASSERT_TRUE(temporary_write(rig.state, "reserve", 0600, "", 0)); /* making one takes longest */
        CU_ASSERT_TRUE_FATAL(temporary_copy(rig.state, "queue.db", 0600, good));
        spoil_sector(rig.state, repair_rig_page(rig.state, "event_1", "pagetype = 'leaf'", round % 5 - 2), round % 4,
                     &random);
        int expected = count_found(rig.state, EVENTS);
        repair_rig_mark(&rig);
        struct queue *queue = repair_rig_open(&rig);
        int there = queue_list(queue, "one", 0, EVENTS, 1 << 30, &rig.found, &why);
        check(there >= expected && there <= EVENTS, "round %d: %d of the %d that can be read are there", round, there,
              expected);
        for (size_t i = 0; i < rig.found.count; i++)
            CU_ASSERT(rig.found.at[i].id >= 1 && rig.found.at[i].id <= EVENTS);
        queue_close(queue);
        repair_rig_remove(&rig);
    }
}

/* SQLite would take it for the new database's. */
static void the_log_of_a_missing_database_is_kept_apart(void)
{
    struct error why = {0};
    struct counts counts;
    char path[PATH_SIZE];
    for (int emptied = 0; emptied < 2; emptied++) {
        repair_rig_use(&rig, emptied ? "emptied" : "log-only");
        queue_close(repair_rig_open(&rig));
        repair_rig_fill(rig.state, EVENTS, false);
        path_join(path, rig.state, "queue.db");
        CU_ASSERT_EQUAL(emptied ? truncate(path, 0) : unlink(path), 0);
        struct queue *queue = repair_rig_open(&rig);
        CU_ASSERT_TRUE(queue_count(queue, "one", &counts, &why));
        CU_ASSERT_EQUAL(counts.accepted, 0);
        CU_ASSERT_EQUAL(counts.waiting, 0);
        append(queue, "one", 3);
        queue_close(queue);
        queue = repair_rig_open(&rig);
        CU_ASSERT_EQUAL(queue_list(queue, "one", 0, EVENTS, 1 << 30, &rig.found, &why), 3);
        queue_close(queue);
        repair_rig_remove(&rig);
    }
}

static void a_missing_database_is_a_loss(void)
{
    bool any;
    char path[PATH_SIZE];
    struct loss loss;
    struct error why = {0};
    repair_rig_use(&rig, "missing");
    struct queue *queue = repair_rig_open(&rig);
    CU_ASSERT_TRUE(loss_read(rig.state, "one", &loss, &any, &why));
    CU_ASSERT_FALSE(any); /* a first start loses nothing */
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    queue_close(queue);
    path_join(path, rig.state, "queue.db");
    CU_ASSERT_EQUAL(unlink(path), 0);
    queue_close(repair_rig_open(&rig));
    CU_ASSERT_TRUE(loss_read(rig.state, "one", &loss, &any, &why));
    CU_ASSERT_TRUE(any && !loss.identities_kept && loss.from_ms == 0);
    repair_rig_remove(&rig);
}

/* ---- more is lost than what could not be read ---- */

static void run_sql(const char *text)
{
    char path[PATH_SIZE];
    sqlite3 *db = NULL;
    path_join(path, rig.state, "queue.db");
    CU_ASSERT_EQUAL(sqlite3_open(path, &db), SQLITE_OK);
    CU_ASSERT_EQUAL(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* The oldest events are gone without a page that says so, and a page in the middle cannot be read: it is said how many
 * are lost in all, and from the beginning on the Event Log is asked. */
static void what_is_missing_without_a_trace_is_told(void)
{
    enum { TRACELESS = 7 };
    bool any;
    struct loss loss;
    struct counts counts;
    struct error why = {0};
    unsigned unreadable = 0, more = 0;
    repair_rig_use(&rig, "traceless");
    queue_close(repair_rig_open(&rig));
    repair_rig_fill(rig.state, EVENTS, true);
    run_sql("DELETE FROM event_1 WHERE id <= 7; PRAGMA wal_checkpoint(TRUNCATE)");
    int spoilt = repair_rig_spoil(rig.state, repair_rig_page(rig.state, "event_1", "pagetype = 'leaf'", 0), 0x55);
    repair_rig_mark(&rig);
    struct queue *queue = repair_rig_open(&rig);
    CU_ASSERT_TRUE(queue_count(queue, "one", &counts, &why));
    queue_close(queue);
    CU_ASSERT_EQUAL(counts.lost, TRACELESS + spoilt);
    CU_ASSERT_TRUE(loss_read(rig.state, "one", &loss, &any, &why));
    CU_ASSERT_TRUE(any);
    const char *up_to = strstr(loss.words, "up to "), *and = strstr(loss.words, ", and ");
    CU_ASSERT_TRUE(up_to != NULL && sscanf(up_to, "up to %u events", &unreadable) == 1);
    CU_ASSERT_TRUE(and != NULL && sscanf(and, ", and %u more events are missing without a trace", &more) == 1);
    check(unreadable + more == counts.lost, "it says how many: %s; %llu", loss.words, (unsigned long long)counts.lost);
    check(loss.from_ms == 0, "the oldest may be of any date: %lld", (long long)loss.from_ms);
    repair_rig_remove(&rig);
}

/* ---- the first page ---- */

#define WAITING 300

/* Overwrites the beginning of the database. */
static void overwrite(int bytes, int byte)
{
    char path[PATH_SIZE];
    path_join(path, rig.state, "queue.db");
    FILE *file = fopen(path, "r+e");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    for (int i = 0; i < bytes; i++)
        fputc(byte, file);
    fclose(file);
}

/* Events of two sources wait, `in_log` of them only in the log; one is a dead letter, one delivered. */
static void make_queue(const char *name, int in_log)
{
    repair_rig_use(&rig, name);
    struct queue *queue = repair_rig_open(&rig);
    append(queue, "two", 10);
    queue_close(queue);
    run_sql("INSERT INTO letter (source, received, died, reason, body) VALUES (1, 1, 1, 'poison', 'x');"
            "INSERT INTO known VALUES (1, x'30000000000000000000000000000000', 100, 9000000000000);"
            "INSERT INTO count VALUES (1, 1, 7)");
    repair_rig_fill(rig.state, WAITING + 7 - in_log, true);
    run_sql("DELETE FROM event_1 WHERE id <= 7; PRAGMA wal_checkpoint(TRUNCATE)");
    if (in_log > 0)
        repair_rig_fill(rig.state, in_log, false);
}

static void check_nothing_is_lost(struct queue *queue, const char *when)
{
    static uint64_t ids[EVENTS];
    bool any;
    struct loss loss;
    struct known known;
    struct error why = {0};
    struct counts one = {0}, two = {0};
    struct letters letters = {0};
    const struct identity identity = {.key = {0x30}, .updated_us = 100};
    CU_ASSERT_TRUE(queue_count(queue, "one", &one, &why) && queue_count(queue, "two", &two, &why));
    int there = repair_rig_list(&rig, queue, ids, EVENTS);
    check(there == WAITING && ids[0] == 8 && ids[WAITING - 1] == WAITING + 7, "%s: %d wait", when, there);
    check(one.accepted == WAITING + 7 && one.delivered == 7 && one.waiting == WAITING && two.waiting == 10,
          "%s: counts are as they were", when);
    CU_ASSERT_EQUAL(queue_letters(queue, "one", 0, 10, 65536, &letters, &why), 1);
    letters_free(&letters);
    CU_ASSERT_TRUE(queue_look_known(queue, "one", &identity, 1, &known, &why) && known.delivered);
    CU_ASSERT_TRUE(loss_read(rig.state, "one", &loss, &any, &why) && !any);
    CU_ASSERT_TRUE(loss_read(rig.state, "two", &loss, &any, &why) && !any);
}

static void a_lost_first_page_loses_nothing(void)
{
    static const struct {
        const char *name;
        int bytes, byte, in_log;
    } cases[] = {
        {"zero", REPAIR_PAGE, 0, 0},
        {"nonsense", REPAIR_PAGE, 0x55, 0},
        {"header", 100, 0, 0},
        {"with-log", REPAIR_PAGE, 0, 200},
    };
    char path[PATH_SIZE];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make_queue(cases[i].name, cases[i].in_log);
        overwrite(cases[i].bytes, cases[i].byte);
        path_join(path, rig.state, "queue.db-shm");
        unlink(path);                                /* as after the computer was switched off */
        struct queue *queue = repair_rig_open(&rig); /* which sees the damage by itself */
        check_nothing_is_lost(queue, cases[i].name);
        queue_close(queue);
        repair_rig_remove(&rig);
    }
}

/* With the table of their names, too: it is not known which events are whose. */
static void without_names_nothing_is_given_to_a_wrong_source(void)
{
    struct error why = {0};
    struct counts counts;
    make_queue("first-and-names", 0);
    repair_rig_spoil(rig.state, repair_rig_page(rig.state, "source", "pagetype = 'leaf'", 0), 0x55);
    overwrite(REPAIR_PAGE, 0);
    repair_rig_mark(&rig);
    struct queue *queue = repair_rig_open(&rig);
    CU_ASSERT_TRUE(queue_count(queue, "recovered-1", &counts, &why) && counts.waiting == WAITING);
    CU_ASSERT_TRUE(queue_count(queue, "recovered-2", &counts, &why) && counts.waiting == 10);
    CU_ASSERT_TRUE(queue_count(queue, "one", &counts, &why) && counts.waiting == 0);
    queue_close(queue);
    repair_rig_remove(&rig);
}

/* A name that its index does not find is added once more by who opens the queue before the damage is seen. */
static void a_name_that_stands_twice_is_no_obstacle(void)
{
    static const unsigned char zeros[REPAIR_PAGE / 4];
    struct error why = {0};
    struct counts counts = {0};
    char path[PATH_SIZE];
    make_queue("names-twice", 0);
    long page = repair_rig_page(rig.state, "sqlite_autoindex_source_1", "pagetype = 'leaf'", 0);
    path_join(path, rig.state, "queue.db");
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    CU_ASSERT_EQUAL(pwrite(fd, zeros, sizeof zeros, page * REPAIR_PAGE + 3 * REPAIR_PAGE / 4), sizeof zeros);
    close(fd);
    queue_close(queue_open(&rig.made.config, &why));
    repair_rig_mark(&rig);
    struct queue *queue = queue_open(&rig.made.config, &why);
    check(queue != NULL, "it is repaired: %s", why.text);
    CU_ASSERT_TRUE(queue != NULL && queue_count(queue, "one", &counts, &why) && counts.waiting == WAITING);
    queue_close(queue);
    repair_rig_remove(&rig);
}

void suite_queue_salvage(void)
{
    static CU_TestInfo tests[] = {
        {"identities beyond a damaged page are read", identities_beyond_a_damaged_page_are_read},
        {"events of sources without names are kept", events_of_sources_without_names_are_kept},
        {"what is missing without a trace is told", what_is_missing_without_a_trace_is_told},
        {"a missing database is a loss", a_missing_database_is_a_loss},
        {"a spoilt sector hides nothing behind it", a_spoilt_sector_hides_nothing},
        {"the log of a missing database is kept apart", the_log_of_a_missing_database_is_kept_apart},
        {"a lost first page loses nothing", a_lost_first_page_loses_nothing},
        {"without names nothing is given to a wrong source", without_names_nothing_is_given_to_a_wrong_source},
        {"a name that stands twice is no obstacle", a_name_that_stands_twice_is_no_obstacle},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue salvage", set_up, tear_down, tests);
}
