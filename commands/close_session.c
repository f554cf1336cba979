/* What commands that call Close's API work on: see close_session.h. */
#include "commands/close_session.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands/commands.h"
#include "commands/commands_private.h"
#include "kept/kept.h"
#include "kept/keys.h"

#define LOCK_WAIT_MS 5000
#define PATIENCE_MS 8000 /* with Close, for one request */
#define WAIT_TOLD_MS 5000

void close_session_release(struct close_session *session)
{
    queue_close(session->queue);
    session->queue = NULL;
    kept_close(session->lock);
    session->lock = NULL;
}

int close_session_failed(struct close_session *session, const struct error *why)
{
    close_session_release(session);
    fprintf(stderr, "%s: %s\n", session->command, why->text);
    return COMMAND_FAILED;
}

/* The program could not read files that root created. Without a queue on disk the right owner is not known. */
static bool may_open(const struct config *config, struct error *why)
{
    if (config->queue != QUEUE_NONE)
        return session_may_open(config, why);
    if (geteuid() != 0)
        return true;
    error_set(why, "run this as the user as which the web server runs the program, not as root");
    return false;
}

int close_session_begin(struct close_session *session, const char *command)
{
    struct error why = {0};
    *session = (struct close_session){.command = command};
    session->config = session_configuration(command);
    if (session->config == NULL)
        return COMMAND_CONFIGURATION;
    log_open(LEVEL_ERROR); /* the command prints itself what it does */
    if (!may_open(session->config, &why)) {
        close_session_failed(session, &why);
        return COMMAND_STATE;
    }
    if (!kept_catch_up(session->config, &why))
        fprintf(stderr, "%s: what other machines have changed is not known here: %s\n", command, why.text);
    return COMMAND_OK;
}

/* On stderr, for stdout may be read by a program. Between tries of a request that fails nothing is said: that ends
 * after PATIENCE_MS, with a reason. */
static void say_waiting(void *context, int64_t ms, const char *reason)
{
    const struct close_session *session = context;
    if (ms >= WAIT_TOLD_MS)
        fprintf(stderr, "%s: waiting %lld s: %s\n", session->command, (long long)(ms + 999) / 1000, reason);
}

int close_session_choose(struct close_session *session, const struct source *source)
{
    const struct close_options options = {
        .patience_ms = PATIENCE_MS, .stop_fd = -1, .waits = say_waiting, .context = session};
    struct error why = {0};
    close_session_release(session);
    subscriptions_free(&session->list);
    close_client_free(session->client);
    session->source = source;
    session->client = close_client_new(session->config, session->source, &options, &why);
    if (session->client == NULL || !closeapi_directory(session->config, session->source, session->directory, &why))
        return close_session_failed(session, &why);
    return COMMAND_OK;
}

int close_session_open(struct close_session *session, const char *command, const char *source)
{
    int code = close_session_begin(session, command);
    if (code != COMMAND_OK)
        return code;
    const struct source *found = session_source(session->config, source, command);
    return found == NULL ? COMMAND_USAGE_SAID : close_session_choose(session, found);
}

/* Asks the Close of each source for the subscription. *source: NULL when none has it. Returns an exit code. */
static int find_in_close(struct close_session *session, const char *id, const struct source **source)
{
    struct error why = {0};
    *source = NULL;
    for (size_t i = 0; i < session->config->sources && *source == NULL; i++) {
        const struct source *one = &session->config->source[i];
        if (one->close_api_key == NULL)
            continue;
        int code = close_session_choose(session, one);
        if (code != COMMAND_OK)
            return code;
        if (subscriptions_list(session->client, &session->list, &why) != CLOSE_DONE) {
            error_prefix(&why, "source %.64s: ", one->name);
            return close_session_failed(session, &why);
        }
        if (subscriptions_find(&session->list, id) != NULL)
            *source = one;
    }
    return COMMAND_OK;
}

struct subscribing close_session_work(const struct close_session *session)
{
    return (struct subscribing){session->config,    session->source, session->client,
                                session->directory, &session->list,  session->lock};
}

