/* One source's pipeline: its step in the forwarder's loop (settle, read, build, send), and the beginning and end of
 * each event in it. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "forward/file_sink.h"
#include "forward/forward_private.h"

#define READ_AHEAD 65536  /* events in flight at most */
#define READ_ALWAYS 16384 /* so many are read even if lanes are put off: an append that waits must be told so */
#define PATIENCE_MS 1000  /* with a lane whose batch the data plane has */
#define REST_BYTES ((size_t)2 * 1024 * 1024) /* of buffers: so much is not kept when there is nothing to do */
#define STARVED_MOST 5                       /* tries */
#define ORDINARY_BYTES ((size_t)1024 * 1024) /* what an ordinary event may need */

static bool init_lane(struct lane *lane, struct source_pipeline *pipeline, struct poster *poster, struct error *why)
{
    lane->pipeline = pipeline;
    pending_list_init(&lane->waiting);
    pending_list_init(&lane->built);
    pending_list_init(&lane->sending);
    lane->batch.form = pipeline->file != NULL ? &batch_for_file : &batch_for_data_plane;
    lane->limit = (size_t)pipeline->config->batch_events;
    if (pipeline->file != NULL)
        return true;
    lane->post = post_new(poster, pipeline->config, pipeline->source, lane, why);
    return lane->post != NULL;
}

bool source_init(struct source_pipeline *pipeline, const struct config *config, const struct source *source,
                 struct queue *queue, struct poster *poster, struct gzip *gzip, struct error *why)
{
    *pipeline = (struct source_pipeline){
        .config = config,
        .source = source,
        .queue = queue,
        .gzip = gzip,
        .starved_ms = STARVED_MS,
        .backoff_ms = BACKOFF_FIRST_MS,
        .file = file_sink_path(source->data_plane_url),
        .rules = {.keep = source->keep.at,
                  .keeps = source->keep.count,
                  .drop = source->drop.at,
                  .drops = source->drop.count,
                  .remove = source->remove.at,
                  .removes = source->remove.count},
    };
    pending_list_init(&pipeline->aside);
    pending_list_init(&pipeline->parked);
    pending_list_init(&pipeline->held);
    pending_list_init(&pipeline->settling);
    pipeline->lanes = (size_t)config->lanes;
    pipeline->lane = calloc(pipeline->lanes + 1, sizeof *pipeline->lane);
    if (pipeline->lane == NULL || !pending_table_init(&pipeline->by_identity)) {
        error_set(why, "out of memory");
        return false;
    }
    for (size_t i = 0; i <= pipeline->lanes; i++) {
        if (!init_lane(&pipeline->lane[i], pipeline, poster, why))
            return false;
    }
    return true;
}

void source_free(struct source_pipeline *pipeline)
{
    for (size_t i = 0; pipeline->lane != NULL && i <= pipeline->lanes; i++) {
        struct lane *lane = &pipeline->lane[i];
        if (lane->pipeline == NULL)
            break;
        post_free(lane->post);
        pending_list_free(&lane->waiting);
        pending_list_free(&lane->built);
        pending_list_free(&lane->sending);
        buffer_free(&lane->batch.text);
        buffer_free(&lane->compressed);
    }
    free(pipeline->lane);
    pending_list_free(&pipeline->aside);
    pending_list_free(&pipeline->parked);
    pending_list_free(&pipeline->held);
    pending_list_free(&pipeline->settling);
    pending_table_free(&pipeline->by_identity);
    events_free(&pipeline->events);
    verdicts_free(&pipeline->verdicts);
    samples_free(&pipeline->samples);
}

struct lane *source_lane(struct source_pipeline *pipeline, const struct pending *pending)
{
    return &pipeline->lane[pending->ordering_key % pipeline->lanes];
}

