/* Queues in several places: inspection and operators' commands. See routes.h. A place that did not answer is not asked
 * again for a moment, for who gathers facts asks many things, and each would wait for it anew. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/routes.h"

#define AWAY_MS 2000

static const struct inspection *inspection_of(const struct routes *routes)
{
    return routes->engine->inspection;
}

bool route_may_ask(const struct route *route, struct error *why)
{
    if (clock_now() >= route->away_until)
        return true;
    if (why != NULL)
        *why = route->away;
    return false;
}

bool route_asked(struct route *route, bool good, struct error *why)
{
    if (good)
        return true;
    route->away_until = clock_now() + AWAY_MS;
    route->away = (struct error){.text = "the queue of this source does not answer"};
    if (why != NULL)
        route->away = *why;
    return false;
}

/* ---- of a source ---- */

static bool lists(const struct route *route, const char *source, bool *good, struct error *why)
{
    struct strings names = {NULL, 0};
    bool found = false;
    *good = route_may_ask(route, why) && inspection_of(route->routes)->names(route->state, &names, why);
    for (size_t i = 0; i < names.count; i++)
        found |= strcmp(names.at[i], source) == 0;
    queue_names_free(&names);
    return found;
}

struct route *routes_find(struct routes *routes, const char *source)
{
    bool good;
    for (size_t i = 0; config_source(routes->config, source) == NULL && i < routes->count; i++) {
        struct error why;
        if (lists(&routes->route[i], source, &good, &why))
            return &routes->route[i];
        route_asked(&routes->route[i], good, &why);
    }
    return route_of(routes, source);
}

/* NULL with the reason: it did not answer a moment ago. */
static struct route *ask_route(void *state, const char *source, struct error *why)
{
    struct route *route = routes_find(state, source);
    return route_may_ask(route, why) ? route : NULL;
}

static bool routes_count(void *state, const char *source, struct counts *counts, struct error *why)
{
    struct route *route = ask_route(state, source, why);
    *counts = (struct counts){.accepted = 0};
    return route != NULL &&
           route_asked(route, inspection_of(route->routes)->count(route->state, source, counts, why), why);
}

static bool routes_look_known(void *state, const char *source, const struct identity *identities, size_t count,
                              struct known *known, struct error *why)
{
    struct route *route = ask_route(state, source, why);
    return route != NULL &&
           route_asked(route,
                       inspection_of(route->routes)->look_known(route->state, source, identities, count, known, why),
                       why);
}

static bool routes_notes(void *state, const char *source, struct notes *notes, struct error *why)
{
    struct route *route = ask_route(state, source, why);
    return route != NULL &&
           route_asked(route, inspection_of(route->routes)->notes(route->state, source, notes, why), why);
}

static int routes_list(void *state, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
                       struct events *found, struct error *why)
{
    struct route *route = ask_route(state, source, why);
    events_clear(found);
    if (route == NULL)
        return -1;
    int count = inspection_of(route->routes)->list(route->state, source, after, max_count, max_bytes, found, why);
    route_asked(route, count >= 0, why);
    return count;
}

/* ---- of all ---- */

/* Adds those that are not there yet; takes them. Returns false when memory is out. */
static bool add_names(struct strings *names, struct strings *more)
{
    char **at = realloc(names->at, (names->count + more->count + 1) * sizeof *at);
    if (at == NULL)
        return false;
    names->at = at;
    for (size_t i = 0; i < more->count; i++) {
        bool there = false;
        for (size_t j = 0; j < names->count; j++)
            there |= strcmp(at[j], more->at[i]) == 0;
        if (there)
            continue;
        at[names->count++] = more->at[i];
        more->at[i] = NULL;
    }
    return true;
}

/* Those of the places that answer; false when none does. */
static bool routes_names(void *state, struct strings *names, struct error *why)
{
    struct routes *routes = state;
    bool any = false;
    for (size_t i = 0; i < routes->count; i++) {
        struct route *route = &routes->route[i];
        struct strings more = {NULL, 0};
        bool good = route_may_ask(route, why) &&
                    route_asked(route, inspection_of(routes)->names(route->state, &more, why), why);
        if (!good)
            route->missed = route->away;
        if (good && !add_names(names, &more)) {
            error_set(why, "out of memory");
            good = false;
        }
        queue_names_free(&more);
        any |= good;
    }
    return any;
}

static bool routes_missed(void *state, struct error *words)
{
    struct routes *routes = state;
    words->text[0] = '\0';
    for (size_t i = 0; i < routes->count; i++) {
        struct route *route = &routes->route[i];
        struct error before = *words;
        if (route->missed.text[0] != '\0')
            error_set(words, "%.250s%ssource %.40s%s: %.180s", before.text, before.text[0] == '\0' ? "" : "; ",
                      route->config.source[0].name, route->config.sources > 1 ? " and others" : "", route->missed.text);
    }
    return words->text[0] != '\0';
}

