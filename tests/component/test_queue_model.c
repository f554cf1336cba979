/* The queue beside a model of it: random steps, a new seed each time; what fails is made as short as it can be and
 * printed, as a list that can be given back. From the environment:
 *   CLOSECRM_MODEL_STEPS  how many for each engine; else 100,000, or as many as fit into some seconds
 *   CLOSECRM_MODEL_SEED   the seed that a run has printed
 *   CLOSECRM_MODEL_LIST   a file with a list that a run has printed */
#include "tests/suites.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/check.h"
#include "tests/support/disk_vfs.h"
#include "tests/support/model_life.h"
#include "tests/support/model_postgresql.h"

#define STEPS 100000
#define STEPS_MS 4000 /* of a processor's time for each engine: what of the above fits into that */
#define STEPS_MS_IN_ALL 30000
#define SERVER_MS 10000 /* which waits for its server */
#define SHRINK_MS 60000
#define KEYS 40           /* so few that identities meet */
#define LONG_EVERY 500    /* one life of so many is as long as it takes to merge the journal of identities */
#define LONG_STEPS 400000 /* likewise */

static char directory[PATH_SIZE];
static uint64_t wanted, seed;
static char *list_path;

static uint64_t take_number(const char *variable)
{
    const char *text = getenv(variable);
    uint64_t number = text == NULL ? 0 : strtoull(text, NULL, 10);
    unsetenv(variable); /* the configuration reads all that begins so */
    return number;
}

/* In memory where that can be had: this is not about the disk. */
static int set_up(void)
{
    wanted = take_number("CLOSECRM_MODEL_STEPS");
    seed = take_number("CLOSECRM_MODEL_SEED");
    const char *path = getenv("CLOSECRM_MODEL_LIST");
    list_path = path == NULL || *path == '\0' ? NULL : strdup(path);
    unsetenv("CLOSECRM_MODEL_LIST");
    temporary_in_memory();
    if (seed == 0)
        seed = (uint64_t)clock_unix_ms() * 1000 + (uint64_t)getpid() % 1000;
    return !temporary_make(directory);
}

static int tear_down(void)
{
    temporary_remove(directory);
    free(list_path);
    return 0;
}

/* ---- the engine sqlite, in both journal modes ---- */

static bool begin_with_log(void)
{
    return disk_install();
}

static bool begin_without_log(void)
{
    disk_without_maps(true);
    return disk_install();
}

static void damage(const char *state_dir)
{
    CU_ASSERT(temporary_write(state_dir, "damaged", 0600, "", 0));
}

static void fail_at(unsigned n)
{
    disk_fail(n, false, SQLITE_IOERR_WRITE);
}

static const struct model_engine engines[] = {
    {.name = "sqlite",
     .begin = begin_with_log,
     .at_write = disk_at_call,
     .fail_at = fail_at,
     .has_failed = disk_failed,
     .damage = damage},
    {.name = "sqlite without a log",
     .begin = begin_without_log,
     .at_write = disk_at_call,
     .fail_at = fail_at,
     .has_failed = disk_failed,
     .damage = damage},
};

/* ---- lives ---- */

/* In a directory of its own: a backup that was killed leaves its file, which is in the way of another of that name. */
static struct model_ground *ground_of(const struct model_engine *engine)
{
    char path[PATH_SIZE];
    path_join(path, directory, engine->name);
    return temporary_directory(directory, engine->name) ? model_ground_new(path) : NULL;
}

static void report(struct model_ground *ground, const struct model_engine *engine, struct model_list *list)
{
    size_t before = list->count;
    printf("\n    engine %s, step %zu: %s\n", engine->name, ground->at, ground->failure);
    model_shrink(ground, engine, list, SHRINK_MS);
    printf(
        "    the shortest of %zu steps that fails, %zu (CLOSECRM_MODEL_LIST=FILE with these lines tries it again):\n",
        before, list->count);
    model_list_print(list, stdout);
    check(false, "the queue of engine %s is as its model: %s", engine->name, ground->failure);
}

