/* How it is, in words: what is wrong, what it means, and what to do; the worst comes first. */
#include <string.h>

#include "health/facts.h"
#include "webhook/refusals.h"

typedef bool judge(const struct facts *facts, const struct source_facts *source, struct error *words);

static bool queue_fails(const struct facts *facts, const struct source_facts *source, struct error *words)
{
    (void)source;
    if (facts->queue_works)
        return false;
    error_set(words, "The queue cannot be used: %.400s.",
              facts->queue_why.text[0] == '\0' ? "it is being opened" : facts->queue_why.text);
    return true;
}

static bool is_locked(const struct facts *facts, const struct source_facts *source, struct error *words)
{
    (void)facts;
    if (source->signature != SIGNED_LOST)
        return false;
    error_set(words, "Nothing is let in, and Close keeps its events meanwhile: %.440s.", source->keys.text);
    return true;
}

static bool data_plane_refuses(const struct facts *facts, const struct source_facts *source, struct error *words)
{
    (void)facts;
    if (!source->notes.operator_must_act)
        return false;
    error_set(words, "The data plane refuses what is sent: %s. Events are kept and wait until you have mended it.",
              source->notes.reason);
    return true;
}

/* The queue `none` keeps no notes. */
static bool last_answer_refuses(const struct facts *facts, const struct source_facts *source, struct error *words)
{
    int status = source->tally.answered_last_status;
    if (facts->is_durable || source->tally.answered_last_ms == 0 || (status != 401 && status != 403 && status != 404))
        return false;
    error_set(words,
              "The data plane refuses what is sent: it answered %d. Close keeps the events and sends them again.",
              status);
    return true;
}

static bool is_paused(const struct facts *facts, const struct source_facts *source, struct error *words)
{
    (void)facts;
    if (!source->close.paused)
        return false;
    error_set(words, "Close has paused the subscription and sends nothing until it is activated again: %.256s.",
              source->close.trouble);
    return true;
}

static bool is_full(const struct facts *facts, const struct source_facts *source, struct error *words)
{
    char room[ROOM_SIZE], span[SPAN_SIZE];
    if (facts->no_room.text[0] != '\0') {
        error_set(words, "Nothing is accepted, and Close keeps its events meanwhile: %.300s.", facts->no_room.text);
        return true;
    }
    if (!facts_queue_is_full(facts, source))
        return false;
    if (facts_queue_is_used_up(facts))
        error_set(words, "The queue is full (%s): nothing is accepted, Close keeps its events meanwhile.",
                  facts_room(facts, room));
    else
        error_set(words, "%s ago an event was refused for want of room, and none was accepted since: Close keeps it.",
                  facts_span(facts->now_ms - source->tally.refused_last_ms[REFUSED_QUEUE_FULL], span));
    return true;
}

static bool data_plane_is_away(const struct facts *facts, const struct source_facts *source, struct error *words)
{
    char span[SPAN_SIZE];
    if (source->notes.tries == 0 || source->counts.waiting == 0)
        return false;
    error_set(words, "The data plane has not taken anything for %s: %s. Events are kept and tried again.",
              facts_span(facts->now_ms - source->notes.since_ms, span), source->notes.reason);
    return true;
}

static bool nobody_forwards(const struct facts *facts, const struct source_facts *source, struct error *words)
{
    if (facts->is_owned || source->counts.waiting == 0 || source->oldest_seconds < 60)
        return false;
    error_set(words, "Events wait, and no process forwards them: %s.", facts->owner.text);
    return true;
}

static bool waits_long(const struct facts *facts, const struct source_facts *source, struct error *words)
{
    char span[SPAN_SIZE];
    if (source->oldest_seconds * 1000 <= facts->config->alert_waiting_ms)
        return false;
    error_set(words, "Events wait, the oldest for %s.", facts_span(source->oldest_seconds * 1000, span));
    return true;
}

static bool no_cron(const struct facts *facts, const struct source_facts *source, struct error *words)
{
    char date[DATE_SIZE];
    (void)source;
    if (!facts_cron_is_overdue(facts))
        return false;
    error_set(words, "No cron since %s: its crontab line is gone or fails.", facts_date(facts->cron_ms, date));
    return true;
}

static bool close_troubles(const struct facts *facts, const struct source_facts *source, struct error *words)
{
    (void)facts;
    if (source->close.trouble[0] == '\0')
        return false;
    error_set(words, "Look at Close: %.256s.", source->close.trouble);
    return true;
}

