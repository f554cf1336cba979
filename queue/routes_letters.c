/* Queues in several places: dead letters. See routes.h. */
#include <stdlib.h>

#include "queue/routes.h"

/* Ids of dead letters count in each place by themselves: so much is added for each place before it. In decimal digits,
 * for people read them. */
#define PLACE_IDS UINT64_C(1000000000000)

static const struct inspection *inspection_of(const struct routes *routes)
{
    return routes->engine->inspection;
}

/* Of one place. Returns -1 with the reason. */
static int letters_of(struct route *route, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
                      struct letters *found, struct error *why)
{
    uint64_t first = (uint64_t)(route - route->routes->route) * PLACE_IDS;
    int count =
        !route_may_ask(route, why)
            ? -1
            : inspection_of(route->routes)->letters(route->state, source, after, max_count, max_bytes, found, why);
    route_asked(route, count >= 0, why);
    for (int n = 0; n < count; n++)
        found->at[n].id += first;
    return count;
}

int routes_letters(void *state, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
                   struct letters *found, struct error *why)
{
    struct routes *routes = state;
    int count = 0;
    bool any = after >= PLACE_IDS; /* of the places before */
    letters_clear(found);
    if (source != NULL)
        return letters_of(routes_find(routes, source), source, after % PLACE_IDS, max_count, max_bytes, found, why);
    for (size_t i = after / PLACE_IDS; count <= 0 && i < routes->count; i++) {
        struct route *route = &routes->route[i];
        uint64_t first = (uint64_t)i * PLACE_IDS;
        count = letters_of(route, NULL, after > first ? after - first : 0, max_count, max_bytes, found, why);
        if (count < 0)
            route->missed = route->away;
        any |= count >= 0;
    }
    return count > 0 ? count : any ? 0 : -1;
}

/* A transaction for each place. */
static bool change_letters(struct routes *routes,
                           bool (*change)(void *state, const uint64_t *ids, size_t count, size_t *done,
                                          struct error *why),
                           const uint64_t *ids, size_t count, size_t *done, struct error *why)
{
    bool good = true;
    uint64_t *some = calloc(count + 1, sizeof *some);
    *done = 0;
    if (some == NULL) {
        error_set(why, "out of memory");
        return false;
    }
    for (size_t i = 0; good && i < routes->count; i++) {
        struct route *route = &routes->route[i];
        size_t somes = 0, changed = 0;
        for (size_t n = 0; n < count; n++) {
            if (ids[n] / PLACE_IDS == i)
                some[somes++] = ids[n] % PLACE_IDS;
        }
        if (somes > 0)
            good =
                route_may_ask(route, why) && route_asked(route, change(route->state, some, somes, &changed, why), why);
        *done += changed;
    }
    free(some);
    return good;
}

bool routes_replay(void *state, const uint64_t *ids, size_t count, size_t *done, struct error *why)
{
    return change_letters(state, inspection_of(state)->replay, ids, count, done, why);
}

bool routes_discard(void *state, const uint64_t *ids, size_t count, size_t *done, struct error *why)
{
    return change_letters(state, inspection_of(state)->discard, ids, count, done, why);
}
