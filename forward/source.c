/* One source's pipeline: its step in the forwarder's loop (settle, read, build, send), the beginning and end of each
 * event in it, whose it is, and whether its data plane was found mended. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "base/log.h"
#include "forward/forward.h"
#include "forward/forward_private.h"
#include "forward/post.h"
#include "kept/kept.h"

#define READ_AHEAD 65536  /* events in flight at most */
#define READ_ALWAYS 16384 /* so many are read even if lanes are put off, where appends wait: they must learn it */
#define READ_PUT_OFF 256  /* where none waits: each is read and parsed again when its lane may send */
#define PATIENCE_MS 1000  /* with a lane whose batch the data plane has */
#define REST_BYTES ((size_t)2 * 1024 * 1024) /* of buffers: so much is not kept when there is nothing to do */
#define STARVED_MOST 5                       /* tries */
#define RECALL_AGAIN_MS 1000
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

/* ---- whose it is ---- */

bool source_is_owned(const struct source_pipeline *pipeline)
{
    return pipeline->tenure != 0 && queue_tenure(pipeline->queue, pipeline->source->name) == pipeline->tenure;
}

/* What is in hand is another owner's, who reads it again. Returns false when memory is out; then it has no lanes. */
static bool start_anew(struct source_pipeline *pipeline, const struct source_tools *tools,
                       const struct telemetry *telemetry)
{
    struct error why;
    uint64_t ended[VERDICT_LATER + 1];
    memcpy(ended, pipeline->outbox.ended, sizeof ended);
    source_free(pipeline);
    bool good = source_init(pipeline, pipeline->source, tools, &why);
    if (!good) {
        source_free(pipeline);
        pipeline->lane = NULL;
        pipeline->lanes = 0;
    }
    memcpy(pipeline->outbox.ended, ended, sizeof ended);
    if (telemetry != NULL)
        samples_init(pipeline, telemetry);
    return good;
}

static void begin_tenure(struct source_pipeline *pipeline, uint64_t tenure, struct crash_guard *guard)
{
    struct error why;
    char words[LOG_QUOTED];
    pipeline->guard = guard;
    if (notes_recall(pipeline, &why)) {
        pipeline->tenure = tenure;
        pipeline->recall_due = 0;
        return;
    }
    pipeline->recall_due = clock_now() + RECALL_AGAIN_MS;
    if (queue_tenure(pipeline->queue, pipeline->source->name) == tenure)
        log_write(LEVEL_ERROR, "msg=cannot_forward source=%s reason=%s", pipeline->source->name,
                  log_quote_reason(words, why.text));
}

