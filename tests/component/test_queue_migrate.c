/* queue_migrate: a whole queue goes to the other engine and back, killed after each step: nothing is lost, nothing is
 * there twice, order and counts stay. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/migrating.h"
#include "tests/support/queue_filled.h"

#define SETTLED QUEUE_FILLED_SETTLED
#define RUNS 100

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct queue_rig_engine engine;
static struct events found;

static int begin(void)
{
    return queue_rig_set_up(&made, directory, state) != 0 || !queue_rig_postgresql(&engine, &made);
}

static int end(void)
{
    queue_rig_engine_end(&engine);
    return queue_rig_tear_down(directory, &found);
}

static void use_new(const char *name)
{
    migrating_use_new(&engine, &made, directory, name, state);
}

static void fill(void)
{
    queue_filled_make(&made);
}

static char *all_of_it(void)
{
    return queue_filled_text(&made);
}

/* ---- moving ---- */

#define GIVE_UP MIGRATING_GIVE_UP
#define KILLED MIGRATING_KILLED

static int move_in_child(enum queue_kind to, int steps)
{
    return migrating_in_child(&made, to, steps);
}

/* Neither queue is opened; each says what is going on. */
static void refuses(enum queue_kind kind, const char *words)
{
    bool owned;
    struct error why = {0}, ignored;
    made.config.queue = kind;
    struct queue *queue = queue_open(&made.config, &why);
    if (queue != NULL) /* it connects when it is used */
        CU_ASSERT_FALSE(queue_is_owned(queue, &owned, &ignored, &why));
    queue_close(queue);
    check(strstr(why.text, words) != NULL, "%s: %s", words, why.text);
}

/* Killed after the last step. */
static bool move_is_over(enum queue_kind from, enum queue_kind to)
{
    struct error why = {0}, ignored;
    bool owned;
    made.config.queue = to;
    struct queue *queue = queue_open(&made.config, &why);
    bool opens = queue != NULL && queue_is_owned(queue, &owned, &ignored, &why);
    queue_close(queue);
    if (opens)
        refuses(from, "this queue was moved");
    return opens;
}

/* Returns how often it was killed: after each step. */
static int move_and_kill(enum queue_kind to)
{
    enum queue_kind from = to == QUEUE_SQLITE ? QUEUE_POSTGRESQL : QUEUE_SQLITE;
    for (int kills = 0; kills < RUNS; kills++) {
        int code = move_in_child(to, 1);
        if (code == 0)
            return kills;
        CU_ASSERT_EQUAL_FATAL(code, KILLED);
        if (kills > 0 && move_is_over(from, to))
            continue;
        /* the state directory is marked first */
        if (kills > 0 || to == QUEUE_POSTGRESQL)
            refuses(from, "moved");
        if (kills > 0 || to == QUEUE_SQLITE)
            refuses(to, "a queue is being moved to here");
    }
    return RUNS;
}

static void it_goes_there_and_back_whatever_is_killed(void)
{
    use_new("kills");
    fill();
    char *before = all_of_it();
    int kills = move_and_kill(QUEUE_POSTGRESQL);
    check(kills > 9 && kills < RUNS, "it was killed after each of %d steps", kills);
    refuses(QUEUE_SQLITE, "Set queue = postgresql");
    made.config.queue = QUEUE_POSTGRESQL;
    char *there = all_of_it();
    CU_ASSERT_STRING_EQUAL(there, before);
    kills = move_and_kill(QUEUE_SQLITE);
    check(kills > 9 && kills < RUNS, "back it was killed after each of %d steps", kills);
    refuses(QUEUE_POSTGRESQL, "in the state directory");
    made.config.queue = QUEUE_SQLITE;
    char *back = all_of_it();
    CU_ASSERT_STRING_EQUAL(back, before);
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 0), 0); /* over what has left there */
    made.config.queue = QUEUE_POSTGRESQL;
    char *again = all_of_it();
    CU_ASSERT_STRING_EQUAL(again, before);
    free(before);
    free(there);
    free(back);
    free(again);
}

