/* What came back, in words: see explain.h. */
#include "commands/explain.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/escape.h"
#include "commands/advice.h"
#include "commands/commands.h"

#define WORDS_MOST 600                /* bytes of an answer that are shown */
#define CLOSE_WAITS_MS INT64_C(15000) /* for an answer */

/* Bytes that somebody else holds. */
struct slice {
    const char *at;
    size_t length;
};

static bool is_ok(const struct delivery_answer *answer)
{
    size_t length = answer->body.length;
    while (length > 0 && (answer->body.data[length - 1] == '\n' || answer->body.data[length - 1] == '\r'))
        length--;
    return answer->status == 200 && length == 2 && memcmp(answer->body.data, "ok", 2) == 0;
}

/* The answer's body, or of a web page its title, which says enough. */
static struct slice words_of(const struct delivery_answer *answer)
{
    static const char open[] = "<title>", close[] = "</title>";
    const char *body = answer->body.data;
    size_t length = answer->body.length;
    const char *title = length == 0 ? NULL : memmem(body, length, open, sizeof open - 1);
    if (title == NULL)
        return (struct slice){body, length};
    title += sizeof open - 1;
    size_t rest = length - (size_t)(title - body);
    const char *end = memmem(title, rest, close, sizeof close - 1);
    return (struct slice){title, end == NULL ? rest : (size_t)(end - title)};
}

/* Prints the answer's words as one line. */
static void print_words(const struct delivery_answer *answer)
{
    struct slice words = words_of(answer);
    size_t length = words.length < WORDS_MOST ? words.length : WORDS_MOST;
    while (length > 0 && strchr(" \t\r\n", words.at[length - 1]) != NULL)
        length--;
    if (words.at != answer->body.data)
        fputs("a web page: ", stdout);
    plain_line(stdout, words.at, length);
    puts(length == 0 ? "nothing" : "");
}

int explain_answer(const struct delivery_answer *answer, size_t sent)
{
    if (answer->code != CURLE_OK) {
        printf("no answer after %lld ms: %s\n%s\n", (long long)answer->took_ms, answer->error,
               advice_on_failure(answer->code));
        return COMMAND_FAILED;
    }
    printf("answer: %ld after %lld ms: ", answer->status, (long long)answer->took_ms);
    print_words(answer);
    if (!is_ok(answer)) {
        char sentence[DELIVERY_SENTENCE];
        bool by_program = delivery_sentence(answer, sentence);
        printf("%s\n", advice_on_answer(answer->status, by_program ? sentence : NULL, sent));
        return COMMAND_FAILED;
    }
    if (answer->took_ms > CLOSE_WAITS_MS) {
        printf("Close waits 15 s for an answer: it would have counted this as a failure and sent the event again\n");
        return COMMAND_FAILED;
    }
    return COMMAND_OK;
}
