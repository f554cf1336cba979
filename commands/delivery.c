/* A webhook sent as Close would send it: see delivery.h. */
#include "commands/delivery.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/escape.h"
#include "base/http_request.h"
#include "base/program_name.h"
#include "base/text.h"
#include "commands/advice.h"
#include "commands/commands.h"
#include "config/config.h"
#include "webhook/signature.h"

#define CONNECT_MS 5000L /* as long as Close waits for a connection */
#define ANSWER_MS 60000L /* longer than Close waits, to see what would have come */
#define ANSWER_MAX 65536 /* bytes; a web page in the place of an answer may be long */

CURLU *delivery_url(const char *text)
{
    CURLU *url = curl_url();
    char *scheme = NULL;
    bool good = url != NULL && curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK &&
                curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    curl_free(scheme);
    if (good)
        return url;
    curl_url_cleanup(url);
    return NULL;
}

static size_t take_body(char *data, size_t size, size_t count, void *context)
{
    struct buffer *body = context;
    size_t room = ANSWER_MAX - body->length, length = size * count;
    buffer_append(body, data, length < room ? length : room);
    return body->failed ? 0 : length;
}

/* Whether the URL names this machine: then a proxy in the environment is not meant. */
static bool is_this_machine(CURLU *url)
{
    char *host = NULL;
    if (curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK)
        return false;
    bool is = config_host_is_loopback(host);
    curl_free(host);
    return is;
}

static bool set_up(struct http_request *request, const struct delivery *delivery, struct delivery_answer *answer)
{
    char timestamp[64], hash[128];
    const bool is_signed = delivery->timestamp != NULL;
    const char *const headers[] = {delivery->is_get ? "Accept: application/json" : "Content-Type: application/json",
                                   is_signed ? timestamp : NULL, hash, NULL};
    const struct http_options options = {
        .agent = "closecrm.fcgi/" CLOSECRM_VERSION " send-test",
        .certificates = config_certificates(NULL),
        .headers = headers,
        .connect_ms = CONNECT_MS,
        .whole_ms = ANSWER_MS,
        .take_body = take_body,
        .context = &answer->body,
    };
    snprintf(timestamp, sizeof timestamp, "close-sig-timestamp: %s", is_signed ? delivery->timestamp : "");
    snprintf(hash, sizeof hash, "close-sig-hash: %s", is_signed ? delivery->hash : "");
    if (!http_request_open(request, &options))
        return false;
    curl_easy_setopt(request->easy, CURLOPT_CURLU, delivery->url);
    curl_easy_setopt(request->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    if (is_this_machine(delivery->url))
        curl_easy_setopt(request->easy, CURLOPT_NOPROXY, "*");
    if (delivery->is_get)
        return true;
    curl_easy_setopt(request->easy, CURLOPT_POST, 1L);
    curl_easy_setopt(request->easy, CURLOPT_POSTFIELDS, delivery->length == 0 ? "" : delivery->body);
    curl_easy_setopt(request->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)delivery->length);
    return true;
}

bool delivery_send(const struct delivery *delivery, struct delivery_answer *answer)
{
    *answer = (struct delivery_answer){.code = CURLE_FAILED_INIT};
    struct http_request request;
    const char *type = NULL;
    if (!set_up(&request, delivery, answer))
        return false;
    moment started = clock_now();
    http_request_begin(&request);
    answer->code = http_request_end(&request, curl_easy_perform(request.easy));
    answer->took_ms = clock_now() - started;
    curl_easy_getinfo(request.easy, CURLINFO_RESPONSE_CODE, &answer->status);
    curl_easy_getinfo(request.easy, CURLINFO_CONTENT_TYPE, &type);
    if (type != NULL)
        snprintf(answer->type, sizeof answer->type, "%.*s", (int)strcspn(type, "; "), type);
    memcpy(answer->error, request.error, sizeof answer->error);
    http_request_close(&request);
    return true;
}

