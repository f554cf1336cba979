/* One source's pipeline: its step in the forwarder's loop (settle, read, build, send), the beginning and end of each
 * event in it, and the notes for its next owner. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "forward/forward.h"
#include "forward/forward_private.h"
#include "forward/post.h"

#define READ_AHEAD 65536  /* events in flight at most */
#define READ_ALWAYS 16384 /* so many are read even if lanes are put off, where appends wait: they must learn it */
#define READ_PUT_OFF 256  /* where none waits: each is read and parsed again when its lane may send */
#define PATIENCE_MS 1000  /* with a lane whose batch the data plane has */
#define REST_BYTES ((size_t)2 * 1024 * 1024) /* of buffers: so much is not kept when there is nothing to do */
#define STARVED_MOST 5                       /* tries */
#define ORDINARY_BYTES ((size_t)1024 * 1024) /* what an ordinary event may need */

static bool includes(const struct source *source, const char *member)
{
    for (size_t i = 0; i < source->include.count; i++) {
        if (strcmp(source->include.at[i], member) == 0)
            return true;
    }
    return false;
}

struct rules forward_rules(const struct source *source)
{
    return (struct rules){
        .keep = source->keep.at,
        .keeps = source->keep.count,
        .drop = source->drop.at,
        .drops = source->drop.count,
        .remove = source->remove.at,
        .removes = source->remove.count,
        .keep_nul = source->nul == NUL_KEEP,
        .json_columns = source->warehouse == WAREHOUSE_JSON,
        .close_context = source->context == CONTEXT_CLOSE,
        .previous_data = includes(source, "previous_data"),
        .changed_fields = includes(source, "changed_fields"),
        .identify = source->identify == ANSWER_YES,
        .alias = source->alias == ANSWER_YES,
        .trait = source->traits.at,
        .traits = source->traits.count,
    };
}

bool source_init(struct source_pipeline *pipeline, const struct source *source, const struct source_tools *tools,
                 struct error *why)
{
    *pipeline = (struct source_pipeline){
        .config = tools->config,
        .source = source,
        .queue = tools->queue,
        .gzip = tools->gzip,
        .pauses = tools->pauses,
        .file = {.path = file_sink_path(source->data_plane_url)},
        .rules = forward_rules(source),
    };
    hold_init(&pipeline->hold);
    outbox_init(&pipeline->outbox);
    pipeline->lanes = (size_t)tools->config->lanes;
    pipeline->lane = calloc(pipeline->lanes + 1, sizeof *pipeline->lane);
    if (pipeline->lane == NULL || !intake_init(&pipeline->intake)) {
        error_set(why, "out of memory");
        return false;
    }
    for (size_t i = 0; i <= pipeline->lanes; i++) {
        if (!lane_init(&pipeline->lane[i], pipeline, tools->poster, why))
            return false;
    }
    return true;
}

void source_free(struct source_pipeline *pipeline)
{
    for (size_t i = 0; pipeline->lane != NULL && i <= pipeline->lanes; i++)
        lane_free(&pipeline->lane[i]);
    free(pipeline->lane);
    intake_free(&pipeline->intake);
    hold_free(&pipeline->hold);
    outbox_free(&pipeline->outbox);
    samples_free(&pipeline->samples);
    file_sink_free(&pipeline->file);
}

bool source_recall(struct source_pipeline *pipeline, struct crash_guard *guard, struct error *why)
{
    pipeline->guard = guard;
    return notes_recall(pipeline, why);
}

struct lane *source_lane(const struct source_pipeline *pipeline, const struct pending *pending)
{
    /* A source has a lane at least; saying so spares checkers a doubt. */
    return &pipeline->lane[pipeline->lanes > 0 ? pending->ordering_key % pipeline->lanes : 0];
}

void source_end(struct source_pipeline *pipeline, struct pending *pending, enum verdict_kind kind, const char *reason)
{
    hold_release(pipeline, pending);
    search_forget(&pipeline->search, pending);
    outbox_end(pipeline, pending, kind, reason);
}

void source_close(struct source_pipeline *pipeline)
{
    pipeline->closed = true;
}

void source_rotate(struct source_pipeline *pipeline)
{
    pipeline->first_lane++;
}

void source_take_rate(struct source_pipeline *pipeline, size_t events)
{
    moment now = clock_now();
    if (pipeline->config->deliver_rate == 0)
        return;
    moment start = pipeline->rate_due > now ? pipeline->rate_due : now;
    pipeline->rate_due = start + (int64_t)events * 1000 / pipeline->config->deliver_rate;
}

bool source_has_waiting(const struct source_pipeline *pipeline)
{
    for (size_t i = 0; i < pipeline->lanes; i++) {
        if (pipeline->lane[i].built.count + pipeline->lane[i].waiting.count > 0)
            return true;
    }
    return false;
}

