/* queue_migrate where a machine or a database is gone, or is called so, and comes back: what is said, followed, neither
 * loses nor doubles anything. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/migrating.h"
#include "tests/support/queue_filled.h"

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct queue_rig_engine engine;
static struct events found;
static const struct migrating silent;

static int begin(void)
{
    return queue_rig_set_up_quiet(&made, directory, state) != 0 || !queue_rig_postgresql(&engine, &made);
}

static int end(void)
{
    queue_rig_engine_end(&engine);
    return queue_rig_tear_down_quiet(directory, &found);
}

static void go(const char *machine)
{
    path_join(state, directory, machine);
}

static void use_new(const char *machine)
{
    migrating_use_new(&engine, &made, directory, machine, state);
}

/* Returns whether it was, and had not ended before. */
static bool move_is_killed(enum queue_kind to, int steps)
{
    int code = migrating_in_child(&made, to, steps);
    CU_ASSERT_FATAL(code == MIGRATING_KILLED || code == 0);
    return code == MIGRATING_KILLED;
}

static void move_killed(enum queue_kind to, int steps)
{
    CU_ASSERT_TRUE_FATAL(move_is_killed(to, steps));
}

static void moves(enum queue_kind to)
{
    struct error why = {0};
    struct migrated done;
    check(queue_migrate(&made.config, to, &silent, &done, &why), "it moves: %s", why.text);
}

static void move_refused(enum queue_kind to, const char *words)
{
    struct error why = {0};
    struct migrated done;
    CU_ASSERT_FALSE(queue_migrate(&made.config, to, &silent, &done, &why));
    check(strstr(why.text, words) != NULL, "%s: %s", words, why.text);
}

static void gives_up(bool gone, struct migrated *done)
{
    struct error why = {0};
    check(queue_migrate_give_up(&made.config, gone, &silent, done, &why), "it is given up: %s", why.text);
}

static void give_up_refused(const char *words)
{
    struct error why = {0};
    struct migrated done;
    CU_ASSERT_FALSE(queue_migrate_give_up(&made.config, false, &silent, &done, &why));
    check(strstr(why.text, words) != NULL, "%s: %s", words, why.text);
}

static char *all_of(enum queue_kind kind)
{
    made.config.queue = kind;
    char *text = queue_filled_text(&made);
    made.config.queue = QUEUE_SQLITE;
    return text;
}

static struct counts counts_of(enum queue_kind kind)
{
    made.config.queue = kind;
    struct queue *queue = queue_rig_open(&made);
    struct counts counts = queue_rig_counts(queue, "one");
    queue_close(queue);
    made.config.queue = QUEUE_SQLITE;
    return counts;
}

/* ---- a machine that was called gone ---- */

static size_t deliver_all(void)
{
    struct error why = {0};
    static struct verdict verdicts[500];
    size_t delivered = 0;
    made.config.queue = QUEUE_POSTGRESQL;
    struct queue *queue = queue_rig_open(&made);
    queue_rig_claim(queue);
    while (queue_next(queue, "one", 0, 500, 1 << 20, &found, &why) > 0) {
        for (size_t i = 0; i < found.count; i++)
            verdicts[i] = (struct verdict){.id = found.at[i].id, .kind = VERDICT_DELIVERED};
        check(queue_settle(queue, "one", verdicts, found.count, &why), "settled: %s", why.text);
        delivered += found.count;
        if (queue_is_lost(queue))
            queue_rig_go_on_owning(queue);
    }
    queue_close(queue);
    made.config.queue = QUEUE_SQLITE;
    return delivered;
}

