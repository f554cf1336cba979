/* Forwarding for a while, as cron and the CGI request's child do; the gate before the webhook; the mark of cron. */
#include "process/process.h"
#include "queue/inspect.h"
#include "telemetry/telemetry.h"
#include "tests/suites.h"
#include "tests/support/event.h"
#include "tests/support/made_config.h"
#include "tests/support/standin.h"
#include "tests/support/temporary.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_MS 60000
#define PAIRS 400

/* A state directory and the data plane that its events go to. */
struct rig {
    char directory[PATH_SIZE];
    char state[PATH_SIZE];
    char url[64];
    struct standin *standin;
    struct made_config made;
};

static void rig_start(struct rig *rig)
{
    static const struct standin_options options = {.write_keys = {"wk_one", "wk_two"}};
    CU_ASSERT_TRUE_FATAL(temporary_make(rig->directory));
    path_join(rig->state, rig->directory, "state");
    rig->standin = standin_start(&options);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig->standin);
    snprintf(rig->url, sizeof rig->url, "http://127.0.0.1:%d", standin_port(rig->standin));
    made_config_init(&rig->made, rig->url, rig->url);
    rig->made.config.queue = QUEUE_SQLITE;
    rig->made.config.queue_max_bytes = (int64_t)1 << 40;
    rig->made.config.state_dir = rig->state;
    rig->made.config.shutdown_grace_ms = 2000;
}

static void rig_stop(struct rig *rig)
{
    standin_stop(rig->standin);
    temporary_remove(rig->directory);
}

static struct queue *open_queue(const struct rig *rig)
{
    struct error why = {0};
    struct queue *queue = queue_open(&rig->made.config, &why);
    if (queue == NULL)
        fprintf(stderr, "%s\n", why.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    return queue;
}

/* As a CGI request does: opens the queue, appends, closes it. */
static void append(const struct rig *rig, const char *source, const char *id)
{
    struct event_text text = {.body = {.data = NULL}};
    struct error why = {0};
    struct queue *queue = open_queue(rig);
    event_make(&text, &(struct event_options){.id = id, .lead = "lead_1"});
    CU_ASSERT_EQUAL(queue_append(queue, source, text.body.data, text.body.length, clock_now() + PATIENCE_MS, &why),
                    QUEUE_STORED);
    event_free(&text);
    queue_close(queue);
}

static struct counts counts_of(const struct rig *rig, const char *source)
{
    struct counts counts = {.waiting = UINT64_MAX};
    struct error why = {0};
    struct queue *queue = open_queue(rig);
    CU_ASSERT_TRUE(queue_count(queue, source, &counts, &why));
    queue_close(queue);
    return counts;
}

static enum bounded forward_for(const struct rig *rig, int64_t ms)
{
    struct error why = {0};
    return bounded_forward(&rig->made.config, clock_now() + ms, &why);
}

static void what_is_due_is_delivered(void)
{
    struct rig rig;
    rig_start(&rig);
    append(&rig, "one", "ev_1");
    append(&rig, "one", "ev_2");
    append(&rig, "two", "ev_3");
    CU_ASSERT_EQUAL(forward_for(&rig, PATIENCE_MS), BOUNDED_DONE);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, 3);
    CU_ASSERT_EQUAL(counts_of(&rig, "one").delivered, 2);
    CU_ASSERT_EQUAL(counts_of(&rig, "two").delivered, 1);
    rig_stop(&rig);
}

static void nothing_due_is_over_at_once(void)
{
    struct rig rig;
    rig_start(&rig);
    moment start = clock_now();
    CU_ASSERT_EQUAL(forward_for(&rig, 60000), BOUNDED_DONE);
    CU_ASSERT(clock_now() - start < 30000);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).requests, 0);
    rig_stop(&rig);
}

/* The data plane wants to be left alone for longer than anybody would wait here. */
static void what_waits_for_a_later_try_is_not_waited_for(void)
{
    struct rig rig;
    rig_start(&rig);
    standin_fail(rig.standin,
                 &(struct standin_fault){.act = STANDIN_ANSWER, .times = 1, .status = 429, .retry_after = "600"});
    append(&rig, "one", "ev_1");
    append(&rig, "two", "ev_2");
    moment start = clock_now();
    CU_ASSERT_EQUAL(forward_for(&rig, 300000), BOUNDED_DONE);
    CU_ASSERT(clock_now() - start < 150000);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, 1);
    CU_ASSERT_EQUAL(counts_of(&rig, "one").waiting + counts_of(&rig, "two").waiting, 1);
    rig_stop(&rig);
}

