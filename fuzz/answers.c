/* Answers of the data plane and of Close, through libcurl, from a server on loopback. Judges: what the
 * answer was made of; regular expressions for what counts as delivered; SQLite for what is JSON. The first byte chooses
 * whose answer it is and how it is framed; raw bytes are an answer of which only this is known: without 200 and `ok` in
 * it nothing is delivered. Then the status as a number and a line end, header lines up to an empty one, the body. */
#include "base/http_request.h"
#include "closeapi/client.h"
#include "forward/post.h"
#include "fuzz/rig/rig.h"
#include "tests/support/strict_json.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <regex.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define API_KEY "api_never_told"

enum framing { FRAMED_LENGTH, FRAMED_CHUNKS, FRAMED_CLOSE, FRAMED_CUT, FRAMED_RAW, FRAMINGS };

/* The answer that is to come; a server on loopback gives it to whoever connects. */
struct wire {
    struct buffer bytes; /* not changed while one is connected */
    int listening;
    atomic_int connections, served; /* since the input began: opened by libcurl, and come to their end here */
};

static struct wire wire;
static char url[64];

static void *serve(void *nothing)
{
    char scrap[4096];
    (void)nothing;
    for (;;) {
        int fd = accept(wire.listening, NULL, NULL);
        if (fd < 0)
            continue;
        ssize_t sent = send(fd, wire.bytes.data, wire.bytes.length, MSG_NOSIGNAL);
        RIG_CHECK(sent == (ssize_t)wire.bytes.length || errno == EPIPE || errno == ECONNRESET, "the answer did not go");
        shutdown(fd, SHUT_WR);
        while (recv(fd, scrap, sizeof scrap, 0) > 0)
            ;
        close(fd);
        atomic_fetch_add(&wire.served, 1);
    }
    return NULL;
}

