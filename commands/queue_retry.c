/* queue retry: what waits is tried now, whatever pause a failure has caused; what the page's button does. */
#include <stdio.h>

#include "commands/commands.h"
#include "commands/commands_private.h"
#include "config/config.h"
#include "forward/forward.h"

/* Asks first, with a batch that holds nothing: the answer tells more than to see the events wait still. Returns whether
 * all that are meant take it. */
static bool ask_data_planes(const struct config *config, const struct source *only)
{
    bool all = true;
    for (size_t i = 0; i < config->sources; i++) {
        struct error why = {0};
        const struct source *source = &config->source[i];
        if (only != NULL && source != only)
            continue;
        bool good = forward_try(config, source, &why);
        printf("source %s: data plane: %s: %s\n", source->name, good ? "ok" : "WRONG", why.text);
        fflush(stdout); /* the next one may take a while */
        all = all && good;
    }
    return all;
}

/* only: of this source's queue it must be known; NULL: of any. Returns false with the reason. */
static bool tell_forwarder(const struct session *session, const struct source *only, struct error *why)
{
    bool owned = false;
    struct error words = {0};
    struct notes notes;
    char line[OWN_COMMAND];
    if (!forward_mended(session->config, why)) {
        error_prefix(why, "what waits is tried when its time comes: that it shall be now could not be noted: ");
        return false;
    }
    queue_wake(session->queue);
    if (only != NULL && !queue_notes(session->queue, only->name, &notes, why)) {
        error_prefix(why, "source %.64s: ", only->name);
        return false;
    }
    if (!queue_is_owned(session->queue, &owned, &words, why))
        return false;
    if (owned)
        printf("What waits is tried now: %s\n", words.text);
    else
        printf("What waits is tried as soon as a process forwards; none does now: `%s`\n",
               own_command(line, NULL, NULL, "forward"));
    return true;
}

int command_queue_retry(int argc, char **argv)
{
    const char *name = NULL;
    const struct option_spec specs[] = {{"--source", &name, NULL}};
    struct session session;
    struct error why = {0};
    if (!options_read(argc, argv, specs, 1, NULL))
        return COMMAND_USAGE;
    if (!session_open(&session, argv[0]))
        return session.code;
    if (session.config->queue == QUEUE_NONE) {
        error_set(&why, "queue = none keeps nothing that could be tried later");
        session_close(&session);
        return session_failed(argv[0], &why);
    }
    const struct source *only = name == NULL ? NULL : session_source(session.config, name, argv[0]);
    int code = COMMAND_USAGE_SAID;
    if (name == NULL || only != NULL) {
        queue_rest(session.queue);
        bool good = ask_data_planes(session.config, only);
        code = good ? COMMAND_OK : COMMAND_FAILED;
        if (!tell_forwarder(&session, only, &why))
            code = session_failed(argv[0], &why);
        else
            code = session_missed(&session, argv[0], name, code);
    }
    session_close(&session);
    return code;
}
