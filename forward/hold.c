/* Events that are held, and the search for those whose fault a refusal is. */
#include "forward/forward_private.h"

/* ---- Whose fault is a refusal: one event's, or everybody's? Smaller and smaller batches find the event that is
 * refused alone. It is a dead letter only if the data plane accepts others; so it is set aside until another event was
 * accepted that was sent later. Where no other is to be had, an empty batch tells: the data plane answers that it is
 * empty, and what refuses everything refuses it too. But a firewall may let an empty batch pass and refuse every event:
 * so its word counts for one lone event, after something was accepted lately. When event after event is refused and
 * none is accepted, it is the operator's to mend. ---- */

#define ALIKE_MOST 3    /* lone events refused alike, and none accepted: somebody has to mend something */
#define VOUCHED_MOST 16 /* dead letters one after another on the word of empty batches only */
#define LATELY_MS ((int64_t)5 * 60 * 1000)
#define THERE_MS 5000 /* so long an empty batch tells that the data plane is there */

static const char empty_batch[] = "{\"batch\":[]}";

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
        asker->number = answer_expect(pipeline);
        asker->sent_at = clock_now();
    }
}

void search_ask_if_there(struct source_pipeline *pipeline)
{
    if (hold_has_room(pipeline))
        send_empty_batch(pipeline);
}

bool search_is_there(const struct source_pipeline *pipeline)
{
    moment there_at = pipeline->search.there_at;
    return there_at > 0 && clock_now() - there_at < THERE_MS;
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

/* ---- a refusal, and what ends the search ---- */

static void begin_search(struct source_pipeline *pipeline)
{
    struct search *search = &pipeline->search;
    if (search->suspects > 0)
        return;
    search->since = pipeline->data_plane.sent;
    search->said = SAID_NOTHING;
}

void search_forget(struct search *search, const struct pending *pending)
{
    search->suspects -= pending->suspected ? 1 : 0;
}

void search_recall(struct search *search, bool operator_must_act)
{
    search->one_only = operator_must_act;
}

void search_accepted(struct source_pipeline *pipeline)
{
    struct search *search = &pipeline->search;
    search->alike = 0;
    search->said = SAID_NOTHING;
    search->one_only = search->said_so = search->lately_spent = false;
    hold_return_aside(pipeline, true);
}

void search_give_up(struct source_pipeline *pipeline, bool all_alike)
{
    struct search *search = &pipeline->search;
    search->one_only = true;
    search->said = SAID_NOTHING;
    search->since = pipeline->data_plane.sent;
    if (all_alike || pipeline->hold.aside.count >= HOLD_ASIDE_MOST)
        hold_return_aside(pipeline, false);
}

/* Whether anything that was sent during the search was accepted. */
static bool others_pass(const struct source_pipeline *pipeline)
{
    return pipeline->data_plane.accepted > pipeline->search.since;
}

/* Whether something was accepted shortly before the search, and that has not counted yet for an event that was refused
 * alone. */
static bool lately_passed(const struct source_pipeline *pipeline)
{
    return pipeline->data_plane.accepted > 0 && !pipeline->search.lately_spent &&
           clock_now() - pipeline->data_plane.accepted_at < LATELY_MS;
}

/* Whether only one event is set aside, and but for what is held behind it there is no other that could show whose fault
 * that is. */
static bool is_lone(const struct source_pipeline *pipeline)
{
    return pipeline->hold.aside.count == 1 && pipeline->hold.parked.count == 0 && !source_is_sending(pipeline) &&
           !source_has_waiting(pipeline);
}

/* Whether it is this event's fault that it was refused alone. */
static bool is_at_fault(struct source_pipeline *pipeline, const struct pending *pending)
{
    struct search *search = &pipeline->search;
    if (pipeline->data_plane.accepted > pending->accepted)
        return true;
    if (search->vouched <= pending->accepted || search->alike >= VOUCHED_MOST)
        return false;
    if (others_pass(pipeline))
        return true;
    bool lately = pipeline->hold.aside.count == 0 && lately_passed(pipeline);
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
    bool many = pipeline->hold.aside.count >= HOLD_ASIDE_MOST;
    if (search->asking || pipeline->data_plane.blocked_until > clock_now())
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
    hold_set_aside(pipeline, pending);
    int status = search->refusal.status;
    outbox_defer(pipeline, pending, pending->until, status == 400 || status == 413, pipeline->data_plane.why.text);
    bool again = others_pass(pipeline) && search->alike < VOUCHED_MOST && search->vouched <= pending->accepted;
    if (pipeline->data_plane.blocked_until <= clock_now() && (search->said == SAID_NOTHING || again))
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
        p->accepted = lane->pipeline->data_plane.sent;
    }
}

/* Refused alone with its message about the person: without that it may pass. It is tried so next, and nothing is
 * judged before; if the track message is refused, too, the next try has both again. Returns whether it is. */
