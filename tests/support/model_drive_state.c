/* Steps about processes, names, backups and the state directory: see model_drive.h. */
#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "queue/inspect.h"
#include "tests/support/model_drive_internal.h"
#include "tests/support/shifted_clock.h"

#define KEYS_ASKED 64 /* about so many at once; of few keys some several times */

/* ---- handles ---- */

static bool open_one(struct drive *drive, size_t handle)
{
    drive->handle[handle] = queue_open(&drive->config, &drive->why);
    return drive->handle[handle] != NULL || drive_fail(drive, "queue_open: %s", drive->why.text);
}

bool drive_open(struct drive *drive)
{
    drive_name(drive);
    shifted_clock_set(drive->ground->now.hours);
    for (size_t i = 0; i < DRIVE_HANDLES; i++) {
        if (!open_one(drive, i))
            return false;
    }
    return true;
}

static void close_one(struct drive *drive, size_t handle)
{
    queue_close(drive->handle[handle]);
    drive->handle[handle] = NULL;
    if (drive->owner == handle)
        drive->owner = DRIVE_NOBODY;
}

void drive_close(struct drive *drive)
{
    for (size_t i = 0; i < DRIVE_HANDLES; i++)
        close_one(drive, i);
}

static bool reopen(struct drive *drive)
{
    drive_close(drive);
    return drive_open(drive);
}

static bool counts_match(struct drive *drive)
{
    struct counts counts;
    bool good = true;
    for (size_t i = 0; i < MODEL_SOURCES && good; i++)
        good = queue_count(drive->handle[0], drive->name[i], &counts, &drive->why) &&
               model_matches_counts(&drive->ground->now, i, &counts, &drive->why);
    return good;
}

/* The owner lets dead letters end in a thread of its own. */
static bool wait_for_ends(struct drive *drive)
{
    if (model_expire(&drive->ground->now) == 0)
        return true;
    moment deadline = clock_now() + 60000;
    while (!counts_match(drive)) {
        if (clock_now() > deadline)
            return drive_fail(drive, "dead letters do not end: %s", drive->why.text);
        poll(NULL, 0, 1);
    }
    return true;
}

bool drive_claim(struct drive *drive, size_t handle)
{
    struct model *model = &drive->ground->now;
    moment deadline = clock_now() + (drive->engine->is_a_server ? 60000 : 0);
    while (!queue_claim(drive->handle[handle], &drive->why)) {
        if (clock_now() >= deadline)
            return drive_fail(drive, "queue_claim: %s", drive->why.text);
        poll(NULL, 0, 1);
    }
    drive->owner = handle;
    if (drive->engine->is_a_server)
        return queue_is_steady(drive->handle[handle]) || drive_fail(drive, "queue_is_steady: 0");
    if (model->steady < 0)
        model->steady = model->hours;
    bool steady = model->hours - model->steady >= 24;
    if (queue_is_steady(drive->handle[handle]) != steady)
        return drive_fail(drive, "queue_is_steady: %d", !steady);
    return !steady || wait_for_ends(drive);
}

struct queue *drive_owner(struct drive *drive)
{
    if (drive->owner == DRIVE_NOBODY && !drive_claim(drive, drive->ground->at % DRIVE_HANDLES))
        return NULL;
    return drive->handle[drive->owner];
}

bool drive_own(struct drive *drive, const struct model_step *step)
{
    size_t handle = step->a % DRIVE_HANDLES, before = drive->owner;
    if (before == DRIVE_NOBODY || before == handle)
        return drive_claim(drive, handle);
    if (queue_claim(drive->handle[handle], &drive->why))
        return drive_fail(drive, "two have the consumer lock");
    if (step->b % 2 == 0)
        return true;
    close_one(drive, before);
    return open_one(drive, before) && drive_claim(drive, handle);
}

bool drive_close_one(struct drive *drive, const struct model_step *step)
{
    size_t handle = step->a % DRIVE_HANDLES;
    close_one(drive, handle);
    return open_one(drive, handle);
}

/* ---- all of it ---- */

static bool events_match(struct drive *drive, struct model *model, size_t source, struct error *why)
{
    struct queue *queue = drive->handle[source % DRIVE_HANDLES];
    uint64_t after = 0;
    int n;
    do {
        n = queue_list(queue, drive->name[source], after, 100, DRIVE_BYTES, &drive->found, why);
        if (n < 0 || !model_matches_events(model, source, after, 100, DRIVE_BYTES, &drive->found, why))
            return false;
        after = n > 0 ? drive->found.at[n - 1].id : after;
    } while (n > 0);
    return true;
}

