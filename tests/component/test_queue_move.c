/* queue_move: what was delivered, dead letters and counts follow a renamed source, while another process forwards, and
 * whenever the move is killed. One table of cases for both engines. */
#include "tests/suites.h"

#include <poll.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/queue_rig.h"

#define DELIVERED 120
#define WAITING 700 /* more than one step moves */
#define DEAD 130    /* likewise */
#define KILLED 9

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct queue_rig_engine engine;
static struct events found;

static int begin_sqlite(void)
{
    return queue_rig_set_up(&made, directory, state);
}

static int begin_postgresql(void)
{
    return begin_sqlite() != 0 || !queue_rig_postgresql(&engine, &made);
}

static int end(void)
{
    queue_rig_engine_end(&engine);
    return queue_rig_tear_down(directory, &found);
}

static struct queue *open_new(const char *name)
{
    path_join(state, directory, name);
    queue_rig_new(&engine, &made);
    return queue_rig_open(&made);
}

static struct identity identity_of(unsigned number, int64_t updated_us)
{
    struct identity identity = {.updated_us = updated_us};
    snprintf((char *)identity.key, sizeof identity.key, "event %u", number);
    return identity;
}

/* In one transaction, for appending one by one would sync each. */
static void append_to_file(const char *source, unsigned first, unsigned count)
{
    char path[PATH_SIZE], text[512];
    sqlite3 *db = NULL;
    sqlite3_stmt *number = NULL;
    path_join(path, state, "queue.db");
    CU_ASSERT_FATAL(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK);
    sqlite3_busy_timeout(db, 10000); /* the owner's housekeeper may be writing */
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_prepare_v2(db, "SELECT number FROM source WHERE name = ?1", -1, &number, NULL);
    sqlite3_bind_text(number, 1, source, -1, SQLITE_STATIC);
    CU_ASSERT_FATAL(sqlite3_step(number) == SQLITE_ROW);
    snprintf(text, sizeof text,
             "WITH RECURSIVE n (i) AS (SELECT %u UNION ALL SELECT i + 1 FROM n WHERE i + 1 < %u)"
             " INSERT INTO event_%d (received, body) SELECT %lld, CAST(CAST(i AS TEXT) AS BLOB) FROM n",
             first, first + count, sqlite3_column_int(number, 0), (long long)clock_unix_ms());
    sqlite3_finalize(number);
    CU_ASSERT_FATAL(sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK);
    sqlite3_close(db);
}

static void append_many(struct queue *queue, const char *source, unsigned first, unsigned count)
{
    if (!queue_rig_is_postgresql(&made)) {
        append_to_file(source, first, count);
        return;
    }
    char body[32], sql[400];
    snprintf(body, sizeof body, "%u", first);
    queue_rig_append(queue, source, body); /* makes the source */
    snprintf(sql, sizeof sql,
             "INSERT INTO event (source, id, received, body) SELECT s.number, nextval('id_' || s.number), %lld,"
             " convert_to(i::text, 'UTF8') FROM source s, generate_series(%u, %u) i WHERE s.name = '%s'",
             (long long)clock_unix_ms(), first + 1, first + count - 1, source);
    queue_rig_change(&engine, &made, "", sql);
}

/* Settles the first so many that wait, whose identities are numbered from first. */
static void settle_many(struct queue *queue, const char *source, enum verdict_kind kind, unsigned first, size_t count,
                        int64_t updated_us)
{
    static struct verdict verdicts[1024];
    struct error why = {0};
    queue_rig_go_on_owning(queue);
    CU_ASSERT_EQUAL_FATAL(queue_next(queue, source, 0, count, 1 << 20, &found, &why), (int)count);
    for (size_t i = 0; i < count; i++)
        verdicts[i] = (struct verdict){.id = found.at[i].id,
                                       .kind = kind,
                                       .remember = true,
                                       .identity = identity_of(first + (unsigned)i, updated_us),
                                       .reason = "poison"};
    CU_ASSERT_FATAL(queue_settle(queue, source, verdicts, count, &why));
}

