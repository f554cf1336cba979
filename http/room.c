/* The memory of all bodies in hand: see room.h. */
#include "http/room.h"

#include "base/log.h"

#define LOG_AGAIN_MS 10000

void room_init(struct room *bodies, size_t limit)
{
    *bodies = (struct room){.limit = limit};
    atomic_init(&bodies->logged, INT64_MIN / 2);
    pthread_mutex_init(&bodies->lock, NULL);
}

void room_free(struct room *bodies)
{
    pthread_mutex_destroy(&bodies->lock);
}

static bool take_if_it_fits(struct room *bodies, size_t bytes)
{
    size_t before = atomic_fetch_add_explicit(&bodies->taken, bytes, memory_order_relaxed);
    if (before <= bodies->limit && bytes <= bodies->limit - before)
        return true;
    atomic_fetch_sub_explicit(&bodies->taken, bytes, memory_order_relaxed);
    return false;
}

static void give(struct room *bodies, size_t bytes)
{
    atomic_fetch_sub_explicit(&bodies->taken, bytes, memory_order_relaxed);
}

/* ---- with the lock ---- */

static void list(struct room *bodies, struct room_part *part)
{
    part->listed = true;
    part->previous = NULL;
    part->next = bodies->first;
    if (bodies->first != NULL)
        bodies->first->previous = part;
    bodies->first = part;
}

static void unlist(struct room *bodies, struct room_part *part)
{
    if (!part->listed)
        return;
    part->listed = false;
    if (part->next != NULL)
        part->next->previous = part->previous;
    if (part->previous != NULL)
        part->previous->next = part->next;
    else
        bodies->first = part->next;
}

/* The newest large unfinished one that began after this one. */
static struct room_part *find_newer(const struct room *bodies, const struct room_part *part)
{
    struct room_part *newest = NULL;
    for (struct room_part *at = bodies->first; at != NULL; at = at->next) {
        if (at != part && at->started >= part->started && (newest == NULL || at->started > newest->started))
            newest = at;
    }
    return newest;
}

/* What it has counts as free at once: its thread lets go of it within a moment. */
static void make_give_way(struct room *bodies, struct room_part *part)
{
    unlist(bodies, part);
    part->given_way = true;
    give(bodies, part->taken);
    part->taken = 0;
    if (part->interrupt != NULL)
        part->interrupt(part->self);
}

static bool is_alone(const struct room *bodies, const struct room_part *part)
{
    return atomic_load_explicit(&bodies->taken, memory_order_relaxed) == part->taken;
}

static bool take(struct room *bodies, struct room_part *part, size_t bytes)
{
    if (part->given_way)
        return false;
    while (!take_if_it_fits(bodies, bytes)) {
        struct room_part *newer = find_newer(bodies, part);
        if (newer != NULL) {
            make_give_way(bodies, newer);
        } else if (is_alone(bodies, part)) {
            atomic_fetch_add_explicit(&bodies->taken, bytes, memory_order_relaxed);
            return true;
        } else {
            return false;
        }
    }
    return true;
}

/* ---- */

bool room_take(struct room *bodies, struct room_part *part, size_t bytes)
{
    if (!part->large && part->taken + bytes <= ROOM_SMALL && take_if_it_fits(bodies, bytes)) {
        part->taken += bytes;
        return true;
    }
    pthread_mutex_lock(&bodies->lock);
    bool taken = take(bodies, part, bytes);
    if (taken)
        part->taken += bytes;
    if (!part->large && part->taken > ROOM_SMALL) {
        part->large = true;
        list(bodies, part);
    }
    pthread_mutex_unlock(&bodies->lock);
    return taken;
}

bool room_finish(struct room *bodies, struct room_part *part)
{
    if (!part->large)
        return true;
    pthread_mutex_lock(&bodies->lock);
    unlist(bodies, part);
    bool kept = !part->given_way;
    pthread_mutex_unlock(&bodies->lock);
    return kept;
}

bool room_has_given_way(struct room *bodies, const struct room_part *part)
{
    if (!part->large)
        return false;
    pthread_mutex_lock(&bodies->lock);
    bool given_way = part->given_way;
    pthread_mutex_unlock(&bodies->lock);
    return given_way;
}

void room_give_back(struct room *bodies, struct room_part *part)
{
    if (part->large) {
        pthread_mutex_lock(&bodies->lock);
        unlist(bodies, part);
        pthread_mutex_unlock(&bodies->lock);
    }
    give(bodies, part->taken);
    part->taken = 0;
}

void room_log_memory(struct room *bodies)
{
    moment now = clock_now();
    moment before = atomic_load(&bodies->logged);
    if (now - before >= LOG_AGAIN_MS && atomic_compare_exchange_strong(&bodies->logged, &before, now))
        log_write(LEVEL_ERROR, "msg=out_of_memory advice=\"requests are answered 503 until there is some: raise the "
                               "limit of memory, or lower request_threads or max_body\"");
}
