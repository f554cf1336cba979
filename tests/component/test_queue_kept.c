/* What holds for every engine that keeps events: what was appended is there after everything, each once, and what was
 * settled is known. One table of cases, a suite for each engine. */
#include "queue/inspect.h"
#include "tests/suites.h"
#include "tests/support/queue_rig.h"
#include "tests/support/shifted_clock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 60000
#define THREADS 16
#define EACH 50

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct queue_rig_engine engine;
static struct events found;

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
    return queue_rig_tear_down(directory, &found);
}

/* A queue of the test's own. */
static struct queue *open_new(const char *name)
{
    path_join(state, directory, name);
    queue_rig_new(&engine, &made);
    return queue_rig_open(&made);
}

static struct queue *open_again(void)
{
    return queue_rig_open(&made);
}

static struct identity numbered(unsigned number, int64_t updated)
{
    struct identity identity = {.updated_us = updated};
    memcpy(identity.key, &number, sizeof number);
    return identity;
}

static struct verdict verdict_on(uint64_t id, enum verdict_kind kind, unsigned number, const char *reason)
{
    return (struct verdict){
        .id = id, .kind = kind, .identity = numbered(number, 100), .remember = true, .reason = reason};
}

static void settle(struct queue *queue, const char *source, struct verdict verdict)
{
    struct error why = {0};
    CU_ASSERT_TRUE(queue_settle(queue, source, &verdict, 1, &why));
    CU_ASSERT_STRING_EQUAL(why.text, "");
}

static struct known known_of(struct queue *queue, const char *source, unsigned number)
{
    struct known known = {.delivered = false};
    struct identity identity = numbered(number, 0);
    struct error why;
    CU_ASSERT_TRUE(queue_known(queue, source, &identity, 1, &known, &why));
    return known;
}

static void events_survive_and_keep_their_order(void)
{
    struct error why;
    struct queue *queue = open_new("survive");
    queue_rig_append(queue, "one", "first");
    queue_rig_append(queue, "two", "other");
    queue_rig_append(queue, "one", "second");
    queue_close(queue);
    queue = open_again();
    queue_rig_claim(queue);
    CU_ASSERT_EQUAL_FATAL(queue_next(queue, "one", 0, 10, 4096, &found, &why), 2);
    CU_ASSERT_NSTRING_EQUAL(found.at[0].body, "first", 5);
    CU_ASSERT_NSTRING_EQUAL(found.at[1].body, "second", 6);
    CU_ASSERT_TRUE(found.at[0].id < found.at[1].id);
    CU_ASSERT_TRUE(found.at[0].received_ms > 0);
    CU_ASSERT_EQUAL_FATAL(queue_next(queue, "two", 0, 10, 4096, &found, &why), 1);
    CU_ASSERT_NSTRING_EQUAL(found.at[0].body, "other", 5);
    queue_close(queue);
}

static void an_id_is_never_used_twice(void)
{
    struct error why;
    struct queue *queue = open_new("ids");
    queue_rig_claim(queue);
    queue_rig_append(queue, "one", "a");
    CU_ASSERT_EQUAL_FATAL(queue_next(queue, "one", 0, 10, 4096, &found, &why), 1);
    uint64_t first = found.at[0].id;
    settle(queue, "one", verdict_on(first, VERDICT_DELIVERED, 1, NULL));
    queue_close(queue);
    queue = open_again();
    queue_rig_claim(queue);
    queue_rig_append(queue, "one", "b");
    CU_ASSERT_EQUAL_FATAL(queue_next(queue, "one", 0, 10, 4096, &found, &why), 1);
    CU_ASSERT_TRUE(found.at[0].id > first);
    queue_close(queue);
}

