/* A lane's batch, built and sent; and the batch's body: see pending.h. */
#include "forward/forward_private.h"

#include "forward/pending.h"
#include "forward/post.h"

#include <stdlib.h>
#include <string.h>

#define AGAIN_MOST 512    /* events read again at once: a batch */
#define PACE_MS 20        /* between batches of a lane that could hold more: each costs a request and a settling */
#define NO_MEMORY_MS 1000 /* until the next try when memory is out */

/* ---- the body ---- */

#define KEEP_BYTES ((size_t)2 * 1024 * 1024)

const struct batch_form batch_for_data_plane = {"{\"batch\":[", ",", "]}"};
const struct batch_form batch_for_file = {"", "\n", "\n"};

struct buffer *batch_begin(struct batch *batch)
{
    batch->whole = batch->text.length;
    buffer_text(&batch->text, batch->count == 0 ? batch->form->head : batch->form->between);
    return &batch->text;
}

bool batch_accept(struct batch *batch)
{
    size_t length = batch->text.length + strlen(batch->form->tail);
    if (batch->text.failed || (batch->count > 0 && length > BATCH_BYTES)) {
        batch_reject(batch);
        return false;
    }
    batch->count++;
    return true;
}

void batch_reject(struct batch *batch)
{
    batch->text.length = batch->whole;
}

bool batch_finish(struct batch *batch)
{
    buffer_text(&batch->text, batch->form->tail);
    return !batch->text.failed;
}

void batch_clear(struct batch *batch)
{
    if (batch->text.capacity > KEEP_BYTES)
        buffer_free(&batch->text);
    buffer_clear(&batch->text);
    batch->count = 0;
}

/* ---- the lane ---- */

bool lane_init(struct lane *lane, struct source_pipeline *pipeline, struct poster *poster, struct error *why)
{
    lane->pipeline = pipeline;
    pending_list_init(&lane->waiting);
    pending_list_init(&lane->built);
    pending_list_init(&lane->sending);
    lane->batch.form = pipeline->file.path != NULL ? &batch_for_file : &batch_for_data_plane;
    lane->limit = (size_t)pipeline->config->batch_events;
    if (pipeline->file.path != NULL)
        return true;
    lane->post = post_new(poster, pipeline->config, pipeline->source, lane, why);
    return lane->post != NULL;
}

void lane_free(struct lane *lane)
{
    if (lane->pipeline == NULL) /* it was not initialised */
        return;
    post_free(lane->post);
    pending_list_free(&lane->waiting);
    pending_list_free(&lane->built);
    pending_list_free(&lane->sending);
    buffer_free(&lane->batch.text);
    buffer_free(&lane->compressed);
}

static moment later_of(moment a, moment b)
{
    return a > b ? a : b;
}

moment lane_put_off_until(const struct lane *lane)
{
    const struct source_pipeline *pipeline = lane->pipeline;
    return later_of(later_of(lane->due, pipeline->data_plane.blocked_until),
                    later_of(pipeline->rate_due, pipeline->outbox.proof_due));
}

moment lane_due(const struct lane *lane)
{
    bool must_wait = lane->pipeline->search.one_only && source_is_sending(lane->pipeline);
    return must_wait ? MOMENT_NEVER : lane_put_off_until(lane);
}

/* With a rate, batches are small enough to go out several times a second. */
static size_t lane_limit(const struct lane *lane)
{
    size_t rate = (size_t)lane->pipeline->config->deliver_rate;
    size_t most = rate == 0 ? lane->limit : (rate + 3) / 4;
    if (lane->pipeline->search.one_only)
        return 1;
    return lane->limit < most ? lane->limit : most;
}

/* Whether the batch takes no more. */
static bool batch_is_full(const struct lane *lane)
{
    return lane->batch.count >= lane_limit(lane) || lane->waiting.count > 0;
}

