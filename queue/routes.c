/* Queues in several places: appending and forwarding. See routes.h. */
#include "queue/routes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* It always has one; saying so spares checkers a doubt. */
static bool is_at(const struct route *route, const char *url)
{
    return route->config.queue_url != NULL && strcmp(route->config.queue_url, url) == 0;
}

struct route *route_of(struct routes *routes, const char *source)
{
    const struct source *found = config_source(routes->config, source);
    const char *url = found == NULL ? NULL : config_queue_url_of(routes->config, found);
    for (size_t i = 0; url != NULL && i < routes->count; i++) {
        if (is_at(&routes->route[i], url))
            return &routes->route[i];
    }
    return &routes->route[0];
}

/* ---- opening ---- */

/* The place of the top level's queue_url first: the ids of dead letters begin there (routes_letters.c). Returns false
 * when memory is out. */
static bool add_route(struct routes *routes, const char *url)
{
    const struct config *config = routes->config;
    struct route *route = &routes->route[routes->count];
    size_t sources = 0;
    for (size_t i = 0; i < routes->count; i++) {
        if (is_at(&routes->route[i], url))
            return true;
    }
    route->routes = routes;
    route->config = *config;
    route->config.queue_url = (char *)(uintptr_t)url; /* nobody changes it */
    route->config.is_of_route = config->queue_url == NULL || strcmp(url, config->queue_url) != 0;
    route->config.source = calloc(config->sources, sizeof *route->config.source);
    if (route->config.source == NULL)
        return false;
    for (size_t i = 0; i < config->sources; i++) {
        if (strcmp(config_queue_url_of(config, &config->source[i]), url) == 0)
            route->config.source[sources++] = config->source[i];
    }
    route->config.sources = sources;
    if (sources == 0) { /* the top level's, when all sources are elsewhere */
        free(route->config.source);
        return true;
    }
    pthread_mutex_init(&route->use, NULL);
    routes->count++;
    return true;
}

static bool add_routes(struct routes *routes, struct error *why)
{
    const struct config *config = routes->config;
    bool good = true;
    routes->route = calloc(config->sources + 1, sizeof *routes->route);
    if (routes->route != NULL && config->queue_url != NULL)
        good = add_route(routes, config->queue_url);
    for (size_t i = 0; routes->route != NULL && good && i < config->sources; i++)
        good = add_route(routes, config_queue_url_of(config, &config->source[i]));
    if (routes->route != NULL && good)
        return true;
    error_set(why, "out of memory");
    return false;
}

/* ---- trying ---- */

/* Puts what is said of one more server behind what is there. */
static void add_words(char *all, size_t size, const char *words, const char *source)
{
    size_t length = strlen(all);
    snprintf(all + length, size - length, "%s%s (of source %.40s)", length == 0 ? "" : "; ", words, source);
}

void routes_add_setup(struct queue_setup *all, const struct queue_setup *one, const struct route *route)
{
    const char *source = route->config.source[0].name;
    struct error before = all->worry;
    add_words(all->server, sizeof all->server, one->server, source);
    add_words(all->copies, sizeof all->copies, one->copies, source);
    add_words(all->connections, sizeof all->connections, one->connections, source);
    if (one->worry.text[0] != '\0')
        error_set(&all->worry, "%.240s%ssource %.40s: %.200s", before.text, before.text[0] == '\0' ? "" : "; ", source,
                  one->worry.text);
}

bool routes_try(const struct config *config, struct queue_setup *setup, bool *is_there, struct error *why)
{
    struct routes routes = {.config = config, .engine = queue_engine_of(config->queue)};
    struct error faults = {.text = ""};
    bool good = add_routes(&routes, why);
    for (size_t i = 0; good && i < routes.count; i++) {
        struct queue_setup one = {.server = ""};
        struct error before = faults, reason = {.text = ""};
        bool here = true;
        if (routes.engine->try(&routes.route[i].config, &one, &here, &reason)) {
            routes_add_setup(setup, &one, &routes.route[i]);
            *is_there = *is_there && here;
        } else {
            error_set(&faults, "%.250s%ssource %.40s: %.200s", before.text, before.text[0] == '\0' ? "" : "; ",
                      routes.route[i].config.source[0].name, reason.text);
        }
    }
    if (faults.text[0] != '\0')
        *why = faults;
    for (size_t i = 0; i < routes.count; i++) {
        free(routes.route[i].config.source);
        pthread_mutex_destroy(&routes.route[i].use);
    }
    free(routes.route);
    return good && faults.text[0] == '\0';
}

static bool open_route(struct routes *routes, struct route *route, struct error *why)
{
    struct epoll_event event = {.events = EPOLLIN};
    route->state = routes->engine->open(&route->config, why);
    if (route->state == NULL)
        return false;
    if (epoll_ctl(routes->wake_fd, EPOLL_CTL_ADD, routes->engine->wake_fd(route->state), &event) == 0)
        return true;
    error_set(why, "cannot wait for the queue: %s", strerror(errno));
    return false;
}