static void settled_events_are_gone_counted_and_known(void)
{
    struct error why;
    struct queue *queue = open_new("settled");
    queue_rig_claim(queue);
    for (int i = 0; i < 4; i++)
        queue_rig_append(queue, "one", "body");
    struct verdict verdicts[] = {
        verdict_on(1, VERDICT_DELIVERED, 1, NULL),
        verdict_on(2, VERDICT_DUPLICATE, 1, NULL),
        verdict_on(3, VERDICT_DROPPED, 3, NULL),
        verdict_on(4, VERDICT_LATER, 4, "not yet"),
    };
    CU_ASSERT_TRUE(queue_settle(queue, "one", verdicts, 4, &why));
    CU_ASSERT_TRUE(queue_settle(queue, "one", verdicts, 4, &why)); /* again, as after a crash: counts nothing */
    CU_ASSERT_EQUAL(queue_next(queue, "one", 0, 10, 4096, &found, &why), 1);
    for (int round = 0; round < 2; round++) { /* the second time from disk */
        struct counts counts = queue_rig_counts(queue, "one");
        CU_ASSERT_EQUAL(counts.accepted, 4);
        CU_ASSERT_EQUAL(counts.delivered, 1);
        CU_ASSERT_EQUAL(counts.duplicates, 1);
        CU_ASSERT_EQUAL(counts.dropped, 1);
        CU_ASSERT_EQUAL(counts.waiting, 1);
        CU_ASSERT_TRUE(counts.last_accepted_ms > 0 && counts.last_delivered_ms > 0 && counts.oldest_received_ms > 0);
        CU_ASSERT_TRUE(known_of(queue, "one", 1).delivered);
        CU_ASSERT_EQUAL(known_of(queue, "one", 1).delivered_us, 100);
        CU_ASSERT_TRUE(known_of(queue, "one", 3).delivered);
        CU_ASSERT_FALSE(known_of(queue, "one", 4).delivered);
        CU_ASSERT_FALSE(known_of(queue, "two", 1).delivered);
        queue_close(queue);
        queue = open_again();
        queue_rig_claim(queue);
    }
    queue_close(queue);
}

/* When events came and were delivered, once the clock is right again. */
static void a_clock_that_was_ahead_is_got_over(void)
{
    struct queue *queue = open_new("ahead");
    queue_rig_claim(queue);
    for (uint64_t id = 1; id <= 2; id++) {
        shifted_clock_set(id == 1 ? 24 : 0);
        queue_rig_append(queue, "one", "body");
        settle(queue, "one", verdict_on(id, VERDICT_DELIVERED, (unsigned)id, NULL));
    }
    struct counts counts = queue_rig_counts(queue, "one");
    CU_ASSERT_EQUAL(counts.delivered, 2);
    CU_ASSERT_TRUE(counts.last_accepted_ms <= clock_unix_ms() && counts.last_delivered_ms <= clock_unix_ms());
    queue_close(queue);
}

