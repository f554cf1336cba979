/* A turn of one source's traffic: tell, read, build, send. See step.h. */
#include "forward/step.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "forward/lane.h"
#include "forward/steps.h"

#define READ_AHEAD 65536  /* events on their way at most */
#define READ_ALWAYS 16384 /* so many are read even if lanes are put off: an append that waits must be told so */
#define PATIENCE_MS 1000  /* with a lane whose batch the data plane has */
#define TELL_AGAIN_MS 1000
#define REST_BYTES ((size_t)2 * 1024 * 1024) /* of buffers: so much is not kept when there is nothing to do */
#define SETTLE_MOST 1000                     /* verdicts in one transaction: appends wait for it */
#define SETTLE_MS 20                         /* verdicts wait so long for others: rows that lie together go together */

/* The queue knows of them now. */
static void forget_ended(struct traffic *traffic)
{
    struct pending *pending;
    while ((pending = pending_pop(&traffic->ended)) != NULL) {
        in_hand_remove(&traffic->in_hand, pending);
        free(pending);
    }
}

static void tell_now(struct traffic *traffic)
{
    struct error why;
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

bool traffic_tell_now(struct traffic *traffic)
{
    if (traffic->verdicts.count > 0)
        tell_now(traffic);
    return !traffic->tell_failed;
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
    if (!tell(traffic))
        return false; /* nothing is sent while the last settling failed */
    bool more = sending && send_due(traffic);
    if (sending && may_take_in(traffic) && traffic_take_in(traffic))
        more = true;
    if (sending)
        more |= send_due(traffic);
    traffic_note(traffic);
    return tell(traffic) && more;
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
