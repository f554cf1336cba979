/* No room, in every word that a kernel has for it: nothing is accepted, and it is said why; what waits is settled, in
 * parts where it must be, each event once; and events are accepted again as soon as there is room. */
#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "queue/sqlite/database.h"
#include "queue/sqlite/files.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/disk_vfs.h"
#include "tests/support/queue_rig.h"

#define PATIENCE_MS 60000
#define LARGE 20000 /* bytes of an event */

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct events found;

/* What each errno is called. */
static const struct {
    int error;
    bool space;
    const char *words;
} table[] = {
    {ENOSPC, true, "the disk is full"},
    {EDQUOT, true, "the quota is used up"},
    {EFBIG, false, "a limit on the size of files is reached (ulimit -f"},
    {EROFS, false, "the file system is read-only"},
    {ENOMEM, false, "the kernel has no memory for the write"},
};
#define ROWS (sizeof table / sizeof *table)

static int set_up(void)
{
    return queue_rig_set_up_quiet(&made, directory, state) != 0 || !disk_install();
}

static int tear_down(void)
{
    disk_remove();
    return queue_rig_tear_down_quiet(directory, &found);
}

static struct queue *open_new(const char *name)
{
    path_join(state, directory, name);
    return queue_rig_open(&made);
}

static enum queue_result append(struct queue *queue, size_t length, struct error *why)
{
    static char body[LARGE];
    memset(body, 'x', sizeof body);
    return queue_append(queue, "one", body, length, clock_now() + PATIENCE_MS, why);
}

static struct identity numbered(uint64_t number)
{
    struct identity identity = {.updated_us = 100};
    memcpy(identity.key, &number, sizeof number);
    return identity;
}

static size_t make_verdicts(struct queue *queue, enum verdict_kind kind, struct verdict *verdicts, size_t most)
{
    struct error why = {0};
    int count = queue_next(queue, "one", 0, most, (size_t)1 << 30, &found, &why);
    check(count > 0, "it can be read: %s", why.text);
    for (int i = 0; i < count; i++)
        verdicts[i] = (struct verdict){
            .id = found.at[i].id, .kind = kind, .identity = numbered(found.at[i].id), .remember = true, .reason = "no"};
    return count > 0 ? (size_t)count : 0;
}

static bool has_room_within(struct queue *queue, int64_t ms)
{
    struct error words;
    moment deadline = clock_now() + ms;
    while (!queue_has_room(queue, &words) && clock_now() < deadline)
        usleep(10000);
    return queue_has_room(queue, &words);
}

/* ---- words ---- */

static void an_append_says_what_is_full(void)
{
    struct queue *queue = open_new("words"), *other = open_new("words");
    static const int codes[] = {SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC};
    for (size_t i = 0; i < ROWS * 2; i++) {
        struct error why = {0};
        disk_fail_with(1, true, codes[i % 2], table[i / 2].error);
        enum queue_result result = append(queue, 1000, &why);
        disk_fail(0, false, SQLITE_OK);
        /* In one process a log that cannot be synced may never be asked to be. */
        check(result == QUEUE_FULL && strstr(why.text, table[i / 2].words) == why.text, "errno %d: %d: %s",
              table[i / 2].error, (int)result, why.text);
        struct error words = {0};
        CU_ASSERT_FALSE(queue_has_room(other, &words)); /* all processes know */
        check(strstr(words.text, table[i / 2].words) == words.text, "errno %d: %s", table[i / 2].error, words.text);
        check(append(queue, 1000, &why) == QUEUE_STORED, "and then it works again");
        CU_ASSERT_TRUE(queue_has_room(other, &words));
    }
    struct error why = {0}, words;
    disk_fail_with(1, true, SQLITE_IOERR_WRITE, EFBIG);
    CU_ASSERT_EQUAL(append(queue, 1000, &why), QUEUE_FULL);
    disk_fail(0, false, SQLITE_OK);
    CU_ASSERT_FALSE(queue_has_room(queue, &words));
    CU_ASSERT_EQUAL(append(other, 1000, &why), QUEUE_STORED); /* its first: what the other noted is over */
    CU_ASSERT_TRUE(queue_has_room(queue, &words));
    queue_close(other);
    disk_fail_with(1, true, SQLITE_IOERR_WRITE, EIO);
    CU_ASSERT_EQUAL(append(queue, 1000, &why), QUEUE_BROKEN); /* a failing disk is not a full one */
    disk_fail_with(1, true, SQLITE_FULL, 0);
    CU_ASSERT_EQUAL(append(queue, 1000, &why), QUEUE_FULL);
    disk_fail(0, false, SQLITE_OK);
    queue_close(queue);
}

