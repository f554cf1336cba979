/* One source's pipeline: its step in the forwarder's loop (settle, read, build, send), and the beginning and end of
 * each event in it. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "forward/file_sink.h"
#include "forward/forward_private.h"

#define READ_AHEAD 65536  /* events on their way at most */
#define READ_ALWAYS 16384 /* so many are read even if lanes are put off: an append that waits must be told so */
#define PATIENCE_MS 1000  /* with a lane whose batch the data plane has */
#define REST_BYTES ((size_t)2 * 1024 * 1024) /* of buffers: so much is not kept when there is nothing to do */
#define STARVED_MOST 5                       /* tries */
#define ORDINARY_BYTES ((size_t)1024 * 1024) /* what an ordinary event may need */

static bool init_lane(struct lane *lane, struct traffic *traffic, struct poster *poster, struct error *why)
{
    lane->traffic = traffic;
    pending_list_init(&lane->waiting);
    pending_list_init(&lane->built);
    pending_list_init(&lane->sending);
    lane->batch.form = traffic->file != NULL ? &batch_for_file : &batch_for_data_plane;
    lane->limit = (size_t)traffic->config->batch_events;
    if (traffic->file != NULL)
        return true;
    lane->post = post_new(poster, traffic->config, traffic->source, lane, why);
    return lane->post != NULL;
}

