/* What a source's next owner must know: notes in the queue: how often it was tried, when next, what is
 * parked; so a restart, another machine, cron and the child of a CGI request do not begin anew. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "base/text.h"
#include "forward/forward_private.h"

static uint64_t hash_file(uint64_t hash, const char *path)
{
    char part[4096];
    ssize_t length;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && (length = files_read_all(fd, part, sizeof part)) > 0)
        hash = text_hash(hash, part, (size_t)length);
    if (fd >= 0)
        close(fd);
    return hash;
}

/* What was noted counts as long as events go to the same place with the same key, by a configuration that says the same
 * and that nobody has saved since: that is how an operator says that something was mended. When another machine saved
 * its own says nothing. So a fingerprint is, from the highest bit on, of what it says, of whose it is, and of when it
 * was saved. */
#define OWNER_BITS 12
#define SAVED_BITS 20

static uint64_t fold(uint64_t hash, unsigned bits)
{
    return (hash ^ hash >> 32) & ((UINT64_C(1) << bits) - 1);
}

static uint64_t destination_fingerprint(const struct config *config, const struct source *source)
{
    struct stat file;
    char host[64] = "";
    const char *key = source->write_key.count == 0 ? "" : source->write_key.at[0];
    uint64_t says = text_hash(TEXT_HASH, source->data_plane_url, strlen(source->data_plane_url) + 1);
    uint64_t owner = TEXT_HASH, saved = TEXT_HASH;
    says = text_hash(says, key, strlen(key));
    if (config->path != NULL && stat(config->path, &file) == 0) {
        says = hash_file(says, config->path);
        saved = text_hash(saved, &file.st_mtim, sizeof file.st_mtim);
        gethostname(host, sizeof host - 1);
        owner = text_hash(text_hash(owner, host, strlen(host) + 1), config->path, strlen(config->path));
    }
    return fold(says, 32) << (OWNER_BITS + SAVED_BITS) | fold(owner, OWNER_BITS) << SAVED_BITS |
           fold(saved, SAVED_BITS);
}

static bool is_noted_for(uint64_t noted, uint64_t now)
{
    bool same_owner = noted >> SAVED_BITS == now >> SAVED_BITS;
    return noted == now || (!same_owner && noted >> (OWNER_BITS + SAVED_BITS) == now >> (OWNER_BITS + SAVED_BITS));
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
    /* Where lanes wait, the next owner waits as long as is noted: what is parked must not make that less. */
    for (const struct pending *p = pipeline->hold.parked.first;
         p != NULL && notes.tries == 0 && !notes.operator_must_act; p = p->next)
        next = p->until < next ? p->until : next;
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
    pipeline->notes.config_fingerprint = destination_fingerprint(pipeline->config, pipeline->source);
    if (!queue_note(pipeline->queue, pipeline->source->name, notes, false, why))
        return false;
    if (!is_noted_for(notes->config_fingerprint, pipeline->notes.config_fingerprint)) {
        pipeline->notes.differ = notes->config_fingerprint != 0; /* what is noted is over */
        memset(notes, 0, sizeof *notes);
        return true;
    }
    answer_recall(pipeline, notes);
    search_recall(&pipeline->search, notes->operator_must_act);
    return true;
}
