/* The page's tables: events, with what somebody looks for among them, and dead letters. page.js knows a row again by
 * its data-key: an event keeps its own from the time when it waits until it is no longer shown. */
#include <stdio.h>
#include <string.h>

#include "base/escape.h"
#include "status/status_private.h"
#include "transform/headline.h"

/* Events that wait are found by their source and id, others in the sample. */
static void page_event_link(struct buffer *out, const struct recent_event *event)
{
    if (event->number > 0) {
        write_format(out, "<a href=\"?event=%llu\" data-open>", (unsigned long long)event->number);
    } else {
        write_format(out, "<a href=\"?waiting=%llu&amp;of=", (unsigned long long)event->queue_id);
        markup_text(out, "", event->source, "\" data-open>"); /* of letters, digits, _ and - */
    }
    markup_text(out, "", event->name, "</a>");
    if (event->id[0] != '\0')
        markup_text(out, "<span class=\"id\">", event->id, "</span>");
}

static void page_event(struct buffer *out, const struct recent_event *event)
{
    markup_text(out, "<tr data-key=\"", event->source, "");
    write_format(out, "-%llu-%lld\"><td>", (unsigned long long)event->queue_id, (long long)event->received_ms);
    markup_time(out, event->received_ms > 0 ? event->received_ms : event->ended_ms);
    buffer_text(out, "</td><td>");
    page_event_link(out, event);
    markup_text(out, "</td><td>", event->lead, "</td>");
    markup_text(out, "<td>", event->source, "</td><td class=\"number\">");
    markup_bytes(out, event->bytes);
    markup_text(out, "</td><td><span class=\"tag ", event->state, "\">");
    markup_text(out, "", event->state, "</span> ");
    markup_text(out, "<span class=\"reason\">", event->reason, "</span></td></tr>\n");
}

/* ---- the form that looks for events ---- */

static void filter_input(struct buffer *out, const char *name, const char *label, const char *value)
{
    write_format(out, "<label>%s<input name=\"%s\" value=\"", label, name);
    write_html(out, value);
    write_format(out, "\" autocomplete=\"off\"%s></label>", strcmp(name, "text") == 0 ? " type=\"search\"" : "");
}

static void filter_option(struct buffer *out, const char *value, const char *label, const char *chosen)
{
    markup_text(out, "<option value=\"", value, strcmp(value, chosen) == 0 ? "\" selected>" : "\">");
    markup_text(out, "", label, "</option>");
}

/* page.js leaves it as it is: somebody may be typing. */
static void page_filter(struct buffer *out, const struct view *view)
{
    static const char *const states[] = {"waiting", "delivered", "duplicate", "dropped", "dead"};
    const struct facts *facts = view->facts;
    buffer_text(out,
                "<form method=\"get\" id=\"filter\" class=\"filter\" role=\"search\" aria-label=\"Events\" data-own>");
    filter_input(out, "text", "Text", view->filter.text);
    filter_input(out, "type", "Type", view->filter.type);
    filter_input(out, "lead", "Lead", view->filter.lead);
    buffer_text(out, "<label>State<select name=\"state\">");
    filter_option(out, "", "any", view->filter.state);
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        filter_option(out, states[i], states[i], view->filter.state);
    buffer_text(out, "</select></label>");
    if (facts->sources > 1 || view->source != NULL) {
        buffer_text(out, "<label>Source<select name=\"source\">");
        filter_option(out, "", "all", view->source == NULL ? "" : view->source);
        for (size_t i = 0; i < facts->sources; i++)
            filter_option(out, facts->source[i].name, facts->source[i].name, view->source == NULL ? "" : view->source);
        buffer_text(out, "</select></label>");
    }
    buffer_text(
        out, "<div class=\"buttons\"><button>Find</button> <a href=\"?\" class=\"clear\">Show all</a></div></form>\n");
}