bool traffic_init(struct traffic *traffic, const struct config *config, const struct source *source,
                  struct queue *queue, struct poster *poster, struct gzip *gzip, struct error *why)
{
    *traffic = (struct traffic){
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
    pending_list_init(&traffic->aside);
    pending_list_init(&traffic->parked);
    pending_list_init(&traffic->held);
    pending_list_init(&traffic->ended);
    traffic->lanes = (size_t)config->lanes;
    traffic->lane = calloc(traffic->lanes + 1, sizeof *traffic->lane);
    if (traffic->lane == NULL || !in_hand_init(&traffic->in_hand)) {
        error_set(why, "out of memory");
        return false;
    }
    for (size_t i = 0; i <= traffic->lanes; i++) {
        if (!init_lane(&traffic->lane[i], traffic, poster, why))
            return false;
    }
    return true;
}

void traffic_free(struct traffic *traffic)
{
    for (size_t i = 0; traffic->lane != NULL && i <= traffic->lanes; i++) {
        struct lane *lane = &traffic->lane[i];
        if (lane->traffic == NULL)
            break;
        post_free(lane->post);
        pending_list_free(&lane->waiting);
        pending_list_free(&lane->built);
        pending_list_free(&lane->sending);
        buffer_free(&lane->batch.text);
        buffer_free(&lane->compressed);
    }
    free(traffic->lane);
    pending_list_free(&traffic->aside);
    pending_list_free(&traffic->parked);
    pending_list_free(&traffic->held);
    pending_list_free(&traffic->ended);
    in_hand_free(&traffic->in_hand);
    events_free(&traffic->events);
    verdicts_free(&traffic->verdicts);
    watched_free(&traffic->watched);
}

struct lane *traffic_lane(struct traffic *traffic, const struct pending *pending)
{
    return &traffic->lane[pending->person % traffic->lanes];
}

void traffic_end(struct traffic *traffic, struct pending *pending, enum verdict_kind kind, const char *reason)
{
    const char *kept = reason == NULL ? NULL : verdicts_reason(&traffic->verdicts, reason);
    traffic_release(traffic, pending);
    traffic->search.suspects -= pending->suspected ? 1 : 0;
    outbox_end(traffic, pending, kind, kept);
    while (pending->twins != NULL) {
        struct pending *twin = pending->twins;
        pending->twins = twin->twins;
        outbox_end(traffic, twin, kind == VERDICT_DELIVERED ? VERDICT_DUPLICATE : kind, kept);
        traffic->on_their_way--;
        free(twin);
    }
    traffic->on_their_way--;
    pending->ended = true;
    pending->delivered = kind == VERDICT_DELIVERED;
    pending_push(&traffic->ended, pending); /* the queue does not know it yet: here it can be found until then */
}

bool traffic_forget(struct lane *lane, struct pending *pending)
{
    struct traffic *traffic = lane->traffic;
    struct pending *twin = pending->twins;
    in_hand_remove(&traffic->in_hand, pending);
    traffic->search.suspects -= pending->suspected ? 1 : 0;
    if (twin == NULL) {
        traffic_release(traffic, pending);
    } else {
        twin->holds = pending->holds;
        in_hand_add(&traffic->in_hand, twin);
        pending_push_first(&lane->waiting, twin);
    }
    traffic->on_their_way--;
    free(pending);
    return twin != NULL;
}

/* ---- events that are given up: too old, or too large for this machine ---- */

bool traffic_is_too_old(const struct traffic *traffic, int64_t received_ms, struct error *why)
{
    int64_t age_ms = clock_unix_ms() - received_ms;
    if (received_ms == 0 || age_ms <= traffic->config->queue_retention_ms || !queue_is_steady(traffic->queue))
        return false;
    error_set(why, "it could not be delivered for %lld hours, which is queue_retention: %.400s",
              (long long)(age_ms / 3600000), traffic->why.text[0] == '\0' ? "no reason is known" : traffic->why.text);
    return true;
}

bool traffic_expire(struct traffic *traffic, struct pending *pending)
{
    struct error why;
    if (!traffic_is_too_old(traffic, pending->received_ms, &why))
        return false;
    traffic_end(traffic, pending, VERDICT_DEAD, why.text);
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

bool traffic_starved(unsigned char *tries)
{
    if (is_there_memory())
        (*tries)++;
    return *tries >= STARVED_MOST;
}

int64_t traffic_starved_pause(const struct traffic *traffic, unsigned tries)
{
    return traffic->starved_ms << (tries == 0 ? 0 : tries - 1);
}

void traffic_starved_reason(struct error *why, const char *what)
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
    traffic_answered(lane, &answer);
    return true;
}

static bool send_due(struct traffic *traffic)
{
    bool sent = false;
    for (size_t i = 0; i < traffic->lanes; i++) {
        struct lane *lane = &traffic->lane[(traffic->first_lane + i) % traffic->lanes];
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
static bool may_take_in(const struct traffic *traffic)
{
    bool put_off = false, has_room = false;
    moment now = clock_now();
    if (traffic->intake_due > now || traffic->on_their_way >= READ_AHEAD)
        return false;
    for (size_t i = 0; i < traffic->lanes; i++) {
        const struct lane *lane = &traffic->lane[i];
        if (lane_due(lane) > now)
            put_off = true;
        else if (is_full_for_a_moment(lane, now))
            return false;
        else
            has_room |= lane_has_room(lane);
    }
    return has_room || (put_off && traffic->on_their_way < READ_ALWAYS);
}

bool traffic_turn(struct traffic *traffic, bool sending)
{
    if (traffic->intake_due <= clock_now())
        traffic->intake_due = 0;
    traffic_look_mended(traffic);
    traffic_try_aside(traffic);
    traffic_parked_due(traffic);
    if (!outbox_settle_due(traffic))
        return false; /* nothing is sent while the last settling failed */
    bool more = sending && send_due(traffic);
    if (sending && may_take_in(traffic) && traffic_take_in(traffic))
        more = true;
    if (sending)
        more |= send_due(traffic);
    traffic_note(traffic);
    return outbox_settle_due(traffic) && more;
}

/* Whether nothing of an event's lane is with the data plane. */
static bool lane_is_free(const struct traffic *traffic, const struct pending *pending)
{
    /* A source has a lane at least; saying so spares checkers a doubt. */
    return traffic->lanes > 0 && traffic->lane[pending->person % traffic->lanes].sending.count == 0;
}

static moment earlier(moment a, moment b)
{
    return a < b ? a : b;
}

moment traffic_due(const struct traffic *traffic)
{
    moment due = MOMENT_NEVER;
    if (traffic->verdicts.count > 0)
        due = traffic->tell_due;
    if (traffic->tell_failed)
        return due; /* until then nothing is sent */
    for (size_t i = 0; i < traffic->lanes; i++) {
        const struct lane *lane = &traffic->lane[i];
        if (lane->sending.count == 0 && lane->built.count + lane->waiting.count > 0)
            due = earlier(due, lane_next(lane));
    }
    due = earlier(due, traffic_aside_due(traffic));
    for (const struct pending *p = traffic->parked.first; p != NULL; p = p->next)
        due = earlier(due, lane_is_free(traffic, p) ? p->until : MOMENT_NEVER);
    if (traffic->intake_due > 0) /* it may have passed since the turn: the next one ends the pause */
        due = earlier(due, traffic->intake_due);
    return due;
}

bool traffic_rest(struct traffic *traffic)
{
    size_t bytes = traffic->events.bodies.capacity + traffic->verdicts.capacity * sizeof *traffic->verdicts.at;
    for (size_t i = 0; i < traffic->lanes; i++)
        bytes += traffic->lane[i].batch.text.capacity + traffic->lane[i].compressed.capacity;
    if (traffic->on_their_way > 0 || traffic->verdicts.count > 0 || bytes < REST_BYTES)
        return false;
    for (size_t i = 0; i < traffic->lanes; i++) {
        buffer_free(&traffic->lane[i].batch.text);
        buffer_free(&traffic->lane[i].compressed);
    }
    events_free(&traffic->events);
    verdicts_free(&traffic->verdicts);
    return true;
}

moment traffic_sends_since(const struct traffic *traffic)
{
    moment since = MOMENT_NEVER;
    if (traffic->search.asking)
        since = traffic->lane[traffic->lanes].sent_at;
    for (size_t i = 0; i < traffic->lanes; i++) {
        if (traffic->lane[i].sending.count > 0)
            since = earlier(since, traffic->lane[i].sent_at);
    }
    return since;
}

bool traffic_is_sending(const struct traffic *traffic)
{
    if (traffic->search.asking)
        return true;
    for (size_t i = 0; i < traffic->lanes; i++) {
        if (traffic->lane[i].sending.count > 0)
            return true;
    }
    return false;
}
