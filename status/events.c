/* Events on the page: the tables of events and dead letters, what somebody looks for among them, and one event with its
 * bodies as people may see them. */
#include "status/status_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/escape.h"
#include "transform/shown.h"

/* ---- tables. page.js knows a row again by its data-key: an event keeps its own from the time when it waits until it
 * is no longer shown. ---- */

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
    char line[OWN_COMMAND];
    buffer_text(out, view->letters->count == 0 ? "<section aria-labelledby=\"letters-title\" hidden>\n"
                                               : "<section aria-labelledby=\"letters-title\">\n");
    buffer_text(out,
                "<h2 id=\"letters-title\">Dead letters</h2>\n"
                "<p class=\"hint\">Events that could not be delivered. They are kept for <code>dead_retention</code>, "
                "unless you replay or drop them before (");
    markup_text(out, "<code>", own_command(line, NULL, NULL, "dead list"), "</code>).</p>\n");
    buffer_text(out,
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

/* ---- Looking for events: by text, type, lead and state ---- */

bool filter_read(struct event_filter *filter, const struct request *request)
{
    request_query(request, "text", filter->text, sizeof filter->text);
    request_query(request, "type", filter->type, sizeof filter->type);
    request_query(request, "lead", filter->lead, sizeof filter->lead);
    request_query(request, "state", filter->state, sizeof filter->state);
    return filter->text[0] != '\0' || filter->type[0] != '\0' || filter->lead[0] != '\0' || filter->state[0] != '\0';
}

/* A name is "activity.email created"; typed, it may be as in the configuration: "activity.email.created". */
static bool fits_type(const char *name, const char *type)
{
    for (; *type != '\0'; name++, type++) {
        if (*name == '\0' || (strncasecmp(name, type, 1) != 0 && !(*name == ' ' && *type == '.')))
            return false;
    }
    return true;
}

static bool holds(const char *body, size_t length, const char *text)
{
    size_t wanted = strlen(text);
    for (size_t i = 0; i + wanted <= length; i++) {
        if (strncasecmp(body + i, text, wanted) == 0)
            return true;
    }
    return false;
}

/* Only what is shown is looked at, so nothing of what `remove` names can be guessed. Of an event that waits the body is
 * not. whole: room for one; NULL: bodies are not looked at. */
static bool has_text(const char *text, struct queue_view *queue_view, const struct recent_event *event,
                     struct recent_whole *whole)
{
    const char *const shown[] = {event->name, event->id, event->lead, event->source, event->reason};
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        if (strcasestr(shown[i], text) != NULL)
            return true;
    }
    if (event->number == 0 || whole == NULL || !queue_view_event(queue_view, event->number, whole))
        return false;
    return holds(whole->incoming, whole->event.incoming_length, text) ||
           holds(whole->message, whole->event.message_length, text);
}

size_t filter_events(const struct event_filter *filter, struct queue_view *queue_view, struct recent_event *events,
                     size_t count)
{
    struct recent_whole *whole = filter->text[0] == '\0' ? NULL : calloc(1, sizeof *whole);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        const struct recent_event *event = &events[i];
        if ((filter->state[0] != '\0' && strcmp(filter->state, event->state) != 0) ||
            (filter->lead[0] != '\0' && strcmp(filter->lead, event->lead) != 0) ||
            !fits_type(event->name, filter->type) ||
            (filter->text[0] != '\0' && !has_text(filter->text, queue_view, event, whole)))
            continue;
        if (kept != i)
            events[kept] = *event;
        kept++;
    }
    free(whole);
    return kept;
}

/* ---- opening one event ---- */

#define SHOWN_MOST ((size_t)256 * 1024) /* bytes of a dead letter's body that are shown */

static const char cut_note[] = "Only its beginning is kept here.";

void bodies_free(struct bodies *bodies)
{
    buffer_free(&bodies->view.incoming);
    buffer_free(&bodies->view.message);
    free(bodies->whole);
    letters_free(&bodies->letters);
    events_free(&bodies->events);
}

static const char *message_note(const struct recent_event *event)
{
    if (event->message_length > 0)
        return event->message_cut ? cut_note : "";
    return strcmp(event->state, "delivered") == 0 ? "It is too large to be kept here." : "None was sent.";
}

bool bodies_of_event(struct bodies *bodies, struct queue_view *queue_view, uint64_t number)
{
    bodies->whole = calloc(1, sizeof *bodies->whole);
    if (bodies->whole == NULL || !queue_view_event(queue_view, number, bodies->whole))
        return false;
    const struct recent_event *event = &bodies->whole->event;
    struct view_bodies *view = &bodies->view;
    view->event = event;
    view->title = event->name;
    view->incoming_note = event->incoming_length == 0 ? "It is too large or unreadable, and not kept here."
                          : event->incoming_cut       ? cut_note
                                                      : "";
    view->message_note = message_note(event);
    view->attempts = bodies->whole->attempts;
    memcpy(view->attempt, bodies->whole->attempt, view->attempts * sizeof *view->attempt);
    transform_indent(bodies->whole->incoming, event->incoming_length, &view->incoming);
    transform_indent(bodies->whole->message, event->message_length, &view->message);
    return !view->incoming.failed && !view->message.failed;
}

