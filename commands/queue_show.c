/* queue show: one waiting event, as it came and as it will leave. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/times.h"
#include "commands/commands.h"
#include "commands/options.h"
#include "commands/session.h"
#include "commands/view.h"

static bool show(const struct session *session, const char *source, const struct event *event, struct error *why)
{
    char date[WHEN_SIZE];
    printf("event %" PRIu64 " of source %s, received %s%s\n\n", event->id, source, when_print(event->received_ms, date),
           event->replay ? ", the replay of a dead letter" : "");
    return view_event(session->config, source, event->body, event->length, why);
}

static bool find_and_show(struct session *session, uint64_t id, const char *wanted, struct error *why)
{
    struct events events = {NULL, 0, 0, {NULL, 0, 0, false}};
    struct strings names = {NULL, 0};
    const char *source = NULL;
    if (queue_names(session->queue, &names, why))
        source = find_event_source(session->queue, id, &names, wanted, &events, why);
    int found = source != NULL ? find_event(session->queue, source, id, &events, why) : -1;
    if (found == 0)
        error_set(why, "event %" PRIu64 " has just gone", id);
    queue_close(session->queue); /* what is shown is a copy: the terminal may take its time */
    session->queue = NULL;
    bool good = found > 0 && show(session, source, &events.at[0], why);
    queue_names_free(&names);
    events_free(&events);
    return good;
}

int command_queue_show(int argc, char **argv)
{
    const char *source = NULL, *text = NULL;
    const struct option_spec specs[] = {{"--source", &source, NULL}};
    uint64_t id;
    struct session session;
    struct error why = {0};
    if (!options_read(argc, argv, specs, 1, &text))
        return COMMAND_USAGE;
    if (text == NULL || !options_number(text, &id))
        return options_wrong(argv[0], "which event? Give the number that `queue list` shows");
    if (!session_open(&session, argv[0]))
        return session.code;
    bool good = find_and_show(&session, id, source, &why);
    session_close(&session);
    return good ? COMMAND_OK : session_failed(argv[0], &why);
}
