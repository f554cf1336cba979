/* Gathers counts and notes: see overview.h. */
#include "commands/overview.h"

#include <stdlib.h>

#include "base/clock.h"
#include "telemetry/cron_mark.h"

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void add(struct counts *all, const struct counts *one)
{
    all->accepted += one->accepted;
    all->delivered += one->delivered;
    all->duplicates += one->duplicates;
    all->dropped += one->dropped;
    all->dead += one->dead;
    all->ended += one->ended;
    all->ending += one->ending;
    if (one->ending_ms != 0 && (all->ending_ms == 0 || one->ending_ms < all->ending_ms))
        all->ending_ms = one->ending_ms;
    all->waiting += one->waiting;
    if (one->oldest_received_ms != 0 &&
        (all->oldest_received_ms == 0 || one->oldest_received_ms < all->oldest_received_ms))
        all->oldest_received_ms = one->oldest_received_ms;
    all->last_accepted_ms = later(all->last_accepted_ms, one->last_accepted_ms);
    all->last_delivered_ms = later(all->last_delivered_ms, one->last_delivered_ms);
}

bool overview_gather(struct overview *overview, struct queue *queue, const struct config *config, struct error *why)
{
    *overview = (struct overview){.now_ms = clock_unix_ms()};
    if (!queue_names(queue, &overview->names, why) ||
        !queue_is_owned(queue, &overview->forwarding, &overview->forwarder, why))
        return false;
    queue_has_room(queue, &overview->no_room);
    if (!queue_room(queue, &overview->room, why))
        return false;
    struct cron_mark mark;
    cron_mark_read(config->state_dir, &mark);
    overview->last_cron_ms = mark.ran_ms;
    size_t count = overview->names.count;
    overview->source = calloc(count > 0 ? count : 1, sizeof *overview->source);
    if (overview->source == NULL) {
        error_set(why, "out of memory");
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct overview_source *source = &overview->source[i];
        source->name = overview->names.at[i];
        const struct source *configured = config_source(config, source->name);
        source->configured = configured != NULL;
        source->reconciles = configured != NULL && configured->close_api_key != NULL;
        if (source->reconciles && !closeapi_completeness(config, configured, &source->complete, why))
            return false;
        if (!queue_count(queue, source->name, &source->counts, why) ||
            !queue_notes(queue, source->name, &source->notes, why))
            return false;
        add(&overview->all, &source->counts);
    }
    return true;
}

void overview_free(struct overview *overview)
{
    for (size_t i = 0; overview->source != NULL && i < overview->names.count; i++)
        completeness_free(&overview->source[i].complete);
    queue_names_free(&overview->names);
    free(overview->source);
    overview->source = NULL;
}

const char *overview_stands_still(const struct overview *overview)
{
    uint64_t waiting = 0; /* what waits for a source that is not configured nobody would forward */
    for (size_t i = 0; i < overview->names.count; i++)
        waiting += overview->source[i].configured ? overview->source[i].counts.waiting : 0;
    if (overview->forwarding || waiting == 0)
        return NULL;
    return "what waits is not forwarded now; start the program, or let `closecrm.fcgi cron` run every minute";
}
