/* What follows from the data plane's answer to a batch: one function for each outcome of the design's table. */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "forward/backoff.h"
#include "forward/lane.h"
#include "forward/traffic.h"
#include "watch/log.h"

#define ASIDE_MOST 4 /* events refused alone, one after another: then it is not the events */

/* Sets the source's reason, and logs it once for each try. */
static void report(struct lane *lane, const struct answer *answer, enum log_level level, const char *happening,
                   int64_t next_ms)
{
    struct traffic *traffic = lane->traffic;
    char words[LOG_QUOTED];
    const char *advice = outcome_advice(answer->status);
    outcome_describe(answer, &traffic->why);
    log_write(level, "msg=%s source=%s events=%zu tries=%u next_seconds=%.1f reason=%s%s%s%s", happening,
              traffic->source->name, lane->sending.count, lane->tries, (double)next_ms / 1000,
              log_quote(words, traffic->why.text, strlen(traffic->why.text)), advice == NULL ? "" : " advice=\"",
              advice == NULL ? "" : advice, advice == NULL ? "" : "\"");
}

/* Says which event it was: its body is read again for that, for this is rare. */
static void report_event(struct traffic *traffic, const struct pending *pending, const char *happening)
{
    size_t asked;
    struct parsed *parsed = NULL;
    if (queue_again(traffic->queue, traffic->source->name, &pending->id, 1, BATCH_BYTES, &traffic->events, &asked,
                    NULL) == 1)
        parsed = transform_parse(traffic->events.at[0].body, traffic->events.at[0].length, NULL, NULL);
    const char *id = parsed == NULL ? NULL : transform_event_id(parsed);
    const char *name = parsed == NULL ? "" : transform_event_name(parsed);
    char quoted_id[LOG_QUOTED], quoted_name[LOG_QUOTED], words[LOG_QUOTED];
    log_write(LEVEL_WARN, "msg=%s source=%s id=%s name=%s reason=%s", happening, traffic->source->name,
              log_quote(quoted_id, id == NULL ? "" : id, id == NULL ? 0 : strlen(id)),
              log_quote(quoted_name, name, strlen(name)),
              log_quote(words, traffic->why.text, strlen(traffic->why.text)));
    parsed_free(parsed);
}

/* Something was accepted after these had been refused: the fault is their own. */
static void condemn_aside(struct traffic *traffic)
{
    struct pending *pending;
    while ((pending = pending_pop(&traffic->aside)) != NULL)
        traffic_end(traffic, pending, VERDICT_DEAD, pending->refusal);
}

static void delivered(struct lane *lane, const struct answer *answer)
{
    struct traffic *traffic = lane->traffic;
    (void)answer;
    log_write(LEVEL_DEBUG, "msg=delivered source=%s events=%zu", traffic->source->name, lane->sending.count);
    struct pending *pending;
    while ((pending = pending_pop(&lane->sending)) != NULL)
        traffic_end(traffic, pending, VERDICT_DELIVERED, NULL);
    if (lane->tries > 0 || traffic->blocked_until > 0)
        log_write(LEVEL_INFO, "msg=data_plane_answers_again source=%s", traffic->source->name);
    lane->tries = 0;
    lane->due = 0;
    lane->limit = lane->limit * 2 < (size_t)traffic->config->batch_events ? lane->limit * 2
                                                                          : (size_t)traffic->config->batch_events;
    traffic->accepted++;
    traffic->blocked_until = 0;
    condemn_aside(traffic);
}

static void retry(struct lane *lane, const struct answer *answer)
{
    uint64_t chance = 0;
    if (getrandom(&chance, sizeof chance, 0) < 0)
        chance = (uint64_t)clock_now();
    lane->tries++;
    int64_t delay = backoff_delay(lane->tries, answer->retry_after_ms, chance);
    report(lane, answer, LEVEL_WARN, "not_delivered", delay);
    lane_put_off(lane, clock_now() + delay);
}

/* Nothing of this source is sent until somebody mends it, but for a try now and then. */
static void operator_must_act(struct lane *lane, const struct answer *answer)
{
    struct traffic *traffic = lane->traffic;
    report(lane, answer, LEVEL_ERROR, "data_plane_refuses", OPERATOR_MS);
    traffic->blocked_until = clock_now() + OPERATOR_MS;
    lane_put_back(lane);
    struct pending *pending;
    while ((pending = pending_pop(&traffic->aside)) != NULL) {
        pending->until = 0;
        pending_push_first(&traffic_lane(traffic, pending)->waiting, pending);
    }
    for (size_t i = 0; i < traffic->lanes; i++) {
        struct lane *each = &traffic->lane[i];
        if (each->sending.count == 0)
            lane_put_off(each, each->due);
    }
}

/* The only one in its batch, refused, and nothing was accepted since: it cannot be told yet whose fault that is. */
static void set_aside(struct lane *lane, struct pending *pending, const struct answer *answer)
{
    struct traffic *traffic = lane->traffic;
    pending->until = clock_now() + OPERATOR_MS;
    free(pending->refusal);
    pending->refusal = strdup(traffic->why.text);
    pending_push(&traffic->aside, pending);
    traffic_tell_later(traffic, pending, pending->until, true, traffic->why.text);
    if (traffic->aside.count >= ASIDE_MOST)
        operator_must_act(lane, answer);
}

/* One event is the cause: smaller batches find it. They grow again with each success. */
static void refused(struct lane *lane, const struct answer *answer)
{
    struct traffic *traffic = lane->traffic;
    for (struct pending *p = lane->sending.first; p != NULL; p = p->next) {
        if (!p->suspected) {
            p->suspected = true;
            p->accepted = traffic->accepted;
        }
    }
    outcome_describe(answer, &traffic->why);
    if (lane->sending.count > 1) {
        lane->limit = (lane->sending.count + 1) / 2;
        lane_put_back(lane);
        return;
    }
    struct pending *pending = pending_pop(&lane->sending);
    bool too_large = answer->status == 413 && lane->sent_bytes > BATCH_BYTES;
    report_event(traffic, pending, "event_refused");
    if (too_large || traffic->accepted > pending->accepted)
        traffic_end(traffic, pending, VERDICT_DEAD, traffic->why.text);
    else
        set_aside(lane, pending, answer);
}

void traffic_answered(struct lane *lane, const struct answer *answer)
{
    static void (*const follow[])(struct lane *, const struct answer *) = {
        [OUTCOME_DELIVERED] = delivered,
        [OUTCOME_RETRY] = retry,
        [OUTCOME_REFUSED] = refused,
        [OUTCOME_OPERATOR] = operator_must_act,
    };
    follow[outcome_of(answer)](lane, answer);
}