bool delivery_sentence(const struct delivery_answer *answer, char sentence[static DELIVERY_SENTENCE])
{
    static const char start[] = "{\"error\": \"";
    const struct buffer *body = &answer->body;
    size_t from = sizeof start - 1, length = 0;
    sentence[0] = '\0';
    if (strcmp(answer->type, "application/json") != 0 || body->length < from || memcmp(body->data, start, from) != 0)
        return false;
    for (size_t i = from; i < body->length && length < DELIVERY_SENTENCE - 1; i++) {
        char c = body->data[i];
        if (c == '"' && body->data[i - 1] != '\\')
            break;
        sentence[length++] = c < 0x20 || c >= 0x7f ? '?' : c;
    }
    sentence[length] = '\0';
    return true;
}

void delivery_answer_free(struct delivery_answer *answer)
{
    buffer_free(&answer->body);
}

_Static_assert(DELIVERY_HASH_SIZE == 2 * SIGNATURE_BYTES + 1, "two digits a byte and a NUL");

bool delivery_sign(const struct signature_key *key, const char *timestamp, const char *body, size_t length,
                   char out[static DELIVERY_HASH_SIZE])
{
    unsigned char hash[SIGNATURE_BYTES];
    bool made = signature_sign(key, timestamp, body, length, hash);
    if (made)
        text_hex_encode(hash, sizeof hash, out);
    return made;
}

#define SHOWN_MOST 600                /* bytes of an answer that are shown */
#define CLOSE_WAITS_MS INT64_C(15000) /* for an answer */

/* Borrowed bytes of an answer. */
struct answer_text {
    const char *at;
    size_t length;
};

static bool is_accepted(const struct delivery_answer *answer, const char *wanted)
{
    size_t length = answer->body.length;
    while (length > 0 && (answer->body.data[length - 1] == '\n' || answer->body.data[length - 1] == '\r'))
        length--;
    return answer->status == 200 && length == strlen(wanted) && memcmp(answer->body.data, wanted, length) == 0;
}

/* The answer's body; of a web page only its title. */
static struct answer_text find_answer_text(const struct delivery_answer *answer)
{
    static const char open[] = "<title>", close[] = "</title>";
    const char *body = answer->body.data;
    size_t length = answer->body.length;
    const char *title = length == 0 ? NULL : memmem(body, length, open, sizeof open - 1);
    if (title == NULL)
        return (struct answer_text){body, length};
    title += sizeof open - 1;
    size_t rest = length - (size_t)(title - body);
    const char *end = memmem(title, rest, close, sizeof close - 1);
    return (struct answer_text){title, end == NULL ? rest : (size_t)(end - title)};
}

/* Prints the answer's words as one line. What could move the terminal's cursor becomes a `?`. */
static void print_answer_text(const struct delivery_answer *answer)
{
    struct answer_text words = find_answer_text(answer);
    size_t length = words.length < SHOWN_MOST ? words.length : SHOWN_MOST;
    while (length > 0 && strchr(" \t\r\n", words.at[length - 1]) != NULL)
        length--;
    if (words.at != answer->body.data)
        fputs("a web page: ", stdout);
    plain_line(stdout, words.at, length);
    puts(length == 0 ? "nothing" : "");
}

int delivery_explain(const struct delivery_answer *answer, size_t sent, const char *wanted)
{
    if (answer->code != CURLE_OK) {
        printf("no answer after %lld ms: %s\n%s\n", (long long)answer->took_ms, answer->error,
               advice_on_failure(answer->code));
        return COMMAND_FAILED;
    }
    printf("answer: %ld after %lld ms: ", answer->status, (long long)answer->took_ms);
    print_answer_text(answer);
    if (!is_accepted(answer, wanted)) {
        char sentence[DELIVERY_SENTENCE], named[ADVICE_SIZE];
        bool by_program = delivery_sentence(answer, sentence);
        puts(program_name_put(advice_on_answer(answer->status, by_program ? sentence : NULL, sent), named,
                              sizeof named));
        return COMMAND_FAILED;
    }
    if (answer->took_ms > CLOSE_WAITS_MS) {
        printf("Close waits 15 s for an answer: it would have counted this as a failure and sent the event again\n");
        return COMMAND_FAILED;
    }
    return COMMAND_OK;
}
