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

#define TELL_AGAIN_MS 1000
#define SETTLE_MOST 1000 /* verdicts in one transaction: appends wait for it */
#define SETTLE_MS 20     /* verdicts wait so long for others: rows that lie together go together */

/* ---- gathering ---- */

bool verdicts_reserve(struct verdicts *verdicts, size_t count)
{
    size_t needed = verdicts->count + count;
    if (needed <= verdicts->capacity)
        return true;
    size_t capacity = verdicts->capacity == 0 ? 64 : verdicts->capacity;
    while (capacity < needed)
        capacity *= 2;
    struct verdict *at = realloc(verdicts->at, capacity * sizeof *at);
    if (at == NULL)
        return false;
    verdicts->at = at;
    verdicts->capacity = capacity;
    return true;
}

const char *verdicts_reason(struct verdicts *verdicts, const char *reason)
{
    if (verdicts->reason_count == verdicts->reason_capacity) {
        size_t capacity = verdicts->reason_capacity == 0 ? 16 : verdicts->reason_capacity * 2;
        char **reasons = realloc(verdicts->reasons, capacity * sizeof *reasons);
        if (reasons == NULL)
            return NULL;
        verdicts->reasons = reasons;
        verdicts->reason_capacity = capacity;
    }
    char *copy = strdup(reason);
    if (copy != NULL)
        verdicts->reasons[verdicts->reason_count++] = copy;
    return copy;
}

void verdicts_add(struct verdicts *verdicts, const struct verdict *verdict)
{
    verdicts->at[verdicts->count++] = *verdict;
}

static void clear_verdicts(struct verdicts *verdicts)
{
    verdicts->count = 0;
    while (verdicts->reason_count > 0)
        free(verdicts->reasons[--verdicts->reason_count]);
}

bool verdicts_tell(struct verdicts *verdicts, struct queue *queue, const char *source, struct error *why)
{
    if (verdicts->count == 0)
        return true;
    if (!queue_settle(queue, source, verdicts->at, verdicts->count, why))
        return false;
    clear_verdicts(verdicts);
    return true;
}

void verdicts_free(struct verdicts *verdicts)
{
    clear_verdicts(verdicts);
    free(verdicts->at);
    free(verdicts->reasons);
    *verdicts = (struct verdicts){0};
}

static void count_end(struct source_pipeline *pipeline, enum verdict_kind kind)
{
    switch (kind) {
    case VERDICT_DELIVERED:
        pipeline->delivered++;
        break;
    case VERDICT_DUPLICATE:
        pipeline->duplicates++;
        break;
    case VERDICT_DROPPED:
        pipeline->dropped++;
        break;
    case VERDICT_DEAD:
        pipeline->dead++;
        break;
    case VERDICT_LATER:
        break;
    }
}

/* Room for the verdict was made when the event was taken in. */
void outbox_end(struct source_pipeline *pipeline, const struct pending *pending, enum verdict_kind kind,
                const char *reason)
{
    struct verdict verdict = {
        .id = pending->id,
        .kind = kind,
        .identity = pending->identity,
        .remember = kind != VERDICT_DUPLICATE && pipeline->file == NULL,
        .reason = reason,
    };
    verdicts_add(&pipeline->verdicts, &verdict);
    samples_verdict(&pipeline->samples, &verdict, pending->newer);
    count_end(pipeline, kind);
}

void outbox_defer(struct source_pipeline *pipeline, struct pending *pending, moment next, bool refused,
                  const char *reason)
{
    const char *kept = NULL;
    for (struct pending *p = pending; p != NULL; p = p->duplicates) {
        if (p->deferred_reported)
            continue;
        if (kept == NULL)
            kept = verdicts_reason(&pipeline->verdicts, reason);
        struct verdict verdict = {.id = p->id, .kind = VERDICT_LATER, .refused = refused, .next = next, .reason = kept};
        verdicts_add(&pipeline->verdicts, &verdict);
        p->deferred_reported = true;
    }
}

/* ---- settling ---- */

/* The queue knows of them now. */
static void forget_ended(struct source_pipeline *pipeline)
{
    struct pending *pending;
    while ((pending = pending_pop(&pipeline->settling)) != NULL) {
        pending_table_remove(&pipeline->by_identity, pending);
        free(pending);
    }
}

static void settle_verdicts(struct source_pipeline *pipeline)
{
    struct error why;
    pipeline->tell_failed = !verdicts_tell(&pipeline->verdicts, pipeline->queue, pipeline->source->name, &why);
    pipeline->tell_due = 0;
    if (!pipeline->tell_failed) {
        forget_ended(pipeline);
        return;
    }
    char words[LOG_QUOTED];
    pipeline->tell_due = clock_now() + TELL_AGAIN_MS;
    log_write(LEVEL_ERROR, "msg=cannot_settle source=%s verdicts=%zu reason=%s", pipeline->source->name,
              pipeline->verdicts.count, log_quote(words, why.text, strlen(why.text)));
}

bool outbox_settle_now(struct source_pipeline *pipeline)
{
    if (pipeline->verdicts.count > 0)
        settle_verdicts(pipeline);
    return !pipeline->tell_failed;
}

/* Tells the verdicts when it is time. Returns false while the queue fails to take them. */
bool outbox_settle_due(struct source_pipeline *pipeline)
{
    if (pipeline->verdicts.count == 0)
        return true;
    moment now = clock_now();
    if (pipeline->tell_failed) {
        if (now >= pipeline->tell_due)
            settle_verdicts(pipeline);
        return !pipeline->tell_failed;
    }
    if (pipeline->tell_due == 0)
        pipeline->tell_due = now + SETTLE_MS;
    bool wait = queue_settles_in_bulk(pipeline->queue) && source_is_sending(pipeline) &&
                pipeline->verdicts.count < SETTLE_MOST && now < pipeline->tell_due;
    if (!wait)
        settle_verdicts(pipeline);
    return !pipeline->tell_failed;
}

/* ---- proof that it can be settled, before it is sent ---- */

#define CANNOT_FIRST_MS 1000 /* until the next try; it doubles */
#define CANNOT_MOST_MS 8000

/* All of the batch as delivered: other ends need hardly less room. */
static bool queue_takes_verdicts(struct lane *lane, struct error *why)
{
    struct source_pipeline *pipeline = lane->pipeline;
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
    struct source_pipeline *pipeline = lane->pipeline;
    struct error why;
    char words[LOG_QUOTED];
    if (queue_takes_verdicts(lane, &why)) {
        pipeline->unsettled = 0;
        return true;
    }
    size_t count = lane->built.count;
    lane_put_back(lane);
    lane->limit = (count + 1) / 2;
    if (count > 1)
        return false; /* perhaps less of it can */
    int64_t pause_ms = CANNOT_FIRST_MS << pipeline->unsettled;
    pipeline->unsettled += pause_ms < CANNOT_MOST_MS ? 1 : 0;
    pipeline->settle_due = clock_now() + pause_ms;
    log_write(LEVEL_ERROR,
              "msg=nothing_is_sent source=%s next_seconds=%.1f reason=%s advice=\"what is sent now could not be noted "
              "as delivered, and would be sent again after each start; it waits\"",
              pipeline->source->name, (double)pause_ms / 1000, log_quote(words, why.text, strlen(why.text)));
    return false;
}
