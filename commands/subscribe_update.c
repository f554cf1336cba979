/* subscribe --update: see subscribe_update.h. */
#include "commands/subscribe_update.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "closeapi/coverage.h"
#include "closeapi/state.h"
#include "commands/commands.h"

#define LOCK_WAIT_MS 5000

/* The subscriptions of the source that are meant: all have one address, as the two of a rotation have. */
static bool find_meant(const struct close_session *session, const char *url, struct coverage *meant, struct error *why)
{
    struct coverage all;
    struct keyring held;
    *meant = (struct coverage){.count = 0};
    if (!keyring_read(session->config->state_dir, &held, why))
        return false;
    bool good = coverage_find(&all, &session->list, session->source, session->config->sources, &held, why);
    keyring_free(&held);
    for (size_t i = 0; good && i < all.count; i++) {
        if (url == NULL && !subscription_same_url(all.at[i]->url, all.at[0]->url)) {
            error_set(why, "source %.64s has subscriptions with several addresses: say which, with --url",
                      session->source->name);
            return false;
        }
        if (url == NULL || subscription_same_url(all.at[i]->url, url))
            meant->at[meant->count++] = all.at[i];
    }
    if (good && meant->count == 0)
        error_set(why, "source %.64s has no subscription with this address", session->source->name);
    return good && meant->count > 0;
}

/* Chooses the types: those that are named, or that were seen. *any: there are some. */
static bool choose_types(const struct close_session *session, const char *events, struct event_choice *choice,
                         bool *any, struct error *why)
{
    struct completeness state;
    *choice = (struct event_choice){0};
    *any = true;
    if (events != NULL)
        return event_types_choose(events, choice, why);
    if (!completeness_read(session->directory, &state, why))
        return false;
    *any = state.lacks[0] != '\0';
    bool good = !*any || event_types_choose(state.lacks, choice, why);
    completeness_free(&state);
    return good;
}

/* Leaves only the types that the subscription does not have. more->at is the caller's. */
static bool find_missing(const struct subscription *one, const struct event_choice *choice, struct event_choice *more)
{
    const struct coverage only = {.at = {one}, .count = 1};
    *more = (struct event_choice){.at = calloc(choice->count + 1, sizeof *more->at)};
    for (size_t i = 0; more->at != NULL && i < choice->count; i++) {
        char name[160];
        snprintf(name, sizeof name, "%.79s.%.79s", choice->at[i].object_type, choice->at[i].action);
        if (!coverage_has_type(&only, name))
            more->at[more->count++] = choice->at[i];
    }
    return more->at != NULL;
}

static enum close_result add_types(struct close_session *session, const struct subscription *one,
                                   const struct event_choice *more, struct error *why)
{
    struct buffer body = {0};
    enum close_result result = CLOSE_FAILED;
    subscription_write_events(&body, one, more);
    if (body.failed)
        error_set(why, "out of memory");
    else
        result = subscriptions_set_events(session->client, one->id, body.data, why);
    buffer_free(&body);
    return result;
}

static void print_added(const struct subscription *one, const struct event_choice *more, bool dry_run)
{
    if (more->count == 0) {
        printf("%s has all of them\n", one->id);
        return;
    }
    printf("%s %s:", one->id, dry_run ? "would get" : "gets, with the key that it has");
    for (size_t i = 0; i < more->count; i++)
        printf(" %s.%s", more->at[i].object_type, more->at[i].action);
    putchar('\n');
}

/* What it has now is not missed any more. A reconciling that is under way finds that out by itself. */
static void forget_lacks(struct close_session *session)
{
    struct completeness state;
    struct coverage now;
    struct error why = {0};
    int lock = closeapi_lock(session->directory, "reconcile.lock", LOCK_WAIT_MS, &why);
    subscriptions_free(&session->list);
    if (lock >= 0 && subscriptions_list(session->client, &session->list, &why) == CLOSE_DONE &&
        find_meant(session, NULL, &now, &why) && completeness_read(session->directory, &state, &why)) {
        coverage_list_reduce(&now, state.lacks);
        completeness_write(session->directory, &state, &why);
        completeness_free(&state);
    }
    if (lock >= 0)
        close(lock);
}

static int update_all(struct close_session *session, const struct coverage *meant, const struct event_choice *choice,
                      bool dry_run)
{
    struct error why = {0};
    for (size_t i = 0; i < meant->count; i++) {
        struct event_choice more;
        bool good = find_missing(meant->at[i], choice, &more);
        if (!good)
            error_set(&why, "out of memory");
        if (good && !dry_run && more.count > 0)
            good = add_types(session, meant->at[i], &more, &why) == CLOSE_DONE;
        if (good)
            print_added(meant->at[i], &more, dry_run);
        free(more.at);
        if (!good)
            return close_session_failed(session, &why);
    }
    if (!dry_run)
        forget_lacks(session);
    return COMMAND_OK;
}

int subscribe_update(struct close_session *session, const char *url, const char *events, bool dry_run)
{
    struct error why = {0};
    struct coverage meant;
    struct event_choice choice;
    bool any;
    if (!find_meant(session, url, &meant, &why) || !choose_types(session, events, &choice, &any, &why))
        return close_session_failed(session, &why);
    if (!any) {
        close_session_release(session);
        puts("no event was seen in the Event Log of a type that the subscription lacks; --events LIST adds others");
        return COMMAND_OK;
    }
    int code = update_all(session, &meant, &choice, dry_run);
    close_session_release(session);
    event_choice_free(&choice);
    return code;
}