/* What needs room gets the reserve's; what another error stops does not. All processes know why. */
static void a_settling_gives_up_the_reserve(void)
{
    for (size_t i = 0; i < ROWS; i++) {
        char name[32];
        struct error why = {0}, words = {0};
        struct verdict verdict;
        snprintf(name, sizeof name, "settle-%zu", i);
        struct queue *queue = open_new(name);
        CU_ASSERT_EQUAL(append(queue, 1000, &why), QUEUE_STORED);
        CU_ASSERT_EQUAL(make_verdicts(queue, VERDICT_DELIVERED, &verdict, 1), 1);
        disk_fail_with(1, false, SQLITE_IOERR_WRITE, table[i].error);
        bool settled = queue_settle(queue, "one", &verdict, 1, &why);
        CU_ASSERT_TRUE(disk_failed());
        disk_fail(0, false, SQLITE_OK);
        check(settled == table[i].space && reserve_is_there(state) != table[i].space, "errno %d: settled %d",
              table[i].error, settled);
        if (table[i].space) {
            CU_ASSERT_EQUAL(no_room_of(state), table[i].error);
            check(append(queue, 1000, &why) == QUEUE_FULL && strstr(why.text, table[i].words) == why.text, "%s",
                  why.text);
            struct queue *other = queue_open(&made.config, &why); /* makes it again */
            CU_ASSERT_TRUE(queue_has_room(other, &words));
            CU_ASSERT_EQUAL(no_room_of(state), 0);
            queue_close(other);
        }
        CU_ASSERT_EQUAL(append(queue, 1000, &why), QUEUE_STORED);
        queue_close(queue);
    }
}

/* ---- halves ---- */

#define EVENTS 60
#define LOG_ROOM ((size_t)400 * 1024) /* a third of what all of them need as dead letters */

/* What is not settled yet is neither counted nor known. */
static void check_parts(struct queue *queue, const struct verdict *verdicts, size_t count)
{
    struct counts counts = queue_rig_counts(queue, "one");
    size_t dead = 0;
    check(counts.dead + counts.waiting == count, "%llu dead, %llu wait", (unsigned long long)counts.dead,
          (unsigned long long)counts.waiting);
    for (size_t i = 0; i < count; i++) {
        struct known known;
        struct error why = {0};
        CU_ASSERT_TRUE(queue_known(queue, "one", &verdicts[i].identity, 1, &known, &why));
        dead += known.dead;
    }
    CU_ASSERT_EQUAL(dead, counts.dead);
}

static void a_settling_that_does_not_fit_is_halved(void)
{
    static struct verdict verdicts[EVENTS];
    struct error why = {0};
    unsigned tries = 0;
    bool settled = false;
    struct queue *queue = open_new("halves");
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    for (size_t i = 0; i < EVENTS; i++)
        CU_ASSERT_EQUAL(append(queue, LARGE, &why), QUEUE_STORED);
    CU_ASSERT_EQUAL(make_verdicts(queue, VERDICT_DEAD, verdicts, EVENTS), EVENTS);
    disk_limit_log(LOG_ROOM);
    for (moment deadline = clock_now() + PATIENCE_MS; !settled && clock_now() < deadline; tries++) {
        settled = queue_settle(queue, "one", verdicts, EVENTS, &why);
        CU_ASSERT_TRUE(disk_failed());
        check_parts(queue, verdicts, EVENTS);
        if (!settled)
            usleep(20000); /* the housekeeper checkpoints: the log begins anew */
    }
    printf("(%u tries) ", tries);
    check(settled, "all is settled at last: %s", why.text);
    disk_limit_log(0);
    struct counts counts = queue_rig_counts(queue, "one");
    CU_ASSERT_EQUAL(counts.dead, EVENTS);
    CU_ASSERT_EQUAL(counts.waiting, 0);
    check(has_room_within(queue, PATIENCE_MS), "there is room again");
    CU_ASSERT_EQUAL(append(queue, LARGE, &why), QUEUE_STORED);
    queue_close(queue);
}