void page_events(struct buffer *out, const struct view *view)
{
    buffer_text(out,
                "<section aria-labelledby=\"events-title\">\n<h2 id=\"events-title\">Events</h2>\n"
                "<p class=\"hint\">A sample, the last received first: up to 20 a second, the last 200, of the last "
                "day, and the oldest that wait. Select one to see the incoming event, the message sent, and each "
                "attempt.</p>\n");
    page_filter(out, view);
    buffer_text(out, "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-labelledby=\"events-title\"><table>"
                     "<thead><tr><th scope=\"col\">Received <span class=\"zone\">UTC</span></th>"
                     "<th scope=\"col\">Event</th><th scope=\"col\">Lead</th><th scope=\"col\">Source</th>"
                     "<th scope=\"col\" class=\"number\">Size</th><th scope=\"col\">State</th></tr></thead>\n"
                     "<tbody id=\"events\" data-list>\n");
    for (size_t i = 0; i < view->events_count; i++)
        page_event(out, &view->events[i]);
    if (view->events_count == 0)
        write_format(out, "<tr class=\"none\" data-key=\"none\"><td colspan=\"6\">%s</td></tr>\n",
                     view->filtered ? "None of the sample fits." : "No events lately.");
    buffer_text(out, "</tbody></table></div>\n</section>\n");
}

/* ---- dead letters ---- */

static void page_letter_replay(struct buffer *out, const struct view *view, const struct letter *letter)
{
    if (letter->replayed) {
        buffer_text(out, "<span class=\"tag waiting\">on its way</span>");
        return;
    }
    markup_form(out, view, "replay", NULL);
    write_format(out,
                 "<input type=\"hidden\" name=\"letter\" value=\"%llu\"><button aria-label=\"Replay dead letter %llu\">"
                 "Replay</button></form>",
                 (unsigned long long)letter->id, (unsigned long long)letter->id);
}

/* The body is only looked at, for it may be what crashes the parser. */
static void page_letter(struct buffer *out, const struct view *view, const struct letter *letter)
{
    unsigned long long id = letter->id;
    struct headline headline;
    char name[96];
    headline_read(&headline, letter->body, letter->length);
    headline_event(&headline, name, sizeof name);
    write_format(out, "<tr data-key=\"letter-%llu\" data-letter=\"%llu\"><td>", id, id);
    markup_time(out, letter->died_ms);
    write_format(out, "</td><td><a href=\"?letter=%llu\" data-open>", id);
    markup_text(out, "", name, "</a>");
    markup_text(out, "<span class=\"id\">", headline.id == NULL ? "" : headline.id, "</span></td>");
    markup_text(out, "<td>", headline.lead == NULL ? "" : headline.lead, "</td>");
    markup_text(out, "<td>", letter->source, "</td><td class=\"number\">");
    markup_bytes(out, letter->length);
    markup_text(out, "</td><td><span class=\"reason\">", letter->reason, "</span></td><td>");
    page_letter_replay(out, view, letter);
    buffer_text(out, "</td></tr>\n");
}

void page_letters(struct buffer *out, const struct view *view)
{
    buffer_text(out, view->letters->count == 0 ? "<section aria-labelledby=\"letters-title\" hidden>\n"
                                               : "<section aria-labelledby=\"letters-title\">\n");
    buffer_text(out,
                "<h2 id=\"letters-title\">Dead letters</h2>\n"
                "<p class=\"hint\">Events that could not be delivered. They are kept for <code>dead_retention</code>, "
                "unless you replay or drop them before (<code>closecrm.fcgi dead list</code>).</p>\n"
                "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-labelledby=\"letters-title\"><table><thead>"
                "<tr><th scope=\"col\">Died <span class=\"zone\">UTC</span></th><th scope=\"col\">Event</th>"
                "<th scope=\"col\">Lead</th><th scope=\"col\">Source</th><th scope=\"col\" class=\"number\">Size</th>"
                "<th scope=\"col\">Reason</th><th scope=\"col\">Replay</th></tr></thead>\n"
                "<tbody id=\"letters\" data-list>\n");
    for (size_t i = 0; i < view->letters->count; i++)
        page_letter(out, view, &view->letters->at[i]);
    buffer_text(out, "</tbody></table></div>\n<p>");
    if (view->more_letters)
        write_format(out, "<a href=\"?letters_after=%llu\">The next ones</a>", (unsigned long long)view->letters_after);
    buffer_text(out, "</p>\n</section>\n");
}
