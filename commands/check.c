/* check: what is wrong? The configuration with where each value came from, the addresses for Close, the data planes,
 * the place, the queue. The running program also calls it, with --offline, to try a new configuration before it takes
 * it on: then it changes nothing, and what waits in the queue does not matter. */
#include "commands/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "closeapi/closeapi.h"
#include "commands/check_keys.h"
#include "commands/check_place.h"
#include "commands/check_queue.h"
#include "commands/options.h"
#include "config/config.h"
#include "config/keyring.h"
#include "config/signed.h"
#include "forward/forward.h"

/* Whether the source takes signed requests only: by a key of the configuration, or one that `subscribe` obtained; also
 * where such a key is missing. */
static bool has_key(const struct config *config, const struct source *source)
{
    struct keyring held;
    struct error words;
    enum signed_state state = signed_look(config, source, &words);
    bool found = source->signature_keys > 0 || state == SIGNED_PART || state == SIGNED_LOST;
    if (found || !keyring_read(config->state_dir, &held, NULL))
        return found;
    for (size_t i = 0; i < held.count; i++)
        found = found || strcmp(held.at[i].source, source->name) == 0;
    keyring_free(&held);
    return found;
}

/* Where Close is to send a source's events. */
static void print_address(const struct config *config, const struct source *source)
{
    bool keyed = has_key(config, source);
    printf("  address for Close: https://YOUR-SITE/WHERE-IT-IS-MOUNTED/%s%s\n", source->name,
           !keyed ? "?writeKey=<your write key>" : "");
    if (!keyed)
        printf("    without a signature_key anybody who learns that address can send events: better let `closecrm.fcgi "
               "subscribe`\n"
               "    make the subscription, or set the key that Close gave when it was made\n");
}

static bool is_plain_http(const char *url)
{
    static const char *const near[] = {"http://127.", "http://localhost", "http://[::1]"};
    if (strncmp(url, "http://", 7) != 0)
        return false;
    for (size_t i = 0; i < sizeof near / sizeof *near; i++) {
        if (strncmp(url, near[i], strlen(near[i])) == 0)
            return false;
    }
    return true;
}

/* Tries a source's data plane and says what was found. Returns false when it is not as it should be. */
static bool try_data_plane(const struct config *config, const struct source *source)
{
    struct error why = {0};
    bool good = forward_try(config, source, &why);
    printf("  data plane: %s: %s\n", good ? "ok" : "WRONG", why.text);
    return good;
}

/* Asks Close whether it takes the API key, and looks at the subscriptions, where the source has a key. */
static bool try_close(const struct config *config, const struct source *source)
{
    struct error why = {0};
    if (source->close_api_key == NULL)
        return true;
    bool good = closeapi_check(config, source, &why);
    printf("  Close: %s: %s\n", good ? "ok" : "WRONG", why.text);
    return good;
}

/* delivers: is told for each source whether its data plane takes its key. */
static size_t check_sources(const struct config *config, bool offline, bool *delivers)
{
    size_t wrong = 0;
    for (size_t i = 0; i < config->sources; i++) {
        const struct source *source = &config->source[i];
        printf("\nsource %s\n", source->name);
        print_address(config, source);
        if (is_plain_http(source->data_plane_url))
            printf("  data_plane_url is http: events and write key travel readable by others; use https\n");
        if (source->accept_empty == ANSWER_YES)
            printf(
                "  accept_empty = yes: any server that answers 200 with an empty body, also one that is not the data "
                "plane,\n    counts as having stored the events; set it only where `no` keeps real deliveries "
                "waiting\n");
        size_t keys_wrong = check_source_keys(config, source);
        fflush(stdout); /* trying may take a while */
        if (offline)
            continue; /* what is missing in the state directory is no fault of a configuration */
        delivers[i] = try_data_plane(config, source);
        fflush(stdout);
        bool asks = try_close(config, source);
        wrong += !delivers[i] || !asks || keys_wrong > 0;
    }
    return wrong;
}

struct end {
    size_t sources_wrong, sources;
    size_t queue_wrong, place_wrong;
    bool stands_still; /* events wait, and nothing forwards them */
    bool offline;
};

static void print_end(const struct end *end)
{
    if (end->sources_wrong > 0)
        printf("\n%zu of %zu sources have something wrong: see WRONG above\n", end->sources_wrong, end->sources);
    if (end->queue_wrong > 0)
        printf("\nThe queue needs attention: see WRONG above\n");
    if (end->place_wrong > 0)
        printf("\nThe place where the program runs needs attention: see WRONG above\n");
    if (end->sources_wrong + end->queue_wrong + end->place_wrong > 0)
        return;
    if (end->stands_still)
        puts("\nEvents wait, and no process forwards them now: see `forwarding` above. No other fault was found");
    else
        printf("\n%s\n", end->offline ? "The configuration is good; nothing else was tried" : "Nothing is wrong");
}

int command_check(int argc, char **argv)
{
    bool offline = false;
    const struct option_spec specs[] = {{"--offline", NULL, &offline}};
    if (!options_read(argc, argv, specs, 1, NULL))
        return COMMAND_USAGE;
    struct error why = {0};
    struct config *config = config_load(&why);
    if (config == NULL) {
        fprintf(stderr, "check: %s\n", why.text);
        return COMMAND_CONFIGURATION;
    }
    bool *delivers = calloc(config->sources + 1, sizeof *delivers);
    if (delivers == NULL) {
        fprintf(stderr, "check: out of memory\n");
        config_free(config);
        return COMMAND_FAILED;
    }
    config_print(config, stdout);
    size_t sources_wrong = check_sources(config, offline, delivers);
    check_stray_keys(config);
    size_t place_wrong = offline ? 0 : check_place(config);
    bool stands_still = false;
    size_t queue_wrong = offline ? check_state_directory(config) : check_queue(config, delivers, &stands_still);
    print_end(&(struct end){sources_wrong, config->sources, queue_wrong, place_wrong, stands_still, offline});
    free(delivers);
    config_free(config);
    return sources_wrong + queue_wrong + place_wrong == 0 ? COMMAND_OK : COMMAND_FAILED;
}