static void dead_letters_are_kept_replayed_and_resolved(void)
{
    struct error why;
    struct letters letters = {0};
    size_t done;
    struct queue *queue = open_new("dead");
    queue_rig_claim(queue);
    queue_rig_append(queue, "one", "poison");
    settle(queue, "one", verdict_on(1, VERDICT_DEAD, 7, "the data plane answered 400"));
    CU_ASSERT_TRUE(known_of(queue, "one", 7).dead);
    CU_ASSERT_FALSE(known_of(queue, "one", 7).delivered);
    CU_ASSERT_EQUAL_FATAL(queue_letters(queue, NULL, 0, 10, 4096, &letters, &why), 1);
    CU_ASSERT_STRING_EQUAL(letters.at[0].reason, "the data plane answered 400");
    CU_ASSERT_STRING_EQUAL(letters.at[0].source, "one");
    CU_ASSERT_NSTRING_EQUAL(letters.at[0].body, "poison", 6);
    uint64_t letter = letters.at[0].id;

    CU_ASSERT_TRUE(queue_replay(queue, &letter, 1, &done, &why));
    CU_ASSERT_EQUAL(done, 1);
    CU_ASSERT_TRUE(queue_replay(queue, &letter, 1, &done, &why));
    CU_ASSERT_EQUAL(done, 0); /* it is on its way already */
    CU_ASSERT_EQUAL_FATAL(queue_next(queue, "one", 0, 10, 4096, &found, &why), 1);
    CU_ASSERT_TRUE(found.at[0].replay);
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "one").accepted, 1);
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "one").waiting, 1); /* and no dead letter besides: it is one event */
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "one").dead, 0);

    settle(queue, "one", verdict_on(found.at[0].id, VERDICT_DEAD, 7, "again"));
    CU_ASSERT_EQUAL_FATAL(queue_letters(queue, "one", 0, 10, 4096, &letters, &why), 1);
    CU_ASSERT_EQUAL(letters.at[0].id, letter);
    CU_ASSERT_STRING_EQUAL(letters.at[0].reason, "again");

    CU_ASSERT_TRUE(queue_replay(queue, &letter, 1, &done, &why));
    CU_ASSERT_EQUAL_FATAL(queue_next(queue, "one", 0, 10, 4096, &found, &why), 1);
    settle(queue, "one", verdict_on(found.at[0].id, VERDICT_DELIVERED, 7, NULL));
    CU_ASSERT_EQUAL(queue_letters(queue, NULL, 0, 10, 4096, &letters, &why), 0);
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "one").dead, 0);
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "one").waiting, 0);
    letters_free(&letters);
    queue_close(queue);
}

static void delivering_resolves_dead_letters_of_the_same_identity(void)
{
    struct queue *queue = open_new("resolve");
    queue_rig_claim(queue);
    queue_rig_append(queue, "one", "a");
    queue_rig_append(queue, "one", "a, by Close's retry");
    settle(queue, "one", verdict_on(1, VERDICT_DEAD, 7, "no"));
    settle(queue, "one", verdict_on(2, VERDICT_DELIVERED, 7, NULL));
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "one").dead, 0);
    queue_close(queue);
}

/* As where an event was moved to another source meanwhile: what is not stored must not be in memory. */
static void an_event_that_is_gone_leaves_no_identity(void)
{
    struct queue *queue = open_new("gone");
    queue_rig_claim(queue);
    queue_rig_append(queue, "one", "a");
    settle(queue, "one", verdict_on(1, VERDICT_DELIVERED, 1, NULL));
    settle(queue, "one", verdict_on(1, VERDICT_DELIVERED, 2, NULL));
    CU_ASSERT_TRUE(known_of(queue, "one", 1).delivered);
    CU_ASSERT_FALSE(known_of(queue, "one", 2).delivered);
    queue_close(queue);
}

static void the_newest_version_is_known(void)
{
    static const int64_t dates[] = {300, 100, 200};
    struct queue *queue = open_new("versions");
    queue_rig_claim(queue);
    for (uint64_t i = 0; i < sizeof dates / sizeof *dates; i++) {
        struct verdict verdict = verdict_on(i + 1, VERDICT_DELIVERED, 1, NULL);
        verdict.identity.updated_us = dates[i];
        queue_rig_append(queue, "one", "a");
        settle(queue, "one", verdict);
    }
    for (int round = 0; round < 2; round++) {
        struct known known = known_of(queue, "one", 1);
        CU_ASSERT_TRUE(known.delivered && known.delivered_us == 300);
        queue_close(queue);
        queue = open_again();
        queue_rig_claim(queue);
    }
    queue_close(queue);
}

