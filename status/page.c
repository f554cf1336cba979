/* The status page as HTML. All of it works without JavaScript; page.js keeps it fresh. What came from outside is only
 * ever written by write_html. */
#include <openssl/evp.h>
#include <string.h>

#include "base/escape.h"
#include "health/report.h"
#include "status/status_private.h"
#include "webhook/refusals.h"

static const char *const state_classes[] = {
    [SEVERITY_GOOD] = "good", [SEVERITY_WORRY] = "worry", [SEVERITY_BAD] = "bad"};

/* page.css and page.js: the Makefile makes lists of their bytes. */
static const unsigned char style[] = {
#include "build/status/page.css.inc"
};

static const unsigned char script[] = {
#include "build/status/page.js.inc"
};

static void page_hash(struct buffer *out, const unsigned char *file, size_t length)
{
    unsigned char digest[32], text[48];
    if (EVP_Digest(file, length, digest, NULL, EVP_sha256(), NULL) != 1)
        return;
    EVP_EncodeBlock(text, digest, sizeof digest);
    write_format(out, "'sha256-%s'", (const char *)text);
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

static void page_head(struct buffer *out, const char *title)
{
    buffer_text(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                     "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                     "<meta name=\"color-scheme\" content=\"light dark\">\n"
                     "<link rel=\"icon\" href=\"data:,\">\n<title>");
    write_html(out, title);
    buffer_text(out, "</title>\n<style>");
    buffer_append(out, (const char *)style, sizeof style);
    buffer_text(out, "</style>\n</head>\n<body>\n");
}

static void page_foot(struct buffer *out)
{
    buffer_text(out, "<script>");
    buffer_append(out, (const char *)script, sizeof script);
    buffer_text(out, "</script>\n</body>\n</html>\n");
}

/* A time that page.js shows in the reader's own zone. */
static void write_time(struct buffer *out, int64_t ms)
{
    char date[DATE_SIZE];
    if (ms <= 0) {
        buffer_text(out, "never");
        return;
    }
    facts_date(ms, date);
    write_format(out, "<time data-ms=\"%lld\">%s</time>", (long long)ms, date);
}

static void write_bytes(struct buffer *out, uint64_t bytes)
{
    if (bytes < 1024)
        write_format(out, "%llu&nbsp;B", (unsigned long long)bytes);
    else if (bytes < 1024 * 1024)
        write_format(out, "%.1f&nbsp;KiB", (double)bytes / 1024);
    else
        write_format(out, "%.1f&nbsp;MiB", (double)bytes / (1024 * 1024));
}

static void page_token(struct buffer *out, const struct view *view, const char *action)
{
    write_format(out,
                 "<form method=\"post\"><input type=\"hidden\" name=\"token\" value=\"%s\">"
                 "<input type=\"hidden\" name=\"action\" value=\"%s\">",
                 view->token, action);
}

/* ---- the top ---- */

static void page_top(struct buffer *out, const struct view *view)
{
    char words[REPORT_SIZE];
    const struct facts *facts = view->facts;
    write_format(out,
                 "<header>\n<h1>Close &rarr; RudderStack</h1>\n<p id=\"state\" class=\"state %s\" role=\"status\">",
                 state_classes[report_severity(facts, NULL)]);
    write_html(out, report_words(facts, NULL, words));
    buffer_text(out, "</p>\n<p class=\"meta\">");
    buffer_text(out, facts->is_owned ? "Forwarding: " : "Nobody forwards: ");
    write_html(out, facts->owner.text[0] == '\0' ? "unknown" : facts->owner.text);
    if (facts->is_durable) {
        buffer_text(out, " &middot; last cron: ");
        write_time(out, facts->cron_ms);
    }
    buffer_text(out, " &middot; as of <span id=\"now\">");
    write_time(out, facts->now_ms);
    buffer_text(out, "</span> &middot; <span id=\"live\">reload for news</span></p>\n");
    if (view->notice != NULL) {
        buffer_text(out, "<p class=\"notice\">");
        write_html(out, view->notice);
        buffer_text(out, "</p>\n");
    }
    buffer_text(out, "</header>\n");
}

/* ---- sources ---- */

static void page_fact(struct buffer *out, const char *key, const char *label, uint64_t value)
{
    write_format(out, "<div><dt>%s</dt><dd data-fact=\"%s\">", label, key);
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

static void page_url(struct buffer *out, const struct view *view, const struct source_facts *source)
{
    const struct source *configured = source->source;
    bool shown = view->shown_source != NULL && strcmp(view->shown_source, source->name) == 0;
    buffer_text(out, "<div class=\"url\"><code class=\"address\">");
    if (shown) {
        write_html(out, view->shown_key);
    } else {
        write_html(out, view->base);
        if (configured->line > 0) {
            buffer_text(out, "/");
            write_html(out, source->name);
        }
    }
    buffer_text(out, "</code><button type=\"button\" class=\"copy\" hidden>Copy</button>");
    if (configured->write_key.count > 0 && !shown) {
        page_token(out, view, "key");
        buffer_text(out, "<input type=\"hidden\" name=\"source\" value=\"");
        write_html(out, source->name);
        buffer_text(out, "\"><button>Show with key</button></form>");
    }
    write_format(out, "</div><p class=\"hint\">%s</p>\n",
                 configured->signature_keys > 0 ? "The webhook URL for Close. Signed requests are taken, and no others."
                                                : "The webhook URL for Close. No signature_key is configured: the "
                                                  "write key must be in the URL.");
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
                 state_classes[report_severity(view->facts, source)]);
    write_html(out, source->name);
    buffer_text(out, "\">\n<h2>");
    write_html(out, source->name);
    buffer_text(out, "</h2>\n<p class=\"words\">");
    write_html(out, report_words(view->facts, source, words));
    buffer_text(out, "</p>\n<dl>");
    page_fact(out, "accepted", "Accepted", counts->accepted);
    page_fact(out, "delivered", "Delivered", counts->delivered);
    page_fact(out, "waiting", "Waiting", counts->waiting);
    page_fact(out, "dead", "Dead", counts->dead);
    page_fact(out, "duplicates", "Duplicates", counts->duplicates);
    page_fact(out, "dropped", "Dropped", counts->dropped);
    buffer_text(out, "</dl>\n<p class=\"meta\">Oldest waiting: <span data-fact=\"oldest\">");
    buffer_text(out, counts->waiting == 0 ? "none" : facts_span(source->oldest_seconds * 1000, span));
    buffer_text(out, "</span> &middot; <span data-fact=\"refused\">");
    page_refused(out, &source->tally);
    buffer_text(out, "</span>");
    page_of_messages(out, &source->tally);
    buffer_text(out, "</p>\n");
    if (source->source != NULL)
        page_url(out, view, source);
    buffer_text(out, "</article>\n");
}

static void page_sources(struct buffer *out, const struct view *view)
{
    const struct facts *facts = view->facts;
    buffer_text(out, "<section class=\"sources\" aria-label=\"Sources\">\n");
    for (size_t i = 0; i < facts->sources; i++) {
        if (view->source == NULL || strcmp(view->source, facts->source[i].name) == 0)
            page_source(out, view, &facts->source[i]);
    }
    buffer_text(out, "</section>\n<p class=\"meta\">Before a source was known: <span id=\"nowhere\">");
    page_refused(out, &facts->nowhere);
    buffer_text(out, "</span></p>\n");
    if (facts->sources < 2)
        return;
    buffer_text(out, "<nav>Show: <a href=\"?\">all sources</a>");
    for (size_t i = 0; i < facts->sources; i++) {
        buffer_text(out, " <a href=\"?source=");
        write_html(out, facts->source[i].name); /* of letters, digits, _ and - */
        buffer_text(out, "\">");
        write_html(out, facts->source[i].name);
        buffer_text(out, "</a>");
    }
    buffer_text(out, "</nav>\n");
}

static void page_charts(struct buffer *out, const struct view *view)
{
    buffer_text(out, "<section class=\"time\" aria-label=\"Over time\">\n"
                     "<input type=\"radio\" name=\"window\" id=\"hour\" checked><label for=\"hour\">Last hour</label>"
                     "<input type=\"radio\" name=\"window\" id=\"day\"><label for=\"day\">Last day</label>\n"
                     "<div id=\"charts\">\n");
    chart_write_all(out, view->facts, view->source);
    buffer_text(out, "</div></section>\n");
}

/* ---- events and dead letters ---- */

static void page_event(struct buffer *out, const struct recent_event *event)
{
    write_format(out, "<tr data-number=\"%llu\"><td>", (unsigned long long)event->number);
    write_time(out, event->ended_ms > 0 ? event->ended_ms : event->received_ms);
    buffer_text(out, "</td><td>");
    if (event->number > 0)
        write_format(out, "<a href=\"?event=%llu\" data-open=\"event=%llu\">", (unsigned long long)event->number,
                     (unsigned long long)event->number);
    write_html(out, event->name);
    buffer_text(out, event->number > 0 ? "</a></td><td>" : "</td><td>");
    write_html(out, event->lead);
    buffer_text(out, "</td><td>");
    write_html(out, event->source);
    buffer_text(out, "</td><td class=\"number\">");
    write_bytes(out, event->bytes);
    buffer_text(out, "</td><td><span class=\"tag ");
    write_html(out, event->state);
    buffer_text(out, "\">");
    write_html(out, event->state);
    buffer_text(out, "</span> ");
    write_html(out, event->reason);
    buffer_text(out, "</td></tr>\n");
}

static void page_events(struct buffer *out, const struct view *view)
{
    buffer_text(out,
                "<section aria-labelledby=\"events-title\">\n<h2 id=\"events-title\">Live events</h2>\n"
                "<p class=\"hint\">A sample, newest first: up to 20 a second, the last 200, of the last day. Select "
                "one to see the incoming event beside the message sent.</p>\n"
                "<div class=\"scroll\"><table><thead><tr><th>Time</th><th>Event</th><th>Lead</th><th>Source</th>"
                "<th class=\"number\">Size</th><th>State</th></tr></thead>\n<tbody id=\"events\">\n");
    for (size_t i = 0; i < view->events_count; i++)
        page_event(out, &view->events[i]);
    if (view->events_count == 0)
        buffer_text(out, "<tr class=\"none\"><td colspan=\"6\">No events lately.</td></tr>\n");
    buffer_text(out, "</tbody></table></div>\n</section>\n");
}

static void page_letter(struct buffer *out, const struct view *view, const struct letter *letter)
{
    unsigned long long id = letter->id;
    write_format(out, "<tr data-letter=\"%llu\"><td>", id);
    write_time(out, letter->died_ms);
    write_format(out, "</td><td><a href=\"?letter=%llu\" data-open=\"letter=%llu\">", id, id);
    write_html(out, letter->reason);
    buffer_text(out, "</a></td><td>");
    write_html(out, letter->source);
    buffer_text(out, "</td><td class=\"number\">");
    write_bytes(out, letter->length);
    buffer_text(out, "</td><td>");
    if (letter->replayed) {
        buffer_text(out, "<span class=\"tag waiting\">on its way</span>");
    } else {
        page_token(out, view, "replay");
        write_format(out, "<input type=\"hidden\" name=\"letter\" value=\"%llu\"><button>Replay</button></form>", id);
    }
    buffer_text(out, "</td></tr>\n");
}

static void page_letters(struct buffer *out, const struct view *view)
{
    buffer_text(out,
                "<section aria-labelledby=\"letters-title\">\n<h2 id=\"letters-title\">Dead letters</h2>\n"
                "<p class=\"hint\">Events that could not be delivered. They are kept until you replay or drop them "
                "(<code>closecrm.fcgi dead</code>).</p>\n"
                "<div class=\"scroll\"><table><thead><tr><th>Died</th><th>Reason</th><th>Source</th>"
                "<th class=\"number\">Size</th><th></th></tr></thead>\n<tbody id=\"letters\">\n");
    for (size_t i = 0; i < view->letters->count; i++)
        page_letter(out, view, &view->letters->at[i]);
    if (view->letters->count == 0)
        buffer_text(out, "<tr class=\"none\"><td colspan=\"5\">None.</td></tr>\n");
    buffer_text(out, "</tbody></table></div>\n");
    if (view->more_letters)
        write_format(out, "<p><a href=\"?letters_after=%llu\">The next ones</a></p>\n",
                     (unsigned long long)view->letters_after);
    buffer_text(out, "</section>\n");
}

void page_write(struct buffer *out, const struct view *view)
{
    page_head(out, "closecrm.fcgi: status");
    write_format(out, "<main id=\"page\" data-token=\"%s\">\n", view->token);
    page_top(out, view);
    page_sources(out, view);
    page_charts(out, view);
    if (view->letters->count > 0)
        page_letters(out, view); /* somebody should do something about them: not below a hundred events */
    page_events(out, view);
    if (view->letters->count == 0)
        page_letters(out, view);
    write_format(out,
                 "<footer class=\"meta\">closecrm.fcgi %s &middot; <a href=\"?format=json\">as JSON</a></footer>\n"
                 "</main>\n",
                 CLOSECRM_VERSION);
    page_foot(out);
}

static void page_body(struct buffer *out, const char *title, const struct buffer *body, const char *note)
{
    write_format(out, "<div><h2>%s</h2>", title);
    if (note[0] != '\0') {
        buffer_text(out, "<p class=\"hint\">");
        write_html(out, note);
        buffer_text(out, "</p>");
    }
    buffer_text(out, "<pre>");
    if (body->length > 0)
        write_html_bytes(out, body->data, body->length);
    buffer_text(out, "</pre></div>\n");
}

void page_write_event(struct buffer *out, const struct view_bodies *bodies)
{
    const struct recent_event *event = bodies->event;
    page_head(out, "closecrm.fcgi: one event");
    buffer_text(out, "<main>\n<p><a href=\"?\">Back</a></p>\n<h1>");
    write_html(out, bodies->title);
    buffer_text(out, "</h1>\n<p class=\"meta\">");
    write_html(out, event->source);
    buffer_text(out, " &middot; ");
    write_html(out, event->state);
    buffer_text(out, " &middot; ");
    write_time(out, event->ended_ms);
    buffer_text(out, "</p>\n<p>");
    write_html(out, event->reason);
    buffer_text(out, "</p>\n<div class=\"bodies\">\n");
    page_body(out, "Incoming event", &bodies->incoming, bodies->incoming_note);
    page_body(out, "Message sent", &bodies->message, bodies->message_note);
    buffer_text(out, "</div>\n</main>\n");
    page_foot(out);
}
