/* The data plane's answers: what each means (the design's table), how long to wait after a failure, and one function
 * for each outcome that does what follows. */
#include "forward/post.h"

#include "base/log.h"
#include "forward/forward_private.h"
#include "transform/shown.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

/* ---- what an answer means ---- */

static const struct {
    int from, to; /* statuses, both included */
    enum outcome outcome;
} table[] = {
    {0, 0, OUTCOME_RETRY}, /* no connection, silence, cut */
    {400, 400, OUTCOME_REFUSED}, {403, 404, OUTCOME_REFUSED}, {408, 408, OUTCOME_RETRY}, {413, 413, OUTCOME_REFUSED},
    {422, 422, OUTCOME_REFUSED}, {429, 429, OUTCOME_RETRY},   {500, 599, OUTCOME_RETRY},
};

static const struct {
    int status;
    const char *advice;
} advices[] = {
    {200, "this is no RudderStack data plane, or a proxy answers for it: check data_plane_url; if it stores events and "
          "answers with an empty body, accept_empty = yes takes that as delivered"},
    {301, "redirects are not followed: write the address it leads to into data_plane_url"},
    {302, "redirects are not followed: write the address it leads to into data_plane_url"},
    {307, "redirects are not followed: write the address it leads to into data_plane_url"},
    {308, "redirects are not followed: write the address it leads to into data_plane_url"},
    {401, "check write_key: it is shown at the source's settings in RudderStack"},
    {403, "a proxy or firewall before the data plane refuses this machine: ask who runs it"},
    {404, "the source is disabled in RudderStack, or data_plane_url has a wrong path"},
};

/* What is left of an answer's body without these characters at both its ends. */
struct trimmed_text {
    const char *text;
    size_t length;
};

static struct trimmed_text trimmed(const struct answer *answer, const char *ends)
{
    struct trimmed_text words = {answer->body, answer->length};
    while (words.length > 0 && strchr(ends, words.text[0]) != NULL && words.text[0] != '\0') {
        words.text++;
        words.length--;
    }
    while (words.length > 0 && strchr(ends, words.text[words.length - 1]) != NULL &&
           words.text[words.length - 1] != '\0')
        words.length--;
    return words;
}

/* The gateway's own `ok`, in any letter case, and as proxies and gateways in front pass it on: with blanks, line ends
 * or quotes around it, or as {"success":true}. A web page that answers 200 is no delivery. */
static bool says_ok(const struct answer *answer, bool accept_empty)
{
    static const char success[] = "{\"success\":true}";
    if (answer->length > ANSWER_BODY)
        return false;
    struct trimmed_text bare = trimmed(answer, " \t\r\n\""), whole = trimmed(answer, " \t\r\n");
    return (bare.length == 2 && strncasecmp(bare.text, "ok", 2) == 0) ||
           (whole.length == sizeof success - 1 && memcmp(whole.text, success, sizeof success - 1) == 0) ||
           (answer->length == 0 && accept_empty);
}

enum outcome answer_outcome(const struct answer *answer, bool accept_empty)
{
    if (answer->status == 200 && says_ok(answer, accept_empty))
        return OUTCOME_DELIVERED;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (answer->status >= table[i].from && answer->status <= table[i].to)
            return table[i].outcome;
    }
    return OUTCOME_OPERATOR;
}

/* Whether the data plane itself failed while it worked on this batch (5xx, cut, silence): one message may be the
 * cause. */
static bool answer_is_failure(const struct answer *answer)
{
    return answer->status >= 500 || (answer->status == 0 && (answer->cut || answer->silent));
}

/* Whether the batch may have been too much at once (silence, cut, 408): less is sent then. */
static bool answer_is_too_much(const struct answer *answer)
{
    return answer->status == 408 || (answer->status == 0 && (answer->cut || answer->silent));
}

bool answer_takes_empty_batch(const struct answer *answer)
{
    static const char expected[] = "empty batch payload"; /* there are releases of rudder-server with a capital E */
    size_t length = sizeof expected - 1;
    bool found = false;
    for (size_t i = 0; !found && answer->length < ANSWER_BODY && i + length <= answer->length; i++)
        found = strncasecmp(answer->body + i, expected, length) == 0;
    return answer->status == 400 && found;
}

