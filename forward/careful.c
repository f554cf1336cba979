/* Parsing and transforming with a trace, so that an event that kills the program is found. */
#include "forward/crumb.h"
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

struct parsed *traffic_parse(struct traffic *traffic, const struct event *event, bool *out_of_memory, struct why *why)
{
    const char *source = traffic->source->name;
    if (crumb_suspects(traffic->crumb, source, event->id)) {
        struct trial trial = {traffic, event};
        if (!crumb_survives(try_all, &trial)) {
            *out_of_memory = false;
            why_set(why, "transforming it crashed the program twice, and again when it was tried alone: please report "
                         "this fault");
            return NULL;
        }
        crumb_acquit(traffic->crumb);
    }
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
