/* The rest of a rotation: the old subscription goes when nothing depends on it any more. See subscribe.h. */
#include <stdio.h>
#include <string.h>

#include "base/files.h"
#include "base/log.h"
#include "closeapi/subscribe.h"

#define NOTE "rotating"

bool rotation_read(const char *directory, struct rotation *rotation)
{
    char *text = small_file_read(directory, NOTE, NULL, NULL);
    if (text == NULL)
        return false;
    bool good = small_value(text, "from", rotation->from, sizeof rotation->from) &&
                small_value(text, "to", rotation->to, sizeof rotation->to);
    rotation->created_us = small_number(text, "created_us", 0);
    small_file_free(text);
    return good;
}

bool rotation_write(const char *directory, const struct rotation *rotation, struct error *why)
{
    char text[400];
    snprintf(text, sizeof text, "from = %s\nto = %s\ncreated_us = %lld\n", rotation->from, rotation->to,
             (long long)rotation->created_us);
    return small_file_replace(directory, NOTE, text, why);
}

static enum close_result end(const struct subscribing *work, const struct rotation *rotation, struct error *why)
{
    enum close_result result = subscriptions_delete(work->client, rotation->from, why);
    if (result != CLOSE_DONE)
        return result;
    if (!keyring_remove(work->config->state_dir, work->source->name, rotation->from, why) ||
        !closeapi_note_pause(work->directory, rotation->from, false, why) ||
        !small_file_remove(work->directory, NOTE, why))
        return CLOSE_FAILED;
    log_write(LEVEL_INFO, "msg=rotated source=%s removed=%s subscription=%s", work->source->name, rotation->from,
              rotation->to);
    return CLOSE_DONE;
}

enum close_result rotation_go_on(const struct subscribing *work, int64_t complete_us, bool *ended, struct error *why)
{
    struct rotation rotation;
    *ended = false;
    why->text[0] = '\0';
    if (!rotation_read(work->directory, &rotation))
        return CLOSE_DONE;
    if (!keyring_was_used(work->config->state_dir, rotation.to)) {
        error_set(why, "nothing has come from the new subscription %s yet, so the old one %s stays", rotation.to,
                  rotation.from);
        return CLOSE_DONE;
    }
    if (complete_us <= rotation.created_us) {
        error_set(why,
                  "the Event Log is not reconciled past the new subscription's creation yet (that takes 5 minutes "
                  "at least), so the old one %s stays",
                  rotation.from);
        return CLOSE_DONE;
    }
    enum close_result result = end(work, &rotation, why);
    *ended = result == CLOSE_DONE;
    return result;
}