/* The bytes of events that are deleted do not go through the log. */
static void deleting_needs_little_room(void)
{
    static struct verdict verdicts[EVENTS];
    struct error why = {0};
    struct queue *queue = open_new("small");
    for (size_t i = 0; i < EVENTS; i++)
        CU_ASSERT_EQUAL(append(queue, LARGE, &why), QUEUE_STORED);
    CU_ASSERT_EQUAL(make_verdicts(queue, VERDICT_DELIVERED, verdicts, EVENTS), EVENTS);
    char log[PATH_SIZE];
    struct stat before, after;
    path_join(log, state, "queue.db-wal");
    CU_ASSERT_EQUAL(stat(log, &before), 0);
    CU_ASSERT_TRUE(queue_settle(queue, "one", verdicts, EVENTS, &why));
    CU_ASSERT_EQUAL(stat(log, &after), 0);
    check(after.st_size - before.st_size < (off_t)EVENTS * LARGE / 4, "%lld bytes of log for %d bytes of events",
          (long long)(after.st_size - before.st_size), EVENTS * LARGE);
    queue_close(queue);
}

/* Nobody copies the log here: yet the database has all the room that copying will need, for where there is none any
 * more nothing can be settled, ever. */
static void what_is_accepted_has_its_room(void)
{
    enum { APPENDED = 100 };
    struct stat status = {0};
    struct error why = {0};
    char database[PATH_SIZE];
    struct queue *queue = open_new("room");
    disk_fail_with(1, false, SQLITE_IOERR_WRITE, EDQUOT); /* a quota shows only so */
    CU_ASSERT_EQUAL(append(queue, LARGE, &why), QUEUE_FULL);
    disk_fail(0, false, SQLITE_OK);
    for (int i = 0; i < APPENDED; i++)
        CU_ASSERT_EQUAL(append(queue, LARGE, &why), QUEUE_STORED);
    path_join(database, state, "queue.db");
    CU_ASSERT_EQUAL(stat(database, &status), 0);
    check(status.st_blocks * 512 >= (off_t)APPENDED * LARGE, "%lld bytes for %d bytes of events",
          (long long)status.st_blocks * 512, APPENDED * LARGE);
    queue_close(queue);
}

/* Without a log a refused append leaves its journal where undoing it finds no room either, as where every write takes
 * new blocks: nothing can be read before it is undone. Returns whether it is so after the n-th call failed. */
static bool leave_journal(struct queue *queue, unsigned n)
{
    struct error why = {0};
    disk_fail_with(n, true, SQLITE_IOERR_WRITE, EDQUOT);
    bool refused = append(queue, LARGE, &why) == QUEUE_FULL;
    int count = refused ? queue_next(queue, "one", 0, 10, (size_t)1 << 20, &found, &why) : 0;
    return count < 0 && strstr(why.text, "the quota is used up") == why.text;
}

/* reading: by who forwards; else when the queue is opened. */
static void check_undone(bool reading)
{
    bool seen = false;
    disk_without_maps(true);
    for (unsigned n = 1; n < 40 && !seen; n++) {
        char name[32];
        struct error why = {0};
        snprintf(name, sizeof name, "undone-%d-%u", reading, n);
        struct queue *queue = open_new(name);
        CU_ASSERT_EQUAL(append(queue, LARGE, &why), QUEUE_STORED);
        CU_ASSERT_TRUE(!reading || queue_claim(queue, &why));
        seen = leave_journal(queue, n) && reserve_is_there(state) != reading;
        if (seen && !reading) {
            CU_ASSERT_PTR_NULL(queue_open(&made.config, &why));
            CU_ASSERT_FALSE(reserve_is_there(state));
        }
        disk_fail(0, false, SQLITE_OK);
        queue_close(queue);
    }
    disk_without_maps(false);
    check(seen, "the reserve is given up for what is to be undone, when it is %s", reading ? "read" : "opened");
}