/* ---- events that are given up: too old, or too large for this machine ---- */

bool source_is_too_old(const struct source_pipeline *pipeline, int64_t received_ms, struct error *why)
{
    int64_t age_ms = clock_unix_ms() - received_ms;
    if (received_ms == 0 || age_ms <= pipeline->config->queue_retention_ms || !queue_is_steady(pipeline->queue))
        return false;
    error_set(why, "it could not be delivered for %lld hours, which is queue_retention: %.400s",
              (long long)(age_ms / 3600000),
              pipeline->data_plane.why.text[0] == '\0' ? "no reason is known" : pipeline->data_plane.why.text);
    return true;
}

bool source_expire(struct source_pipeline *pipeline, struct pending *pending)
{
    struct error why;
    if (!source_is_too_old(pipeline, pending->received_ms, &why))
        return false;
    source_end(pipeline, pending, VERDICT_DEAD, why.text);
    return true;
}

/* Whether memory is short for this event only, and not for all. */
static bool is_there_memory(void)
{
    void *volatile bytes = malloc(ORDINARY_BYTES); /* volatile: else the compiler may do without it */
    bool good = bytes != NULL;
    free(bytes);
    return good;
}

bool source_starved(unsigned char *tries, const char *what, struct error *why)
{
    if (is_there_memory())
        (*tries)++;
    error_set(why, "it needs more memory than there is: %.300s; it was tried %d times alone, while others had enough",
              what, STARVED_MOST);
    return *tries >= STARVED_MOST;
}

int64_t source_starved_pause(const struct source_pipeline *pipeline, unsigned tries)
{
    return pipeline->pauses->starved_ms << (tries == 0 ? 0 : tries - 1);
}

/* ---- a step ---- */

static bool send_due_lanes(struct source_pipeline *pipeline)
{
    bool sent = false;
    for (size_t i = 0; i < pipeline->lanes; i++) {
        struct lane *lane = &pipeline->lane[(pipeline->first_lane + i) % pipeline->lanes];
        if (lane_due(lane) > clock_now())
            continue;
        if (lane->built.count == 0)
            lane_fill(lane); /* also while a batch is with the data plane: the next one is ready when it answers */
        sent |= lane_send(lane);
    }
    return sent;
}

/* Whether a lane's next batch is complete and the data plane, in all likelihood, about to answer the last one. */
static bool is_full_for_a_moment(const struct lane *lane, moment now)
{
    return !lane_has_room(lane) && lane->sending.count > 0 && now - lane->sent_at < PATIENCE_MS;
}

/* Reading goes on while a lane could send what it finds. What is read for a lane that is full has to be read again, so
 * the others wait a moment for it: what comes after is for all lanes alike. */
static bool may_take_in(struct source_pipeline *pipeline)
{
    bool put_off = false, has_room = false;
    moment now = clock_now();
    size_t always = pipeline->config->queue == QUEUE_NONE ? READ_ALWAYS : READ_PUT_OFF;
    pipeline->intake.put_off = false;
    if (pipeline->intake.due > now || pipeline->intake.in_flight >= READ_AHEAD)
        return false;
    for (size_t i = 0; i < pipeline->lanes; i++) {
        const struct lane *lane = &pipeline->lane[i];
        if (lane_due(lane) > now)
            put_off = true;
        else if (is_full_for_a_moment(lane, now))
            return false;
        else
            has_room |= lane_has_room(lane);
    }
    pipeline->intake.put_off = put_off && !has_room && pipeline->intake.in_flight >= always;
    return has_room || (put_off && !pipeline->intake.put_off);
}

bool source_step(struct source_pipeline *pipeline, bool sending)
{
    intake_resume(&pipeline->intake);
    notes_look_mended(pipeline);
    hold_try_aside(pipeline);
    hold_try_parked(pipeline);
    if (!outbox_settle_due(pipeline))
        return false; /* nothing is sent while the last settling failed */
    bool more = sending && send_due_lanes(pipeline);
    if (sending && may_take_in(pipeline) && intake_read(pipeline))
        more = true;
    if (sending)
        more |= send_due_lanes(pipeline);
    notes_write(pipeline);
    return outbox_settle_due(pipeline) && more;
}

static moment earlier_of(moment a, moment b)
{
    return a < b ? a : b;
}

