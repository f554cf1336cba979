/* Reading a request's body: as much as was announced, or to its end, within the limits and the time. */
#include "http/internal.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_PIECE ROOM_SMALL /* memory that an announced length alone can make us take */

/* What CONTENT_LENGTH says. */
enum announcement { ANNOUNCED_NOTHING, ANNOUNCED_LENGTH, ANNOUNCED_NONSENSE };

/* A length beyond what can be counted is announced as SIZE_MAX: too large in any case. */
static enum announcement read_announcement(const struct request *request, size_t *length)
{
    const char *text = request_variable(request, "CONTENT_LENGTH");
    if (text == NULL)
        return ANNOUNCED_NOTHING;
    size_t value = 0;
    for (const char *c = text; *c != '\0'; c++) {
        if (*c < '0' || *c > '9')
            return ANNOUNCED_NONSENSE;
        size_t digit = (size_t)(*c - '0');
        value = value > (SIZE_MAX - digit) / 10 ? SIZE_MAX : value * 10 + digit;
    }
    *length = value;
    return ANNOUNCED_LENGTH;
}

/* Makes the body's memory this large, if that is its share of what all bodies may have. */
static bool grow(struct request *request, size_t capacity)
{
    if (!room_take(request->bodies, &request->part, capacity - request->capacity))
        return false;
    char *body = realloc(request->body, capacity);
    if (body == NULL) {
        room_log_memory(request->bodies);
        return false;
    }
    request->body = body;
    request->capacity = capacity;
    return true;
}

/* The next size of memory, never beyond most. */
static size_t next_capacity(const struct request *request, size_t most)
{
    size_t wanted = request->capacity == 0 ? FIRST_PIECE : request->capacity * 2;
    return wanted < most ? wanted : most;
}

static enum body_result too_large(const struct request *request, struct error *why)
{
    error_set(why, "the body is larger than the %zu bytes that max_body allows", request->limits->max_body);
    return BODY_TOO_LARGE;
}

static enum body_result no_room(struct error *why)
{
    error_set(why, "too much at once: large requests wait for memory; send it again later");
    return BODY_NO_ROOM;
}

static enum body_result empty(struct error *why)
{
    error_set(why, "the body is empty; a webhook's event is expected");
    return BODY_EMPTY;
}

/* Says why a body ended too early. */
static enum body_result cut_short(struct request *request, struct error *why)
{
    if (room_has_given_way(request->bodies, &request->part))
        return no_room(why);
    int64_t limit = request->limits->request_timeout_ms;
    if (clock_now() - request->started >= limit)
        error_set(why, "the request did not arrive within %lld ms; %zu bytes of its body had come", (long long)limit,
                  request->length);
    else
        error_set(why, "the body ended after %zu bytes, before its end", request->length);
    return BODY_SHORT;
}

/* Reads into what memory there is. */
static enum arrival read_piece(struct request *request)
{
    size_t got = 0;
    enum arrival arrival = request->transport->read(request->self, request->body + request->length,
                                                    request->capacity - request->length, &got);
    request->length += got;
    return arrival;
}

static enum body_result read_announced(struct request *request, size_t announced, struct error *why)
{
    while (request->length < announced) {
        if (request->length == request->capacity && !grow(request, next_capacity(request, announced)))
            return no_room(why);
        if (read_piece(request) != ARRIVED_SOME && request->length < announced)
            return cut_short(request, why);
    }
    return BODY_OK;
}

/* One byte more than allowed is room enough to see that there is too much. */
static enum body_result read_to_end(struct request *request, struct error *why)
{
    size_t most = request->limits->max_body + 1;
    enum arrival arrival = ARRIVED_SOME;
    while (arrival == ARRIVED_SOME && request->length < most) {
        if (request->length == request->capacity && !grow(request, next_capacity(request, most)))
            return no_room(why);
        arrival = read_piece(request);
    }
    if (request->length == most)
        return too_large(request, why);
    if (arrival == ARRIVED_BROKEN)
        return cut_short(request, why);
    return request->length == 0 ? empty(why) : BODY_OK;
}

void request_forget_body(struct request *request)
{
    free(request->body);
    request->body = NULL;
    request->capacity = 0;
    room_give_back(request->bodies, &request->part);
}

enum body_result request_body(struct request *request, const char **body, size_t *length, struct error *why)
{
    enum body_result result = BODY_SHORT;
    size_t announced = 0;
    request->part.started = request->started;
    request->part.interrupt = request->transport->interrupt;
    request->part.self = request->self;
    switch (read_announcement(request, &announced)) {
    case ANNOUNCED_NONSENSE:
        error_set(why, "Content-Length is not a number");
        break;
    case ANNOUNCED_NOTHING:
        result = read_to_end(request, why);
        break;
    case ANNOUNCED_LENGTH:
        if (announced == 0)
            result = empty(why);
        else if (announced > request->limits->max_body)
            result = too_large(request, why);
        else
            result = read_announced(request, announced, why);
        break;
    }
    if (result == BODY_OK && !room_finish(request->bodies, &request->part))
        result = no_room(why);
    if (result != BODY_OK) /* an answer may take its time */
        request_forget_body(request);
    *body = result == BODY_OK ? request->body : NULL;
    *length = result == BODY_OK ? request->length : 0;
    return result;
}
