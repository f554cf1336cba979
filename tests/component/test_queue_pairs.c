/* Two commands on dead letters at the same time: each event is counted once, whatever they are. One table of cases for
 * both engines. */
#include "queue/inspect.h"
#include "tests/suites.h"
#include "tests/support/queue_rig.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct queue_rig_engine engine;

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
    temporary_remove(directory);
    return 0;
}

static struct queue *open_new(const char *name)
{
    path_join(state, directory, name);
    queue_rig_new(&engine, &made);
    return queue_rig_open(&made);
}

/* An event that is as long as its key says. */
static void append(struct queue *queue, size_t length)
{
    char body[256];
    memset(body, 'x', length);
    body[length] = '\0';
    queue_rig_append(queue, "one", body);
}

static void settle_as(struct queue *queue, uint64_t id, enum verdict_kind kind, unsigned char key)
{
    struct error why = {0};
    const struct verdict verdict = {.id = id,
                                    .kind = kind,
                                    .identity = {.key = {key}, .updated_us = 1},
                                    .remember = kind != VERDICT_DUPLICATE,
                                    .reason = "no"};
    CU_ASSERT_TRUE(queue_settle(queue, "one", &verdict, 1, &why));
}

static void expect_sum(struct queue *queue, uint64_t accepted, uint64_t discarded)
{
    struct counts counts = queue_rig_counts(queue, "one");
    CU_ASSERT_EQUAL(counts.accepted, accepted);
    CU_ASSERT_EQUAL(counts.discarded, discarded);
    CU_ASSERT_EQUAL(counts.accepted, counts.delivered + counts.discarded);
}

#define PAIRED 120 /* letters */

typedef bool change_letters(struct queue *queue, const uint64_t *ids, size_t count, size_t *done, struct error *why);

/* A command: reads a page of letters, and changes those that it has read. */
struct command {
    change_letters *change;
    pthread_t thread;
    size_t done, failures;
};

static void *run_one(void *context)
{
    struct command *command = context;
    struct queue *queue = queue_open(&made.config, &(struct error){0});
    struct letters letters = {0};
    struct error why = {0};
    uint64_t after = 0, ids[8];
    while (queue != NULL && queue_letters(queue, NULL, after, 8, 1 << 20, &letters, &why) > 0) {
        size_t count = 0, done = 0;
        for (size_t i = 0; i < letters.count; i++) {
            if (!letters.at[i].replayed)
                ids[count++] = letters.at[i].id;
        }
        after = letters.at[letters.count - 1].id;
        sched_yield();
        command->failures += !command->change(queue, ids, count, &done, &why);
        command->done += done;
    }
    command->failures += why.text[0] != '\0' || queue == NULL;
    letters_free(&letters);
    if (queue != NULL)
        queue_close(queue);
    return NULL;
}

/* What waits is no duplicate of anything, and is delivered; then each event has ended once. */
static void deliver_all(struct queue *queue, size_t count)
{
    struct error why = {0};
    struct events found = {0};
    CU_ASSERT_EQUAL(queue_next(queue, "one", 0, PAIRED + 1, 1 << 20, &found, &why), (int)count);
    for (size_t i = 0; i < found.count; i++) {
        struct known known;
        struct identity identity = {.key = {(unsigned char)found.at[i].length}, .updated_us = 1};
        CU_ASSERT_TRUE(queue_known(queue, "one", &identity, 1, &known, &why));
        CU_ASSERT_TRUE(found.at[i].replay && known.dead && !known.delivered);
        settle_as(queue, found.at[i].id, known.delivered ? VERDICT_DUPLICATE : VERDICT_DELIVERED, identity.key[0]);
    }
    events_free(&found);
}

static void run_pair(const char *name, change_letters *first, change_letters *second)
{
    struct queue *queue = open_new(name);
    struct command commands[] = {{.change = first}, {.change = second}};
    queue_rig_claim(queue);
    for (unsigned i = 1; i <= PAIRED; i++) {
        append(queue, i);
        settle_as(queue, i, VERDICT_DEAD, (unsigned char)i);
    }
    for (size_t i = 0; i < 2; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&commands[i].thread, NULL, run_one, &commands[i]), 0);
    for (size_t i = 0; i < 2; i++)
        pthread_join(commands[i].thread, NULL);
    CU_ASSERT_EQUAL(commands[0].failures + commands[1].failures, 0);
    CU_ASSERT_EQUAL(commands[0].done + commands[1].done, PAIRED);
    size_t replayed = 0;
    for (size_t i = 0; i < 2; i++)
        replayed += commands[i].change == queue_replay ? commands[i].done : 0;
    deliver_all(queue, replayed);
    struct counts counts = queue_rig_counts(queue, "one");
    CU_ASSERT_EQUAL(counts.delivered, replayed);
    CU_ASSERT_EQUAL(counts.discarded, PAIRED - replayed);
    CU_ASSERT_EQUAL(counts.duplicates + counts.waiting + counts.dead, 0);
    expect_sum(queue, PAIRED, PAIRED - replayed);
    queue_close(queue);
}

/* Both have read the letter before one of them changes it: in each order. */
static void change_in_turn(const char *name, change_letters *first, change_letters *second)
{
    struct error why = {0};
    const uint64_t one = 1;
    size_t done = 0, again = 0;
    struct queue *queue = open_new(name);
    queue_rig_claim(queue);
    append(queue, 7);
    settle_as(queue, 1, VERDICT_DEAD, 7);
    struct queue *other = queue_rig_open(&made);
    CU_ASSERT_TRUE(first(queue, &one, 1, &done, &why));
    CU_ASSERT_TRUE(second(other, &one, 1, &again, &why));
    CU_ASSERT_TRUE(done == 1 && again == 0);
    queue_close(other);
    deliver_all(queue, first == queue_replay);
    expect_sum(queue, 1, first != queue_replay);
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "one").duplicates, 0);
    queue_close(queue);
}

/* Whatever two of `dead replay`, `dead drop` and `forget` (which drops) run at once. */
static void two_commands_count_each_event_once(void)
{
    change_in_turn("replay-drop", queue_replay, queue_discard);
    change_in_turn("drop-replay", queue_discard, queue_replay);
    change_in_turn("replay-replay", queue_replay, queue_replay);
    change_in_turn("drop-drop", queue_discard, queue_discard);
    run_pair("both-replay-drop", queue_replay, queue_discard);
    run_pair("both-replay", queue_replay, queue_replay);
    run_pair("both-drop", queue_discard, queue_discard);
}

static CU_TestInfo tests[] = {
    {"two commands at once count each event once", two_commands_count_each_event_once},
    CU_TEST_INFO_NULL,
};

void suite_queue_pairs(void)
{
    suite_add("queue pairs", begin_sqlite, end, tests);
}

void suite_queue_pairs_postgresql(void)
{
    suite_add("queue pairs postgresql", begin_postgresql, end, tests);
}
