/* unsubscribe, pause, resume: one subscription, by its id. */
#include "commands/commands.h"

#include <stdio.h>
#include <string.h>

#include "commands/close_session.h"
#include "commands/options.h"
#include "commands/reconciling.h"

/* Does it to the subscription. Returns an exit code. */
typedef int action(struct close_side *side, const char *id);

static int do_to_one(int argc, char **argv, action *act)
{
    const char *source = NULL, *id = NULL;
    const struct option_spec specs[] = {{"--source", &source, NULL}};
    if (!options_read(argc, argv, specs, sizeof specs / sizeof *specs, &id))
        return COMMAND_USAGE;
    if (id == NULL)
        return options_wrong(argv[0], "which subscription? `closecrm.fcgi subscriptions` lists them");
    struct close_side side;
    int code = close_side_begin(&side, argv[0], source);
    if (code == COMMAND_OK)
        code = close_side_list(&side);
    if (code == COMMAND_OK)
        code = act(&side, id);
    close_side_end(&side);
    return code;
}

/* ---- unsubscribe ---- */

static int forget(const struct close_side *side, const char *id)
{
    struct error why = {0};
    char source[128];
    bool held = close_side_holds_key(side, id, source);
    if ((held && !keyring_remove(side->config->state_dir, source, id, &why)) ||
        !closeapi_note_pause(side->directory, id, false, &why))
        return close_side_failed(side, &why);
    if (held)
        printf("its key was removed here: what it signed is refused from now on\n");
    return COMMAND_OK;
}

/* One that is gone in Close already may still have its key here. */
static int unsubscribe(struct close_side *side, const char *id)
{
    struct error why = {0};
    char source[128];
    bool gone = subscriptions_find(&side->list, id) == NULL && close_side_holds_key(side, id, source);
    if (!gone && close_side_find(side, id) == NULL)
        return COMMAND_FAILED;
    if (!gone && subscriptions_delete(side->client, id, &why) != CLOSE_DONE)
        return close_side_failed(side, &why);
    printf(gone ? "%s was removed in Close already\n" : "%s is removed in Close\n", id);
    return forget(side, id);
}

int command_unsubscribe(int argc, char **argv)
{
    return do_to_one(argc, argv, unsubscribe);
}

/* ---- pause ---- */

/* Noted first: who finds it paused in between must not activate it again. */
static int pause_one(struct close_side *side, const char *id)
{
    struct error why = {0}, reason;
    const struct subscription *one = close_side_find(side, id);
    if (one == NULL)
        return COMMAND_FAILED;
    if (!closeapi_note_pause(side->directory, one->id, true, &why))
        return close_side_failed(side, &why);
    enum close_result result = subscriptions_set_status(side->client, one->id, "paused", &why);
    if (result != CLOSE_DONE) {
        if (result != CLOSE_INDETERMINATE)
            closeapi_note_pause(side->directory, one->id, false, &reason);
        return close_side_failed(side, &why);
    }
    printf("%s is paused: Close sends nothing, and `closecrm.fcgi resume %s` fills the gap from the Event Log\n"
           "(Close keeps that for 30 days)\n",
           one->id, one->id);
    return COMMAND_OK;
}

int command_pause(int argc, char **argv)
{
    return do_to_one(argc, argv, pause_one);
}

/* ---- resume ---- */

static int resume(struct close_side *side, const char *id)
{
    struct error why = {0};
    const struct subscription *one = close_side_find(side, id);
    if (one == NULL)
        return COMMAND_FAILED;
    if (subscriptions_set_status(side->client, one->id, "active", &why) != CLOSE_DONE ||
        !closeapi_note_pause(side->directory, one->id, false, &why))
        return close_side_failed(side, &why);
    close_side_let_go(side);
    printf("%s is active: Close sends again\n", one->id);
    fflush(stdout);
    if (side->config->queue == QUEUE_NONE) {
        printf(
            "what was missed meanwhile stays missing: with queue = sqlite `closecrm.fcgi reconcile` would fill it\n");
        return COMMAND_OK;
    }
    int code = close_side_queue(side);
    if (code == COMMAND_OK)
        code = reconcile_and_tell(side, &(struct reconcile_wish){.after_pause = true});
    return code;
}

int command_resume(int argc, char **argv)
{
    return do_to_one(argc, argv, resume);
}
