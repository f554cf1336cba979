/* queue_migrate where a machine or a database is gone, or is called so: what is said, followed, neither loses nor
 * doubles anything; and no command that is printed is cut. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/program_name.h"
#include "queue/migration.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/commands_run.h"
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

/* ---- words ---- */

#define LONG 200

/* Each command is whole: of this machine with the configuration, of another one without the program's name. */
static void check_commands(const char *text, const char *file)
{
    const char *at = text, *end = NULL;
    for (; (at = strchr(at, '`')) != NULL; at = end + 1) {
        end = strchr(at + 1, '`');
        CU_ASSERT_PTR_NOT_NULL_FATAL(end);
        const char *config = strstr(at, file), *moves = strstr(at, "queue migrate --");
        if (moves == NULL || moves > end)
            continue; /* another command */
        bool is_bare = strncmp(at + 1, "queue migrate --", 16) == 0;
        check(is_bare == (config == NULL || config > end), "%.*s has its configuration: %s", (int)(end - at), at, text);
    }
}

static void no_command_is_cut(void)
{
    char file[LONG + 1], quoted[LOG_QUOTED], path[LONG];
    memset(file, 'c', LONG);
    file[0] = '/';
    file[LONG] = '\0';
    memset(path, 's', LONG - 1);
    path[LONG - 1] = '\0';
    program_name_use_configuration(file);
    for (int is = MIGRATION_RECEIVES; is <= MIGRATION_ARRIVED; is++) {
        for (int reader = MIGRATION_OWN; reader <= MIGRATION_STALE; reader++) {
            struct error why = {0};
            struct migration_mark mark = {.state = (enum migration_state)is};
            snprintf(mark.place, sizeof mark.place, "in the state directory /%s on a-machine", path);
            snprintf(mark.command, sizeof mark.command, "postgresql");
            migration_words(&mark, (enum migration_reader)reader, &why);
            error_prefix(&why, "source %.40s: ", path);
            check(strlen(why.text) + PROGRAM_NAME_SIZE < sizeof why.text + strlen(program_name()) - LONG,
                  "there is room for a longer name: %zu", strlen(why.text));
            check(strstr(why.text, "on a-machine") != NULL, "the machine is named: %s", why.text);
            check_commands(why.text, file);
            log_quote_reason(quoted, why.text);
            CU_ASSERT_EQUAL(strlen(quoted), strlen(why.text) + 2);
        }
    }
    program_name_use_configuration("");
}