static bool identities_match(struct drive *drive, const struct model *model, size_t source, struct error *why)
{
    static struct identity identities[KEYS_ASKED];
    static struct known known[KEYS_ASKED];
    uint32_t first = model_mix(drive->ground->at) % model->keys;
    for (uint32_t i = 0; i < KEYS_ASKED; i++) {
        identities[i] = model_identity_of_key((first + i) % model->keys);
        identities[i].updated_us = INT64_MAX; /* newer than any: the newest one that is known is told */
    }
    bool good = drive->owner != DRIVE_NOBODY && drive->ground->at % 2 == 0
                    ? queue_known(drive->handle[drive->owner], drive->name[source], identities, KEYS_ASKED, known, why)
                    : queue_look_known(drive->handle[source % DRIVE_HANDLES], drive->name[source], identities,
                                       KEYS_ASKED, known, why);
    for (uint32_t i = 0; i < KEYS_ASKED && good; i++)
        good = model_matches_known(model, source, (first + i) % model->keys, INT64_MAX, &known[i], why);
    return good;
}

bool drive_matches(struct drive *drive, struct model *model, struct error *why)
{
    static struct notes notes;
    struct counts counts;
    struct queue *queue = drive->handle[drive->ground->at % DRIVE_HANDLES];
    bool good = true;
    for (size_t i = 0; i < MODEL_SOURCES && good; i++) {
        good = events_match(drive, model, i, why) && queue_count(queue, drive->name[i], &counts, why) &&
               model_matches_counts(model, i, &counts, why) && identities_match(drive, model, i, why) &&
               queue_notes(queue, drive->name[i], &notes, why) && model_matches_notes(model, i, &notes, why);
        if (!good)
            error_prefix(why, "source %s: ", drive->name[i]);
    }
    return good && queue_letters(queue, NULL, 0, 1000, DRIVE_BYTES, &drive->letters, why) >= 0 &&
           model_matches_letters(model, MODEL_SOURCES, drive->names, &drive->letters, why);
}

bool drive_matches_now(struct drive *drive)
{
    return drive_matches(drive, &drive->ground->now, &drive->why) || drive_fail(drive, "%s", drive->why.text);
}

bool drive_all(struct drive *drive, const struct model_step *step)
{
    (void)step;
    return drive_matches_now(drive);
}

static void note_fault(void *context, const char *fault)
{
    error_set(context, "%s", fault);
}

bool drive_check(struct drive *drive, const struct model_step *step)
{
    struct error fault = {0};
    size_t faults = 0;
    if (!queue_check(drive->handle[step->a % DRIVE_HANDLES], note_fault, &fault, &faults, &drive->why))
        return drive_fail(drive, "queue_check: %s", drive->why.text);
    return faults == 0 || drive_fail(drive, "queue_check finds: %s", fault.text);
}

bool drive_scrub(struct drive *drive, const struct model_step *step)
{
    return (queue_scrub(drive->handle[step->a % DRIVE_HANDLES], &drive->why) && drive_matches_now(drive)) ||
           drive_fail(drive, "queue_scrub: %s", drive->why.text);
}

/* ---- names ---- */

/* Whether the queue has heard of a source: of some that have never had an event, a server has not. */
static bool knows(struct drive *drive, struct queue *queue, const char *name, bool *known)
{
    struct strings names;
    *known = false;
    if (!queue_names(queue, &names, &drive->why))
        return drive_fail(drive, "queue_names: %s", drive->why.text);
    for (size_t i = 0; i < names.count; i++)
        *known |= strcmp(names.at[i], name) == 0;
    queue_names_free(&names);
    return true;
}

bool drive_go_on_moving(struct drive *drive)
{
    struct model_ground *ground = drive->ground;
    struct moved moved;
    struct queue *command = drive->handle[ground->at % DRIVE_HANDLES];
    bool known = true;
    if (drive->engine->is_a_server && !knows(drive, command, ground->from_name, &known))
        return false;
    if (known && !queue_move(command, ground->from_name, drive->name[ground->to], &moved, &drive->why))
        return drive_fail(drive, "queue_move: %s", drive->why.text);
    if (ground->from != ground->to)
        model_move(&ground->now, ground->from, ground->to);
    ground->moving = false;
    return drive_matches_now(drive);
}

bool drive_move(struct drive *drive, const struct model_step *step)
{
    struct model_ground *ground = drive->ground;
    size_t from = step->a % MODEL_SOURCES, to = step->b % MODEL_SOURCES;
    if (from == to || ground->now.source[from].count + ground->now.source[to].count > MODEL_WAITING)
        return true;
    ground->from = from;
    ground->to = to;
    snprintf(ground->from_name, sizeof ground->from_name, "%s", drive->name[from]);
    ground->moving = true;
    return drive_go_on_moving(drive);
}

/* Another name in the configuration, and then `queue move`. A backup has the old one. */
bool drive_rename(struct drive *drive, const struct model_step *step)
{
    struct model_ground *ground = drive->ground;
    size_t source = step->a % MODEL_SOURCES;
    drive_close(drive);
    ground->has_saved = false;
    ground->from = ground->to = source;
    snprintf(ground->from_name, sizeof ground->from_name, "%s", drive->name[source]);
    ground->moving = true;
    model_rename(&ground->now, source);
    return drive_open(drive) && drive_go_on_moving(drive);
}

