/* The client of Close's API: see client.h. It uses libcurl's multi interface, so that stop_fd cuts a request short. */
#include "closeapi/client.h"

#include "base/clock.h"
#include "base/curl_calls.h"
#include "base/http_request.h"
#include "base/log.h"

#include <curl/curl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#define CONNECT_MS 10000L
#define WHOLE_MS 60000L
#define ANSWER_MOST JSON_TEXT_MAX
#define TELL_MS 2000 /* shorter waits are not reported */

#define FIRST_WAIT_MS 250
#define MOST_WAIT_MS 30000
#define LIMIT_WAIT_MOST_MS 900000 /* the longest wait for a rate limit, whatever Close says */
#define LIMIT_WORDS "Close's rate limit is used up"
#define LIMITED_MOST 100 /* 429 in a row: then the request has failed */
#define REFUSALS 3       /* 401 in a row: then the key is bad; a good one sometimes gets one */
#define MALFORMED 3      /* answers that are no JSON: then the request has failed */

struct close_client {
    CURLM *multi;
    struct http_sockets sockets; /* of its connections */
    struct http_request request;
    const char *base;
    struct close_options options;
    moment not_before; /* no request is sent earlier, for the rate limit is used up */
    uint64_t requests;

    /* Of the request in progress. */
    struct close_answer *answer;
    int64_t reset_ms; /* from the header RateLimit; -1: there was none */
    bool none_remain;
    int64_t retry_after_ms; /* from the header Retry-After; -1: there was none */
};

/* ---- what went wrong, in words for the person who has to mend it ---- */

struct error_text {
    int key; /* status or libcurl's code */
    bool lasting;
    const char *text;
};

static const struct error_text statuses[] = {
    {400, true, "Close does not take what was asked"},
    {401, true,
     "Close refuses close_api_key: make a new key in Close (Settings, Developer, API Keys) and put it into the "
     "configuration"},
    {402, true, "Close wants to be paid for this: see the plan of the organization"},
    {403, true, "the user of close_api_key may not do this in Close: use the key of an administrator"},
    {404, true, "Close knows no such thing: is the id right (`closecrm.fcgi subscriptions`), and close_api_url?"},
    {405, true, "this is not Close's API: is close_api_url right?"},
    {415, true, "Close does not take this kind of request: is close_api_url right?"},
    {429, false, "Close's rate limit stays exceeded: something else uses the API a lot; try again later"},
};

static const struct error_text failures[] = {
    {CURLE_COULDNT_RESOLVE_HOST, false, "no such host: is the network up, and close_api_url right?"},
    {CURLE_COULDNT_CONNECT, false, "no connection: is the network up, and close_api_url right?"},
    {CURLE_COULDNT_RESOLVE_PROXY, false, "the proxy of the environment is no such host: mend https_proxy"},
    {CURLE_OPERATION_TIMEDOUT, false, "no answer in time: try again later"},
    {CURLE_PEER_FAILED_VERIFICATION, true,
     "its certificate cannot be verified: is something in between? Set ca_file if its certificates are not the "
     "system's"},
    {CURLE_SSL_CACERT_BADFILE, true, "the certificates of ca_file cannot be read: mend ca_file"},
    {CURLE_SSL_CONNECT_ERROR, true, "TLS fails: is close_api_url right, and is something in between?"},
    {CURLE_UNSUPPORTED_PROTOCOL, true, "close_api_url must begin with https://"},
    {CURLE_URL_MALFORMAT, true, "close_api_url is no URL"},
    {CURLE_FILESIZE_EXCEEDED, true, "the answer is larger than any of Close's: is close_api_url right?"},
};

static const struct error_text *find_error_text(const struct error_text *table, size_t count, int key)
{
    for (size_t i = 0; i < count; i++) {
        if (table[i].key == key)
            return &table[i];
    }
    return NULL;
}

/* An answer other than 2xx. The kind is ERROR_REJECTED for 400. */
static void close_error_of_status(struct error *why, int status, const char *body, size_t length)
{
    char quoted[LOG_QUOTED];
    const struct error_text *found = find_error_text(statuses, sizeof statuses / sizeof *statuses, status);
    const char *text = "Close does not answer as it should: try again later";
    if (found != NULL)
        text = found->text;
    else if (status < 500)
        text = "this is no answer of Close's API: is close_api_url right?";
    log_quote(quoted, body == NULL ? "" : body, length);
    error_set_kind(why, status == 400 ? ERROR_REJECTED : ERROR_GENERAL, "%s (answered %d%s%.*s)", text, status,
                   length == 0 ? "" : ": ", length == 0 ? 0 : 220, quoted);
}

/* Whether retrying does not help against libcurl's code (a certificate, a URL). */
static bool close_error_is_lasting(int code)
{
    const struct error_text *found = find_error_text(failures, sizeof failures / sizeof *failures, code);
    return found != NULL && found->lasting;
}

