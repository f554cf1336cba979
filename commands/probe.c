/* Probing the way to the program: see probe.h. Where the large request does not get through, smaller ones tell how
 * large is still good. */
#include "commands/probe.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "commands/advice.h"
#include "commands/commands.h"
#include "commands/delivery.h"
#include "commands/sign.h"
#include "webhook/webhook.h"

#define UNDER 1024 /* bytes below max_body */

static const size_t smaller[] = {1000 * 1024, 120 * 1024}; /* under nginx's and mod_fcgid's own limits */

/* A body of this size; its text is what an e-mail has, for filters look at that. */
static void write_body(size_t size, struct buffer *out)
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

static bool is_good(const struct delivery_answer *answer)
{
    static const char wanted[] = WEBHOOK_PROBE_ANSWER;
    return answer->status == 200 && answer->body.length >= sizeof wanted - 1 &&
           memcmp(answer->body.data, wanted, sizeof wanted - 1) == 0;
}

static void judge(const struct delivery_answer *answer, size_t sent)
{
    char sentence[DELIVERY_SENTENCE];
    bool by_program = delivery_sentence(answer, sentence);
    printf("probe: %zu bytes: ", sent);
    if (answer->code != CURLE_OK)
        printf("no answer after %lld ms: %s\n  %s\n", (long long)answer->took_ms, answer->error,
               advice_on_failure(answer->code));
    else if (is_good(answer))
        printf("arrived, answered 200 after %lld ms\n", (long long)answer->took_ms);
    else if (answer->status == 200)
        printf("answered 200, but not by this program's running version: something else answers at this address\n");
    else
        printf("answered %ld%s%s\n  %s\n", answer->status, by_program ? ": " : "", sentence,
               advice_on_answer(answer->status, by_program ? sentence : NULL, sent));
}

/* Sends one. Returns whether it got through. */
static bool send_one(const char *text, const struct signature_key *key, size_t size)
{
    char timestamp[32], hash[SIGN_HEX_SIZE];
    struct buffer body = {0};
    struct delivery_answer answer = {0};
    CURLU *url = curl_url();
    bool good = false;
    write_body(size, &body);
    snprintf(timestamp, sizeof timestamp, "%lld", (long long)(clock_unix_ms() / 1000));
    bool ready = url != NULL && !body.failed && curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK &&
                 sign_body(key, timestamp, body.data, body.length, hash);
    const struct delivery delivery = {
        .url = url, .body = body.data, .length = body.length, .timestamp = timestamp, .hash = hash};
    if (ready && delivery_send(&delivery, &answer)) {
        judge(&answer, body.length);
        good = answer.code == CURLE_OK && is_good(&answer);
    } else {
        printf("probe: out of memory\n");
    }
    fflush(stdout);
    delivery_answer_free(&answer);
    buffer_free(&body);
    curl_url_cleanup(url);
    return good;
}

int probe_url(const struct config *config, const char *url, const struct signature_key *key)
{
    size_t large = (size_t)config->max_body - UNDER / 2;
    if (!send_one(url, key, 500)) {
        printf("nothing gets through: Close's deliveries will fail at this address\n");
        return COMMAND_FAILED;
    }
    if (send_one(url, key, large))
        return COMMAND_OK;
    for (size_t i = 0; i < sizeof smaller / sizeof *smaller; i++) {
        if (smaller[i] < large && send_one(url, key, smaller[i]))
            break;
    }
    printf("small events get through, large ones (e-mails) do not: raise the limit, or let `reconcile` fetch them\n");
    return COMMAND_FAILED;
}
