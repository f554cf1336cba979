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

static struct lane *asker_of(struct traffic *traffic)
{
    return &traffic->lane[traffic->lanes];
}

bool traffic_is_asker(const struct lane *lane)
{
    return lane == &lane->traffic->lane[lane->traffic->lanes];
}

static void ask(struct traffic *traffic)
{
    struct lane *asker = asker_of(traffic);
    struct search *search = &traffic->search;
    struct error why;
    if (search->asking)
        return;
    search->asking = asker->post != NULL &&
                     gzip_compress(traffic->gzip, empty_batch, sizeof empty_batch - 1, &asker->compressed) &&
                     post_start(asker->post, asker->compressed.data, asker->compressed.length, &why);
    search->said = SAID_NOTHING;
    if (search->asking) {
        asker->number = ++traffic->sent;
        asker->sent_at = clock_now();
    }
}

/* What the answer to the empty batch says about the events that were refused with that status. */
static enum search_said meaning_of(const struct answer *answer, int refused_with)
{
    enum outcome outcome = outcome_of(answer, true);
    if (outcome_takes_empty_batch(answer) || outcome == OUTCOME_DELIVERED)
        return SAID_GOOD;
    if (outcome == OUTCOME_OPERATOR || answer->status == refused_with)
        return SAID_BAD;
    return answer->status == 400 ? SAID_GOOD : SAID_NOTHING; /* something took it, and read it */
}

/* ---- events set aside ---- */

/* Each of those set aside is tried once more, alone: refused again, the fault is its own; but the data plane may have
 * been mended in between. */
static void try_aside_again(struct traffic *traffic)
{
    for (const struct pending *p = traffic->aside.first; p != NULL; p = p->next) {
        struct lane *lane = traffic_lane(traffic, p);
        if (lane->sending.count == 0)
            lane_put_back(lane);
        lane->limit = 1;
    }
    traffic_return(traffic, &traffic->aside);
}

/* Whether a lane has events that may show what the data plane takes. */
static bool lanes_have_events(const struct traffic *traffic)
{
    for (size_t i = 0; i < traffic->lanes; i++) {
        if (traffic->lane[i].built.count + traffic->lane[i].waiting.count > 0)
            return true;
    }
    return false;
}

moment traffic_aside_due(const struct traffic *traffic)
{
    const struct pending *first = traffic->aside.first;
    if (first == NULL || traffic_is_sending(traffic) || (traffic->search.one_only && lanes_have_events(traffic)))
        return MOMENT_NEVER;
    return first->until > traffic->blocked_until ? first->until : traffic->blocked_until;
}

void traffic_try_aside(struct traffic *traffic)
{
    struct pending_list all;
    struct pending *pending;
    moment now = clock_now();
    if (traffic_aside_due(traffic) > now)
        return;
    pending_move(&all, &traffic->aside);
    while ((pending = pending_pop(&all)) != NULL) {
        if (traffic_expire(traffic, pending))
            continue;
        pending->until = now + OPERATOR_MS;
        pending_push(&traffic->aside, pending);
    }
    pending = pending_pop(&traffic->aside);
    if (pending == NULL)
        return;
    struct lane *lane = traffic_lane(traffic, pending);
    lane_put_back(lane);
    lane->limit = 1;
    pending->until = 0;
    pending_push_first(&lane->waiting, pending);
}

/* ---- a refusal, and what ends the search ---- */

static void begin(struct traffic *traffic)
{
    struct search *search = &traffic->search;
    if (search->suspects > 0)
        return;
    search->since = traffic->sent;
    search->said = SAID_NOTHING;
}

void traffic_search_accepted(struct traffic *traffic)
{
    struct search *search = &traffic->search;
    search->alike = 0;
    search->said = SAID_NOTHING;
    search->one_only = search->said_so = search->lately_spent = false;
    try_aside_again(traffic);
}

void traffic_search_gives_up(struct traffic *traffic, bool all_alike)
{
    struct search *search = &traffic->search;
    search->one_only = true;
    search->said = SAID_NOTHING;
    search->since = traffic->sent;
    if (all_alike || traffic->aside.count >= ASIDE_MOST)
        traffic_return(traffic, &traffic->aside);
}

/* Whether anything that was sent during the search was accepted. */
static bool others_pass(const struct traffic *traffic)
{
    return traffic->accepted > traffic->search.since;
}

/* Whether something was accepted shortly before the search, and that has not counted yet for an event that was refused
 * alone. */
