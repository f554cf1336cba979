/* queue status: how many events were accepted, what became of them, what waits and why. */
#include <stdio.h>
#include <string.h>

#include "base/escape.h"
#include "base/text.h"
#include "base/times.h"
#include "commands/commands.h"
#include "commands/commands_private.h"
#include "health/findings.h"

/* ---- for people ---- */

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
    output_moment("  last accepted  ", counts->last_accepted_ms, now_ms);
    output_moment("  last delivered ", counts->last_delivered_ms, now_ms);
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
        printf(
            "  held back       %u event%s that failed (marked by `queue list`), and what follows of their leads: tried "
            "again by themselves\n",
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
    size_t shown = 0, away = 0;
    for (const struct source_facts *source = facts->source; source < facts->source + facts->sources; source++) {
        if (only == NULL ? !matters(source) : !is_meant(source, only))
            continue;
        shown++;
        printf("source %s%s\n", source->name, source->source != NULL ? "" : " (not in the configuration)");
        if (source->away.text[0] != '\0') {
            fputs("  not looked into ", stdout);
            plain_column(stdout, source->away.text, 0);
            fputs("\n\n", stdout);
            away++;
            continue;
        }
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
        puts(away > 0 ? "in all others" : "in all");
        print_counts(&facts->all, facts->now_ms);
        putchar('\n');
    }
    printf("forwarding: %s\n", facts->owner.text);
    output_moment("last cron:", facts->cron_ms, facts->now_ms);
    print_findings(facts, NULL);
}

/* ---- for other programs: the names are a promise ---- */

static void add_counts(struct json_object *object, const struct counts *counts, int64_t now_ms)
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
        output_number(object, numbers[i].name, numbers[i].number);
    output_member(object, "refused", output_new());
    int64_t age = counts->oldest_received_ms == 0 ? 0 : (now_ms - counts->oldest_received_ms) / 1000;
    output_number(object, "oldest_waiting_seconds", age < 0 ? 0 : (uint64_t)age);
    output_ms(object, "ending_from", counts->ending_ms);
    output_ms(object, "last_accepted", counts->last_accepted_ms);
    output_ms(object, "last_delivered", counts->last_delivered_ms);
}

/* notes NULL: nothing failed. */
static void add_failure(struct json_object *object, const struct notes *notes, int64_t now_ms)
{
    output_text(object, "last_error", notes == NULL || notes->reason[0] == '\0' ? NULL : notes->reason);
    output_ms(object, "next_attempt", notes == NULL || notes->next_ms <= now_ms ? 0 : notes->next_ms);
    output_number(object, "failed_attempts", notes == NULL ? 0 : notes->tries);
}

/* Events that failed and are tried alone, later: not those behind them. */
static uint64_t count_held_back(const struct facts *facts, const char *only)
{
    uint64_t held = 0;
    for (size_t i = 0; i < facts->sources; i++)
        held += is_meant(&facts->source[i], only) ? facts->source[i].notes.parked_count : 0;
    return held;
}

/* By Close's clock: until when all that Close's Event Log has is accepted; null where that is not known. */
static void add_complete(struct json_object *object, const struct source_facts *source)
{
    const struct completeness *complete = &source->close;
    bool known = reconciles(source) && complete->until_ms > complete->since_ms;
    output_ms(object, "complete_since", known ? complete->since_ms : 0);
    output_ms(object, "complete_until", known ? complete->until_ms : 0);
    if (!reconciles(source))
        return;
    output_ms(object, "verified_until", complete->verified_ms > complete->since_ms ? complete->verified_ms : 0);
    output_text(object, "complete_for", complete->types);
    output_number(object, "missed_by_webhook", complete->missed);
    output_number(object, "missed_too_large", complete->missed_large);
    output_number(object, "missed_while_paused", complete->missed_paused);
    output_number(object, "hidden", complete->hidden);
    output_text(object, "close_trouble", complete->trouble[0] == '\0' ? NULL : complete->trouble);
}

