/* The end of a rotation: see closeapi.h. Whatever happened to the new subscription in the meantime (somebody removed or
 * paused it, Close paused it, its key is gone), the old one is not removed before Close sends to the new one. */
#include "closeapi/closeapi.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "closeapi/subscriptions.h"
#include "config/config.h"
#include "kept/keys.h"

/* Whether the source's key of a subscription is held here. Returns false when that cannot be told, with the reason. */
static bool find_key(const struct subscribing *work, const char *id, bool *is_held, struct error *why)
{
    struct keyring held;
    *is_held = false;
    if (!kept_keys_read(work->config, &held, why))
        return false;
    for (size_t i = 0; i < held.count; i++)
        *is_held = *is_held ||
                   (strcmp(held.at[i].source, work->source->name) == 0 && strcmp(held.at[i].subscription, id) == 0);
    keyring_free(&held);
    return true;
}

/* Why the rotation is called off, and what is left then. */
static void say_called_off(const struct subscribing *work, const struct rotation *rotation, bool is_there,
                           struct error *why)
{
    char line[OWN_COMMAND], next[OWN_COMMAND + 80];
    const struct subscription *old = subscriptions_find(work->list, rotation->from);
    if (is_there)
        snprintf(next, sizeof next, "`%s` removes the new one",
                 own_command(line, work->config, work->source->name, "unsubscribe %s", rotation->to));
    else if (old == NULL)
        snprintf(next, sizeof next, "`%s` makes a subscription",
                 own_command(line, work->config, work->source->name, "subscribe --url URL"));
    else if (subscription_is_paused(old))
        snprintf(next, sizeof next, "`%s` activates it",
                 own_command(line, work->config, work->source->name, "resume %s", old->id));
    else
        snprintf(next, sizeof next, "`%s` begins a new one",
                 own_command(line, work->config, work->source->name, "rotate %s", old->id));
    error_set(why, "the rotation is called off, for %s %s %s; the old one %s %s: %s",
              is_there ? "the key of the new subscription" : "the new subscription", rotation->to,
              is_there ? "is not held here" : "does not exist in Close any more", rotation->from,
              old == NULL                   ? "is gone, too"
              : subscription_is_paused(old) ? "stays, and is paused"
                                            : "stays, with its key",
              next);
}

/* Whether Close sends to it, as far as Close and the command `pause` say. */
static bool is_active(const struct subscribing *work, const struct rotation *rotation,
                      const struct subscription *successor)
{
    return strcmp(successor->id, rotation->to) == 0 && strcmp(successor->status, "active") == 0 &&
           !closeapi_paused_by_us(work->directory, rotation->to);
}

enum rotation_stage rotation_judge(const struct subscribing *work, const struct rotation *rotation,
                                   const struct subscription *successor, int64_t complete_us, struct error *why)
{
    bool is_held = false;
    why->text[0] = '\0';
    if (successor != NULL && !find_key(work, rotation->to, &is_held, why))
        return ROTATION_WAITS;
    if (successor == NULL || !is_held) {
        say_called_off(work, rotation, successor != NULL, why);
        return ROTATION_CALLED_OFF;
    }
    if (!is_active(work, rotation, successor)) {
        char line[OWN_COMMAND];
        error_set(why, "the new subscription %s is paused, so the old one %s stays until `%s` has activated it",
                  rotation->to, rotation->from,
                  own_command(line, work->config, work->source->name, "resume %s", rotation->to));
        return ROTATION_HELD_UP;
    }
    const struct subscription *before = subscriptions_find(work->list, rotation->to);
    if (before != NULL && !is_active(work, rotation, before))
        error_set(why, "the new subscription %s was paused until now, so the old one %s stays until the next reconcile",
                  rotation->to, rotation->from);
    else if (!keyring_was_used(work->config->state_dir, rotation->to))
        error_set(why, "nothing has come from the new subscription %s yet, so the old one %s stays", rotation->to,
                  rotation->from);
    else if (complete_us <= rotation->created_us)
        error_set(why,
                  "the Event Log is not reconciled past the new subscription's creation yet (that takes 5 minutes "
                  "at least), so the old one %s stays",
                  rotation->from);
    return why->text[0] == '\0' ? ROTATION_OVER : ROTATION_WAITS;
}

enum close_result rotation_look(const struct subscribing *work, struct rotation *rotation, int64_t complete_us,
                                enum rotation_stage *stage, struct error *why)
{
    struct subscriptions one;
    *stage = ROTATION_NONE;
    why->text[0] = '\0';
    if (!rotation_read(work->directory, rotation))
        return CLOSE_DONE;
    *stage = ROTATION_WAITS;
    enum close_result result = subscriptions_get(work->client, rotation->to, &one, why);
    if (result == CLOSE_MISSING) {
        *stage = rotation_judge(work, rotation, NULL, complete_us, why);
        return CLOSE_DONE;
    }
    if (result != CLOSE_DONE) {
        error_prefix(why, "the old subscription %s stays, for it is not known whether the new one %s is active: ",
                     rotation->from, rotation->to);
        return result;
    }
    *stage = rotation_judge(work, rotation, &one.at[0], complete_us, why);
    subscriptions_free(&one);
    return CLOSE_DONE;
}

static enum close_result rotation_end(const struct subscribing *work, const struct rotation *rotation,
                                      struct error *why)
{
    enum close_result result = subscriptions_delete(work->client, rotation->from, why);
    if (result != CLOSE_DONE)
        return result;
    if (!kept_key_remove(work->config, work->source->name, rotation->from, why) ||
        !closeapi_note_pause(work->lock, work->directory, rotation->from, false, why) ||
        !rotation_forget(work->lock, work->directory, why))
        return CLOSE_FAILED;
    log_write(LEVEL_INFO, "msg=rotated source=%s removed=%s subscription=%s", work->source->name, rotation->from,
              rotation->to);
    return CLOSE_DONE;
}

enum close_result rotation_go_on(const struct subscribing *work, int64_t complete_us, enum rotation_stage *stage,
                                 struct error *why)
{
    struct rotation rotation;
    enum close_result result = rotation_look(work, &rotation, complete_us, stage, why);
    if (result != CLOSE_DONE)
        return result;
    if (*stage == ROTATION_OVER)
        result = rotation_end(work, &rotation, why);
    else if (*stage == ROTATION_CALLED_OFF && !rotation_forget(work->lock, work->directory, why))
        result = CLOSE_FAILED;
    if (result != CLOSE_DONE)
        *stage = ROTATION_WAITS;
    return result;
}