static bool lately_passed(const struct traffic *traffic)
{
    return traffic->accepted > 0 && !traffic->search.lately_spent && clock_now() - traffic->accepted_at < LATELY_MS;
}

/* Whether only one event is set aside, and but for what is held behind it there is no other that could show whose fault
 * that is. */
static bool is_lone(const struct traffic *traffic)
{
    return traffic->aside.count == 1 && traffic->parked.count == 0 && !traffic_is_sending(traffic) &&
           !lanes_have_events(traffic);
}

/* Whether it is this event's fault that it was refused alone. */
static bool is_at_fault(struct traffic *traffic, const struct pending *pending)
{
    struct search *search = &traffic->search;
    if (traffic->accepted > pending->accepted)
        return true;
    if (search->vouched <= pending->accepted || search->alike >= VOUCHED_MOST)
        return false;
    if (others_pass(traffic))
        return true;
    bool lately = traffic->aside.count == 0 && lately_passed(traffic);
    search->lately_spent |= lately;
    return lately;
}

/* Says once, loudly, that events are refused and none is accepted, while the search goes on. */
static void say_so(struct lane *lane)
{
    struct search *search = &lane->traffic->search;
    if (search->said_so)
        return;
    search->said_so = true;
    traffic_report_refusal(lane, &search->refusal);
}

/* One more event is set aside: is the search at its end? */
static void judge(struct lane *lane)
{
    struct traffic *traffic = lane->traffic;
    struct search *search = &traffic->search;
    bool many = traffic->aside.count >= ASIDE_MOST;
    if (search->asking || traffic->blocked_until > clock_now())
        return;
    if (search->said == SAID_GOOD && !many) {
        if (search->alike >= VOUCHED_MOST || (search->alike >= ALIKE_MOST && !others_pass(traffic)))
            say_so(lane);
    } else if (search->said == SAID_BAD || search->one_only || search->alike >= ALIKE_MOST || many) {
        traffic_operator_must_act(lane, &search->refusal, search->said == SAID_BAD);
    }
}

/* Refused alone, and nothing shows yet whose fault that is. */
static void set_aside(struct lane *lane, struct pending *pending)
{
    struct traffic *traffic = lane->traffic;
    struct search *search = &traffic->search;
    pending->until = clock_now() + OPERATOR_MS;
    lane_put_back(lane);
    lane->limit = 1;
    traffic_hold(traffic, pending);
    pending_push(&traffic->aside, pending);
    int status = search->refusal.status;
    traffic_tell_later(traffic, pending, pending->until, status == 400 || status == 413, traffic->why.text);
    bool again = others_pass(traffic) && search->alike < VOUCHED_MOST && search->vouched <= pending->accepted;
    if (traffic->blocked_until <= clock_now() && (search->said == SAID_NOTHING || again))
        ask(traffic);
    judge(lane);
}

static void suspect_all(struct lane *lane)
{
    for (struct pending *p = lane->sending.first; p != NULL; p = p->next) {
        if (p->suspected)
            continue;
        p->suspected = true;
        lane->traffic->search.suspects++;
        p->accepted = lane->traffic->sent;
    }
}

void traffic_refused(struct lane *lane, const struct answer *answer)
{
    struct traffic *traffic = lane->traffic;
    struct search *search = &traffic->search;
    begin(traffic);
    suspect_all(lane);
    outcome_describe(answer, &traffic->why);
    if (lane->sending.count > 1) {
        lane->limit = (lane->sending.count + 1) / 2;
        lane_put_back(lane);
        return;
    }
    struct pending *pending = pending_pop(&lane->sending);
    bool too_large = answer->status == 413 && lane->sent_bytes > BATCH_BYTES;
    traffic_report_event(traffic, pending, "event_refused");
    search->alike = answer->status == search->refusal.status ? search->alike + 1 : 1;
    search->refusal = *answer;
    if (too_large || is_at_fault(traffic, pending))
        traffic_end(traffic, pending, VERDICT_DEAD, traffic->why.text);
    else
        set_aside(lane, pending);
}

void traffic_asked(struct lane *asker, const struct answer *answer)
{
    struct traffic *traffic = asker->traffic;
    struct search *search = &traffic->search;
    search->asking = false;
    if (traffic->aside.count == 0) /* it is known already */
        return;
    search->said = meaning_of(answer, search->refusal.status);
    if (search->said == SAID_GOOD) {
        search->vouched = asker->number;
        bool lately = is_lone(traffic) && lately_passed(traffic);
        if ((others_pass(traffic) || lately) && search->alike < VOUCHED_MOST)
            try_aside_again(traffic);
    }
    judge(asker);
}
