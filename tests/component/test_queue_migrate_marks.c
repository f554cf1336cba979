/* queue_migrate from each pair of marks that two queues can have: what each call of it does, and that what it prints,
 * typed, ends in an open queue, with no row lost. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/program_name.h"
#include "queue/migration.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/queue_rig.h"

#define STEPS 3 /* commands */
#define OWN_NUMBER 11
#define OTHER_NUMBER 22
#define OTHER_ORIGIN 33

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE], here[PATH_SIZE], other[PATH_SIZE];
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

/* ---- the two queues, and the other machine's ---- */

static void go(const char *machine)
{
    snprintf(state, sizeof state, "%s", machine);
}

static void put_mark(const struct migration *side, const struct migration_mark *mark)
{
    struct error why = {0};
    void *opened = side->open(&made.config, false, &why);
    check(opened != NULL &&
              (mark->state == MIGRATION_NONE && mark->number == 0 ? true : side->set_mark(opened, mark, &why)),
          "marked: %s", why.text);
    if (opened != NULL)
        side->close(opened);
}

static void append(enum queue_kind kind, const char *body)
{
    made.config.queue = kind;
    struct queue *queue = queue_rig_open(&made);
    queue_rig_append(queue, "one", body);
    queue_close(queue);
}

/* Also in a queue that is closed. */
static bool has(const struct migration *side, const char *body)
{
    struct error why = {0};
    struct cargo cargo = {0};
    bool is_there = false;
    void *opened = side->open(&made.config, false, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(opened);
    check(side->read(opened, "one", CARGO_EVENTS, &(struct cargo_place){.id = 0}, &cargo, &why), "read: %s", why.text);
    cargo_finish(&cargo);
    for (size_t i = 0; i < cargo.count; i++)
        is_there = is_there || strncmp(cargo.at[i].body, body, strlen(body)) == 0;
    side->close(opened);
    cargo_free(&cargo);
    return is_there;
}

static bool is_anywhere(const char *body)
{
    go(other);
    bool there = has(&sqlite_migration, body);
    go(here);
    return there || has(&sqlite_migration, body) || has(&postgresql_migration, body);
}

struct pair {
    enum migration_state local, shared;
    bool same;        /* one migration's */
    bool taken;       /* the database was opened while this machine was called gone */
    bool anew;        /* it was made anew since the state directory was marked */
    const char *does; /* --to postgresql, --to sqlite, --give-up, --give-up --gone: d: done, r: refused */
};

/* What the other machine has while the database is marked so by it. */
static enum migration_state other_state(const struct pair *pair)
{
    return pair->shared == MIGRATION_RECEIVES ? MIGRATION_LEAVES
           : pair->shared == MIGRATION_LEAVES ? MIGRATION_RECEIVES
                                              : MIGRATION_NONE;
}

static struct migration_mark mark_of(enum migration_state is, int64_t number, const struct migration *side,
                                     bool to_database)
{
    struct migration_mark mark = {.state = is, .number = is == MIGRATION_NONE ? 0 : number};
    side->mark_place(&made.config, mark.place);
    snprintf(mark.command, sizeof mark.command, "%s", to_database ? "postgresql" : "sqlite");
    return mark;
}

/* As `--give-up --gone` of another machine does. */
static void take(void)
{
    struct migration_mark mark = mark_of(MIGRATION_RECEIVES, OWN_NUMBER, &sqlite_migration, true);
    put_mark(&postgresql_migration, &mark);
    mark.state = MIGRATION_NONE;
    put_mark(&postgresql_migration, &mark);
}

static void make(const struct pair *pair, int serial)
{
    path_join(here, directory, "here");
    path_join(other, directory, "other");
    snprintf(here + strlen(here), 8, "-%d", serial);
    snprintf(other + strlen(other), 8, "-%d", serial);
    go(other);
    free(postgresql_run(engine.url, "DROP SCHEMA IF EXISTS closecrm CASCADE")); /* cheaper than a new database */
    append(QUEUE_SQLITE, "other");
    if (pair->shared == MIGRATION_LEFT && !pair->same)
        append(QUEUE_SQLITE, "base");
    struct migration_mark mark =
        mark_of(other_state(pair), OTHER_NUMBER, &postgresql_migration, pair->shared == MIGRATION_RECEIVES);
    if (!pair->same)
        put_mark(&sqlite_migration, &mark);
    append(QUEUE_POSTGRESQL, "base");
    go(here);
    if (pair->taken)
        take();
    go(pair->same ? here : other);
    mark = mark_of(pair->shared, pair->same ? OWN_NUMBER : OTHER_NUMBER, &sqlite_migration,
                   pair->shared == MIGRATION_RECEIVES);
    go(here);
    put_mark(&postgresql_migration, &mark);
    append(QUEUE_SQLITE, "here");
    mark = mark_of(pair->local, OWN_NUMBER, &postgresql_migration,
                   pair->local == MIGRATION_LEAVES || pair->local == MIGRATION_LEFT);
    mark.origin = pair->anew ? OTHER_ORIGIN : 0;
    put_mark(&sqlite_migration, &mark);
}

/* ---- typing what is printed ---- */

static const char *const calls[] = {"--to postgresql", "--to sqlite", "--give-up", "--give-up --gone"};

static bool opens(enum queue_kind kind, struct error *why)
{
    bool owned;
    struct error ignored;
    made.config.queue = kind;
    struct queue *queue = queue_open(&made.config, why);
    bool good = queue != NULL && queue_is_owned(queue, &owned, &ignored, why);
    queue_close(queue);
    return good;
}

static bool call(const char *words, struct migrated *done, struct error *why)
{
    made.config.queue = QUEUE_SQLITE;
    if (strstr(words, "--to postgresql") != NULL)
        return queue_migrate(&made.config, QUEUE_POSTGRESQL, &silent, done, why);
    if (strstr(words, "--to sqlite") != NULL)
        return queue_migrate(&made.config, QUEUE_SQLITE, &silent, done, why);
    return queue_migrate_give_up(&made.config, strstr(words, "--gone") != NULL, &silent, done, why);
}

/* The n-th command of a text, or NULL. */
static const char *find_command(const char *text, int n, char out[static 600])
{
    const char *at = text;
    while ((at = strchr(at, '`')) != NULL) {
        size_t length = strcspn(at + 1, "`");
        if (n-- == 0) {
            snprintf(out, 600, "%.*s", (int)length, at + 1);
            return at;
        }
        at += length + 2;
    }
    return NULL;
}

static bool is_of_other(const char *text, const char *command)
{
    const char *there = strstr(text, "that machine");
    return there != NULL && there < command && strncmp(command + 1, "queue migrate", 13) == 0;
}

/* Follows the n-th piece of advice, then the first ones. Returns whether a queue is open in the end. */
static bool follow(const char *text, int n)
{
    struct error said;
    struct migrated done;
    char command[600];
    snprintf(said.text, sizeof said.text, "%s", text);
    for (int steps = 0; steps < STEPS; n = 0) {
        struct error why = {0};
        go(here);
        if (n == 0 && strstr(said.text, "Set queue = ") != NULL) {
            if (opens(strstr(said.text, "Set queue = sqlite") ? QUEUE_SQLITE : QUEUE_POSTGRESQL, &why))
                return true;
        } else if (n == 0 && strstr(said.text, "lead to that one") != NULL) {
            go(other);
            return opens(QUEUE_SQLITE, &why);
        } else {
            const char *at = find_command(said.text, n, command);
            if (at == NULL)
                return false;
            steps++;
            go(is_of_other(said.text, at) ? other : here);
            if (call(command, &done, &why) && opens(done.holds, &why))
                return true;
        }
        said = why;
    }
    printf("(after %d commands: %s) ", STEPS, said.text);
    return false;
}

static int serial;

static void check_rows(const struct pair *pair, const char *after)
{
    bool keeps_here = pair->local != MIGRATION_LEFT, keeps_base = pair->shared != MIGRATION_LEFT || !pair->same;
    check(is_anywhere("other"), "%s: the other machine's is there", after);
    check(!keeps_here || is_anywhere("here"), "%d/%d %s: the state directory's is there", pair->local, pair->shared,
          after);
    check(!keeps_base || is_anywhere("base"), "%d/%d %s: the database's is there", pair->local, pair->shared, after);
}

static void try_call(const struct pair *pair, size_t which)
{
    char command[600];
    int advice = 1;
    for (int n = 0; n < advice; n++) {
        struct error why = {0};
        struct migrated done;
        make(pair, serial++);
        bool good = call(calls[which], &done, &why);
        check(good == (pair->does[which] == 'd'), "%d/%d same %d taken %d anew %d: %s: %d %s", pair->local,
              pair->shared, pair->same, pair->taken, pair->anew, calls[which], good, why.text);
        if (good)
            check(opens(done.holds, &why), "%d/%d %s: open: %s", pair->local, pair->shared, calls[which], why.text);
        else if (strstr(why.text, "nothing to give up") == NULL)
            check(follow(why.text, n), "%d/%d same %d taken %d: advice %d of %s ends in an open queue: %s", pair->local,
                  pair->shared, pair->same, pair->taken, n, calls[which], why.text);
        while (!good && find_command(why.text, advice, command) != NULL)
            advice++;
        check_rows(pair, calls[which]);
    }
}

#define NONE MIGRATION_NONE
#define RECEIVES MIGRATION_RECEIVES
#define LEAVES MIGRATION_LEAVES
#define LEFT MIGRATION_LEFT
#define ARRIVED MIGRATION_ARRIVED

/* The database's mark is this machine's (same), or another one's. */
static const struct pair pairs[] = {
    {NONE, NONE, false, false, false, "ddrr"},         {NONE, RECEIVES, false, false, false, "rrrd"},
    {NONE, LEAVES, false, false, false, "rrrd"},       {NONE, LEFT, false, false, false, "ddrr"},
    {NONE, RECEIVES, true, false, false, "rdrr"},      {NONE, LEAVES, true, false, false, "rdrr"},
    {NONE, LEFT, true, false, false, "ddrr"},          {RECEIVES, NONE, false, false, false, "rddd"},
    {RECEIVES, RECEIVES, false, false, false, "rrdd"}, {RECEIVES, LEAVES, true, false, false, "rddd"},
    {RECEIVES, LEAVES, false, false, false, "rrdd"},   {RECEIVES, LEFT, true, false, false, "rddd"},
    {RECEIVES, LEFT, false, false, false, "rddd"},     {LEAVES, NONE, false, false, false, "drdd"},
    {LEAVES, RECEIVES, true, false, false, "drdd"},    {LEAVES, RECEIVES, false, false, false, "rrdd"},
    {LEAVES, LEAVES, false, false, false, "rrdd"},     {LEAVES, LEFT, false, false, false, "drdd"},
    {LEFT, NONE, false, false, false, "ddrr"},         {LEFT, RECEIVES, true, false, false, "drdd"},
    {LEFT, RECEIVES, false, false, false, "rrrd"},     {LEFT, LEAVES, false, false, false, "rrrd"},
    {LEFT, LEFT, false, false, false, "rdrr"},         {ARRIVED, NONE, false, false, false, "ddrr"},
    {ARRIVED, RECEIVES, false, false, false, "rdrd"},  {ARRIVED, LEAVES, true, false, false, "rddd"},
    {ARRIVED, LEAVES, false, false, false, "rdrd"},    {ARRIVED, LEFT, true, false, false, "dddd"},
    {ARRIVED, LEFT, false, false, false, "ddrr"},      {RECEIVES, NONE, false, true, false, "rddd"},
    {RECEIVES, RECEIVES, false, true, false, "rrdd"},  {RECEIVES, LEAVES, false, true, false, "rrdd"},
    {RECEIVES, LEFT, false, true, false, "rddd"},      {LEAVES, NONE, false, true, false, "drdd"},
    {LEAVES, RECEIVES, true, true, false, "drdd"},     {LEAVES, RECEIVES, false, true, false, "rrdd"},
    {LEAVES, LEAVES, false, true, false, "rrdd"},      {LEAVES, LEFT, false, true, false, "drdd"},
    {LEFT, NONE, false, true, false, "ddrr"},          {LEFT, RECEIVES, true, true, false, "drdd"},
    {ARRIVED, NONE, false, true, false, "rddd"},       {ARRIVED, RECEIVES, false, true, false, "rrdd"},
    {ARRIVED, LEAVES, false, true, false, "rrdd"},     {ARRIVED, LEFT, false, true, false, "rddd"},
    {RECEIVES, NONE, false, false, true, "rrrd"},      {RECEIVES, RECEIVES, false, false, true, "rrrd"},
    {RECEIVES, LEAVES, false, false, true, "rrrd"},    {RECEIVES, LEFT, false, false, true, "rrrd"},
    {ARRIVED, NONE, false, false, true, "ddrr"},       {LEAVES, NONE, false, false, true, "rrrd"},
    {LEAVES, RECEIVES, false, false, true, "rrrd"},    {LEAVES, LEAVES, false, false, true, "rrrd"},
    {LEAVES, LEFT, false, false, true, "rrrd"},        {LEFT, NONE, false, false, true, "rrrd"},
    {LEFT, RECEIVES, false, false, true, "rrrd"},      {LEFT, LEAVES, false, false, true, "rrrd"},
    {LEFT, LEFT, false, false, true, "rrrd"},
};

static void each_pair_of_marks_has_a_way_out(void)
{
    made.config.queue = QUEUE_POSTGRESQL;
    queue_rig_new(&engine, &made);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        for (size_t which = 0; which < sizeof calls / sizeof *calls; which++)
            try_call(&pairs[i], which);
    }
}

void suite_queue_migrate_marks(void)
{
    static CU_TestInfo tests[] = {
        {"each pair of marks has a way out", each_pair_of_marks_has_a_way_out},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue migrate marks", begin, end, tests);
}