static size_t drop_letters(enum queue_kind kind)
{
    uint64_t ids[QUEUE_FILLED_SETTLED];
    struct error why = {0};
    struct letters letters = {0};
    size_t count = 0, done = 0;
    made.config.queue = kind;
    struct queue *queue = queue_rig_open(&made);
    CU_ASSERT(queue_letters(queue, "one", 0, QUEUE_FILLED_SETTLED, 1 << 20, &letters, &why) >= 0);
    for (size_t i = 0; i < letters.count; i++) {
        if (!letters.at[i].replayed)
            ids[count++] = letters.at[i].id;
    }
    check(queue_discard(queue, ids, count, &done, &why), "dropped: %s", why.text);
    letters_free(&letters);
    queue_close(queue);
    made.config.queue = QUEUE_SQLITE;
    return done;
}

/* After so many steps of its move. */
static void comes_back(int steps, bool *some)
{
    char machine[32], stays[32];
    struct migrated done;
    snprintf(machine, sizeof machine, "returns-%d", steps);
    snprintf(stays, sizeof stays, "stays-%d", steps);
    use_new(machine);
    queue_filled_make(&made);
    struct counts before = counts_of(QUEUE_SQLITE);
    move_killed(QUEUE_POSTGRESQL, steps);
    go(stays);
    gives_up(true, &done);
    CU_ASSERT(done.is_opened && done.holds == QUEUE_POSTGRESQL);
    size_t delivered = deliver_all();
    *some = *some || (delivered > 0 && delivered < before.waiting);
    uint64_t taken = counts_of(QUEUE_POSTGRESQL).accepted;
    check(taken <= before.accepted, "after %d steps %lu have come, of %lu", steps, (unsigned long)taken,
          (unsigned long)before.accepted);
    size_t dropped = drop_letters(QUEUE_POSTGRESQL);
    check(counts_of(QUEUE_POSTGRESQL).accepted == taken, "what is dropped has come, after %d steps", steps);
    go(machine);
    moves(QUEUE_POSTGRESQL);
    struct counts after = counts_of(QUEUE_POSTGRESQL);
    check(after.waiting == before.waiting - delivered, "after %d steps %lu wait, and %lu of %lu were delivered", steps,
          (unsigned long)after.waiting, (unsigned long)delivered, (unsigned long)before.waiting);
    check(after.accepted == before.accepted && after.dead == before.dead - dropped &&
              after.delivered == before.delivered + delivered,
          "after %d steps: accepted %lu, were %lu", steps, (unsigned long)after.accepted,
          (unsigned long)before.accepted);
}

static void a_machine_that_comes_back_brings_the_rest(void)
{
    bool some = false;
    for (int steps = 2; steps < 12; steps++) /* then one source is there with its counts */
        comes_back(steps, &some);
    CU_ASSERT_TRUE(some);
}

/* What it had of its own is as it was, and what came from the database is delivered from there. */
static bool was_to_get_it(int steps, enum queue_kind then)
{
    char machine[32], stays[32];
    struct migrated done;
    snprintf(machine, sizeof machine, "gets-%d-%d", steps, then);
    snprintf(stays, sizeof stays, "has-%d-%d", steps, then);
    use_new(stays);
    made.config.queue = QUEUE_POSTGRESQL;
    queue_filled_make(&made);
    struct counts there = counts_of(QUEUE_POSTGRESQL);
    go(machine);
    queue_filled_make(&made);
    char *before = all_of(QUEUE_SQLITE);
    struct counts own = counts_of(QUEUE_SQLITE);
    bool ends = !move_is_killed(QUEUE_SQLITE, steps);
    struct error why = {0};
    struct queue *open = queue_open(&made.config, &why);
    queue_close(open);
    go(stays);
    if (ends || open != NULL || !queue_migrate_give_up(&made.config, true, &silent, &done, &why)) {
        check(why.text[0] == '\0' || strstr(why.text, "this queue was moved") == why.text, "%s", why.text);
        free(before); /* killed after the last mark but one, it has it all */
        return false;
    }
    size_t delivered = deliver_all();
    check(delivered == there.waiting, "%lu wait where it stays", (unsigned long)delivered);
    go(machine);
    if (then == QUEUE_NONE) {
        gives_up(false, &done);
        char *now = all_of(QUEUE_SQLITE);
        check(strcmp(now, before) == 0, "after %d steps it has what it had:\n%s\nbut had:\n%s", steps, now, before);
        free(now);
    } else {
        moves(QUEUE_SQLITE);
        struct counts now = counts_of(QUEUE_SQLITE);
        check(now.waiting == own.waiting && now.accepted == own.accepted + there.accepted &&
                  now.delivered == own.delivered + there.delivered + delivered && now.dead == own.dead + there.dead,
              "after %d steps %lu wait of %lu", steps, (unsigned long)now.waiting, (unsigned long)own.waiting);
    }
    free(before);
    return true;
}

