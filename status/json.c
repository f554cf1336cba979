/* The facts as JSON: what `.../status?format=json` answers. The names of the counts are those of `queue status --json`.
 */
#include <stdlib.h>

#include "base/escape.h"
#include "health/findings.h"
#include "status/status_private.h"
#include "webhook/refusals.h"

static void json_refused(struct buffer *out, const struct tally *tally)
{
    write_name(out, "refused");
    buffer_text(out, "{");
    for (unsigned kind = 0; kind < COUNTED_REFUSALS; kind++) {
        const char *word = refusal_word(kind);
        if (word != NULL && tally->refused[kind] > 0)
            write_number_member(out, word, tally->refused[kind]);
    }
    buffer_text(out, "}");
}

static void json_source(struct buffer *out, const struct facts *facts, const struct source_facts *source)
{
    char words[REPORT_SIZE];
    const struct counts *counts = &source->counts;
    buffer_text(out, "{");
    write_text_member(out, "name", source->name);
    write_text_member(out, "state", severity_word(report_severity(facts, source)));
    write_text_member(out, "words", report_words(facts, source, words));
    write_number_member(out, "accepted", counts->accepted);
    write_number_member(out, "delivered", counts->delivered);
    write_number_member(out, "duplicates", counts->duplicates);
    write_number_member(out, "dropped", counts->dropped);
    write_number_member(out, "waiting", counts->waiting);
    write_number_member(out, "dead", counts->dead);
    json_refused(out, &source->tally);
    write_number_member(out, "oldest_waiting_seconds", (uint64_t)source->oldest_seconds);
    write_time_member(out, "last_accepted", counts->last_accepted_ms);
    write_time_member(out, "last_delivered", counts->last_delivered_ms);
    write_text_member(out, "last_error", source->notes.reason);
    write_time_member(out, "complete_until", source->close.until_ms);
    write_time_member(out, "complete_since", source->close.since_ms);
    write_time_member(out, "last_reconcile", source->close.last_run_ms);
    write_number_member(out, "missed_by_webhook", source->close.missed);
    write_number_member(out, "identify_refused", source->tally.identify_refused);
    write_number_member(out, "nul_replaced", source->tally.nul_replaced);
    write_bool_member(out, "paused", source->close.paused);
    buffer_text(out, "}");
}

static void json_event(struct buffer *out, const struct recent_event *event)
{
    buffer_text(out, "{");
    write_number_member(out, "number", event->number);
    write_text_member(out, "source", event->source);
    write_text_member(out, "name", event->name);
    write_text_member(out, "lead", event->lead);
    write_text_member(out, "id", event->id);
    write_text_member(out, "state", event->state);
    write_text_member(out, "reason", event->reason);
    write_number_member(out, "bytes", event->bytes);
    write_time_member(out, "time", event->ended_ms > 0 ? event->ended_ms : event->received_ms);
    write_time_member(out, "received", event->received_ms);
    write_time_member(out, "updated", event->updated_ms);
    buffer_text(out, "}");
}

static void json_letter(struct buffer *out, const struct letter *letter)
{
    buffer_text(out, "{");
    write_number_member(out, "id", letter->id);
    write_text_member(out, "source", letter->source);
    write_text_member(out, "reason", letter->reason);
    write_time_member(out, "died", letter->died_ms);
    write_number_member(out, "bytes", letter->length);
    write_bool_member(out, "replayed", letter->replayed);
    buffer_text(out, "}");
}

static uint64_t delay_of(const struct tally_minute *minute, double part)
{
    double delay = counters_quantile(minute->delay, part);
    return delay < 0 ? 0 : (uint64_t)delay;
}

static void json_minutes(struct buffer *out, const struct view *view)
{
    struct tally_minute *minutes = calloc(COUNTED_MINUTES, sizeof *minutes);
    static const char *const names[] = {"accepted", "delivered", "delay_p50_ms", "delay_p95_ms", "bytes"};
    if (minutes == NULL) {
        out->failed = true;
        return;
    }
    chart_sum(view->facts, view->source, minutes);
    write_name(out, "last_hour");
    buffer_text(out, "{");
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        write_name(out, names[k]);
        buffer_text(out, "[");
        for (size_t i = COUNTED_MINUTES - 60; i < COUNTED_MINUTES; i++) {
            const uint64_t values[] = {minutes[i].accepted, minutes[i].done, delay_of(&minutes[i], 0.5),
                                       delay_of(&minutes[i], 0.95), minutes[i].bytes};
            write_format(out, "%s%llu", i > COUNTED_MINUTES - 60 ? ", " : "", (unsigned long long)values[k]);
        }
        buffer_text(out, "]");
    }
    buffer_text(out, "}");
    free(minutes);
}

static void json_top(struct buffer *out, const struct facts *facts)
{
    char library[QUEUE_LIBRARY], words[REPORT_SIZE];
    write_text_member(out, "state", severity_word(report_severity(facts, NULL)));
    write_text_member(out, "words", report_words(facts, NULL, words));
    write_time_member(out, "now", facts->now_ms);
    write_text_member(out, "version", CLOSECRM_VERSION);
    queue_library(facts->config, library);
    write_text_member(out, "queue_library", library);
    write_bool_member(out, "forwarding", facts->is_owned);
    write_text_member(out, "forwarder", facts->owner.text);
    write_time_member(out, "last_cron", facts->cron_ms);
    json_refused(out, &facts->nowhere);
}

void json_write(struct buffer *out, const struct view *view)
{
    const struct facts *facts = view->facts;
    buffer_text(out, "{");
    json_top(out, facts);
    write_name(out, "sources");
    buffer_text(out, "[");
    for (size_t i = 0; i < facts->sources; i++) {
        buffer_text(out, i == 0 ? "" : ",\n");
        json_source(out, facts, &facts->source[i]);
    }
    buffer_text(out, "]");
    write_name(out, "events");
    buffer_text(out, "[");
    for (size_t i = 0; i < view->events_count; i++) {
        buffer_text(out, i == 0 ? "" : ",\n");
        json_event(out, &view->events[i]);
    }
    buffer_text(out, "]");
    write_name(out, "dead_letters");
    buffer_text(out, "[");
    for (size_t i = 0; i < view->letters->count; i++) {
        buffer_text(out, i == 0 ? "" : ",\n");
        json_letter(out, &view->letters->at[i]);
    }
    buffer_text(out, "]");
    json_minutes(out, view);
    buffer_text(out, "}\n");
}

static void json_body(struct buffer *out, const char *name, const struct buffer *body)
{
    write_name(out, name);
    write_json_bytes(out, body->data == NULL ? "" : body->data, body->length);
}

void json_write_event(struct buffer *out, const struct view_bodies *bodies)
{
    buffer_text(out, "{");
    write_name(out, "event");
    json_event(out, bodies->event);
    json_body(out, "incoming", &bodies->incoming);
    json_body(out, "message", &bodies->message);
    write_text_member(out, "incoming_note", bodies->incoming_note);
    write_text_member(out, "message_note", bodies->message_note);
    buffer_text(out, "}\n");
}
