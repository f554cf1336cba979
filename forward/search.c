/* Whose fault is a refusal: one event's, or everybody's? Smaller and smaller batches find the event that is refused
 * alone. It is a dead letter only if the data plane accepts others; so it is set aside until another event was accepted
 * that was sent later. Where no other is to be had, an empty batch tells: the data plane answers that it is empty, and
 * what refuses everything refuses it too. But a firewall may let an empty batch pass and refuse every event: so its
 * word counts for one lone event, after something was accepted lately. When event after event is refused and none is
 * accepted, it is the operator's to mend. */
#include "forward/forward_private.h"

#define ALIKE_MOST 3    /* lone events refused alike, and none accepted: somebody has to mend something */
#define VOUCHED_MOST 16 /* dead letters one after another on the word of empty batches only */
#define ASIDE_MOST 64   /* events set aside at once */
#define LATELY_MS ((int64_t)5 * 60 * 1000)

static const char empty_batch[] = "{\"batch\":[]}";

/* ---- asking with an empty batch ---- */

static struct lane *asker_of(struct source_pipeline *pipeline)
{
    return &pipeline->lane[pipeline->lanes];
}

bool search_is_asker(const struct lane *lane)
{
    return lane == &lane->pipeline->lane[lane->pipeline->lanes];
}

static void send_empty_batch(struct source_pipeline *pipeline)
{
    struct lane *asker = asker_of(pipeline);
    struct search *search = &pipeline->search;
    struct error why;
    if (search->asking)
        return;
    search->asking = asker->post != NULL &&
                     gzip_compress(pipeline->gzip, empty_batch, sizeof empty_batch - 1, &asker->compressed) &&
                     post_start(asker->post, asker->compressed.data, asker->compressed.length, &why);
    search->said = SAID_NOTHING;
    if (search->asking) {
        asker->number = ++pipeline->sent;
        asker->sent_at = clock_now();
    }
}

/* What the answer to the empty batch says about the events that were refused with that status. */
static enum search_said meaning_of(const struct answer *answer, int refused_with)
{
    enum outcome outcome = answer_outcome(answer, true);
    if (answer_takes_empty_batch(answer) || outcome == OUTCOME_DELIVERED)
        return SAID_GOOD;
    if (outcome == OUTCOME_OPERATOR || answer->status == refused_with)
        return SAID_BAD;
    return answer->status == 400 ? SAID_GOOD : SAID_NOTHING; /* something took it, and read it */
}

/* ---- events set aside ---- */

/* Each of those set aside is tried once more, alone: refused again, the fault is its own; but the data plane may have
 * been mended in between. */
static void try_aside_again(struct source_pipeline *pipeline)
{
    for (const struct pending *p = pipeline->aside.first; p != NULL; p = p->next) {
        struct lane *lane = source_lane(pipeline, p);
        if (lane->sending.count == 0)
            lane_put_back(lane);
        lane->limit = 1;
    }
    hold_return(pipeline, &pipeline->aside);
}

/* Whether a lane has events that may show what the data plane takes. */
static bool lanes_have_events(const struct source_pipeline *pipeline)
{
    for (size_t i = 0; i < pipeline->lanes; i++) {
        if (pipeline->lane[i].built.count + pipeline->lane[i].waiting.count > 0)
            return true;
    }
    return false;
}

moment hold_aside_due(const struct source_pipeline *pipeline)
{
    const struct pending *first = pipeline->aside.first;
    if (first == NULL || source_is_sending(pipeline) || (pipeline->search.one_only && lanes_have_events(pipeline)))
        return MOMENT_NEVER;
    return first->until > pipeline->blocked_until ? first->until : pipeline->blocked_until;
}

void hold_try_aside(struct source_pipeline *pipeline)
{
    struct pending_list all;
    struct pending *pending;
    moment now = clock_now();
    if (hold_aside_due(pipeline) > now)
        return;
    pending_move(&all, &pipeline->aside);
    while ((pending = pending_pop(&all)) != NULL) {
        if (source_expire(pipeline, pending))
            continue;
        pending->until = now + OPERATOR_MS;
        pending_push(&pipeline->aside, pending);
    }
    pending = pending_pop(&pipeline->aside);
    if (pending == NULL)
        return;
    struct lane *lane = source_lane(pipeline, pending);
    lane_put_back(lane);
    lane->limit = 1;
    pending->until = 0;
    pending_push_first(&lane->waiting, pending);
}

/* ---- a refusal, and what ends the search ---- */

static void begin_search(struct source_pipeline *pipeline)
{
    struct search *search = &pipeline->search;
    if (search->suspects > 0)
        return;
    search->since = pipeline->sent;
    search->said = SAID_NOTHING;
}

void search_accepted(struct source_pipeline *pipeline)
{
    struct search *search = &pipeline->search;
    search->alike = 0;
    search->said = SAID_NOTHING;
    search->one_only = search->said_so = search->lately_spent = false;
    try_aside_again(pipeline);
}

void search_give_up(struct source_pipeline *pipeline, bool all_alike)
{
    struct search *search = &pipeline->search;
    search->one_only = true;
    search->said = SAID_NOTHING;
    search->since = pipeline->sent;
    if (all_alike || pipeline->aside.count >= ASIDE_MOST)
        hold_return(pipeline, &pipeline->aside);
}