static void describe_letter(struct recent_event *event, const struct letter *letter)
{
    queue_view_describe(event, letter->source, letter->body, letter->length);
    snprintf(event->state, sizeof event->state, "%s", letter->replayed ? "waiting" : "dead");
    snprintf(event->reason, sizeof event->reason, "%s", letter->reason);
    event->received_ms = letter->received_ms;
    event->ended_ms = letter->died_ms;
}

struct excerpt {
    struct buffer *out;
    bool cut;
};

static void write_beginning(void *context, const char *text, size_t length)
{
    struct excerpt *excerpt = context;
    size_t left = excerpt->out->length < SHOWN_MOST ? SHOWN_MOST - excerpt->out->length : 0;
    excerpt->cut = excerpt->cut || length > left;
    buffer_append(excerpt->out, text, length < left ? length : left);
}

/* Appends what may be seen of the body. Returns the note on it. */
static const char *show_body(const struct source *source, const char *body, size_t length, struct buffer *out)
{
    struct excerpt excerpt = {.out = out};
    const struct layout layout = {.write = write_beginning, .context = &excerpt};
    size_t removed;
    if (source == NULL)
        return "Not shown: its source is configured no more, so nobody knows what is to be removed.";
    struct rules rules = {.remove = source->remove.at, .removes = source->remove.count};
    if (!shown_write(body, length, &rules, &layout, &removed))
        return "Not shown: `remove` is configured, and this body cannot be read.";
    return excerpt.cut ? "Only its beginning is shown here." : "";
}

/* Those of a dead letter stand in the sample, where it ended. */
static void find_attempts(struct view_bodies *view, struct queue_view *queue_view)
{
    struct recent_event *list = calloc(RECENT_COUNT, sizeof *list);
    struct recent_whole *whole = calloc(1, sizeof *whole);
    const struct recent_event *event = view->event;
    size_t count = list == NULL || whole == NULL || event->id[0] == '\0' ? 0 : queue_view_recent(queue_view, list);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].state, "dead") != 0 || strcmp(list[i].id, event->id) != 0 ||
            strcmp(list[i].source, event->source) != 0)
            continue;
        if (queue_view_event(queue_view, list[i].number, whole)) {
            view->attempts = whole->attempts;
            memcpy(view->attempt, whole->attempt, whole->attempts * sizeof *whole->attempt);
        }
        break;
    }
    free(whole);
    free(list);
}

bool bodies_of_letter(struct bodies *bodies, const struct config *config, struct queue_view *queue_view, uint64_t id)
{
    if (!queue_view_letter(queue_view, id, &bodies->letters))
        return false;
    const struct letter *letter = &bodies->letters.at[0];
    struct view_bodies *view = &bodies->view;
    describe_letter(&bodies->event, letter);
    view->event = &bodies->event;
    view->title = bodies->event.name;
    view->incoming_note =
        show_body(config_source(config, letter->source), letter->body, letter->length, &view->incoming);
    view->message_note = "None was delivered.";
    find_attempts(view, queue_view);
    return !view->incoming.failed;
}

/* It may have ended since the page was made. */
static bool find_ended(struct bodies *bodies, struct queue_view *queue_view, const char *source, uint64_t id)
{
    struct recent_event *list = calloc(RECENT_COUNT, sizeof *list);
    uint64_t number = 0;
    size_t count = list == NULL ? 0 : queue_view_recent(queue_view, list);
    for (size_t i = 0; i < count && number == 0; i++) {
        if (list[i].queue_id == id && strcmp(list[i].source, source) == 0)
            number = list[i].number;
    }
    free(list);
    return number > 0 && bodies_of_event(bodies, queue_view, number);
}

bool bodies_of_waiting(struct bodies *bodies, const struct config *config, struct queue_view *queue_view,
                       const char *source, uint64_t id)
{
    if (!queue_view_waiting(queue_view, source, id, &bodies->events))
        return find_ended(bodies, queue_view, source, id);
    const struct event *waiting = &bodies->events.at[0];
    struct view_bodies *view = &bodies->view;
    struct recent_event *event = &bodies->event;
    queue_view_describe(event, source, waiting->body, waiting->length);
    snprintf(event->state, sizeof event->state, "waiting");
    event->queue_id = id;
    event->received_ms = waiting->received_ms;
    view->event = event;
    view->title = event->name;
    view->incoming_note = show_body(config_source(config, source), waiting->body, waiting->length, &view->incoming);
    view->message_note = "It is made when it is sent.";
    view->attempts = queue_view_attempts(queue_view, source, id, waiting->received_ms, view->attempt);
    return !view->incoming.failed;
}
