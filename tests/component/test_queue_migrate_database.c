/* queue_migrate where the database is gone, is called so and comes back, or is another one: what is said, followed,
 * loses nothing, and the last copy stays. */
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

static void a_migration_goes_on_with_its_own_database_only(void)
{
    char first[POSTGRESQL_URL], second[POSTGRESQL_URL];
    struct migrated done;
    use_new("faithful");
    queue_filled_make(&made);
    char *before = migrating_text(&made, QUEUE_SQLITE);
    migrating_killed(&made, QUEUE_POSTGRESQL, 6);
    snprintf(first, sizeof first, "%s", engine.url);
    CU_ASSERT_TRUE_FATAL(postgresql_database(&engine.postgresql, second));
    snprintf(engine.url, sizeof engine.url, "%s", second);
    migrating_refused(&made, QUEUE_POSTGRESQL, "set it back");
    migrating_refused(&made, MIGRATING_GIVE_UP, "set it back");
    migrating_gives_up(&made, true, &done);
    CU_ASSERT(done.is_opened && done.holds == QUEUE_SQLITE && done.events > 0);
    char *now = migrating_text(&made, QUEUE_SQLITE);
    CU_ASSERT_STRING_EQUAL(now, before);
    migrating_moves(&made, QUEUE_POSTGRESQL);
    free(migrating_text(&made, QUEUE_POSTGRESQL)); /* it is noted */
    snprintf(engine.url, sizeof engine.url, "%s", first);
    migrating_refused(&made, QUEUE_POSTGRESQL, "queue migrate --to sqlite` brings"); /* not: queue adopt */
    migrating_refused(&made, QUEUE_SQLITE, "set it back"); /* what it has delivered is known in the other one */
    free(now);
    free(before);
}

static void a_database_that_is_not_there_holds_nothing_up(void)
{
    char url[POSTGRESQL_URL];
    struct migrated done;
    use_new("left-alone");
    queue_filled_make(&made);
    char *before = migrating_text(&made, QUEUE_SQLITE);
    migrating_killed(&made, QUEUE_POSTGRESQL, 6);
    snprintf(url, sizeof url, "%s", engine.url);
    snprintf(engine.url, sizeof engine.url, "postgresql://nobody@/nothing?host=/no-such-folder");
    migrating_refused(&made, MIGRATING_GIVE_UP,
                      "both queues are needed for that, unless the database is gone for good: then `");
    migrating_gives_up(&made, true, &done);
    CU_ASSERT(done.holds == QUEUE_SQLITE);
    char *now = migrating_text(&made, QUEUE_SQLITE);
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
    uint64_t waiting = migrating_counts(&made, QUEUE_POSTGRESQL).waiting;
    migrating_killed(&made, QUEUE_SQLITE, 6);
    snprintf(url, sizeof url, "%s", engine.url);
    snprintf(engine.url, sizeof engine.url, "postgresql://nobody@/nothing?host=/no-such-folder");
    migrating_gives_up(&made, true, &done);
    uint64_t arrived = migrating_counts(&made, QUEUE_SQLITE).waiting;
    CU_ASSERT(done.holds == QUEUE_SQLITE && arrived > 0 && arrived < waiting);
    snprintf(engine.url, sizeof engine.url, "%s", url);
    CU_ASSERT_FALSE(queue_migrate_give_up(&made.config, true, &silent, &done, &why));
    check(strstr(why.text, "queue migrate --to sqlite` brings") != NULL, "it is brought: %s", why.text);
    migrating_moves(&made, QUEUE_SQLITE);
    CU_ASSERT_EQUAL(migrating_counts(&made, QUEUE_SQLITE).waiting,
                    arrived + waiting); /* which the forwarder knows again */
}

/* Waiting events, dead letters that none of them replays, and what was settled, are all that came. */
static void check_counts_alone(int steps)
{
    struct error why = {0};
    struct letters letters = {0};
    uint64_t dead = 0;
    struct queue *queue = queue_rig_open(&made);
    struct counts counts = queue_rig_counts(queue, "one");
    CU_ASSERT(queue_letters(queue, "one", 0, QUEUE_FILLED_SETTLED, 1 << 20, &letters, &why) >= 0);
    for (size_t i = 0; i < letters.count; i++)
        dead += !letters.at[i].replayed;
    uint64_t settled = counts.delivered + counts.duplicates + counts.dropped + counts.discarded + counts.ended;
    check(counts.accepted == counts.waiting + dead + settled, "after %d steps %lu came, %lu wait, %lu are dead", steps,
          (unsigned long)counts.accepted, (unsigned long)counts.waiting, (unsigned long)dead);
    letters_free(&letters);
    queue_close(queue);
}

