/* The status page as HTML, and the page of one event: their frame and order. All of it works without JavaScript;
 * page.js keeps it fresh. What came from outside is only ever written by write_html. */
#include "status/status_private.h"

#include <stdio.h>
#include <string.h>

#include "base/escape.h"
#include "base/sha256.h"
#include "base/text.h"
#include "health/findings.h"
#include "webhook/webhook.h"

/* ---- pieces of HTML that several parts of the page have ---- */

const char *severity_word(enum severity severity)
{
    static const char *const words[] = {[SEVERITY_GOOD] = "good", [SEVERITY_WORRY] = "worry", [SEVERITY_BAD] = "bad"};
    return words[severity];
}

void markup_text(struct buffer *out, const char *before, const char *text, const char *after)
{
    buffer_text(out, before);
    write_html(out, text);
    buffer_text(out, after);
}

void markup_time(struct buffer *out, int64_t ms)
{
    char date[DATE_SIZE];
    if (ms <= 0) {
        buffer_text(out, "never");
        return;
    }
    facts_date(ms, date);
    write_format(out, "<time data-ms=\"%lld\">%s</time>", (long long)ms, date);
}

void markup_bytes(struct buffer *out, uint64_t bytes)
{
    if (bytes < 1024)
        write_format(out, "%llu&nbsp;B", (unsigned long long)bytes);
    else if (bytes < 1024 * 1024)
        write_format(out, "%.1f&nbsp;KiB", (double)bytes / 1024);
    else
        write_format(out, "%.1f&nbsp;MiB", (double)bytes / (1024 * 1024));
}

/* "key" answers with a page, which page.js leaves to the browser. */
void markup_form(struct buffer *out, const struct view *view, const char *action, const char *source)
{
    write_format(out,
                 "<form method=\"post\"%s><input type=\"hidden\" name=\"token\" value=\"%s\">"
                 "<input type=\"hidden\" name=\"action\" value=\"%s\">",
                 action[0] == 'k' ? "" : " data-act", view->token, action);
    if (source == NULL)
        return;
    markup_text(out, "<input type=\"hidden\" name=\"source\" value=\"", source, "\">");
}

void markup_replay_all(struct buffer *out, const struct view *view, const char *source, uint64_t count)
{
    buffer_text(out, "<details class=\"confirm\"><summary>Replay all</summary><div><p>");
    write_count(out, count);
    buffer_text(out, count == 1 ? " dead letter of " : " dead letters of ");
    write_html(out, source);
    buffer_text(out, " will be sent again, the oldest first. What is refused again comes back here.</p>");
    markup_form(out, view, "replay_all", source);
    write_format(out, "<input type=\"hidden\" name=\"count\" value=\"%llu\"><button>Replay ",
                 (unsigned long long)count);
    write_count(out, count);
    buffer_text(out, "</button></form></div></details>");
}

/* ---- the sources: a card each ---- */

/* A count of the source, or that it is not known. */
static void page_fact(struct buffer *out, const struct source_facts *source, const char *key, const char *label,
                      uint64_t value)
{
    write_format(out, "<div><dt>%s</dt><dd data-fact=\"%s\">", label, key);
    if (source->uncounted)
        buffer_text(out, "<span title=\"the queue cannot be asked\">?</span>");
    else
        write_count(out, value);
    buffer_text(out, "</dd></div>");
}

static void page_refused(struct buffer *out, const struct tally *tally)
{
    bool any = false;
    for (unsigned kind = 0; kind < COUNTED_REFUSALS; kind++) {
        const char *word = refusal_word(kind);
        if (word == NULL || tally->refused[kind] == 0)
            continue;
        buffer_text(out, any ? ", " : "refused ");
        write_count(out, tally->refused[kind]);
        buffer_text(out, " ");
        for (; *word != '\0'; word++)
            buffer_append(out, *word == '_' ? " " : word, 1);
        any = true;
    }
    if (!any)
        buffer_text(out, "none refused");
}

/* Who is let in by it. */
static void page_signers(struct buffer *out, const struct source_facts *source)
{
    buffer_text(out, "<p class=\"hint\">The webhook URL for Close. ");
    if (source->signature == SIGNED_NEVER) {
        buffer_text(out, source->signers[0] == '\0'
                             ? "The source has no signature key: the write key must be in the URL.</p>\n"
                             : "signature_key = none: the write key in the URL is enough.</p>\n");
        return;
    }
    buffer_text(out, "Signed requests are taken, and no others");
    markup_text(out, source->signers[0] != '\0' ? ": " : "", source->signers, ".</p>\n");
}

