/* What the commands about Close have in common: see close_session.h. */
#include "commands/close_session.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands/commands.h"
#include "commands/session.h"
#include "commands/source.h"

#define LOCK_WAIT_MS 5000

int close_side_failed(const struct close_side *side, const struct error *why)
{
    fprintf(stderr, "%s: %s\n", side->command, why->text);
    return COMMAND_FAILED;
}

/* What root makes the program cannot read. Without a queue on disk it cannot be told whose it must be. */
static bool may_open(const struct config *config, struct error *why)
{
    if (config->queue != QUEUE_NONE)
        return state_may_open(config, why);
    if (geteuid() != 0)
        return true;
    error_set(why, "run this as the user as which the web server runs the program, not as root");
    return false;
}

int close_side_begin(struct close_side *side, const char *command, const char *source)
{
    static const struct close_options options = {.patience_ms = CLOSE_SIDE_PATIENCE_MS, .stop_fd = -1};
    struct error why = {0};
    *side = (struct close_side){.command = command, .lock = -1};
    side->config = config_load(&why);
    if (side->config == NULL) {
        close_side_failed(side, &why);
        return COMMAND_CONFIGURATION;
    }
    log_open(LEVEL_ERROR); /* the command says itself what it does */
    if (!may_open(side->config, &why)) {
        close_side_failed(side, &why);
        return COMMAND_STATE;
    }
    side->source = source_wanted(side->config, source, command);
    if (side->source == NULL)
        return COMMAND_USAGE;
    side->client = close_client_new(side->config, side->source, &options, &why);
    if (side->client == NULL || !closeapi_directory(side->config, side->source, side->directory, &why))
        return close_side_failed(side, &why);
    return COMMAND_OK;
}

struct subscribing close_side_work(const struct close_side *side)
{
    return (struct subscribing){side->config, side->source, side->client, side->directory, &side->list};
}

int close_side_list(struct close_side *side)
{
    struct error why = {0};
    bool changed = false;
    side->lock = closeapi_lock(side->directory, "subscribe.lock", LOCK_WAIT_MS, &why);
    if (side->lock < 0 || subscriptions_list(side->client, &side->list, &why) != CLOSE_DONE)
        return close_side_failed(side, &why);
    const struct subscribing work = close_side_work(side);
    if (subscribe_recover(&work, &changed, &why) != CLOSE_DONE)
        return close_side_failed(side, &why);
    if (changed) {
        subscriptions_free(&side->list);
        if (subscriptions_list(side->client, &side->list, &why) != CLOSE_DONE)
            return close_side_failed(side, &why);
    }
    return COMMAND_OK;
}

int close_side_queue(struct close_side *side)
{
    struct error why = {0};
    if (side->config->queue == QUEUE_NONE) {
        error_set(&why, "this needs a queue that keeps events: set queue = sqlite in the configuration");
        close_side_failed(side, &why);
        return COMMAND_CONFIGURATION;
    }
    side->queue = queue_open(side->config, &why);
    if (side->queue != NULL)
        return COMMAND_OK;
    close_side_failed(side, &why);
    return COMMAND_STATE;
}

const struct subscription *close_side_find(const struct close_side *side, const char *id)
{
    const struct subscription *found = subscriptions_find(&side->list, id);
    if (found != NULL)
        return found;
    fprintf(stderr, "%s: Close has no subscription %.80s; there are:", side->command, id);
    for (size_t i = 0; i < side->list.count; i++)
        fprintf(stderr, " %s", side->list.at[i].id);
    fputs(side->list.count == 0 ? " none\n" : "\n", stderr);
    return NULL;
}

bool close_side_holds_key(const struct close_side *side, const char *id, char source[static 128])
{
    struct keyring held;
    bool found = false;
    source[0] = '\0';
    if (!keyring_read(side->config->state_dir, &held, NULL))
        return false;
    for (size_t i = 0; i < held.count && !found; i++) {
        found = strcmp(held.at[i].subscription, id) == 0;
        if (found)
            snprintf(source, 128, "%s", held.at[i].source);
    }
    keyring_free(&held);
    return found;
}

void close_side_let_go(struct close_side *side)
{
    queue_close(side->queue);
    side->queue = NULL;
    if (side->lock >= 0)
        close(side->lock);
    side->lock = -1;
}

void close_side_end(struct close_side *side)
{
    close_side_let_go(side);
    subscriptions_free(&side->list);
    close_client_free(side->client);
    config_free(side->config);
}
