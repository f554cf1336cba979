/* Verdicts on their way to the queue: gathered, and settled many at once, in one transaction of a durable engine. They
 * stay until the queue has taken them.
 *
 * Where it is in doubt that anything can be written, a process that has not settled anything yet shows before each
 * batch that it could settle it. Else events would be sent, and sent again by the next process, and the next: with each
 * restart as many as are in flight at once. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "forward/forward_private.h"

#define SETTLE_AGAIN_MS 1000
#define SETTLE_MOST 1000 /* verdicts in one transaction: appends wait for it */
#define SETTLE_MS 20     /* verdicts wait so long for others: rows that lie together go together */

#define PROOF_FIRST_MS 1000 /* until it is asked again whether anything can be settled; it doubles */
#define PROOF_MOST_MS 8000

void outbox_init(struct outbox *outbox)
{
    pending_list_init(&outbox->settling);
}

static void clear_verdicts(struct outbox *outbox)
{
    outbox->count = 0;
    while (outbox->reason_count > 0)
        free(outbox->reasons[--outbox->reason_count]);
}

void outbox_rest(struct outbox *outbox)
{
    clear_verdicts(outbox);
    free(outbox->at);
    free(outbox->reasons);
    outbox->at = NULL;
    outbox->reasons = NULL;
    outbox->capacity = outbox->reason_capacity = 0;
}

void outbox_free(struct outbox *outbox)
{
    outbox_rest(outbox);
    pending_list_free(&outbox->settling);
}

/* ---- gathering ---- */

bool outbox_reserve(struct outbox *outbox, size_t count)
{
    size_t needed = outbox->count + count;
    if (needed <= outbox->capacity)
        return true;
    size_t capacity = outbox->capacity == 0 ? 64 : outbox->capacity;
    while (capacity < needed)
        capacity *= 2;
    struct verdict *at = realloc(outbox->at, capacity * sizeof *at);
    if (at == NULL)
        return false;
    outbox->at = at;
    outbox->capacity = capacity;
    return true;
}

/* Keeps a copy of a reason for verdicts to point to, until they are settled; NULL: there is none, or memory is out, and
 * then they have none. */
static const char *keep_reason(struct outbox *outbox, const char *reason)
{
    if (reason == NULL)
        return NULL;
    if (outbox->reason_count == outbox->reason_capacity) {
        size_t capacity = outbox->reason_capacity == 0 ? 16 : outbox->reason_capacity * 2;
        char **reasons = realloc(outbox->reasons, capacity * sizeof *reasons);
        if (reasons == NULL)
            return NULL;
        outbox->reasons = reasons;
        outbox->reason_capacity = capacity;
    }
    char *copy = strdup(reason);
    if (copy != NULL)
        outbox->reasons[outbox->reason_count++] = copy;
    return copy;
}

/* There is room: it was made when the event was taken in. */
static void add_verdict(struct outbox *outbox, const struct verdict *verdict)
{
    outbox->at[outbox->count++] = *verdict;
}

void outbox_count(struct source_pipeline *pipeline, const struct verdict *verdict, bool newer,
                  const struct event *event)
{
    samples_verdict(pipeline, verdict, newer, event);
    pipeline->outbox.ended[verdict->kind]++;
}

void outbox_end_at_once(struct source_pipeline *pipeline, const struct event *event, enum verdict_kind kind,
                        const char *reason)
{
    struct verdict verdict = {.id = event->id, .kind = kind, .reason = keep_reason(&pipeline->outbox, reason)};
    add_verdict(&pipeline->outbox, &verdict);
    outbox_count(pipeline, &verdict, false, event);
}

static void end_one(struct source_pipeline *pipeline, const struct pending *pending, enum verdict_kind kind,
                    const char *kept_reason)
{
    struct verdict verdict = {
        .id = pending->id,
        .kind = kind,
        .identity = pending->identity,
        .remember = kind != VERDICT_DUPLICATE && pipeline->file == NULL,
        .reason = kept_reason,
    };
    add_verdict(&pipeline->outbox, &verdict);
    outbox_count(pipeline, &verdict, pending->newer, NULL);
    if (kind == VERDICT_DELIVERED)
        samples_messages(&pipeline->samples, pending);
    intake_leave(&pipeline->intake);
}

