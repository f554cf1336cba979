/* What a source's next owner must know: notes in the queue: how often it was tried, when next, what is
 * parked; so a restart, another machine, cron and the child of a CGI request do not begin anew. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "forward/forward_private.h"

/* What was noted counts as long as events go to the same place with the same key, by a configuration that nobody has
 * touched: saving it is how an operator says that something was mended. */
static uint64_t destination_hash(const struct config *config, const struct source *source)
{
    struct stat file;
    const char *key = source->write_key.count == 0 ? "" : source->write_key.at[0];
    uint64_t hash = text_hash(TEXT_HASH, source->data_plane_url, strlen(source->data_plane_url) + 1);
    hash = text_hash(hash, key, strlen(key));
    if (config->path != NULL && stat(config->path, &file) == 0)
        hash = text_hash(hash, &file.st_mtim, sizeof file.st_mtim);
    return hash;
}

/* A moment as Unix time; one that has passed is 0. */
static int64_t unix_ms_of(moment when)
{
    moment now = clock_now();
    return when <= now ? 0 : clock_unix_ms() + (when - now);
}

static void note_parked(const struct pending_list *list, struct notes *notes)
{
    for (const struct pending *p = list->first; p != NULL; p = p->next) {
        if (p->parked_ms == 0 || notes->parked_count == NOTES_PARKED)
            continue;
        notes->parked[notes->parked_count].id = p->id;
        notes->parked[notes->parked_count++].since_ms = p->parked_ms;
    }
}

static struct notes make_notes(const struct source_pipeline *pipeline)
{
    struct notes notes = {.since_ms = pipeline->data_plane.failing_ms,
                          .config_fingerprint = pipeline->notes.config_fingerprint};
    moment next = MOMENT_NEVER;
    for (size_t i = 0; i < pipeline->lanes; i++) {
        const struct lane *lane = &pipeline->lane[i];
        if (lane->tries > notes.tries)
            notes.tries = lane->tries;
        if (lane->tries > 0 && lane->due < next)
            next = lane->due;
        note_parked(&lane->waiting, &notes);
        note_parked(&lane->built, &notes);
        note_parked(&lane->sending, &notes);
    }
    note_parked(&pipeline->hold.parked, &notes);
    notes.operator_must_act = pipeline->data_plane.blocked_until > clock_now() || pipeline->search.said_so;
    if (pipeline->data_plane.blocked_until > clock_now())
        next = pipeline->data_plane.blocked_until;
    if (next != MOMENT_NEVER)
        notes.next_ms = unix_ms_of(next);
    if (pipeline->data_plane.failing_ms > 0 || notes.parked_count > 0 || notes.next_ms > 0)
        snprintf(notes.reason, sizeof notes.reason, "%.255s",
                 notes.operator_must_act ? pipeline->data_plane.refused.text : pipeline->data_plane.why.text);
    return notes;
}

void notes_changed(struct source_pipeline *pipeline)
{
    pipeline->notes.differ = true;
}

void notes_write(struct source_pipeline *pipeline)
{
    struct error why;
    struct notes notes = make_notes(pipeline);
    if (queue_note(pipeline->queue, pipeline->source->name, &notes, true, &why))
        pipeline->notes.differ = false; /* else the next step tries again */
}

bool notes_recall(struct source_pipeline *pipeline, struct error *why)
{
    struct notes *notes = &pipeline->notes.recalled;
    pipeline->notes.hurried_ms = clock_unix_ms();
    pipeline->notes.config_fingerprint = destination_hash(pipeline->config, pipeline->source);
    if (!queue_note(pipeline->queue, pipeline->source->name, notes, false, why))
        return false;
    if (notes->config_fingerprint != pipeline->notes.config_fingerprint) {
        pipeline->notes.differ = notes->config_fingerprint != 0; /* what is noted is over */
        memset(notes, 0, sizeof *notes);
        return true;
    }
    answer_recall(pipeline, notes);
    search_recall(&pipeline->search, notes->operator_must_act);
    return true;
}