void answer_describe(const struct answer *answer, struct error *why)
{
    char words[LOG_QUOTED];
    if (answer->status == 0) {
        error_set(why, "no answer from the data plane: %s", answer->error.text);
        return;
    }
    size_t length = answer->length < ANSWER_BODY ? answer->length : ANSWER_BODY;
    while (length > 0 && (answer->body[length - 1] == '\n' || answer->body[length - 1] == '\r'))
        length--;
    log_quote(words, answer->body, length < 100 ? length : 100);
    error_set(why, "the data plane answered %d %s", answer->status, words);
}

const char *answer_advice(int status)
{
    for (size_t i = 0; i < sizeof advices / sizeof *advices; i++) {
        if (advices[i].status == status)
            return advices[i].advice;
    }
    return NULL;
}

/* ---- back-off ---- */

#define LEAST_MS 50 /* full jitter may say "at once": not quite */

int64_t answer_delay(int64_t first_ms, unsigned tries, int64_t retry_after_ms, uint64_t chance)
{
    if (retry_after_ms > 0)
        return retry_after_ms < BACKOFF_ASKED_MOST_MS ? retry_after_ms : BACKOFF_ASKED_MOST_MS;
    int64_t most = first_ms;
    while (tries-- > 1 && most < BACKOFF_MOST_MS)
        most *= 2;
    if (most > BACKOFF_MOST_MS)
        most = BACKOFF_MOST_MS;
    return LEAST_MS + (int64_t)(chance % (uint64_t)(most - LEAST_MS + 1));
}

/* ---- what follows ---- */

#define FAILURES_MOST 5 /* times that a batch meets 5xx or a cut before one message is suspected */
/* Batches to succeed at half the size before more is tried: too much costs a copy of each event. */
#define GROW_AFTER 8
#define NONE_PAUSES 5        /* first pauses of the back-off: see operator_pause */
#define FAILING_LONG_MS 1000 /* without any success: that it is over is worth a line */

uint64_t answer_expect(struct source_pipeline *pipeline)
{
    return ++pipeline->data_plane.sent;
}

void answer_set_reason(struct source_pipeline *pipeline, const struct answer *answer)
{
    answer_describe(answer, &pipeline->data_plane.why);
}

void answer_set_words(struct source_pipeline *pipeline, const char *words)
{
    error_set(&pipeline->data_plane.why, "%s", words);
}

/* Sets the source's reason, and logs it once for each try. */
static void log_answer(struct lane *lane, const struct answer *answer, enum log_level level, const char *happening,
                       int64_t next_ms)
{
    struct source_pipeline *pipeline = lane->pipeline;
    char words[LOG_QUOTED];
    const char *advice = answer_advice(answer->status);
    answer_set_reason(pipeline, answer);
    log_write(level, "msg=%s source=%s events=%zu tries=%u next_seconds=%.1f reason=%s%s%s%s", happening,
              pipeline->source->name, lane->sending.count, lane->tries, (double)next_ms / 1000,
              log_quote_reason(words, pipeline->data_plane.why.text), advice == NULL ? "" : " advice=\"",
              advice == NULL ? "" : advice, advice == NULL ? "" : "\"");
}

/* Says which event it was: its body is read again for that, for this is rare. */
void answer_report_event(struct source_pipeline *pipeline, const struct pending *pending, const char *happening)
{
    size_t asked;
    struct headline headline;
    char name[HEADLINE_TEXT] = "";
    headline_read(&headline, "", 0);
    if (intake_read_again(pipeline, &pending->id, 1, &asked, NULL) == 1) {
        headline_read(&headline, pipeline->intake.events.at[0].body, pipeline->intake.events.at[0].length);
        headline_event(&headline, name, sizeof name);
    }
    const char *id = headline.id;
    char quoted_id[LOG_QUOTED], quoted_name[LOG_QUOTED], words[LOG_QUOTED];
    log_write(LEVEL_WARN, "msg=%s source=%s id=%s name=%s reason=%s", happening, pipeline->source->name,
              log_quote(quoted_id, id == NULL ? "" : id, id == NULL ? 0 : strlen(id)),
              log_quote(quoted_name, name, strlen(name)), log_quote_reason(words, pipeline->data_plane.why.text));
}