/* How many of these are known to be delivered with that date or a newer one. */
static size_t count_known(struct queue *queue, const char *source, unsigned first, size_t count, int64_t updated_us)
{
    static struct identity identities[1024];
    static struct known known[1024];
    struct error why = {0};
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        identities[i] = identity_of(first + (unsigned)i, updated_us);
    queue_rig_go_on_owning(queue);
    CU_ASSERT_FATAL(queue_known(queue, source, identities, count, known, &why));
    for (size_t i = 0; i < count; i++)
        n += known[i].delivered && known[i].delivered_us >= updated_us;
    return n;
}

/* Source one: delivered, dead, waiting. Source two has some of its own. */
static void fill(struct queue *queue)
{
    append_many(queue, "one", 0, DELIVERED + DEAD + WAITING);
    settle_many(queue, "one", VERDICT_DELIVERED, 0, DELIVERED, 100);
    settle_many(queue, "one", VERDICT_DEAD, DELIVERED, DEAD, 100);
    append_many(queue, "two", 5000, 12);
    settle_many(queue, "two", VERDICT_DELIVERED, 5000, 10, 100);
}

static void check_all_is_moved(struct queue *queue, const char *when)
{
    struct error why = {0};
    struct counts one = queue_rig_counts(queue, "one"), two = queue_rig_counts(queue, "two");
    check(one.accepted == 0 && one.delivered == 0 && one.dead == 0 && one.waiting == 0,
          "%s: nothing counts for the old source: accepted %llu, delivered %llu, dead %llu, waiting %llu", when,
          (unsigned long long)one.accepted, (unsigned long long)one.delivered, (unsigned long long)one.dead,
          (unsigned long long)one.waiting);
    check(two.accepted == DELIVERED + DEAD + WAITING + 12 && two.delivered == DELIVERED + 10 && two.dead == DEAD &&
              two.waiting == WAITING + 2,
          "%s: all counts for the new one: accepted %llu, delivered %llu, dead %llu, waiting %llu", when,
          (unsigned long long)two.accepted, (unsigned long long)two.delivered, (unsigned long long)two.dead,
          (unsigned long long)two.waiting);
    check(two.last_delivered_ms > 0 && two.last_accepted_ms > 0, "%s: times are there", when);
    check(count_known(queue, "two", 0, DELIVERED, 100) == DELIVERED, "%s: what was delivered is known", when);
    check(count_known(queue, "two", 5000, 10, 100) == 10, "%s: and what the new source delivered itself", when);
    queue_rig_go_on_owning(queue);
    CU_ASSERT_EQUAL_FATAL(queue_next(queue, "two", 0, 1024, 1 << 20, &found, &why), WAITING + 2);
    size_t in_order = 0;
    for (unsigned i = 0; i < WAITING; i++) {
        char body[32];
        int length = snprintf(body, sizeof body, "%u", DELIVERED + DEAD + i);
        in_order += found.at[i + 2].length == (size_t)length && memcmp(found.at[i + 2].body, body, (size_t)length) == 0;
    }
    check(in_order == WAITING, "%s: all that waits keeps its order", when);
}

/* The owner's memory knows nothing of what the command writes: it must look. */
static void who_forwards_sees_it_at_once(void)
{
    struct error why = {0};
    struct moved moved;
    struct queue *owner = open_new("owner"), *command = queue_rig_open(&made);
    CU_ASSERT_FATAL(queue_claim(owner, &why));
    fill(owner);
    CU_ASSERT_EQUAL(count_known(owner, "two", 0, DELIVERED, 100), 0);
    CU_ASSERT(queue_move(command, "one", "two", &moved, &why));
    CU_ASSERT_EQUAL(moved.events, WAITING);
    CU_ASSERT_EQUAL(moved.letters, DEAD);
    CU_ASSERT_EQUAL(moved.identities, DELIVERED);
    check_all_is_moved(owner, "moved");
    CU_ASSERT(queue_move(command, "one", "two", &moved, &why)); /* again: nothing is left, and nothing changes */
    check(moved.identities == 0, "moved again: %llu identities count twice", (unsigned long long)moved.identities);
    check_all_is_moved(owner, "moved again");
    queue_close(command);
    queue_close(owner);
    struct queue *next = queue_rig_open(&made); /* it merges the journal into the index, under the old name */
    CU_ASSERT_FATAL(queue_claim(next, &why));
    check_all_is_moved(next, "the next owner");
    CU_ASSERT(queue_move(next, "one", "two", &moved, &why));
    check(moved.identities == 0, "moved a third time: %llu identities count twice",
          (unsigned long long)moved.identities);
    queue_close(next);
}