/* Dead letters that arrived without their events can be replayed again. */
static void what_arrived_is_counted_where_the_database_is_gone(void)
{
    char url[POSTGRESQL_URL];
    struct migrated done;
    bool some = false;
    for (int steps = 2; steps < 9; steps++) {
        char machine[32];
        snprintf(machine, sizeof machine, "counted-%d", steps);
        use_new(machine);
        made.config.queue = QUEUE_POSTGRESQL;
        queue_filled_make(&made);
        made.config.queue = QUEUE_SQLITE;
        migrating_killed(&made, QUEUE_SQLITE, steps);
        snprintf(url, sizeof url, "%s", engine.url);
        snprintf(engine.url, sizeof engine.url, "postgresql://nobody@/nothing?host=/no-such-folder");
        migrating_gives_up(&made, true, &done);
        some = some || done.letters > 0;
        check_counts_alone(steps);
        snprintf(engine.url, sizeof engine.url, "%s", url);
    }
    CU_ASSERT_TRUE(some);
}

/* With the same address. */
static void a_database_that_is_made_anew_holds_nothing_up(void)
{
    struct migrated done;
    use_new("made-anew");
    made.config.queue = QUEUE_POSTGRESQL;
    queue_filled_make(&made);
    migrating_killed(&made, QUEUE_SQLITE, 6);
    free(postgresql_run(engine.url, "DROP SCHEMA closecrm CASCADE"));
    migrating_refused(&made, QUEUE_SQLITE, "queue migrate --give-up --gone` opens");
    migrating_refused(&made, MIGRATING_GIVE_UP, "queue migrate --give-up --gone` opens");
    migrating_gives_up(&made, true, &done);
    CU_ASSERT(done.holds == QUEUE_SQLITE && done.events > 0);
    CU_ASSERT_TRUE(migrating_counts(&made, QUEUE_SQLITE).waiting > 0);
    migrating_moves(&made, QUEUE_POSTGRESQL);
    uint64_t there = migrating_counts(&made, QUEUE_POSTGRESQL).waiting;
    free(postgresql_run(engine.url, "DROP SCHEMA closecrm CASCADE"));
    migrating_refused(&made, QUEUE_SQLITE, "queue migrate --give-up --gone` opens the copy that is here");
    migrating_gives_up(&made, true, &done);
    CU_ASSERT_EQUAL(migrating_counts(&made, QUEUE_SQLITE).waiting, there);
}

/* Of what was moved to the one of before. */
static void the_last_copy_stays(void)
{
    struct migrated done;
    use_new("last-copy");
    queue_filled_make(&made);
    char *before = migrating_text(&made, QUEUE_SQLITE);
    migrating_moves(&made, QUEUE_POSTGRESQL);
    free(postgresql_run(engine.url, "DROP SCHEMA closecrm CASCADE"));
    go("makes-anew");
    free(migrating_text(&made, QUEUE_POSTGRESQL));
    go("last-copy");
    migrating_refused(&made, QUEUE_SQLITE, "queue migrate --give-up --gone` opens the copy");
    migrating_refused(&made, QUEUE_POSTGRESQL, "queue migrate --give-up --gone` opens the copy");
    migrating_refused(&made, MIGRATING_GIVE_UP, "queue migrate --give-up --gone` opens the copy");
    migrating_gives_up(&made, true, &done);
    CU_ASSERT(done.is_opened && done.holds == QUEUE_SQLITE);
    char *now = migrating_text(&made, QUEUE_SQLITE);
    CU_ASSERT_STRING_EQUAL(now, before);
    migrating_moves(&made, QUEUE_SQLITE); /* what is in the new one */
    free(now);
    free(before);
}