static void a_machine_that_was_to_get_it_loses_nothing(void)
{
    int steps = 2;
    while (was_to_get_it(steps, QUEUE_NONE) && was_to_get_it(steps, QUEUE_SQLITE))
        steps++;
    check(steps > 10, "it was killed after up to %d steps", steps);
}

/* ---- a database that is gone, or another one ---- */

static void a_migration_goes_on_with_its_own_database_only(void)
{
    char first[POSTGRESQL_URL], second[POSTGRESQL_URL];
    struct migrated done;
    use_new("faithful");
    queue_filled_make(&made);
    char *before = all_of(QUEUE_SQLITE);
    move_killed(QUEUE_POSTGRESQL, 6);
    snprintf(first, sizeof first, "%s", engine.url);
    CU_ASSERT_TRUE_FATAL(postgresql_database(&engine.postgresql, second));
    snprintf(engine.url, sizeof engine.url, "%s", second);
    move_refused(QUEUE_POSTGRESQL, "set it back");
    give_up_refused("set it back");
    gives_up(true, &done);
    CU_ASSERT(done.is_opened && done.holds == QUEUE_SQLITE && done.events > 0);
    char *now = all_of(QUEUE_SQLITE);
    CU_ASSERT_STRING_EQUAL(now, before);
    moves(QUEUE_POSTGRESQL);
    free(all_of(QUEUE_POSTGRESQL)); /* it is noted */
    snprintf(engine.url, sizeof engine.url, "%s", first);
    move_refused(QUEUE_POSTGRESQL, "queue migrate --to sqlite` brings"); /* not: queue adopt */
    move_refused(QUEUE_SQLITE, "set it back"); /* what it has delivered is known in the other one */
    free(now);
    free(before);
}

static void a_database_that_is_not_there_holds_nothing_up(void)
{
    char url[POSTGRESQL_URL];
    struct migrated done;
    use_new("left-alone");
    queue_filled_make(&made);
    char *before = all_of(QUEUE_SQLITE);
    move_killed(QUEUE_POSTGRESQL, 6);
    snprintf(url, sizeof url, "%s", engine.url);
    snprintf(engine.url, sizeof engine.url, "postgresql://nobody@/nothing?host=/no-such-folder");
    give_up_refused("both queues are needed for that, unless the database is gone for good: then `");
    gives_up(true, &done);
    CU_ASSERT(done.holds == QUEUE_SQLITE);
    char *now = all_of(QUEUE_SQLITE);
    CU_ASSERT_STRING_EQUAL(now, before);
    snprintf(engine.url, sizeof engine.url, "%s", url);
    free(now);
    free(before);
}

/* What had arrived is in both: it is brought to where it is known, not opened beside it. */
static void a_database_that_was_called_gone_comes_back(void)
{
    char url[POSTGRESQL_URL];
    struct migrated done;
    struct error why = {0};
    use_new("called-gone");
    made.config.queue = QUEUE_POSTGRESQL;
    queue_filled_make(&made);
    uint64_t waiting = counts_of(QUEUE_POSTGRESQL).waiting;
    move_killed(QUEUE_SQLITE, 6);
    snprintf(url, sizeof url, "%s", engine.url);
    snprintf(engine.url, sizeof engine.url, "postgresql://nobody@/nothing?host=/no-such-folder");
    gives_up(true, &done);
    uint64_t arrived = counts_of(QUEUE_SQLITE).waiting;
    CU_ASSERT(done.holds == QUEUE_SQLITE && arrived > 0 && arrived < waiting);
    snprintf(engine.url, sizeof engine.url, "%s", url);
    CU_ASSERT_FALSE(queue_migrate_give_up(&made.config, true, &silent, &done, &why));
    check(strstr(why.text, "queue migrate --to sqlite` brings") != NULL, "it is brought: %s", why.text);
    moves(QUEUE_SQLITE);
    CU_ASSERT_EQUAL(counts_of(QUEUE_SQLITE).waiting, arrived + waiting); /* which the forwarder knows again */
}

