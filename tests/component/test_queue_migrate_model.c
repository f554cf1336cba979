/* Two machines and a database, between which queues are moved in random sequences, each call killed after a random step
 * or not at all, given up, and taken over where the other machine is called gone, which then comes back: in the end
 * each event is in one place, or was delivered once.
 *   CLOSECRM_MIGRATE_RUNS  how many sequences; else 25
 *   CLOSECRM_MIGRATE_SEED  of the first one, as a run has printed it */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/migrating.h"
#include "tests/support/model.h"

#define RUNS 25
#define MACHINES 2
#define EVENTS 4000
#define MANY 700 /* more than a step moves */
#define STEPS_MOST 12
#define ROUNDS 6

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE], machine[MACHINES][PATH_SIZE];
static struct queue_rig_engine engine;
static struct events found;
static struct letters letters;

/* The sequence that runs. */
static uint64_t seed;
static uint32_t drawn;
static unsigned events;                 /* that were appended */
static unsigned char delivered[EVENTS]; /* how often */
static unsigned char there[EVENTS];     /* in queues that are open */
static char story[8192];                /* what was done, for who reads that it failed */
static unsigned long done[2];           /* calls that ended, and that were killed */

static int begin(void)
{
    return queue_rig_set_up_quiet(&made, directory, state) != 0 || !queue_rig_postgresql(&engine, &made);
}

static int end(void)
{
    letters_free(&letters);
    queue_rig_engine_end(&engine);
    return queue_rig_tear_down_quiet(directory, &found);
}

static unsigned draw(unsigned below)
{
    return model_mix(seed * 1000 + drawn++) % below;
}

static void tell(const char *what, int m, int steps)
{
    size_t length = strlen(story);
    snprintf(story + length, sizeof story - length, " %c:%s", "ab"[m], what);
    if (steps != 0)
        snprintf(story + strlen(story), sizeof story - strlen(story), "/%d", steps);
}

static void go(int m, enum queue_kind kind)
{
    snprintf(state, sizeof state, "%s", machine[m]);
    made.config.queue = kind;
}

/* NULL: it cannot be opened, for why. */
static struct queue *open_queue(struct error *why)
{
    bool owned;
    struct error ignored;
    struct queue *queue = queue_open(&made.config, why);
    if (queue != NULL && queue_is_owned(queue, &owned, &ignored, why))
        return queue;
    queue_close(queue);
    return NULL;
}

/* ---- what is done with an open queue ---- */

static void append(struct queue *queue)
{
    char body[32];
    for (unsigned count = draw(15) == 0 ? MANY : 1 + draw(5); count > 0 && events < EVENTS; count--) {
        snprintf(body, sizeof body, "event %u.", events++);
        queue_rig_append(queue, "one", body);
    }
}

static unsigned number_of(const char *body)
{
    unsigned number = EVENTS;
    CU_ASSERT_FATAL(sscanf(body, "event %u.", &number) == 1 && number < EVENTS);
    return number;
}

/* The first events of it; every fifth becomes a dead letter instead. */
static void deliver(struct queue *queue, unsigned most)
{
    struct error why = {0};
    queue_rig_claim(queue);
    if (queue_next(queue, "one", 0, most, 1 << 20, &found, &why) <= 0)
        return;
    for (size_t i = 0; i < found.count; i++) {
        bool dies = draw(5) == 0;
        struct verdict verdict = {.id = found.at[i].id, .kind = dies ? VERDICT_DEAD : VERDICT_DELIVERED};
        verdict.reason = dies ? "dies" : NULL;
        check(queue_settle(queue, "one", &verdict, 1, &why), "settled: %s", why.text);
        delivered[number_of(found.at[i].body)] += !dies;
    }
}

static void replay(struct queue *queue)
{
    struct error why = {0};
    size_t count;
    if (queue_letters(queue, "one", 0, 2, 1 << 20, &letters, &why) <= 0)
        return;
    check(queue_replay(queue, &letters.at[0].id, 1, &count, &why), "replayed: %s", why.text);
}

static void use(int m, enum queue_kind kind)
{
    struct error why = {0};
    static const char *const words[][3] = {
        [QUEUE_SQLITE] = {"append", "deliver", "replay"}, [QUEUE_POSTGRESQL] = {"APPEND", "DELIVER", "REPLAY"}};
    unsigned which = draw(3);
    go(m, kind);
    struct queue *queue = open_queue(&why);
    if (queue == NULL)
        return;
    tell(words[kind][which], m, 0);
    if (which == 0)
        append(queue);
    else if (which == 1)
        deliver(queue, 1 + draw(4));
    else
        replay(queue);
    queue_close(queue);
}

/* ---- moving ---- */

enum call { TO_POSTGRESQL, TO_SQLITE, GIVE_UP, GONE, CALLS };

static int call(int m, enum call which, int steps)
{
    static const char *const words[CALLS] = {"--to-postgresql", "--to-sqlite", "--give-up", "--gone"};
    go(m, QUEUE_SQLITE);
    tell(words[which], m, steps);
    int code = which == GONE        ? migrating_gone_in_child(&made, steps)
               : which == GIVE_UP   ? migrating_in_child(&made, MIGRATING_GIVE_UP, steps)
               : which == TO_SQLITE ? migrating_in_child(&made, QUEUE_SQLITE, steps)
                                    : migrating_in_child(&made, QUEUE_POSTGRESQL, steps);
    done[0] += code == 0;
    done[1] += code == MIGRATING_KILLED;
    tell(code == 0 ? "ok" : code == 1 ? "no" : "killed", m, 0);
    return code;
}

