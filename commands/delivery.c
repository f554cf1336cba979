/* One POST over libcurl: see delivery.h. */
#include "commands/delivery.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
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

/* Adds one header line; NULL once memory ran out. */
static bool add_header(struct curl_slist **list, const char *name, const char *value)
{
    char line[256];
    snprintf(line, sizeof line, "%s: %s", name, value);
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (longer == NULL)
        return false;
    *list = longer;
    return true;
}

static bool add_headers(struct curl_slist **list, const struct delivery *delivery)
{
    struct curl_slist *no_expect = curl_slist_append(NULL, "Expect:"); /* not to wait for a "100 Continue" */
    if (no_expect == NULL)
        return false;
    *list = no_expect;
    if (!add_header(list, "Content-Type", "application/json"))
        return false;
    return delivery->timestamp == NULL || (add_header(list, "close-sig-timestamp", delivery->timestamp) &&
                                           add_header(list, "close-sig-hash", delivery->hash));
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

static void set_options(CURL *curl, const struct delivery *delivery, struct curl_slist *headers,
                        struct delivery_answer *answer)
{
    curl_easy_setopt(curl, CURLOPT_CURLU, delivery->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "closecrm.fcgi/" CLOSECRM_VERSION " send-test");
    curl_easy_setopt(curl, CURLOPT_POST, 1L);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, delivery->length == 0 ? "" : delivery->body);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)delivery->length);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, ANSWER_MS);
    if (config_certificates(NULL) != NULL)
        curl_easy_setopt(curl, CURLOPT_CAINFO, config_certificates(NULL));
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L); /* never wait for a resolver that hangs */
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, answer->error);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer->body);
    if (is_this_machine(delivery->url))
        curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
}

static void keep_answer(CURL *curl, struct delivery_answer *answer)
{
    const char *type = NULL;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
    curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
    if (type != NULL)
        snprintf(answer->type, sizeof answer->type, "%.*s", (int)strcspn(type, "; "), type);
    if (answer->code != CURLE_OK && answer->error[0] == '\0')
        snprintf(answer->error, sizeof answer->error, "%s", curl_easy_strerror(answer->code));
}

bool delivery_send(const struct delivery *delivery, struct delivery_answer *answer)
{
    *answer = (struct delivery_answer){.code = CURLE_FAILED_INIT};
    struct curl_slist *headers = NULL;
    CURL *curl = curl_easy_init();
    bool ready = curl != NULL && add_headers(&headers, delivery);
    if (ready) {
        set_options(curl, delivery, headers, answer);
        moment started = clock_now();
        answer->code = curl_easy_perform(curl);
        answer->took_ms = clock_now() - started;
        keep_answer(curl, answer);
    }
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    return ready;
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