int close_session_list(struct close_session *session)
{
    struct error why = {0};
    bool changed = false;
    session->lock = closeapi_lock(session->config, session->directory, "subscribe.lock", LOCK_WAIT_MS, &why);
    if (session->lock == NULL || subscriptions_list(session->client, &session->list, &why) != CLOSE_DONE)
        return close_session_failed(session, &why);
    const struct subscribing work = close_session_work(session);
    if (subscribe_recover(&work, &changed, &why) != CLOSE_DONE)
        return close_session_failed(session, &why);
    if (changed) {
        subscriptions_free(&session->list);
        if (subscriptions_list(session->client, &session->list, &why) != CLOSE_DONE)
            return close_session_failed(session, &why);
    }
    return COMMAND_OK;
}

int close_session_open_queue(struct close_session *session)
{
    struct error why = {0};
    if (session->config->queue == QUEUE_NONE) {
        error_set(&why, "this needs a queue that keeps events: set queue = sqlite in the configuration");
        close_session_failed(session, &why);
        return COMMAND_CONFIGURATION;
    }
    session->queue = queue_open(session->config, &why);
    if (session->queue != NULL)
        return COMMAND_OK;
    close_session_failed(session, &why);
    return COMMAND_STATE;
}

const struct subscription *close_session_find(struct close_session *session, const char *id)
{
    const struct subscription *found = subscriptions_find(&session->list, id);
    if (found != NULL)
        return found;
    close_session_release(session);
    fprintf(stderr, "%s: Close has no subscription %.80s; there are:", session->command, id);
    for (size_t i = 0; i < session->list.count; i++)
        fprintf(stderr, " %s", session->list.at[i].id);
    fputs(session->list.count == 0 ? " none\n" : "\n", stderr);
    return NULL;
}

bool close_session_holds_key(const struct close_session *session, const char *id, char source[static 128])
{
    struct keyring held;
    bool found = false;
    source[0] = '\0';
    if (!kept_keys_read(session->config, &held, NULL))
        return false;
    for (size_t i = 0; i < held.count && !found; i++) {
        found = strcmp(held.at[i].subscription, id) == 0;
        if (found)
            snprintf(source, 128, "%s", held.at[i].source);
    }
    keyring_free(&held);
    return found;
}

void close_session_close(struct close_session *session)
{
    close_session_release(session);
    subscriptions_free(&session->list);
    close_client_free(session->client);
    config_free(session->config);
}

/* Opens the session of the source of a subscription: see close_session_act. Returns an exit code. */
static int open_for_subscription(struct close_session *session, const char *command, const char *source, const char *id)
{
    char name[128];
    const struct source *found = NULL;
    int code = close_session_begin(session, command);
    if (code != COMMAND_OK)
        return code;
    bool is_open = source == NULL && session->config->sources > 1 && id != NULL;
    if (is_open && close_session_holds_key(session, id, name))
        found = config_source(session->config, name);
    if (is_open && found == NULL)
        code = find_in_close(session, id, &found);
    if (code != COMMAND_OK)
        return code;
    if (is_open && found == NULL) {
        fprintf(stderr, "%s: Close has no subscription %.80s, whichever source it is asked for; `%s` lists them\n",
                command, id, own_command((char[OWN_COMMAND]){0}, NULL, NULL, "subscriptions"));
        return COMMAND_FAILED;
    }
    if (found == NULL)
        found = session_source(session->config, source, command);
    return found == NULL ? COMMAND_USAGE_SAID : close_session_choose(session, found);
}

int close_session_act(int argc, char **argv, bool id_needed, close_session_action *act)
{
    const char *source = NULL, *id = NULL;
    const struct option_spec specs[] = {{"--source", &source, NULL}};
    if (!options_read(argc, argv, specs, sizeof specs / sizeof *specs, &id))
        return COMMAND_USAGE;
    if (id_needed && id == NULL)
        return options_wrong(argv[0], "which subscription? `%s` lists them",
                             own_command((char[OWN_COMMAND]){0}, NULL, NULL, "subscriptions"));
    struct close_session session;
    int code = open_for_subscription(&session, argv[0], source, id);
    if (code == COMMAND_OK)
        code = close_session_list(&session);
    if (code == COMMAND_OK)
        code = act(&session, id);
    close_session_close(&session);
    return code;
}