/* page.js leaves it as it is: a key that was asked for stays until the page is loaded again. */
static void page_url(struct buffer *out, const struct view *view, const struct source_facts *source)
{
    const struct source *configured = source->source;
    bool shown = view->shown_source != NULL && strcmp(view->shown_source, source->name) == 0;
    buffer_text(out, "<div class=\"url\" data-own><code class=\"address\">");
    if (shown) {
        write_html(out, view->shown_key);
    } else {
        write_html(out, view->base);
        if (configured->line > 0)
            markup_text(out, "/", source->name, "");
    }
    buffer_text(out, "</code><button type=\"button\" class=\"copy\" hidden>Copy</button>");
    if (configured->write_key.count > 0 && !shown && source->signature == SIGNED_NEVER) {
        markup_form(out, view, "key", source->name);
        buffer_text(out, "<button>Show with key</button></form>");
    }
    markup_form(out, view, "test", source->name);
    buffer_text(out, "<button>Send test</button></form></div>");
    page_signers(out, source);
}

static void page_of_messages(struct buffer *out, const struct tally *tally)
{
    if (tally->identify_refused > 0)
        write_format(out, " &middot; identify refused: <span data-fact=\"identify_refused\">%llu</span>",
                     (unsigned long long)tally->identify_refused);
    if (tally->nul_replaced > 0)
        write_format(out, " &middot; U+0000 replaced in <span data-fact=\"nul_replaced\">%llu</span>",
                     (unsigned long long)tally->nul_replaced);
}

static void page_source(struct buffer *out, const struct view *view, const struct source_facts *source)
{
    const struct counts *counts = &source->counts;
    char span[SPAN_SIZE], words[REPORT_SIZE];
    write_format(out, "<article class=\"source %s\" data-source=\"",
                 severity_word(report_severity(view->facts, source)));
    markup_text(out, "", source->name, "\"");
    markup_text(out, " data-key=\"", source->name, "\">\n");
    markup_text(out, "<h2>", source->name, "</h2>\n<p class=\"words\">");
    /* What is wrong stands at the top, each with its button: not once more here. */
    if (report_severity(view->facts, source) == SEVERITY_GOOD)
        write_html(out, report_words(view->facts, source, words));
    else
        buffer_text(out, "<a href=\"#state\">See above what is to be looked at.</a>");
    buffer_text(out, "</p>\n<dl>");
    page_fact(out, source, "accepted", "Accepted", counts->accepted);
    page_fact(out, source, "delivered", "Delivered", counts->delivered);
    page_fact(out, source, "waiting", "Waiting", counts->waiting);
    page_fact(out, source, "dead", "Dead", counts->dead);
    page_fact(out, source, "duplicates", "Duplicates", counts->duplicates);
    page_fact(out, source, "dropped", "Dropped", counts->dropped);
    buffer_text(out, "</dl>\n<p class=\"meta\">Oldest waiting: <span data-fact=\"oldest\">");
    buffer_text(out, source->uncounted      ? "not known"
                     : counts->waiting == 0 ? "none"
                                            : facts_span(source->oldest_seconds * 1000, span));
    buffer_text(out, "</span> &middot; <span data-fact=\"refused\">");
    page_refused(out, &source->tally);
    buffer_text(out, "</span>");
    page_of_messages(out, &source->tally);
    buffer_text(out, "</p>\n");
    if (source->source != NULL)
        page_url(out, view, source);
    buffer_text(out, "</article>\n");
}

/* A card for each source. */
static void page_sources(struct buffer *out, const struct view *view)
{
    const struct facts *facts = view->facts;
    buffer_text(out, "<section class=\"sources\" aria-label=\"Sources\" data-list>\n");
    for (size_t i = 0; i < facts->sources; i++) {
        if (view->source == NULL || strcmp(view->source, facts->source[i].name) == 0)
            page_source(out, view, &facts->source[i]);
    }
    buffer_text(out, "</section>\n<p class=\"meta\">Before a source was known: <span id=\"nowhere\">");
    page_refused(out, &facts->nowhere);
    buffer_text(out, "</span></p>\n");
}

/* ---- the page ---- */

/* page.css and page.js: the Makefile makes lists of their bytes. */
static const unsigned char style[] = {
#include "build/status/page.css.inc"
};

static const unsigned char script[] = {
#include "build/status/page.js.inc"
};