moment source_due(const struct source_pipeline *pipeline)
{
    moment due = MOMENT_NEVER;
    if (pipeline->outbox.count > 0)
        due = pipeline->outbox.due;
    if (pipeline->outbox.failed)
        return due; /* until then nothing is sent */
    for (size_t i = 0; i < pipeline->lanes; i++) {
        const struct lane *lane = &pipeline->lane[i];
        if (lane->sending.count > 0)
            continue;
        if (lane->built.count + lane->waiting.count > 0)
            due = earlier_of(due, lane_next(lane));
        else if (pipeline->intake.put_off)
            due = earlier_of(due, lane_due(lane));
    }
    due = earlier_of(due, hold_aside_due(pipeline));
    due = earlier_of(due, hold_parked_due(pipeline));
    if (pipeline->intake.due > 0) /* it may have passed since the last step: the next one ends the pause */
        due = earlier_of(due, pipeline->intake.due);
    return due;
}

bool source_rest(struct source_pipeline *pipeline)
{
    size_t bytes = pipeline->intake.events.bodies.capacity + pipeline->outbox.capacity * sizeof *pipeline->outbox.at;
    for (size_t i = 0; i < pipeline->lanes; i++)
        bytes += pipeline->lane[i].batch.text.capacity + pipeline->lane[i].compressed.capacity;
    if (pipeline->intake.in_flight > 0 || pipeline->outbox.count > 0 || bytes < REST_BYTES)
        return false;
    for (size_t i = 0; i < pipeline->lanes; i++) {
        buffer_free(&pipeline->lane[i].batch.text);
        buffer_free(&pipeline->lane[i].compressed);
    }
    intake_rest(&pipeline->intake);
    outbox_rest(&pipeline->outbox);
    return true;
}

moment source_sends_since(const struct source_pipeline *pipeline)
{
    moment since = MOMENT_NEVER;
    if (pipeline->search.asking)
        since = pipeline->lane[pipeline->lanes].sent_at;
    for (size_t i = 0; i < pipeline->lanes; i++) {
        if (pipeline->lane[i].sending.count > 0)
            since = earlier_of(since, pipeline->lane[i].sent_at);
    }
    return since;
}

bool source_is_sending(const struct source_pipeline *pipeline)
{
    return source_sends_since(pipeline) != MOMENT_NEVER;
}

/* ---- a data plane was found mended ---- */

/* `check` has found that a data plane which refused takes the write key again, or somebody wants what waits to be tried
 * now. The process that forwards learns it from a file in the state directory, by the time of its last change, and need
 * not sit out its wait. When that is wrong, one event is tried too early. */

#define MENDED_PATH 4096

static const char *mended_path(const struct config *config, char out[static MENDED_PATH])
{
    if (config_state_dir(config) == NULL || snprintf(out, MENDED_PATH, "%s/mended", config->state_dir) >= MENDED_PATH)
        return NULL;
    return out;
}

bool forward_mended(const struct config *config)
{
    char path[MENDED_PATH];
    if (mended_path(config, path) == NULL)
        return false;
    int file = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    bool good = file >= 0 && futimens(file, NULL) == 0;
    if (file >= 0)
        close(file);
    return good;
}

bool notes_mended_since(const struct source_pipeline *pipeline, int64_t unix_ms)
{
    char path[MENDED_PATH];
    struct stat file;
    if (mended_path(pipeline->config, path) == NULL || stat(path, &file) != 0)
        return false;
    return clock_timespec_ms(file.st_mtim) > unix_ms;
}

/* Since when a failure puts something off, at least in one lane; Unix time; 0: nothing is. */
static int64_t put_off_since(const struct source_pipeline *pipeline)
{
    moment now = clock_now(), since = MOMENT_NEVER;
    if (pipeline->data_plane.failing_ms > 0)
        return pipeline->data_plane.failing_ms;
    for (size_t i = 0; i < pipeline->lanes; i++) {
        const struct lane *lane = &pipeline->lane[i];
        if (lane->tries > 0 && lane->due > now && lane->sent_at < since)
            since = lane->sent_at;
    }
    return since == MOMENT_NEVER ? 0 : clock_unix_ms() - (now - since);
}

void notes_look_mended(struct source_pipeline *pipeline)
{
    bool blocked = pipeline->data_plane.blocked_until > clock_now() || pipeline->search.said_so;
    int64_t failing_ms = put_off_since(pipeline), hurried_ms = pipeline->notes.hurried_ms;
    if (blocked && notes_mended_since(pipeline, pipeline->data_plane.refused_ms))
        answer_mended(pipeline);
    else if (failing_ms == 0 || !notes_mended_since(pipeline, failing_ms > hurried_ms ? failing_ms : hurried_ms))
        return;
    pipeline->notes.hurried_ms = clock_unix_ms();
    for (size_t i = 0; i < pipeline->lanes; i++)
        lane_hurry(&pipeline->lane[i]);
    hold_hurry_aside(&pipeline->hold);
    notes_changed(pipeline);
}

/* ---- notes for the source's next owner: how often it was tried, when next, what is parked; so a restart, cron and the
 * child of a CGI request do not begin anew ---- */

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
    if (!pipeline->notes.differ)
        return;
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
