/* Answers: status line, headers, a text body or an error as JSON. Never allocates, so that a refusal for lack of memory
 * can still be sent. */
#include "http/internal.h"

#include "base/error.h"
#include "base/escape.h"
#include "base/log.h"
#include "base/program_name.h"

#include <stdio.h>
#include <string.h>

static const struct {
    int status;
    const char *words;
} reasons[] = {
    {200, "OK"},
    {202, "Accepted"},
    {204, "No Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {411, "Length Required"},
    {413, "Payload Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {422, "Unprocessable Content"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
};

static const char *reason_words(int status)
{
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        if (reasons[i].status == status)
            return reasons[i].words;
    }
    return "Unknown";
}

/* Destination of a body: first counted for Content-Length, then sent. */
struct body_sink {
    struct request *request; /* NULL: count only */
    size_t length;
    bool failed;
};

static bool send_bytes(struct request *request, const char *data, size_t length)
{
    return length == 0 || request->transport->write(request->self, data, length);
}

static void sink_put(void *context, const char *data, size_t length)
{
    struct body_sink *sink = context;
    sink->length += length;
    if (sink->request != NULL && !sink->failed)
        sink->failed = !send_bytes(sink->request, data, length);
}

static void put_text(const char *text, struct body_sink *sink)
{
    sink_put(sink, text, strlen(text));
}

static void put_error(const char *text, struct body_sink *sink)
{
    put_text("{\"error\": \"", sink);
    escape_json(text, strlen(text), sink_put, sink);
    put_text("\"}\n", sink);
}

static bool send_head(struct request *request, int status, const char *type, const char *headers, size_t length)
{
    char head[256];
    int n = snprintf(head, sizeof head,
                     "Status: %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n"
                     "X-Content-Type-Options: nosniff\r\n",
                     status, reason_words(status), type, length);
    return n > 0 && (size_t)n < sizeof head && send_bytes(request, head, (size_t)n) &&
           (headers == NULL || send_bytes(request, headers, strlen(headers))) && send_bytes(request, "\r\n", 2);
}

static bool begin_answer(struct request *request, int status)
{
    if (request->answered)
        log_write(LEVEL_ERROR, "msg=answered_twice status=%d", status);
    bool first = !request->answered;
    request->answered = true;
    return first;
}

static bool is_head(const struct request *request)
{
    const char *method = request_variable(request, "REQUEST_METHOD");
    return method != NULL && strcmp(method, "HEAD") == 0;
}

/* Answers; a HEAD request gets the same headers without the body. */
static bool answer_with(struct request *request, int status, const char *type, const char *headers, const char *text,
                        void (*put_body)(const char *, struct body_sink *))
{
    if (!begin_answer(request, status))
        return false;
    bool head_only = is_head(request);
    struct body_sink counted = {NULL, 0, false}, sink = {request, 0, false};
    put_body(text, &counted);
    bool sent = send_head(request, status, type, headers, counted.length);
    if (sent && !head_only) {
        put_body(text, &sink);
        sent = !sink.failed;
    }
    return request->transport->finish(request->self) && sent;
}

bool request_answer(struct request *request, int status, const char *headers, const char *text)
{
    return answer_with(request, status, "text/plain; charset=utf-8", headers, text, put_text);
}

bool request_refuse(struct request *request, int status, const char *headers, const char *text)
{
    struct error words = {.text = ""};
    program_name_put_alone(text, words.text, sizeof words.text); /* whoever asks must not learn where it lies */
    return answer_with(request, status, "application/json", headers, words.text, put_error);
}

bool request_send(struct request *request, int status, const char *headers, const char *type, const char *data,
                  size_t length)
{
    if (!begin_answer(request, status))
        return false;
    bool sent = send_head(request, status, type, headers, length);
    if (sent && !is_head(request))
        sent = send_bytes(request, data, length);
    return request->transport->finish(request->self) && sent;
}