/* Of the places that answer, as above. */
static bool routes_room(void *state, struct queue_room *room, struct error *why)
{
    struct routes *routes = state;
    bool any = false;
    for (size_t i = 0; i < routes->count; i++) {
        struct route *route = &routes->route[i];
        struct queue_room one = {.used = 0};
        if (!route_may_ask(route, why) ||
            !route_asked(route, inspection_of(routes)->room(route->state, &one, why), why))
            continue;
        room->used += one.used;
        room->letters += one.letters;
        room->share += one.share;
        any = true;
    }
    return any;
}

static bool routes_is_owned(void *state, bool *owned, struct error *words, struct error *why)
{
    struct routes *routes = state;
    bool any = false;
    *owned = false;
    words->text[0] = '\0';
    for (size_t i = 0; i < routes->count; i++) {
        struct route *route = &routes->route[i];
        struct error one = {0}, before = *words;
        bool here = false;
        if (!route_may_ask(route, why) ||
            !route_asked(route, inspection_of(routes)->is_owned(route->state, &here, &one, why), why))
            error_set(&one, "not known");
        else
            any = true;
        *owned |= here;
        error_set(words, "%.300s%ssource %.40s%s: %.120s", before.text, i > 0 ? "; " : "", route->config.source[0].name,
                  route->config.sources > 1 ? " and others" : "", one.text);
    }
    return any;
}

/* The first problem of a place, with a source of it. */
static bool each_is_good(struct routes *routes, bool (*look)(void *state, struct error *words), struct error *words)
{
    for (size_t i = 0; i < routes->count; i++) {
        struct route *route = &routes->route[i];
        if (route_may_ask(route, NULL) && !look(route->state, words)) {
            error_prefix(words, "source %.40s: ", route->config.source[0].name);
            return false;
        }
    }
    return true;
}

/* Of the first place that answers, and the worries of all of them. */
static bool routes_describe(void *state, struct queue_setup *setup, struct error *why)
{
    struct routes *routes = state;
    bool any = false;
    for (size_t i = 0; i < routes->count; i++) {
        struct route *route = &routes->route[i];
        struct queue_setup one = {.worry = {.text = ""}};
        if (!route_may_ask(route, why) ||
            !route_asked(route, inspection_of(routes)->describe(route->state, &one, why), why))
            continue;
        routes_add_setup(setup, &one, route);
        any = true;
    }
    return any;
}

static bool routes_stands(void *state, struct error *words)
{
    return each_is_good(state, inspection_of(state)->stands, words);
}

/* A place that does not answer says so itself, in other calls. */
static bool routes_has_room(void *state, struct error *words)
{
    struct routes *routes = state;
    bool all = true, good = true;
    for (size_t i = 0; i < routes->count; i++) {
        struct route *route = &routes->route[i];
        struct queue_room room;
        struct error why;
        if (!route_may_ask(route, NULL) ||
            !route_asked(route, inspection_of(routes)->room(route->state, &room, &why), &why))
            continue;
        good = inspection_of(routes)->has_room(route->state, words);
        if (!good)
            error_prefix(words, "source %.40s: ", route->config.source[0].name);
        all = all && good;
    }
    return all;
}

static bool routes_can_be_settled(void *state, struct error *words)
{
    return each_is_good(state, inspection_of(state)->can_be_settled, words);
}

/* ---- requests: their numbers say where they are, as in routes.c ---- */

static bool routes_ask(void *state, const struct queue_request *request, int64_t *number, struct error *why)
{
    struct routes *routes = state;
    struct route *route = ask_route(routes, request->source, why);
    if (route == NULL || !route_asked(route, inspection_of(routes)->ask(route->state, request, number, why), why))
        return false;
    *number = *number * (int64_t)routes->count + (route - routes->route);
    return true;
}

static void routes_remind(void *state)
{
    struct routes *routes = state;
    for (size_t i = 0; i < routes->count; i++) {
        if (route_may_ask(&routes->route[i], NULL))
            inspection_of(routes)->remind(routes->route[i].state);
    }
}

static bool routes_answer(void *state, int64_t number, enum queue_answer *answer, struct error *words,
                          struct error *why)
{
    struct routes *routes = state;
    struct route *route = &routes->route[(size_t)number % routes->count];
    return route_asked(
        route, inspection_of(routes)->answer(route->state, number / (int64_t)routes->count, answer, words, why), why);
}

static bool routes_withdraw(void *state, int64_t number, bool always, bool *withdrawn, struct error *why)
{
    struct routes *routes = state;
    struct route *route = &routes->route[(size_t)number % routes->count];
    return route_asked(
        route, inspection_of(routes)->withdraw(route->state, number / (int64_t)routes->count, always, withdrawn, why),
        why);
}

/* ---- the rest ---- */

