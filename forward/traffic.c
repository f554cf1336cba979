/* One source's events on their way: turns, ends, and what is told to the queue. See traffic.h. */
#include "forward/traffic.h"

#include <stdlib.h>
#include <string.h>

#include "forward/file_sink.h"
#include "forward/lane.h"
#include "watch/log.h"

#define READ_AHEAD 65536  /* events on their way at most */
#define READ_ALWAYS 16384 /* so many are read even if no lane can send: an append that waits must be told so */
#define TELL_AGAIN_MS 1000
#define SETTLE_MOST 1000 /* verdicts in one transaction: appends wait for it */
#define SETTLE_MS 20     /* verdicts wait so long for others: rows that lie together go together */

static bool init_lane(struct lane *lane, struct traffic *traffic, struct poster *poster, struct why *why)
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
                  struct queue *queue, struct poster *poster, struct gzip *gzip, struct why *why)
{
    *traffic = (struct traffic){
        .config = config,
        .source = source,
        .queue = queue,
        .gzip = gzip,
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
    traffic->lane = calloc(traffic->lanes, sizeof *traffic->lane);
    if (traffic->lane == NULL || !in_hand_init(&traffic->in_hand)) {
        why_set(why, "out of memory");
        return false;
    }
    for (size_t i = 0; i < traffic->lanes; i++) {
        if (!init_lane(&traffic->lane[i], traffic, poster, why))
            return false;
    }
    return true;
}

void traffic_free(struct traffic *traffic)
{
    for (size_t i = 0; traffic->lane != NULL && i < traffic->lanes; i++) {
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

bool traffic_lane_is_free(const struct traffic *traffic, const struct pending *pending)
{
    return traffic->lane[pending->person % traffic->lanes].sending.count == 0;
}

struct lane *traffic_lane(struct traffic *traffic, const struct pending *pending)
{
    return &traffic->lane[pending->person % traffic->lanes];
}

static void count_end(struct traffic *traffic, enum verdict_kind kind)
{
    switch (kind) {
    case VERDICT_DELIVERED:
        traffic->delivered++;
        break;
    case VERDICT_DUPLICATE:
        traffic->duplicates++;
        break;
    case VERDICT_DROPPED:
        traffic->dropped++;
        break;
    case VERDICT_DEAD:
        traffic->dead++;
        break;
    case VERDICT_LATER:
        break;
    }
}

/* Room for the verdict was made when the event was taken in. */
static void add_verdict(struct traffic *traffic, const struct pending *pending, enum verdict_kind kind,
                        const char *reason)
{
    struct verdict verdict = {
        .id = pending->id,
        .kind = kind,
        .identity = pending->identity,
        .remember = kind != VERDICT_DUPLICATE && traffic->file == NULL,
        .reason = reason,
    };
    verdicts_add(&traffic->verdicts, &verdict);
    watched_verdict(&traffic->watched, &verdict, pending->newer);
    count_end(traffic, kind);
}

void traffic_end(struct traffic *traffic, struct pending *pending, enum verdict_kind kind, const char *reason)
{
    const char *kept = reason == NULL ? NULL : verdicts_reason(&traffic->verdicts, reason);
    if (pending->parked_ms > 0)
        traffic_release(traffic, pending->person);
    add_verdict(traffic, pending, kind, kept);
    while (pending->twins != NULL) {
        struct pending *twin = pending->twins;
        pending->twins = twin->twins;
        add_verdict(traffic, twin, kind == VERDICT_DELIVERED ? VERDICT_DUPLICATE : kind, kept);
        traffic->on_their_way--;
        pending_free(twin);
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
    if (twin != NULL) {
        in_hand_add(&traffic->in_hand, twin);
        pending_push_first(&lane->waiting, twin);
    }
    traffic->on_their_way--;
    pending_free(pending);
    return twin != NULL;
}

void traffic_tell_later(struct traffic *traffic, struct pending *pending, moment next, bool refused, const char *reason)
{
    const char *kept = NULL;
    for (struct pending *p = pending; p != NULL; p = p->twins) {
        if (p->told)
            continue;
        if (kept == NULL)
            kept = verdicts_reason(&traffic->verdicts, reason);
        struct verdict verdict = {.id = p->id, .kind = VERDICT_LATER, .refused = refused, .next = next, .reason = kept};
        verdicts_add(&traffic->verdicts, &verdict);
        p->told = true;
    }
}

/* The queue knows of them now. */
static void forget_ended(struct traffic *traffic)
{
    struct pending *pending;
    while ((pending = pending_pop(&traffic->ended)) != NULL) {
        in_hand_remove(&traffic->in_hand, pending);
        pending_free(pending);
    }
}

static void tell_now(struct traffic *traffic)
{
    struct why why;
    traffic->tell_failed = !verdicts_tell(&traffic->verdicts, traffic->queue, traffic->source->name, &why);
    traffic->tell_due = 0;
    if (!traffic->tell_failed) {
        forget_ended(traffic);
        return;
    }
    char words[LOG_QUOTED];
    traffic->tell_due = clock_now() + TELL_AGAIN_MS;
    log_write(LEVEL_ERROR, "msg=cannot_settle source=%s verdicts=%zu reason=%s", traffic->source->name,
              traffic->verdicts.count, log_quote(words, why.text, strlen(why.text)));
}

/* Tells the verdicts when it is time. Returns false while the queue fails to take them. */
static bool tell(struct traffic *traffic)
{
    if (traffic->verdicts.count == 0)
        return true;
    moment now = clock_now();
    if (traffic->tell_failed) {
        if (now >= traffic->tell_due)
            tell_now(traffic);
        return !traffic->tell_failed;
    }
    if (traffic->tell_due == 0)
        traffic->tell_due = now + SETTLE_MS;
    bool wait = queue_settles_in_bulk(traffic->queue) && traffic_is_sending(traffic) &&
                traffic->verdicts.count < SETTLE_MOST && now < traffic->tell_due;
    if (!wait)
        tell_now(traffic);
    return !traffic->tell_failed;
}

/* Those refused alone, about which nothing was learned since, are tried again. */
static void return_aside(struct traffic *traffic)
{
    moment now = clock_now();
    while (traffic->aside.first != NULL && traffic->aside.first->until <= now) {
        struct pending *pending = pending_pop(&traffic->aside);
        pending->until = 0;
        pending_push_first(&traffic_lane(traffic, pending)->waiting, pending);
    }
}

static bool send_due(struct traffic *traffic)
{
    bool sent = false;
    for (size_t i = 0; i < traffic->lanes; i++) {
        struct lane *lane = &traffic->lane[i];
        if (lane->sending.count > 0 || lane_due(lane) > clock_now())
            continue;
        if (lane->built.count == 0)
            lane_fill(lane);
        sent |= lane_send(lane);
    }
    return sent;
}

/* Reading goes on while a lane could send what it finds, and a little beyond. */
static bool may_take_in(const struct traffic *traffic)
{
    if (traffic->intake_due > clock_now() || traffic->on_their_way >= READ_AHEAD)
        return false;
    if (traffic->on_their_way < READ_ALWAYS)
        return true;
    for (size_t i = 0; i < traffic->lanes; i++) {
        if (lane_has_room(&traffic->lane[i]))
            return true;
    }
    return false;
}

bool traffic_turn(struct traffic *traffic, bool sending)
{
    return_aside(traffic);
    traffic_parked_due(traffic);
    if (!tell(traffic))
        return false; /* nothing is sent while the last settling failed */
    bool more = sending && send_due(traffic);
    if (may_take_in(traffic) && traffic_take_in(traffic))
        more = true;
    if (sending)
        more |= send_due(traffic);
    traffic_note(traffic);
    return tell(traffic) && more;
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
            due = earlier(due, lane_due(lane));
    }
    if (traffic->aside.first != NULL)
        due = earlier(due, traffic->aside.first->until);
    for (const struct pending *p = traffic->parked.first; p != NULL; p = p->next)
        due = earlier(due, traffic_lane_is_free(traffic, p) ? p->until : MOMENT_NEVER);
    if (traffic->intake_due > 0)
        due = earlier(due, traffic->intake_due > clock_now() ? traffic->intake_due : MOMENT_NEVER);
    return due;
}

bool traffic_is_idle(const struct traffic *traffic)
{
    return !traffic_is_sending(traffic) && traffic_due(traffic) > clock_now();
}

bool traffic_is_sending(const struct traffic *traffic)
{
    for (size_t i = 0; i < traffic->lanes; i++) {
        if (traffic->lane[i].sending.count > 0)
            return true;
    }
    return false;
}
