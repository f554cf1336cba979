/* What queue_migrate says: no command that is printed is cut, and each success names the value of `queue`. */
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
static void move_killed(enum queue_kind to, int steps)
{
    CU_ASSERT_EQUAL_FATAL(migrating_in_child(&made, to, steps), MIGRATING_KILLED);
}

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
        {"no command is cut", no_command_is_cut},
        {"commands print whole commands", commands_print_whole_commands},
        {"each success says the value of queue", each_success_says_the_value_of_queue},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue migrate words", begin, end, tests);
}
