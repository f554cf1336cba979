/* libcurl behind a small face: see post.h. And whether a data plane takes the write key. */
#include "forward/post.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <isa-l/igzip_lib.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/curl_calls.h"
#include "base/http_request.h"
#include "forward/forward.h"

#define DESCRIPTORS_MOST 8
#define SEND_BUFFER (256 * 1024)

/* To connect, resolving included: a first name server that is dead costs 5 s or 10 s of it. */
const struct post_limits post_limits_usual = {
    .connect_ms = 20 * 1000, .silence_ms = 60 * 1000, .whole_ms = 15 * 60 * 1000, .answer_bytes = (size_t)64 * 1024};

struct poster {
    CURLM *multi;
    struct http_sockets sockets; /* of its connections */
    struct post_limits limits;
    struct post *busy; /* those that are under way */
};

struct post {
    struct poster *poster;
    struct http_request request;
    void *owner;
    bool busy;
    struct post *next; /* in the poster's list of those that are busy */
    int64_t moved;     /* bytes up to now, both ways */
    moment moved_at;   /* when that last grew */
    struct answer answer;
};

struct poster *poster_new(struct error *why)
{
    struct poster *poster = calloc(1, sizeof *poster);
    if (poster != NULL && curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
        poster->multi = curl_multi_init();
    if (poster == NULL || poster->multi == NULL) {
        curl_calls_say(why);
        free(poster);
        return NULL;
    }
    poster->limits = post_limits_usual;
    return poster;
}

void poster_limit(struct poster *poster, const struct post_limits *limits)
{
    poster->limits = *limits;
}

void poster_free(struct poster *poster)
{
    if (poster == NULL)
        return;
    curl_multi_cleanup(poster->multi);
    http_sockets_free(&poster->sockets);
    curl_global_cleanup();
    free(poster);
}

/* Keeps the start of the answer's body and counts the rest, up to the limit: then libcurl ends the exchange. */
static size_t take_answer_body(char *data, size_t size, size_t count, void *context)
{
    struct post *post = context;
    struct answer *answer = &post->answer;
    size_t length = size * count;
    if (answer->length < ANSWER_BODY) {
        size_t room = ANSWER_BODY - answer->length;
        memcpy(answer->body + answer->length, data, length < room ? length : room);
    }
    answer->length += length;
    return answer->length <= post->poster->limits.answer_bytes ? length : 0;
}

static bool set_up(struct post *post, const struct config *config, const struct source *source, const char *url)
{
    static const char *const headers[] = {
        "Content-Type: application/json",
        "Content-Encoding: gzip", /* in small letters: the data plane compares them so */
        NULL,
    };
    const struct http_options options = {
        .url = url,
        .agent = "closecrm.fcgi/" CLOSECRM_VERSION,
        .user = source->write_key.count == 0 ? "" : source->write_key.at[0],
        .certificates = config_certificates(config),
        .headers = headers,
        .send_buffer = SEND_BUFFER,
        .take_body = take_answer_body,
        .context = post,
        .sockets = &post->poster->sockets,
    };
    if (!http_request_open(&post->request, &options))
        return false;
    CURL *easy = post->request.easy;
    return curl_easy_setopt(easy, CURLOPT_POST, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PRIVATE, post) == CURLE_OK;
}

struct post *post_new(struct poster *poster, const struct config *config, const struct source *source, void *owner,
                      struct error *why)
{
    struct post *post = calloc(1, sizeof *post);
    char *url = NULL;
    bool good = post != NULL && asprintf(&url, "%s/v1/batch", source->data_plane_url) >= 0;
    if (good) {
        post->poster = poster;
        post->owner = owner;
        good = set_up(post, config, source, url);
    }
    free(url);
    if (!good) {
        error_set(why, "cannot set up libcurl for source %s", source->name);
        post_free(post);
        return NULL;
    }
    return post;
}

/* It is under way no longer. result: CURLE_OPERATION_TIMEDOUT when it was given up. Returns what counts as its result.
 */
static CURLcode end_exchange(struct post *post, CURLcode result)
{
    struct post **link = &post->poster->busy;
    while (*link != post)
        link = &(*link)->next;
    *link = post->next;
    result = http_request_end(&post->request, result);
    curl_multi_remove_handle(post->poster->multi, post->request.easy);
    post->busy = false;
    return result;
}

void post_free(struct post *post)
{
    if (post == NULL)
        return;
    if (post->busy)
        (void)end_exchange(post, CURLE_OPERATION_TIMEDOUT);
    http_request_close(&post->request);
    free(post);
}

bool post_start(struct post *post, const char *body, size_t length, struct error *why)
{
    post->answer.status = 0;
    post->answer.length = 0;
    post->answer.cut = false;
    post->answer.silent = false;
    post->answer.retry_after_ms = 0;
    post->answer.error.text[0] = '\0';
    struct poster *poster = post->poster;
    if (curl_easy_setopt(post->request.easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)length) != CURLE_OK ||
        curl_easy_setopt(post->request.easy, CURLOPT_TIMEOUT_MS, (long)poster->limits.whole_ms) != CURLE_OK ||
        curl_easy_setopt(post->request.easy, CURLOPT_CONNECTTIMEOUT_MS, (long)poster->limits.connect_ms) != CURLE_OK ||
        curl_easy_setopt(post->request.easy, CURLOPT_POSTFIELDS, body) != CURLE_OK ||
        curl_multi_add_handle(poster->multi, post->request.easy) != CURLM_OK) {
        error_set(why, "libcurl takes no request: out of memory");
        return false;
    }
    http_request_begin(&post->request);
    post->busy = true;
    post->moved = 0;
    post->moved_at = clock_now();
    post->next = poster->busy;
    poster->busy = post;
    return true;
}

