/* cron: what it mails is so, and is mailed once; what it says, as forward does, where it can do nothing. */
#include "tests/suites.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"
#include "tests/support/check.h"
#include "tests/support/commands_made.h"
#include "tests/support/commands_run.h"
#include "tests/support/small_disk.h"
#include "tests/support/temporary.h"

#define CLOSE_KEEPS "Close keeps its events meanwhile"

static struct ran ran;

/* That Close keeps events is said only where they are refused. */
static void a_disk_is_nearly_full_and_full(void)
{
    made_begin();
    if (small_disk_mount(made_state(), "24m")) {
        CU_ASSERT_EQUAL(chmod(made_state(), 0700), 0);
        CU_ASSERT_EQUAL(chown(made_state(), geteuid(), getegid()), 0);
        RUN(&ran, NULL, "cron", "--seconds", "1");
        CU_ASSERT_EQUAL(ran.code, 1);
        CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "is nearly full ("));
        CU_ASSERT_PTR_NULL(strstr(ran.err, CLOSE_KEEPS));
        small_disk_fill(made_state(), "other");
        RUN(&ran, NULL, "cron", "--seconds", "1");
        CU_ASSERT_EQUAL(ran.code, 1);
        CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, CLOSE_KEEPS ", for 72 hours: the disk is full: make room on the disk"));
        CU_ASSERT_PTR_NULL(strstr(ran.err, "nearly full"));
        small_disk_unmount(made_state());
    }
    made_end();
}

/* How many lines were mailed. */
static int cron_lines(int code)
{
    int lines = 0;
    RUN(&ran, NULL, "cron", "--seconds", "1");
    CU_ASSERT_EQUAL(ran.code, code);
    for (const char *c = ran.err; *c != '\0'; c++)
        lines += *c == '\n';
    return lines;
}

/* What was told is as old as a day, and so is what lasts. */
static void let_a_day_pass(void)
{
    static const char letters[] = "\0\0\0\0\0\0\0\0"; /* a record of another sum is none */
    char path[PATH_SIZE];
    path_join(path, made_state(), "cron-told.1");
    int fd = open(path, O_WRONLY);
    CU_ASSERT_EQUAL(pwrite(fd, letters, 8, 0), 8);
    close(fd);
}

#define WITH_STRAY MADE_TEXT "[source gone]\nwrite_key = 3234567890abcdefghijklmnopq\n"

/* A source is removed while one of its events waits: each minute that is so, and it is mailed once, and once when it is
 * over. */
static void a_problem_is_mailed_once_and_when_it_is_over(void)
{
    char event[512];
    made_begin();
    CU_ASSERT_EQUAL(cron_lines(0), 0);
    made_configure(WITH_STRAY);
    made_append("gone", made_event(event, "lead", "updated", "ev_1", "lead_1"));
    made_configure(MADE_TEXT);
    CU_ASSERT_EQUAL(cron_lines(1), 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "cron: source gone: 1 event waits for a source that is not in"));
    for (int i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(cron_lines(1), 0);
    let_a_day_pass();
    CU_ASSERT_EQUAL(cron_lines(1), 1);
    RUN(&ran, NULL, "queue", "move", "gone", "two");
    made_configure(MADE_TEXT "drop = lead.*\n"); /* of two: it is dropped */
    CU_ASSERT_EQUAL(cron_lines(0), 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "cron: source gone: it is over, after it was so since 20"));
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, ": 1 event waits for a source"));
    CU_ASSERT_EQUAL(cron_lines(0), 0);
    made_end();
}

/* There is no alert_interval then, nor a state directory: it is remembered beside the file. */
static void a_faulty_configuration_is_mailed_once(void)
{
    char folder[PATH_SIZE];
    made_begin();
    path_join(folder, made_state(), "..");
    CU_ASSERT_EQUAL(chown(folder, geteuid(), getegid()), 0); /* nothing is left in somebody else's */
    made_configure(MADE_TEXT "no_such_key = 1\n");
    CU_ASSERT_EQUAL(cron_lines(3), 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "no_such_key"));
    CU_ASSERT_EQUAL(cron_lines(3), 0);
    made_configure(MADE_TEXT "no_such_other_key = 1\n");
    CU_ASSERT_EQUAL(cron_lines(3), 2); /* another one, and the first is over */
    made_configure(MADE_TEXT);
    CU_ASSERT_EQUAL(cron_lines(0), 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "it is over"));
    CU_ASSERT_EQUAL(cron_lines(0), 0);
    made_end();
}

/* The example has lines, to be copied; what is over is said in one. */
static void without_a_configuration_there_is_an_example(void)
{
    struct error why = {0};
    const char *last;
    struct config *config = config_load(&why);
    if (config != NULL || strstr(why.text, "there is no configuration") == NULL) {
        config_free(config); /* this machine has one: nothing to see here */
        return;
    }
    RUN(&ran, NULL, "cron");
    CU_ASSERT_EQUAL(ran.code, 3);
    CU_ASSERT_EQUAL(strncmp(ran.err, "cron: there is no configuration: ", 33), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "for example:\ndata_plane_url = https://DATA_PLANE\nwrite_key = "));
    CU_ASSERT_PTR_NULL(strstr(ran.err, "u000a"));
    last = strrchr(ran.err, '=');
    CU_ASSERT(last != NULL && strcmp(last, "= KEY_OF_THE_CLOSE_SUBSCRIPTION\n") == 0);
}

