/* Events that were answered 200 are gone with the database, or with a part of it: the claim falls, and reconciling
 * fetches what Close still has, once. Against the stand-in Close and through a real web server. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/close_site.h"

#define MINUTE INT64_C(60000)
#define PAGE 16384
#define DELIVERED 30
#define WAITING 20

static const struct standin_close_options usual = {.retry_ms = 20};
static const struct standin_fault away = {.act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .status = 503};

/* All have arrived, none twice but those that may. */
static void check_arrived(struct close_site *site, size_t messages)
{
    check(standin_wait_messages(site->site.standin, messages, 60000), "%zu messages arrive", messages);
    for (size_t i = 0; i < DELIVERED + WAITING; i++) {
        char id[40];
        snprintf(id, sizeof id, "ev_%zu", i);
        check(standin_find(site->site.standin, id) != NULL, "%s is there", id);
    }
    CU_ASSERT_EQUAL(standin_counts(site->site.standin).messages, messages);
}

/* Events that are delivered, and events that wait while the data plane is away; all are claimed to be complete. The
 * program has stopped. */
static bool prepare(struct close_site *site)
{
    if (!close_site_open(site, &setup_lighttpd_spawn, &usual, NULL) ||
        !check(CLOSE_RUN(site, "subscribe", "--url", close_site_url(site)) == 0, "subscribed: %s", site->said))
        return false;
    close_site_add(site, "ev", 0, DELIVERED);
    CU_ASSERT(standin_wait_messages(site->site.standin, DELIVERED, 60000));
    standin_close_move_clock(site->close, 6 * MINUTE);
    CU_ASSERT_EQUAL(CLOSE_RUN(site, "reconcile", "--json"), 0);
    CU_ASSERT(strstr(site->said, "\"complete_until\":\"2") != NULL);
    standin_fail(site->site.standin, &away);
    close_site_add(site, "ev", DELIVERED, WAITING);
    CU_ASSERT(standin_close_wait_idle(site->close, 60000));
    standin_close_move_clock(site->close, 30 * MINUTE); /* more than is read again each time */
    CU_ASSERT_EQUAL(CLOSE_RUN(site, "reconcile", "--json"), 0);
    CU_ASSERT(strstr(site->said, "\"missing\":0") != NULL);
    close_site_stop_program(site);
    return true;
}

/* Whether the text stands in what was said of the source. */
static bool has(const struct close_site *site, const char *text)
{
    const char *source = strstr(site->said, "\"default\":{");
    return source != NULL && strstr(source, text) != NULL;
}

/* After it: the claim has fallen, at once. */
static void start_anew(struct close_site *site)
{
    standin_heal(site->site.standin);
    CU_ASSERT(close_site_start_program(site));
    CU_ASSERT(site_wait_logged(&site->site, "msg=started", site->starts, 60000));
    CU_ASSERT_EQUAL(CLOSE_RUN(site, "queue", "status", "--json"), 0);
    CU_ASSERT(has(site, "\"complete_until\":null"));
    standin_close_move_clock(site->close, 36 * MINUTE);
}

static void remove_database(const struct close_site *site)
{
    static const char *const files[] = {"state/queue.db", "state/queue.db-wal", "state/queue.db-shm"};
    char path[PATH_SIZE];
    for (size_t i = 0; i < 3; i++) {
        path_join(path, site->site.directory, files[i]);
        unlink(path);
    }
}

static void a_lost_database_is_fetched_from_the_mark_on(void)
{
    struct close_site site;
    if (prepare(&site)) {
        remove_database(&site);
        start_anew(&site);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile", "--json"), 0);
        CU_ASSERT(strstr(site.said, "\"known\":0,\"missing\":20") != NULL);
        check_arrived(&site, DELIVERED + WAITING);

        /* once: the loss is over, and the claim stands again from the mark on */
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile", "--json"), 0);
        CU_ASSERT(strstr(site.said, "\"missing\":0") != NULL && strstr(site.said, "\"complete_until\":\"2") != NULL);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "check"), 0);
        check_arrived(&site, DELIVERED + WAITING);
    }
    close_site_close(&site);
}

static void spoil(const char *path, long page)
{
    FILE *file = fopen(path, "r+e");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fseek(file, (page - 1) * PAGE, SEEK_SET);
    for (int i = 0; i < PAGE; i++)
        fputc(0x55, file);
    fclose(file);
}

