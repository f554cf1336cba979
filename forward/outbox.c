/* Verdicts on their way to the queue: gathered, and settled many at once, in one transaction of a durable engine. They
 * stay until the queue has taken them. What ends is also shown: counts, and a sample of the events.
 *
 * Where it is in doubt that anything can be written, a process that has not settled anything yet shows before each
 * batch that it could settle it. Else events would be sent, and sent again by the next process, and the next: with each
 * restart as many as are in flight at once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "forward/forward_private.h"
#include "transform/shown.h"

#define SETTLE_AGAIN_MS 1000
#define SAY_MOST_MS 64000 /* between log lines that it fails */
#define SETTLE_MOST 1000  /* verdicts in one transaction: appends wait for it */
#define SETTLE_MS 20      /* verdicts wait so long for others: rows that lie together go together */

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

void outbox_count(struct source_pipeline *pipeline, const struct verdict *verdict, const struct ended_event *ended,
                  const struct event *event)
{
    samples_verdict(pipeline, verdict, ended, event);
    pipeline->outbox.ended[verdict->kind]++;
}

void outbox_end_at_once(struct source_pipeline *pipeline, const struct event *event, enum verdict_kind kind,
                        const char *reason)
{
    struct verdict verdict = {.id = event->id, .kind = kind, .reason = keep_reason(&pipeline->outbox, reason)};
    add_verdict(&pipeline->outbox, &verdict);
    outbox_count(pipeline, &verdict, &(struct ended_event){.replay = event->replay}, event);
}