/* Both sources delivered the same event: the newer version counts, in memory and in the index. */
static void the_newer_version_counts(void)
{
    struct error why = {0};
    struct moved moved;
    struct queue *queue = open_new("newer");
    CU_ASSERT_FATAL(queue_claim(queue, &why));
    append_many(queue, "one", 0, 2);
    append_many(queue, "two", 0, 2);
    settle_many(queue, "one", VERDICT_DELIVERED, 0, 1, 900);
    settle_many(queue, "two", VERDICT_DELIVERED, 0, 1, 500);
    settle_many(queue, "one", VERDICT_DELIVERED, 1, 1, 500);
    settle_many(queue, "two", VERDICT_DELIVERED, 1, 1, 900);
    CU_ASSERT(queue_move(queue, "one", "two", &moved, &why));
    CU_ASSERT_EQUAL(count_known(queue, "two", 0, 2, 900), 2);
    CU_ASSERT_EQUAL(count_known(queue, "two", 0, 2, 901), 0);
    queue_close(queue);
}

static int commits_left;

static int die_before_commit(void *context)
{
    (void)context;
    if (commits_left-- == 0)
        _exit(KILLED);
    return 0;
}

static int hook_connection(sqlite3 *db, const char **error, const void *api)
{
    (void)error;
    (void)api;
    sqlite3_commit_hook(db, die_before_commit, NULL);
    return SQLITE_OK;
}

/* The session of a move is ended in its step of that number, counted by how often it changes one of the tables: nothing
 * of that step is there, as where the process died. Returns whether it came to that. */
static bool move_and_be_cut(int step)
{
    char sql[1200];
    struct error why = {0};
    struct moved moved;
    snprintf(sql, sizeof sql,
             "CREATE SEQUENCE step; CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
             " IF nextval('closecrm.step') > %d THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;"
             " RETURN NULL; END$$;"
             " CREATE TRIGGER cut AFTER DELETE ON event EXECUTE FUNCTION cut();"
             " CREATE TRIGGER cut AFTER DELETE ON known EXECUTE FUNCTION cut();"
             " CREATE TRIGGER cut AFTER DELETE ON count EXECUTE FUNCTION cut();"
             " CREATE TRIGGER cut AFTER UPDATE ON letter EXECUTE FUNCTION cut()",
             step);
    queue_rig_change(&engine, &made, "", sql);
    struct queue *queue = queue_rig_open(&made);
    bool good = queue_move(queue, "one", "two", &moved, &why);
    check(good || why.text[0] != '\0', "it is said what happened");
    queue_close(queue);
    queue_rig_change(&engine, &made, "", "DROP FUNCTION cut CASCADE; DROP SEQUENCE step");
    return !good;
}