/* With the same address. */
static void a_database_that_is_made_anew_holds_nothing_up(void)
{
    struct migrated done;
    use_new("made-anew");
    made.config.queue = QUEUE_POSTGRESQL;
    queue_filled_make(&made);
    move_killed(QUEUE_SQLITE, 6);
    free(postgresql_run(engine.url, "DROP SCHEMA closecrm CASCADE"));
    move_refused(QUEUE_SQLITE, "queue migrate --give-up --gone` opens");
    give_up_refused("queue migrate --give-up --gone` opens");
    gives_up(true, &done);
    CU_ASSERT(done.holds == QUEUE_SQLITE && done.events > 0);
    CU_ASSERT_TRUE(counts_of(QUEUE_SQLITE).waiting > 0);
    moves(QUEUE_POSTGRESQL);
    uint64_t there = counts_of(QUEUE_POSTGRESQL).waiting;
    free(postgresql_run(engine.url, "DROP SCHEMA closecrm CASCADE"));
    move_refused(QUEUE_SQLITE, "queue migrate --give-up --gone` opens the copy that is here");
    gives_up(true, &done);
    CU_ASSERT_EQUAL(counts_of(QUEUE_SQLITE).waiting, there);
}

/* What is said of a database that is gone is not said of one in use. */
static void a_database_in_use_is_not_gone(void)
{
    struct error why = {0};
    struct migrated done;
    use_new("used");
    made.config.queue = QUEUE_POSTGRESQL;
    struct queue *queue = queue_rig_open(&made);
    queue_rig_claim(queue);
    CU_ASSERT_FALSE(queue_migrate_give_up(&made.config, true, &silent, &done, &why));
    check(strstr(why.text, "a process forwards from the database") == why.text, "%s", why.text);
    queue_close(queue);
}

/* The SQL that is printed for the copy in the database. */
static void the_copy_can_be_dropped(void)
{
    use_new("drops");
    made.config.queue = QUEUE_POSTGRESQL;
    queue_filled_make(&made);
    char *before = all_of(QUEUE_POSTGRESQL);
    moves(QUEUE_SQLITE);
    free(postgresql_run(engine.url, "DROP SCHEMA closecrm CASCADE"));
    char *now = all_of(QUEUE_SQLITE);
    CU_ASSERT_STRING_EQUAL(now, before);
    moves(QUEUE_POSTGRESQL); /* a new one is made */
    char *again = all_of(QUEUE_POSTGRESQL);
    CU_ASSERT_STRING_EQUAL(again, before);
    free(before);
    free(now);
    free(again);
}

void suite_queue_migrate_gone(void)
{
    static CU_TestInfo tests[] = {
        {"a machine that comes back brings the rest", a_machine_that_comes_back_brings_the_rest},
        {"a machine that was to get it loses nothing", a_machine_that_was_to_get_it_loses_nothing},
        {"a migration goes on with its own database only", a_migration_goes_on_with_its_own_database_only},
        {"a database that is not there holds nothing up", a_database_that_is_not_there_holds_nothing_up},
        {"a database that was called gone comes back", a_database_that_was_called_gone_comes_back},
        {"a database that is made anew holds nothing up", a_database_that_is_made_anew_holds_nothing_up},
        {"a database in use is not gone", a_database_in_use_is_not_gone},
        {"the copy can be dropped", the_copy_can_be_dropped},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue migrate gone", begin, end, tests);
}