static void put_mark(const struct migration *side, enum migration_state is, const char *machine)
{
    struct error why = {0};
    struct migration_mark mark = {.state = is, .number = 7};
    void *opens = side->open(&made.config, false, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(opens);
    snprintf(mark.place, sizeof mark.place, "%s", machine);
    snprintf(mark.command, sizeof mark.command, "sqlite");
    check(side->set_mark(opens, &mark, &why), "marked: %s", why.text);
    side->close(opens);
}

static struct ran ran;

static void run_each(const char *file)
{
    static const char *const calls[][5] = {{"queue", "migrate", "--to", "sqlite"},
                                           {"queue", "migrate", "--to", "postgresql"},
                                           {"queue", "migrate", "--give-up"},
                                           {"check"},
                                           {"cron", "--seconds", "1"},
                                           {"queue", "status"}};
    char path[PATH_SIZE + LONG];
    for (size_t i = sizeof calls / sizeof *calls; i-- > 0;) { /* those that change nothing first */
        snprintf(path, sizeof path, "%s/cron-told.1", state);
        unlink(path);
        run_command(&ran, NULL, calls[i]);
        check_commands(ran.out, file);
        check_commands(ran.err, file);
        check(i > 4 ? strstr(ran.err, "queue migrate --") != NULL : true, "%s: %s", calls[i][0], ran.err);
    }
}

static void configure(const char *file, const char *queue)
{
    FILE *out = fopen(file, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(out);
    fprintf(out,
            "queue = %s\nqueue_url = %s\nstate_dir = %s\ndata_plane_url = file:///dev/null\n[source one]\n"
            "write_key = 1234567890abcdefghijklmnopq\n",
            queue, engine.url, state);
    fclose(out);
    CU_ASSERT_EQUAL(chmod(file, 0600), 0);
}

/* Where the paths are long, and whichever side has which mark. */
static void commands_print_whole_commands(void)
{
    char file[PATH_SIZE + LONG], folder[PATH_SIZE];
    path_join(folder, directory, "");
    size_t length = strlen(folder);
    memset(folder + length, 'l', LONG - 20 - length);
    folder[LONG - 20] = '\0';
    CU_ASSERT_EQUAL_FATAL(mkdir(folder, 0700), 0);
    snprintf(file, sizeof file, "%s/closecrm-named.conf", folder);
    CU_ASSERT_EQUAL(setenv("CLOSECRM_CONFIG", file, 1), 0);
    for (int is = MIGRATION_RECEIVES; is <= MIGRATION_ARRIVED; is++) {
        for (int side = 0; side < 2; side++) {
            if (side > 0 && is == MIGRATION_ARRIVED)
                continue; /* a database never has that */
            use_new("never");
            snprintf(state, sizeof state, "%.220s/state-%d%d", folder, is, side);
            queue_close(queue_rig_open(&made));
            put_mark(side == 0 ? &sqlite_migration : &postgresql_migration, (enum migration_state)is,
                     "in the state directory /somewhere on another");
            configure(file, side == 0 ? "sqlite" : "postgresql");
            run_each(file);
        }
    }
    unsetenv("CLOSECRM_CONFIG");
}

static void says(const char *words)
{
    check(ran.code == 0 && strstr(ran.out, words) != NULL, "%s: %d %s%s", words, ran.code, ran.out, ran.err);
}

/* What the key `queue` must be: events are accepted into another queue else, and nobody sees those that wait. */
static void each_success_says_the_value_of_queue(void)
{
    char file[PATH_SIZE];
    use_new("values");
    queue_filled_make(&made);
    path_join(file, directory, "values.conf");
    CU_ASSERT_EQUAL(setenv("CLOSECRM_CONFIG", file, 1), 0);
    configure(file, "sqlite");
    move_killed(QUEUE_POSTGRESQL, 6);
    RUN(&ran, NULL, "queue", "migrate", "--give-up");
    says("It is used with queue = sqlite, as it is set here");
    move_killed(QUEUE_POSTGRESQL, 6);
    configure(file, "postgresql");
    RUN(&ran, NULL, "queue", "migrate", "--give-up");
    says("Now set queue = sqlite on this machine");
    RUN(&ran, NULL, "queue", "migrate", "--to", "postgresql");
    says("It is used with queue = postgresql, as it is set here: set that on every machine");
    move_killed(QUEUE_SQLITE, 6);
    configure(file, "sqlite");
    RUN(&ran, NULL, "queue", "migrate", "--give-up");
    says("Now set queue = postgresql on every machine");
    RUN(&ran, NULL, "queue", "migrate", "--to", "sqlite");
    says("DROP SCHEMA closecrm CASCADE");
    says("It is used with queue = sqlite");
    move_killed(QUEUE_POSTGRESQL, 6);
    go("values-other");
    queue_close(queue_rig_open(&made));
    configure(file, "sqlite");
    RUN(&ran, NULL, "queue", "migrate", "--give-up", "--gone");
    says("is open again, as it is");
    says("Now set queue = postgresql on every machine");
    unsetenv("CLOSECRM_CONFIG");
}

void suite_queue_migrate_words(void)
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
        {"no command is cut", no_command_is_cut},
        {"commands print whole commands", commands_print_whole_commands},
        {"each success says the value of queue", each_success_says_the_value_of_queue},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue migrate words", begin, end, tests);
}