/* ---- giving it up ---- */

static int give_up_in_child(int steps)
{
    return move_in_child(GIVE_UP, steps);
}

static void compare_queues(const char *sqlite, const char *postgresql, int steps)
{
    static const enum queue_kind kinds[] = {QUEUE_SQLITE, QUEUE_POSTGRESQL};
    const char *const expected[] = {sqlite, postgresql};
    for (size_t i = 0; i < 2; i++) {
        made.config.queue = kinds[i];
        char *now = all_of_it();
        check(strcmp(now, expected[i]) == 0, "after %d steps that were given up the queue is:\n%s\nand was:\n%s", steps,
              now, expected[i]);
        free(now);
    }
}

/* Given up after each step of it, and that is killed after each of its own; both queues have something of their own. */
static void give_up_after_each_step(enum queue_kind to)
{
    made.config.queue = QUEUE_SQLITE;
    char *sqlite = all_of_it();
    made.config.queue = QUEUE_POSTGRESQL;
    char *postgresql = all_of_it();
    int steps = 1, kills = 0;
    for (bool ends = false; !ends && steps < RUNS; steps++) {
        int code = move_in_child(to, steps), given = KILLED;
        ends = code == 0 || (steps > 10 && move_is_over(to == QUEUE_SQLITE ? QUEUE_POSTGRESQL : QUEUE_SQLITE, to));
        for (int runs = 0; !ends && given == KILLED && runs < RUNS; runs++, kills++)
            given = give_up_in_child(1);
        CU_ASSERT_FATAL(ends || given == 0 || given == 1); /* 1: it was killed after its last step */
        if (!ends)
            compare_queues(sqlite, postgresql, steps);
    }
    check(steps > 10 && kills > 2 * steps, "it was given up after %d steps, and killed %d times", steps, kills);
    CU_ASSERT_EQUAL(give_up_in_child(0), 1); /* it is done now */
    free(sqlite);
    free(postgresql);
}

static void what_was_begun_can_be_given_up(void)
{
    use_new("gives-up"); /* filled first, for the later time counts */
    fill();
    path_join(state, directory, "had-before");
    fill();
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 0), 0);
    path_join(state, directory, "gives-up");
    CU_ASSERT_EQUAL(give_up_in_child(0), 1);
    give_up_after_each_step(QUEUE_POSTGRESQL);
    path_join(state, directory, "has");
    made.config.queue = QUEUE_SQLITE;
    fill();
    give_up_after_each_step(QUEUE_SQLITE);
}

/* By a process of its own, as the command is. */
static void refused(enum queue_kind to, const char *words)
{
    struct error why = {0};
    int ends[2], status = -1;
    CU_ASSERT_FATAL(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        struct migrated done;
        const struct migrating watch = {NULL, NULL};
        bool good = queue_migrate(&made.config, to, &watch, &done, &why);
        ssize_t n = write(ends[1], why.text, sizeof why.text);
        _exit(good || n < 0);
    }
    close(ends[1]);
    ssize_t n = read(ends[0], why.text, sizeof why.text - 1);
    close(ends[0]);
    CU_ASSERT(n > 0 && child > 0 && waitpid(child, &status, 0) == child);
    CU_ASSERT_EQUAL(status, 0);
    check(strstr(why.text, words) != NULL, "%s: %s", words, why.text);
}

/* In the state directory of another machine. */
static void try_on_the_other_machine(void)
{
    path_join(state, directory, "other-machine");
    move_in_child(QUEUE_SQLITE, 0); /* it was done where only the last mark lacks */
    CU_ASSERT_EQUAL(give_up_in_child(0), 1);
    made.config.queue = QUEUE_SQLITE;
    struct queue *queue = queue_rig_open(&made);
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "one").accepted, 0);
    queue_close(queue);
    path_join(state, directory, "machine");
}