/* Moves in a child that dies before its commit of that number. Returns whether it did. */
static bool move_and_die(int commit)
{
    if (queue_rig_is_postgresql(&made))
        return move_and_be_cut(commit);
    pid_t child = fork();
    if (child == 0) {
        struct error why = {0};
        struct moved moved;
        commits_left = commit;
        sqlite3_auto_extension((void (*)(void))hook_connection);
        struct queue *queue = queue_open(&made.config, &why);
        bool good = queue != NULL && queue_move(queue, "one", "two", &moved, &why);
        _exit(good ? 0 : 1);
    }
    int status = 0;
    CU_ASSERT_FATAL(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    CU_ASSERT_FATAL(WEXITSTATUS(status) == KILLED || WEXITSTATUS(status) == 0);
    return WEXITSTATUS(status) == KILLED;
}

static void killed_at_each_step_it_goes_on(void)
{
    struct error why = {0};
    struct moved moved;
    int commit = 0;
    bool died;
    do {
        char name[32];
        snprintf(name, sizeof name, "killed-%d", commit);
        struct queue *queue = open_new(name);
        CU_ASSERT_FATAL(queue_claim(queue, &why));
        fill(queue);
        queue_close(queue); /* a connection must not be carried over fork */
        died = move_and_die(commit);
        queue = queue_rig_open(&made);
        CU_ASSERT_FATAL(queue_claim(queue, &why));
        CU_ASSERT(queue_move(queue, "one", "two", &moved, &why));
        check_all_is_moved(queue, name);
        queue_close(queue);
        commit++;
    } while (died && commit < 100);
    check(!died && commit > 6, "it was killed at each of %d steps", commit - 1);
}

/* What is moved is older, and stands behind. */
static void the_last_acceptance_stays(void)
{
    struct error why = {0};
    struct counts before = {0}, after = {0};
    struct moved moved;
    struct queue *queue = open_new("accepted");
    append_many(queue, "one", 0, 2);
    poll(NULL, 0, 5);
    append_many(queue, "two", 2, 1);
    CU_ASSERT(queue_count(queue, "two", &before, &why));
    CU_ASSERT(queue_move(queue, "one", "two", &moved, &why));
    CU_ASSERT(queue_count(queue, "two", &after, &why));
    CU_ASSERT_EQUAL(after.waiting, 3);
    CU_ASSERT(before.last_accepted_ms > 0 && after.last_accepted_ms == before.last_accepted_ms);
    queue_close(queue);
}

/* There and back, often: the counts stay what they are, and nothing grows with each move. */
static void there_and_back_changes_nothing(void)
{
    struct error why = {0};
    struct moved moved;
    struct counts before, after;
    struct queue *queue = open_new("back");
    CU_ASSERT_FATAL(queue_claim(queue, &why));
    fill(queue);
    CU_ASSERT(queue_move(queue, "one", "two", &moved, &why));
    CU_ASSERT(queue_count(queue, "two", &before, &why));
    for (int i = 0; i < (queue_rig_is_postgresql(&made) ? 10 : 60); i++) {
        CU_ASSERT(queue_move(queue, "two", "one", &moved, &why));
        CU_ASSERT(queue_move(queue, "one", "two", &moved, &why));
    }
    queue_rig_go_on_owning(queue);
    CU_ASSERT(queue_count(queue, "two", &after, &why));
    check(after.accepted == before.accepted && after.waiting == before.waiting && after.delivered == before.delivered,
          "accepted %llu, waiting %llu", (unsigned long long)after.accepted, (unsigned long long)after.waiting);
    check_all_is_moved(queue, "there and back");
    queue_close(queue);
}

/* Also where nothing was moved: what the forwarder has noted is the old source's. */
static void an_empty_source_keeps_no_notes(void)
{
    struct error why = {0};
    struct moved moved;
    struct notes notes = {.tries = 7, .next_ms = 1, .parked_count = 1};
    notes.parked[0].id = 1;
    struct queue *queue = open_new("empty");
    CU_ASSERT_FATAL(queue_claim(queue, &why));
    CU_ASSERT(queue_note(queue, "one", &notes, true, &why));
    CU_ASSERT(queue_move(queue, "one", "two", &moved, &why));
    CU_ASSERT(queue_notes(queue, "one", &notes, &why));
    check(notes.tries == 0 && notes.parked_count == 0, "tries %u, parked %u", notes.tries, notes.parked_count);
    queue_close(queue);
}

static CU_TestInfo tests[] = {
    {"who forwards sees a move at once", who_forwards_sees_it_at_once},
    {"the newer version counts", the_newer_version_counts},
    {"killed at each step, it goes on", killed_at_each_step_it_goes_on},
    {"the last acceptance stays", the_last_acceptance_stays},
    {"there and back changes nothing", there_and_back_changes_nothing},
    {"an empty source keeps no notes", an_empty_source_keeps_no_notes},
    CU_TEST_INFO_NULL,
};

void suite_queue_move(void)
{
    suite_add("queue move", begin_sqlite, end, tests);
}

void suite_queue_move_postgresql(void)
{
    suite_add("queue move postgresql", begin_postgresql, end, tests);
}