static void page_hash(struct buffer *out, const unsigned char *file, size_t length)
{
    unsigned char digest[SHA256_BYTES];
    char text[TEXT_BASE64(sizeof digest)];
    sha256(file, length, digest);
    write_format(out, "'sha256-%s'", text_base64_encode(digest, sizeof digest, text));
}

void page_headers(struct buffer *out)
{
    buffer_text(out, "Content-Security-Policy: default-src 'none'; style-src ");
    page_hash(out, style, sizeof style);
    buffer_text(out, "; script-src ");
    page_hash(out, script, sizeof script);
    buffer_text(out, "; connect-src 'self'; form-action 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
                     "\r\nReferrer-Policy: no-referrer\r\nX-Frame-Options: DENY\r\n");
    buffer_append(out, "", 1); /* it is used as a C string */
}

/* A picture of its own for each state, which can be told apart without colours. Percent-encoded as far as an attribute
 * needs it. */
static const char *icon_of(enum severity severity)
{
    static const char *const icons[] = {
        [SEVERITY_GOOD] =
            "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle "
            "cx='8' cy='8' r='8' fill='%23177245'/%3E%3Cpath d='M4 8l3 3 5-6' fill='none' stroke='white' "
            "stroke-width='2'/%3E%3C/svg%3E",
        [SEVERITY_WORRY] = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath "
                           "d='M8 1l8 14H0z' fill='%23c77d00'/%3E%3Cpath d='M8 6v4m0 2v1.5' stroke='white' "
                           "stroke-width='2'/%3E%3C/svg%3E",
        [SEVERITY_BAD] = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect "
                         "width='16' height='16' rx='3' fill='%23b3261e'/%3E%3Cpath d='M5 5l6 6m0-6l-6 6' "
                         "stroke='white' stroke-width='2'/%3E%3C/svg%3E",
    };
    return icons[severity];
}

static void page_head(struct buffer *out, const char *title, enum severity severity)
{
    buffer_text(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                     "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                     "<meta name=\"color-scheme\" content=\"light dark\">\n"
                     "<link rel=\"icon\" href=\"");
    write_html(out, icon_of(severity));
    markup_text(out, "\">\n<title>", title, "</title>\n<style>");
    buffer_append(out, (const char *)style, sizeof style);
    buffer_text(out, "</style>\n</head>\n<body>\n");
}

static void page_foot(struct buffer *out)
{
    buffer_text(out, "<script>");
    buffer_append(out, (const char *)script, sizeof script);
    buffer_text(out, "</script>\n</body>\n</html>\n");
}

/* Whose counts are missing or old. */
static void page_of_machines(struct buffer *out, const struct facts *facts)
{
    for (const struct finding *one = NULL; (one = report_next(facts, one, VIEW_PAGE)) != NULL;) {
        if (one->id == FINDING_MACHINE_UNREAD || one->id == FINDING_MACHINES_UNHEARD)
            markup_text(out, "<p class=\"meta\">Not all of it: ", one->sentence, ".</p>\n");
    }
}

static void page_charts(struct buffer *out, const struct view *view)
{
    buffer_text(out, "<section class=\"time\" aria-label=\"Over time\">\n"
                     "<input type=\"radio\" name=\"window\" id=\"hour\" checked><label for=\"hour\">Last hour</label>"
                     "<input type=\"radio\" name=\"window\" id=\"day\"><label for=\"day\">Last day</label>\n"
                     "<div id=\"charts\">\n");
    page_of_machines(out, view->facts);
    chart_write_all(out, view->facts, view->source);
    buffer_text(out, "</div></section>\n");
}

/* Everything that changes. */
static void page_main(struct buffer *out, const struct view *view, const char *title)
{
    write_format(out, "<main id=\"page\" data-token=\"%s\" data-title=\"", view->token);
    write_html(out, title);
    markup_text(out, "\" data-icon=\"", icon_of(report_severity(view->facts, NULL)), "\">\n");
    page_top(out, view);
    page_sources(out, view);
    page_charts(out, view);
    page_letters(out, view); /* somebody should do something about them: not below a hundred events */
    page_events(out, view);
    write_format(out,
                 "<footer class=\"meta\">closecrm.fcgi %s &middot; <a href=\"?format=json\">as JSON</a></footer>\n"
                 "</main>\n",
                 CLOSECRM_VERSION);
}

void page_write(struct buffer *out, const struct view *view)
{
    char words[HEADLINE_SIZE], title[HEADLINE_SIZE + 32];
    snprintf(title, sizeof title, "%s - closecrm.fcgi", page_headline(view->facts, words));
    if (!view->part)
        page_head(out, title, report_severity(view->facts, NULL));
    page_main(out, view, title);
    if (!view->part)
        page_foot(out);
}