void source_end(struct source_pipeline *pipeline, struct pending *pending, enum verdict_kind kind, const char *reason)
{
    const char *kept = reason == NULL ? NULL : verdicts_reason(&pipeline->verdicts, reason);
    hold_release(pipeline, pending);
    pipeline->search.suspects -= pending->suspected ? 1 : 0;
    outbox_end(pipeline, pending, kind, kept);
    while (pending->duplicates != NULL) {
        struct pending *duplicate = pending->duplicates;
        pending->duplicates = duplicate->duplicates;
        outbox_end(pipeline, duplicate, kind == VERDICT_DELIVERED ? VERDICT_DUPLICATE : kind, kept);
        pipeline->in_flight--;
        free(duplicate);
    }
    pipeline->in_flight--;
    pending->settling = true;
    pending->delivered = kind == VERDICT_DELIVERED;
    pending_push(&pipeline->settling, pending); /* the queue does not know it yet: here it can be found until then */
}

bool intake_forget(struct lane *lane, struct pending *pending)
{
    struct source_pipeline *pipeline = lane->pipeline;
    struct pending *duplicate = pending->duplicates;
    pending_table_remove(&pipeline->by_identity, pending);
    pipeline->search.suspects -= pending->suspected ? 1 : 0;
    if (duplicate == NULL) {
        hold_release(pipeline, pending);
    } else {
        duplicate->holds = pending->holds;
        pending_table_add(&pipeline->by_identity, duplicate);
        pending_push_first(&lane->waiting, duplicate);
    }
    pipeline->in_flight--;
    free(pending);
    return duplicate != NULL;
}

/* ---- events that are given up: too old, or too large for this machine ---- */

bool source_is_too_old(const struct source_pipeline *pipeline, int64_t received_ms, struct error *why)
{
    int64_t age_ms = clock_unix_ms() - received_ms;
    if (received_ms == 0 || age_ms <= pipeline->config->queue_retention_ms || !queue_is_steady(pipeline->queue))
        return false;
    error_set(why, "it could not be delivered for %lld hours, which is queue_retention: %.400s",
              (long long)(age_ms / 3600000), pipeline->why.text[0] == '\0' ? "no reason is known" : pipeline->why.text);
    return true;
}

bool source_expire(struct source_pipeline *pipeline, struct pending *pending)
{
    struct error why;
    if (!source_is_too_old(pipeline, pending->received_ms, &why))
        return false;
    source_end(pipeline, pending, VERDICT_DEAD, why.text);
    return true;
}

/* Whether memory is short for this event only, and not for all. */
static bool is_there_memory(void)
{
    void *volatile bytes = malloc(ORDINARY_BYTES); /* volatile: else the compiler may do without it */
    bool good = bytes != NULL;
    free(bytes);
    return good;
}

bool source_starved(unsigned char *tries)
{
    if (is_there_memory())
        (*tries)++;
    return *tries >= STARVED_MOST;
}

int64_t source_starved_pause(const struct source_pipeline *pipeline, unsigned tries)
{
    return pipeline->starved_ms << (tries == 0 ? 0 : tries - 1);
}

void source_starved_reason(struct error *why, const char *what)
{
    error_set(why, "it needs more memory than there is: %.300s; it was tried %d times alone, while others had enough",
              what, STARVED_MOST);
}

/* ---- a step ---- */

/* Sends the lane's batch, if it has one that is due. A file's answer comes at once. */
static bool send_lane(struct lane *lane)
{
    struct answer answer;
    switch (lane_send(lane, &answer)) {
    case LANE_IDLE:
        return false;
    case LANE_SENT:
        return true;
    case LANE_ANSWERED:
        break;
    }
    answer_follow(lane, &answer);
    return true;
}

static bool send_due(struct source_pipeline *pipeline)
{
    bool sent = false;
    for (size_t i = 0; i < pipeline->lanes; i++) {
        struct lane *lane = &pipeline->lane[(pipeline->first_lane + i) % pipeline->lanes];
        if (lane_due(lane) > clock_now())
            continue;
        if (lane->built.count == 0)
            lane_fill(lane); /* also while a batch is with the data plane: the next one is ready when it answers */
        sent |= send_lane(lane);
    }
    return sent;
}

/* Whether a lane's next batch is complete and the data plane, in all likelihood, about to answer the last one. */
static bool is_full_for_a_moment(const struct lane *lane, moment now)
{
    return !lane_has_room(lane) && lane->sending.count > 0 && now - lane->sent_at < PATIENCE_MS;
}

/* Reading goes on while a lane could send what it finds. What is read for a lane that is full has to be read again, so
 * the others wait a moment for it: what comes after is for all lanes alike. */
