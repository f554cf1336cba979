/* queue move: gives everything kept for a renamed or removed source to another source. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "closeapi/closeapi.h"
#include "commands/commands.h"
#include "commands/options.h"
#include "commands/session.h"

/* Events of a configured source may be in flight right now: they would be delivered twice, to two places. */
static int refuse_configured(const char *command, const char *from)
{
    fprintf(stderr,
            "%s: source %s is configured, and its events are being forwarded: take it out of the configuration first\n",
            command, from);
    return COMMAND_FAILED;
}

static void print_not_moved(void *context, const char *words)
{
    (void)context;
    printf("not moved: %s\n", words);
}

static void print_moved(const struct moved *moved, const struct closeapi_moved *files, const char *from, const char *to)
{
    printf("moved from %s to %s: %" PRIu64 " waiting event%s, %" PRIu64 " dead letter%s, %" PRIu64
           " identit%s of delivered events, %zu signature key%s, %zu note%s of the Close side\n",
           from, to, moved->events, text_plural(moved->events), moved->letters, text_plural(moved->letters),
           moved->identities, moved->identities == 1 ? "y" : "ies", files->keys, text_plural(files->keys), files->files,
           text_plural(files->files));
}

/* The identities of delivered events are moved before the position in the Event Log: events read again must be known as
 * delivered. */
static int move_source(const char *command, struct session *session, const char *from, const char *to)
{
    struct error why = {0};
    struct moved moved = {0};
    struct closeapi_moved files = {.stays = print_not_moved};
    bool known;
    if (config_source(session->config, from) != NULL)
        return refuse_configured(command, from);
    const struct source *target = session_source(session->config, to, command);
    if (target == NULL)
        return COMMAND_USAGE_SAID;
    if (!session_knows_source(session->queue, from, &known, &why))
        return session_failed(command, &why);
    bool good =
        (!known && closeapi_has_any(session->config, from)) || queue_move(session->queue, from, to, &moved, &why);
    good = good && closeapi_move(session->config, from, target, &files, &why);
    if (good || moved.events + moved.letters + moved.identities > 0)
        print_moved(&moved, &files, from, to);
    return good ? COMMAND_OK : session_failed(command, &why);
}

int command_queue_move(int argc, char **argv)
{
    int arguments = 0;
    struct session session;
    if (!options_read_all(argc, argv, NULL, 0, &arguments))
        return COMMAND_USAGE;
    if (arguments > 2)
        return options_wrong(argv[0], "too many arguments: %s", argv[3]);
    if (arguments < 2)
        return options_wrong(argv[0], "from which source to which?");
    if (!session_open(&session, argv[0]))
        return session.code;
    int code = move_source(argv[0], &session, argv[1], argv[2]);
    session_close(&session);
    return code;
}
