/* Activating what Close has paused. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "closeapi/closeapi.h"
#include "closeapi/state.h"
#include "closeapi/subscriptions.h"
#include "config/config.h"
#include "status/status_private.h"

/* Somebody looks at the page and waits. */
#define PATIENCE_MS 5000
#define LOCK_WAIT_MS 2000

struct resuming {
    const struct config *config;
    const struct source *source;
    char directory[4096];
    struct close_client *client;
    struct subscriptions list;
    char resumed[400]; /* ids */
    size_t count;
    size_t by_command; /* paused by `closecrm.fcgi pause`: they stay so */
};

/* Activates those that Close has paused; what an operator has paused by the command stays paused. */
static bool activate_paused(struct resuming *run, struct error *why)
{
    for (size_t i = 0; i < run->list.count; i++) {
        const struct subscription *one = &run->list.at[i];
        size_t used = strlen(run->resumed);
        if (!subscription_is_paused(one))
            continue;
        if (closeapi_paused_by_us(run->directory, one->id)) {
            run->by_command++;
            continue;
        }
        if (subscriptions_set_status(run->client, one->id, "active", why) != CLOSE_DONE)
            return false;
        snprintf(run->resumed + used, sizeof run->resumed - used, "%s%s", used == 0 ? "" : ", ", one->id);
        run->count++;
    }
    return true;
}

/* The page is not to go on saying that it is paused, and the gap is to be filled soon: the next run is due. Not while a
 * run is under way, which finds out itself. */
static void note_resumed(const struct resuming *run)
{
    struct error why;
    struct completeness state = {0};
    int lock = closeapi_lock(run->directory, "reconcile.lock", LOCK_WAIT_MS, &why);
    if (lock < 0)
        return;
    if (completeness_read(run->directory, &state, &why) && state.last_run_ms > 0) {
        state.paused = false;
        state.trouble[0] = '\0';
        state.last_run_ms = 1;
        completeness_write(run->directory, &state, &why);
    }
    completeness_free(&state);
    close(lock);
}

static bool resume(struct resuming *run, struct error *why)
{
    static const struct close_options options = {.patience_ms = PATIENCE_MS, .stop_fd = -1};
    if (run->source->close_api_key == NULL) {
        error_set(why, "this needs close_api_key in the configuration");
        return false;
    }
    run->client = close_client_new(run->config, run->source, &options, why);
    if (run->client == NULL || !closeapi_directory(run->config, run->source, run->directory, why))
        return false;
    int lock = closeapi_lock(run->directory, "subscribe.lock", LOCK_WAIT_MS, why);
    if (lock < 0)
        return false;
    bool good = subscriptions_list(run->client, &run->list, why) == CLOSE_DONE;
    good = good && activate_paused(run, why);
    close(lock);
    if (good)
        note_resumed(run);
    return good;
}

static void say_result(const struct resuming *run, char words[static ACTION_WORDS])
{
    char line[OWN_COMMAND];
    const char *gap = run->config->queue == QUEUE_NONE
                          ? "What was missed meanwhile stays missing: queue = none does not fill it."
                          : "What was missed meanwhile is fetched from the Event Log within a quarter of an hour.";
    if (run->count > 0)
        snprintf(words, ACTION_WORDS, "%s %s active again: Close sends. %s", run->resumed,
                 run->count == 1 ? "is" : "are", gap);
    else if (run->by_command > 0)
        snprintf(words, ACTION_WORDS,
                 "Nothing was changed: what is paused was paused by the command `pause`, and `%s` activates it.",
                 own_command(line, run->config, run->source->name, "resume ID"));
    else
        snprintf(words, ACTION_WORDS, "Nothing is paused in Close any more: it was activated meanwhile.");
}

bool resume_subscriptions(const struct config *config, const struct source *source, char words[static ACTION_WORDS])
{
    struct error why = {0};
    struct resuming run = {.config = config, .source = source};
    bool good = resume(&run, &why);
    if (good)
        say_result(&run, words);
    else
        snprintf(words, ACTION_WORDS, "It could not be activated: %s%s%s", why.text,
                 run.count > 0 ? "; active again is " : "", run.resumed);
    subscriptions_free(&run.list);
    close_client_free(run.client);
    return good;
}
