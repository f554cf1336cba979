/* What a request says: variables, path, query, who it says it is. Its body: body.c; its answer: answer.c. */
#include "http/request.h"

#include "http/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool request_begin(struct request *request)
{
    const char *path = request_variable(request, "PATH_INFO");
    size_t length = path == NULL ? 0 : strlen(path);
    if (length > 0 && path[length - 1] == '/')
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
    free(request->body);
    request->body = NULL;
    atomic_fetch_sub_explicit(&request->bodies->taken, request->reserved, memory_order_relaxed);
    request->reserved = 0;
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

/* Whether an encoded name is this name. */
static bool is_named(const char *text, size_t length, const char *name)
{
    char decoded[64];
    return decode_percent(text, length, decoded, sizeof decoded) >= 0 && strcmp(decoded, name) == 0;
}

bool request_query(const struct request *request, const char *name, char *out, size_t size)
{
    if (size > 0)
        *out = '\0';
    const char *at = request_variable(request, "QUERY_STRING");
    while (at != NULL) {
        size_t pair = strcspn(at, "&");
        size_t key = strcspn(at, "=&");
        if (is_named(at, key, name)) {
            size_t skip = key < pair ? key + 1 : key;
            if (decode_percent(at + skip, pair - skip, out, size) >= 0)
                return true;
            if (size > 0)
                *out = '\0';
            return false;
        }
        at = at[pair] == '&' ? at + pair + 1 : NULL;
    }
    return false;
}

/* The Authorization header. Apache's rewriting renames variables: REDIRECT_ is put before them. */
static const char *authorization(const struct request *request)
{
    const char *value = request_header(request, "AUTHORIZATION");
    return value != NULL ? value : request_variable(request, "REDIRECT_HTTP_AUTHORIZATION");
}

bool request_basic_user(const struct request *request, char *out, size_t size)
{
    static const char scheme[] = "Basic ";
    if (size == 0)
        return false;
    *out = '\0';
    const char *value = authorization(request);
    if (value == NULL || strncasecmp(value, scheme, strlen(scheme)) != 0)
        return false;
    value += strlen(scheme);
    value += strspn(value, " ");
    char decoded[1024];
    long length = decode_base64(value, strcspn(value, " "), decoded, sizeof decoded);
    if (length <= 0)
        return false;
    const char *colon = memchr(decoded, ':', (size_t)length);
    size_t user = colon == NULL ? (size_t)length : (size_t)(colon - decoded);
    if (user == 0 || user >= size || memchr(decoded, '\0', user) != NULL)
        return false;
    memcpy(out, decoded, user);
    out[user] = '\0';
    return true;
}
