/* Whether it works: see health.h. */
#include "health/health.h"

#include "base/escape.h"
#include "health/findings.h"
#include "webhook/refusals.h"

#define MINUTE_MS INT64_C(60000)
#define HANGS_MS 20000 /* a probe that takes so long: no webhook is answered in time either */

/* For how long an event that could not be kept says how it is, unless a probe was written since: where nothing is sent
 * any more because of this answer, no event would ever show that it works again. */
static const struct {
    enum refusal refusal;
    int64_t valid_ms;
    const char *words;
} failures[] = {
    {REFUSED_QUEUE_FULL, 10 * MINUTE_MS, "the queue is full"},
    {REFUSED_QUEUE_BROKEN, MINUTE_MS, "the last event could not be kept: the log says why"},
    {REFUSED_QUEUE_SLOW, MINUTE_MS, "the last event was not kept in time"},
};

/* What became of the last event of any source: NULL when it was kept, or no event was refused for the queue's sake
 * lately. */
static const char *last_failure(const struct facts *facts, const struct probed *probed)
{
    const char *words = NULL;
    int64_t newest_ms = 0, accepted_ms = 0;
    for (size_t i = 0; i < facts->sources; i++) {
        const struct source_facts *one = &facts->source[i];
        if (one->counts.last_accepted_ms > accepted_ms)
            accepted_ms = one->counts.last_accepted_ms;
        for (size_t k = 0; k < sizeof failures / sizeof *failures; k++) {
            int64_t failed_ms = one->tally.refused_last_ms[failures[k].refusal];
            if (failed_ms <= newest_ms || facts->now_ms - failed_ms >= failures[k].valid_ms)
                continue;
            bool is_full = failures[k].refusal == REFUSED_QUEUE_FULL &&
                           finding_judge(FINDING_QUEUE_NEARLY_FULL, facts, NULL, NULL) == FINDING_FOUND;
            if (probed->good && probed->written_ms > failed_ms + HEALTH_EVERY_MS && !is_full)
                continue; /* a probe does not show that queue_max_bytes is used up, but the facts do */
            newest_ms = failed_ms;
            words = failures[k].words;
        }
    }
    return newest_ms > accepted_ms ? words : NULL;
}

static const char *probe_failure(const struct probed *probed)
{
    if (!probed->known)
        return NULL;
    if (!probed->good)
        return "nothing can be written where the queue is: the log says why";
    return clock_now() - probed->looked >= HANGS_MS ? "writing where the queue is takes too long" : NULL;
}

void health_judge(const struct facts *facts, bool stands, const struct probed *probed, struct health *health)
{
    const char *words = NULL;
    *health = (struct health){.written_ms = probed->written_ms};
    if (!stands)
        words = "the queue is not open: the log says why";
    else if (!facts->queue_works)
        words = "the queue does not work: the log says why";
    else if (facts->no_room.text[0] != '\0')
        words = facts->no_room.text;
    if (words == NULL)
        words = probe_failure(probed);
    if (words == NULL)
        words = last_failure(facts, probed);
    health->good = words == NULL;
    error_set(&health->words, "%s", words == NULL ? "events are accepted" : words);
}

void health_write(struct buffer *out, const struct facts *facts, const struct health *health)
{
    int64_t delivered_ms = 0;
    for (size_t i = 0; i < facts->sources; i++) {
        int64_t one = facts->source[i].counts.last_delivered_ms;
        delivered_ms = one > delivered_ms ? one : delivered_ms;
    }
    buffer_text(out, "{");
    write_name(out, "ok");
    buffer_text(out, health->good ? "true" : "false");
    write_text_member(out, "words", health->words.text);
    write_time_member(out, "last_forwarded", delivered_ms);
    write_time_member(out, "written", health->written_ms);
    buffer_text(out, "}\n");
}