/* Spoils the pages of the waiting events. */
static void spoil_waiting(const struct close_site *site)
{
    char path[PATH_SIZE];
    long pages[64], count = 0;
    sqlite3 *db = NULL;
    sqlite3_stmt *find = NULL;
    path_join(path, site->site.directory, "state/queue.db");
    CU_ASSERT_EQUAL(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_prepare_v2(
        db, "SELECT pageno FROM dbstat WHERE name = 'event_' || (SELECT number FROM source WHERE name = 'default')", -1,
        &find, NULL);
    while (find != NULL && sqlite3_step(find) == SQLITE_ROW && count < 64)
        pages[count++] = (long)sqlite3_column_int64(find, 0);
    sqlite3_finalize(find);
    CU_ASSERT_EQUAL(sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    CU_ASSERT_TRUE(count > 0);
    while (count > 0)
        spoil(path, pages[--count]);
    CU_ASSERT(temporary_write(site->site.directory, "state/damaged", 0600, "", 0));
}

static void what_a_repair_cannot_read_is_fetched(void)
{
    struct close_site site;
    if (prepare(&site)) {
        spoil_waiting(&site);
        start_anew(&site);
        CU_ASSERT_EQUAL(site_count_logged(&site.site, "msg=events_lost"), 1);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile", "--json"), 0);
        check(strstr(site.said, "\"known\":30,\"missing\":20") != NULL, "%s", site.said);
        check_arrived(&site, DELIVERED + WAITING);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "queue", "status", "--json"), 0);
        CU_ASSERT(has(&site, "\"complete_until\":\"2"));
    }
    close_site_close(&site);
}

/* The command as it is printed, without its name. Returns how many words it has. */
static size_t typed(char *said, const char *words[static 8])
{
    size_t count = 0;
    char *rest = NULL, *command = strstr(said, " reconcile ");
    while (command != NULL && command > said && *command != '`')
        command--;
    command = command == NULL ? NULL : strstr(command, "closecrm.fcgi ");
    if (command == NULL)
        return 0;
    command[strcspn(command + 1, "`") + 1] = '\0';
    for (char *word = strtok_r(command + strlen("closecrm.fcgi "), " ", &rest); word != NULL && count < 7;
         word = strtok_r(NULL, " ", &rest))
        words[count++] = word;
    words[count] = NULL;
    return count;
}

/* Whether the claim that was printed begins so many days ago, or earlier. */
static bool claims_days(const struct close_site *site, int days)
{
    static const char name[] = "\"complete_since\":\"";
    char wanted[16];
    struct tm parts;
    time_t then = time(NULL) - (time_t)days * 24 * 3600;
    gmtime_r(&then, &parts);
    strftime(wanted, sizeof wanted, "%Y-%m-%d", &parts);
    const char *since = strstr(site->said, name);
    return since != NULL && strncmp(since + sizeof name - 1, wanted, strlen(wanted)) <= 0;
}

static void without_a_mark_an_operator_decides(void)
{
    struct close_site site;
    char path[PATH_SIZE], said[sizeof site.said];
    const char *words[8] = {NULL};
    if (prepare(&site)) {
        remove_database(&site);
        path_join(path, site.site.directory, "state/delivered");
        CU_ASSERT_EQUAL(unlink(path), 0);
        start_anew(&site);
        for (int i = 0; i < 2; i++) { /* and nothing lifts the claim */
            CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile", "--json"), 1);
            CU_ASSERT(strstr(site.said, "\"missing\":0") != NULL && strstr(site.said, "may count twice") != NULL);
        }
        CU_ASSERT_EQUAL(standin_counts(site.site.standin).messages, DELIVERED);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "queue", "status", "--json"), 0);
        CU_ASSERT(has(&site, "\"complete_until\":null"));
        CU_ASSERT(strstr(site.said, "\"close_trouble\":\"events from") != NULL);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "check"), 1);
        memcpy(said, site.said, sizeof said);
        CU_ASSERT_EQUAL(typed(said, words), 7); /* --config FILE among them */

        CU_ASSERT_EQUAL(close_site_run(&site, words), 0);
        check_arrived(&site, 2 * DELIVERED + WAITING); /* as it said: what was delivered comes twice */
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "check"), 0);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "queue", "status", "--json"), 0);
        CU_ASSERT(has(&site, "\"complete_until\":\"2"));
        check(claims_days(&site, 29), "it was fetched from the time that was named: %s", site.said);
    }
    close_site_close(&site);
}

void suite_close_lost(void)
{
    static CU_TestInfo tests[] = {
        {"a lost database is fetched from the mark on", a_lost_database_is_fetched_from_the_mark_on},
        {"what a repair cannot read is fetched", what_a_repair_cannot_read_is_fetched},
        {"without a mark an operator decides", without_a_mark_an_operator_decides},
        CU_TEST_INFO_NULL,
    };
    suite_add("close lost", NULL, NULL, tests);
}