void source_follow(struct source_pipeline *pipeline, const struct source_tools *tools,
                   const struct telemetry *telemetry, struct crash_guard *guard)
{
    const char *name = pipeline->source->name;
    bool back = pipeline->tenure != 0 && queue_should_yield(pipeline->queue, name);
    pipeline->closed = back;
    if (back && !source_is_sending(pipeline) && pipeline->outbox.count == 0)
        queue_yield(pipeline->queue, name);
    uint64_t tenure = queue_tenure(pipeline->queue, name);
    if (tenure == pipeline->tenure)
        pipeline->recall_due = 0;
    else if (clock_now() < pipeline->recall_due)
        return;
    else if ((pipeline->tenure != 0 || pipeline->lanes == 0) && !start_anew(pipeline, tools, telemetry))
        pipeline->recall_due = clock_now() + RECALL_AGAIN_MS;
    else if (tenure != 0)
        begin_tenure(pipeline, tenure, guard);
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
    if (!source_is_owned(pipeline))
        return false;
    intake_resume(&pipeline->intake);
    source_look_mended(pipeline);
    hold_try_aside(pipeline);
    hold_try_parked(pipeline);
    if (!outbox_settle_due(pipeline))
        return false; /* nothing is sent while the last settling failed */
    bool more = sending && send_due_lanes(pipeline);
    if (sending && may_take_in(pipeline) && intake_read(pipeline))
        more = true;
    if (sending)
        more |= send_due_lanes(pipeline);
    if (pipeline->notes.differ)
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
    if (pipeline->tenure == 0)
        return pipeline->recall_due > 0 ? pipeline->recall_due : MOMENT_NEVER;
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
 * not sit out its wait. When that is wrong, one event is tried too early. Where several machines share the queue each
 * has a copy (kept/kept.h), which changes when it comes: by the clock of who looks at it. */

#define MENDED "mended"
#define TOLD "told"

static const char *mended_path(const struct config *config, char out[static FILES_PATH])
{
    const char *folder = kept_is_shared(config) ? TOLD "/" : "";
    if (config_state_dir(config) == NULL ||
        snprintf(out, FILES_PATH, "%s/%s" MENDED, config->state_dir, folder) >= FILES_PATH)
        return NULL;
    return out;
}

/* Once more where another machine says it at this moment. */
static bool tell_machines(const struct config *config, struct error *why)
{
    char directory[FILES_PATH], text[64];
    struct kept *kept = kept_open(config, why);
    bool good = kept != NULL && files_make_directory(directory, config->state_dir, TOLD, why);
    snprintf(text, sizeof text, "%lld %ld\n", (long long)clock_unix_ms(), (long)getpid());
    good = good && ((kept_look(kept, why) && kept_put(kept, directory, MENDED, text, why)) ||
                    (kept_look(kept, why) && kept_put(kept, directory, MENDED, text, why)));
    kept_close(kept);
    return good;
}

bool forward_mended(const struct config *config, struct error *why)
{
    char path[FILES_PATH];
    struct error unread;
    if (why == NULL)
        why = &unread;
    if (mended_path(config, path) == NULL) {
        error_set(why, "there is no state directory in which to note it");
        return false;
    }
    if (kept_is_shared(config))
        return tell_machines(config, why);
    int file = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    bool good = file >= 0 && futimens(file, NULL) == 0;
    if (!good)
        error_set(why, "%.300s: %s", path, strerror(errno));
    if (file >= 0)
        close(file);
    return good;
}

bool source_mended_since(const struct source_pipeline *pipeline, int64_t unix_ms)
{
    char path[FILES_PATH];
    struct stat file;
    if (mended_path(pipeline->config, path) == NULL || stat(path, &file) != 0)
        return false;
    return clock_timespec_ms(file.st_mtim) > unix_ms;
}

/* Since when an event is held back that is not to be tried yet; Unix time; INT64_MAX: none is. */
static int64_t held_since(const struct hold *hold)
{
    moment now = clock_now();
    int64_t since_ms = INT64_MAX;
    for (const struct pending *p = hold->parked.first; p != NULL; p = p->next) {
        if (p->until > now && p->parked_ms < since_ms)
            since_ms = p->parked_ms;
    }
    for (const struct pending *p = hold->aside.first; p != NULL; p = p->next) {
        int64_t aside_ms = clock_unix_ms() - (now + OPERATOR_MS - p->until);
        if (p->until > now && aside_ms < since_ms)
            since_ms = aside_ms;
    }
    return since_ms;
}

/* Since when a failure puts something off, at least in one lane, or one event; Unix time; 0: nothing is. */
static int64_t put_off_since(const struct source_pipeline *pipeline)
{
    moment now = clock_now(), since = MOMENT_NEVER;
    int64_t since_ms = held_since(&pipeline->hold), failing_ms = pipeline->data_plane.failing_ms;
    for (size_t i = 0; i < pipeline->lanes; i++) {
        const struct lane *lane = &pipeline->lane[i];
        if (lane->tries > 0 && lane->due > now && lane->sent_at < since)
            since = lane->sent_at;
    }
    if (failing_ms == 0 && since != MOMENT_NEVER)
        failing_ms = clock_unix_ms() - (now - since);
    if (failing_ms > 0 && failing_ms < since_ms)
        since_ms = failing_ms;
    return since_ms == INT64_MAX ? 0 : since_ms;
}

/* What is held back may be tried at once. */
static void hurry_held(struct hold *hold)
{
    for (struct pending *p = hold->aside.first; p != NULL; p = p->next)
        p->until = 0;
    for (struct pending *p = hold->parked.first; p != NULL; p = p->next)
        p->until = 0;
}

void source_look_mended(struct source_pipeline *pipeline)
{
    bool blocked = pipeline->data_plane.blocked_until > clock_now() || pipeline->search.said_so;
    int64_t failing_ms = put_off_since(pipeline), hurried_ms = pipeline->notes.hurried_ms;
    if (blocked && source_mended_since(pipeline, pipeline->data_plane.refused_ms))
        answer_mended(pipeline);
    else if (failing_ms == 0 || !source_mended_since(pipeline, failing_ms > hurried_ms ? failing_ms : hurried_ms))
        return;
    pipeline->notes.hurried_ms = clock_unix_ms();
    for (size_t i = 0; i < pipeline->lanes; i++)
        lane_hurry(&pipeline->lane[i]);
    hurry_held(&pipeline->hold);
    notes_changed(pipeline);
}