void outbox_end(struct source_pipeline *pipeline, struct pending *pending, enum verdict_kind kind, const char *reason)
{
    const char *kept = keep_reason(&pipeline->outbox, reason);
    end_one(pipeline, pending, kind, kept);
    while (pending->duplicates != NULL) {
        struct pending *duplicate = pending->duplicates;
        pending->duplicates = duplicate->duplicates;
        end_one(pipeline, duplicate, kind == VERDICT_DELIVERED ? VERDICT_DUPLICATE : kind, kept);
        free(duplicate);
    }
    pending->settling = true;
    pending->delivered = kind == VERDICT_DELIVERED;
    pending_push(&pipeline->outbox.settling,
                 pending); /* the queue does not know it yet: here it can be found until then */
}

void outbox_defer(struct source_pipeline *pipeline, struct pending *pending, moment next, bool refused,
                  const char *reason)
{
    const char *kept = NULL;
    for (struct pending *p = pending; p != NULL; p = p->duplicates) {
        if (p->deferred_reported)
            continue;
        if (kept == NULL)
            kept = keep_reason(&pipeline->outbox, reason);
        struct verdict verdict = {.id = p->id, .kind = VERDICT_LATER, .refused = refused, .next = next, .reason = kept};
        add_verdict(&pipeline->outbox, &verdict);
        p->deferred_reported = true;
    }
}

/* ---- settling ---- */

static void settle_verdicts(struct source_pipeline *pipeline)
{
    struct outbox *outbox = &pipeline->outbox;
    struct error why;
    outbox->failed = !queue_settle(pipeline->queue, pipeline->source->name, outbox->at, outbox->count, &why);
    if (outbox->failed) {
        char words[LOG_QUOTED];
        outbox->due = clock_now() + SETTLE_AGAIN_MS;
        log_write(LEVEL_ERROR, "msg=cannot_settle source=%s verdicts=%zu reason=%s", pipeline->source->name,
                  outbox->count, log_quote(words, why.text, strlen(why.text)));
        return;
    }
    outbox->due = 0;
    clear_verdicts(outbox);
    for (struct pending *pending; (pending = pending_pop(&outbox->settling)) != NULL; free(pending))
        intake_settled(&pipeline->intake, pending);
}

bool outbox_settle_now(struct source_pipeline *pipeline)
{
    if (pipeline->outbox.count > 0)
        settle_verdicts(pipeline);
    return !pipeline->outbox.failed;
}

bool outbox_settle_due(struct source_pipeline *pipeline)
{
    struct outbox *outbox = &pipeline->outbox;
    if (outbox->count == 0)
        return true;
    moment now = clock_now();
    if (outbox->failed) {
        if (now >= outbox->due)
            settle_verdicts(pipeline);
        return !outbox->failed;
    }
    if (outbox->due == 0)
        outbox->due = now + SETTLE_MS;
    bool wait = queue_settles_in_bulk(pipeline->queue) && source_is_sending(pipeline) && outbox->count < SETTLE_MOST &&
                now < outbox->due;
    if (!wait)
        settle_verdicts(pipeline);
    return !outbox->failed;
}

/* ---- proof that it can be settled, before it is sent ---- */

/* All of the batch as delivered: other ends need hardly less room. */
static bool queue_takes_batch(const struct lane *lane, struct error *why)
{
    const struct source_pipeline *pipeline = lane->pipeline;
    struct verdict *verdicts = calloc(lane->built.count, sizeof *verdicts);
    size_t count = 0;
    error_set(why, "out of memory");
    if (verdicts == NULL)
        return false;
    for (const struct pending *p = lane->built.first; p != NULL; p = p->next)
        verdicts[count++] = (struct verdict){
            .id = p->id, .kind = VERDICT_DELIVERED, .identity = p->identity, .remember = pipeline->file == NULL};
    bool good = queue_can_settle(pipeline->queue, pipeline->source->name, verdicts, count, why);
    free(verdicts);
    return good;
}

bool outbox_can_settle(struct lane *lane)
{
    struct outbox *outbox = &lane->pipeline->outbox;
    struct error why;
    char words[LOG_QUOTED];
    if (queue_takes_batch(lane, &why)) {
        outbox->unproven = 0;
        return true;
    }
    size_t count = lane->built.count;
    lane_put_back(lane);
    lane_halve(lane, count);
    if (count > 1)
        return false; /* perhaps less of it can */
    int64_t pause_ms = PROOF_FIRST_MS << outbox->unproven;
    outbox->unproven += pause_ms < PROOF_MOST_MS ? 1 : 0;
    outbox->proof_due = clock_now() + pause_ms;
    log_write(LEVEL_ERROR,
              "msg=nothing_is_sent source=%s next_seconds=%.1f reason=%s advice=\"what is sent now could not be noted "
              "as delivered, and would be sent again after each start; it waits\"",
              lane->pipeline->source->name, (double)pause_ms / 1000, log_quote(words, why.text, strlen(why.text)));
    return false;
}
