/* rotate: a new subscription takes an old one's place, for a new key, without a gap. The old one goes when the new one
 * delivers and the log has been reconciled past its creation: `reconcile` ends what this begins. */
#include <stdio.h>
#include <string.h>

#include "closeapi/state.h"
#include "commands/close_session.h"
#include "commands/commands.h"

/* The only subscription whose key is kept here for the source; NULL, and stderr says why, when there is not just one.
 */
static const struct subscription *find_only_subscription(struct close_session *session)
{
    const struct subscription *found = NULL;
    for (size_t i = 0; i < session->list.count; i++) {
        char source[128];
        if (!close_session_holds_key(session, session->list.at[i].id, source) ||
            strcmp(source, session->source->name) != 0)
            continue;
        if (found != NULL) {
            close_session_release(session);
            fprintf(stderr, "%s: source %s has several subscriptions: say which\n", session->command, source);
            return NULL;
        }
        found = &session->list.at[i];
    }
    if (found != NULL)
        return found;
    close_session_release(session);
    fprintf(stderr, "%s: no key of a subscription of source %s is held here: say which subscription\n",
            session->command, session->source->name);
    return NULL;
}

/* Whether the subscription that was asked for (NULL: none) is one of the two of the rotation that is under way: there
 * is one at a time. Else stderr says why not. */
static bool is_of_rotation(struct close_session *session, const struct rotation *rotation, const char *id)
{
    char line[OWN_COMMAND];
    if (id == NULL || strcmp(id, rotation->from) == 0 || strcmp(id, rotation->to) == 0)
        return true;
    if (close_session_find(session, id) == NULL)
        return false;
    close_session_release(session);
    fprintf(stderr, "%s: %s must wait: %s is taking the place of %s, which `%s` ends\n", session->command, id,
            rotation->to, rotation->from, own_command(line, session->config, session->source->name, "reconcile"));
    return false;
}

/* A rotation is under way: ends it if its conditions hold. */
static int continue_rotation(struct close_session *session, const struct rotation *rotation)
{
    struct completeness state;
    struct error why = {0};
    bool ended;
    const struct subscribing work = close_session_work(session);
    enum close_result result = CLOSE_FAILED;
    if (completeness_read(session->directory, &state, &why)) {
        result = rotation_go_on(&work, state.until_ms * 1000, &ended, &why);
        completeness_free(&state);
    }
    close_session_release(session);
    printf("%s is taking the place of %s\n", rotation->to, rotation->from);
    if (result != CLOSE_DONE)
        return close_session_failed(session, &why);
    printf("%s\n", ended ? "the old one is removed: the rotation is over" : why.text);
    return COMMAND_OK;
}

static int begin_rotation(struct close_session *session, const struct subscription *old)
{
    struct buffer body = {0};
    struct error why = {0};
    struct rotation rotation;
    int64_t created_ms = 0;
    const struct subscribing work = close_session_work(session);
    if (session->list.count >= SUBSCRIPTIONS_MOST) {
        close_session_release(session);
        fprintf(stderr, "%s: all %d subscriptions of the organization are taken, and the new one needs a place\n",
                session->command, SUBSCRIPTIONS_MOST);
        return COMMAND_FAILED;
    }
    subscription_write_like(&body, old);
    snprintf(rotation.from, sizeof rotation.from, "%s", old->id);
    enum close_result result = CLOSE_FAILED;
    if (body.failed)
        error_set(&why, "out of memory");
    else if (rotation_intend(&work, old, &why))
        result = subscribe_create(&work, body.data, old->url, rotation.to, &created_ms, &why);
    buffer_free(&body);
    if (result != CLOSE_DONE)
        return close_session_failed(session, &why);
    rotation.created_us = created_ms * 1000;
    if (!rotation_write(session->directory, &rotation, &why)) {
        error_prefix(&why, "%s is there, and the next `rotate` or `reconcile` goes on with it: ", rotation.to);
        return close_session_failed(session, &why);
    }
    close_session_release(session);
    printf(
        "%s is there beside %s, and both deliver; what comes twice is sent once.\n"
        "The old one is removed by `reconcile` (cron) when the new one has delivered and the Event Log was read past "
        "its creation.\n",
        rotation.to, rotation.from);
    return COMMAND_OK;
}

static int rotate_subscription(struct close_session *session, const char *id)
{
    struct rotation rotation;
    if (rotation_read(session->directory, &rotation))
        return is_of_rotation(session, &rotation, id) ? continue_rotation(session, &rotation) : COMMAND_FAILED;
    const struct subscription *old = id != NULL ? close_session_find(session, id) : find_only_subscription(session);
    return old == NULL ? COMMAND_FAILED : begin_rotation(session, old);
}

int command_rotate(int argc, char **argv)
{
    return close_session_act(argc, argv, false, rotate_subscription);
}