/* Killed before anything was copied, and at each step that ends it, when all is there. */
static void nothing_is_opened_in_the_place_of_a_database(void)
{
    for (int steps = 1; steps < 40; steps++) {
        static const enum queue_kind kinds[] = {QUEUE_SQLITE, QUEUE_POSTGRESQL};
        struct error why = {0};
        struct migrated done;
        bool ended = false;
        for (size_t i = 0; i < 2; i++) {
            char machine[32];
            snprintf(machine, sizeof machine, "replaced-%d-%zu", steps, i);
            use_new(machine);
            made.config.queue = kinds[1 - i];
            queue_filled_make(&made);
            made.config.queue = QUEUE_SQLITE;
            ended = !migrating_is_killed(&made, kinds[i], steps) || ended;
            free(postgresql_run(engine.url, "DROP SCHEMA closecrm CASCADE"));
            /* what is in the state directory is all that there is */
            bool again = queue_migrate(&made.config, kinds[i], &silent, &done, &why);
            check(!again || done.holds == QUEUE_SQLITE, "after %d steps: not another one", steps);
            check(again || queue_migrate_give_up(&made.config, true, &silent, &done, &why), "opened: %s", why.text);
            check(done.holds == QUEUE_SQLITE, "after %d steps it is here", steps);
            struct counts counts = migrating_counts(&made, QUEUE_SQLITE);
            check(i == 0 || counts.waiting > 0, "after %d steps what was here is here", steps);
        }
        if (ended)
            return;
    }
    CU_FAIL("it never ended");
}

/* A process that is killed then leaves no queue that can be opened beside where its content is. */
static void a_queue_that_is_emptied_keeps_its_mark(void)
{
    static const struct migration *const sides[] = {&sqlite_migration, &postgresql_migration};
    static const enum queue_kind kinds[] = {QUEUE_SQLITE, QUEUE_POSTGRESQL};
    use_new("emptied");
    for (size_t i = 0; i < 2; i++) {
        struct error why = {0};
        struct migration_mark mark = {.state = MIGRATION_LEFT, .number = 7}, now;
        made.config.queue = kinds[i];
        queue_filled_make(&made);
        void *side = sides[i]->open(&made.config, false, &why);
        CU_ASSERT_PTR_NOT_NULL_FATAL(side);
        CU_ASSERT(sides[i]->set_mark(side, &mark, &why) && sides[i]->empty(side, &why));
        CU_ASSERT(sides[i]->mark(side, &now, &why) && now.state == MIGRATION_LEFT && now.number == 7);
        sides[i]->close(side);
        struct queue *queue = queue_open(&made.config, &why);
        struct error ignored;
        bool owned, opens = queue != NULL && queue_is_owned(queue, &owned, &ignored, &why);
        check(!opens && strstr(why.text, "this queue was moved") != NULL, "it is not opened: %s", why.text);
        queue_close(queue);
    }
    made.config.queue = QUEUE_SQLITE;
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
    char *before = migrating_text(&made, QUEUE_POSTGRESQL);
    migrating_moves(&made, QUEUE_SQLITE);
    free(postgresql_run(engine.url, "DROP SCHEMA closecrm CASCADE"));
    char *now = migrating_text(&made, QUEUE_SQLITE);
    CU_ASSERT_STRING_EQUAL(now, before);
    migrating_moves(&made, QUEUE_POSTGRESQL); /* a new one is made */
    char *again = migrating_text(&made, QUEUE_POSTGRESQL);
    CU_ASSERT_STRING_EQUAL(again, before);
    free(before);
    free(now);
    free(again);
}

void suite_queue_migrate_database(void)
{
    static CU_TestInfo tests[] = {
        {"a migration goes on with its own database only", a_migration_goes_on_with_its_own_database_only},
        {"a database that is not there holds nothing up", a_database_that_is_not_there_holds_nothing_up},
        {"a database that was called gone comes back", a_database_that_was_called_gone_comes_back},
        {"what arrived is counted where the database is gone", what_arrived_is_counted_where_the_database_is_gone},
        {"a database that is made anew holds nothing up", a_database_that_is_made_anew_holds_nothing_up},
        {"the last copy stays", the_last_copy_stays},
        {"nothing is opened in the place of a database", nothing_is_opened_in_the_place_of_a_database},
        {"a queue that is emptied keeps its mark", a_queue_that_is_emptied_keeps_its_mark},
        {"a database in use is not gone", a_database_in_use_is_not_gone},
        {"the copy can be dropped", the_copy_can_be_dropped},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue migrate database", begin, end, tests);
}