static bool try_track_only(struct lane *lane, const struct answer *answer)
{
    struct pending *pending = lane->sending.first;
    if (lane->sending.count != 1 || !pending_toggle_person(pending))
        return false;
    answer_set_reason(lane->pipeline, answer);
    answer_report_event(lane->pipeline, pending, "identify_refused");
    lane_put_back(lane);
    lane->limit = 1;
    return true;
}

void search_refused(struct lane *lane, const struct answer *answer)
{
    struct source_pipeline *pipeline = lane->pipeline;
    struct search *search = &pipeline->search;
    if (try_track_only(lane, answer))
        return;
    begin_search(pipeline);
    suspect_all(lane);
    answer_set_reason(pipeline, answer);
    if (lane->sending.count > 1) {
        lane_halve(lane, lane->sending.count);
        lane_put_back(lane);
        return;
    }
    struct pending *pending = pending_pop(&lane->sending);
    bool too_large = answer->status == 413 && lane->sent_bytes > BATCH_BYTES;
    answer_report_event(pipeline, pending, "event_refused");
    search->alike = answer->status == search->refusal.status ? search->alike + 1 : 1;
    search->refusal = *answer;
    if (too_large || is_at_fault(pipeline, pending))
        source_end(pipeline, pending, VERDICT_DEAD, pipeline->data_plane.why.text);
    else
        set_event_aside(lane, pending);
}

void search_asked(struct lane *asker, const struct answer *answer)
{
    struct source_pipeline *pipeline = asker->pipeline;
    struct search *search = &pipeline->search;
    search->asking = false;
    enum search_said said = meaning_of(answer, search->refusal.status);
    search->there_at = said == SAID_GOOD ? clock_now() : 0;
    if (said == SAID_GOOD && pipeline->data_plane.failing_ms > 0 && hold_has_room(pipeline))
        answer_wake_others(asker);       /* their next failure is the event's */
    if (pipeline->hold.aside.count == 0) /* it is known already */
        return;
    search->said = said;
    if (search->said == SAID_GOOD) {
        search->vouched = asker->number;
        bool lately = is_lone(pipeline) && lately_passed(pipeline);
        if ((others_pass(pipeline) || lately) && search->alike < VOUCHED_MOST)
            hold_return_aside(pipeline, true);
    }
    judge_search(asker);
}

/* ---- Events that are held: parked ones, at each of which the data plane fails, alone; those set aside, refused alone
 * (see above); and behind them those with the same ordering keys, so that a lead's events keep their order. Others
 * pass. ---- */

void hold_init(struct hold *hold)
{
    pending_list_init(&hold->aside);
    pending_list_init(&hold->parked);
    pending_list_init(&hold->behind);
}

void hold_free(struct hold *hold)
{
    pending_list_free(&hold->aside);
    pending_list_free(&hold->parked);
    pending_list_free(&hold->behind);
}

/* ---- by ordering key ---- */

/* Where the key stands among those that are held; key_count: it is not held. */
static size_t find_held_key(const struct hold *hold, uint64_t ordering_key)
{
    size_t i = 0;
    while (i < hold->key_count && hold->keys[i] != ordering_key)
        i++;
    return i;
}

bool hold_behind(struct source_pipeline *pipeline, struct pending *pending)
{
    struct hold *hold = &pipeline->hold;
    if (find_held_key(hold, pending->ordering_key) == hold->key_count)
        return false;
    pending_push(&hold->behind, pending);
    return true;
}

/* Events with this one's ordering key wait until it has ended: takes those out of its lane. */
static void hold_key(struct source_pipeline *pipeline, struct pending *pending)
{
    struct hold *hold = &pipeline->hold;
    if (pending->holds || hold->key_count == HOLD_KEYS_MOST)
        return;
    pending->holds = true;
    hold->keys[hold->key_count++] = pending->ordering_key;
    pending_move_key(&hold->behind, &source_lane(pipeline, pending)->waiting, pending->ordering_key);
}

void hold_release(struct source_pipeline *pipeline, const struct pending *pending)
{
    struct hold *hold = &pipeline->hold;
    struct pending_list free_now;
    if (!pending->holds)
        return;
    pending_list_init(&free_now);
    size_t at = find_held_key(hold, pending->ordering_key);
    if (at < hold->key_count)
        hold->keys[at] = hold->keys[--hold->key_count];
    notes_changed(pipeline);
    pending_move_key(&free_now, &hold->behind, pending->ordering_key);
    pending_prepend(&source_lane(pipeline, pending)->waiting, &free_now);
}

/* ---- parked ---- */

static void park_since(struct source_pipeline *pipeline, struct pending *pending, int64_t since_ms)
{
    pending->parked_ms = since_ms;
    pending->unproven = true;
    pending->accepted = pipeline->data_plane.sent;
    pipeline->hold.parked_at = pipeline->data_plane.sent;
    notes_changed(pipeline);
    hold_key(pipeline, pending);
    pending_push(&pipeline->hold.parked, pending);
}

void hold_park(struct lane *lane, struct pending *pending, moment until)
{
    pending->until = until;
    lane_put_back(lane);
    park_since(lane->pipeline, pending, clock_unix_ms());
}