/* The data plane had the request, or part of it, and let go. */
static bool is_cut(CURLcode result)
{
    return result == CURLE_GOT_NOTHING || result == CURLE_RECV_ERROR || result == CURLE_SEND_ERROR ||
           result == CURLE_PARTIAL_FILE || result == CURLE_HTTP2 || result == CURLE_HTTP2_STREAM;
}

/* Whether the data plane, or what stands before it, is connected: before, the limit on connecting counts. */
static bool is_connected(const struct post *post)
{
    curl_off_t ready_us = 0;
    return curl_easy_getinfo(post->request.easy, CURLINFO_PRETRANSFER_TIME_T, &ready_us) == CURLE_OK && ready_us > 0;
}

static int64_t bytes_moved(const struct post *post)
{
    curl_off_t up = 0, down = 0;
    long request = 0, head = 0;
    curl_easy_getinfo(post->request.easy, CURLINFO_SIZE_UPLOAD_T, &up);
    curl_easy_getinfo(post->request.easy, CURLINFO_SIZE_DOWNLOAD_T, &down);
    curl_easy_getinfo(post->request.easy, CURLINFO_REQUEST_SIZE, &request);
    curl_easy_getinfo(post->request.easy, CURLINFO_HEADER_SIZE, &head);
    return up + down + request + head;
}

/* Notes what moved. Returns whether nothing did for too long. */
static bool is_silent(struct post *post)
{
    int64_t moved = bytes_moved(post);
    moment now = clock_now();
    if (moved != post->moved || !is_connected(post)) {
        post->moved = moved;
        post->moved_at = now;
    }
    return now - post->moved_at >= post->poster->limits.silence_ms;
}

/* Ends one that has been silent for too long and returns it; NULL: there is none. */
static struct post *end_silent(struct poster *poster)
{
    for (struct post *post = poster->busy; post != NULL; post = post->next) {
        if (!is_silent(post))
            continue;
        (void)end_exchange(post, CURLE_OPERATION_TIMEDOUT);
        post->answer.silent = true;
        error_set(&post->answer.error, "nothing came or went for %lld s", (long long)poster->limits.silence_ms / 1000);
        return post;
    }
    return NULL;
}

/* Reads the answer of a POST that is done. Any error leaves status 0: half an answer is none, but for one that is cut
 * off here because it is too long. */
static void read_answer(struct post *post, CURLcode result)
{
    struct answer *answer = &post->answer;
    bool too_long = result == CURLE_WRITE_ERROR && answer->length > post->poster->limits.answer_bytes;
    result = end_exchange(post, result);
    if (result != CURLE_OK && !too_long) {
        answer->cut = is_cut(result);
        answer->silent = result == CURLE_OPERATION_TIMEDOUT && is_connected(post);
        error_set(&answer->error, "%s", post->request.error);
        return;
    }
    long status = 0;
    curl_off_t retry_after_s = 0;
    curl_easy_getinfo(post->request.easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(post->request.easy, CURLINFO_RETRY_AFTER, &retry_after_s);
    answer->status = (int)status;
    if (retry_after_s > 0)
        answer->retry_after_ms = retry_after_s < 86400 ? retry_after_s * 1000 : 86400000;
}

struct post *poster_done(struct poster *poster)
{
    int running, left;
    curl_multi_perform(poster->multi, &running);
    for (CURLMsg *message; (message = curl_multi_info_read(poster->multi, &left)) != NULL;) {
        if (message->msg != CURLMSG_DONE)
            continue;
        struct post *post = NULL;
        CURLcode result = message->data.result; /* the message is gone once its handle is removed */
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &post);
        read_answer(post, result);
        return post;
    }
    return end_silent(poster);
}

/* How long until one of them may have been silent for too long; at most ms. */
static int until_silent(const struct poster *poster, int ms)
{
    moment now = clock_now();
    for (const struct post *post = poster->busy; post != NULL; post = post->next) {
        moment left = post->moved_at + poster->limits.silence_ms - now;
        ms = left < ms ? (int)(left > 0 ? left : 0) : ms;
    }
    return ms;
}

