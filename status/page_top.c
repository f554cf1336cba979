/* The top of the page: how all is, what is wrong and the button for it, and before the first event what is to be done.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/escape.h"
#include "base/text.h"
#include "config/config.h"
#include "health/findings.h"
#include "status/status_private.h"

/* What can be done on the page about what was found. */
static const struct {
    enum finding_id id;
    const char *action;
    const char *label;
} remedies[] = {
    {FINDING_DATA_PLANE_REFUSES, "try", "Try now"},
    {FINDING_DATA_PLANE_AWAY, "try", "Try now"},
    {FINDING_EVENTS_WAIT, "try", "Try now"},
    {FINDING_SUBSCRIPTION_PAUSED, "resume", "Resume"},
    {FINDING_SILENCE, "test", "Send test"},
    {FINDING_DEAD_LETTERS, "replay_all", "Replay all"},
    {FINDING_DEAD_LETTERS_END, "replay_all", "Replay all"},
};

static size_t count_findings(const struct facts *facts)
{
    size_t count = 0;
    for (const struct finding *one = NULL; (one = report_next(facts, one, VIEW_PAGE)) != NULL;)
        count += one->severity != SEVERITY_GOOD;
    return count;
}

/* Whether nothing has come yet, as far as all queues could be asked: then the page shows the first steps. */
static bool page_is_first(const struct facts *facts)
{
    bool counted = facts->sources > 0 && facts->queue_works;
    for (size_t i = 0; i < facts->sources; i++)
        counted = counted && !facts->source[i].uncounted;
    return counted && facts->all.accepted == 0 && facts->all.dead == 0;
}

const char *page_headline(const struct facts *facts, char out[static HEADLINE_SIZE])
{
    size_t count = count_findings(facts);
    enum severity severity = report_severity(facts, NULL);
    if (severity == SEVERITY_GOOD)
        snprintf(out, HEADLINE_SIZE, page_is_first(facts) ? "Waiting for the first event" : "All is well.");
    else if (severity == SEVERITY_WORRY)
        snprintf(out, HEADLINE_SIZE, "%s%zu thing%s to look at", report_delivers(facts, VIEW_PAGE) ? "It works; " : "",
                 count, text_plural(count));
    else
        snprintf(out, HEADLINE_SIZE, "%zu thing%s wrong", count, count == 1 ? " is" : "s are");
    return out;
}

/* A sentence of the findings begins with a small letter and has no full stop. */
static void write_sentence(struct buffer *out, const char *text)
{
    const char first[] = {(char)toupper((unsigned char)text[0]), '\0'};
    size_t length = strlen(text);
    write_html(out, first);
    if (length > 0)
        write_html(out, text + 1);
    if (length > 0 && strchr(".!?", text[length - 1]) == NULL)
        buffer_text(out, ".");
}

static void write_action(struct buffer *out, const struct view *view, const struct finding *finding)
{
    size_t i = 0, count = sizeof remedies / sizeof *remedies;
    const struct source_facts *source = finding->source;
    while (i < count && remedies[i].id != finding->id)
        i++;
    if (i == count || source == NULL || source->source == NULL)
        return;
    if (strcmp(remedies[i].action, "replay_all") == 0) {
        if (source->counts.dead > 0)
            markup_replay_all(out, view, source->name, source->counts.dead);
        return;
    }
    markup_form(out, view, remedies[i].action, source->name);
    write_format(out, "<button>%s</button></form>", remedies[i].label);
}

static void write_finding(struct buffer *out, const struct view *view, const struct finding *finding)
{
    write_format(out, "<li class=\"finding %s\" data-key=\"%s-", severity_word(finding->severity),
                 finding_name(finding->id));
    write_html(out, finding->source == NULL ? "" : finding->source->name);
    buffer_text(out, "\"><div><p>");
    if (finding->source != NULL && view->facts->sources > 1)
        markup_text(out, "<strong>", finding->source->name, ":</strong> ");
    write_sentence(out, finding->sentence);
    buffer_text(out, "</p>");
    if (finding->remedy[0] != '\0') {
        buffer_text(out, "<p class=\"hint\">");
        write_sentence(out, finding->remedy);
        buffer_text(out, "</p>");
    }
    if (finding->command[0] != '\0')
        markup_text(out, "<p class=\"hint\"><code>", finding->command, "</code></p>");
    buffer_text(out, "</div>");
    write_action(out, view, finding);
    buffer_text(out, "</li>\n");
}

static void write_findings(struct buffer *out, const struct view *view)
{
    buffer_text(out, "<ol id=\"findings\" class=\"findings\" aria-label=\"What is to be looked at, the gravest first\" "
                     "data-list>\n");
    for (const struct finding *one = NULL; (one = report_next(view->facts, one, VIEW_PAGE)) != NULL;) {
        /* what is good to know of a source that is well stands there */
        if (one->severity != SEVERITY_GOOD || report_severity(view->facts, one->source) != SEVERITY_GOOD)
            write_finding(out, view, one);
    }
    buffer_text(out, "</ol>\n");
}

/* ---- the first steps ---- */