/* What one machine has begun no other one goes on with, or gives up: each would have the same events. */
static void another_machine_keeps_its_hands_off(void)
{
    int steps = 2;
    use_new("machines");
    fill();
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 0), 0);
    made.config.queue = QUEUE_POSTGRESQL;
    char *before = all_of_it();
    struct queue *there = queue_rig_open(&made);
    struct counts was = queue_rig_counts(there, "one");
    queue_close(there);
    path_join(state, directory, "machine");
    for (; steps < RUNS && move_in_child(QUEUE_SQLITE, steps) != 0 && !move_is_over(QUEUE_POSTGRESQL, QUEUE_SQLITE);
         steps++) {
        try_on_the_other_machine();
        CU_ASSERT_EQUAL(give_up_in_child(0), 0);
        made.config.queue = QUEUE_POSTGRESQL;
        char *now = all_of_it();
        CU_ASSERT_STRING_EQUAL(now, before);
        free(now);
    }
    check(steps > 10 && steps < RUNS, "it was killed after %d steps", steps);
    made.config.queue = QUEUE_SQLITE;
    struct queue *queue = queue_rig_open(&made);
    struct counts counts = queue_rig_counts(queue, "one"); /* letters have other numbers after all that */
    queue_close(queue);
    CU_ASSERT(counts.accepted == was.accepted && counts.waiting == was.waiting && counts.dead == was.dead);
    free(before);
}

/* A database that has left is free for another machine's queue, also where the first one was killed before its last
 * step. */
static void a_database_that_has_left_is_free(void)
{
    int steps = 0;
    use_new("first-machine");
    fill();
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 0), 0);
    made.config.queue = QUEUE_POSTGRESQL;
    char *before = all_of_it();
    while (strcmp(postgresql_ask(engine.url, "SELECT max(state) FROM closecrm.migration"), "3") != 0 && steps++ < RUNS)
        CU_ASSERT_EQUAL_FATAL(move_in_child(QUEUE_SQLITE, 1), KILLED); /* 3: it has left */
    refuses(QUEUE_SQLITE, "a queue is being moved to here");
    path_join(state, directory, "another");
    made.config.queue = QUEUE_SQLITE;
    fill();
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 0), 0);
    path_join(state, directory, "first-machine"); /* it has all of it */
    CU_ASSERT_EQUAL(give_up_in_child(0), 1);
    refuses(QUEUE_SQLITE, "a queue is being moved to here");
    CU_ASSERT_EQUAL(move_in_child(QUEUE_SQLITE, 0), 0);
    made.config.queue = QUEUE_SQLITE;
    char *there = all_of_it();
    CU_ASSERT_STRING_EQUAL(there, before);
    free(there);
    free(before);
}

static void a_machine_that_is_gone_holds_nothing_up(void)
{
    struct error why = {0};
    struct migrated done;
    use_new("stays");
    fill();
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 0), 0);
    made.config.queue = QUEUE_POSTGRESQL;
    char *before = all_of_it();
    path_join(state, directory, "gone");
    CU_ASSERT_EQUAL(move_in_child(QUEUE_SQLITE, 9), KILLED);
    path_join(state, directory, "stays-too");
    refused(QUEUE_SQLITE, "call where it was begun");
    CU_ASSERT_TRUE(queue_migrate_give_up(&made.config, true, &(struct migrating){NULL, NULL}, &done, &why));
    CU_ASSERT_PTR_NOT_NULL(strstr(done.from, "in PostgreSQL")); /* what stays */
    made.config.queue = QUEUE_POSTGRESQL;
    char *now = all_of_it();
    CU_ASSERT_STRING_EQUAL(now, before);
    path_join(state, directory, "gone"); /* it comes back */
    refuses(QUEUE_SQLITE, "a queue is being moved to here");
    CU_ASSERT_EQUAL(give_up_in_child(0), 0);
    made.config.queue = QUEUE_SQLITE;
    queue_close(queue_rig_open(&made));
    free(now);
    free(before);
}