moment lane_next(const struct lane *lane)
{
    bool at_once = batch_is_full(lane) || !queue_settles_in_bulk(lane->pipeline->queue);
    return at_once ? lane_due(lane) : later_of(lane_due(lane), lane->sent_at + PACE_MS);
}

moment lane_parked_due(const struct lane *lane, const struct pending *parked)
{
    const struct pending *first = lane->waiting.first;
    if (lane->sending.count > 0 || (first != NULL && first->parked_ms > 0))
        return MOMENT_NEVER;
    return later_of(parked->until, lane_due(lane));
}

bool lane_has_room(const struct lane *lane)
{
    return lane->waiting.count == 0 && lane->batch.count < lane_limit(lane) && lane->batch.text.length < BATCH_BYTES &&
           lane_due(lane) <= clock_now();
}

/* Appends the message about the person, if the event has one, behind the track message. Returns false when memory is
 * out. */
static bool add_person(struct lane *lane, struct pending *pending, const struct parsed *parsed, struct buffer *text)
{
    struct source_pipeline *pipeline = lane->pipeline;
    size_t before = text->length;
    if (pending->track_only)
        return true;
    buffer_text(text, lane->batch.form->between);
    enum transform_result result =
        crash_guard_transform_person(pipeline->guard, pipeline->source->name, pending, parsed, &pipeline->rules, text);
    pending->has_person = result == TRANSFORM_OK;
    if (result == TRANSFORM_DROPPED)
        text->length = before;
    return result != TRANSFORM_FAILED && !text->failed;
}

/* The messages of the event just appended: both go in one batch or neither, and each counts. */
static bool accept_messages(struct lane *lane, const struct pending *pending)
{
    size_t messages = pending->has_person && !pending->track_only ? 2 : 1;
    bool good = lane->batch.count == 0 || lane->batch.count + messages <= lane_limit(lane);
    if (!good)
        batch_reject(&lane->batch);
    good = good && batch_accept(&lane->batch);
    lane->batch.count += good ? messages - 1 : 0;
    return good;
}

enum lane_built lane_build(struct lane *lane, struct pending *pending, struct parsed *parsed)
{
    struct source_pipeline *pipeline = lane->pipeline;
    struct buffer *text = batch_begin(&lane->batch);
    enum transform_result result = crash_guard_transform(pipeline->guard, pipeline->source->name, pending->id, parsed,
                                                         &pipeline->rules, pending->newer, text);
    if (result == TRANSFORM_OK && !text->failed && !add_person(lane, pending, parsed, text))
        result = TRANSFORM_FAILED;
    if (result != TRANSFORM_OK || text->failed) {
        bool dropped = result == TRANSFORM_DROPPED && !text->failed;
        batch_reject(&lane->batch);
        return dropped ? LANE_DROPPED : LANE_NO_MEMORY;
    }
    if (!accept_messages(lane, pending))
        return LANE_NO_ROOM;
    pending->nul_replaced = transform_nuls(parsed) > 0;
    pending_push(&lane->built, pending);
    return LANE_BUILT;
}

void lane_put_back(struct lane *lane)
{
    pending_prepend(&lane->waiting, &lane->built);
    pending_prepend(&lane->waiting, &lane->sending);
    batch_clear(&lane->batch);
}

void lane_halve(struct lane *lane, size_t count)
{
    lane->limit = (count + 1) / 2;
}

void lane_send_alone(struct lane *lane, struct pending *pending)
{
    lane_put_back(lane);
    pending_push_first(&lane->waiting, pending);
    lane->limit = 1;
}

/* The newest of those that wait. */
static const struct pending *newest_waiting(const struct lane *lane)
{
    const struct pending *newest = lane->waiting.first;
    for (const struct pending *p = newest; p != NULL; p = p->next)
        newest = p->id > newest->id ? p : newest;
    return newest;
}

