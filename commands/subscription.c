/* unsubscribe, pause, resume: one subscription, by its id. */
#include <stdio.h>
#include <string.h>

#include "commands/close_session.h"
#include "commands/commands.h"
#include "commands/reconcile.h"

/* ---- unsubscribe ---- */

/* Removes what is kept here of a subscription. */
static bool forget_subscription(const struct close_session *session, const char *id, const char *source,
                                struct error *why)
{
    return (source[0] == '\0' || keyring_remove(session->config->state_dir, source, id, why)) &&
           closeapi_note_pause(session->directory, id, false, why);
}

/* A subscription that is gone in Close already may still have its key here. */
static int unsubscribe_one(struct close_session *session, const char *id)
{
    struct error why = {0};
    char source[128];
    bool held = close_session_holds_key(session, id, source);
    bool gone = held && subscriptions_find(&session->list, id) == NULL;
    if (!gone && close_session_find(session, id) == NULL)
        return COMMAND_FAILED;
    if (!gone && subscriptions_delete(session->client, id, &why) != CLOSE_DONE)
        return close_session_failed(session, &why);
    bool forgotten = forget_subscription(session, id, source, &why);
    close_session_release(session);
    printf(gone ? "%s was removed in Close already\n" : "%s is removed in Close\n", id);
    if (!forgotten)
        return close_session_failed(session, &why);
    if (held)
        printf("its key was removed here: what it signed is refused from now on\n");
    return COMMAND_OK;
}

int command_unsubscribe(int argc, char **argv)
{
    return close_session_act(argc, argv, true, unsubscribe_one);
}

/* ---- pause ---- */

/* Noted before Close is asked: a reconcile in between must not activate the paused subscription again. */
static int pause_one(struct close_session *session, const char *id)
{
    char line[OWN_COMMAND];
    struct error why = {0}, reason;
    const struct subscription *one = close_session_find(session, id);
    if (one == NULL)
        return COMMAND_FAILED;
    if (!closeapi_note_pause(session->directory, one->id, true, &why))
        return close_session_failed(session, &why);
    enum close_result result = subscriptions_set_status(session->client, one->id, "paused", &why);
    if (result != CLOSE_DONE) {
        if (result != CLOSE_INDETERMINATE)
            closeapi_note_pause(session->directory, one->id, false, &reason);
        return close_session_failed(session, &why);
    }
    close_session_release(session);
    printf("%s is paused: Close sends nothing, and `%s` fills the gap from the Event Log\n"
           "(Close keeps that for 30 days)\n",
           one->id, own_command(line, session->config, session->source->name, "resume %s", one->id));
    return COMMAND_OK;
}

int command_pause(int argc, char **argv)
{
    return close_session_act(argc, argv, true, pause_one);
}

/* ---- resume ---- */

static int resume_one(struct close_session *session, const char *id)
{
    char line[OWN_COMMAND];
    struct error why = {0};
    const struct subscription *one = close_session_find(session, id);
    if (one == NULL)
        return COMMAND_FAILED;
    if (subscriptions_set_status(session->client, one->id, "active", &why) != CLOSE_DONE ||
        !closeapi_note_pause(session->directory, one->id, false, &why))
        return close_session_failed(session, &why);
    close_session_release(session);
    printf("%s is active: Close sends again\n", one->id);
    fflush(stdout);
    if (session->config->queue == QUEUE_NONE) {
        printf("what was missed meanwhile stays missing: with queue = sqlite `%s` would fill it\n",
               own_command(line, session->config, session->source->name, "reconcile"));
        return COMMAND_OK;
    }
    int code = close_session_open_queue(session);
    if (code == COMMAND_OK)
        code = reconcile_and_print(session, &(struct reconcile_arguments){.after_pause = true});
    return code;
}

int command_resume(int argc, char **argv)
{
    return close_session_act(argc, argv, true, resume_one);
}