/* ---- backups ---- */

static void backup_path(const struct drive *drive, char path[PATH_SIZE])
{
    char name[32];
    snprintf(name, sizeof name, "backup-%u", drive->ground->backups);
    path_join(path, drive->ground->directory, name);
}

bool drive_backup(struct drive *drive, const struct model_step *step)
{
    struct model_ground *ground = drive->ground;
    char path[PATH_SIZE];
    if (!drive_matches_now(drive)) /* so that each event in the backup was seen, with its id */
        return false;
    backup_path(drive, path);
    unlink(path);
    ground->has_saved = false;
    ground->backups++;
    backup_path(drive, path);
    if (!queue_backup(drive->handle[step->a % DRIVE_HANDLES], path, NULL, clock_unix_ms(), &drive->why))
        return drive_fail(drive, "queue_backup: %s", drive->why.text);
    model_copy(&ground->saved, &ground->now);
    ground->has_saved = true;
    return true;
}

static bool put_back(struct drive *drive)
{
    char path[PATH_SIZE];
    backup_path(drive, path);
    struct backup *backup = backup_open(path, &drive->why);
    bool good =
        backup != NULL && backup_build(backup, drive->state, &drive->why) && backup_commit(drive->state, &drive->why);
    backup_close(backup);
    return good || drive_fail(drive, "a backup is not put back: %s", drive->why.text);
}

/* Into a state directory whose queue has no events, or refused. */
static bool restore_over(struct drive *drive)
{
    struct model_ground *ground = drive->ground;
    bool busy = false, may = model_may_restore(&ground->now);
    int lock = backup_lock(drive->state, &busy, &drive->why);
    if (lock >= 0 || !busy)
        return drive_fail(drive, "a state directory in use may be restored: %s", drive->why.text);
    drive_close(drive);
    lock = backup_lock(drive->state, &busy, &drive->why);
    if ((lock >= 0) != may)
        return drive_fail(drive, "whether a backup may be put back: %d: %s", lock >= 0, drive->why.text);
    bool good = !may || put_back(drive);
    if (lock >= 0)
        close(lock);
    if (good && may)
        model_restore_over(&ground->now, &ground->saved);
    return good;
}

/* Where the state directory was moved aside. */
static bool restore_anew(struct drive *drive)
{
    bool busy = false;
    drive_close(drive);
    temporary_remove(drive->state);
    int lock = backup_lock(drive->state, &busy, &drive->why);
    if (lock < 0)
        return drive_fail(drive, "backup_lock: %s", drive->why.text);
    bool good = put_back(drive);
    close(lock);
    model_restore_anew(&drive->ground->now, &drive->ground->saved);
    return good;
}

bool drive_restore(struct drive *drive, const struct model_step *step)
{
    if (!drive->ground->has_saved)
        return true;
    if (step->a % 4 == 0 && !drive_drain(drive))
        return false;
    bool anew = step->a % 3 == 0 || model_has_counted_enough(&drive->ground->now);
    if (!(anew ? restore_anew(drive) : restore_over(drive)))
        return false;
    return drive_open(drive) && drive_claim(drive, step->b % DRIVE_HANDLES) && drive_matches_now(drive);
}

/* ---- repair, time ---- */

/* What a repair keeps of the files from before would fill the disk. */
static void remove_kept(const struct drive *drive)
{
    char path[PATH_SIZE];
    DIR *listing = opendir(drive->state);
    for (const struct dirent *entry; listing != NULL && (entry = readdir(listing)) != NULL;) {
        if (strncmp(entry->d_name, "damaged-", 8) != 0)
            continue;
        path_join(path, drive->state, entry->d_name);
        temporary_remove(path);
    }
    if (listing != NULL)
        closedir(listing);
}

bool drive_repair(struct drive *drive, const struct model_step *step)
{
    struct loss loss;
    bool any = false;
    (void)step;
    drive_close(drive);
    drive->engine->damage(drive->state);
    if (!drive_open(drive))
        return false;
    remove_kept(drive);
    for (size_t i = 0; i < MODEL_SOURCES; i++) {
        if (!loss_read(drive->state, drive->name[i], &loss, &any, &drive->why) || any)
            return drive_fail(drive, "a repair of what is whole has lost of %s: %s", drive->name[i], loss.words);
    }
    return drive_matches_now(drive);
}

bool drive_pass(struct drive *drive, const struct model_step *step)
{
    bool good = true;
    for (uint32_t i = 0; i <= step->b % 3 && good; i++) {
        drive_close(drive);
        model_pass(&drive->ground->now);
        good = reopen(drive) && drive_claim(drive, step->a % DRIVE_HANDLES);
    }
    return good;
}
