/* Reading a request: variables, path, query, credentials. Its body: body.c. And its answer. */
#include "http/http.h"

#include "base/error.h"
#include "base/escape.h"
#include "base/log.h"
#include "base/program_name.h"
#include "base/text.h"
#include "http/http_private.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

bool request_begin(struct request *request)
{
    const char *path = request_variable(request, "PATH_INFO");
    size_t length = path == NULL ? 0 : strlen(path);
    request->slash = length > 0 && path[length - 1] == '/';
    if (request->slash)
        length--;
    bool fits = length < sizeof request->path;
    if (!fits)
        length = 0;
    if (length > 0)
        memcpy(request->path, path, length);
    request->path[length] = '\0';
    return fits;
}

void request_end(struct request *request)
{
    request_free_body(request);
}

const char *request_variable(const struct request *request, const char *name)
{
    const char *value = request->transport->variable(request->self, name);
    return value == NULL || *value == '\0' ? NULL : value;
}

const char *request_header(const struct request *request, const char *name)
{
    char variable[128];
    int length = snprintf(variable, sizeof variable, "HTTP_%s", name);
    if (length < 0 || (size_t)length >= sizeof variable)
        return NULL;
    return request_variable(request, variable);
}

const char *request_path(const struct request *request)
{
    return request->path;
}

moment request_started(const struct request *request)
{
    return request->started;
}

/* Whether a percent-encoded name equals this name. */
static bool is_named(const char *text, size_t length, const char *name)
{
    char decoded[64];
    return text_percent_decode(text, length, decoded, sizeof decoded) >= 0 && strcmp(decoded, name) == 0;
}

static bool take_value(const char *text, size_t length, char *out, size_t size)
{
    if (text_percent_decode(text, length, out, size) >= 0)
        return true;
    if (size > 0)
        *out = '\0';
    return false;
}

bool request_field(const char *form, size_t length, const char *name, char *out, size_t size)
{
    const char *end = form + length;
    if (size > 0)
        *out = '\0';
    for (const char *at = form, *next; at < end; at = next + 1) {
        const char *equals;
        next = memchr(at, '&', (size_t)(end - at));
        if (next == NULL)
            next = end;
        equals = memchr(at, '=', (size_t)(next - at));
        const char *key_end = equals == NULL ? next : equals;
        if (!is_named(at, (size_t)(key_end - at), name))
            continue;
        const char *value = equals == NULL ? next : equals + 1;
        return take_value(value, (size_t)(next - value), out, size);
    }
    return false;
}

bool request_query(const struct request *request, const char *name, char *out, size_t size)
{
    const char *query = request_variable(request, "QUERY_STRING");
    return request_field(query == NULL ? "" : query, query == NULL ? 0 : strlen(query), name, out, size);
}

/* Returns the Authorization header. After Apache's rewriting the variable has the prefix REDIRECT_. */
static const char *authorization(const struct request *request)
{
    const char *value = request_header(request, "AUTHORIZATION");
    return value != NULL ? value : request_variable(request, "REDIRECT_HTTP_AUTHORIZATION");
}

/* Decodes the credentials, "USER:PASSWORD". Returns their length; -1: none. */
static long decode_basic(const struct request *request, char *out, size_t size)
{
    static const char scheme[] = "Basic ";
    const char *value = authorization(request);
    if (value == NULL || strncasecmp(value, scheme, strlen(scheme)) != 0)
        return -1;
    value += strlen(scheme);
    value += strspn(value, " ");
    long length = text_base64_decode(value, strcspn(value, " "), out, size);
    return length <= 0 || memchr(out, '\0', (size_t)length) != NULL ? -1 : length;
}

/* Copies a part of the text. Returns false when it does not fit. */
static bool copy_part(const char *part, size_t length, char *out, size_t size)
{
    if (length >= size)
        return false;
    memcpy(out, part, length);
    out[length] = '\0';
    return true;
}

bool request_basic(const struct request *request, char *user, size_t user_size, char *password, size_t password_size)
{
    char decoded[1024];
    long length = decode_basic(request, decoded, sizeof decoded);
    const char *colon = length < 0 ? NULL : memchr(decoded, ':', (size_t)length);
    size_t name = colon == NULL ? 0 : (size_t)(colon - decoded);
    if (user_size > 0)
        *user = '\0';
    if (password_size > 0)
        *password = '\0';
    if (colon == NULL || name == 0)
        return false;
    if (copy_part(decoded, name, user, user_size) &&
        copy_part(colon + 1, (size_t)length - name - 1, password, password_size))
        return true;
    if (user_size > 0)
        *user = '\0';
    return false;
}

bool request_basic_user(const struct request *request, char *out, size_t size)
{
    char decoded[1024];
    if (size == 0)
        return false;
    *out = '\0';
    long length = decode_basic(request, decoded, sizeof decoded);
    const char *colon = length < 0 ? NULL : memchr(decoded, ':', (size_t)length);
    size_t name = length < 0 ? 0 : colon == NULL ? (size_t)length : (size_t)(colon - decoded);
    return name > 0 && copy_part(decoded, name, out, size);
}

/* ---- handlers that wait ---- */

void request_blocks(struct request *request)
{
    if (request->transport->aside != NULL)
        request->transport->aside->blocks(request->self);
}

bool request_may_wait(const struct request *request)
{
    return request->transport->aside != NULL;
}

void request_wait(struct request *request, moment deadline, request_resume *resume, request_give_up *give_up,
                  void *context)
{
    request->waits = true;
    request->transport->aside->wait(request->self, deadline, resume, give_up, context);
}

void request_wake(struct request *request)
{
    request->transport->aside->wake(request->self);
}

/* ---- Which route answers a path. ---- */

/* Whether the path is a name: one segment. */
static bool is_name(const char *path)
{
    return path[0] == '/' && path[1] != '\0' && strchr(path + 1, '/') == NULL;
}

static bool route_matches(const struct route *route, const char *path)
{
    return strcmp(route->path, path) == 0 || (strcmp(route->path, "/*") == 0 && is_name(path));
}

static const struct route *find_route(const struct route *routes, size_t count, const char *path)
{
    for (size_t i = 0; i < count; i++) {
        if (route_matches(&routes[i], path))
            return &routes[i];
    }
    return NULL;
}

void routes_serve(const struct route *routes, size_t count, struct request *request)
{
    const struct route *route = request_begin(request) ? find_route(routes, count, request->path) : NULL;
    if (route == NULL || (route->exact && request->slash)) {
        request_refuse(request, 404, NULL, "there is nothing at this address");
        return;
    }
    route->handle(route->context, request);
    if (!request->answered && !request->waits) {
        log_write(LEVEL_ERROR, "msg=not_answered path=\"%s\"", route->path);
        request_refuse(request, 500, NULL, "an internal fault: this request was not handled");
    }
}

/* ---- The answer: status line, headers, a text body or an error as JSON. Never allocates, so that a refusal for lack
 * of memory can still be sent. ---- */

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