static struct json_object *make_source(const struct source_facts *source, int64_t now_ms)
{
    struct json_object *object = output_new();
    if (source->away.text[0] != '\0') { /* numbers that are not known are not 0 */
        output_text(object, "not_looked_into", source->away.text);
        output_bool(object, "configured", source->source != NULL);
        return object;
    }
    add_counts(object, &source->counts, now_ms);
    add_failure(object, &source->notes, now_ms);
    output_number(object, "held_back", source->notes.parked_count);
    output_number(object, "identify_refused", source->tally.identify_refused);
    output_number(object, "nul_replaced", source->tally.nul_replaced);
    add_complete(object, source);
    output_bool(object, "configured", source->source != NULL);
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

static struct json_object *make_all(const struct facts *facts, const char *only)
{
    const struct counts *counts = &facts->all;
    for (size_t i = 0; only != NULL && i < facts->sources; i++)
        counts = is_meant(&facts->source[i], only) ? &facts->source[i].counts : counts;
    struct json_object *object = output_new(), *sources = output_new();
    add_counts(object, counts, facts->now_ms);
    add_failure(object, last_failure(facts, only), facts->now_ms);
    output_number(object, "held_back", count_held_back(facts, only));
    output_bool(object, "forwarding", facts->is_owned);
    output_text(object, "forwarder", facts->owner.text);
    output_ms(object, "last_cron", facts->cron_ms);
    for (size_t i = 0; i < facts->sources; i++) {
        if (is_meant(&facts->source[i], only))
            output_member(sources, facts->source[i].name, make_source(&facts->source[i], facts->now_ms));
    }
    output_member(object, "sources", sources);
    return object;
}

/* Whether there is anything to look into. Returns false with the reason. */
static bool keeps_events(struct queue *queue, struct error *why)
{
    struct strings names = {0};
    bool keeps = queue_names(queue, &names, why);
    queue_names_free(&names);
    return keeps;
}

/* Whether what failed are servers of some sources, beside which others can be looked into. */
static bool look_at_some(const struct facts *facts)
{
    bool some = false, failed = !facts->queue_works;
    for (size_t i = 0; i < facts->sources; i++) {
        some = some || facts->source[i].away.text[0] != '\0';
        failed = failed || (facts->source[i].away.text[0] == '\0' && facts->source[i].close_why.text[0] != '\0');
    }
    return some && !failed;
}

/* Sets why to the sources that could not be looked into, with the first one's reason; "": none. */
static void find_away(const struct facts *facts, const char *only, struct error *why)
{
    error_set(why, "%s", "");
    for (size_t i = facts->sources; i-- > 0;) {
        struct error before = *why;
        const struct source_facts *source = &facts->source[i];
        if (source->away.text[0] != '\0' && is_meant(source, only))
            error_set(why, "not looked into: source %.64s: %.200s%s%.200s", source->name, source->away.text,
                      before.text[0] == '\0' ? "" : "; ", before.text);
    }
}

static bool print_status(struct facts *facts, bool json, const char *only, struct error *why)
{
    error_set(why, "out of memory");
    if (facts == NULL || !findings_judge(facts))
        return false;
    error_set(why, "%s", facts_failure(facts));
    if (why->text[0] != '\0' && !look_at_some(facts))
        return false;
    bool known = only == NULL;
    for (size_t i = 0; i < facts->sources; i++)
        known = known || is_meant(&facts->source[i], only);
    error_set(why, "no source is called \"%.100s\": `closecrm.fcgi queue status` shows which there are", only);
    if (!known)
        return false;
    if (json)
        output_print(make_all(facts, only));
    else
        print_all(facts, only);
    find_away(facts, only, why);
    return why->text[0] == '\0';
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
    if (good)
        queue_rest(session.queue); /* printing takes as long as a pager likes */
    good = good && print_status(facts, json, only, &why);
    facts_free(facts);
    session_close(&session);
    return good ? COMMAND_OK : session_failed(argv[0], &why);
}
