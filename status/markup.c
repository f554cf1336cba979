/* Pieces of HTML that several parts of the page have. */
#include "base/escape.h"
#include "status/status_private.h"

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