static void move(int m)
{
    unsigned which = draw(8);
    call(m,
         which < 3   ? TO_POSTGRESQL
         : which < 5 ? TO_SQLITE
         : which < 7 ? GIVE_UP
                     : GONE,
         draw(4) == 0 ? 0 : 1 + (int)draw(STEPS_MOST));
}

/* ---- the end ---- */

/* Whether it is open, or its content is elsewhere. */
static bool is_settled(int m, enum queue_kind kind)
{
    struct error why = {0};
    go(m, kind);
    struct queue *queue = open_queue(&why);
    bool is = queue != NULL || strstr(why.text, "this queue was moved") != NULL;
    queue_close(queue);
    return is;
}

/* Both machines are there. */
static bool settles(void)
{
    for (int round = 0; round < ROUNDS; round++) {
        bool all = true;
        for (int m = 0; m < MACHINES; m++) {
            if (!is_settled(m, QUEUE_SQLITE) && call(m, draw(2) == 0 ? GIVE_UP : TO_SQLITE, 0) != 0)
                all = call(m, TO_POSTGRESQL, 0) == 0 && all;
        }
        if (all && !is_settled(0, QUEUE_POSTGRESQL))
            all = call((int)draw(MACHINES), round < 2 ? GIVE_UP : GONE, 0) == 0;
        if (all && is_settled(0, QUEUE_SQLITE) && is_settled(1, QUEUE_SQLITE) && is_settled(0, QUEUE_POSTGRESQL))
            return true;
    }
    return false;
}

static uint64_t look_into(int m, enum queue_kind kind)
{
    struct error why = {0};
    struct counts counts = {0};
    go(m, kind);
    struct queue *queue = open_queue(&why);
    if (queue == NULL)
        return 0;
    counts = queue_rig_counts(queue, "one");
    CU_ASSERT(queue_list(queue, "one", 0, EVENTS, 1 << 20, &found, &why) >= 0);
    check(counts.waiting == found.count, "of %lu that wait %zu are there", (unsigned long)counts.waiting, found.count);
    for (size_t i = 0; i < found.count; i++)
        there[number_of(found.at[i].body)]++;
    CU_ASSERT(queue_letters(queue, "one", 0, EVENTS, 1 << 20, &letters, &why) >= 0);
    for (size_t i = 0; i < letters.count; i++)
        there[number_of(letters.at[i].body)] += !letters.at[i].replayed;
    queue_close(queue);
    return counts.accepted;
}

static bool each_is_there_once(void)
{
    bool good = true;
    uint64_t accepted = look_into(0, QUEUE_POSTGRESQL) + look_into(0, QUEUE_SQLITE) + look_into(1, QUEUE_SQLITE);
    for (unsigned i = 0; i < events; i++) {
        if (delivered[i] + there[i] == 1)
            continue;
        good = false;
        printf("\n    event %u was delivered %u times, and is in %u places", i, delivered[i], there[i]);
    }
    if (accepted != events)
        printf("\n    %u came, and %" PRIu64 " were counted", events, accepted);
    return good && accepted == events;
}

static void run_one(void)
{
    char name[32];
    events = drawn = 0;
    memset(delivered, 0, sizeof delivered);
    memset(there, 0, sizeof there);
    story[0] = '\0';
    free(postgresql_run(engine.url, "DROP SCHEMA IF EXISTS closecrm CASCADE"));
    for (int m = 0; m < MACHINES; m++) {
        snprintf(name, sizeof name, "%" PRIu64 "-%d", seed, m);
        path_join(machine[m], directory, name);
    }
    for (unsigned left = 10 + draw(30); left > 0; left--) {
        int m = (int)draw(MACHINES);
        if (draw(2) == 0)
            move(m);
        else
            use(m, draw(2) == 0 ? QUEUE_SQLITE : QUEUE_POSTGRESQL);
    }
    bool settled = settles();
    bool good = settled && each_is_there_once();
    check(good, "seed %" PRIu64 "%s:%s", seed, settled ? "" : ", no way out", story);
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void each_event_is_in_one_place(void)
{
    uint64_t first = number_from("CLOSECRM_MIGRATE_SEED", (uint64_t)clock_unix_ms());
    uint64_t runs = number_from("CLOSECRM_MIGRATE_RUNS", RUNS);
    made.config.queue = QUEUE_POSTGRESQL;
    queue_rig_new(&engine, &made);
    for (seed = first; seed < first + runs; seed++)
        run_one();
    printf("(seed %" PRIu64 ": %" PRIu64 " sequences, %lu calls ended, %lu were killed) ", first, runs, done[0],
           done[1]);
    made.config.queue = QUEUE_SQLITE;
}

void suite_queue_migrate_model(void)
{
    static CU_TestInfo tests[] = {
        {"each event is in one place", each_event_is_in_one_place},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue migrate model", begin, end, tests);
}