/* A batch that is with the data plane at the deadline is awaited; the next is not begun. */
static void the_deadline_ends_it(void)
{
    struct rig rig;
    rig_start(&rig);
    rig.made.config.batch_events = 1;
    rig.made.config.lanes = 1;
    standin_fail(rig.standin, &(struct standin_fault){.act = STANDIN_SLOW, .times = STANDIN_ALWAYS, .delay_ms = 1500});
    append(&rig, "one", "ev_1");
    append(&rig, "one", "ev_2");
    CU_ASSERT_EQUAL(forward_for(&rig, 700), BOUNDED_DONE);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, 1);
    CU_ASSERT_EQUAL(counts_of(&rig, "one").delivered, 1);
    CU_ASSERT_EQUAL(counts_of(&rig, "one").waiting, 1);
    rig_stop(&rig);
}

static void while_another_forwards_it_leaves(void)
{
    struct rig rig;
    struct error why = {0};
    rig_start(&rig);
    append(&rig, "one", "ev_1");
    struct queue *other = open_queue(&rig);
    CU_ASSERT_TRUE_FATAL(queue_claim(other, &why));
    CU_ASSERT_EQUAL(forward_for(&rig, 60000), BOUNDED_ELSEWHERE);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).requests, 0);
    queue_close(other);
    CU_ASSERT_EQUAL(forward_for(&rig, 60000), BOUNDED_DONE);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, 1);
    rig_stop(&rig);
}

/* A process on which others rely: what they do between its last step and its last look. */
struct relied_on {
    const struct rig *rig;
    unsigned left, stayed; /* how often */
    bool stays;
    struct queue *other; /* of a process that has the claim, and has looked for the last time; NULL: none */
};

/* Somebody stored an event and saw that the process is still there. */
static void append_at_the_last_moment(void *context)
{
    struct relied_on *relied_on = context;
    if (relied_on->left++ == 0)
        append(relied_on->rig, "one", "ev_last");
    if (relied_on->other != NULL)
        queue_close(relied_on->other);
    relied_on->other = NULL;
}

static bool count_stay(void *context)
{
    struct relied_on *relied_on = context;
    relied_on->stayed++;
    return relied_on->stays;
}

static struct relied_on leave_late(const struct rig *rig, bool stays, struct queue *other)
{
    struct error why = {0};
    struct relied_on relied_on = {.rig = rig, .stays = stays, .other = other};
    const struct bounded_leave leave = {append_at_the_last_moment, count_stay, &relied_on};
    CU_ASSERT_EQUAL(bounded_forward_on(&rig->made.config, clock_now() + PATIENCE_MS, &leave, &why), BOUNDED_DONE);
    return relied_on;
}

static void what_comes_at_the_last_moment_is_delivered(void)
{
    struct rig rig;
    rig_start(&rig);
    append(&rig, "one", "ev_1");
    moment start = clock_now();
    struct relied_on relied_on = leave_late(&rig, true, NULL);
    CU_ASSERT(clock_now() - start > 2000); /* each time nothing came for a second */
    CU_ASSERT_EQUAL(relied_on.stayed, 1);
    CU_ASSERT_EQUAL(relied_on.left, 2);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, 2);
    rig_stop(&rig);
}

static void or_left_to_who_has_come(void)
{
    struct rig rig;
    rig_start(&rig);
    struct relied_on relied_on = leave_late(&rig, false, NULL);
    CU_ASSERT_EQUAL(relied_on.stayed, 1);
    CU_ASSERT_EQUAL(relied_on.left, 1);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, 0);
    CU_ASSERT_EQUAL(counts_of(&rig, "one").waiting, 1);
    rig_stop(&rig);
}

/* Who has the claim when this process comes may look for the last time before what comes then. */
static void what_came_while_another_ended_is_delivered(void)
{
    struct rig rig;
    struct error why = {0};
    rig_start(&rig);
    append(&rig, "one", "ev_1");
    struct queue *other = open_queue(&rig);
    CU_ASSERT_TRUE_FATAL(queue_claim(other, &why));
    struct relied_on relied_on = leave_late(&rig, true, other);
    CU_ASSERT_EQUAL(relied_on.stayed, 0);
    CU_ASSERT_EQUAL(relied_on.left, 1);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, 2);
    rig_stop(&rig);
}

static void a_queue_that_cannot_be_opened_is_told(void)
{
    struct rig rig;
    struct error why = {0};
    char file[PATH_SIZE];
    rig_start(&rig);
    CU_ASSERT_TRUE(temporary_write(rig.directory, "file", 0600, "", 0));
    path_join(file, rig.directory, "file");
    rig.made.config.state_dir = file;
    CU_ASSERT_EQUAL(bounded_forward(&rig.made.config, clock_now() + PATIENCE_MS, &why), BOUNDED_FAILED);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "is no directory"));
    rig_stop(&rig);
}