static bool letters_end(const struct facts *facts, const struct source_facts *source, struct error *words)
{
    char date[DATE_SIZE];
    (void)facts;
    if (source->counts.ending == 0)
        return false;
    error_set(words, "%llu dead letter%s end%s from %s on: replay or export %s.",
              (unsigned long long)source->counts.ending, source->counts.ending == 1 ? "" : "s",
              source->counts.ending == 1 ? "s" : "", facts_date(source->counts.ending_ms, date),
              source->counts.ending == 1 ? "it" : "them");
    return true;
}

static bool has_letters(const struct facts *facts, const struct source_facts *source, struct error *words)
{
    if (!facts->is_durable || source->counts.dead == 0)
        return false;
    error_set(words, "%llu dead letter%s: see the reason%s below.", (unsigned long long)source->counts.dead,
              source->counts.dead == 1 ? "" : "s", source->counts.dead == 1 ? "" : "s");
    return true;
}

static bool is_gone(const struct facts *facts, const struct source_facts *source, struct error *words)
{
    (void)facts;
    if (source->source != NULL)
        return false;
    error_set(words,
              "This source is configured no more, and events of it are in the queue: `closecrm.fcgi queue move "
              "%s NEW`.",
              source->name);
    return true;
}

static bool is_fresh(const struct facts *facts, const struct source_facts *source, struct error *words)
{
    (void)facts;
    if (source->counts.accepted > 0)
        return false;
    error_set(words, "Nothing has come yet.");
    return true;
}

static bool is_healthy(const struct facts *facts, const struct source_facts *source, struct error *words)
{
    char span[SPAN_SIZE];
    if (source->counts.last_delivered_ms > 0)
        error_set(words, "Healthy. Last delivered %s ago.",
                  facts_span(facts->now_ms - source->counts.last_delivered_ms, span));
    else
        error_set(words, "Healthy.");
    return true;
}

static const struct {
    judge *judge;
    enum facts_state state;
} table[] = {
    {queue_fails, STATE_BAD},         {is_full, STATE_BAD},
    {is_locked, STATE_BAD},           {data_plane_refuses, STATE_BAD},
    {last_answer_refuses, STATE_BAD}, {is_paused, STATE_BAD},
    {nobody_forwards, STATE_BAD},     {data_plane_is_away, STATE_WORRY},
    {is_gone, STATE_WORRY},           {waits_long, STATE_WORRY},
    {no_cron, STATE_WORRY},           {close_troubles, STATE_WORRY},
    {letters_end, STATE_WORRY},       {has_letters, STATE_WORRY},
    {is_fresh, STATE_GOOD},           {is_healthy, STATE_GOOD},
};

static void add_complete(struct source_facts *source)
{
    char date[DATE_SIZE];
    size_t used = strlen(source->words.text);
    if (source->close.until_ms == 0)
        return;
    struct error more;
    error_set(&more, " Complete until %s.", facts_date(source->close.until_ms, date));
    if (used + strlen(more.text) < sizeof source->words.text)
        memcpy(source->words.text + used, more.text, strlen(more.text) + 1);
}

static void judge_source(const struct facts *facts, struct source_facts *source)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!table[i].judge(facts, source, &source->words))
            continue;
        source->state = table[i].state;
        break;
    }
    add_complete(source);
}

/* The sentence at the top of the page. */
void facts_judge(struct facts *facts)
{
    static const char *const general[] = {"All is well.", "It works, but look at this:", "Something is wrong:"};
    const struct source_facts *worst = NULL;
    for (size_t i = 0; i < facts->sources; i++) {
        judge_source(facts, &facts->source[i]);
        if (worst == NULL || facts->source[i].state > worst->state)
            worst = &facts->source[i];
    }
    facts->state = worst == NULL ? STATE_GOOD : worst->state;
    if (facts->state == STATE_GOOD)
        error_set(&facts->words, "%s", general[STATE_GOOD]);
    else if (facts->sources == 1)
        error_set(&facts->words, "%s", worst->words.text);
    else
        error_set(&facts->words, "%s %.64s: %.400s", general[facts->state], worst->name, worst->words.text);
    if (facts->disk_free < FACTS_DISK_LEAST && facts->no_room.text[0] == '\0') {
        facts->state = STATE_BAD;
        error_set(&facts->words, "The disk of the queue is nearly full: %llu MiB are free.",
                  (unsigned long long)(facts->disk_free >> 20));
    }
}
