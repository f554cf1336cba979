/* Reads a request's body, as announced or to its end, within limits and timeout; and the memory budget of all
 * bodies. */
#include "http/http_private.h"

#include "base/log.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A body up to this size never gives way: it arrives quickly. */
#define BUDGET_SMALL ((size_t)64 * 1024)

#define FIRST_PIECE BUDGET_SMALL /* most memory allocated on the strength of an announced length alone */

/* Parses CONTENT_LENGTH. A length that overflows becomes SIZE_MAX, which is always too large. */
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

/* Grows the body's memory to this capacity, if the budget allows it. */
static bool grow_body(struct request *request, size_t capacity)
{
    if (!budget_take(request->budget, &request->share, capacity - request->capacity))
        return false;
    char *body = realloc(request->body, capacity);
    if (body == NULL) {
        budget_log_memory(request->budget);
        return false;
    }
    request->body = body;
    request->capacity = capacity;
    return true;
}

/* Returns the next capacity, at most `most`. */
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

static enum body_result empty_body(struct error *why)
{
    error_set(why, "the body is empty; a webhook's event is expected");
    return BODY_EMPTY;
}

/* Determines why a body ended early. */
static enum body_result cut_short(struct request *request, struct error *why)
{
    if (budget_has_given_way(request->budget, &request->share))
        return no_room(why);
    int64_t limit = request->limits->request_timeout_ms;
    if (clock_now() - request->started >= limit)
        error_set(why, "the request did not arrive within %lld ms; %zu bytes of its body had come", (long long)limit,
                  request->length);
    else
        error_set(why, "the body ended after %zu bytes, before its end", request->length);
    return BODY_SHORT;
}

/* Reads into the free part of the buffer. */
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
        if (request->length == request->capacity && !grow_body(request, next_capacity(request, announced)))
            return no_room(why);
        if (read_piece(request) != ARRIVED_SOME && request->length < announced)
            return cut_short(request, why);
    }
    return BODY_OK;
}

/* Reads to the end. One byte more than the limit suffices to detect a body that is too large. */
static enum body_result read_to_end(struct request *request, struct error *why)
{
    size_t most = request->limits->max_body + 1;
    enum arrival arrival = ARRIVED_SOME;
    while (arrival == ARRIVED_SOME && request->length < most) {
        if (request->length == request->capacity && !grow_body(request, next_capacity(request, most)))
            return no_room(why);
        arrival = read_piece(request);
    }
    if (request->length == most)
        return too_large(request, why);
    if (arrival == ARRIVED_BROKEN)
        return cut_short(request, why);
    return request->length == 0 ? empty_body(why) : BODY_OK;
}

void request_free_body(struct request *request)
{
    free(request->body);
    request->body = NULL;
    request->capacity = 0;
    budget_release(request->budget, &request->share);
}

void request_leave_body(struct request *request)
{
    free(request->body);
    request->body = NULL;
    request->capacity = 0;
}

/* ---- a body that is gathered before the request is handled ---- */

void body_begin(struct request *request)
{
    request->announcement = read_announcement(request, &request->announced);
    size_t most = request->limits->max_body;
    bool fits = request->announcement == ANNOUNCED_NOTHING ||
                (request->announcement == ANNOUNCED_LENGTH && request->announced > 0 && request->announced <= most);
    request->most = !fits ? 0 : request->announcement == ANNOUNCED_LENGTH ? request->announced : most + 1;
    request->gathered = true;
    request->share.started = request->started;
}

bool body_is_there(const struct request *request)
{
    return request->announcement == ANNOUNCED_LENGTH && request->length == request->announced;
}

/* Returns the next capacity for so many bytes more: who sends little takes little. */
static size_t capacity_for(const struct request *request, size_t length)
{
    size_t wanted = request->length + length;
    if (wanted < request->capacity * 2)
        wanted = request->capacity * 2;
    return wanted < request->most ? wanted : request->most;
}

bool body_put(struct request *request, const char *data, size_t length)
{
    while (length > 0 && request->length < request->most && !request->no_room) {
        if (request->length == request->capacity && !grow_body(request, capacity_for(request, length))) {
            request->no_room = true;
            break;
        }
        size_t room = request->capacity - request->length, piece = length < room ? length : room;
        memcpy(request->body + request->length, data, piece);
        request->length += piece;
        data += piece;
        length -= piece;
    }
    bool wanted = !request->no_room && request->length < request->most;
    if (!wanted && (request->no_room || request->most > request->limits->max_body)) /* it is in the way of others */
        request_free_body(request);
    return wanted;
}

/* Judges a gathered body. */
static enum body_result judge_gathered(struct request *request, struct error *why)
{
    if (request->no_room)
        return no_room(why);
    if (request->announcement == ANNOUNCED_LENGTH)
        return body_is_there(request) ? BODY_OK : cut_short(request, why);
    if (request->length == request->most)
        return too_large(request, why);
    if (request->broken)
        return cut_short(request, why);
    return request->length == 0 ? empty_body(why) : BODY_OK;
}

/* ---- */

static enum body_result read_body(struct request *request, size_t announced, struct error *why)
{
    if (request->gathered)
        return judge_gathered(request, why);
    request->share.started = request->started;
    return announced == 0 ? read_to_end(request, why) : read_announced(request, announced, why);
}

