/* The facts for programs: as JSON (`.../status?format=json`), whose counts have the names of `queue status --json`, and
 * as metrics (`.../metrics`). */
#include "status/status_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/escape.h"
#include "health/findings.h"
#include "webhook/webhook.h"

/* ---- JSON ---- */

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

/* null: the queue could not be asked. A 0 would be taken for a queue that is empty. */
static void json_count(struct buffer *out, const struct source_facts *source, const char *name, uint64_t value)
{
    if (source->uncounted)
        write_null_member(out, name);
    else
        write_number_member(out, name, value);
}

static void json_source(struct buffer *out, const struct facts *facts, const struct source_facts *source)
{
    char words[REPORT_SIZE];
    const struct counts *counts = &source->counts;
    buffer_text(out, "{");
    write_text_member(out, "name", source->name);
    write_text_member(out, "state", severity_word(report_severity(facts, source)));
    write_text_member(out, "words", report_words(facts, source, words));
    json_count(out, source, "accepted", counts->accepted);
    json_count(out, source, "delivered", counts->delivered);
    json_count(out, source, "duplicates", counts->duplicates);
    json_count(out, source, "dropped", counts->dropped);
    json_count(out, source, "waiting", counts->waiting);
    json_count(out, source, "dead", counts->dead);
    json_refused(out, &source->tally);
    json_count(out, source, "oldest_waiting_seconds", (uint64_t)source->oldest_seconds);
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

/* ---- metrics. Counts of events are the queue's own, so they are right whatever processes come and go; refusals,
 * answers and histograms are those that the processes share (telemetry/counters). Where several machines share a queue
 * these are still this machine's alone, and have its name as `instance`: each of them is scraped, and nothing may be
 * counted twice. ---- */

struct form {
    struct buffer *out;
    bool open_metrics; /* else the older text format, whose counters are named with their _total */
    char own[128];     /* a further label of what this machine alone has counted, where several share the queue */
};

enum kind { GAUGE, COUNTER, HISTOGRAM, INFO };

static void begin_family(const struct form *form, const char *name, enum kind kind, const char *help)
{
    static const char *const words[] = {
        [GAUGE] = "gauge", [COUNTER] = "counter", [HISTOGRAM] = "histogram", [INFO] = "gauge"};
    const char *total = kind == COUNTER && !form->open_metrics ? "_total" : "";
    write_format(form->out, "# HELP closecrm_%s%s %s\n# TYPE closecrm_%s%s %s\n", name, total, help, name, total,
                 words[kind]);
}

/* Names of sources and reasons have no character that would need an escape. own: form->own or "". */
static void write_sample(const struct form *form, const char *name, const char *source, const char *own, double value)
{
    write_format(form->out, "closecrm_%s{source=\"%s\"%s} %.14g\n", name, source, own, value);
}

static void write_labelled(const struct form *form, const char *name, const char *source, const char *label,
                           const char *label_value, const char *own, uint64_t value)
{
    write_format(form->out, "closecrm_%s{source=\"%s\",%s=\"%s\"%s} %llu\n", name, source, label, label_value, own,
                 (unsigned long long)value);
}

/* ---- one number for each source ---- */

enum simple {
    ACCEPTED,
    WAITING,
    OLDEST,
    DEAD,
    REFUSES,
    FAILED_TRIES,
    PAUSED,
    LAST_ACCEPTED,
    LAST_DELIVERED,
    LAST_RECONCILED,
    MISSED,
    NUL_REPLACED,
    IDENTIFY_REFUSED,
    COMPLETE_UNTIL,
    SIMPLE,
};

static const struct {
    const char *name; /* of the family */
    const char *sample;
    enum kind kind;
    const char *help;
} simple[SIMPLE] = {
    [ACCEPTED] = {"accepted_events", "accepted_events_total", COUNTER, "Events taken into the queue."},
    [WAITING] = {"waiting_events", "waiting_events", GAUGE, "Events in the queue that have not ended."},
    [OLDEST] = {"oldest_waiting_seconds", "oldest_waiting_seconds", GAUGE, "Age of the oldest event that waits."},
    [DEAD] = {"dead_letters", "dead_letters", GAUGE, "Dead letters that are kept."},
    [REFUSES] = {"data_plane_refuses", "data_plane_refuses", GAUGE,
                 "1 while somebody has to mend key, URL or data plane."},
    [FAILED_TRIES] = {"data_plane_failed_tries", "data_plane_failed_tries", GAUGE,
                      "Tries that failed one after another."},
    [PAUSED] = {"subscription_paused", "subscription_paused", GAUGE, "1 while Close has paused the subscription."},
    [LAST_ACCEPTED] = {"last_accepted_timestamp_seconds", "last_accepted_timestamp_seconds", GAUGE,
                       "When an event was accepted last; 0: never."},
    [LAST_DELIVERED] = {"last_delivered_timestamp_seconds", "last_delivered_timestamp_seconds", GAUGE,
                        "When an event was delivered last; 0: never."},
    [LAST_RECONCILED] = {"last_reconcile_timestamp_seconds", "last_reconcile_timestamp_seconds", GAUGE,
                         "When Close was asked last for what is missing; 0: never."},
    [MISSED] = {"missed_events", "missed_events_total", COUNTER,
                "Events that the webhook did not bring, and reconciling did."},
    [NUL_REPLACED] = {"nul_replaced_events", "nul_replaced_events_total", COUNTER,
                      "Delivered events in whose message U+0000 was replaced."},
    [IDENTIFY_REFUSED] = {"identify_refused_events", "identify_refused_events_total", COUNTER,
                          "Delivered events whose identify or alias the data plane refused."},
    [COMPLETE_UNTIL] = {"complete_until_timestamp_seconds", "complete_until_timestamp_seconds", GAUGE,
                        "All that Close logged before is here; 0: not known."},
};

static void read_simple(const struct facts *facts, const struct source_facts *source, double out[static SIMPLE])
{
    const double values[SIMPLE] = {
        [ACCEPTED] = (double)source->counts.accepted,
        [WAITING] = (double)source->counts.waiting,
        [OLDEST] = (double)source->oldest_seconds,
        [DEAD] = (double)source->counts.dead,
        [REFUSES] = finding_judge(FINDING_DATA_PLANE_REFUSES, facts, source, NULL) == FINDING_FOUND,
        [FAILED_TRIES] = source->notes.tries,
        [PAUSED] = finding_judge(FINDING_SUBSCRIPTION_PAUSED, facts, source, NULL) == FINDING_FOUND,
        [LAST_ACCEPTED] = (double)source->counts.last_accepted_ms / 1000,
        [LAST_DELIVERED] = (double)source->counts.last_delivered_ms / 1000,
        [LAST_RECONCILED] = (double)source->close.last_run_ms / 1000,
        [MISSED] = (double)source->close.missed,
        [NUL_REPLACED] = (double)source->tally.nul_replaced,
        [IDENTIFY_REFUSED] = (double)source->tally.identify_refused,
        [COMPLETE_UNTIL] = (double)source->close.until_ms / 1000,
    };
    memcpy(out, values, sizeof values);
}

static void write_simple(const struct form *form, const struct facts *facts)
{
    for (size_t k = 0; k < SIMPLE; k++) {
        begin_family(form, simple[k].name, simple[k].kind, simple[k].help);
        for (size_t i = 0; i < facts->sources; i++) {
            double values[SIMPLE];
            if (facts->source[i].uncounted)
                continue; /* a counter that is 0 for a while would begin anew */
            read_simple(facts, &facts->source[i], values);
            write_sample(form, simple[k].sample, facts->source[i].name,
                         k == NUL_REPLACED || k == IDENTIFY_REFUSED ? form->own : "", values[k]);
        }
    }
}

/* ---- several numbers for each source ---- */

static void write_settled(const struct form *form, const struct facts *facts)
{
    static const char name[] = "settled_events_total";
    begin_family(form, "settled_events", COUNTER, "Events that have ended, by how; dead ones may be replayed.");
    for (size_t i = 0; i < facts->sources; i++) {
        const struct source_facts *source = &facts->source[i];
        if (source->uncounted)
            continue;
        write_labelled(form, name, source->name, "outcome", "delivered", "", source->counts.delivered);
        write_labelled(form, name, source->name, "outcome", "duplicate", "", source->counts.duplicates);
        write_labelled(form, name, source->name, "outcome", "dropped", "", source->counts.dropped);
        write_labelled(form, name, source->name, "outcome", "dead", form->own, source->tally.outcome[COUNTED_DEAD]);
    }
}

static void metrics_refused_of(const struct form *form, const char *source, const struct tally *tally)
{
    for (unsigned kind = 0; kind < COUNTED_REFUSALS; kind++) {
        const char *word = refusal_word(kind);
        if (word != NULL) /* zeros too: else the first one would not count as an increase */
            write_labelled(form, "refused_requests_total", source, "reason", word, form->own, tally->refused[kind]);
    }
}

static void metrics_refused(const struct form *form, const struct facts *facts)
{
    begin_family(form, "refused_requests", COUNTER,
                 "Requests that were not taken, by reason; source is empty where none was found.");
    metrics_refused_of(form, "", &facts->nowhere);
    for (size_t i = 0; i < facts->sources; i++)
        metrics_refused_of(form, facts->source[i].name, &facts->source[i].tally);
}

static void write_answers(const struct form *form, const struct facts *facts)
{
    const char *word;
    begin_family(form, "data_plane_answers", COUNTER,
                 "Answers of the data plane to batches, by status; none: no answer came.");
    for (size_t i = 0; i < facts->sources; i++) {
        for (size_t k = 0; (word = counters_answer_name(k)) != NULL; k++) {
            if (facts->source[i].tally.answered[k] > 0)
                write_labelled(form, "data_plane_answers_total", facts->source[i].name, "status", word, form->own,
                               facts->source[i].tally.answered[k]);
        }
    }
}

static void write_histogram(const struct form *form, const char *name, const char *source,
                            const struct histogram *histogram, const int64_t bounds[], double unit)
{
    uint64_t count = 0;
    for (size_t i = 0; i < COUNTED_BUCKETS; i++) {
        count += histogram->bucket[i];
        if (i < COUNTED_BUCKETS - 1)
            write_format(form->out, "closecrm_%s_bucket{source=\"%s\",le=\"%.10g\"%s} %llu\n", name, source,
                         (double)bounds[i] / unit, form->own, (unsigned long long)count);
    }
    write_format(form->out, "closecrm_%s_bucket{source=\"%s\",le=\"+Inf\"%s} %llu\n", name, source, form->own,
                 (unsigned long long)count);
    write_format(form->out, "closecrm_%s_sum{source=\"%s\"%s} %.14g\n", name, source, form->own,
                 (double)histogram->sum / unit);
    write_format(form->out, "closecrm_%s_count{source=\"%s\"%s} %llu\n", name, source, form->own,
                 (unsigned long long)count);
}

static void write_histograms(const struct form *form, const struct facts *facts)
{
    begin_family(form, "delivery_delay_seconds", HISTOGRAM, "From an event's date_updated to its delivery.");
    for (size_t i = 0; i < facts->sources; i++)
        write_histogram(form, "delivery_delay_seconds", facts->source[i].name, &facts->source[i].tally.delay,
                        counters_delay_ms, 1000);
    begin_family(form, "event_size_bytes", HISTOGRAM, "Sizes of accepted events.");
    for (size_t i = 0; i < facts->sources; i++)
        write_histogram(form, "event_size_bytes", facts->source[i].name, &facts->source[i].tally.size,
                        counters_size_bytes, 1);
}

/* ---- of the whole ---- */

/* Sources may have queues of their own. */
static void write_source_queues(const struct form *form, const struct facts *facts)
{
    begin_family(form, "source_queue_up", GAUGE, "1 while the queue of the source works.");
    for (size_t i = 0; i < facts->config->sources; i++)
        write_sample(form, "source_queue_up", facts->source[i].name, "",
                     facts->queue_works && facts->source[i].away.text[0] == '\0' ? 1 : 0);
}

static void write_gauge(const struct form *form, const char *name, double value, const char *help)
{
    begin_family(form, name, GAUGE, help);
    write_format(form->out, "closecrm_%s %.14g\n", name, value);
}

void metrics_write(struct buffer *out, const struct facts *facts, bool open_metrics)
{
    struct form form = {.out = out, .open_metrics = open_metrics};
    if (facts->machine[0] != '\0')
        snprintf(form.own, sizeof form.own, ",instance=\"%s\"", facts->machine);
    begin_family(&form, "build_info", INFO, "Which program this is.");
    write_format(out, "closecrm_build_info{version=\"%s\"} 1\n", CLOSECRM_VERSION);
    write_gauge(&form, "queue_up", facts->queue_works ? 1 : 0, "1 while the queue works; of several, any.");
    write_source_queues(&form, facts);
    write_gauge(&form, "forwarder_owned", facts->is_owned ? 1 : 0, "1 while a process forwards.");
    write_gauge(&form, "last_cron_timestamp_seconds", (double)facts->cron_ms / 1000, "When cron ran last; 0: never.");
    if (facts->disk_free != UINT64_MAX)
        write_gauge(&form, "disk_free_bytes", (double)facts->disk_free, "Room left where the queue is.");
    write_simple(&form, facts);
    write_settled(&form, facts);
    metrics_refused(&form, facts);
    write_answers(&form, facts);
    write_histograms(&form, facts);
    buffer_text(out, "# EOF\n");
}
