/* The client of Close's API, one request: see client.h. libcurl's multi interface, so that the end of the process cuts
 * a request or a wait short. */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "closeapi/client_private.h"

#define CONNECT_MS 10000L
#define WHOLE_MS 60000L
#define ANSWER_MOST JSON_TEXT_MAX
#define TELL_MS 2000 /* shorter waits are not worth a word */

/* ---- what comes back ---- */

static size_t take_body(char *data, size_t size, size_t count, void *context)
{
    struct close_client *client = context;
    struct buffer *body = &client->answer->body;
    if (size * count > ANSWER_MOST - body->length)
        return 0;
    buffer_append(body, data, size * count);
    return body->failed ? 0 : size * count;
}

static int64_t seconds_to_ms(double seconds)
{
    if (!(seconds > 0))
        return 0;
    return seconds > 86400 ? 86400000 : (int64_t)(seconds * 1000) + 1;
}

/* `limit=100, remaining=0, reset=5.2` */
static void take_rate_limit(struct close_client *client, const char *value)
{
    const char *reset = strstr(value, "reset="), *remaining = strstr(value, "remaining=");
    if (reset != NULL)
        client->reset_ms = seconds_to_ms(strtod(reset + strlen("reset="), NULL));
    client->none_remain = remaining != NULL && strtod(remaining + strlen("remaining="), NULL) <= 0;
}

static size_t take_header(char *line, size_t size, size_t count, void *context)
{
    struct close_client *client = context;
    char text[512];
    snprintf(text, sizeof text, "%.*s", (int)(size * count < sizeof text ? size * count : sizeof text - 1), line);
    char *value = strchr(text, ':');
    if (value != NULL) {
        *value++ = '\0';
        if (strcasecmp(text, "RateLimit") == 0)
            take_rate_limit(client, value);
        else if (strcasecmp(text, "Retry-After") == 0)
            client->retry_after_ms = seconds_to_ms(strtod(value, NULL));
        else if (strcasecmp(text, "Date") == 0)
            client->answer->date_ms = (int64_t)curl_getdate(value, NULL) * 1000;
    }
    return size * count;
}

/* ---- making it ---- */

static bool set_up(struct close_client *client, const struct config *config, const struct source *source)
{
    static const char *const headers[] = {"Accept: application/json", "Content-Type: application/json", NULL};
    const struct http_options options = {
        .url = client->base,
        .agent = "closecrm.fcgi/" CLOSECRM_VERSION,
        .user = source->close_api_key,
        .certificates = config_certificates(config),
        .headers = headers,
        .connect_ms = CONNECT_MS,
        .whole_ms = WHOLE_MS,
        .take_body = take_body,
        .context = client,
    };
    return http_request_open(&client->request, &options) &&
           curl_easy_setopt(client->request.easy, CURLOPT_HEADERFUNCTION, take_header) == CURLE_OK &&
           curl_easy_setopt(client->request.easy, CURLOPT_HEADERDATA, client) == CURLE_OK;
}

struct close_client *close_client_new(const struct config *config, const struct source *source,
                                      const struct close_options *options, struct error *why)
{
    if (source->close_api_key == NULL) {
        error_set(why,
                  "source %s has no close_api_key: make one in Close (Settings, Developer, API Keys), as an "
                  "administrator, and put it into the configuration",
                  source->name);
        return NULL;
    }
    struct close_client *client = calloc(1, sizeof *client);
    bool good = client != NULL && curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    if (good) {
        client->options = *options;
        client->base = source->close_api_url;
        client->multi = curl_multi_init();
        good = client->multi != NULL && set_up(client, config, source);
    }
    if (good)
        return client;
    error_set(why, "cannot set up libcurl: out of memory");
    close_client_free(client);
    return NULL;
}

void close_client_free(struct close_client *client)
{
    if (client == NULL)
        return;
    http_request_close(&client->request);
    curl_multi_cleanup(client->multi);
    curl_global_cleanup();
    free(client);
}

void close_answer_free(struct close_answer *answer)
{
    buffer_free(&answer->body);
}

uint64_t close_client_requests(const struct close_client *client)
{
    return client->requests;
}

/* ---- one request ---- */

bool client_wait(struct close_client *client, int64_t ms, const char *reason)
{
    moment end = clock_now() + ms;
    struct pollfd stop = {.fd = client->options.stop_fd, .events = POLLIN};
    if (ms >= TELL_MS && client->options.waits != NULL)
        client->options.waits(client->options.context, ms, reason);
    while (clock_now() < end) {
        if (poll(&stop, 1, clock_until(end)) > 0)
            return false;
    }
    return true;
}

/* Moves the request on until it is done. Returns false when all is to end. */
static bool perform(struct close_client *client, CURLcode *code)
{
    struct curl_waitfd stop = {.fd = client->options.stop_fd, .events = CURL_WAIT_POLLIN};
    unsigned count = client->options.stop_fd >= 0 ? 1 : 0;
    *code = CURLE_FAILED_INIT;
    http_request_begin(&client->request);
    if (curl_multi_add_handle(client->multi, client->request.easy) != CURLM_OK)
        return true;
    int running = 1, left;
    bool stopped = false;
    while (running > 0 && !stopped) {
        if (curl_multi_perform(client->multi, &running) != CURLM_OK)
            break;
        if (running > 0)
            curl_multi_poll(client->multi, &stop, count, 60000, NULL);
        stopped = (stop.revents & CURL_WAIT_POLLIN) != 0;
    }
    for (CURLMsg *message; (message = curl_multi_info_read(client->multi, &left)) != NULL;) {
        if (message->msg == CURLMSG_DONE)
            *code = message->data.result;
    }
    *code = http_request_end(&client->request, stopped ? CURLE_OPERATION_TIMEDOUT : *code);
    curl_multi_remove_handle(client->multi, client->request.easy);
    return !stopped;
}

bool client_send_once(struct close_client *client, const char *method, const char *url, const char *body,
                      struct close_answer *answer, CURLcode *code)
{
    CURL *easy = client->request.easy;
    buffer_clear(&answer->body);
    answer->status = 0;
    answer->date_ms = 0;
    client->answer = answer;
    client->reset_ms = client->retry_after_ms = -1;
    client->none_remain = false;
    client->requests++;
    curl_easy_setopt(easy, CURLOPT_URL, url);
    if (body != NULL) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body));
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    } else {
        curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    /* A kept connection that closes without a byte makes libcurl send again by itself: twice what must be done once. */
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, strcmp(method, "POST") == 0 ? 1L : 0L);
    if (!perform(client, code))
        return false;
    buffer_append(&answer->body, "", 1);
    if (answer->body.failed) {
        *code = CURLE_OUT_OF_MEMORY;
        buffer_free(&answer->body);
    } else {
        answer->body.length--;
    }
    long status = 0;
    if (*code == CURLE_OK)
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    answer->status = (int)status;
    return true;
}
