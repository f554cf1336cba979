/* The data plane's answers: what each means (the design's table), how long to wait after a failure, and one function
 * for each outcome that does what follows. */
#include "forward/answer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "base/log.h"
#include "forward/forward_private.h"
#include "transform/headline.h"

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
struct words {
    const char *text;
    size_t length;
};

static struct words without(const struct answer *answer, const char *ends)
{
    struct words words = {answer->body, answer->length};
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
    struct words bare = without(answer, " \t\r\n\""), whole = without(answer, " \t\r\n");
    return (bare.length == 2 && strncasecmp(bare.text, "ok", 2) == 0) ||
           (whole.length == sizeof success - 1 && memcmp(whole.text, success, sizeof success - 1) == 0) ||
           (answer->length == 0 && accept_empty);
}

enum outcome outcome_of(const struct answer *answer, bool accept_empty)
{
    if (answer->status == 200 && says_ok(answer, accept_empty))
        return OUTCOME_DELIVERED;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (answer->status >= table[i].from && answer->status <= table[i].to)
            return table[i].outcome;
    }
    return OUTCOME_OPERATOR;
}

bool outcome_is_failure(const struct answer *answer)
{
    return answer->status >= 500 || (answer->status == 0 && (answer->cut || answer->silent));
}

bool outcome_is_too_much(const struct answer *answer)
{
    return answer->status == 408 || (answer->status == 0 && (answer->cut || answer->silent));
}

bool outcome_takes_empty_batch(const struct answer *answer)
{
    static const char expected[] = "empty batch payload"; /* there are releases of rudder-server with a capital E */
    size_t length = sizeof expected - 1;
    bool found = false;
    for (size_t i = 0; !found && answer->length < ANSWER_BODY && i + length <= answer->length; i++)
        found = strncasecmp(answer->body + i, expected, length) == 0;
    return answer->status == 400 && found;
}

void outcome_describe(const struct answer *answer, struct error *why)
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

const char *outcome_advice(int status)
{
    for (size_t i = 0; i < sizeof advices / sizeof *advices; i++) {
        if (advices[i].status == status)
            return advices[i].advice;
    }
    return NULL;
}

/* ---- back-off ---- */

#define LEAST_MS 50 /* full jitter may say "at once": not quite */

int64_t backoff_delay(int64_t first_ms, unsigned tries, int64_t retry_after_ms, uint64_t chance)
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
void traffic_report_event(struct traffic *traffic, const struct pending *pending, const char *happening)
{
    size_t asked;
    struct headline headline;
    char name[HEADLINE_TEXT] = "";
    headline_read(&headline, "", 0);
    if (queue_again(traffic->queue, traffic->source->name, &pending->id, 1, BATCH_BYTES, &traffic->events, &asked,
                    NULL) == 1) {
        headline_read(&headline, traffic->events.at[0].body, traffic->events.at[0].length);
        headline_event(&headline, name, sizeof name);
    }
    const char *id = headline.id;
    char quoted_id[LOG_QUOTED], quoted_name[LOG_QUOTED], words[LOG_QUOTED];
    log_write(LEVEL_WARN, "msg=%s source=%s id=%s name=%s reason=%s", happening, traffic->source->name,
              log_quote(quoted_id, id == NULL ? "" : id, id == NULL ? 0 : strlen(id)),
              log_quote(quoted_name, name, strlen(name)),
              log_quote(words, traffic->why.text, strlen(traffic->why.text)));
}

/* The data plane is there again: the source's other lanes need not sit out their back-off. A lane is woken once in
 * BACKOFF_FIRST_MS at most, for its own batch may be what the data plane fails at; and a pause that the data plane
 * asked for is kept. */
