/* An alert as JSON: see alert.h. */
#include "health/alert.h"

#include <unistd.h>

#include "base/escape.h"
#include "base/times.h"

#define HOST 128 /* bytes of this machine's name */

const char *alert_state_word(enum alert_state state)
{
    static const char *const words[] = {[ALERT_RAISED] = "raised", [ALERT_STILL] = "still", [ALERT_GONE] = "gone"};
    return words[state];
}

static void write_sentence(const struct alert *alert, const char *host, struct buffer *out)
{
    struct buffer text = {0};
    write_format(&text, "closecrm.fcgi (%s): %s%s%s%s", host, alert->source[0] != '\0' ? "source " : "", alert->source,
                 alert->source[0] != '\0' ? ": " : "", alert->brief);
    if (alert->waiting + alert->dead > 0)
        write_format(&text, " (waiting: %llu, dead letters: %llu)", (unsigned long long)alert->waiting,
                     (unsigned long long)alert->dead);
    buffer_append(&text, "", 1);
    if (!text.failed)
        write_text_member(out, "text", text.data);
    out->failed = out->failed || text.failed;
    buffer_free(&text);
}

bool alert_json(const struct alert *alert, const char *words, struct buffer *out)
{
    char since[DATE_PRINTED], now[DATE_PRINTED], host[HOST] = "";
    gethostname(host, sizeof host - 1);
    buffer_text(out, "{");
    write_text_member(out, "cause", alert->cause);
    write_text_member(out, "state", alert_state_word(alert->state));
    write_text_member(out, "source", alert->source);
    write_text_member(out, "words", words);
    write_number_member(out, "waiting", alert->waiting);
    write_number_member(out, "dead_letters", alert->dead);
    write_text_member(out, "since", times_print_ms(alert->since_ms, DATE_Z, since));
    write_text_member(out, "time", times_print_ms(alert->now_ms, DATE_Z, now));
    write_text_member(out, "host", host);
    write_sentence(alert, host, out);
    buffer_text(out, "}");
    return !out->failed;
}
