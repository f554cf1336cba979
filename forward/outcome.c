/* Answers and what they mean: see outcome.h. */
#include "forward/outcome.h"

#include <string.h>
#include <strings.h>

#include "base/log.h"

static const struct {
    int from, to; /* statuses, both included */
    enum outcome outcome;
} table[] = {
    {0, 0, OUTCOME_RETRY}, /* no connection, silence, cut */
    {400, 400, OUTCOME_REFUSED}, {403, 404, OUTCOME_REFUSED}, {408, 408, OUTCOME_RETRY}, {413, 413, OUTCOME_REFUSED},
    {422, 422, OUTCOME_REFUSED}, {429, 429, OUTCOME_RETRY},   {500, 599, OUTCOME_RETRY},
};

static const struct {
    int status;
    const char *advice;
} advices[] = {
    {200, "this is no RudderStack data plane, or a proxy answers for it: check data_plane_url; if it stores events and "
          "answers with an empty body, accept_empty = yes takes that as delivered"},
    {301, "redirects are not followed: write the address it leads to into data_plane_url"},
    {302, "redirects are not followed: write the address it leads to into data_plane_url"},
    {307, "redirects are not followed: write the address it leads to into data_plane_url"},
    {308, "redirects are not followed: write the address it leads to into data_plane_url"},
    {401, "check write_key: it is shown at the source's settings in RudderStack"},
    {403, "a proxy or firewall before the data plane refuses this machine: ask who runs it"},
    {404, "the source is disabled in RudderStack, or data_plane_url has a wrong path"},
};

/* What is left of an answer's body without these characters at both its ends. */
struct words {
    const char *text;
    size_t length;
};

static struct words without(const struct answer *answer, const char *ends)
{
    struct words words = {answer->body, answer->length};
    while (words.length > 0 && strchr(ends, words.text[0]) != NULL && words.text[0] != '\0') {
        words.text++;
        words.length--;
    }
    while (words.length > 0 && strchr(ends, words.text[words.length - 1]) != NULL &&
           words.text[words.length - 1] != '\0')
        words.length--;
    return words;
}

/* The gateway's own `ok`, in any letter case, and as proxies and gateways in front pass it on: with blanks, line ends
 * or quotes around it, or as {"success":true}. A web page that answers 200 is no delivery. */
static bool says_ok(const struct answer *answer, bool accept_empty)
{
    static const char success[] = "{\"success\":true}";
    if (answer->length > ANSWER_BODY)
        return false;
    struct words bare = without(answer, " \t\r\n\""), whole = without(answer, " \t\r\n");
    return (bare.length == 2 && strncasecmp(bare.text, "ok", 2) == 0) ||
           (whole.length == sizeof success - 1 && memcmp(whole.text, success, sizeof success - 1) == 0) ||
           (answer->length == 0 && accept_empty);
}

enum outcome outcome_of(const struct answer *answer, bool accept_empty)
{
    if (answer->status == 200 && says_ok(answer, accept_empty))
        return OUTCOME_DELIVERED;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (answer->status >= table[i].from && answer->status <= table[i].to)
            return table[i].outcome;
    }
    return OUTCOME_OPERATOR;
}

bool outcome_is_failure(const struct answer *answer)
{
    return answer->status >= 500 || (answer->status == 0 && (answer->cut || answer->silent));
}

bool outcome_is_too_much(const struct answer *answer)
{
    return answer->status == 408 || (answer->status == 0 && (answer->cut || answer->silent));
}

bool outcome_takes_empty_batch(const struct answer *answer)
{
    static const char expected[] = "empty batch payload"; /* there are releases of rudder-server with a capital E */
    size_t length = sizeof expected - 1;
    bool found = false;
    for (size_t i = 0; !found && answer->length < ANSWER_BODY && i + length <= answer->length; i++)
        found = strncasecmp(answer->body + i, expected, length) == 0;
    return answer->status == 400 && found;
}

void outcome_describe(const struct answer *answer, struct error *why)
{
    char words[LOG_QUOTED];
    if (answer->status == 0) {
        error_set(why, "no answer from the data plane: %s", answer->error.text);
        return;
    }
    size_t length = answer->length < ANSWER_BODY ? answer->length : ANSWER_BODY;
    while (length > 0 && (answer->body[length - 1] == '\n' || answer->body[length - 1] == '\r'))
        length--;
    log_quote(words, answer->body, length < 100 ? length : 100);
    error_set(why, "the data plane answered %d %s", answer->status, words);
}

const char *outcome_advice(int status)
{
    for (size_t i = 0; i < sizeof advices / sizeof *advices; i++) {
        if (advices[i].status == status)
            return advices[i].advice;
    }
    return NULL;
}
