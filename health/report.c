/* What the views show: see findings.h. */
#include "health/findings.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static bool says_the_same(const struct finding *worse, const struct finding *finding)
{
    return finding->topic != TOPIC_OWN && worse->topic == finding->topic &&
           (worse->source == NULL || worse->source == finding->source);
}

bool report_shows(const struct facts *facts, const struct finding *finding, enum finding_view view)
{
    if ((finding->views & view) == 0)
        return false;
    for (const struct finding *worse = facts->found; worse < finding; worse++) {
        if ((worse->views & view) != 0 && says_the_same(worse, finding))
            return false;
    }
    return true;
}

const struct finding *report_next(const struct facts *facts, const struct finding *after, enum finding_view view)
{
    const struct finding *one = after == NULL ? facts->found : after + 1;
    for (; one != NULL && one < facts->found + facts->found_count; one++) {
        if (report_shows(facts, one, view))
            return one;
    }
    return NULL;
}

bool report_finds(const struct facts *facts, enum finding_id id, enum finding_view view)
{
    for (const struct finding *one = NULL; (one = report_next(facts, one, view)) != NULL;) {
        if (one->id == id)
            return true;
    }
    return false;
}

/* Whether it says of some source what this one has nothing to do with. NULL: the whole. */
static bool is_of_another(const struct finding *finding, const struct source_facts *source)
{
    return finding->id == FINDING_QUEUE_PARTLY_BROKEN && source != NULL && source->away.text[0] == '\0';
}

/* Its own come before those of the whole that are as bad: these stand at the top of the page. */
static const struct finding *find_worst(const struct facts *facts, const struct source_facts *source)
{
    const struct finding *worst = NULL;
    for (const struct finding *one = NULL; (one = report_next(facts, one, VIEW_PAGE)) != NULL;) {
        if (one->severity == SEVERITY_GOOD || is_of_another(one, source))
            continue; /* good to know, and told beside the state: add_good */
        bool nearer = worst != NULL && worst->source == NULL && one->source != NULL && one->severity == worst->severity;
        if (source == NULL && worst == NULL)
            return one;
        if ((worst == NULL || nearer) && (one->source == NULL || one->source == source))
            worst = one;
    }
    return worst;
}

bool report_delivers(const struct facts *facts, enum finding_view view)
{
    return !report_finds(facts, FINDING_DATA_PLANE_AWAY, view);
}

/* What there is to do, and what to type for it. */
static int print_remedy(const struct finding *finding, char *out, size_t size)
{
    if (finding->command[0] == '\0')
        return snprintf(out, size, "%s", finding->remedy);
    return snprintf(out, size, "%s: `%s`", finding->remedy, finding->command);
}

const char *report_line(const struct finding *finding, char out[static REPORT_SIZE])
{
    int used = snprintf(out, REPORT_SIZE, "%s%s", finding->sentence, finding->remedy[0] == '\0' ? "" : "; ");
    print_remedy(finding, out + used, REPORT_SIZE - (size_t)used);
    return out;
}

static size_t print_sentences(const struct finding *finding, char *out, size_t size)
{
    int used = snprintf(out, size, "%s.", finding->sentence);
    out[0] = (char)toupper((unsigned char)out[0]);
    if (finding->remedy[0] == '\0')
        return (size_t)used;
    char *remedy = out + used + 1;
    out[used] = ' ';
    used += 1 + print_remedy(finding, remedy, size - (size_t)used - 2);
    remedy[0] = (char)toupper((unsigned char)remedy[0]);
    return (size_t)used + (size_t)snprintf(out + used, size - (size_t)used, ".");
}

enum severity report_severity(const struct facts *facts, const struct source_facts *source)
{
    const struct finding *worst = find_worst(facts, source);
    return worst == NULL ? SEVERITY_GOOD : worst->severity;
}

static size_t print_good(const struct facts *facts, const struct source_facts *source, char *out, size_t size)
{
    char span[SPAN_SIZE];
    if (source->counts.accepted == 0)
        return (size_t)snprintf(out, size, "Nothing has come yet.");
    if (source->counts.last_delivered_ms == 0)
        return (size_t)snprintf(out, size, "Healthy.");
    return (size_t)snprintf(out, size, "Healthy. Last delivered %s ago.",
                            facts_span(facts->now_ms - source->counts.last_delivered_ms, span));
}

/* What is good to know of the source. */
static void add_good(const struct facts *facts, const struct source_facts *source, char out[static REPORT_SIZE])
{
    char sentences[REPORT_SIZE];
    for (const struct finding *one = NULL; (one = report_next(facts, one, VIEW_PAGE)) != NULL;) {
        if (one->severity != SEVERITY_GOOD || one->source != source)
            continue;
        size_t used = strlen(out);
        print_sentences(one, sentences, sizeof sentences);
        snprintf(out + used, REPORT_SIZE - used, " %s", sentences);
    }
}

static void print_source(const struct facts *facts, const struct source_facts *source, char out[static REPORT_SIZE])
{
    char date[DATE_SIZE];
    struct finding own;
    const struct finding *worst = find_worst(facts, source);
    if (worst != NULL && worst->id == FINDING_QUEUE_PARTLY_BROKEN) { /* it names the first of them */
        own = *worst;
        snprintf(own.sentence, sizeof own.sentence, "its queue cannot be used: %.400s", source->away.text);
        worst = &own;
    }
    size_t used =
        worst != NULL ? print_sentences(worst, out, REPORT_SIZE) : print_good(facts, source, out, REPORT_SIZE);
    if (source->close.until_ms > 0)
        snprintf(out + used, REPORT_SIZE - used, " Complete until %s.", facts_date(source->close.until_ms, date));
    add_good(facts, source, out);
}

/* The sentence at the top of the page. */
static void print_whole(const struct facts *facts, char out[static REPORT_SIZE])
{
    static const char *const general[] = {"All is well.", "It works, but look at this: ", "Something is wrong: "};
    const struct finding *worst = find_worst(facts, NULL);
    int used = 0;
    if (worst != NULL && worst->severity == SEVERITY_WORRY && facts->sources != 1 && !report_delivers(facts, VIEW_PAGE))
        used = snprintf(out, REPORT_SIZE, "Look at this: ");
    else if (worst == NULL || facts->sources != 1)
        used = snprintf(out, REPORT_SIZE, "%s", general[worst == NULL ? SEVERITY_GOOD : worst->severity]);
    if (worst != NULL && worst->source != NULL && facts->sources != 1)
        used += snprintf(out + used, REPORT_SIZE - (size_t)used, "%s: ", worst->source->name);
    if (worst != NULL)
        print_sentences(worst, out + used, REPORT_SIZE - (size_t)used);
}

const char *report_words(const struct facts *facts, const struct source_facts *source, char out[static REPORT_SIZE])
{
    if (source == NULL)
        print_whole(facts, out);
    else
        print_source(facts, source, out);
    return out;
}