static void notes_survive(void)
{
    struct error why;
    struct queue *queue = open_new("notes");
    queue_rig_claim(queue);
    struct notes notes = {.tries = 3,
                          .since_ms = 5,
                          .next_ms = 7,
                          .operator_must_act = true,
                          .reason = "401",
                          .parked = {{.id = 9, .since_ms = 11}},
                          .parked_count = 1};
    CU_ASSERT_TRUE(queue_note(queue, "one", &notes, true, &why));
    queue_close(queue);
    queue = open_again();
    queue_rig_claim(queue);
    struct notes read = {0};
    CU_ASSERT_TRUE(queue_note(queue, "one", &read, false, &why));
    CU_ASSERT_EQUAL(read.tries, 3);
    CU_ASSERT_EQUAL(read.next_ms, 7);
    CU_ASSERT_TRUE(read.operator_must_act);
    CU_ASSERT_STRING_EQUAL(read.reason, "401");
    CU_ASSERT_EQUAL(read.parked_count, 1);
    CU_ASSERT_EQUAL(read.parked[0].id, 9);
    queue_close(queue);
}

static void one_process_owns_the_reading(void)
{
    struct error why;
    char host[256] = "", words[300];
    struct queue *first = open_new("own"), *second = open_again();
    queue_rig_claim(first);
    gethostname(host, sizeof host - 1);
    snprintf(words, sizeof words, "process %ld on %.63s", (long)getpid(), host);
    CU_ASSERT_FALSE(queue_claim(second, &why));
    CU_ASSERT_STRING_EQUAL(why.text, "another process forwards");
    CU_ASSERT_EQUAL(why.kind, ERROR_BUSY);
    bool owned = false;
    CU_ASSERT_TRUE(queue_is_owned(second, &owned, &why, &why));
    CU_ASSERT_TRUE(owned);
    CU_ASSERT_STRING_EQUAL(why.text, words);
    queue_close(first);
    CU_ASSERT_TRUE(queue_claim(second, &why));
    queue_close(second);
}

static void a_full_queue_takes_no_more(void)
{
    struct error why;
    struct queue *queue = open_new("full");
    made.config.queue_max_bytes = 1;
    CU_ASSERT_EQUAL(queue_append(queue, "one", "x", 1, clock_now() + PATIENCE_MS, &why), QUEUE_FULL);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "queue_max_bytes"));
    made.config.queue_max_bytes = (int64_t)1 << 40;
    queue_rig_append(queue, "one", "x");
    queue_close(queue);
}

struct crowd {
    struct queue *queue;
    unsigned number;
    unsigned stored;
};

static void *append_many(void *context)
{
    struct crowd *crowd = context;
    for (unsigned i = 0; i < EACH; i++) {
        char body[32];
        struct error why;
        int length = snprintf(body, sizeof body, "%u/%u", crowd->number, i);
        crowd->stored +=
            queue_append(crowd->queue, "one", body, (size_t)length, clock_now() + PATIENCE_MS, &why) == QUEUE_STORED;
    }
    return NULL;
}

/* Appends from many threads; returns how many were stored. */
static unsigned append_crowd(struct queue *queue, unsigned base)
{
    pthread_t threads[THREADS];
    struct crowd crowd[THREADS];
    unsigned stored = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        crowd[i] = (struct crowd){.queue = queue, .number = base + i};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, append_many, &crowd[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        stored += crowd[i].stored;
    }
    return stored;
}

/* Counts the bodies of a source that are there exactly once. */
static unsigned count_distinct(struct queue *queue, unsigned most)
{
    unsigned distinct = 0;
    unsigned char *seen = calloc(most, EACH);
    uint64_t after = 0;
    struct error why;
    while (queue_next(queue, "one", after, 100, 65536, &found, &why) > 0) {
        for (size_t i = 0; i < found.count; i++) {
            char body[32] = "";
            unsigned a, b;
            memcpy(body, found.at[i].body, found.at[i].length);
            if (sscanf(body, "%u/%u", &a, &b) == 2 && a < most && b < EACH)
                distinct += ++seen[a * EACH + b] == 1;
            after = found.at[i].id;
        }
    }
    free(seen);
    return distinct;
}