/* A request without an answer. code: libcurl's; detail: its error buffer. */
static void close_error_of_code(struct error *why, int code, const char *error, const char *url)
{
    const struct error_text *found = find_error_text(failures, sizeof failures / sizeof *failures, code);
    const char *words = error[0] != '\0' ? error : curl_easy_strerror((CURLcode)code);
    error_set(why, "cannot ask Close at %.150s: %s (%.180s)", url,
              found != NULL ? found->text : "the connection broke: try again later", words);
}

/* ---- the response ---- */

static size_t client_take_body(char *data, size_t size, size_t count, void *context)
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

/* The header's value is like `limit=100, remaining=0, reset=5.2`, the last in seconds. */
static void client_take_rate_limit(struct close_client *client, const char *value)
{
    const char *reset = strstr(value, "reset="), *remaining = strstr(value, "remaining=");
    if (reset != NULL)
        client->reset_ms = seconds_to_ms(strtod(reset + strlen("reset="), NULL));
    client->none_remain = remaining != NULL && strtod(remaining + strlen("remaining="), NULL) <= 0;
}

static size_t client_take_header(char *line, size_t size, size_t count, void *context)
{
    struct close_client *client = context;
    char text[512];
    snprintf(text, sizeof text, "%.*s", (int)(size * count < sizeof text ? size * count : sizeof text - 1), line);
    char *value = strchr(text, ':');
    if (value != NULL) {
        *value++ = '\0';
        if (strcasecmp(text, "RateLimit") == 0)
            client_take_rate_limit(client, value);
        else if (strcasecmp(text, "Retry-After") == 0)
            client->retry_after_ms = seconds_to_ms(strtod(value, NULL));
        else if (strcasecmp(text, "Date") == 0)
            client->answer->date_ms = (int64_t)curl_getdate(value, NULL) * 1000;
    }
    return size * count;
}

/* ---- set-up ---- */

static bool client_set_up(struct close_client *client, const struct config *config, const struct source *source)
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
        .take_body = client_take_body,
        .take_header = client_take_header,
        .context = client,
        .sockets = &client->sockets,
    };
    return http_request_open(&client->request, &options);
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
        good = client->multi != NULL && client_set_up(client, config, source);
    }
    if (good)
        return client;
    curl_calls_say(why);
    close_client_free(client);
    return NULL;
}

void close_client_free(struct close_client *client)
{
    if (client == NULL)
        return;
    http_request_close(&client->request);
    curl_multi_cleanup(client->multi);
    http_sockets_free(&client->sockets);
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

/* ---- one attempt ---- */

/* Waits; reports a long wait first. Returns false when stop_fd is readable. */
static bool client_wait(struct close_client *client, int64_t ms, const char *reason)
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

/* Sends the request and waits for its end. Returns false when stop_fd is readable. */
static bool client_perform(struct close_client *client, CURLcode *code)
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

static bool client_send_once(struct close_client *client, const char *method, const char *url, const char *body,
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
    /* When a reused connection is closed before any byte came, libcurl sends the request again: a POST would be done
     * twice. */
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, strcmp(method, "POST") == 0 ? 1L : 0L);
    if (!client_perform(client, code))
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

/* ---- retries: which requests, after which wait, how often ---- */

/* The attempts of a request. */
struct attempts {
    bool once; /* a POST: it is not repeated when it may have taken effect */
    unsigned tries;
    unsigned refused;     /* answered 401 */
    moment failing_since; /* 0: no attempt has failed */
};

static int64_t client_back_off(unsigned tries)
{
    int64_t most = tries >= 8 ? MOST_WAIT_MS : (int64_t)FIRST_WAIT_MS << tries;
    uint32_t random = 0;
    most = most < MOST_WAIT_MS ? most : MOST_WAIT_MS;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random)
        return most;
    return most / 2 + (int64_t)(random % (uint32_t)(most / 2 + 1));
}

static int64_t client_rate_limit_wait(const struct close_client *client, unsigned tries)
{
    int64_t wait = client->reset_ms >= 0 ? client->reset_ms : client->retry_after_ms;
    if (wait <= 0)
        wait = client_back_off(tries);
    return wait < LIMIT_WAIT_MOST_MS ? wait : LIMIT_WAIT_MOST_MS;
}

/* Whether the request certainly has not reached Close. */
static bool request_never_arrived(CURLcode code)
{
    return code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_PROXY ||
           close_error_is_lasting((int)code);
}

enum verdict { VERDICT_END, VERDICT_AGAIN, VERDICT_LIMITED };