static bool may_take_in(const struct source_pipeline *pipeline)
{
    bool put_off = false, has_room = false;
    moment now = clock_now();
    if (pipeline->intake_due > now || pipeline->in_flight >= READ_AHEAD)
        return false;
    for (size_t i = 0; i < pipeline->lanes; i++) {
        const struct lane *lane = &pipeline->lane[i];
        if (lane_due(lane) > now)
            put_off = true;
        else if (is_full_for_a_moment(lane, now))
            return false;
        else
            has_room |= lane_has_room(lane);
    }
    return has_room || (put_off && pipeline->in_flight < READ_ALWAYS);
}

bool source_step(struct source_pipeline *pipeline, bool sending)
{
    if (pipeline->intake_due <= clock_now())
        pipeline->intake_due = 0;
    notes_look_mended(pipeline);
    hold_try_aside(pipeline);
    hold_try_parked(pipeline);
    if (!outbox_settle_due(pipeline))
        return false; /* nothing is sent while the last settling failed */
    bool more = sending && send_due(pipeline);
    if (sending && may_take_in(pipeline) && intake_read(pipeline))
        more = true;
    if (sending)
        more |= send_due(pipeline);
    notes_write(pipeline);
    return outbox_settle_due(pipeline) && more;
}

/* Whether nothing of an event's lane is with the data plane. */
static bool lane_is_free(const struct source_pipeline *pipeline, const struct pending *pending)
{
    /* A source has a lane at least; saying so spares checkers a doubt. */
    return pipeline->lanes > 0 && pipeline->lane[pending->ordering_key % pipeline->lanes].sending.count == 0;
}

static moment earlier_of(moment a, moment b)
{
    return a < b ? a : b;
}

moment source_due(const struct source_pipeline *pipeline)
{
    moment due = MOMENT_NEVER;
    if (pipeline->verdicts.count > 0)
        due = pipeline->tell_due;
    if (pipeline->tell_failed)
        return due; /* until then nothing is sent */
    for (size_t i = 0; i < pipeline->lanes; i++) {
        const struct lane *lane = &pipeline->lane[i];
        if (lane->sending.count == 0 && lane->built.count + lane->waiting.count > 0)
            due = earlier_of(due, lane_next(lane));
    }
    due = earlier_of(due, hold_aside_due(pipeline));
    for (const struct pending *p = pipeline->parked.first; p != NULL; p = p->next)
        due = earlier_of(due, lane_is_free(pipeline, p) ? p->until : MOMENT_NEVER);
    if (pipeline->intake_due > 0) /* it may have passed since the turn: the next one ends the pause */
        due = earlier_of(due, pipeline->intake_due);
    return due;
}

bool source_rest(struct source_pipeline *pipeline)
{
    size_t bytes = pipeline->events.bodies.capacity + pipeline->verdicts.capacity * sizeof *pipeline->verdicts.at;
    for (size_t i = 0; i < pipeline->lanes; i++)
        bytes += pipeline->lane[i].batch.text.capacity + pipeline->lane[i].compressed.capacity;
    if (pipeline->in_flight > 0 || pipeline->verdicts.count > 0 || bytes < REST_BYTES)
        return false;
    for (size_t i = 0; i < pipeline->lanes; i++) {
        buffer_free(&pipeline->lane[i].batch.text);
        buffer_free(&pipeline->lane[i].compressed);
    }
    events_free(&pipeline->events);
    verdicts_free(&pipeline->verdicts);
    return true;
}

moment source_sends_since(const struct source_pipeline *pipeline)
{
    moment since = MOMENT_NEVER;
    if (pipeline->search.asking)
        since = pipeline->lane[pipeline->lanes].sent_at;
    for (size_t i = 0; i < pipeline->lanes; i++) {
        if (pipeline->lane[i].sending.count > 0)
            since = earlier_of(since, pipeline->lane[i].sent_at);
    }
    return since;
}

bool source_is_sending(const struct source_pipeline *pipeline)
{
    if (pipeline->search.asking)
        return true;
    for (size_t i = 0; i < pipeline->lanes; i++) {
        if (pipeline->lane[i].sending.count > 0)
            return true;
    }
    return false;
}