static void routes_close(void *state)
{
    struct routes *routes = state;
    pthread_mutex_lock(&routes->lock);
    routes->ending = true;
    pthread_cond_broadcast(&routes->changed);
    pthread_mutex_unlock(&routes->lock);
    for (size_t i = 0; i < routes->count; i++) {
        struct route *route = &routes->route[i];
        if (route->has_claimer)
            pthread_join(route->claimer, NULL);
        if (route->state != NULL)
            routes->engine->close(route->state);
        free(route->config.source);
        pthread_mutex_destroy(&route->use);
    }
    if (routes->wake_fd >= 0)
        close(routes->wake_fd);
    if (routes->poke_fd >= 0)
        close(routes->poke_fd);
    pthread_cond_destroy(&routes->changed);
    pthread_mutex_destroy(&routes->lock);
    free(routes->route);
    free(routes);
}

static bool make_wake(struct routes *routes, struct error *why)
{
    struct epoll_event event = {.events = EPOLLIN};
    routes->wake_fd = epoll_create1(EPOLL_CLOEXEC);
    routes->poke_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (routes->wake_fd >= 0 && routes->poke_fd >= 0 &&
        epoll_ctl(routes->wake_fd, EPOLL_CTL_ADD, routes->poke_fd, &event) == 0)
        return true;
    error_set(why, "cannot wait for the queue: %s", strerror(errno));
    return false;
}

static void *routes_open(const struct config *config, struct error *why)
{
    struct routes *routes = calloc(1, sizeof *routes);
    if (routes == NULL) {
        error_set(why, "out of memory");
        return NULL;
    }
    routes->config = config;
    routes->engine = queue_engine_of(config->queue);
    pthread_mutex_init(&routes->lock, NULL);
    clock_condition_init(&routes->changed);
    bool good = make_wake(routes, why) && add_routes(routes, why);
    for (size_t i = 0; good && i < routes->count; i++)
        good = open_route(routes, &routes->route[i], why);
    if (good)
        return routes;
    routes_close(routes);
    return NULL;
}

/* ---- appending ---- */

static enum queue_result routes_append(void *state, const char *source, const char *body, size_t length,
                                       moment deadline, struct error *why)
{
    struct routes *routes = state;
    return routes->engine->append(route_of(routes, source)->state, source, body, length, deadline, why);
}

struct waiting_append {
    struct route *route;
    struct waiting_append *of; /* the engine's */
};

static struct waiting_append *routes_append_start(void *state, const char *source, const char *body, size_t length,
                                                  append_done *done, void *context)
{
    struct routes *routes = state;
    struct route *route = route_of(routes, source);
    struct waiting_append *append = malloc(sizeof *append);
    if (append == NULL)
        return NULL;
    append->route = route;
    append->of = routes->engine->append_start(route->state, source, body, length, done, context);
    if (append->of != NULL)
        return append;
    free(append);
    return NULL;
}

static bool routes_append_give_up(void *state, struct waiting_append *append, struct error *why)
{
    struct routes *routes = state;
    bool given_up = routes->engine->append_give_up(append->route->state, append->of, why);
    if (given_up)
        free(append);
    return given_up;
}

static void routes_append_end(struct waiting_append *append)
{
    append->route->routes->engine->append_end(append->of);
    free(append);
}

static void routes_start_writer(void *state)
{
    struct routes *routes = state;
    for (size_t i = 0; i < routes->count; i++)
        routes->engine->start_writer(routes->route[i].state);
}

static void routes_set_stop_deadline(void *state, moment deadline)
{
    struct routes *routes = state;
    for (size_t i = 0; i < routes->count; i++)
        routes->engine->set_stop_deadline(routes->route[i].state, deadline);
}

static bool routes_has_reader(void *state, const char *source)
{
    struct routes *routes = state;
    return routes->engine->has_reader(route_of(routes, source)->state, source);
}

/* ---- forwarding ---- */

static uint64_t routes_tenure(void *state, const char *source)
{
    struct route *route = route_of(state, source);
    if (!route_begin_use(route))
        return 0;
    uint64_t tenure = route->routes->engine->tenure(route->state, source);
    route_end_use(route);
    return tenure;
}

static bool routes_should_yield(void *state, const char *source)
{
    struct route *route = route_of(state, source);
    if (!route_begin_use(route))
        return false;
    bool should = route->routes->engine->should_yield(route->state, source);
    route_end_use(route);
    return should;
}

static void routes_yield(void *state, const char *source)
{
    struct route *route = route_of(state, source);
    if (!route_begin_use(route))
        return;
    route->routes->engine->yield(route->state, source);
    route_end_use(route);
}

/* As begin_use, with the place of a source, and the reason. NULL: it is not claimed. */
static struct route *use_route(struct routes *routes, const char *source, struct error *why)
{
    struct route *route = route_of(routes, source);
    if (route_begin_use(route))
        return route;
    if (why != NULL)
        error_set(why, "this process does not forward this source now");
    return NULL;
}