void hold_park_again(struct source_pipeline *pipeline, struct pending *pending, moment until)
{
    pending->until = until;
    notes_changed(pipeline);
    pending_push(&pipeline->hold.parked, pending);
}

bool hold_has_room(const struct source_pipeline *pipeline)
{
    return pipeline->hold.key_count < NOTES_PARKED;
}

bool hold_may_park(const struct source_pipeline *pipeline)
{
    const struct hold *hold = &pipeline->hold;
    return hold->key_count == 0 || (hold_has_room(pipeline) && pipeline->data_plane.accepted > hold->parked_at);
}

void hold_hurry_parked(struct source_pipeline *pipeline)
{
    moment until = clock_now();
    for (struct pending *p = pipeline->hold.parked.first; p != NULL; p = p->next) {
        if (!p->unproven)
            continue;
        p->unproven = false;
        until += pipeline->pauses->backoff_ms;
        if (p->until <= until)
            continue;
        p->until = until;
        notes_changed(pipeline);
    }
}

bool hold_was_parked(struct source_pipeline *pipeline, struct pending *pending)
{
    const struct notes *notes = &pipeline->notes.recalled;
    const struct hold *hold = &pipeline->hold;
    if (!hold_has_room(pipeline) || find_held_key(hold, pending->ordering_key) < hold->key_count)
        return false;
    for (uint32_t i = 0; i < notes->parked_count; i++) {
        if (notes->parked[i].id == pending->id) {
            pending->recalled = true;
            park_since(pipeline, pending, notes->parked[i].since_ms);
            return true;
        }
    }
    return false;
}

void hold_try_parked(struct source_pipeline *pipeline)
{
    struct hold *hold = &pipeline->hold;
    if (hold->parked.count == 0)
        return;
    struct pending_list all;
    struct pending *pending;
    moment now = clock_now();
    pending_move(&all, &hold->parked);
    while ((pending = pending_pop(&all)) != NULL) {
        struct lane *lane = source_lane(pipeline, pending);
        if (source_expire(pipeline, pending))
            continue;
        if (lane_parked_due(lane, pending) <= now)
            lane_send_alone(lane, pending);
        else
            pending_push(&hold->parked, pending);
    }
}

moment hold_parked_due(const struct source_pipeline *pipeline)
{
    moment due = MOMENT_NEVER;
    for (const struct pending *p = pipeline->hold.parked.first; p != NULL; p = p->next) {
        moment one = lane_parked_due(source_lane(pipeline, p), p);
        due = one < due ? one : due;
    }
    return due;
}

/* ---- set aside ---- */

void hold_set_aside(struct source_pipeline *pipeline, struct pending *pending)
{
    hold_key(pipeline, pending);
    pending_push(&pipeline->hold.aside, pending);
}

void hold_return_aside(struct source_pipeline *pipeline, bool alone)
{
    struct hold *hold = &pipeline->hold;
    struct pending_list reversed;
    struct pending *pending;
    for (const struct pending *p = hold->aside.first; alone && p != NULL; p = p->next) {
        struct lane *lane = source_lane(pipeline, p);
        if (lane->sending.count == 0)
            lane_put_back(lane);
        lane->limit = 1;
    }
    pending_list_init(&reversed);
    while ((pending = pending_pop(&hold->aside)) != NULL)
        pending_push_first(&reversed, pending);
    while ((pending = pending_pop(&reversed)) != NULL) {
        pending->until = 0;
        pending_push_first(&source_lane(pipeline, pending)->waiting, pending);
    }
}

moment hold_aside_due(const struct source_pipeline *pipeline)
{
    const struct pending *first = pipeline->hold.aside.first;
    moment blocked_until = pipeline->data_plane.blocked_until;
    if (first == NULL || source_is_sending(pipeline) || (pipeline->search.one_only && source_has_waiting(pipeline)))
        return MOMENT_NEVER;
    return first->until > blocked_until ? first->until : blocked_until;
}

void hold_try_aside(struct source_pipeline *pipeline)
{
    struct hold *hold = &pipeline->hold;
    struct pending_list all;
    struct pending *pending;
    moment now = clock_now();
    if (hold_aside_due(pipeline) > now)
        return;
    pending_move(&all, &hold->aside);
    while ((pending = pending_pop(&all)) != NULL) {
        if (source_expire(pipeline, pending))
            continue;
        pending->until = now + OPERATOR_MS;
        pending_push(&hold->aside, pending);
    }
    pending = pending_pop(&hold->aside);
    if (pending == NULL)
        return;
    pending->until = 0;
    lane_send_alone(source_lane(pipeline, pending), pending);
}

/* ---- found by id ---- */

struct pending *hold_find(const struct hold *hold, uint64_t id)
{
    struct pending *found = pending_find(&hold->aside, id);
    if (found == NULL)
        found = pending_find(&hold->parked, id);
    return found != NULL ? found : pending_find(&hold->behind, id);
}

void hold_remove(struct hold *hold, const struct pending *pending)
{
    if (!pending_remove(&hold->aside, pending) && !pending_remove(&hold->parked, pending))
        pending_remove(&hold->behind, pending);
}