static void what_is_to_be_undone_has_the_reserve(void)
{
    check_undone(true);
    check_undone(false);
}

/* In a child, whose limit lets it make a small reserve only. */
static int make_reserves(void)
{
    struct rlimit limit = {(rlim_t)16 << 20, (rlim_t)16 << 20};
    const int64_t full = (int64_t)64 << 20;
    setrlimit(RLIMIT_FSIZE, &limit);
    signal(SIGXFSZ, SIG_IGN);
    if (!reserve_make(state, full, 0) || reserve_given_up(state) != 0)
        return 1;
    reserve_give_up(state, EDQUOT);
    if (reserve_given_up(state) <= 0 || no_room_of(state) != EDQUOT)
        return 2;
    if (reserve_make(state, full, full) || reserve_is_there(state))
        return 3;
    return reserve_make(state, full, reserve_given_up(state)) ? 0 : 4;
}

static void a_reserve_that_was_needed_is_needed_whole(void)
{
    int status = 0;
    path_join(state, directory, "whole");
    CU_ASSERT_EQUAL(mkdir(state, 0700), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(make_reserves());
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "no smaller one is made than is asked for: status %d", status);
}

/* ---- a limit on the size of files ---- */

/* In a child: the limit stays its own. Returns how many events were stored before one was refused, and all are settled;
 * 0: something went wrong. */
static unsigned fill_under_limit(void)
{
    struct rlimit limit = {(rlim_t)16 << 20, (rlim_t)16 << 20};
    struct error why = {0};
    static struct verdict verdicts[1000];
    unsigned stored = 0;
    setrlimit(RLIMIT_FSIZE, &limit);
    signal(SIGXFSZ, SIG_IGN);
    struct queue *queue = queue_open(&made.config, &why);
    if (queue == NULL || !queue_claim(queue, &why))
        return 0;
    enum queue_result result = QUEUE_STORED;
    for (; result == QUEUE_STORED && stored < 1000; stored++)
        result = append(queue, LARGE, &why);
    if (result != QUEUE_FULL || strstr(why.text, "ulimit -f") == NULL)
        return 0;
    int count = queue_next(queue, "one", 0, 1000, (size_t)1 << 30, &found, &why);
    for (int i = 0; i < count; i++)
        verdicts[i] = (struct verdict){.id = found.at[i].id, .kind = VERDICT_DELIVERED};
    bool settled = count == (int)stored - 1;
    for (moment deadline = clock_now() + PATIENCE_MS; settled && clock_now() < deadline; usleep(20000)) {
        if (queue_settle(queue, "one", verdicts, (size_t)count, &why))
            break;
    }
    settled = settled && queue_rig_counts(queue, "one").waiting == 0 && append(queue, LARGE, &why) == QUEUE_STORED;
    queue_close(queue);
    return settled ? stored : 0;
}

static void a_limit_on_files_stops_accepting_only(void)
{
    int status = 0;
    path_join(state, directory, "limit");
    made.config.state_dir = state;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(fill_under_limit() > 100 ? 0 : 1);
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "it fills up, says so, and drains: status %d", status);
}

/* In a child, as above: only opens it, and tests it as the process does that accepts events. */
static int open_under_limit(void)
{
    struct rlimit limit = {1 << 20, 1 << 20};
    struct error why = {0}, words = {0};
    setrlimit(RLIMIT_FSIZE, &limit);
    signal(SIGXFSZ, SIG_IGN);
    struct queue *queue = queue_open(&made.config, &why);
    if (queue == NULL || queue_has_room(queue, &words) || strstr(words.text, "ulimit -f") == NULL)
        return 1;
    bool good =
        !queue_probe(queue, true, &why) && strstr(why.text, "ulimit -f") != NULL && !queue_has_room(queue, &words);
    queue_close(queue);
    return good ? 0 : 2;
}

/* All processes know it before an event is refused; a command, which has no such limit, does not say that it is over,
 * but a program that was started without it does. */
