/* Queues in several places: claiming, and whose turn a place is. See routes.h. */
#include "queue/routes.h"

#include <signal.h>
#include <unistd.h>

#define CLAIM_AGAIN_MS 500
#define HELD_UP_MS 1200   /* the forwarder looks each second, and a session that says nothing for 3 s is ended */
#define FIRST_TRY_MS 5000 /* who claims waits so long for the first tries at all places */
#define STACK_SIZE ((size_t)256 * 1024)

/* ---- an owner's calls, one at a time ---- */

bool route_begin_use(struct route *route)
{
    if (!atomic_load(&route->claimed))
        return false;
    pthread_mutex_lock(&route->use);
    route->used = clock_now();
    bool claimed = atomic_load(&route->claimed);
    if (!claimed)
        pthread_mutex_unlock(&route->use);
    return claimed;
}

void route_end_use(struct route *route)
{
    if (route->routes->engine->is_lost(route->state))
        atomic_store(&route->claimed, false);
    pthread_mutex_unlock(&route->use);
}

/* ---- claiming ---- */

/* Whatever is due there is what the forwarder looks for next. */
static void stand_in(struct route *route)
{
    uint64_t one = 1;
    pthread_mutex_lock(&route->use);
    bool held_up = atomic_load(&route->claimed) && clock_now() - route->used >= HELD_UP_MS;
    if (held_up) {
        route->used = clock_now();
        route->routes->engine->clear_wakeup(route->state);
        if (route->routes->engine->is_lost(route->state))
            atomic_store(&route->claimed, false);
    }
    pthread_mutex_unlock(&route->use);
    ssize_t n = held_up ? write(route->routes->poke_fd, &one, sizeof one) : 0;
    (void)n; /* EAGAIN: it is readable already */
}

static void try_claim(struct route *route)
{
    struct routes *routes = route->routes;
    struct error why = {0};
    pthread_mutex_lock(&route->use);
    bool claimed = routes->engine->claim(route->state, &why);
    route->used = clock_now();
    pthread_mutex_unlock(&route->use);
    pthread_mutex_lock(&routes->lock);
    route->tried = true;
    route->why = why;
    routes->claimed_once |= claimed;
    atomic_store(&route->claimed, claimed);
    pthread_cond_broadcast(&routes->changed);
    pthread_mutex_unlock(&routes->lock);
}

/* A place's thread: claims where nothing is claimed. */
static void *run_claimer(void *context)
{
    struct route *route = context;
    struct routes *routes = route->routes;
    for (bool ending = false; !ending;) {
        moment next = clock_now() + CLAIM_AGAIN_MS;
        if (atomic_load(&route->claimed))
            stand_in(route);
        else
            try_claim(route);
        pthread_mutex_lock(&routes->lock);
        while (!routes->ending && clock_condition_wait(&routes->changed, &routes->lock, next))
            ;
        ending = routes->ending;
        pthread_mutex_unlock(&routes->lock);
    }
    return NULL;
}

/* With the lock held. Other threads handle signals. */
static void start_claimer(struct route *route)
{
    pthread_attr_t small;
    sigset_t all, before;
    if (route->has_claimer || pthread_attr_init(&small) != 0)
        return;
    sigfillset(&all);
    sigdelset(&all, SIGBUS); /* see base/files.h */
    pthread_attr_setstacksize(&small, STACK_SIZE);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    route->has_claimer = pthread_create(&route->claimer, &small, run_claimer, route) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&small);
    route->tried = !route->has_claimer;
    if (!route->has_claimer)
        error_set(&route->why, "no thread can be started");
}

void routes_join(void *state)
{
    struct routes *routes = state;
    for (size_t i = 0; i < routes->count; i++)
        routes->engine->join(routes->route[i].state);
}

/* Whether one is claimed; *all_tried: nor is a first try under way. With the lock held. */
static bool is_any_claimed(struct routes *routes, bool *all_tried, struct error *why)
{
    bool any = false;
    *all_tried = true;
    for (size_t i = 0; i < routes->count; i++) {
        const struct route *route = &routes->route[i];
        any |= atomic_load(&route->claimed);
        *all_tried = *all_tried && route->tried;
        bool worse = why->text[0] == '\0' || why->kind == ERROR_BUSY;
        if (!atomic_load(&route->claimed) && worse)
            *why = route->why;
    }
    return any;
}

bool routes_claim(void *state, struct error *why)
{
    struct routes *routes = state;
    struct error reason = {0};
    bool tried;
    moment until = clock_now() + FIRST_TRY_MS;
    pthread_mutex_lock(&routes->lock);
    for (size_t i = 0; i < routes->count; i++)
        start_claimer(&routes->route[i]);
    bool any = is_any_claimed(routes, &tried, &reason);
    while (!tried && clock_condition_wait(&routes->changed, &routes->lock, until))
        any = is_any_claimed(routes, &tried, &reason);
    pthread_mutex_unlock(&routes->lock);
    if (!any && why != NULL)
        *why = reason;
    return any;
}

bool routes_is_lost(void *state)
{
    struct routes *routes = state;
    bool any = false;
    for (size_t i = 0; i < routes->count; i++)
        any |= atomic_load(&routes->route[i].claimed);
    pthread_mutex_lock(&routes->lock);
    bool once = routes->claimed_once;
    pthread_mutex_unlock(&routes->lock);
    return once && !any;
}