/* A lane is woken once in the first pause at most, for its own batch may be what the data plane fails at; and a pause
 * that the data plane asked for is kept. */
void answer_wake_others(const struct lane *lane)
{
    struct source_pipeline *pipeline = lane->pipeline;
    for (size_t i = 0; i < pipeline->lanes; i++) {
        struct lane *other = &pipeline->lane[i];
        moment due = other->sent_at + pipeline->pauses->backoff_ms;
        if (other == lane || other->sending.count > 0)
            continue;
        if (due < other->asked)
            due = other->asked;
        if (other->due <= due)
            continue;
        other->due = due;
        other->tries = 0;
    }
}

/* Batches may have more again after each success; not if that would take as long as to be given up. */
static void grow_batches(struct lane *lane)
{
    size_t most = (size_t)lane->pipeline->config->batch_events;
    if (lane->grow_after > 0)
        lane->grow_after--;
    else if (lane->limit < most && (clock_now() - lane->sent_at) * 2 < post_limits_usual.silence_ms)
        lane->limit = lane->limit * 2 < most ? lane->limit * 2 : most;
}

static void follow_delivered(struct lane *lane, const struct answer *answer)
{
    struct source_pipeline *pipeline = lane->pipeline;
    (void)answer;
    log_write(LEVEL_DEBUG, "msg=delivered source=%s events=%zu", pipeline->source->name, lane->sending.count);
    struct pending *pending;
    while ((pending = pending_pop(&lane->sending)) != NULL)
        source_end(pipeline, pending, VERDICT_DELIVERED, NULL);
    if (pipeline->data_plane.failing_ms > 0 && clock_unix_ms() - pipeline->data_plane.failing_ms >= FAILING_LONG_MS)
        log_write(LEVEL_INFO, "msg=data_plane_answers_again source=%s", pipeline->source->name);
    if (pipeline->data_plane.failing_ms > 0)
        notes_changed(pipeline);
    pipeline->data_plane.failing_ms = 0;
    lane->tries = 0;
    lane->due = 0;
    grow_batches(lane);
    /* Still in search of one that fails: its next failure need not come five times again. */
    bool searching = lane->failures >= FAILURES_MOST - 1 && lane->limit < (size_t)pipeline->config->batch_events;
    lane->failures = searching ? FAILURES_MOST - 1 : 0;
    if (pipeline->data_plane.accepted < lane->number)
        pipeline->data_plane.accepted = lane->number;
    pipeline->data_plane.accepted_at = clock_now();
    pipeline->data_plane.blocked_until = 0;
    answer_wake_others(lane);
    hold_hurry_parked(pipeline);
    search_accepted(pipeline);
}

static int64_t delay_after(const struct source_pipeline *pipeline, unsigned tries, const struct answer *answer)
{
    uint64_t chance = 0;
    if (getrandom(&chance, sizeof chance, 0) < 0)
        chance = (uint64_t)clock_now();
    return answer_delay(pipeline->pauses->backoff_ms, tries, answer->retry_after_ms, chance);
}

static void begin_failing(struct source_pipeline *pipeline)
{
    notes_changed(pipeline);
    if (pipeline->data_plane.failing_ms == 0)
        pipeline->data_plane.failing_ms = clock_unix_ms();
}

/* The data plane fails at it again, alone. Returns whether that was too long, while it took others. Of one that was
 * parked before a restart one such failure more is enough: under CGI no process lives for many. That it has no time
 * (429), or is not to be reached, says nothing of the event. */
static bool is_poison(struct source_pipeline *pipeline, struct pending *pending, const struct answer *answer)
{
    bool failed = answer_is_failure(answer), others_pass = pipeline->data_plane.accepted > pending->accepted;
    bool proven = failed && others_pass;
    pending->tries++;
    pending->proofs += proven ? 1 : 0;
    pending->unproven = failed && !others_pass;
    pending->accepted = pipeline->data_plane.sent;
    return (pending->proofs >= FAILURES_MOST || (proven && pending->recalled)) &&
           clock_unix_ms() - pending->parked_ms >= pipeline->config->poison_after_ms;
}

