/* A forwarder between a durable queue and a stand-in data plane: see forward_rig.h. */
#include "tests/support/forward_rig.h"

#include <CUnit/CUnit.h>
#include <poll.h>
#include <stdio.h>

#include "tests/support/check.h"
#include "tests/support/durable.h"

#define THREADS 16

static void *forward(void *context)
{
    forwarder_run(context, FORWARD_UNTIL_STOPPED, MOMENT_NEVER);
    return NULL;
}

int rig_in_memory(void)
{
    temporary_in_memory();
    return 0;
}

void rig_prepare(struct rig *rig)
{
    static const struct standin_options options = {.write_keys = {"wk_one", "wk_two"}};
    CU_ASSERT_TRUE_FATAL(temporary_make(rig->directory));
    path_join(rig->state, rig->directory, "state");
    rig->standin = standin_start(&options);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig->standin);
    snprintf(rig->url, sizeof rig->url, "http://127.0.0.1:%d", standin_port(rig->standin));
    made_config_init(&rig->made, rig->url, rig->url);
    CU_ASSERT_TRUE_FATAL(durable_new_queue());
    durable_queue_config(&rig->made.config);
    rig->made.config.queue_max_bytes = (int64_t)1 << 40;
    rig->made.config.state_dir = rig->state;
}

void rig_open(struct rig *rig)
{
    struct error why = {0};
    rig->queue = queue_open(&rig->made.config, &why);
    if (rig->queue == NULL)
        fprintf(stderr, "%s\n", why.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig->queue);
}

void rig_run(struct rig *rig)
{
    struct error why;
    rig->forwarder = forwarder_new(&rig->made.config, rig->queue, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig->forwarder);
    forwarder_back_off(rig->forwarder, RIG_BACKOFF_MS);
    rig_go(rig);
}

void rig_go(struct rig *rig)
{
    CU_ASSERT_EQUAL_FATAL(pthread_create(&rig->thread, NULL, forward, rig->forwarder), 0);
}

static void *forward_anew(void *context)
{
    struct rig *rig = context;
    struct error why;
    while (!atomic_load(&rig->over)) {
        struct forwarder *forwarder = forwarder_new(&rig->made.config, rig->queue, &why);
        if (forwarder != NULL) {
            forwarder_back_off(forwarder, RIG_BACKOFF_MS);
            forwarder_run(forwarder, FORWARD_UNTIL_QUIET, clock_now() + RIG_PATIENCE_MS);
        }
        forwarder_free(forwarder);
        poll(NULL, 0, 20);
    }
    return NULL;
}

void rig_run_anew(struct rig *rig)
{
    atomic_store(&rig->over, false);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&rig->thread, NULL, forward_anew, rig), 0);
}

void rig_end_anew(struct rig *rig)
{
    atomic_store(&rig->over, true);
    pthread_join(rig->thread, NULL);
}

void rig_halt(struct rig *rig)
{
    forwarder_stop(rig->forwarder, clock_now() + RIG_PATIENCE_MS);
    pthread_join(rig->thread, NULL);
    forwarder_free(rig->forwarder);
    queue_close(rig->queue);
}

void rig_restart(struct rig *rig)
{
    rig_halt(rig);
    rig_open(rig);
    rig_run(rig);
}

void rig_end(struct rig *rig)
{
    rig_halt(rig);
    standin_stop(rig->standin);
    temporary_remove(rig->directory);
}

static bool append(struct rig *rig, const struct event_options *options)
{
    struct event_text text = {0};
    struct error why = {0};
    event_make(&text, options);
    enum queue_result result =
        queue_append(rig->queue, "one", text.body.data, text.body.length, clock_now() + RIG_PATIENCE_MS, &why);
    event_free(&text);
    return result == QUEUE_STORED;
}

static bool append_number(struct rig *rig, unsigned number, unsigned leads, const char *note)
{
    char id[32], lead[32];
    snprintf(id, sizeof id, "ev_%u", number);
    snprintf(lead, sizeof lead, "lead_%u", number % leads);
    return append(rig, &(struct event_options){.id = id, .lead = lead, .note = note});
}

void rig_append_options(struct rig *rig, const struct event_options *options)
{
    CU_ASSERT_TRUE(append(rig, options));
}

void rig_append(struct rig *rig, unsigned number, unsigned leads, const char *note)
{
    CU_ASSERT_TRUE(append_number(rig, number, leads, note));
}

/* CUnit counts in one thread only, so that threads count by themselves. Every THREADS-th event, beginning with the
 * thread's own number. */
struct share {
    struct rig *rig;
    unsigned first, count, leads, marked, stored;
    pthread_t thread;
};

static void *append_share(void *context)
{
    struct share *share = context;
    for (unsigned i = share->first; i < share->count; i += THREADS)
        share->stored += append_number(share->rig, i, share->leads, i == share->marked ? "POISON" : NULL);
    return NULL;
}

void rig_append_many(struct rig *rig, unsigned count, unsigned leads, unsigned marked)
{
    struct share shares[THREADS];
    unsigned stored = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        shares[i] = (struct share){.rig = rig, .first = i, .count = count, .leads = leads, .marked = marked};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&shares[i].thread, NULL, append_share, &shares[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(shares[i].thread, NULL);
        stored += shares[i].stored;
    }
    CU_ASSERT_EQUAL(stored, count);
}

struct counts rig_counts(struct rig *rig)
{
    struct counts counts = {0};
    struct error why = {0};
    struct queue *queue = queue_open(&rig->made.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    bool good;
    moment deadline = clock_now() + RIG_PATIENCE_MS;
    while (!(good = queue_count(queue, "one", &counts, &why)) && durable_looks_again(deadline))
        ;
    check(good, "they can be counted: %s", why.text);
    queue_close(queue);
    return counts;
}

bool rig_wait_counts(struct rig *rig, uint64_t dead, uint64_t waiting)
{
    for (moment deadline = clock_now() + RIG_PATIENCE_MS; clock_now() < deadline;) {
        struct counts counts = rig_counts(rig);
        if (counts.dead == dead && counts.waiting == waiting)
            return true;
        standin_wait_messages(rig->standin, SIZE_MAX, 20);
    }
    return false;
}

void rig_notes(struct rig *rig, struct notes *notes)
{
    struct error why;
    struct queue *queue = queue_open(&rig->made.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    CU_ASSERT_TRUE(queue_notes(queue, "one", notes, &why));
    queue_close(queue);
}