static void end_one(struct source_pipeline *pipeline, const struct pending *pending, enum verdict_kind kind,
                    const char *kept_reason)
{
    struct verdict verdict = {
        .id = pending->id,
        .kind = kind,
        .identity = pending->identity,
        .remember = kind != VERDICT_DUPLICATE && pipeline->file.path == NULL,
        .reason = kept_reason,
    };
    add_verdict(&pipeline->outbox, &verdict);
    const struct ended_event ended = {pending->newer, pending->replay, pending->live};
    outbox_count(pipeline, &verdict, &ended, NULL);
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
        /* One message stands for all of them, and so does one dead letter; that of a replay stays its own. */
        bool covered = kind == VERDICT_DELIVERED || (kind == VERDICT_DEAD && !duplicate->replay);
        end_one(pipeline, duplicate, covered ? VERDICT_DUPLICATE : kind, kept);
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
    if (pipeline->data_plane.blocked_until > clock_now())
        next = MOMENT_NEVER; /* somebody has to mend something: nobody is kept waiting for the next try */
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

/* It is tried again soon, for it may work by then; but it is not said each time. */
static void say_unsettled(struct source_pipeline *pipeline, const struct error *why)
{
    struct outbox *outbox = &pipeline->outbox;
    char words[LOG_QUOTED];
    moment now = clock_now();
    if (outbox->say_ms > 0 && now < outbox->say_due)
        return;
    outbox->say_ms = outbox->say_ms == 0 ? SETTLE_AGAIN_MS : outbox->say_ms * 2;
    if (outbox->say_ms > SAY_MOST_MS)
        outbox->say_ms = SAY_MOST_MS;
    outbox->say_due = now + outbox->say_ms;
    log_write(LEVEL_ERROR, "msg=cannot_settle source=%s verdicts=%zu reason=%s advice=\"they were delivered%s\"",
              pipeline->source->name, outbox->count, log_quote_reason(words, why->text),
              !source_is_owned(pipeline)
                  ? ", and who claims the queue next sends them again, with the same messageId"
                  : ", and nothing more is sent until that can be noted; it is tried every second: after a restart "
                    "before that they are sent again");
}

static void settle_verdicts(struct source_pipeline *pipeline)
{
    struct outbox *outbox = &pipeline->outbox;
    struct error why;
    outbox->failed = !queue_settle(pipeline->queue, pipeline->source->name, outbox->at, outbox->count, &why);
    if (outbox->failed) {
        outbox->due = clock_now() + SETTLE_AGAIN_MS;
        say_unsettled(pipeline, &why);
        return;
    }
    outbox->due = 0;
    outbox->say_ms = 0;
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

/* As delivered: other ends need hardly less room. Returns how many there are. */
static size_t expect_delivered(const struct source_pipeline *pipeline, const struct pending_list *list,
                               struct verdict *verdicts)
{
    size_t count = 0;
    for (const struct pending *p = list->first; p != NULL; p = p->next)
        verdicts[count++] = (struct verdict){
            .id = p->id, .kind = VERDICT_DELIVERED, .identity = p->identity, .remember = pipeline->file.path == NULL};
    return count;
}

/* All of the batch; and where room may be short, all that is with the data plane already, and needs some as well. */
static bool queue_takes_batch(const struct lane *lane, struct error *why)
{
    const struct source_pipeline *pipeline = lane->pipeline;
    size_t lanes = queue_settles_in_bulk(pipeline->queue) ? 0 : pipeline->lanes, most = lane->built.count;
    for (size_t i = 0; i < lanes; i++)
        most += pipeline->lane[i].sending.count;
    struct verdict *verdicts = calloc(most, sizeof *verdicts);
    error_set(why, "out of memory");
    if (verdicts == NULL)
        return false;
    size_t count = expect_delivered(pipeline, &lane->built, verdicts);
    for (size_t i = 0; i < lanes; i++)
        count += expect_delivered(pipeline, &pipeline->lane[i].sending, verdicts + count);
    bool good = queue_can_settle(pipeline->queue, pipeline->source->name, verdicts, count, why);
    free(verdicts);
    return good;
}

bool outbox_makes_way(const struct lane *lane)
{
    struct source_pipeline *pipeline = lane->pipeline;
    size_t most = pipeline->lanes * (size_t)pipeline->config->batch_events;
    size_t unsettled = pipeline->outbox.count + lane->built.count;
    for (size_t i = 0; i < pipeline->lanes; i++)
        unsettled += pipeline->lane[i].sending.count;
    return unsettled <= most || outbox_settle_now(pipeline);
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
              lane->pipeline->source->name, (double)pause_ms / 1000, log_quote_reason(words, why.text));
    return false;
}

/* ---- samples: what the forwarder shows of its work ---- */

#define BODY_MOST ((size_t)1024 * 1024) /* larger ones are too much to look at again */

static const struct {
    enum counted_outcome outcome;
    const char *state; /* as people see it */
} ends[] = {
    [VERDICT_DELIVERED] = {COUNTED_DELIVERED, "delivered"},
    [VERDICT_DUPLICATE] = {COUNTED_DUPLICATE, "duplicate"},
    [VERDICT_DROPPED] = {COUNTED_DROPPED, "dropped"},
    [VERDICT_DEAD] = {COUNTED_DEAD, "dead"},
};

void samples_init(struct source_pipeline *pipeline, const struct telemetry *telemetry)
{
    pipeline->samples = (struct samples){.on = true,
                                         .counted = counters_of(telemetry->counters, pipeline->source->name),
                                         .recent = telemetry->recent,
                                         .attempts = telemetry->attempts};
}

void samples_free(struct samples *samples)
{
    events_free(&samples->events);
}

static bool has_date(const struct verdict *verdict)
{
    return verdict->identity.updated_us != INT64_MIN && verdict->identity.updated_us != 0;
}

static void count_verdict(const struct samples *samples, const struct verdict *verdict, const struct ended_event *ended,
                          int64_t now_ms)
{
    if (verdict->kind != VERDICT_DEAD && !ended->replay)
        counters_done(samples->counted, now_ms);
    if (verdict->kind != VERDICT_DELIVERED) {
        counters_ended(samples->counted, ends[verdict->kind].outcome);
        return;
    }
    int64_t delay_ms = has_date(verdict) ? now_ms - verdict->identity.updated_us / 1000 : -1;
    if (delay_ms < 0 && has_date(verdict))
        delay_ms = 0; /* Close's clock is ahead of ours */
    counters_delivered(samples->counted, delay_ms, now_ms);
    if (ended->live && delay_ms >= 0)
        counters_live_delay(samples->counted, delay_ms, now_ms);
}

/* What the body says of itself, without the parser: what ended may have crashed it. */
static void describe_event(const struct event *event, const struct verdict *verdict, struct recent_event *recent)
{
    struct headline headline;
    headline_read(&headline, event->body, event->length);
    headline_event(&headline, recent->name, sizeof recent->name);
    snprintf(recent->lead, sizeof recent->lead, "%s", headline.lead == NULL ? "" : headline.lead);
    snprintf(recent->id, sizeof recent->id, "%s", headline.id == NULL ? "" : headline.id);
    recent->updated_ms = has_date(verdict) ? verdict->identity.updated_us / 1000 : 0;
}

/* The message that was sent: what made it once makes it again. */
static void make_message(const struct source_pipeline *pipeline, const struct event *event, bool newer,
                         struct buffer *message)
{
    struct parsed *parsed = transform_parse_for(event->body, event->length, &pipeline->rules, NULL, NULL);
    if (parsed != NULL)
        transform_message(parsed, &pipeline->rules, newer, message);
    parsed_free(parsed);
}

static void add_sample(const struct source_pipeline *pipeline, const struct event *event, const struct verdict *verdict,
                       bool newer, int64_t now_ms)
{
    struct buffer incoming = {0}, message = {0};
    struct recent_event *recent = calloc(1, sizeof *recent);
    if (recent == NULL)
        return;
    recent->queue_id = verdict->id;
    recent->ended_ms = now_ms;
    recent->received_ms = event->received_ms;
    recent->bytes = event->length;
    snprintf(recent->source, sizeof recent->source, "%s", pipeline->source->name);
    snprintf(recent->state, sizeof recent->state, "%s", ends[verdict->kind].state);
    snprintf(recent->reason, sizeof recent->reason, "%s", verdict->reason == NULL ? "" : verdict->reason);
    describe_event(event, verdict, recent);
    if (event->length <= BODY_MOST && !transform_shown(event->body, event->length, &pipeline->rules, &incoming))
        buffer_clear(&incoming);
    if (event->length <= BODY_MOST && verdict->kind == VERDICT_DELIVERED)
        make_message(pipeline, event, newer, &message);
    struct attempt tried[ATTEMPTS_KEPT];
    struct recent_bodies bodies = {
        .incoming = incoming.data,
        .incoming_length = incoming.length,
        .message = message.data,
        .message_length = message.length,
        .attempt = tried,
        .attempts = attempts_of(pipeline->samples.attempts, recent->source, verdict->id, event->received_ms, tried),
    };
    recent_add(pipeline->samples.recent, recent, &bodies);
    buffer_free(&incoming);
    buffer_free(&message);
    free(recent);
}

void samples_verdict(struct source_pipeline *pipeline, const struct verdict *verdict, const struct ended_event *ended,
                     const struct event *event)
{
    struct samples *samples = &pipeline->samples;
    size_t asked;
    if (!samples->on || verdict->kind == VERDICT_ERASED) /* nothing is to be left of it */
        return;
    int64_t now_ms = clock_unix_ms();
    count_verdict(samples, verdict, ended, now_ms);
    if (!recent_may_add(samples->recent, now_ms))
        return;
    if (event == NULL && queue_again(pipeline->queue, pipeline->source->name, &verdict->id, 1, BODY_MOST,
                                     &samples->events, &asked, NULL) == 1)
        event = &samples->events.at[0];
    if (event != NULL)
        add_sample(pipeline, event, verdict, ended->newer, now_ms);
}

void samples_messages(struct samples *samples, const struct pending *pending)
{
    if (samples->counted != NULL && pending->nul_replaced)
        counters_nul_replaced(samples->counted);
    if (samples->counted != NULL && pending->has_person && pending->track_only)
        counters_identify_refused(samples->counted);
}

/* One write a batch, whatever it holds: an event's attempts are found by its id. */
static void note_attempt(const struct lane *lane, const struct answer *answer)
{
    const struct source_pipeline *pipeline = lane->pipeline;
    struct attempt attempt;
    uint64_t ids[ATTEMPTS_EVENTS];
    size_t count = 0;
    memset(&attempt, 0, sizeof attempt); /* padding too: it goes into a file */
    attempt.took_ms = clock_now() - lane->sent_at;
    attempt.sent_ms = clock_unix_ms() - attempt.took_ms;
    attempt.status = answer->status;
    attempt.events = (uint32_t)lane->sending.count;
    if (answer_outcome(answer, pipeline->source->accept_empty == ANSWER_YES) != OUTCOME_DELIVERED) {
        struct error why;
        answer_describe(answer, &why);
        snprintf(attempt.words, sizeof attempt.words, "%.159s", why.text);
    }
    for (const struct pending *p = lane->sending.first; p != NULL && count < ATTEMPTS_EVENTS; p = p->next)
        ids[count++] = p->id;
    attempts_add(pipeline->samples.attempts, pipeline->source->name, (size_t)(lane - pipeline->lane), &attempt, ids,
                 count);
}

void samples_answer(const struct lane *lane, const struct answer *answer)
{
    const struct samples *samples = &lane->pipeline->samples;
    enum outcome outcome = answer_outcome(answer, lane->pipeline->source->accept_empty == ANSWER_YES);
    /* 403 and 404 may be about one event, but what the key is wrong for answers so, too. */
    bool refused = outcome == OUTCOME_OPERATOR || answer->status == 403 || answer->status == 404;
    if (samples->counted != NULL)
        counters_answered(samples->counted, answer->status, refused, clock_unix_ms());
    if (samples->attempts != NULL)
        note_attempt(lane, answer);
}