/* Whether anything that was sent during the search was accepted. */
static bool others_pass(const struct source_pipeline *pipeline)
{
    return pipeline->accepted > pipeline->search.since;
}

/* Whether something was accepted shortly before the search, and that has not counted yet for an event that was refused
 * alone. */
static bool lately_passed(const struct source_pipeline *pipeline)
{
    return pipeline->accepted > 0 && !pipeline->search.lately_spent && clock_now() - pipeline->accepted_at < LATELY_MS;
}

/* Whether only one event is set aside, and but for what is held behind it there is no other that could show whose fault
 * that is. */
static bool is_lone(const struct source_pipeline *pipeline)
{
    return pipeline->aside.count == 1 && pipeline->parked.count == 0 && !source_is_sending(pipeline) &&
           !lanes_have_events(pipeline);
}

/* Whether it is this event's fault that it was refused alone. */
static bool is_at_fault(struct source_pipeline *pipeline, const struct pending *pending)
{
    struct search *search = &pipeline->search;
    if (pipeline->accepted > pending->accepted)
        return true;
    if (search->vouched <= pending->accepted || search->alike >= VOUCHED_MOST)
        return false;
    if (others_pass(pipeline))
        return true;
    bool lately = pipeline->aside.count == 0 && lately_passed(pipeline);
    search->lately_spent |= lately;
    return lately;
}

/* Says once, loudly, that events are refused and none is accepted, while the search goes on. */
static void report_refused_events(struct lane *lane)
{
    struct search *search = &lane->pipeline->search;
    if (search->said_so)
        return;
    search->said_so = true;
    answer_report_refusal(lane, &search->refusal);
}

/* One more event is set aside: is the search at its end? */
static void judge_search(struct lane *lane)
{
    struct source_pipeline *pipeline = lane->pipeline;
    struct search *search = &pipeline->search;
    bool many = pipeline->aside.count >= ASIDE_MOST;
    if (search->asking || pipeline->blocked_until > clock_now())
        return;
    if (search->said == SAID_GOOD && !many) {
        if (search->alike >= VOUCHED_MOST || (search->alike >= ALIKE_MOST && !others_pass(pipeline)))
            report_refused_events(lane);
    } else if (search->said == SAID_BAD || search->one_only || search->alike >= ALIKE_MOST || many) {
        answer_operator_must_act(lane, &search->refusal, search->said == SAID_BAD);
    }
}

/* Refused alone, and nothing shows yet whose fault that is. */
static void set_event_aside(struct lane *lane, struct pending *pending)
{
    struct source_pipeline *pipeline = lane->pipeline;
    struct search *search = &pipeline->search;
    pending->until = clock_now() + OPERATOR_MS;
    lane_put_back(lane);
    lane->limit = 1;
    hold_by_key(pipeline, pending);
    pending_push(&pipeline->aside, pending);
    int status = search->refusal.status;
    outbox_defer(pipeline, pending, pending->until, status == 400 || status == 413, pipeline->why.text);
    bool again = others_pass(pipeline) && search->alike < VOUCHED_MOST && search->vouched <= pending->accepted;
    if (pipeline->blocked_until <= clock_now() && (search->said == SAID_NOTHING || again))
        send_empty_batch(pipeline);
    judge_search(lane);
}

static void suspect_all(struct lane *lane)
{
    for (struct pending *p = lane->sending.first; p != NULL; p = p->next) {
        if (p->suspected)
            continue;
        p->suspected = true;
        lane->pipeline->search.suspects++;
        p->accepted = lane->pipeline->sent;
    }
}

void search_refused(struct lane *lane, const struct answer *answer)
{
    struct source_pipeline *pipeline = lane->pipeline;
    struct search *search = &pipeline->search;
    begin_search(pipeline);
    suspect_all(lane);
    answer_describe(answer, &pipeline->why);
    if (lane->sending.count > 1) {
        lane->limit = (lane->sending.count + 1) / 2;
        lane_put_back(lane);
        return;
    }
    struct pending *pending = pending_pop(&lane->sending);
    bool too_large = answer->status == 413 && lane->sent_bytes > BATCH_BYTES;
    answer_report_event(pipeline, pending, "event_refused");
    search->alike = answer->status == search->refusal.status ? search->alike + 1 : 1;
    search->refusal = *answer;
    if (too_large || is_at_fault(pipeline, pending))
        source_end(pipeline, pending, VERDICT_DEAD, pipeline->why.text);
    else
        set_event_aside(lane, pending);
}

void search_asked(struct lane *asker, const struct answer *answer)
{
    struct source_pipeline *pipeline = asker->pipeline;
    struct search *search = &pipeline->search;
    search->asking = false;
    if (pipeline->aside.count == 0) /* it is known already */
        return;
    search->said = meaning_of(answer, search->refusal.status);
    if (search->said == SAID_GOOD) {
        search->vouched = asker->number;
        bool lately = is_lone(pipeline) && lately_passed(pipeline);
        if ((others_pass(pipeline) || lately) && search->alike < VOUCHED_MOST)
            try_aside_again(pipeline);
    }
    judge_search(asker);
}
