/* queue_migrate where a machine is called gone, and comes back: what is said, followed, neither loses nor doubles
 * anything. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "queue/migration.h"
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
    struct counts before = migrating_counts(&made, QUEUE_SQLITE);
    migrating_killed(&made, QUEUE_POSTGRESQL, steps);
    go(stays);
    migrating_gives_up(&made, true, &done);
    CU_ASSERT(done.is_opened && done.holds == QUEUE_POSTGRESQL);
    size_t delivered = deliver_all();
    *some = *some || (delivered > 0 && delivered < before.waiting);
    uint64_t taken = migrating_counts(&made, QUEUE_POSTGRESQL).accepted;
    check(taken <= before.accepted, "after %d steps %lu have come, of %lu", steps, (unsigned long)taken,
          (unsigned long)before.accepted);
    size_t dropped = drop_letters(QUEUE_POSTGRESQL);
    check(migrating_counts(&made, QUEUE_POSTGRESQL).accepted == taken, "what is dropped has come, after %d steps",
          steps);
    go(machine);
    migrating_moves(&made, QUEUE_POSTGRESQL);
    struct counts after = migrating_counts(&made, QUEUE_POSTGRESQL);
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
    struct counts there = migrating_counts(&made, QUEUE_POSTGRESQL);
    go(machine);
    queue_filled_make(&made);
    char *before = migrating_text(&made, QUEUE_SQLITE);
    struct counts own = migrating_counts(&made, QUEUE_SQLITE);
    bool ends = !migrating_is_killed(&made, QUEUE_SQLITE, steps);
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
        migrating_gives_up(&made, false, &done);
        char *now = migrating_text(&made, QUEUE_SQLITE);
        check(strcmp(now, before) == 0, "after %d steps it has what it had:\n%s\nbut had:\n%s", steps, now, before);
        free(now);
    } else {
        migrating_moves(&made, QUEUE_SQLITE);
        struct counts now = migrating_counts(&made, QUEUE_SQLITE);
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

/* What was delivered from the one of before is known nowhere. */
static void a_machine_comes_back_to_a_database_that_is_made_anew(void)
{
    struct migrated done;
    for (int steps = 1; steps < 8; steps += 3) {
        char machine[32], stays[32], anew[32];
        snprintf(machine, sizeof machine, "to-anew-%d", steps);
        snprintf(stays, sizeof stays, "from-anew-%d", steps);
        snprintf(anew, sizeof anew, "anew-%d", steps);
        use_new(machine);
        queue_filled_make(&made);
        migrating_killed(&made, QUEUE_POSTGRESQL, steps);
        if (steps > 1) {
            go(stays);
            migrating_gives_up(&made, true, &done);
            deliver_all();
        }
        free(postgresql_run(engine.url, "DROP SCHEMA closecrm CASCADE"));
        go(anew);
        free(migrating_text(&made, QUEUE_POSTGRESQL));
        go(machine);
        migrating_refused(&made, QUEUE_POSTGRESQL, "queue migrate --give-up --gone` opens");
        migrating_refused(&made, MIGRATING_GIVE_UP, "queue migrate --give-up --gone` opens");
        migrating_gives_up(&made, true, &done);
        CU_ASSERT(done.holds == QUEUE_SQLITE && done.events > 0);
        migrating_moves(&made, QUEUE_POSTGRESQL);
    }
}

void suite_queue_migrate_gone(void)
{
    static CU_TestInfo tests[] = {
        {"a machine that comes back brings the rest", a_machine_that_comes_back_brings_the_rest},
        {"a machine that was to get it loses nothing", a_machine_that_was_to_get_it_loses_nothing},
        {"a machine comes back to a database that is made anew", a_machine_comes_back_to_a_database_that_is_made_anew},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue migrate gone", begin, end, tests);
}
