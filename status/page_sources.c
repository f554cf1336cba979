/* The sources: a card each. */
#include <string.h>

#include "base/escape.h"
#include "health/findings.h"
#include "status/status_private.h"
#include "webhook/refusals.h"

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

void page_sources(struct buffer *out, const struct view *view)
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
