/* One POST over libcurl: see delivery.h. */
#include "commands/delivery.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/http_request.h"
#include "config/config.h"

#define CONNECT_MS 5000L /* as long as Close waits for a connection */
#define ANSWER_MS 60000L /* longer than Close waits, to see what would have come */
#define ANSWER_MAX 65536 /* bytes; a web page in the place of an answer may be long */

static size_t take_body(char *data, size_t size, size_t count, void *context)
{
    struct buffer *body = context;
    size_t room = ANSWER_MAX - body->length, length = size * count;
    buffer_append(body, data, length < room ? length : room);
    return body->failed ? 0 : length;
}

/* A proxy in the environment is for the world outside. */
static bool is_this_machine(CURLU *url)
{
    char *host = NULL;
    if (curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK)
        return false;
    bool is = strncmp(host, "127.", 4) == 0 || strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0;
    curl_free(host);
    return is;
}

static bool set_up(struct http_request *request, const struct delivery *delivery, struct delivery_answer *answer)
{
    char timestamp[64], hash[128];
    const bool is_signed = delivery->timestamp != NULL;
    const char *const headers[] = {"Content-Type: application/json", is_signed ? timestamp : NULL, hash, NULL};
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
    curl_easy_setopt(request->easy, CURLOPT_POST, 1L);
    curl_easy_setopt(request->easy, CURLOPT_POSTFIELDS, delivery->length == 0 ? "" : delivery->body);
    curl_easy_setopt(request->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)delivery->length);
    if (is_this_machine(delivery->url))
        curl_easy_setopt(request->easy, CURLOPT_NOPROXY, "*");
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