static void a_limit_below_the_queue_is_known_at_once(void)
{
    struct error why = {0};
    int status = 0;
    struct queue *queue = open_new("below");
    for (size_t i = 0; i < 100; i++)
        CU_ASSERT_EQUAL(append(queue, LARGE, &why), QUEUE_STORED);
    queue_close(queue);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(open_under_limit());
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "it knows at once: status %d", status);
    queue = queue_rig_open(&made);
    CU_ASSERT_FALSE(queue_has_room(queue, &why));
    CU_ASSERT_TRUE(queue_probe(queue, false, &why));
    CU_ASSERT_FALSE(queue_has_room(queue, &why));
    CU_ASSERT_TRUE(queue_probe(queue, true, &why));
    CU_ASSERT_TRUE(queue_has_room(queue, &why));
    queue_close(queue);
}

/* ---- where a log cannot be had ---- */

#define NO_LOCAL_DISK "/proc"

/* A database with a log, which the version before made there, is used without one once nobody else has it open; what
 * stands in the log only is not lost. */
static void a_log_is_left(void)
{
    struct error why = {0};
    struct queue *queue = open_new("log");
    for (size_t i = 0; i < 10; i++)
        CU_ASSERT_EQUAL(append(queue, LARGE, &why), QUEUE_STORED);
    char path[PATH_SIZE], log[PATH_SIZE];
    path_join(path, state, "queue.db");
    path_join(log, state, "queue.db-wal");
    for (int alone = 0; alone < 2; alone++) {
        struct database database = {.write_lock = -1};
        struct stat status;
        CU_ASSERT_EQUAL(stat(log, &status), 0);
        CU_ASSERT(status.st_size > 10 * LARGE);
        CU_ASSERT_EQUAL(database_connect(&database, path), DATABASE_DONE);
        enum database_result result = database_set_journal_mode(&database, NO_LOCAL_DISK);
        check(alone ? result == DATABASE_DONE && !database.wal : result != DATABASE_DONE, "%d: %s", (int)result,
              database.why.text);
        CU_ASSERT_EQUAL(access(log, F_OK) == 0, !alone);
        database_close(&database);
        if (!alone)
            queue_close(queue);
    }
    queue = open_new("log"); /* and back */
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "one").waiting, 10);
    queue_close(queue);
}

/* By hand, or by somebody's tidying: that is no full disk, and whoever stores an event makes it anew. */
static void a_removed_reserve_comes_back(void)
{
    char reserve[PATH_SIZE];
    struct error why = {0}, words;
    struct queue *queue = open_new("reserve-removed");
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    CU_ASSERT_EQUAL(append(queue, 10, &why), QUEUE_STORED);
    CU_ASSERT_TRUE(has_room_within(queue, PATIENCE_MS));
    usleep(300000); /* the housekeeper's first look, after which the next one would come with its beat */
    path_join(reserve, state, "reserve");
    CU_ASSERT_EQUAL(unlink(reserve), 0);
    CU_ASSERT_TRUE(queue_has_room(queue, &words));
    check(append(queue, 10, &why) == QUEUE_STORED, "the next event is taken: %s", why.text);
    CU_ASSERT_TRUE(reserve_is_there(state));
    reserve_give_up(state, ENOSPC); /* that is no removal */
    CU_ASSERT_FALSE(queue_has_room(queue, &words));
    queue_close(queue);
}

void suite_queue_sqlite_room(void)
{
    static CU_TestInfo tests[] = {
        {"an append says what is full", an_append_says_what_is_full},
        {"a settling gives up the reserve", a_settling_gives_up_the_reserve},
        {"a settling that does not fit is halved", a_settling_that_does_not_fit_is_halved},
        {"deleting needs little room", deleting_needs_little_room},
        {"what is accepted has its room in the database", what_is_accepted_has_its_room},
        {"what is to be undone has the reserve's room", what_is_to_be_undone_has_the_reserve},
        {"a reserve that was needed is needed whole", a_reserve_that_was_needed_is_needed_whole},
        {"a limit on the size of files stops accepting only", a_limit_on_files_stops_accepting_only},
        {"a limit below the queue is known at once", a_limit_below_the_queue_is_known_at_once},
        {"a log is left where it cannot be had", a_log_is_left},
        {"a reserve that was removed comes back at once", a_removed_reserve_comes_back},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue sqlite room", set_up, tear_down, tests);
}