/* How long a parked event waits. What the data plane asks for does not hold its lead longer than any other failure
 * would: it takes others meanwhile. */
static int64_t parked_pause(const struct source_pipeline *pipeline, unsigned tries, const struct answer *answer)
{
    int64_t delay = delay_after(pipeline, tries, answer);
    return delay < BACKOFF_MOST_MS ? delay : BACKOFF_MOST_MS;
}

/* A parked event was tried, alone, and failed. The lane goes on without it. Before it is given up it is tried without
 * its message about the person, and that is judged as strictly: an outage must cost neither. */
static void parked_failed_again(struct lane *lane, const struct answer *answer)
{
    struct source_pipeline *pipeline = lane->pipeline;
    struct pending *pending = pending_pop(&lane->sending);
    answer_set_reason(pipeline, answer);
    bool poison = is_poison(pipeline, pending, answer);
    if (poison && pending_toggle_person(pending)) {
        answer_report_event(pipeline, pending, "identify_refused");
        pending->proofs = pending->tries = 0; /* a trial of its own, which begins with short pauses */
    } else if (poison) {
        answer_report_event(pipeline, pending, "event_is_poison");
        source_end(pipeline, pending, VERDICT_DEAD, pipeline->data_plane.why.text);
        return;
    }
    hold_park_again(pipeline, pending, clock_now() + parked_pause(pipeline, pending->tries + 1, answer));
}

/* Whether an event that fails alone may be parked. While others are accepted, they show that it is at fault. When none
 * is, for each lane may have such a one first, an empty batch shows whether the data plane is there. */
static bool may_park(struct source_pipeline *pipeline)
{
    if (hold_may_park(pipeline))
        return true;
    bool there = search_is_there(pipeline) && hold_has_room(pipeline);
    search_ask_if_there(pipeline);
    return there;
}

/* The same batch has met 5xx, or a cut, several times: one message may be the cause. Smaller batches find it; alone, it
 * is parked, so that others can show whether it is the cause. Returns whether the lane may go on soon. */
static bool look_for_poison(struct lane *lane, const struct answer *answer)
{
    if (!answer_is_failure(answer) || ++lane->failures < FAILURES_MOST)
        return false;
    if (lane->sending.count > 1) {
        lane_halve(lane, lane->sending.count);
        return true;
    }
    struct pending *pending = lane->sending.first;
    if (!may_park(lane->pipeline)) {
        lane_try_another(lane);
        return false;
    }
    answer_report_event(lane->pipeline, pending, "event_parked");
    hold_park(lane, pending_pop(&lane->sending), clock_now() + parked_pause(lane->pipeline, 1, answer));
    return true;
}

/* The batch was too much at once, it seems: half of it is tried next. Returns whether it can be halved. */
static bool send_less(struct lane *lane, const struct answer *answer)
{
    if (!answer_is_too_much(answer) || lane->sending.count <= 1)
        return false;
    lane_halve(lane, lane->sending.count);
    lane->grow_after = GROW_AFTER;
    return true;
}

/* What was tried without its messages about the person has failed in a way that tells nothing of them. */
static void forget_track_only(struct lane *lane)
{
    for (struct pending *p = lane->sending.first; p != NULL; p = p->next)
        p->track_only = p->track_only && p->parked_ms > 0;
}

static void follow_retry(struct lane *lane, const struct answer *answer)
{
    if (lane->sending.count == 1 && lane->sending.first->parked_ms > 0) {
        parked_failed_again(lane, answer);
        return;
    }
    forget_track_only(lane);
    lane->tries++;
    begin_failing(lane->pipeline);
    int64_t delay = delay_after(lane->pipeline, lane->tries, answer);
    log_answer(lane, answer, LEVEL_WARN, "not_delivered", delay);
    bool soon = send_less(lane, answer);
    soon |= look_for_poison(lane, answer);
    if (soon && delay > lane->pipeline->pauses->backoff_ms && answer->retry_after_ms == 0)
        delay = lane->pipeline->pauses->backoff_ms;
    if (answer->status == 429 && answer->retry_after_ms > 0)
        lane->asked = clock_now() + delay;
    lane_put_off(lane, clock_now() + delay);
}