static void start_server(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    pthread_t thread;
    sigset_t all, before;
    wire.listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    RIG_CHECK(wire.listening >= 0 && bind(wire.listening, (struct sockaddr *)&address, size) == 0 &&
                  listen(wire.listening, 16) == 0 &&
                  getsockname(wire.listening, (struct sockaddr *)&address, &size) == 0,
              "no port");
    snprintf(url, sizeof url, "http://127.0.0.1:%d", ntohs(address.sin_port));
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    RIG_CHECK(pthread_create(&thread, NULL, serve, NULL) == 0, "no thread");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static int count_socket(void *context, curl_socket_t fd, curlsocktype purpose)
{
    (void)context, (void)fd, (void)purpose;
    atomic_fetch_add(&wire.connections, 1);
    return CURL_SOCKOPT_OK;
}

/* Waits until the server is done with all connections: then the answer may change. */
static void wait_for_server(void)
{
    while (atomic_load(&wire.served) < atomic_load(&wire.connections))
        sched_yield();
}

bool __real_http_request_open(struct http_request *request, const struct http_options *options);
bool __wrap_http_request_open(struct http_request *request, const struct http_options *options);
bool __wrap_http_request_open(struct http_request *request, const struct http_options *options)
{
    bool good = __real_http_request_open(request, options);
    curl_easy_setopt(request->easy, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(request->easy, CURLOPT_SOCKOPTFUNCTION, count_socket);
    curl_easy_setopt(request->easy, CURLOPT_PROXY, "");
    return good;
}

/* Whoever waits for a next try is to stop. */
int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    return count == 1 && fds->fd == -1 ? 1 : __real_poll(fds, count, timeout);
}

/* ---- the answer as it is made ---- */

struct made {
    enum framing framing;
    int status;
    bool plain; /* no header but ours: what comes must be what was made */
    struct slice body;
};

static void put_body(struct buffer *out, const struct made *made, size_t chunk)
{
    char line[64];
    snprintf(line, sizeof line, "Content-Length: %zu\r\n\r\n",
             made->body.length + (made->framing == FRAMED_CUT ? 7 : 0));
    if (made->framing == FRAMED_CHUNKS)
        buffer_text(out, "Transfer-Encoding: chunked\r\n\r\n");
    else
        buffer_text(out, made->framing == FRAMED_CLOSE ? "\r\n" : line);
    if (made->framing != FRAMED_CHUNKS) {
        buffer_append(out, made->body.at, made->body.length);
        return;
    }
    for (size_t at = 0; at < made->body.length; at += chunk) {
        size_t length = made->body.length - at < chunk ? made->body.length - at : chunk;
        snprintf(line, sizeof line, "%zx\r\n", length);
        buffer_text(out, line);
        buffer_append(out, made->body.at + at, length);
        buffer_text(out, "\r\n");
    }
    buffer_text(out, "0\r\n\r\n");
}

/* A header that changes nothing of the answer. */
static bool is_plain_header(struct slice header)
{
    char *line = rig_string(header);
    size_t named = strcspn(line, ":");
    bool plain = strlen(line) == header.length && named < header.length && named == strspn(line, "XxRetry-After") &&
                 (strncasecmp(line, "X-", 2) == 0 || strncasecmp(line, "Retry-After:", 12) == 0);
    for (const char *at = line; *at != '\0'; at++)
        plain = plain && *at >= ' ' && *at < 0x7f;
    free(line);
    return plain;
}

static void put_answer(struct buffer *out, struct made *made, struct rig_input *input)
{
    char line[64];
    struct slice status = rig_until(input, '\n');
    char *digits = rig_string(status);
    unsigned long number = strtoul(digits, NULL, 10);
    made->status = number >= 200 && number < 600 ? (int)number : 200 + (int)(number % 400);
    free(digits);
    snprintf(line, sizeof line, "HTTP/1.1 %d Words\r\n", made->status);
    buffer_text(out, line);
    made->plain = true;
    for (struct slice header; (header = rig_until(input, '\n')).length > 0;) {
        made->plain = made->plain && is_plain_header(header);
        buffer_append(out, header.at, header.length);
        buffer_text(out, "\r\n");
    }
    made->plain = made->plain && memchr(out->data, '\0', out->length) == NULL &&
                  memmem(out->data, out->length, "\r\n\r\n", 4) == NULL && made->status != 204 && made->status != 304;
    made->body = (struct slice){input->left == 0 ? "" : input->at, input->left};
    put_body(out, made, 1 + made->body.length / 3);
}

/* ---- the data plane ---- */

static bool matches(const char *pattern, struct slice text)
{
    regex_t expression;
    char *copy = rig_string(text);
    RIG_CHECK(regcomp(&expression, pattern, REG_EXTENDED | REG_NOSUB) == 0, "no pattern");
    bool found = strlen(copy) == text.length && regexec(&expression, copy, 0, NULL, 0) == 0;
    regfree(&expression);
    free(copy);
    return found;
}

/* The documented table. */
static enum outcome outcome_of(int status, struct slice body, bool accept_empty)
{
    if (status == 200 &&
        (matches("^[ \t\r\n\"]*[oO][kK][ \t\r\n\"]*$", body) ||
         matches("^[ \t\r\n]*[{]\"success\":true[}][ \t\r\n]*$", body) || (accept_empty && body.length == 0)))
        return OUTCOME_DELIVERED;
    if (status == 400 || status == 403 || status == 404 || status == 413 || status == 422)
        return OUTCOME_REFUSED;
    return status == 0 || status == 408 || status == 429 || status >= 500 ? OUTCOME_RETRY : OUTCOME_OPERATOR;
}

static bool has_word(struct slice text, const char *word)
{
    for (size_t i = 0; i + strlen(word) <= text.length; i++) {
        if (strncasecmp(text.at + i, word, strlen(word)) == 0)
            return true;
    }
    return false;
}

/* libcurl takes a line that begins with HTTP/, and that it cannot read, for one with 200, also behind another's 100. */
static bool has_unreadable_status(struct slice wired)
{
    if (!matches("^HTTP/[0-9]", (struct slice){wired.at, strnlen(wired.at, 6)}))
        return true;
    for (size_t i = 0; i + 5 < wired.length; i++) {
        if (strncasecmp(wired.at + i, "HTTP/", 5) == 0 && (wired.at[i + 5] < '0' || wired.at[i + 5] > '9'))
            return true;
    }
    return false;
}

static void judge_data_plane(const struct made *made, const struct answer *answer, bool accept_empty)
{
    struct error why = {0};
    enum outcome outcome = answer_outcome(answer, accept_empty);
    struct slice wired = rig_slice(&wire.bytes);
    bool has_words = accept_empty || has_word(wired, "chunked") || has_word(wired, "encoding") ||
                     has_word(wired, "ok") || has_word(wired, "\"success\":true");
    bool has_status = has_word(wired, "200") || has_unreadable_status(wired);
    RIG_CHECK(outcome != OUTCOME_DELIVERED || (has_status && has_words), "delivered without a word of it");
    int64_t delay = answer_delay(BACKOFF_FIRST_MS, 3, answer->retry_after_ms, 12345);
    RIG_CHECK(delay > 0 && delay <= BACKOFF_ASKED_MOST_MS, "a pause of %lld ms", (long long)delay);
    answer_describe(answer, &why);
    RIG_CHECK(why.text[0] != '\0' && strchr(why.text, '\n') == NULL, "no words, or several lines: %s", why.text);
    RIG_CHECK(answer->status != 0 || answer->error.text[0] != '\0', "no answer, and no reason");
    if (made->framing == FRAMED_RAW || !made->plain)
        return;
    if (made->framing == FRAMED_CUT) {
        RIG_CHECK(outcome == OUTCOME_RETRY && answer->status == 0 && answer->cut, "a cut answer is %d", answer->status);
        return;
    }
    RIG_CHECK(answer->status == made->status, "%d became %d: %s", made->status, answer->status, answer->error.text);
    RIG_CHECK(answer->length == made->body.length, "%zu bytes became %zu", made->body.length, answer->length);
    size_t held = answer->length < ANSWER_BODY ? answer->length : ANSWER_BODY;
    rig_check_equal((struct slice){answer->body, held}, (struct slice){made->body.at, held}, "the answer");
    RIG_CHECK(made->body.length > ANSWER_BODY || outcome == outcome_of(made->status, made->body, accept_empty),
              "%d with these words is %d", made->status, (int)outcome);
}

/* ---- Close ---- */

static void judge_close(const struct made *made, enum close_result result, const struct close_answer *answer,
                        const struct error *why)
{
    struct slice body = {answer->body.data == NULL ? "" : answer->body.data, answer->body.length};
    RIG_CHECK(atomic_load(&wire.connections) <= 1, "asked %d times, without a pause", atomic_load(&wire.connections));
    RIG_CHECK((result == CLOSE_DONE) == (why->text[0] == '\0'), "%d, and says: %s", (int)result, why->text);
    /* Without its first letter, which may be the end of an escape. */
    RIG_CHECK(strstr(why->text, API_KEY) == NULL || has_word(body, "pi_never_told"), "the key is told: %s", why->text);
    RIG_CHECK(strpbrk(why->text, "\r\n") == NULL, "several lines: %s", why->text);
    if (made->framing == FRAMED_RAW || !made->plain)
        return;
    bool whole = made->framing != FRAMED_CUT, good = made->status >= 200 && made->status < 300;
    RIG_CHECK((result == CLOSE_DONE) == (whole && good), "%d, whole or not: %d, is %d", made->status, whole,
              (int)result);
    RIG_CHECK(!whole || made->status != 404 || result == CLOSE_MISSING, "404 is %d", (int)result);
    if (result == CLOSE_DONE)
        rig_check_equal(body, made->body, "Close's answer");
}

static struct config config;
static char name[] = "acme", api_key[] = API_KEY;
static struct source source = {.name = name, .data_plane_url = url, .close_api_url = url, .close_api_key = api_key};

static void ask_close(const struct made *made, bool json, const char *method)
{
    struct error why = {0};
    struct close_answer answer = {0};
    struct json_document document = {0};
    const struct close_options options = {.patience_ms = 60000, .stop_fd = -1};
    struct close_client *client = close_client_new(&config, &source, &options, &why);
    RIG_CHECK(client != NULL, "no client: %s", why.text);
    const char *body = strcmp(method, "POST") == 0 ? "{}" : NULL;
    if (!json) {
        enum close_result result = close_call(client, method, "/x/", body, &answer, &why);
        judge_close(made, result, &answer, &why);
    } else if (close_call_json(client, method, "/x/", body, &answer, &document, &why) == CLOSE_DONE) {
        struct slice text = {answer.body.data, answer.body.length};
        RIG_CHECK(is_strict_json(text) && has_word(text, "{"), "an answer that is no JSON object");
        json_document_free(&document);
    }
    close_answer_free(&answer);
    close_client_free(client);
}

/* ---- */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    rig_no_log();
    curl_global_init(CURL_GLOBAL_DEFAULT);
    start_server();
    return 0;
}

