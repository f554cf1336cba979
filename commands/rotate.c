/* rotate: a new subscription takes an old one's place, for a new key, without a gap. The old one goes when the new one
 * delivers and the log has been reconciled past its creation: `reconcile` ends what this begins. */
#include "closeapi/state.h"
#include "commands/close_session.h"
#include "commands/commands.h"
#include "commands/options.h"

#include <stdio.h>
#include <string.h>

/* The one whose key we hold for the source, where there is just one. */
static const struct subscription *find_only(const struct close_side *side)
{
    const struct subscription *found = NULL;
    for (size_t i = 0; i < side->list.count; i++) {
        char source[128];
        if (!close_side_holds_key(side, side->list.at[i].id, source) || strcmp(source, side->source->name) != 0)
            continue;
        if (found != NULL) {
            fprintf(stderr, "%s: source %s has several subscriptions: say which\n", side->command, source);
            return NULL;
        }
        found = &side->list.at[i];
    }
    if (found == NULL)
        fprintf(stderr, "%s: no key of a subscription of source %s is held here: say which subscription\n",
                side->command, side->source->name);
    return found;
}

/* A rotation is under way: ends it if that can be. */
static int go_on(const struct close_side *side, const struct rotation *rotation)
{
    struct completeness state;
    struct error why = {0};
    bool ended;
    const struct subscribing work = close_side_work(side);
    printf("%s is taking the place of %s\n", rotation->to, rotation->from);
    if (!completeness_read(side->directory, &state, &why))
        return close_side_failed(side, &why);
    enum close_result result = rotation_go_on(&work, state.until_ms * 1000, &ended, &why);
    completeness_free(&state);
    if (result != CLOSE_DONE)
        return close_side_failed(side, &why);
    printf("%s\n", ended ? "the old one is removed: the rotation is over" : why.text);
    return COMMAND_OK;
}

static int begin(const struct close_side *side, const struct subscription *old)
{
    struct buffer body = {0};
    struct error why = {0};
    struct rotation rotation;
    int64_t created_ms = 0;
    const struct subscribing work = close_side_work(side);
    if (side->list.count >= SUBSCRIPTIONS_MOST) {
        fprintf(stderr, "%s: all %d subscriptions of the organization are taken, and the new one needs a place\n",
                side->command, SUBSCRIPTIONS_MOST);
        return COMMAND_FAILED;
    }
    subscription_write_like(&body, old);
    snprintf(rotation.from, sizeof rotation.from, "%s", old->id);
    enum close_result result = CLOSE_FAILED;
    if (body.failed)
        error_set(&why, "out of memory");
    else
        result = subscribe_create(&work, body.data, old->url, rotation.to, &created_ms, &why);
    buffer_free(&body);
    if (result != CLOSE_DONE)
        return close_side_failed(side, &why);
    rotation.created_us = created_ms * 1000;
    if (!rotation_write(side->directory, &rotation, &why))
        return close_side_failed(side, &why);
    printf(
        "%s is there beside %s, and both deliver; what comes twice is sent once.\n"
        "The old one is removed by `reconcile` (cron) when the new one has delivered and the Event Log was read past "
        "its creation.\n",
        rotation.to, rotation.from);
    return COMMAND_OK;
}

static int work_on(const struct close_side *side, const char *id)
{
    struct rotation rotation;
    if (rotation_read(side->directory, &rotation))
        return go_on(side, &rotation);
    const struct subscription *old = id != NULL ? close_side_find(side, id) : find_only(side);
    return old == NULL ? COMMAND_FAILED : begin(side, old);
}

int command_rotate(int argc, char **argv)
{
    const char *source = NULL, *id = NULL;
    const struct option_spec specs[] = {{"--source", &source, NULL}};
    if (!options_read(argc, argv, specs, sizeof specs / sizeof *specs, &id))
        return COMMAND_USAGE;
    struct close_side side;
    int code = close_side_begin(&side, argv[0], source);
    if (code == COMMAND_OK)
        code = close_side_list(&side);
    if (code == COMMAND_OK)
        code = work_on(&side, id);
    close_side_end(&side);
    return code;
}