static void wake_others(const struct lane *lane)
{
    struct traffic *traffic = lane->traffic;
    for (size_t i = 0; i < traffic->lanes; i++) {
        struct lane *other = &traffic->lane[i];
        moment due = other->sent_at + BACKOFF_FIRST_MS;
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
static void grow(struct lane *lane)
{
    size_t most = (size_t)lane->traffic->config->batch_events;
    if (lane->grow_after > 0)
        lane->grow_after--;
    else if (lane->limit < most && (clock_now() - lane->sent_at) * 2 < post_limits_usual.silence_ms)
        lane->limit = lane->limit * 2 < most ? lane->limit * 2 : most;
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
    traffic->notes_differ |= traffic->failing_ms > 0;
    traffic->failing_ms = 0;
    lane->tries = 0;
    lane->due = 0;
    grow(lane);
    /* Still in search of one that fails: its next failure need not come five times again. */
    bool searching = lane->failures >= FAILURES_MOST - 1 && lane->limit < (size_t)traffic->config->batch_events;
    lane->failures = searching ? FAILURES_MOST - 1 : 0;
    if (traffic->accepted < lane->number)
        traffic->accepted = lane->number;
    traffic->accepted_at = clock_now();
    traffic->blocked_until = 0;
    wake_others(lane);
    traffic_search_accepted(traffic);
}

static int64_t delay_after(const struct traffic *traffic, unsigned tries, const struct answer *answer)
{
    uint64_t chance = 0;
    if (getrandom(&chance, sizeof chance, 0) < 0)
        chance = (uint64_t)clock_now();
    return backoff_delay(traffic->backoff_ms, tries, answer->retry_after_ms, chance);
}

static void note_failing(struct traffic *traffic)
{
    traffic->notes_differ = true;
    if (traffic->failing_ms == 0)
        traffic->failing_ms = clock_unix_ms();
}

/* The data plane fails at it again, alone. Returns whether that was too long, while it took others. */
static bool is_poison(struct traffic *traffic, struct pending *pending)
{
    pending->tries++;
    if (traffic->accepted > pending->accepted)
        pending->proofs++;
    pending->accepted = traffic->sent;
    return pending->proofs >= FAILURES_MOST && clock_unix_ms() - pending->parked_ms >= traffic->config->poison_after_ms;
}

/* A parked event was tried, alone, and failed. The lane goes on without it. */
static void parked_again(struct lane *lane, const struct answer *answer)
{
    struct traffic *traffic = lane->traffic;
    struct pending *pending = pending_pop(&lane->sending);
    outcome_describe(answer, &traffic->why);
    if (is_poison(traffic, pending)) {
        traffic_report_event(traffic, pending, "event_is_poison");
        traffic_end(traffic, pending, VERDICT_DEAD, traffic->why.text);
        return;
    }
    pending->until = clock_now() + delay_after(traffic, pending->tries + 1, answer);
    pending_push(&traffic->parked, pending);
}

/* Whether another event may be parked: not when the last one's turn showed nothing, for then all fail. */
static bool may_park(const struct traffic *traffic)
{
    return traffic->holding_count == 0 ||
           (traffic->holding_count < NOTES_PARKED && traffic->accepted > traffic->parked_at);
}

/* The same batch has met 5xx, or a cut, several times: one message may be the cause. Smaller batches find it; alone, it
 * is parked, so that others can show whether it is the cause. Returns whether the lane may go on soon. */
static bool look_for_poison(struct lane *lane, const struct answer *answer)
{
    if (!outcome_is_failure(answer) || ++lane->failures < FAILURES_MOST)
        return false;
    if (lane->sending.count > 1) {
        lane->limit = (lane->sending.count + 1) / 2;
        return true;
    }
    struct pending *pending = lane->sending.first;
    if (!may_park(lane->traffic))
        return false;
    traffic_report_event(lane->traffic, pending, "event_parked");
    pending->until = clock_now() + delay_after(lane->traffic, 1, answer);
    traffic_park(lane, pending_pop(&lane->sending));
    return true;
}

/* The batch was too much at once, it seems: half of it is tried next. Returns whether it can be halved. */
static bool send_less(struct lane *lane, const struct answer *answer)
{
    if (!outcome_is_too_much(answer) || lane->sending.count <= 1)
        return false;
    lane->limit = (lane->sending.count + 1) / 2;
    lane->grow_after = GROW_AFTER;
    return true;
}

static void retry(struct lane *lane, const struct answer *answer)
{
    if (lane->sending.count == 1 && lane->sending.first->parked_ms > 0) {
        parked_again(lane, answer);
        return;
    }
    lane->tries++;
    note_failing(lane->traffic);
    int64_t delay = delay_after(lane->traffic, lane->tries, answer);
    report(lane, answer, LEVEL_WARN, "not_delivered", delay);
    bool soon = send_less(lane, answer);
    soon |= look_for_poison(lane, answer);
    if (soon && delay > lane->traffic->backoff_ms && answer->retry_after_ms == 0)
        delay = lane->traffic->backoff_ms;
    if (answer->status == 429 && answer->retry_after_ms > 0)
        lane->asked = clock_now() + delay;
    lane_put_off(lane, clock_now() + delay);
}

void traffic_report_refusal(struct lane *lane, const struct answer *answer)
{
    note_failing(lane->traffic);
    lane->traffic->refused_ms = clock_unix_ms() - (clock_now() - lane->sent_at);
    report(lane, answer, LEVEL_ERROR, "data_plane_refuses", OPERATOR_MS);
    lane->traffic->refused = lane->traffic->why;
}

void traffic_operator_must_act(struct lane *lane, const struct answer *answer, bool all_alike)
{
    struct traffic *traffic = lane->traffic;
    traffic_report_refusal(lane, answer);
    traffic->blocked_until = clock_now() + OPERATOR_MS;
    traffic->first_lane++; /* the next try is another lane's */
    lane_put_back(lane);
    for (size_t i = 0; i < traffic->lanes; i++) {
        if (traffic->lane[i].sending.count == 0)
            lane_put_back(&traffic->lane[i]);
    }
    traffic_search_gives_up(traffic, all_alike);
    for (size_t i = 0; i < traffic->lanes; i++) {
        struct lane *each = &traffic->lane[i];
        if (each->sending.count == 0)
            lane_put_off(each, each->due);
    }
}

static void operators(struct lane *lane, const struct answer *answer)
{
    traffic_operator_must_act(lane, answer, true);
}

void traffic_answered(struct lane *lane, const struct answer *answer)
{
    static void (*const follow[])(struct lane *, const struct answer *) = {
        [OUTCOME_DELIVERED] = delivered,
        [OUTCOME_RETRY] = retry,
        [OUTCOME_REFUSED] = traffic_refused,
        [OUTCOME_OPERATOR] = operators,
    };
    if (traffic_is_asker(lane)) {
        traffic_asked(lane, answer);
        return;
    }
    watched_answer(&lane->traffic->watched, answer->status);
    follow[outcome_of(answer, lane->traffic->source->accept_empty == ANSWER_YES)](lane, answer);
}