/* How long nothing is sent once somebody has to mend something. With queue = none every event is answered 503
 * meanwhile, and Close, which sends it again later and later, is the only one that tries: so only for some seconds. */
static int64_t operator_pause(const struct source_pipeline *pipeline)
{
    return pipeline->config->queue == QUEUE_NONE ? NONE_PAUSES * pipeline->pauses->backoff_ms : OPERATOR_MS;
}

void answer_report_refusal(struct lane *lane, const struct answer *answer)
{
    begin_failing(lane->pipeline);
    lane->pipeline->data_plane.refused_ms = clock_unix_ms() - (clock_now() - lane->sent_at);
    log_answer(lane, answer, LEVEL_ERROR, "data_plane_refuses", operator_pause(lane->pipeline));
    lane->pipeline->data_plane.refused = lane->pipeline->data_plane.why;
}

void answer_operator_must_act(struct lane *lane, const struct answer *answer, bool all_alike)
{
    struct source_pipeline *pipeline = lane->pipeline;
    answer_report_refusal(lane, answer);
    pipeline->data_plane.blocked_until = clock_now() + operator_pause(pipeline);
    source_rotate(pipeline); /* the next try is another lane's */
    lane_put_back(lane);
    for (size_t i = 0; i < pipeline->lanes; i++) {
        if (pipeline->lane[i].sending.count == 0)
            lane_put_back(&pipeline->lane[i]);
    }
    search_give_up(pipeline, all_alike);
    for (size_t i = 0; i < pipeline->lanes; i++) {
        struct lane *each = &pipeline->lane[i];
        if (each->sending.count == 0)
            lane_put_off(each, each->due);
    }
}

static void follow_operator(struct lane *lane, const struct answer *answer)
{
    forget_track_only(lane);
    answer_operator_must_act(lane, answer, true);
}

void answer_follow(struct lane *lane, const struct answer *answer)
{
    static void (*const follow[])(struct lane *, const struct answer *) = {
        [OUTCOME_DELIVERED] = follow_delivered,
        [OUTCOME_RETRY] = follow_retry,
        [OUTCOME_REFUSED] = search_refused,
        [OUTCOME_OPERATOR] = follow_operator,
    };
    if (search_is_asker(lane)) {
        search_asked(lane, answer);
        return;
    }
    samples_answer(lane, answer);
    follow[answer_outcome(answer, lane->pipeline->source->accept_empty == ANSWER_YES)](lane, answer);
}

/* ---- what others found out ---- */

void answer_mended(struct source_pipeline *pipeline)
{
    pipeline->data_plane.refused_ms = clock_unix_ms(); /* this was it: once */
    pipeline->data_plane.blocked_until = 0;
}

/* How long to wait still, however the calendar's clock was set meanwhile. */
static int64_t time_left(int64_t next_ms, int64_t most)
{
    int64_t left = next_ms - clock_unix_ms();
    return left < 0 ? 0 : left > most ? most : left;
}

void answer_recall(struct source_pipeline *pipeline, const struct notes *notes)
{
    struct data_plane *data_plane = &pipeline->data_plane;
    moment due = clock_now() + time_left(notes->next_ms, OPERATOR_MS * 3);
    answer_set_words(pipeline, notes->reason);
    data_plane->refused = data_plane->why;
    data_plane->failing_ms = notes->since_ms;
    data_plane->refused_ms = notes->next_ms - OPERATOR_MS;
    if (notes->operator_must_act && !source_mended_since(pipeline, data_plane->refused_ms))
        data_plane->blocked_until = clock_now() + time_left(notes->next_ms, OPERATOR_MS);
    for (size_t i = 0; i < pipeline->lanes && !notes->operator_must_act && notes->tries > 0; i++) {
        pipeline->lane[i].tries = notes->tries;
        /* Else no process that ends soon, as under CGI, would ever find the one message that is the cause. */
        pipeline->lane[i].failures = notes->tries < FAILURES_MOST ? notes->tries : FAILURES_MOST - 1;
        pipeline->lane[i].due = due;
    }
}