enum body_result request_body(struct request *request, const char **body, size_t *length, struct error *why)
{
    enum body_result result = BODY_SHORT;
    size_t announced = 0;
    switch (read_announcement(request, &announced)) {
    case ANNOUNCED_NONSENSE:
        error_set(why, "Content-Length is not a number");
        break;
    case ANNOUNCED_NOTHING:
        result = read_body(request, 0, why);
        break;
    case ANNOUNCED_LENGTH:
        if (announced == 0)
            result = empty_body(why);
        else if (announced > request->limits->max_body)
            result = too_large(request, why);
        else
            result = read_body(request, announced, why);
        break;
    }
    if (result == BODY_OK && !budget_finish(request->budget, &request->share))
        result = no_room(why);
    if (result != BODY_OK) /* sending the answer may take long */
        request_free_body(request);
    *body = result == BODY_OK ? request->body : NULL;
    *length = result == BODY_OK ? request->length : 0;
    return result;
}

/* ---- the memory of all bodies in hand ---- */

#define LOG_AGAIN_MS 10000

void budget_init(struct body_budget *budget, size_t limit)
{
    *budget = (struct body_budget){.limit = limit};
    atomic_init(&budget->logged, INT64_MIN / 2);
    pthread_mutex_init(&budget->lock, NULL);
}

void budget_free(struct body_budget *budget)
{
    pthread_mutex_destroy(&budget->lock);
}

static bool take_if_it_fits(struct body_budget *budget, size_t bytes)
{
    size_t before = atomic_fetch_add_explicit(&budget->taken, bytes, memory_order_relaxed);
    if (before <= budget->limit && bytes <= budget->limit - before)
        return true;
    atomic_fetch_sub_explicit(&budget->taken, bytes, memory_order_relaxed);
    return false;
}

static void give_back_bytes(struct body_budget *budget, size_t bytes)
{
    atomic_fetch_sub_explicit(&budget->taken, bytes, memory_order_relaxed);
}

/* ---- with the lock ---- */

static void list_share(struct body_budget *budget, struct body_share *share)
{
    share->listed = true;
    share->previous = NULL;
    share->next = budget->first;
    if (budget->first != NULL)
        budget->first->previous = share;
    budget->first = share;
}

static void unlist_share(struct body_budget *budget, struct body_share *share)
{
    if (!share->listed)
        return;
    share->listed = false;
    if (share->next != NULL)
        share->next->previous = share->previous;
    if (share->previous != NULL)
        share->previous->next = share->next;
    else
        budget->first = share->next;
}

/* Finds the newest large unfinished body that began after this one. */
static struct body_share *find_newer(const struct body_budget *budget, const struct body_share *share)
{
    struct body_share *newest = NULL;
    for (struct body_share *at = budget->first; at != NULL; at = at->next) {
        if (at != share && at->started >= share->started && (newest == NULL || at->started > newest->started))
            newest = at;
    }
    return newest;
}

/* Makes a body give way. Its memory counts as free at once, since its thread is about to release it. */
static void make_give_way(struct body_budget *budget, struct body_share *share)
{
    unlist_share(budget, share);
    share->given_way = true;
    give_back_bytes(budget, share->taken);
    share->taken = 0;
    if (share->interrupt != NULL)
        share->interrupt(share->self);
}

static bool is_alone(const struct body_budget *budget, const struct body_share *share)
{
    return atomic_load_explicit(&budget->taken, memory_order_relaxed) == share->taken;
}

static bool take_locked(struct body_budget *budget, struct body_share *share, size_t bytes)
{
    if (share->given_way)
        return false;
    while (!take_if_it_fits(budget, bytes)) {
        struct body_share *newer = find_newer(budget, share);
        if (newer != NULL) {
            make_give_way(budget, newer);
        } else if (is_alone(budget, share)) {
            atomic_fetch_add_explicit(&budget->taken, bytes, memory_order_relaxed);
            return true;
        } else {
            return false;
        }
    }
    return true;
}

/* ---- */

bool budget_take(struct body_budget *budget, struct body_share *share, size_t bytes)
{
    if (!share->large && share->taken + bytes <= BUDGET_SMALL && take_if_it_fits(budget, bytes)) {
        share->taken += bytes;
        return true;
    }
    pthread_mutex_lock(&budget->lock);
    bool taken = take_locked(budget, share, bytes);
    if (taken)
        share->taken += bytes;
    if (!share->large && share->taken > BUDGET_SMALL) {
        share->large = true;
        list_share(budget, share);
    }
    pthread_mutex_unlock(&budget->lock);
    return taken;
}

bool budget_finish(struct body_budget *budget, struct body_share *share)
{
    if (!share->large)
        return true;
    pthread_mutex_lock(&budget->lock);
    unlist_share(budget, share);
    bool kept = !share->given_way;
    pthread_mutex_unlock(&budget->lock);
    return kept;
}

bool budget_has_given_way(struct body_budget *budget, const struct body_share *share)
{
    if (!share->large)
        return false;
    pthread_mutex_lock(&budget->lock);
    bool given_way = share->given_way;
    pthread_mutex_unlock(&budget->lock);
    return given_way;
}

void budget_release(struct body_budget *budget, struct body_share *share)
{
    if (share->large) {
        pthread_mutex_lock(&budget->lock);
        unlist_share(budget, share);
        pthread_mutex_unlock(&budget->lock);
    }
    give_back_bytes(budget, share->taken);
    share->taken = 0;
}

void budget_log_memory(struct body_budget *budget)
{
    moment now = clock_now();
    moment before = atomic_load(&budget->logged);
    if (now - before >= LOG_AGAIN_MS && atomic_compare_exchange_strong(&budget->logged, &before, now))
        log_write(LEVEL_ERROR, "msg=out_of_memory advice=\"requests are answered 503 until there is some: raise the "
                               "limit of memory, or lower request_threads or max_body\"");
}