void lane_try_another(struct lane *lane)
{
    struct pending_list moved;
    pending_list_init(&moved);
    lane_put_back(lane);
    lane->limit = 1;
    if (lane->waiting.first == NULL)
        return;
    /* The next ones may be bad, too, if many came at once: then the newest are not. */
    uint64_t ordering_key = lane->newest_next ? newest_waiting(lane)->ordering_key : lane->waiting.first->ordering_key;
    pending_move_key(&moved, &lane->waiting, ordering_key);
    if (!lane->newest_next)
        pending_prepend(&moved, &lane->waiting); /* last now */
    pending_prepend(&lane->waiting, &moved);
    lane->newest_next = !lane->newest_next;
}

struct pending *lane_find(const struct lane *lane, uint64_t id, bool *in_flight)
{
    struct pending *found = pending_find(&lane->waiting, id);
    *in_flight = false;
    if (found == NULL)
        found = pending_find(&lane->built, id);
    if (found == NULL) {
        found = pending_find(&lane->sending, id);
        *in_flight = found != NULL;
    }
    return found;
}

void lane_remove(struct lane *lane, const struct pending *pending)
{
    if (pending_remove(&lane->waiting, pending))
        return;
    /* Its message is in the next batch: that is built anew. */
    pending_prepend(&lane->waiting, &lane->built);
    batch_clear(&lane->batch);
    pending_remove(&lane->waiting, pending);
}

void lane_hurry(struct lane *lane)
{
    lane->due = 0;
    lane->asked = 0;
}

void lane_put_off(struct lane *lane, moment due)
{
    struct source_pipeline *pipeline = lane->pipeline;
    lane->due = due;
    lane_put_back(lane);
    struct pending_list all;
    struct pending *pending;
    pending_move(&all, &lane->waiting);
    while ((pending = pending_pop(&all)) != NULL) {
        if (source_expire(pipeline, pending))
            continue;
        pending_push(&lane->waiting, pending);
        outbox_defer(pipeline, pending, lane_put_off_until(lane), false, pipeline->data_plane.why.text);
    }
}

/* A batch cannot be built now. While one is with the data plane, its answer is when to try again. */
static void build_later(struct lane *lane, const char *reason, int64_t ms)
{
    if (lane->sending.count > 0)
        return;
    answer_set_words(lane->pipeline, reason);
    lane_put_off(lane, clock_now() + ms);
}

/* Memory was out for this event, which is in no list, alone. It stays the lane's first, unless it is given up. Returns
 * whether it is. */
static bool lane_starved(struct lane *lane, struct pending *pending, const char *what)
{
    struct error why;
    bool counts = lane->sending.count == 0;
    if (counts && source_starved(&pending->starved, what, &why)) {
        source_end(lane->pipeline, pending, VERDICT_DEAD, why.text);
        return true;
    }
    int64_t pause_ms = source_starved_pause(lane->pipeline, pending->starved);
    pending_push_first(&lane->waiting, pending);
    build_later(lane, what, pause_ms);
    return false;
}

/* Memory was out when the batch was to be sent: less is tried next. */
static void batch_cannot_send(struct lane *lane, const char *what)
{
    if (lane->built.count == 1) {
        struct pending *pending = pending_pop(&lane->built);
        batch_clear(&lane->batch);
        lane_starved(lane, pending, what);
        return;
    }
    lane_halve(lane, lane->built.count);
    build_later(lane, what, NO_MEMORY_MS);
}

/* The event was read again, but not understood, or there was no room in memory. Returns whether the next one may
 * follow. */
static bool event_not_built(struct lane *lane, struct pending *pending, bool out_of_memory, const char *what)
{
    if (!out_of_memory) {
        source_end(lane->pipeline, pending, VERDICT_DEAD, what);
        return true;
    }
    if (lane->built.count == 0)
        return lane_starved(lane, pending, what);
    pending_push_first(&lane->waiting, pending); /* the others go first; then it is tried alone */
    return false;
}