/* Not as if another process forwarded. */
static void a_queue_that_cannot_be_claimed_is_told(void)
{
    struct rig rig;
    struct error why = {0};
    char path[PATH_SIZE];
    sqlite3 *db;
    rig_start(&rig);
    append(&rig, "one", "ev_1");
    path_join(path, rig.state, "queue.db");
    CU_ASSERT_EQUAL(sqlite3_open(path, &db), SQLITE_OK);
    CU_ASSERT_EQUAL(sqlite3_exec(db, "ALTER TABLE journal RENAME TO away", NULL, NULL, NULL), SQLITE_OK);
    CU_ASSERT_EQUAL(bounded_forward(&rig.made.config, clock_now() + PATIENCE_MS, &why), BOUNDED_FAILED);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "no such table"));
    CU_ASSERT_EQUAL(sqlite3_exec(db, "ALTER TABLE away RENAME TO journal", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    CU_ASSERT_EQUAL(forward_for(&rig, PATIENCE_MS), BOUNDED_DONE);
    rig_stop(&rig);
}

/* Two CGI children: each appends one event and forwards. */
struct visitor {
    const struct rig *rig;
    const char *name;
    int number;
};

static void *visit(void *context)
{
    struct visitor *visitor = context;
    char id[32];
    snprintf(id, sizeof id, "ev_%s_%d", visitor->name, visitor->number);
    append(visitor->rig, "one", id);
    forward_for(visitor->rig, PATIENCE_MS);
    return NULL;
}

/* One sees an empty queue, the other finds the reading taken and leaves: then the first must look once more. */
static void no_event_lies_between_two_children(void)
{
    struct rig rig;
    unsigned lying = 0;
    rig_start(&rig);
    for (int i = 0; i < PAIRS; i++) {
        struct visitor visitors[] = {{&rig, "a", i}, {&rig, "b", i}};
        pthread_t threads[2];
        for (size_t v = 0; v < 2; v++) {
            CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[v], NULL, visit, &visitors[v]), 0);
            usleep((useconds_t)(v == 0 ? i % 100 * 150 : 0)); /* each pair meets at another point of the way */
        }
        for (size_t v = 0; v < 2; v++)
            pthread_join(threads[v], NULL);
        lying += counts_of(&rig, "one").waiting > 0;
    }
    CU_ASSERT_EQUAL(lying, 0);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, 2 * PAIRS);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).repeated, 0);
    rig_stop(&rig);
}

static void cron_leaves_a_mark(void)
{
    char directory[PATH_SIZE];
    struct cron_mark mark = {1, 1};
    CU_ASSERT_TRUE_FATAL(temporary_make(directory));
    cron_mark_read(directory, &mark);
    CU_ASSERT_EQUAL(mark.ran_ms, 0);
    CU_ASSERT_EQUAL(mark.letter, 0);
    int64_t before = clock_unix_ms();
    CU_ASSERT_TRUE(cron_mark_write(directory, 12345678901234, ""));
    CU_ASSERT_TRUE(cron_mark_write(directory, 42, ""));
    cron_mark_read(directory, &mark);
    CU_ASSERT_EQUAL(mark.letter, 42);
    CU_ASSERT(mark.ran_ms >= before - 10 && mark.ran_ms <= clock_unix_ms()); /* files' clocks tick every 4 ms */
    temporary_remove(directory);
    CU_ASSERT_FALSE(cron_mark_write(directory, 43, ""));
}

void suite_life(void)
{
    static CU_TestInfo tests[] = {
        {"what is due is delivered", what_is_due_is_delivered},
        {"with nothing due it is over at once", nothing_due_is_over_at_once},
        {"what waits for a later try is not waited for", what_waits_for_a_later_try_is_not_waited_for},
        {"the deadline ends it, the batch in hand is awaited", the_deadline_ends_it},
        {"while another process forwards it leaves", while_another_forwards_it_leaves},
        {"what comes at the last moment is delivered", what_comes_at_the_last_moment_is_delivered},
        {"or left to who has come", or_left_to_who_has_come},
        {"what came while another ended is delivered", what_came_while_another_ended_is_delivered},
        {"a queue that cannot be opened is told", a_queue_that_cannot_be_opened_is_told},
        {"a queue that cannot be claimed is told", a_queue_that_cannot_be_claimed_is_told},
        {"no event lies between two children", no_event_lies_between_two_children},
        {"cron leaves a mark", cron_leaves_a_mark},
        CU_TEST_INFO_NULL,
    };
    suite_add("life: for a while", NULL, NULL, tests);
}