static void what_was_moved_before_is_reported_too(void)
{
    struct error why = {0};
    struct migrated whole = {0}, done;
    const struct migrating watch = {NULL, NULL};
    use_new("whole");
    fill();
    for (int runs = 0; runs < 3; runs++) /* marks, identities, dead letters, two steps of events */
        CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 2), KILLED);
    CU_ASSERT_TRUE(queue_migrate(&made.config, QUEUE_POSTGRESQL, &watch, &done, &why));
    made.config.queue = QUEUE_POSTGRESQL;
    struct queue *queue = queue_rig_open(&made);
    whole.events = queue_rig_counts(queue, "one").waiting + queue_rig_counts(queue, "two").waiting;
    queue_close(queue);
    check(done.events == whole.events, "%lu of %lu events are reported", (unsigned long)done.events,
          (unsigned long)whole.events);
    CU_ASSERT_EQUAL(done.letters, SETTLED / 4 - 1); /* the replayed ones, too */
    CU_ASSERT_EQUAL(done.identities, SETTLED / 2 + 1);
}

/* A replay that is delivered from the new queue takes its dead letter along, whatever number that has there. */
static void a_replay_belongs_to_its_letter(void)
{
    struct error why = {0};
    use_new("replays");
    fill();
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 0), 0);
    path_join(state, directory, "replays-2"); /* a second machine's, whose letters have the same numbers */
    fill();
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 0), 0);
    made.config.queue = QUEUE_POSTGRESQL;
    struct queue *queue = queue_rig_open(&made);
    struct counts before = queue_rig_counts(queue, "one");
    queue_rig_claim(queue);
    uint64_t after = 0;
    unsigned replays = 0;
    while (queue_next(queue, "one", after, 500, 1 << 20, &found, &why) > 0) {
        after = found.at[found.count - 1].id;
        for (size_t i = 0; i < found.count; i++) {
            struct verdict verdict = {.id = found.at[i].id, .kind = VERDICT_DELIVERED};
            replays += found.at[i].replay;
            if (found.at[i].replay)
                CU_ASSERT_TRUE(queue_settle(queue, "one", &verdict, 1, &why));
        }
    }
    CU_ASSERT_EQUAL(replays, 4);
    struct letters letters = {0};
    CU_ASSERT_EQUAL(queue_letters(queue, NULL, 0, 1000, 1 << 20, &letters, &why), 2 * (SETTLED / 4 - 3));
    struct counts counts = queue_rig_counts(queue, "one");
    CU_ASSERT_EQUAL(counts.delivered, before.delivered + 4);
    CU_ASSERT_EQUAL(counts.accepted, before.accepted);
    letters_free(&letters);
    queue_close(queue);
}
static void a_queue_in_use_is_not_moved(void)
{
    use_new("used");
    struct queue *sqlite = queue_rig_open(&made);
    queue_rig_append(sqlite, "one", "first");
    refused(QUEUE_POSTGRESQL, "a process has the queue in ");
    queue_close(sqlite);
    made.config.queue = QUEUE_POSTGRESQL;
    struct queue *postgresql = queue_rig_open(&made);
    queue_rig_append(postgresql, "one", "other");
    refused(QUEUE_POSTGRESQL, " appends)");
    queue_rig_claim(postgresql);
    refused(QUEUE_SQLITE, "a process forwards from the database");
    queue_close(postgresql);
    made.config.queue = QUEUE_SQLITE;
    sqlite = queue_rig_open(&made); /* nothing was marked */
    CU_ASSERT_EQUAL(queue_rig_counts(sqlite, "one").waiting, 1);
    queue_close(sqlite);
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 0), 0);
    made.config.queue = QUEUE_POSTGRESQL;
    postgresql = queue_rig_open(&made);
    struct error why = {0};
    CU_ASSERT_EQUAL(queue_list(postgresql, "one", 0, 10, 4096, &found, &why), 2);
    CU_ASSERT_NSTRING_EQUAL(found.at[0].body, "other", 5);
    CU_ASSERT_NSTRING_EQUAL(found.at[1].body, "first", 5);
    queue_close(postgresql);
}