static void post_batch(const struct made *made, bool accept_empty)
{
    struct error why = {0};
    struct poster *poster = poster_new(&why);
    struct post *post = poster == NULL ? NULL : post_new(poster, &config, &source, NULL, &why);
    RIG_CHECK(post != NULL, "no libcurl: %s", why.text);
    RIG_CHECK(post_start(post, "batch", 5, &why), "no POST: %s", why.text);
    while (poster_done(poster) != post)
        poster_wait(poster, NULL, 0, 1000);
    judge_data_plane(made, post_answer(post), accept_empty);
    post_free(post);
    poster_free(poster);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rig_input input = rig_input_of(data, size);
    unsigned choice = rig_byte(&input);
    struct made made = {.framing = choice % 8 % FRAMINGS};
    buffer_clear(&wire.bytes);
    atomic_store(&wire.connections, 0);
    atomic_store(&wire.served, 0);
    if (made.framing == FRAMED_RAW)
        buffer_append(&wire.bytes, input.at, input.left);
    else
        put_answer(&wire.bytes, &made, &input);
    if (wire.bytes.data == NULL)
        return 0;
    if ((choice & 8) == 0)
        post_batch(&made, (choice & 0x80) != 0);
    else
        ask_close(&made, (choice & 0x40) != 0, (choice & 0x80) != 0 ? "POST" : "GET");
    wait_for_server();
    return 0;
}