enum step_state { STEP_DONE, STEP_NEXT, STEP_LATER };

static void begin_step(struct buffer *out, enum step_state state, const char *title)
{
    static const char *const classes[] = {"done", "next", "later"};
    static const char *const words[] = {"Done", "Next", "Later"};
    write_format(out, "<li class=\"step %s\"><div><h3>%s <span class=\"tag %s\">%s</span></h3>", classes[state], title,
                 classes[state], words[state]);
}

/* Whether Close knows the address, as far as can be told: somebody has given the program its key, or a subscription was
 * seen. */
static bool is_subscribed(const struct source_facts *source)
{
    return source->source->signature_keys > 0 || source->signature != SIGNED_NEVER || source->close.until_ms > 0 ||
           source->close.last_run_ms > 0;
}

static void write_subscribing(struct buffer *out, const struct view *view, const struct source_facts *source)
{
    char line[OWN_COMMAND];
    buffer_text(out, "<p>This makes the subscription, and keeps the key by which Close signs:</p>"
                     "<p><code>");
    bool is_named = source->source->line > 0;
    write_html(out, own_command(line, view->facts->config, source->name, "subscribe --url %.200s%s%s", view->base,
                                is_named ? "/" : "", is_named ? source->name : ""));
    buffer_text(out, "</code></p>");
    if (source->source->close_api_key == NULL)
        buffer_text(out, "<p class=\"hint\">It needs <code>close_api_key</code> in the configuration.</p>");
}

/* The source that is furthest behind. */
static const struct source_facts *first_source(const struct facts *facts)
{
    for (size_t i = 0; i < facts->sources; i++) {
        if (facts->source[i].source != NULL && !is_subscribed(&facts->source[i]))
            return &facts->source[i];
    }
    return facts->source[0].source == NULL ? NULL : &facts->source[0];
}

static void write_steps(struct buffer *out, const struct view *view)
{
    const struct source_facts *source = first_source(view->facts);
    if (source == NULL)
        return;
    bool subscribed = is_subscribed(source);
    buffer_text(out, "<section aria-labelledby=\"steps-title\"><h2 id=\"steps-title\">Three steps to the first event"
                     "</h2>\n<ol class=\"steps\">\n");
    begin_step(out, STEP_DONE, "The program runs");
    buffer_text(out,
                view->facts->is_durable
                    ? "<p>What Close sends is kept on disk before Close is answered, and then forwarded.</p>"
                    : "<p>What Close sends is forwarded before Close is answered (<code>queue = none</code>).</p>");
    buffer_text(out, "</div></li>\n");
    begin_step(out, subscribed ? STEP_DONE : STEP_NEXT, "Close knows where to send");
    if (subscribed)
        buffer_text(out, "<p>The program has the key by which Close signs.</p>");
    else
        write_subscribing(out, view, source);
    buffer_text(out, "</div></li>\n");
    begin_step(out, subscribed ? STEP_NEXT : STEP_LATER, "The first event arrives");
    buffer_text(out, "<p>Change something in a lead in Close: the event appears below within seconds. Before that you "
                     "can try both halves of the way: a test event from here to the program, and whether RudderStack "
                     "takes the write key.</p><div class=\"buttons\">");
    markup_form(out, view, "test", source->name);
    buffer_text(out, "<button>Send test</button></form>");
    markup_form(out, view, "try", source->name);
    buffer_text(out, "<button>Try RudderStack</button></form></div></div></li>\n</ol></section>\n");
}

/* ---- all of it ---- */

static void write_meta(struct buffer *out, const struct facts *facts)
{
    buffer_text(out, facts->is_owned ? "<p class=\"meta\">Forwarding: " : "<p class=\"meta\">Nobody forwards: ");
    write_html(out, facts->owner.text[0] == '\0' ? "unknown" : facts->owner.text);
    if (facts->is_durable) {
        buffer_text(out, " &middot; last cron: ");
        markup_time(out, facts->cron_ms);
    }
    buffer_text(out, " &middot; as of <span id=\"now\">");
    markup_time(out, facts->now_ms);
    buffer_text(out, "</span> &middot; <span id=\"live\" data-own>reload for news</span></p>\n");
}

void page_top(struct buffer *out, const struct view *view)
{
    char words[HEADLINE_SIZE];
    const struct facts *facts = view->facts;
    write_format(out,
                 "<header>\n<h1>Close &rarr; RudderStack</h1>\n<p id=\"state\" class=\"state %s\" role=\"status\">",
                 severity_word(report_severity(facts, NULL)));
    write_html(out, page_headline(facts, words));
    buffer_text(out, "</p>\n");
    write_findings(out, view);
    write_meta(out, facts);
    write_format(out, "<p id=\"notice\" class=\"notice%s\" role=\"status\" data-own>",
                 view->notice_is_bad ? " bad" : "");
    write_html(out, view->notice == NULL ? "" : view->notice);
    buffer_text(out, "</p>\n</header>\n<div id=\"steps\">");
    if (page_is_first(facts))
        write_steps(out, view);
    buffer_text(out, "</div>\n");
}
