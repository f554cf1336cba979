/* Answering: status line, headers, a text or an error as JSON. Nothing here takes memory, so that a refusal for lack
 * of memory can still be sent. */
#include "http/internal.h"

#include "base/log.h"

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

/* Where escaped JSON goes: counted first, for Content-Length, then written. */
typedef bool sink(struct request *request, const char *data, size_t length, size_t *total);

static bool count(struct request *request, const char *data, size_t length, size_t *total)
{
    (void)request;
    (void)data;
    *total += length;
    return true;
}

static bool send(struct request *request, const char *data, size_t length, size_t *total)
{
    (void)total;
    return length == 0 || request->transport->write(request->self, data, length);
}

/* How a character must be written in a JSON string: NULL when as it is. */
static const char *json_escape(char c, char out[static 7])
{
    static const char from[] = "\"\\\n\r\t";
    static const char *const to[] = {"\\\"", "\\\\", "\\n", "\\r", "\\t"};
    const char *found = c == '\0' ? NULL : strchr(from, c);
    if (found != NULL)
        return to[found - from];
    if ((unsigned char)c >= 0x20)
        return NULL;
    snprintf(out, 7, "\\u%04x", (unsigned char)c);
    return out;
}

static bool json_string(struct request *request, const char *text, sink *put, size_t *total)
{
    const char *plain = text; /* start of what needs no escape */
    for (; *text != '\0'; text++) {
        char out[7];
        const char *escaped = json_escape(*text, out);
        if (escaped == NULL)
            continue;
        if (!put(request, plain, (size_t)(text - plain), total) || !put(request, escaped, strlen(escaped), total))
            return false;
        plain = text + 1;
    }
    return put(request, plain, (size_t)(text - plain), total);
}

static bool put_text(struct request *request, const char *text, sink *put, size_t *total)
{
    return put(request, text, strlen(text), total);
}

static bool put_error(struct request *request, const char *text, sink *put, size_t *total)
{
    return put_text(request, "{\"error\": \"", put, total) && json_string(request, text, put, total) &&
           put_text(request, "\"}\n", put, total);
}

static bool send_head(struct request *request, int status, const char *type, const char *headers, size_t length)
{
    char head[256];
    int n = snprintf(head, sizeof head,
                     "Status: %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n"
                     "X-Content-Type-Options: nosniff\r\n",
                     status, reason_words(status), type, length);
    return n > 0 && (size_t)n < sizeof head && send(request, head, (size_t)n, NULL) &&
           (headers == NULL || send(request, headers, strlen(headers), NULL)) && send(request, "\r\n", 2, NULL);
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

/* A HEAD request is answered as its GET would be, without the body. */
static bool answer(struct request *request, int status, const char *type, const char *headers, const char *text,
                   bool (*put_body)(struct request *, const char *, sink *, size_t *))
{
    if (!begin_answer(request, status))
        return false;
    bool head_only = is_head(request);
    size_t length = 0;
    put_body(request, text, count, &length);
    bool sent = send_head(request, status, type, headers, length);
    if (sent && !head_only)
        sent = put_body(request, text, send, NULL);
    return request->transport->finish(request->self) && sent;
}

bool request_answer(struct request *request, int status, const char *headers, const char *text)
{
    return answer(request, status, "text/plain; charset=utf-8", headers, text, put_text);
}

bool request_refuse(struct request *request, int status, const char *headers, const char *text)
{
    return answer(request, status, "application/json", headers, text, put_error);
}

bool request_send(struct request *request, int status, const char *headers, const char *type, const char *data,
                  size_t length)
{
    if (!begin_answer(request, status))
        return false;
    bool sent = send_head(request, status, type, headers, length);
    if (sent && !is_head(request))
        sent = send(request, data, length, NULL);
    return request->transport->finish(request->self) && sent;
}
