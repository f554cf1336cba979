/* Whether the API key and the subscriptions of a source are in order, for `closecrm.fcgi check`. Changes nothing. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "closeapi/closeapi.h"
#include "closeapi/coverage.h"
#include "config/config.h"

#define PATIENCE_MS 5000

static bool are_subscriptions_active(const struct config *config, const struct source *source,
                                     const struct coverage *coverage, struct error *why)
{
    char words[COMPLETENESS_WORDS], line[OWN_COMMAND];
    struct completeness complete;
    for (size_t i = 0; i < coverage->count; i++) {
        const struct subscription *one = coverage->at[i];
        if (!subscription_is_paused(one))
            continue;
        error_set(why, "subscription %s is paused%s%.60s: `%s` activates it and fills the gap", one->id,
                  one->pause_reason[0] == '\0' ? "" : " for ", one->pause_reason,
                  own_command(line, config, source->name, "resume %s", one->id));
        return false;
    }
    if (!closeapi_completeness(config, source, &complete, why))
        return false;
    error_set(why, "the API key is good, %zu subscription%s; %s", coverage->count, text_plural(coverage->count),
              completeness_words(&complete, words));
    completeness_free(&complete);
    return true;
}

static bool are_keys_held(const struct coverage *coverage, const struct subscriptions *list,
                          const struct source *source, const struct keyring *held, struct error *why)
{
    const struct subscription *keyless = coverage_keyless(coverage, list, source, held);
    if (keyless != NULL)
        coverage_keyless_words(keyless, source, why);
    return keyless == NULL;
}

/* The URL may have a write key behind its `?`, or a password before its `@`. */
static void note_address(const struct coverage *coverage, char address[static CLOSE_ADDRESS])
{
    const char *url = coverage->count > 0 ? coverage->at[0]->url : "";
    if (strchr(url, '@') == NULL)
        snprintf(address, CLOSE_ADDRESS, "%.*s", (int)strcspn(url, "?#"), url);
}

bool closeapi_check(const struct config *config, const struct source *source, char address[static CLOSE_ADDRESS],
                    struct error *why)
{
    static const struct close_options options = {.patience_ms = PATIENCE_MS, .stop_fd = -1};
    struct subscriptions list;
    struct keyring held;
    struct coverage coverage;
    bool good = false;
    address[0] = '\0';
    if (closeapi_is_stopped(config, source, why))
        return false;
    struct close_client *client = close_client_new(config, source, &options, why);
    if (client == NULL)
        return false;
    if (subscriptions_list(client, &list, why) == CLOSE_DONE) {
        if (keyring_read(config->state_dir, &held, why)) {
            good = coverage_find(&coverage, &list, source, config->sources, &held, why);
            note_address(&coverage, address);
            good = good && are_keys_held(&coverage, &list, source, &held, why) &&
                   are_subscriptions_active(config, source, &coverage, why);
            keyring_free(&held);
        }
        subscriptions_free(&list);
    }
    close_client_free(client);
    return good;
}