static int routes_next(void *state, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
                       struct events *found, struct error *why)
{
    struct route *route = use_route(state, source, why);
    if (route == NULL)
        return -1;
    int count = route->routes->engine->next(route->state, source, after, max_count, max_bytes, found, why);
    route_end_use(route);
    return count;
}

static int routes_again(void *state, const char *source, const uint64_t *ids, size_t count, size_t max_bytes,
                        struct events *found, size_t *asked, struct error *why)
{
    struct route *route = use_route(state, source, why);
    *asked = 0;
    if (route == NULL)
        return -1;
    int got = route->routes->engine->again(route->state, source, ids, count, max_bytes, found, asked, why);
    route_end_use(route);
    return got;
}

static bool routes_known(void *state, const char *source, const struct identity *identities, size_t count,
                         struct known *known, struct error *why)
{
    struct route *route = use_route(state, source, why);
    if (route == NULL)
        return false;
    bool good = route->routes->engine->known(route->state, source, identities, count, known, why);
    route_end_use(route);
    return good;
}

static bool routes_settle(void *state, const char *source, const struct verdict *verdicts, size_t count,
                          struct error *why)
{
    struct route *route = use_route(state, source, why);
    if (route == NULL)
        return false;
    bool good = route->routes->engine->settle(route->state, source, verdicts, count, why);
    route_end_use(route);
    return good;
}

static bool routes_note(void *state, const char *source, struct notes *notes, bool put, struct error *why)
{
    struct route *route = use_route(state, source, why);
    if (route == NULL)
        return false;
    bool good = route->routes->engine->note(route->state, source, notes, put, why);
    route_end_use(route);
    return good;
}

/* A request's number says where it is, too. */
static bool routes_take_request(void *state, struct queue_request *request)
{
    struct routes *routes = state;
    bool taken = false;
    for (size_t i = 0; !taken && i < routes->count; i++) {
        if (!route_begin_use(&routes->route[i]))
            continue;
        taken = routes->engine->take_request(routes->route[i].state, request);
        route_end_use(&routes->route[i]);
        if (taken)
            request->number = request->number * (int64_t)routes->count + (int64_t)i;
    }
    return taken;
}

static void routes_answer_request(void *state, int64_t number, bool done, const char *words)
{
    struct routes *routes = state;
    struct route *route = &routes->route[(size_t)number % routes->count];
    if (!route_begin_use(route))
        return;
    routes->engine->answer_request(route->state, number / (int64_t)routes->count, done, words);
    route_end_use(route);
}

static int routes_wake_fd(void *state)
{
    const struct routes *routes = state;
    return routes->wake_fd;
}

static void routes_clear_wakeup(void *state)
{
    struct routes *routes = state;
    uint64_t times;
    ssize_t n = read(routes->poke_fd, &times, sizeof times);
    (void)n; /* EAGAIN: it was another one */
    for (size_t i = 0; i < routes->count; i++) {
        if (!route_begin_use(&routes->route[i]))
            continue;
        routes->engine->clear_wakeup(routes->route[i].state);
        route_end_use(&routes->route[i]);
    }
}

static bool routes_is_steady(void *state)
{
    struct routes *routes = state;
    bool steady = true;
    for (size_t i = 0; i < routes->count; i++)
        steady =
            steady && (!atomic_load(&routes->route[i].claimed) || routes->engine->is_steady(routes->route[i].state));
    return steady;
}

static bool routes_must_reopen(void *state)
{
    struct routes *routes = state;
    bool must = false;
    for (size_t i = 0; i < routes->count; i++)
        must |= routes->engine->must_reopen(routes->route[i].state);
    return must;
}

static bool routes_settles_in_bulk(void *state)
{
    struct routes *routes = state;
    return routes->engine->settles_in_bulk(routes->route[0].state);
}

const struct engine queue_engine_routes = {
    .open = routes_open,
    .append = routes_append,
    .append_start = routes_append_start,
    .append_give_up = routes_append_give_up,
    .append_end = routes_append_end,
    .start_writer = routes_start_writer,
    .set_stop_deadline = routes_set_stop_deadline,
    .join = routes_join,
    .is_lost = routes_is_lost,
    .tenure = routes_tenure,
    .should_yield = routes_should_yield,
    .yield = routes_yield,
    .claim = routes_claim,
    .next = routes_next,
    .again = routes_again,
    .known = routes_known,
    .settle = routes_settle,
    .note = routes_note,
    .take_request = routes_take_request,
    .answer_request = routes_answer_request,
    .wake_fd = routes_wake_fd,
    .clear_wakeup = routes_clear_wakeup,
    .has_reader = routes_has_reader,
    .is_steady = routes_is_steady,
    .must_reopen = routes_must_reopen,
    .close = routes_close,
    .settles_in_bulk = routes_settles_in_bulk,
    .reads = QUEUE_READS_MOST,
    .inspection = &routes_inspection,
};