/* Decides what an answer means, or that there was none. */
static enum verdict client_judge_answer(const struct close_client *client, struct attempts *attempts,
                                        const struct close_answer *answer, CURLcode code, enum close_result *result,
                                        struct error *why)
{
    if (answer->status >= 200 && answer->status < 300) {
        *result = CLOSE_DONE;
        return VERDICT_END;
    }
    if (answer->status == 0)
        close_error_of_code(why, (int)code, client->request.error, client->base);
    else
        close_error_of_status(why, answer->status, answer->body.data, answer->body.length);
    if (answer->status == 429)
        return VERDICT_LIMITED;
    if (answer->status == 401) {
        *result = CLOSE_REFUSED;
        return ++attempts->refused < REFUSALS ? VERDICT_AGAIN : VERDICT_END;
    }
    bool unclear = answer->status == 0 || answer->status == 408 || answer->status >= 500;
    if (!unclear) {
        *result = answer->status == 404 ? CLOSE_MISSING : CLOSE_REFUSED;
        return VERDICT_END;
    }
    if (answer->status == 0 && request_never_arrived(code)) {
        *result = CLOSE_FAILED;
        return close_error_is_lasting((int)code) ? VERDICT_END : VERDICT_AGAIN;
    }
    *result = CLOSE_INDETERMINATE;
    return attempts->once ? VERDICT_END : VERDICT_AGAIN;
}

/* Waits for the next attempt. Returns false when there is to be none: patience_ms are over, or stop_fd is readable. */
static bool client_may_retry(struct close_client *client, struct attempts *attempts, enum verdict verdict,
                             enum close_result *result, const struct error *why)
{
    int64_t wait;
    if (verdict == VERDICT_LIMITED) {
        wait = client_rate_limit_wait(client, attempts->tries);
        if (attempts->tries >= LIMITED_MOST)
            return false;
    } else {
        wait = client_back_off(attempts->tries);
        if (attempts->failing_since == 0)
            attempts->failing_since = clock_now();
        if (clock_now() + wait - attempts->failing_since > client->options.patience_ms)
            return false;
    }
    attempts->tries++;
    if (client_wait(client, wait, verdict == VERDICT_LIMITED ? LIMIT_WORDS : why->text))
        return true;
    *result = CLOSE_STOPPED;
    return false;
}

/* When Close says that the rate limit is used up, the next request waits. */
static void client_note_rate_limit(struct close_client *client)
{
    if (client->none_remain && client->reset_ms > 0 && client->reset_ms < LIMIT_WAIT_MOST_MS)
        client->not_before = clock_now() + client->reset_ms;
}

static enum close_result client_call(struct close_client *client, const char *method, const char *url, const char *body,
                                     struct close_answer *answer, struct error *why)
{
    struct attempts attempts = {.once = strcmp(method, "POST") == 0};
    enum close_result result = CLOSE_FAILED;
    for (;;) {
        CURLcode code = CURLE_OK;
        int64_t wait = client->not_before - clock_now();
        if ((wait > 0 && !client_wait(client, wait, LIMIT_WORDS)) ||
            !client_send_once(client, method, url, body, answer, &code)) {
            error_set(why, "stopped");
            return CLOSE_STOPPED;
        }
        client_note_rate_limit(client);
        enum verdict verdict = client_judge_answer(client, &attempts, answer, code, &result, why);
        if (verdict == VERDICT_END || !client_may_retry(client, &attempts, verdict, &result, why))
            return result;
    }
}

enum close_result close_call(struct close_client *client, const char *method, const char *path, const char *body,
                             struct close_answer *answer, struct error *why)
{
    char *url = NULL;
    if (asprintf(&url, "%s%s", client->base, path) < 0) {
        error_set(why, "out of memory");
        return CLOSE_FAILED;
    }
    enum close_result result = client_call(client, method, url, body, answer, why);
    free(url);
    return result;
}

enum close_result close_call_json(struct close_client *client, const char *method, const char *path, const char *body,
                                  struct close_answer *answer, struct json_document *document, struct error *why)
{
    *document = (struct json_document){.root = NULL};
    for (unsigned tries = 1;; tries++) {
        bool out_of_memory = false;
        struct error reason = {0};
        enum close_result result = close_call(client, method, path, body, answer, why);
        if (result != CLOSE_DONE)
            return result;
        if (json_read(answer->body.data, answer->body.length, NULL, document, &out_of_memory, &reason)) {
            if (json_object_is_type(document->root, json_type_object))
                return CLOSE_DONE;
            json_document_free(document);
            error_set(&reason, "it is no object");
        }
        error_set(why, "answered %d with what is no answer of Close's API (%.200s): is close_api_url right?",
                  answer->status, reason.text);
        bool again = strcmp(method, "GET") == 0 && tries < MALFORMED;
        if (!again)
            return strcmp(method, "POST") == 0 ? CLOSE_INDETERMINATE : CLOSE_REFUSED;
        if (!client_wait(client, client_back_off(tries), why->text))
            return CLOSE_STOPPED;
    }
}