void poster_wait(struct poster *poster, const int *descriptors, size_t count, int timeout_ms)
{
    struct curl_waitfd more[DESCRIPTORS_MOST];
    size_t n = count < DESCRIPTORS_MOST ? count : DESCRIPTORS_MOST;
    for (size_t i = 0; i < n; i++)
        more[i] = (struct curl_waitfd){.fd = descriptors[i], .events = CURL_WAIT_POLLIN, .revents = 0};
    curl_multi_poll(poster->multi, more, (unsigned)n, until_silent(poster, timeout_ms < 0 ? 60000 : timeout_ms), NULL);
}

void *post_owner(const struct post *post)
{
    return post->owner;
}

const struct answer *post_answer(const struct post *post)
{
    return &post->answer;
}

/* Does one POST and waits for it. The same contracts. */
static const struct answer *post_and_wait(struct poster *poster, struct post *post, const char *body, size_t length)
{
    if (!post_start(post, body, length, &post->answer.error))
        return &post->answer;
    while (poster_done(poster) != post)
        poster_wait(poster, NULL, 0, 1000);
    return &post->answer;
}

/* ---- gzip by ISA-L at level 1: as good as zlib's level 6 on these messages, at a tenth of the time ---- */

#define CALL_MOST (1U << 30) /* its lengths have 32 bits; a batch stays far below */

struct gzip {
    struct isal_zstream stream;
    uint8_t level_buffer[ISAL_DEF_LVL1_DEFAULT];
};

struct gzip *gzip_new(void)
{
    return calloc(1, sizeof(struct gzip));
}

void gzip_free(struct gzip *gzip)
{
    free(gzip);
}

bool gzip_compress(struct gzip *gzip, const char *data, size_t length, struct buffer *out)
{
    if (length > CALL_MOST)
        return false;
    /* What cannot be compressed is stored: 5 bytes for each 64 KiB, and gzip's head and tail. */
    size_t bound = length + (length / 65535 + 1) * 5 + 64;
    buffer_clear(out);
    char *room = buffer_room(out, bound);
    if (room == NULL)
        return false;

    struct isal_zstream *stream = &gzip->stream;
    isal_deflate_stateless_init(stream);
    stream->level = 1;
    stream->level_buf = gzip->level_buffer;
    stream->level_buf_size = sizeof gzip->level_buffer;
    stream->gzip_flag = IGZIP_GZIP;
    stream->end_of_stream = 1;
    stream->flush = NO_FLUSH;
    stream->next_in = (uint8_t *)(uintptr_t)data; /* read only, whatever its type says */
    stream->avail_in = (uint32_t)length;
    stream->next_out = (uint8_t *)room;
    stream->avail_out = (uint32_t)bound;
    if (isal_deflate_stateless(stream) != COMP_OK)
        return false;
    out->length = bound - stream->avail_out;
    return true;
}

/* ---- Does the data plane take this source's key? Asked with an empty batch, which it refuses without storing
 * anything: 400 `empty batch payload` means that the key is good. So does what counts as a delivery: some gateways in
 * front answer that themselves. ---- */

static bool try_file(const char *path, struct error *why)
{
    int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) {
        error_set(why, "cannot write %s: %s", path, strerror(errno));
        return false;
    }
    close(file);
    error_set(why, "messages are written to %s, and to no data plane", path);
    return true;
}

static bool judge_answer(const struct answer *answer, bool accept_empty, struct error *why)
{
    if (answer_takes_empty_batch(answer) || answer_outcome(answer, accept_empty) == OUTCOME_DELIVERED) {
        error_set(why, "the data plane takes the write key");
        return true;
    }
    const char *advice = answer_advice(answer->status);
    struct error what;
    answer_describe(answer, &what);
    error_set(why, "%s%s%s", what.text, advice == NULL ? "" : ": ", advice == NULL ? "" : advice);
    return false;
}

bool forward_try(const struct config *config, const struct source *source, struct error *why)
{
    static const char empty[] = "{\"batch\":[]}";
    const char *path = file_sink_path(source->data_plane_url);
    if (path != NULL)
        return try_file(path, why);

    bool good = false;
    struct buffer body = {0};
    struct post *post = NULL;
    struct gzip *gzip = gzip_new();
    struct poster *poster = poster_new(why);
    if (poster != NULL)
        post = post_new(poster, config, source, NULL, why);
    if (gzip == NULL || (post != NULL && !gzip_compress(gzip, empty, sizeof empty - 1, &body)))
        error_set(why, "out of memory");
    else if (post != NULL)
        good =
            judge_answer(post_and_wait(poster, post, body.data, body.length), source->accept_empty == ANSWER_YES, why);
    post_free(post);
    poster_free(poster);
    gzip_free(gzip);
    buffer_free(&body);
    return good;
}
