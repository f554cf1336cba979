/* Steps one after another, each beside the model: see model_drive.h. */
#include "tests/support/model_drive.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/model_drive_internal.h"

static const struct {
    const char *name;
    unsigned weight;
    bool may_be_killed;
    drive_step *run;
} kinds[MODEL_KINDS] = {
    [MODEL_APPEND] = {"append", 1600, true, drive_append},
    [MODEL_SETTLE] = {"settle", 400, true, drive_settle},
    [MODEL_NEXT] = {"next", 300, false, drive_next},
    [MODEL_AGAIN] = {"again", 200, false, drive_again},
    [MODEL_KNOWN] = {"known", 200, false, drive_known},
    [MODEL_COUNT] = {"count", 200, false, drive_count},
    [MODEL_LETTERS_READ] = {"letters", 100, false, drive_letters},
    [MODEL_REPLAY] = {"replay", 100, true, drive_replay},
    [MODEL_DISCARD] = {"discard", 50, true, drive_discard},
    [MODEL_NOTES] = {"notes", 60, true, drive_notes},
    [MODEL_ASIDE] = {"aside", 40, true, drive_aside},
    [MODEL_OWN] = {"own", 20, true, drive_own},
    [MODEL_CLOSE] = {"close", 10, true, drive_close_one},
    [MODEL_MOVE] = {"move", 20, true, drive_move},
    [MODEL_RENAME] = {"rename", 2, true, drive_rename},
    [MODEL_BACKUP] = {"backup", 10, true, drive_backup},
    [MODEL_RESTORE] = {"restore", 12, false, drive_restore},
    [MODEL_REPAIR] = {"repair", 1, true, drive_repair},
    [MODEL_PASS] = {"pass", 10, false, drive_pass},
    [MODEL_CHECK] = {"check", 2, false, drive_check},
    [MODEL_SCRUB] = {"scrub", 1, false, drive_scrub},
    [MODEL_ALL] = {"all", 10, false, drive_all},
    [MODEL_KILL] = {"kill", 6, false, NULL},
    [MODEL_KILL_IN] = {"kill_in", 20, false, NULL},
    [MODEL_FAIL_IN] = {"fail_in", 20, false, NULL},
};

const char *model_step_name(enum model_kind kind)
{
    return kinds[kind].name;
}

struct model_step model_step_draw(uint64_t seed)
{
    unsigned all = 0;
    for (size_t i = 0; i < MODEL_KINDS; i++)
        all += kinds[i].weight;
    unsigned drawn = model_mix(seed) % all;
    enum model_kind kind = 0;
    while (drawn >= kinds[kind].weight)
        drawn -= kinds[kind++].weight;
    return (struct model_step){.kind = kind,
                               .a = model_mix(seed + 0x10000000000u) % 1000,
                               .b = model_mix(seed + 0x20000000000u) % 1000,
                               .c = model_mix(seed + 0x30000000000u) % 1000000};
}

bool drive_fail(struct drive *drive, const char *format, ...)
{
    va_list list;
    char *out = drive->ground->failure;
    if (*out != '\0')
        return false; /* the first counts */
    va_start(list, format);
    vsnprintf(out, sizeof drive->ground->failure, format, list);
    va_end(list);
    return false;
}

void drive_name(struct drive *drive)
{
    static const char letters[MODEL_SOURCES] = "xyz";
    for (size_t i = 0; i < MODEL_SOURCES; i++) {
        snprintf(drive->name[i], sizeof drive->name[i], "%c%u", letters[i], drive->ground->now.source[i].generation);
        drive->names[i] = drive->name[i];
    }
}

static void begin(struct drive *drive)
{
    drive->config = (struct config){.queue = QUEUE_SQLITE,
                                    .queue_max_bytes = (int64_t)1 << 40,
                                    .dedupe_window_ms = (int64_t)MODEL_WINDOW_H * 3600000,
                                    .dead_retention_ms = (int64_t)MODEL_RETENTION_H * 3600000,
                                    .queue_retention_ms = 60000,
                                    .poison_after_ms = 60000,
                                    .max_body = 1 << 20,
                                    .log_level = LEVEL_ERROR,
                                    .lanes = 4,
                                    .batch_events = 500,
                                    .source = drive->source,
                                    .sources = MODEL_SOURCES,
                                    .state_dir = drive->state};
    if (drive->engine->configure != NULL)
        drive->engine->configure(&drive->config);
    for (size_t i = 0; i < MODEL_SOURCES; i++)
        drive->source[i].name = drive->name[i];
    path_join(drive->state, drive->ground->directory, "state");
    drive->owner = DRIVE_NOBODY;
}