static void threads_and_processes_append_at_once(void)
{
    enum { PROCESSES = 4 };
    pid_t children[PROCESSES + 1];
    struct queue *queue = open_new("crowd");
    for (unsigned i = 1; i <= PROCESSES; i++) {
        fflush(NULL);
        children[i] = fork();
        CU_ASSERT_TRUE_FATAL(children[i] >= 0);
        if (children[i] == 0) {
            struct error why; /* a connection of its own: none may be carried over a fork */
            struct queue *mine = queue_open(&made.config, &why);
            _exit(mine != NULL && append_crowd(mine, i * THREADS) == THREADS * EACH ? 0 : 1);
        }
    }
    CU_ASSERT_EQUAL(append_crowd(queue, 0), THREADS * EACH);
    for (unsigned i = 1; i <= PROCESSES; i++) {
        int status = -1;
        CU_ASSERT_TRUE(waitpid(children[i], &status, 0) > 0); /* no other child: process 1 inherits some */
        CU_ASSERT_EQUAL(status, 0);
    }
    queue_rig_claim(queue);
    CU_ASSERT_EQUAL(count_distinct(queue, (PROCESSES + 1) * THREADS), (PROCESSES + 1) * THREADS * EACH);
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "one").accepted, (PROCESSES + 1) * THREADS * EACH);
    queue_close(queue);
}

static void events_of_a_renamed_source_move(void)
{
    struct error why;
    struct moved moved;
    struct queue *queue = open_new("move");
    queue_rig_append(queue, "one", "a");
    queue_rig_append(queue, "one", "b");
    queue_rig_append(queue, "two", "c");
    CU_ASSERT_TRUE(queue_move(queue, "one", "two", &moved, &why));
    CU_ASSERT_EQUAL(moved.events, 2);
    CU_ASSERT_EQUAL(queue_next(queue, "two", 0, 10, 4096, &found, &why), 3);
    CU_ASSERT_NSTRING_EQUAL(found.at[2].body, "b", 1);
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "one").waiting, 0);
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "two").waiting, 3);
    CU_ASSERT_FALSE(queue_move(queue, "nobody", "two", &moved, &why));
    queue_close(queue);
}

static CU_TestInfo tests[] = {
    {"events survive and keep their order", events_survive_and_keep_their_order},
    {"an id is never used twice", an_id_is_never_used_twice},
    {"settled events are gone, counted once and known", settled_events_are_gone_counted_and_known},
    {"a clock that was ahead is got over", a_clock_that_was_ahead_is_got_over},
    {"dead letters are kept, replayed and resolved", dead_letters_are_kept_replayed_and_resolved},
    {"delivering resolves dead letters of the identity", delivering_resolves_dead_letters_of_the_same_identity},
    {"an event that is gone leaves no identity", an_event_that_is_gone_leaves_no_identity},
    {"the newest version is known", the_newest_version_is_known},
    {"the forwarder's notes survive", notes_survive},
    {"one process owns the reading", one_process_owns_the_reading},
    {"a full queue takes no more", a_full_queue_takes_no_more},
    {"threads and processes append at once", threads_and_processes_append_at_once},
    {"events of a renamed source move", events_of_a_renamed_source_move},
    CU_TEST_INFO_NULL,
};

void suite_queue_kept_sqlite(void)
{
    suite_add("queue kept sqlite", begin_sqlite, end, tests);
}

#ifdef CLOSECRM_POSTGRESQL
void suite_queue_kept_postgresql(void)
{
    suite_add("queue kept postgresql", begin_postgresql, end, tests);
}
#else
static void it_is_said_which_package_has_it(void)
{
    struct error why = {0};
    made.config.queue = QUEUE_POSTGRESQL;
    CU_ASSERT_PTR_NULL(queue_open(&made.config, &why));
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "libpq-dev"));
}

void suite_queue_kept_postgresql(void)
{
    static CU_TestInfo without[] = {{"it is said which package has it", it_is_said_which_package_has_it},
                                    CU_TEST_INFO_NULL};
    (void)begin_postgresql;
    suite_add("queue kept postgresql", begin_sqlite, end, without);
}
#endif
