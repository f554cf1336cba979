/* queue status: how many events were accepted, what became of them, what waits and why. */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "base/escape.h"
#include "base/text.h"
#include "base/times.h"
#include "commands/commands.h"
#include "commands/options.h"
#include "commands/output.h"
#include "commands/session.h"
#include "health/report.h"

/* ---- for people ---- */

static void print_moment(const char *label, int64_t ms, int64_t now_ms)
{
    char date[WHEN_SIZE], age[WHEN_SIZE];
    if (ms == 0)
        printf("%s never\n", label);
    else
        printf("%s %s (%s ago)\n", label, times_print_utc(ms, date), times_print_age(now_ms - ms, age));
}

static void print_counts(const struct counts *counts, int64_t now_ms)
{
    char age[WHEN_SIZE], date[WHEN_SIZE];
    const struct {
        const char *name;
        uint64_t number;
    } numbers[] = {{"accepted", counts->accepted},
                   {"delivered", counts->delivered},
                   {"duplicates", counts->duplicates},
                   {"dropped", counts->dropped},
                   {"dead letters", counts->dead}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        printf("  %-15s %llu\n", numbers[i].name, (unsigned long long)numbers[i].number);
    if (counts->ended > 0)
        printf("  %-15s %llu dead letter%s, after dead_retention\n", "ended", (unsigned long long)counts->ended,
               text_plural(counts->ended));
    if (counts->discarded > 0)
        printf("  %-15s %llu dead letter%s: dropped, forgotten, or a newer version was delivered\n", "discarded",
               (unsigned long long)counts->discarded, text_plural(counts->discarded));
    if (counts->lost > 0)
        printf("  %-15s %llu event%s, in a damaged database\n", "lost", (unsigned long long)counts->lost,
               text_plural(counts->lost));
    if (counts->ending > 0)
        printf("  %-15s %llu dead letter%s end%s from %s on\n", "end soon", (unsigned long long)counts->ending,
               text_plural(counts->ending), text_singular(counts->ending), times_print_utc(counts->ending_ms, date));
    printf("  %-15s %llu", "waiting", (unsigned long long)counts->waiting);
    if (counts->oldest_received_ms != 0)
        printf(", the oldest since %s", times_print_age(now_ms - counts->oldest_received_ms, age));
    putchar('\n');
    print_moment("  last accepted  ", counts->last_accepted_ms, now_ms);
    print_moment("  last delivered ", counts->last_delivered_ms, now_ms);
}

static void print_notes(const struct notes *notes, int64_t now_ms)
{
    char date[WHEN_SIZE], age[WHEN_SIZE];
    if (notes->reason[0] == '\0')
        return;
    fputs("  last error      ", stdout);
    plain_column(stdout, notes->reason, 0);
    putchar('\n');
    if (notes->tries > 0 && notes->since_ms > 0)
        printf("  failed          %u time%s, since %s\n", (unsigned)notes->tries, text_plural(notes->tries),
               times_print_utc(notes->since_ms, date));
    if (notes->next_ms > now_ms)
        printf("  next attempt    %s (in %s)\n", times_print_utc(notes->next_ms, date),
               times_print_age(notes->next_ms - now_ms, age));
    if (notes->parked_count > 0)
        printf("  held back       %u event%s that failed, and what follows of their leads: tried again by themselves\n",
               (unsigned)notes->parked_count, text_plural(notes->parked_count));
}

static void print_complete(const struct completeness *complete)
{
    char words[COMPLETENESS_WORDS];
    printf("  %s\n", completeness_words(complete, words));
    if (complete->missed > 0)
        printf("  missed by the webhook and fetched from Close: %llu (%llu too large, %llu while paused)\n",
               (unsigned long long)complete->missed, (unsigned long long)complete->missed_large,
               (unsigned long long)complete->missed_paused);
    if (complete->trouble[0] == '\0')
        return;
    fputs("  Close           ", stdout);
    plain_column(stdout, complete->trouble, 0);
    putchar('\n');
}

/* What the counts do not say. */
static void print_findings(const struct facts *facts, const struct source_facts *source)
{
    char line[REPORT_SIZE];
    for (const struct finding *one = NULL; (one = report_next(facts, one, VIEW_QUEUE_STATUS)) != NULL;) {
        if (one->source != source)
            continue;
        fputs("  look at this    ", stdout);
        report_line(one, line);
        plain_write(stdout, line, strlen(line));
        putchar('\n');
    }
}

static bool reconciles(const struct source_facts *source)
{
    return source->source != NULL && source->source->close_api_key != NULL;
}

/* Whether it is worth a line: it is configured, or something of it was ever there. */
static bool matters(const struct source_facts *source)
{
    return source->source != NULL || source->counts.accepted > 0 || source->counts.waiting > 0 ||
           source->counts.dead > 0;
}

/* The one source that is meant (NULL: all). */
static bool is_meant(const struct source_facts *source, const char *only)
{
    return only == NULL || strcmp(source->name, only) == 0;
}

static void print_all(const struct facts *facts, const char *only)
{
    size_t shown = 0;
    for (const struct source_facts *source = facts->source; source < facts->source + facts->sources; source++) {
        if (only == NULL ? !matters(source) : !is_meant(source, only))
            continue;
        shown++;
        printf("source %s%s\n", source->name, source->source != NULL ? "" : " (not in the configuration)");
        print_counts(&source->counts, facts->now_ms);
        if (source->tally.nul_replaced > 0)
            printf("  %-15s %llu delivered events, for a warehouse: see `nul`\n", "U+0000 replaced",
                   (unsigned long long)source->tally.nul_replaced);
        if (source->tally.identify_refused > 0)
            printf("  %-15s %llu delivered events: see msg=identify_refused in the log\n", "identify refused",
                   (unsigned long long)source->tally.identify_refused);
        print_notes(&source->notes, facts->now_ms);
        if (reconciles(source))
            print_complete(&source->close);
        print_findings(facts, source);
        putchar('\n');
    }
    if (shown > 1) {
        puts("in all");
        print_counts(&facts->all, facts->now_ms);
        putchar('\n');
    }
    printf("forwarding: %s\n", facts->owner.text);
    print_moment("last cron:", facts->cron_ms, facts->now_ms);
}

/* ---- for other programs: the names are a promise ---- */

/* Adds a member and takes its value over. One that could not be made is NULL, as JSON's null is: *good tells. */
static void add_member(struct json_object *object, const char *name, struct json_object *value, bool *good)
{
    if (object != NULL && json_object_object_add(object, name, value) == 0)
        return;
    json_object_put(value);
    *good = false;
}

static void add_number(struct json_object *object, const char *name, int64_t number, bool *good)
{
    struct json_object *value = json_object_new_int64(number);
    *good = *good && value != NULL;
    add_member(object, name, value, good);
}

static void add_bool(struct json_object *object, const char *name, bool truth, bool *good)
{
    struct json_object *value = json_object_new_boolean(truth);
    *good = *good && value != NULL;
    add_member(object, name, value, good);
}

/* NULL stands for null. */
static void add_text(struct json_object *object, const char *name, const char *text, bool *good)
{
    struct json_object *value = text == NULL ? NULL : output_utf8(text);
    *good = *good && (text == NULL || value != NULL);
    add_member(object, name, value, good);
}

/* 0 stands for never. */
static void add_date(struct json_object *object, const char *name, int64_t ms, bool *good)
{
    char date[WHEN_SIZE];
    add_text(object, name, ms == 0 ? NULL : times_print_utc(ms, date), good);
}

static void add_counts(struct json_object *object, const struct counts *counts, int64_t now_ms, bool *good)
{
    const struct {
        const char *name;
        uint64_t number;
    } numbers[] = {
        {"accepted", counts->accepted}, {"delivered", counts->delivered}, {"duplicates", counts->duplicates},
        {"dropped", counts->dropped},   {"waiting", counts->waiting},     {"dead", counts->dead},
        {"ended", counts->ended},       {"ending", counts->ending},       {"discarded", counts->discarded},
        {"lost", counts->lost},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        add_number(object, numbers[i].name, (int64_t)numbers[i].number, good);
    struct json_object *refused = json_object_new_object();
    *good = *good && refused != NULL;
    add_member(object, "refused", refused, good);
    int64_t age = counts->oldest_received_ms == 0 ? 0 : (now_ms - counts->oldest_received_ms) / 1000;
    add_number(object, "oldest_waiting_seconds", age < 0 ? 0 : age, good);
    add_date(object, "ending_from", counts->ending_ms, good);
    add_date(object, "last_accepted", counts->last_accepted_ms, good);
    add_date(object, "last_delivered", counts->last_delivered_ms, good);
}

/* notes NULL: nothing failed. */
static void add_failure(struct json_object *object, const struct notes *notes, int64_t now_ms, bool *good)
{
    add_text(object, "last_error", notes == NULL || notes->reason[0] == '\0' ? NULL : notes->reason, good);
    add_date(object, "next_attempt", notes == NULL || notes->next_ms <= now_ms ? 0 : notes->next_ms, good);
    add_number(object, "failed_attempts", notes == NULL ? 0 : notes->tries, good);
}

/* By Close's clock: until when all that Close's Event Log has is accepted; null where that is not known. */
static void add_complete(struct json_object *object, const struct source_facts *source, bool *good)
{
    const struct completeness *complete = &source->close;
    bool known = reconciles(source) && complete->until_ms > complete->since_ms;
    add_date(object, "complete_since", known ? complete->since_ms : 0, good);
    add_date(object, "complete_until", known ? complete->until_ms : 0, good);
    if (!reconciles(source))
        return;
    add_date(object, "verified_until", complete->verified_ms > complete->since_ms ? complete->verified_ms : 0, good);
    add_text(object, "complete_for", complete->types, good);
    add_number(object, "missed_by_webhook", (int64_t)complete->missed, good);
    add_number(object, "missed_too_large", (int64_t)complete->missed_large, good);
    add_number(object, "missed_while_paused", (int64_t)complete->missed_paused, good);
    add_number(object, "hidden", (int64_t)complete->hidden, good);
    add_text(object, "close_trouble", complete->trouble[0] == '\0' ? NULL : complete->trouble, good);
}

static struct json_object *make_source(const struct source_facts *source, int64_t now_ms, bool *good)
{
    struct json_object *object = json_object_new_object();
    add_counts(object, &source->counts, now_ms, good);
    add_failure(object, &source->notes, now_ms, good);
    add_number(object, "identify_refused", (int64_t)source->tally.identify_refused, good);
    add_number(object, "nul_replaced", (int64_t)source->tally.nul_replaced, good);
    add_complete(object, source, good);
    add_bool(object, "configured", source->source != NULL, good);
    return object;
}

/* The failure that matters most now: that of the configured source whose next attempt is due last. */
static const struct notes *last_failure(const struct facts *facts, const char *only)
{
    const struct notes *failure = NULL;
    for (size_t i = 0; i < facts->sources; i++) {
        const struct notes *notes = &facts->source[i].notes;
        if (is_meant(&facts->source[i], only) && facts->source[i].source != NULL && notes->reason[0] != '\0' &&
            (failure == NULL || notes->next_ms > failure->next_ms))
            failure = notes;
    }
    return failure;
}

static struct json_object *make_all(const struct facts *facts, const char *only, bool *good)
{
    const struct counts *counts = &facts->all;
    for (size_t i = 0; only != NULL && i < facts->sources; i++)
        counts = is_meant(&facts->source[i], only) ? &facts->source[i].counts : counts;
    struct json_object *object = json_object_new_object(), *sources = json_object_new_object();
    *good = *good && sources != NULL;
    add_counts(object, counts, facts->now_ms, good);
    add_failure(object, last_failure(facts, only), facts->now_ms, good);
    add_bool(object, "forwarding", facts->is_owned, good);
    add_text(object, "forwarder", facts->owner.text, good);
    add_date(object, "last_cron", facts->cron_ms, good);
    for (size_t i = 0; i < facts->sources; i++) {
        if (is_meant(&facts->source[i], only))
            add_member(sources, facts->source[i].name, make_source(&facts->source[i], facts->now_ms, good), good);
    }
    add_member(object, "sources", sources, good);
    return object;
}

/* Returns false when memory ran out. */
static bool print_json(const struct facts *facts, const char *only)
{
    bool good = true;
    struct json_object *object = make_all(facts, only, &good);
    const char *text =
        object == NULL || !good
            ? NULL
            : json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    if (text != NULL)
        printf("%s\n", text);
    json_object_put(object);
    return text != NULL;
}

/* Whether there is anything to look into. Returns false with the reason. */
static bool keeps_events(struct queue *queue, struct error *why)
{
    struct strings names = {0};
    bool keeps = queue_names(queue, &names, why);
    queue_names_free(&names);
    return keeps;
}

/* These counters are kept beside the queue: what the processes of this state directory counted. */
static void read_counters(struct facts *facts)
{
    struct error why;
    for (size_t i = 0; facts != NULL && i < facts->sources; i++) {
        struct source_facts *source = &facts->source[i];
        const char *name = source->name;
        struct counters *counters =
            source->source == NULL ? NULL : counters_open(facts->config->state_dir, &name, 1, &why);
        counters_read_messages(counters_of(counters, name), &source->tally);
        counters_close(counters);
    }
}

static bool print_status(struct facts *facts, bool json, const char *only, struct error *why)
{
    error_set(why, "out of memory");
    if (facts == NULL || !findings_judge(facts))
        return false;
    error_set(why, "%s", facts_failure(facts));
    if (why->text[0] != '\0')
        return false;
    bool known = only == NULL;
    for (size_t i = 0; i < facts->sources; i++)
        known = known || is_meant(&facts->source[i], only);
    error_set(why, "no source is called \"%.100s\": `closecrm.fcgi queue status` shows which there are", only);
    if (!known)
        return false;
    error_set(why, "out of memory");
    if (json)
        return print_json(facts, only);
    print_all(facts, only);
    return true;
}

int command_queue_status(int argc, char **argv)
{
    bool json = false;
    const char *only = NULL;
    const struct option_spec specs[] = {{"--json", NULL, &json}, {"--source", &only, NULL}};
    struct session session;
    struct error why;
    if (!options_read(argc, argv, specs, 2, NULL))
        return COMMAND_USAGE;
    if (!session_open(&session, argv[0]))
        return session.code;
    bool good = keeps_events(session.queue, &why);
    struct facts *facts = good ? facts_gather(session.config, session.queue, NULL, NULL, clock_unix_ms()) : NULL;
    read_counters(facts);
    if (good)
        queue_rest(session.queue); /* printing takes as long as a pager likes */
    good = good && print_status(facts, json, only, &why);
    facts_free(facts);
    session_close(&session);
    return good ? COMMAND_OK : session_failed(argv[0], &why);
}
