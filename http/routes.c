/* Which route answers a path. */
#include "http/internal.h"

#include "base/log.h"

#include <string.h>

/* A name is one segment: a slash and then none. */
static bool is_name(const char *path)
{
    return path[0] == '/' && path[1] != '\0' && strchr(path + 1, '/') == NULL;
}

static bool matches(const struct route *route, const char *path)
{
    return strcmp(route->path, path) == 0 || (strcmp(route->path, "/*") == 0 && is_name(path));
}

static const struct route *find(const struct route *routes, size_t count, const char *path)
{
    for (size_t i = 0; i < count; i++) {
        if (matches(&routes[i], path))
            return &routes[i];
    }
    return NULL;
}

void routes_serve(const struct route *routes, size_t count, struct request *request)
{
    const struct route *route = request_begin(request) ? find(routes, count, request->path) : NULL;
    if (route == NULL || (route->exact && request->slash)) {
        request_refuse(request, 404, NULL, "there is nothing at this address");
        return;
    }
    route->handle(route->context, request);
    if (!request->answered) {
        log_write(LEVEL_ERROR, "msg=not_answered path=\"%s\"", route->path);
        request_refuse(request, 500, NULL, "an internal fault: this request was not handled");
    }
}