/* Returns false where the queue was not as its model. */
static bool live_once(struct model_ground *ground, const struct model_engine *engine, uint64_t life, size_t most)
{
    struct model_list list;
    bool is_long = wanted >= LONG_STEPS && life % LONG_EVERY == LONG_EVERY - 1;
    size_t count = is_long ? LONG_STEPS : 20 + model_mix(seed + life) % 1500;
    model_list_draw(&list, seed + life, count < most ? count : most, is_long ? MODEL_KEYS : KEYS);
    bool good = model_live(ground, engine, &list);
    if (!good)
        report(ground, engine, &list);
    model_list_free(&list);
    return good;
}

static uint64_t steps_done(const struct model_ground *ground)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < MODEL_KINDS; i++)
        sum += ground->done[i];
    return sum;
}

/* What the children have used of a processor: a machine with much else to do tries no less. */
static int64_t used_ms(void)
{
    struct rusage used;
    getrusage(RUSAGE_CHILDREN, &used);
    return (int64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000 +
           (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000;
}

static void print_done(const struct model_ground *ground, const struct model_engine *engine, uint64_t lives)
{
    printf("\n    engine %s, seed %" PRIu64 ": %" PRIu64 " steps in %" PRIu64 " lives, killed %" PRIu64
           " times in the middle of one, failed in %" PRIu64 ":",
           engine->name, seed, steps_done(ground), lives, ground->kills_inside, ground->failed_inside);
    for (size_t i = 0; i < MODEL_KINDS; i++)
        printf(" %s %" PRIu64, model_step_name((enum model_kind)i), ground->done[i]);
    printf("\n    ");
}

static void is_as_its_model(const struct model_engine *engine)
{
    struct model_ground *ground = ground_of(engine);
    CU_ASSERT_PTR_NOT_NULL_FATAL(ground);
    uint64_t lives = 0, most = wanted > 0 ? wanted : STEPS;
    moment until = wanted > 0 ? MOMENT_NEVER : clock_now() + (engine->is_a_server ? SERVER_MS : STEPS_MS_IN_ALL);
    int64_t most_ms = wanted > 0 ? INT64_MAX : used_ms() + STEPS_MS;
    bool good = true;
    while (good && steps_done(ground) < most && clock_now() < until && used_ms() < most_ms) {
        good = live_once(ground, engine, lives++, (size_t)(most - steps_done(ground)) + 20);
        if (wanted > 0 && lives % 200 == 0) {
            printf("\n    %" PRIu64 " steps", steps_done(ground));
            fflush(stdout);
        }
    }
    print_done(ground, engine, lives);
    model_ground_free(ground);
}

/* A list that was given: as often as it may take where it depends on time. */
static void try_list(const struct model_engine *engine)
{
    struct model_list list = {.keys = 0};
    FILE *file = fopen(list_path, "re");
    struct model_ground *ground = ground_of(engine);
    CU_ASSERT_FATAL(check(file != NULL && model_list_read(&list, file), "%s can be read", list_path));
    fclose(file);
    CU_ASSERT_PTR_NOT_NULL_FATAL(ground);
    check(model_live(ground, engine, &list), "engine %s, step %zu: %s", engine->name, ground->at, ground->failure);
    model_list_free(&list);
    model_ground_free(ground);
}

static void run(const struct model_engine *engine)
{
    if (list_path != NULL)
        try_list(engine);
    else
        is_as_its_model(engine);
}

static void with_a_log(void)
{
    run(&engines[0]);
}

static void without_a_log(void)
{
    run(&engines[1]);
}

static int set_up_postgresql(void)
{
    return set_up() != 0 || !model_postgresql_begin();
}

static int tear_down_postgresql(void)
{
    model_postgresql_end();
    return tear_down();
}

static void with_a_server(void)
{
    run(&model_postgresql);
}

void suite_queue_model_postgresql(void)
{
    static CU_TestInfo tests[] = {{"engine postgresql", with_a_server}, CU_TEST_INFO_NULL};
    suite_add("model postgresql", set_up_postgresql, tear_down_postgresql, tests);
}

void suite_queue_model(void)
{
    static CU_TestInfo tests[] = {
        {"engine sqlite", with_a_log},
        {"engine sqlite without a log", without_a_log},
        CU_TEST_INFO_NULL,
    };
    suite_add("model", set_up, tear_down, tests);
}
