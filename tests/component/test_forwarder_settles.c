/* What is sent and cannot be noted as delivered would be sent again after each start: a process that has not settled
 * anything yet sends only what it has shown that it can settle. */
#include "queue/sqlite/database.h"
#include "queue/sqlite/files.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/commands_run.h"
#include "tests/support/forward_rig.h"
#include "tests/support/small_disk.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define EVENTS 150
#define FILLER 20000       /* bytes: all are more than the limit below, in the log as in the database */
#define LIMIT (512 * 1024) /* of a file */
#define BATCH 25
#define LANES 4
#define RESTARTS 3

static struct rig rig;
static struct rlimit unlimited;
static int quiet_from = -1;

static void limit_files(rlim_t bytes)
{
    struct rlimit limit = {.rlim_cur = bytes, .rlim_max = unlimited.rlim_max};
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void fill(void)
{
    for (unsigned i = 0; i < EVENTS; i++) {
        char id[32], lead[32];
        snprintf(id, sizeof id, "ev_%u", i);
        snprintf(lead, sizeof lead, "lead_%u", i);
        rig_append_options(&rig, &(struct event_options){.id = id, .lead = lead, .filler = FILLER});
    }
}

/* All of the log is copied into the database: it begins anew, with room up to the limit. */
static void empty_log(void)
{
    char path[PATH_SIZE];
    struct database database = {.write_lock = -1};
    path_join(path, rig.state, "queue.db");
    int yes = 1;
    CU_ASSERT_EQUAL(database_connect(&database, path), DATABASE_DONE);
    sqlite3_file_control(database.db, "main", SQLITE_FCNTL_PERSIST_WAL, &yes);
    CU_ASSERT_EQUAL(sqlite3_exec(database.db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL), SQLITE_OK);
    database_close(&database);
}

/* A queue with waiting events, which nobody has open. They stand in the log, or (copied) in the database. */
static void begin(bool copied)
{
    rig_prepare(&rig);
    rig.made.config.lanes = LANES;
    rig.made.config.batch_events = BATCH;
    rig_open(&rig);
    fill();
    queue_close(rig.queue);
    if (copied)
        empty_log();
}

/* Waits until it is found that nothing can be settled, or nothing waits any more. */
static void wait_for_end(struct queue *other)
{
    struct error words, why;
    struct counts counts = {.waiting = 1};
    moment deadline = clock_now() + RIG_PATIENCE_MS;
    while (queue_can_be_settled(other, &words) && counts.waiting > 0 && clock_now() < deadline) {
        usleep(2000);
        CU_ASSERT_TRUE(queue_count(other, "one", &counts, &why));
    }
}

/* Starts and stops it some times. Returns how many messages the data plane has got by then. */
static size_t messages_after_restarts(unsigned restarts)
{
    for (unsigned i = 0; i < restarts; i++) {
        struct error why = {0};
        rig_open(&rig);
        unsettled_note(rig.state, 0);
        rig_run(&rig);
        struct queue *other = queue_open(&rig.made.config, &why);
        CU_ASSERT_PTR_NOT_NULL_FATAL(other);
        wait_for_end(other);
        queue_close(other);
        rig_halt(&rig);
    }
    return standin_counts(rig.standin).messages;
}

static void check_all_arrive(size_t repeated_most)
{
    rig_open(&rig);
    rig_run(&rig);
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
    struct standin_counts counts = standin_counts(rig.standin);
    check(counts.messages - counts.repeated == EVENTS && counts.repeated <= repeated_most, "%zu messages, %zu repeated",
          counts.messages, counts.repeated);
    printf("(%zu repeated) ", counts.repeated);
    rig_end(&rig);
}

static void check_says_so(void)
{
    static struct ran ran;
    char text[PATH_SIZE + 256];
    snprintf(text, sizeof text, "data_plane_url = %s\nstate_dir = %s\n[source one]\nwrite_key = wk_one\n", rig.url,
             rig.state);
    configuration_use(text);
    RUN(&ran, NULL, "check");
    configuration_forget();
    check(strstr(ran.out, "WRONG: source one: nothing is forwarded") != NULL && strstr(ran.out, "ulimit -f") != NULL,
          "%s", ran.out);
}

/* A limit below the size that the queue has already. */
static void restarts_under_a_limit_on_files_repeat_nothing(void)
{
    for (int copied = 0; copied < 2; copied++) {
        begin(copied);
        limit_files(LIMIT);
        size_t before = messages_after_restarts(2); /* what fits is settled; what was in flight then is not */
        check_says_so();
        size_t after = messages_after_restarts(RESTARTS);
        limit_files(unlimited.rlim_cur);
        check(before <= EVENTS && after == before, "copied %d: %zu messages, %zu after more restarts", copied, before,
              after);
        check_all_arrive(LANES * BATCH);
    }
}

/* The same on a disk that was full before, without the reserve. */
static void restarts_on_a_full_disk_without_reserve_send_nothing(void)
{
    char file[PATH_SIZE];
    rig_prepare(&rig);
    CU_ASSERT_TRUE(temporary_directory(rig.directory, "state"));
    if (small_disk_mount(rig.state, "40m")) {
        CU_ASSERT_EQUAL(chown(rig.state, geteuid(), getegid()), 0); /* it is made for the children's user */
        rig_open(&rig);
        fill();
        queue_close(rig.queue);
        empty_log();
        path_join(file, rig.state, "reserve");
        CU_ASSERT_EQUAL(unlink(file), 0);
        small_disk_fill(rig.state, "other");
        CU_ASSERT_EQUAL(messages_after_restarts(RESTARTS), 0);
        path_join(file, rig.state, "other");
        CU_ASSERT_EQUAL(unlink(file), 0);
        rig_open(&rig);
        rig_run(&rig);
        CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
        CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, EVENTS);
        rig_halt(&rig);
        small_disk_unmount(rig.state);
    }
    standin_stop(rig.standin);
    temporary_remove(rig.directory);
}

static int set_up(void)
{
    int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
    quiet_from = dup(STDERR_FILENO);
    if (nothing < 0 || dup2(nothing, STDERR_FILENO) < 0)
        return 1;
    close(nothing);
    signal(SIGXFSZ, SIG_IGN); /* as the program does */
    return getrlimit(RLIMIT_FSIZE, &unlimited);
}

static int tear_down(void)
{
    dup2(quiet_from, STDERR_FILENO);
    close(quiet_from);
    return 0;
}

void suite_forwarder_settles(void)
{
    static CU_TestInfo tests[] = {
        {"restarts under a limit on files repeat nothing", restarts_under_a_limit_on_files_repeat_nothing},
        {"restarts on a full disk without the reserve send nothing",
         restarts_on_a_full_disk_without_reserve_send_nothing},
        CU_TEST_INFO_NULL,
    };
    suite_add("forwarder settles", set_up, tear_down, tests);
}