static bool routes_move(void *state, const char *from, const char *to, struct moved *moved, struct error *why)
{
    struct route *route = ask_route(state, to, why);
    bool good;
    *moved = (struct moved){.events = 0};
    if (route == NULL)
        return false;
    if (lists(route, from, &good, why))
        return inspection_of(route->routes)->move(route->state, from, to, moved, why);
    if (good)
        error_set(why,
                  "the queue of source %.64s, which is where its queue_url says, knows no source %.64s: a source "
                  "is moved within one database only",
                  to, from);
    return false;
}

/* What waits where its source's queue_url does not lead any more. */
static bool find_stranded(const struct route *route, void (*report)(void *context, const char *fault), void *context,
                          size_t *faults, struct error *why)
{
    struct strings names = {NULL, 0};
    bool good = inspection_of(route->routes)->names(route->state, &names, why);
    for (size_t i = 0; good && i < names.count; i++) {
        struct counts counts;
        struct error fault;
        if (config_source(route->routes->config, names.at[i]) == NULL ||
            config_source(&route->config, names.at[i]) != NULL)
            continue;
        good = inspection_of(route->routes)->count(route->state, names.at[i], &counts, why);
        if (!good || counts.waiting + counts.dead == 0)
            continue;
        ++*faults;
        error_set(
            &fault,
            "%llu events and %llu dead letters of source %.64s wait in the database of source %.64s, where nobody "
            "forwards them since its queue_url was changed: set that back until they are delivered",
            (unsigned long long)counts.waiting, (unsigned long long)counts.dead, names.at[i],
            route->config.source[0].name);
        report(context, fault.text);
    }
    queue_names_free(&names);
    return good;
}

static bool routes_check(void *state, void (*report)(void *context, const char *fault), void *context, size_t *faults,
                         struct error *why)
{
    struct routes *routes = state;
    struct error said = {0};
    bool all = true;
    *faults = 0;
    for (size_t i = 0; i < routes->count; i++) {
        struct route *route = &routes->route[i];
        struct error reason = {0};
        size_t here = 0;
        bool good =
            route_may_ask(route, &reason) &&
            route_asked(route, inspection_of(routes)->check(route->state, report, context, &here, &reason), &reason) &&
            find_stranded(route, report, context, &here, &reason);
        *faults += here;
        struct error before = said;
        error_set(&said, "%.600s%ssource %.40s%s: %.360s", before.text, i > 0 ? "; " : "", route->config.source[0].name,
                  route->config.sources > 1 ? " and others" : "",
                  !good      ? reason.text
                  : here > 0 ? "has faults"
                             : "whole");
        all = all && good;
    }
    if (!all)
        *why = said;
    return all;
}

static bool routes_adopt(void *state, void (*tell)(void *context, const char *words), void *context, struct error *why)
{
    struct routes *routes = state;
    bool all = true;
    for (size_t i = 0; i < routes->count; i++) {
        bool good = inspection_of(routes)->adopt(routes->route[i].state, tell, context, why);
        if (!good)
            error_prefix(why, "source %.40s: ", routes->route[i].config.source[0].name);
        all = all && good;
    }
    return all;
}

static bool routes_backup(void *state, const char *path, const struct backup_files *files, int64_t made_ms,
                          struct error *why)
{
    const struct routes *routes = state;
    return inspection_of(routes)->backup(routes->route[0].state, path, files, made_ms, why);
}

static bool routes_scrub(void *state, struct error *why)
{
    const struct routes *routes = state;
    return inspection_of(routes)->scrub(routes->route[0].state, why);
}

static void routes_wake(void *state)
{
    struct routes *routes = state;
    for (size_t i = 0; i < routes->count; i++) {
        if (route_may_ask(&routes->route[i], NULL))
            inspection_of(routes)->wake(routes->route[i].state);
    }
}

/* Whether events can be accepted for any source: who asks takes the whole machine for broken else. */
static bool routes_probe(void *state, bool serves, struct error *why)
{
    struct routes *routes = state;
    bool any = false;
    for (size_t i = 0; i < routes->count; i++) {
        struct route *route = &routes->route[i];
        any |= route_may_ask(route, why) &&
               route_asked(route, inspection_of(routes)->probe(route->state, serves, why), why);
    }
    return any;
}

const struct inspection routes_inspection = {
    .names = routes_names,
    .missed = routes_missed,
    .count = routes_count,
    .room = routes_room,
    .look_known = routes_look_known,
    .notes = routes_notes,
    .is_owned = routes_is_owned,
    .describe = routes_describe,
    .stands = routes_stands,
    .has_room = routes_has_room,
    .can_be_settled = routes_can_be_settled,
    .list = routes_list,
    .letters = routes_letters,
    .replay = routes_replay,
    .discard = routes_discard,
    .ask = routes_ask,
    .remind = routes_remind,
    .answer = routes_answer,
    .withdraw = routes_withdraw,
    .move = routes_move,
    .adopt = routes_adopt,
    .check = routes_check,
    .backup = routes_backup,
    .scrub = routes_scrub,
    .wake = routes_wake,
    .probe = routes_probe,
};