/* ---- being killed ---- */

static struct model_ground *killed_on; /* for the engine's call, which has no context */

static void die(void)
{
    killed_on->killed = true;
    kill(getpid(), SIGKILL);
}

struct model *drive_tried(struct drive *drive)
{
    if (drive->killed_at == 0 && drive->fails_at == 0)
        return NULL;
    model_copy(&drive->ground->tried, &drive->ground->now);
    drive->ground->has_tried = true;
    return &drive->ground->tried;
}

/* After a process was killed: what it was about has taken effect, or it has not. */
static bool recover(struct drive *drive)
{
    struct model_ground *ground = drive->ground;
    struct error tried = {0};
    if (!drive_open(drive))
        return false;
    if (ground->moving)
        return drive_go_on_moving(drive);
    if (drive_matches(drive, &ground->now, &drive->why))
        return true;
    if (!ground->has_tried)
        return drive_fail(drive, "after it was killed: %s", drive->why.text);
    if (!drive_matches(drive, &ground->tried, &tried))
        return drive_fail(drive, "after it was killed in a step: before it (%.300s); after it (%.300s)",
                          drive->why.text, tried.text);
    model_copy(&ground->now, &ground->tried);
    return true;
}

/* ---- one after another ---- */

/* A write has failed, and the step says so: as after a crash, all is opened anew. */
static bool go_on_after_failure(struct drive *drive)
{
    drive->ground->failure[0] = '\0';
    drive->ground->failed_inside++;
    drive_close(drive);
    return recover(drive);
}

static bool run_kind(struct drive *drive, const struct model_step *step)
{
    const struct model_engine *engine = drive->engine;
    if (!kinds[step->kind].may_be_killed)
        drive->killed_at = drive->fails_at = 0;
    if (drive->killed_at > 0)
        engine->at_write(drive->killed_at, die);
    if (drive->fails_at > 0)
        engine->fail_at(drive->fails_at);
    bool good = kinds[step->kind].run(drive, step);
    bool failed = drive->fails_at > 0 && engine->has_failed();
    if (drive->killed_at > 0)
        engine->at_write(0, NULL);
    if (drive->fails_at > 0)
        engine->fail_at(0);
    if (failed && (!good || engine->is_a_server)) /* an owner whose connection was cut owns nothing, as it will see */
        good = go_on_after_failure(drive);
    drive->killed_at = drive->fails_at = 0;
    return good;
}

static bool run_step(struct drive *drive, const struct model_step *step)
{
    struct model_ground *ground = drive->ground;
    if (drive->engine->leaves_out != NULL && drive->engine->leaves_out(step->kind))
        return true;
    if (drive->engine->is_a_server && drive->owner != DRIVE_NOBODY)
        queue_clear_wakeup(drive->handle[drive->owner]); /* it lives */
    ground->has_tried = false;
    ground->done[step->kind]++;
    if (step->kind == MODEL_KILL) {
        ground->at++;
        die();
    }
    ground->running = true;
    if (step->kind == MODEL_KILL_IN)
        drive->killed_at = 1 + step->a % 14;
    else if (step->kind == MODEL_FAIL_IN)
        drive->fails_at = 1 + step->a % 14;
    else if (!run_kind(drive, step))
        return false;
    ground->running = false;
    return true;
}

bool model_drive(struct model_ground *ground, const struct model_engine *engine, const struct model_step *steps,
                 size_t count)
{
    static struct drive drive;
    drive = (struct drive){.ground = ground, .engine = engine};
    killed_on = ground;
    begin(&drive);
    if (!engine->begin())
        return drive_fail(&drive, "the engine cannot be prepared");
    ground->killed = false;
    bool good = recover(&drive);
    if (ground->running) { /* it was killed in this step */
        ground->kills_inside++;
        ground->running = false;
        ground->at++;
    }
    for (; good && ground->at < count; ground->at += good)
        good = run_step(&drive, &steps[ground->at]);
    good = good && drive_matches_now(&drive);
    if (good)
        drive_close(&drive);
    return good;
}