/* Builds one event that was read again. Returns whether the next one may follow. */
static bool build_again(struct lane *lane, struct pending *pending, const struct event *event)
{
    struct source_pipeline *pipeline = lane->pipeline;
    bool out_of_memory = false;
    struct error why = {.text = "out of memory"};
    struct parsed *parsed =
        crash_guard_parse(pipeline->guard, pipeline->source->name, &pipeline->rules, event, &out_of_memory, &why);
    if (parsed == NULL)
        return event_not_built(lane, pending, out_of_memory, why.text);
    enum lane_built built = lane_build(lane, pending, parsed);
    parsed_free(parsed);
    switch (built) {
    case LANE_BUILT:
        return true;
    case LANE_DROPPED:
        source_end(lane->pipeline, pending, VERDICT_DROPPED, NULL);
        return true;
    case LANE_NO_ROOM:
        pending_push_first(&lane->waiting, pending);
        return false;
    case LANE_NO_MEMORY:
        break;
    }
    return event_not_built(lane, pending, true, "out of memory");
}

/* Takes the events that were asked for out of waiting and into the batch; those not found are forgotten. */
static void build_found(struct lane *lane, size_t asked)
{
    const struct events *events = &lane->pipeline->intake.events;
    size_t at = 0;
    for (size_t i = 0; i < asked; i++) {
        struct pending *pending = pending_pop(&lane->waiting);
        if (at < events->count && events->at[at].id == pending->id) {
            pending->deferred_reported = false;
            if (!build_again(lane, pending, &events->at[at++]))
                return;
        } else {
            if (intake_forget(lane, pending))
                return; /* a duplicate took its place: read that one first */
        }
    }
}

void lane_fill(struct lane *lane)
{
    struct source_pipeline *pipeline = lane->pipeline;
    uint64_t ids[AGAIN_MOST];
    size_t count = 0;
    for (struct pending *p = lane->waiting.first; p != NULL && count < AGAIN_MOST && count < lane_limit(lane);
         p = p->next)
        ids[count++] = p->id;
    if (count == 0)
        return;
    size_t asked = 0;
    struct error why;
    if (intake_read_again(pipeline, ids, count, &asked, &why) < 0) {
        build_later(lane, why.text, NO_MEMORY_MS);
        return;
    }
    crash_guard_expect_events(pipeline->guard, pipeline->source->name, &pipeline->intake.events);
    build_found(lane, asked);
    crash_guard_rest(pipeline->guard);
}

/* Hands the finished batch to the data plane. */
static bool post_batch(struct lane *lane)
{
    struct source_pipeline *pipeline = lane->pipeline;
    struct error why;
    if (!gzip_compress(pipeline->gzip, lane->batch.text.data, lane->batch.text.length, &lane->compressed))
        return false;
    if (post_start(lane->post, lane->compressed.data, lane->compressed.length, &why))
        return true;
    answer_set_words(pipeline, why.text);
    return false;
}

bool lane_send(struct lane *lane)
{
    struct file_sink *file = lane->pipeline->file.path != NULL ? &lane->pipeline->file : NULL;
    struct answer answer;
    if (lane->sending.count > 0 || lane->built.count == 0 || lane_next(lane) > clock_now())
        return false;
    if (!outbox_makes_way(lane) || !outbox_can_settle(lane))
        return false;
    if (!batch_finish(&lane->batch)) {
        batch_cannot_send(lane, "out of memory");
        return false;
    }
    lane->sent_bytes = lane->batch.text.length;
    source_take_rate(lane->pipeline, lane->built.count);
    if (file != NULL) {
        file_sink_append(file, lane->batch.text.data, lane->batch.text.length, &answer);
    } else if (!post_batch(lane)) {
        batch_cannot_send(lane, "out of memory");
        return false;
    }
    lane->sent_at = clock_now();
    lane->number = answer_expect(lane->pipeline);
    pending_move(&lane->sending, &lane->built);
    batch_clear(&lane->batch);
    if (file != NULL)
        answer_follow(lane, &answer);
    return true;
}
