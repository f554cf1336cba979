/* Trying an address before and after Close is given it: see probe.h. */
#include "commands/probe.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/program_name.h"
#include "commands/advice.h"
#include "commands/commands.h"
#include "commands/delivery.h"
#include "webhook/webhook.h"

#define UNDER 1024 /* bytes: half of it is how far the large probe stays below max_body */

/* ---- an unsigned GET ---- */

static bool is_greeting(const struct delivery_answer *answer)
{
    char sentence[DELIVERY_SENTENCE];
    return answer->code == CURLE_OK && delivery_sentence(answer, sentence) &&
           strncmp(sentence, WEBHOOK_GREETING, sizeof WEBHOOK_GREETING - 1) == 0;
}

/* What came in the place of the sentence. */
static void print_other_answer(const char *command, const char *text, const struct delivery_answer *answer)
{
    char sentence[DELIVERY_SENTENCE], named[ADVICE_SIZE];
    bool by_program = delivery_sentence(answer, sentence);
    fprintf(stderr, "%s: no subscription was made: ", command);
    if (answer->code != CURLE_OK)
        fprintf(stderr, "%s cannot be reached from here: %s\n%s\n", text, answer->error,
                advice_on_failure(answer->code));
    else
        fprintf(
            stderr, "%s does not lead to this program: a GET is answered %ld%s%s\n%s\n", text, answer->status,
            by_program ? ": " : "", sentence,
            program_name_put(advice_on_answer(answer->status, by_program ? sentence : NULL, 0), named, sizeof named));
    fprintf(stderr, "If this machine cannot reach its own public address, or GET is refused on purpose, say "
                    "--no-url-check\n");
}

int probe_address(const char *command, const char *text)
{
    struct delivery_answer answer = {0};
    CURLU *url = delivery_url(text);
    const struct delivery get = {.url = url, .is_get = true};
    bool sent = url != NULL && delivery_send(&get, &answer), good = sent && is_greeting(&answer);
    if (!sent)
        fprintf(stderr, "%s: out of memory\n", command);
    else if (!good)
        print_other_answer(command, text, &answer);
    delivery_answer_free(&answer);
    curl_url_cleanup(url);
    return good ? COMMAND_OK : COMMAND_FAILED;
}

/* ---- signed requests: where the large one does not get through, smaller ones tell how large is still good ---- */

static const size_t smaller[] = {1000 * 1024, 120 * 1024}; /* under nginx's and mod_fcgid's own limits */

/* Writes a body of about this size that looks like an HTML e-mail, for filters judge that. */
static void write_probe_body(size_t size, struct buffer *out)
{
    static const char head[] =
        WEBHOOK_PROBE "\"a test by closecrm.fcgi subscribe --probe\", \"body_html\": \"<html><body>";
    static const char line[] =
        "<p style=\\\"margin:0\\\">Hello, <a href=\\\"https://example.com/?a=1&b=2\\\">click</a></p>";
    static const char tail[] = "</body></html>\"}";
    buffer_text(out, head);
    while (out->length + sizeof line + sizeof tail < size && !out->failed)
        buffer_text(out, line);
    buffer_text(out, tail);
}

static bool is_probe_answer(const struct delivery_answer *answer)
{
    static const char wanted[] = WEBHOOK_PROBE_ANSWER;
    return answer->status == 200 && answer->body.length >= sizeof wanted - 1 &&
           memcmp(answer->body.data, wanted, sizeof wanted - 1) == 0;
}

static void print_probe_answer(const struct delivery_answer *answer, size_t sent)
{
    char sentence[DELIVERY_SENTENCE], named[ADVICE_SIZE];
    bool by_program = delivery_sentence(answer, sentence);
    printf("probe: %zu bytes: ", sent);
    if (answer->code != CURLE_OK)
        printf("no answer after %lld ms: %s\n  %s\n", (long long)answer->took_ms, answer->error,
               advice_on_failure(answer->code));
    else if (is_probe_answer(answer))
        printf("arrived, answered 200 after %lld ms\n", (long long)answer->took_ms);
    else if (answer->status == 200)
        printf("answered 200, but not by this program's running version: something else answers at this address\n");
    else
        printf("answered %ld%s%s\n  %s\n", answer->status, by_program ? ": " : "", sentence,
               program_name_put(advice_on_answer(answer->status, by_program ? sentence : NULL, sent), named,
                                sizeof named));
}

/* Sends a probe of that size and prints what came back. Returns whether the program answered it. */
static bool send_probe(const char *text, const struct signature_key *key, size_t size)
{
    char timestamp[32], hash[DELIVERY_HASH_SIZE];
    struct buffer body = {0};
    struct delivery_answer answer = {0};
    CURLU *url = delivery_url(text);
    bool good = false;
    write_probe_body(size, &body);
    snprintf(timestamp, sizeof timestamp, "%lld", (long long)(clock_unix_ms() / 1000));
    bool ready = url != NULL && !body.failed && delivery_sign(key, timestamp, body.data, body.length, hash);
    const struct delivery delivery = {
        .url = url, .body = body.data, .length = body.length, .timestamp = timestamp, .hash = hash};
    if (ready && delivery_send(&delivery, &answer)) {
        print_probe_answer(&answer, body.length);
        good = answer.code == CURLE_OK && is_probe_answer(&answer);
    } else {
        printf("probe: out of memory\n");
    }
    fflush(stdout);
    delivery_answer_free(&answer);
    buffer_free(&body);
    curl_url_cleanup(url);
    return good;
}

int probe_sizes(const struct config *config, const char *url, const struct signature_key *key)
{
    size_t large = (size_t)config->max_body - UNDER / 2;
    if (!send_probe(url, key, 500)) {
        printf("nothing gets through: Close's deliveries will fail at this address\n");
        return COMMAND_FAILED;
    }
    if (send_probe(url, key, large))
        return COMMAND_OK;
    for (size_t i = 0; i < sizeof smaller / sizeof *smaller; i++) {
        if (smaller[i] < large && send_probe(url, key, smaller[i]))
            break;
    }
    printf("small events get through, large ones (e-mails) do not: raise the limit, or let `reconcile` fetch them\n");
    return COMMAND_FAILED;
}