/* ---- one event ---- */

static void page_body(struct buffer *out, const char *title, const struct buffer *body, const char *note)
{
    write_format(out, "<div><h3>%s</h3>", title);
    if (note[0] != '\0')
        markup_text(out, "<p class=\"hint\">", note, "</p>");
    write_format(out, "<pre tabindex=\"0\" role=\"group\" aria-label=\"%s\">", title);
    if (body->length > 0)
        write_html_bytes(out, body->data, body->length);
    buffer_text(out, "</pre></div>\n");
}

static void page_attempt(struct buffer *out, const struct attempt *attempt)
{
    write_format(out, "<tr data-key=\"%lld-%lld\"><td>", (long long)attempt->sent_ms, (long long)attempt->took_ms);
    markup_time(out, attempt->sent_ms);
    if (attempt->status > 0)
        write_format(out, "</td><td>%d</td><td>", (int)attempt->status);
    else
        buffer_text(out, "</td><td>no answer</td><td>");
    write_html(out, attempt->words[0] == '\0' ? "taken" : attempt->words);
    write_format(out, "</td><td class=\"number\">%lld&nbsp;ms</td><td class=\"number\">", (long long)attempt->took_ms);
    write_count(out, attempt->events);
    buffer_text(out, "</td></tr>\n");
}

static void page_attempts(struct buffer *out, const struct view_bodies *bodies)
{
    buffer_text(out, "<h3>Attempts</h3>\n");
    if (bodies->attempts == 0) {
        write_format(out, "<p class=\"hint\">%s</p>\n",
                     strcmp(bodies->event->state, "waiting") == 0 ? "It was not sent yet."
                                                                  : "None is known: it was not sent, or long ago.");
        return;
    }
    buffer_text(out, "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Attempts\"><table>"
                     "<thead><tr><th scope=\"col\">Sent <span class=\"zone\">UTC</span></th>"
                     "<th scope=\"col\">Answer</th><th scope=\"col\">What it said</th>"
                     "<th scope=\"col\" class=\"number\">After</th><th scope=\"col\" class=\"number\">Events in the "
                     "batch</th></tr></thead>\n<tbody data-list>\n");
    for (size_t i = 0; i < bodies->attempts; i++)
        page_attempt(out, &bodies->attempt[i]);
    buffer_text(out, "</tbody></table></div>\n");
}

static void page_date(struct buffer *out, const char *label, int64_t ms)
{
    if (ms <= 0)
        return;
    write_format(out, "<div><dt>%s</dt><dd class=\"whole\">", label);
    markup_time(out, ms);
    buffer_text(out, "</dd></div>");
}

static void page_text(struct buffer *out, const char *label, const char *text)
{
    if (text[0] == '\0')
        return;
    write_format(out, "<div><dt>%s</dt><dd>", label);
    write_html(out, text);
    buffer_text(out, "</dd></div>");
}

static void page_opened(struct buffer *out, const struct view_bodies *bodies)
{
    const struct recent_event *event = bodies->event;
    buffer_text(out, "<dl class=\"opened\">");
    page_text(out, "Event id", event->id);
    page_text(out, "Lead", event->lead);
    page_text(out, "Source", event->source);
    page_text(out, "State", event->state);
    page_date(out, "Changed in Close", event->updated_ms);
    page_date(out, "Received", event->received_ms);
    page_date(out, "Ended", event->ended_ms);
    buffer_text(out, "</dl>\n");
    page_attempts(out, bodies);
    if (event->reason[0] != '\0')
        markup_text(out, "<p class=\"reason\">", event->reason, "</p>\n");
    buffer_text(out, "<div class=\"bodies\">\n");
    page_body(out, "Incoming event", &bodies->incoming, bodies->incoming_note);
    page_body(out, "Message sent", &bodies->message, bodies->message_note);
    buffer_text(out, "</div>\n");
}

void page_write_event(struct buffer *out, const struct view_bodies *bodies, bool part)
{
    if (part) {
        buffer_text(out, "<div class=\"detail\">\n");
        page_opened(out, bodies);
        buffer_text(out, "</div>\n");
        return;
    }
    page_head(out, "One event - closecrm.fcgi", SEVERITY_GOOD);
    markup_text(out, "<main>\n<p><a href=\"?\">Back</a></p>\n<h1>", bodies->title, "</h1>\n");
    page_opened(out, bodies);
    buffer_text(out, "</main>\n");
    page_foot(out);
}
