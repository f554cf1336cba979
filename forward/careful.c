/* Parsing and transforming with a trace, so that an event that kills the program is found. */
#include "forward/crash_guard.h"
#include "forward/lane.h"
#include "forward/steps.h"

struct trial {
    const struct traffic *traffic;
    const struct event *event;
};

static void try_all(void *context)
{
    const struct trial *trial = context;
    struct buffer out = {0};
    struct parsed *parsed = transform_parse(trial->event->body, trial->event->length, NULL, NULL);
    if (parsed != NULL)
        transform_message(parsed, &trial->traffic->rules, false, &out);
    /* the process ends now */
}

/* An event under suspicion is tried in a child. Returns whether it may be parsed here; else why says why not, and
 * *again whether it may be tried again. While the child runs the event stands in the trace: should the kernel end both,
 * the next process knows of one death more. */
static bool passes_trial(struct traffic *traffic, const struct event *event, bool *again, struct error *why)
{
    struct trial trial = {traffic, event};
    *again = false;
    if (crumb_condemns(traffic->crumb, traffic->source->name, event->id)) {
        error_set(why,
                  "transforming it ended the program, or a trial of it alone, again and again: most likely it needs "
                  "more memory than there is; or something outside ended them with SIGKILL each time (a watchdog, "
                  "a limit, a person): then replay it");
        return false;
    }
    crumb_begin(traffic->crumb, traffic->source->name, event->id);
    enum crumb_trial end = crumb_try(try_all, &trial);
    crumb_end(traffic->crumb);
    crumb_rest(traffic->crumb);
    switch (end) {
    case CRUMB_SURVIVED:
        crumb_acquit(traffic->crumb);
        return true;
    case CRUMB_KILLED:
        crumb_blame(traffic->crumb);
        *again = true;
        error_set(why,
                  "transforming it alone was killed (SIGKILL), most likely by the kernel for want of memory, else by "
                  "something outside");
        return false;
    case CRUMB_CRASHED:
        break;
    }
    error_set(why,
              "transforming it crashed the program twice, and again when it was tried alone: please report this fault");
    return false;
}

void traffic_expect(struct traffic *traffic)
{
    const struct events *events = &traffic->events;
    uint64_t first = UINT64_MAX, last = 0;
    for (size_t i = 0; i < events->count; i++) {
        first = events->at[i].id < first ? events->at[i].id : first;
        last = events->at[i].id > last ? events->at[i].id : last;
    }
    if (events->count > 0)
        crumb_expect(traffic->crumb, traffic->source->name, first, last);
}

struct parsed *traffic_parse(struct traffic *traffic, const struct event *event, bool *out_of_memory, struct error *why)
{
    const char *source = traffic->source->name;
    if (crumb_suspects(traffic->crumb, source, event->id) && !passes_trial(traffic, event, out_of_memory, why))
        return NULL;
    crumb_begin(traffic->crumb, source, event->id);
    struct parsed *parsed = transform_parse(event->body, event->length, out_of_memory, why);
    crumb_end(traffic->crumb);
    return parsed;
}

enum transform_result traffic_transform(struct traffic *traffic, const struct pending *pending, struct parsed *parsed,
                                        struct buffer *out)
{
    crumb_begin(traffic->crumb, traffic->source->name, pending->id);
    enum transform_result result = transform_message(parsed, &traffic->rules, pending->newer, out);
    crumb_end(traffic->crumb);
    return result;
}