/* Another queue is not mixed into one that another move was killed in. */
static void two_moves_do_not_mix(void)
{
    use_new("first");
    fill();
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 5), KILLED);
    path_join(state, directory, "second");
    fill();
    refused(QUEUE_POSTGRESQL, "a queue is being moved to here; it was in the state directory");
    struct queue *queue = queue_rig_open(&made);
    CU_ASSERT_TRUE(queue_rig_counts(queue, "one").waiting > 0);
    queue_close(queue);
    path_join(state, directory, "first");
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 0), 0);
    path_join(state, directory, "second");
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 0), 0);
}

/* What nobody would deliver is told of, until it is moved. */
static void what_is_left_behind_is_counted(void)
{
    uint64_t waiting = 0, dead = 0;
    struct error why = {0};
    bool busy, has_copy;
    use_new("left");
    fill();
    made.config.queue = QUEUE_POSTGRESQL;
    CU_ASSERT_TRUE(queue_left_behind(&made.config, &waiting, &dead, &has_copy, &why));
    CU_ASSERT_TRUE(waiting > QUEUE_FILLED_EVENTS - SETTLED && dead > 0);
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 1), KILLED);
    CU_ASSERT_TRUE(queue_left_behind(&made.config, &waiting, &dead, &has_copy, &why));
    CU_ASSERT_TRUE(waiting > QUEUE_FILLED_EVENTS - SETTLED && dead > 0);
    CU_ASSERT_FALSE(has_copy);
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 0), 0);
    CU_ASSERT_TRUE(queue_left_behind(&made.config, &waiting, &dead, &has_copy, &why));
    CU_ASSERT(waiting + dead == 0 && has_copy);
    CU_ASSERT_EQUAL(move_in_child(QUEUE_SQLITE, 6), KILLED); /* half a copy, of what is in the database */
    CU_ASSERT_FALSE(queue_left_behind(&made.config, &waiting, &dead, &has_copy, &why));
    CU_ASSERT_EQUAL(waiting + dead, 0);
    check(strstr(why.text, "queue migrate --give-up` undoes it") != NULL, "it is said: %s", why.text);
    CU_ASSERT_EQUAL(give_up_in_child(0), 0);
    CU_ASSERT_EQUAL(move_in_child(QUEUE_SQLITE, 0), 0);
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 0), 0);
    CU_ASSERT_EQUAL(backup_lock(state, &busy, &why), -1); /* nor is a backup put over it */
    check(strstr(why.text, "this queue was moved") != NULL, "it is said: %s", why.text);
}

static void without_an_address_it_is_said(void)
{
    use_new("nowhere");
    made.config.queue_url = NULL;
    refused(QUEUE_POSTGRESQL, "names no queue_url");
    made.config.queue_url = engine.url;
}

static void a_source_with_a_database_of_its_own_is_said(void)
{
    char elsewhere[] = "postgresql://user@host/elsewhere?host=/nowhere";
    use_new("elsewhere");
    made.config.source[0].queue_url = elsewhere;
    refused(QUEUE_POSTGRESQL, "source one has a database of its own");
    refused(QUEUE_SQLITE, "source one has a database of its own");
    made.config.source[0].queue_url = NULL;
}

void suite_queue_migrate(void)
{
    static CU_TestInfo tests[] = {
        {"it goes there and back, whatever is killed", it_goes_there_and_back_whatever_is_killed},
        {"what was begun can be given up", what_was_begun_can_be_given_up},
        {"another machine keeps its hands off", another_machine_keeps_its_hands_off},
        {"a database that has left is free", a_database_that_has_left_is_free},
        {"a machine that is gone holds nothing up", a_machine_that_is_gone_holds_nothing_up},
        {"what was moved before is reported, too", what_was_moved_before_is_reported_too},
        {"a replay belongs to its letter", a_replay_belongs_to_its_letter},
        {"a queue in use is not moved", a_queue_in_use_is_not_moved},
        {"two moves do not mix", two_moves_do_not_mix},
        {"what is left behind is counted", what_is_left_behind_is_counted},
        {"without an address it is said", without_an_address_it_is_said},
        {"a source with a database of its own is said", a_source_with_a_database_of_its_own_is_said},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue migrate", begin, end, tests);
}