/* Each minute the log's line says it again. */
static void lines_of_the_log_are_mailed_once(void)
{
    char text[sizeof MADE_TEXT + 100];
    made_begin();
    snprintf(text, sizeof text, "alert_command = /bin/false\nalert_interval = 1h\n%s", MADE_TEXT);
    char event[512];
    made_settle("one", made_event(event, "lead", "updated", "ev_1", "lead_1"), "no");
    made_configure(text);
    CU_ASSERT_EQUAL(cron_lines(0), 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "error msg=alert_command_failed cause=dead_letters"));
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "cron: 1 new dead letter"));
    CU_ASSERT_EQUAL(cron_lines(0), 0);
    made_end();
}

/* Nobody forwards then, this process neither. */
static void a_queue_that_cannot_be_claimed_is_wrong(void)
{
    static const char reason[] = "no such table";
    char path[PATH_SIZE], event[512];
    sqlite3 *db;
    made_begin();
    made_append("one", made_event(event, "lead", "updated", "ev_1", "lead_1"));
    path_join(path, made_state(), "queue.db");
    CU_ASSERT_EQUAL(sqlite3_open(path, &db), SQLITE_OK);
    CU_ASSERT_EQUAL(sqlite3_exec(db, "DROP TABLE journal", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    CU_ASSERT(cron_lines(1) > 0);
    check(strstr(ran.err, reason) != NULL, "%s", ran.err);
    RUN(&ran, NULL, "forward");
    check(ran.code == 4 && strstr(ran.err, reason) != NULL, "forward: %d, %s", ran.code, ran.err);
    RUN(&ran, NULL, "queue", "set-aside", "1", "--source", "one");
    check(ran.code != 0 && strstr(ran.err, reason) != NULL, "set-aside: %d, %s", ran.code, ran.err);
    made_end();
}

/* The same with a server that is away. Where libpq is missing, too. */
static void a_database_that_is_away_is_wrong(void)
{
    made_begin();
    made_configure("queue = postgresql\nqueue_url = postgresql://nobody@/nothing?host=/nowhere\n" MADE_TEXT);
    CU_ASSERT(cron_lines(1) > 0);
    RUN(&ran, NULL, "forward");
    check(ran.code == 4 && strstr(ran.err, "forward: ") != NULL, "forward: %d, %s", ran.code, ran.err);
    RUN(&ran, NULL, "queue", "status");
    check(ran.code == 4 && strstr(ran.err, "queue status: ") != NULL, "queue status: %d, %s", ran.code, ran.err);
    RUN(&ran, NULL, "dead", "list");
    check(ran.code == 4 && strstr(ran.err, "dead list: ") != NULL, "dead list: %d, %s", ran.code, ran.err);
    made_end();
}

/* The pause after a failure ends for who asks, whether the data plane takes it or not. */
static void what_waits_is_tried_on_request(void)
{
    char path[PATH_SIZE], event[512];
    struct stat file;
    made_begin();
    path_join(path, made_state(), "mended");
    made_append("one", made_event(event, "lead", "updated", "ev_1", "lead_1"));
    RUN(&ran, NULL, "queue", "retry", "--source", "one");
    CU_ASSERT_EQUAL(ran.code, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "source one: data plane: WRONG: "));
    CU_ASSERT_PTR_NULL(strstr(ran.out, "source two: "));
    CU_ASSERT_PTR_NOT_NULL(strstr(
        ran.out, made_advice("What waits is tried as soon as a process forwards; none does now: `", "forward`\n")));
    CU_ASSERT_EQUAL(stat(path, &file), 0);
    RUN(&ran, NULL, "queue", "retry", "--source", "three");
    CU_ASSERT_EQUAL(ran.code, 2);
    made_configure("data_plane_url = file:///dev/null\nwrite_key = 1234567890abcdefghijklmnopq\n");
    struct queue *queue = made_open();
    struct error why = {0};
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    RUN(&ran, NULL, "queue", "retry");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "source default: data plane: ok: "));
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "What waits is tried now: process "));
    made_close(queue);
    made_configure("queue = none\ndata_plane_url = file:///dev/null\nwrite_key = 1234567890abcdefghijklmnopq\n");
    RUN(&ran, NULL, "queue", "retry");
    CU_ASSERT_EQUAL(ran.code, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "keeps nothing"));
    made_end();
}

void suite_commands_cron(void)
{
    static CU_TestInfo tests[] = {
        {"a problem is mailed once, and when it is over", a_problem_is_mailed_once_and_when_it_is_over},
        {"a faulty configuration is mailed once", a_faulty_configuration_is_mailed_once},
        {"without a configuration there is an example", without_a_configuration_there_is_an_example},
        {"lines of the log are mailed once", lines_of_the_log_are_mailed_once},
        {"a queue that cannot be claimed is wrong", a_queue_that_cannot_be_claimed_is_wrong},
        {"a database that is away is wrong", a_database_that_is_away_is_wrong},
        {"a disk is nearly full, and full", a_disk_is_nearly_full_and_full},
        {"what waits is tried on request", what_waits_is_tried_on_request},
        CU_TEST_INFO_NULL,
    };
    suite_add("commands: cron", NULL, NULL, tests);
}
