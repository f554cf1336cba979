/* Repairing a damaged database, and reporting what could not be read: see recovery.h. */
#include "queue/sqlite/recovery.h"

#include "base/clock.h"
#include "base/files.h"
#include "base/log.h"
#include "base/times.h"
#include "config/config.h"
#include "queue/inspect.h"
#include "queue/sqlite/database.h"
#include "queue/sqlite/files.h"
#include "queue/sqlite/salvage.h"
#include "queue/sqlite/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* Writes "2026-11-24T20:45:06.123Z", or `otherwise` for an unknown time. Returns out. */
static const char *moment_of(int64_t ms, const char *otherwise, char out[static DATE_PRINTED])
{
    if (ms > 0)
        return times_print_ms(ms, DATE_Z_MILLISECONDS, out);
    snprintf(out, DATE_PRINTED, "%s", otherwise);
    return out;
}

/* "12 events (ids 5 to 16), received between ... and ..., could not be read" */
static void describe_unreadable(const struct unreadable *gone, const char *what, char *out, size_t size)
{
    char from[DATE_PRINTED], until[DATE_PRINTED];
    snprintf(out, size, "up to %zu %s (ids %lld to %lld%s), received between %s and %s, could not be read",
             gone->numbers, what, (long long)gone->first, (long long)gone->last,
             gone->ranges > 1 ? ", with readable ones between" : "", moment_of(gone->from_ms, "the beginning", from),
             moment_of(gone->until_ms, "the repair", until));
}

/* Describes which events a source has lost; empty when none. */
static void describe_events(const struct salvaged *salvaged, const struct salvaged_source *source, char *out,
                            size_t size)
{
    const struct unreadable *gone = &source->gone;
    size_t most = gone->numbers;
    out[0] = '\0';
    if (most > 0)
        describe_unreadable(gone, "events", out, size);
    else if (salvaged->letters.numbers > 0)
        describe_unreadable(&salvaged->letters, "dead letters of all sources", out, size);
    size_t used = strlen(out);
    unsigned long long traceless = gone->not_accounted > most ? gone->not_accounted - most : 0;
    if (traceless > 0)
        snprintf(out + used, size - used, "%s%llu%s event%s missing without a trace", used > 0 ? ", and " : "",
                 traceless, used > 0 ? " more" : "", traceless == 1 ? " is" : "s are");
    else if (used == 0 && salvaged->whole_tables_lost)
        snprintf(out, size, "what could not be read may have been events");
}

/* When the first event that a source may have lost was received (Unix time, ms); 0: from the beginning. When nothing is
 * lost, until_ms. */
static int64_t first_lost(const struct salvaged *salvaged, const struct salvaged_source *source, int64_t until_ms)
{
    const struct unreadable *gone = &source->gone;
    bool any = gone->numbers > 0 || salvaged->letters.numbers > 0;
    int64_t from_ms = gone->numbers > 0 ? gone->from_ms : until_ms;
    if (salvaged->letters.numbers > 0 && salvaged->letters.from_ms < from_ms)
        from_ms = salvaged->letters.from_ms;
    bool anywhere =
        gone->not_accounted > gone->numbers || (!any && salvaged->whole_tables_lost) || salvaged->names_lost;
    return anywhere ? 0 : from_ms;
}

/* Determines a source's loss from the salvage; loss->until_ms is set. Returns whether there is any. */
static bool judge_loss(const struct salvaged *salvaged, const struct salvaged_source *source, struct loss *loss)
{
    char events[236], rest[120] = "";
    describe_events(salvaged, source, events, sizeof events);
    loss->from_ms = first_lost(salvaged, source, loss->until_ms);
    loss->identities_kept = source->identities == 0 && salvaged->journal == 0 && !salvaged->names_lost;
    bool identities_gone = source->identities > 0 || salvaged->journal > 0;
    if (!loss->identities_kept && !identities_gone)
        snprintf(rest, sizeof rest, "%snames of sources were damaged: what was delivered may stand under another one",
                 events[0] != '\0' ? "; " : "");
    if (identities_gone)
        snprintf(rest, sizeof rest, "%sof what was delivered, %.3g %% and %zu single identit%s could not be read",
                 events[0] != '\0' ? "; " : "", 100 * source->identities, salvaged->journal,
                 salvaged->journal == 1 ? "y" : "ies");
    snprintf(loss->words, sizeof loss->words, "the database was damaged and is repaired: %s%s", events, rest);
    return events[0] != '\0' || !loss->identities_kept;
}

static bool note_loss(const char *directory, const char *source, const struct loss *loss, struct error *why)
{
    char from[DATE_PRINTED], until[DATE_PRINTED], quoted[LOG_QUOTED];
    log_write(LEVEL_ERROR,
              "msg=events_lost source=%s received_from=\"%s\" received_until=\"%s\" identities=%s reason=%s", source,
              moment_of(loss->from_ms, "the beginning", from), moment_of(loss->until_ms, "now", until),
              loss->identities_kept ? "kept" : "lost", log_quote_reason(quoted, loss->words));
    return loss_note(directory, source, loss, why);
}

static const struct salvaged_source *find_salvaged(const struct salvaged *salvaged, const char *name)
{
    for (size_t i = 0; i < salvaged->count; i++) {
        if (strcmp(salvaged->source[i].name, name) == 0)
            return &salvaged->source[i];
    }
    return NULL;
}

/* Records a loss for configured sources of which nothing was found although the names were unreadable. */
static bool note_nameless(const char *directory, const struct config *config, const struct salvaged *salvaged,
                          struct error *why)
{
    bool good = true;
    for (size_t i = 0; salvaged->names_lost && i < config->sources && good; i++) {
        const char *name = config->source[i].name;
        struct loss loss = {.until_ms = clock_unix_ms()};
        if (salvaged->count == 1)
            snprintf(loss.words, sizeof loss.words,
                     "the database was damaged and is repaired: the names of the sources could not be read; what "
                     "waited is kept under source %.60s (closecrm.fcgi queue move %.60s %.60s)",
                     salvaged->source[0].name, salvaged->source[0].name, name);
        else if (salvaged->count > 1)
            snprintf(
                loss.words, sizeof loss.words,
                "the database was damaged and is repaired: names of sources could not be read; what waited is kept "
                "under made-up ones that `closecrm.fcgi queue status` shows: find out which is %.60s by "
                "`closecrm.fcgi queue list --source NAME`, and give it back by `closecrm.fcgi queue move NAME %.60s`",
                name, name);
        else
            snprintf(loss.words, sizeof loss.words,
                     "the database was damaged: nothing of it could be read, of source %.60s as of others; the damaged "
                     "files are kept in damaged-TIME",
                     name);
        good = find_salvaged(salvaged, name) != NULL || note_loss(directory, name, &loss, why);
    }
    return good;
}

/* Logs and records each source's loss, if any. Returns false with the reason when it cannot be recorded. */
static bool damages_note(const char *directory, const struct config *config, const struct salvaged *salvaged,
                         struct error *why)
{
    size_t events = 0, unreadable = salvaged->letters.numbers + salvaged->journal;
    bool any = salvaged->names_lost, good = true;
    for (size_t i = 0; i < salvaged->count && good; i++) {
        const struct salvaged_source *source = &salvaged->source[i];
        struct loss loss = {.until_ms = clock_unix_ms()};
        bool lost = judge_loss(salvaged, source, &loss);
        if (lost)
            good = note_loss(directory, source->name, &loss, why);
        any = any || lost;
        events += source->events;
        unreadable += source->gone.numbers;
    }
    good = good && note_nameless(directory, config, salvaged, why);
    log_write(LEVEL_ERROR, "msg=queue_repaired rows=%zu waiting=%zu unreadable=%zu advice=\"%s\"", salvaged->rows,
              events, unreadable, any ? "some could not be read: the damaged files are kept" : "nothing was lost");
    return good;
}

/* The same where the whole database is missing. */
static bool damages_note_missing(const char *directory, const struct config *config, struct error *why)
{
    bool good = true;
    for (size_t i = 0; i < config->sources && good; i++) {
        struct loss loss = {.until_ms = clock_unix_ms(),
                            .words = "the queue's database was gone, and a new one is made"};
        good = note_loss(directory, config->source[i].name, &loss, why);
    }
    return good;
}

#define BUILDING "repairing" /* the new database is being built in it */
#define BUILT "repaired"     /* renamed to this when complete */
#define NEW_NAME "new.db"
#define MARGIN_BYTES (8LL * 1024 * 1024)
#define NAMES_MOST 1000 /* repairs within one second */

/* Database, log, the log's index and rollback journal: kept together. */
static const char *const files[] = {"queue.db", "queue.db-wal", "queue.db-shm", "queue.db-journal"};
#define FILES (sizeof files / sizeof *files)

static bool repair_cannot(struct error *why, const char *what, const char *path)
{
    error_set(why, "cannot %s %.300s: %s", what, path, strerror(errno));
    return false;
}

bool repair_is_due(const char *directory)
{
    return damage_is_marked(directory) || directory_has(directory, BUILT);
}

/* ---- before: disk space, and the directory to build in ---- */

static long long size_of(const char *directory, const char *name)
{
    char path[STATE_PATH];
    struct stat status;
    directory_path(path, directory, name);
    return stat(path, &status) == 0 ? (long long)status.st_size : 0;
}

/* Whether there is space for the old and the new database. Checked before, as filling the disk would harm more than a
 * later repair. */
static bool has_room(const char *directory, int copies, struct error *why)
{
    struct statvfs status;
    if (statvfs(directory, &status) != 0)
        return true; /* then writing decides */
    long long need = copies * (size_of(directory, "queue.db") + size_of(directory, "queue.db-wal")) + MARGIN_BYTES;
    long long room = (long long)status.f_bavail * (long long)status.f_frsize;
    if (room >= need)
        return true;
    error_set(why,
              "the queue in %.200s is damaged, and its repair needs room for %s: %lld MiB, and there are %lld: "
              "make room on that disk, and it goes on by itself; nothing was touched",
              directory, copies > 1 ? "two more" : "a second one", need / (1024 * 1024) + 1, room / (1024 * 1024));
    return false;
}

/* Removes a directory of the repair with its files. */
static bool remove_directory(const char *path, struct error *why)
{
    char name[STATE_PATH + 300];
    DIR *listing = opendir(path);
    if (listing == NULL)
        return errno == ENOENT || repair_cannot(why, "look into", path);
    for (const struct dirent *entry; (entry = readdir(listing)) != NULL;) {
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlink(name);
    }
    closedir(listing);
    return rmdir(path) == 0 || repair_cannot(why, "remove", path);
}

/* ---- building ---- */

/* SQLite has closed the file: this process holds no lock on it that closing could drop. */
static bool sync_file(const char *path, struct error *why)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    bool good = fd >= 0 && fsync(fd) == 0;
    if (!good)
        repair_cannot(why, "sync", path);
    if (fd >= 0)
        good = close(fd) == 0 && good;
    return good;
}

/* Whether there is only the database: no other file would be moved into place with it. */
static bool is_single(const char *building, struct error *why)
{
    if (size_of(building, NEW_NAME "-wal") == 0 && size_of(building, NEW_NAME "-journal") == 0)
        return true;
    error_set(why, "the new database in %.300s was not closed as one file", building);
    return false;
}

/* Salvages the old database, or where its first page is lost a copy with a new one. */
static bool salvage(const char *directory, const char *building, const char *new_path, struct salvaged *salvaged,
                    struct error *why)
{
    char old_path[STATE_PATH], copy_path[STATE_PATH];
    bool copied = false, good = true;
    directory_path(old_path, directory, "queue.db");
    if (!salvage_has_schema(old_path))
        good =
            has_room(directory, 2, why) && salvage_make_schema(old_path, new_path, building, copy_path, &copied, why);
    good = good && salvage_copy(copied ? copy_path : old_path, new_path, salvaged, why);
    salvage_remove_copy(building);
    return good;
}

static bool build_in(const char *directory, const char *building, const struct config *config, struct error *why)
{
    char new_path[STATE_PATH];
    struct salvaged salvaged = {.count = 0};
    directory_path(new_path, building, NEW_NAME);
    if (schema_make_file(building, NEW_NAME, why) != DATABASE_DONE)
        return false;
    bool good = salvage(directory, building, new_path, &salvaged, why) && is_single(building, why) &&
                sync_file(new_path, why) && files_sync(building, why) &&
                damages_note(directory, config, &salvaged, why);
    salvaged_free(&salvaged);
    return good;
}

/* Builds the new database and ends with the rename by which the repair takes effect. */
static bool build_repaired(const char *directory, const struct config *config, struct error *why)
{
    char building[STATE_PATH], built[STATE_PATH];
    struct error ignored;
    directory_path(building, directory, BUILDING);
    directory_path(built, directory, BUILT);
    if (!remove_directory(building, why) || !has_room(directory, 1, why))
        return false;
    log_write(LEVEL_ERROR, "msg=queue_repair_begins state_dir=\"%s\" bytes=%lld", directory,
              size_of(directory, "queue.db") + size_of(directory, "queue.db-wal"));
    if (mkdir(building, 0700) != 0)
        return repair_cannot(why, "make", building);
    bool good = build_in(directory, building, config, why);
    if (good && rename(building, built) != 0)
        good = repair_cannot(why, "rename", building);
    if (!good)
        remove_directory(building, &ignored);
    return good && files_sync(directory, why);
}

/* ---- after: putting the new database in place ---- */

/* Moves the old files away; each may have been moved before a crash. */
static bool move_old(const char *directory, const char *built, struct error *why)
{
    char from[STATE_PATH], to[STATE_PATH];
    if (directory_has(directory, files[0]) && directory_has(built, files[0])) {
        error_set(why,
                  "there are two old databases, queue.db in %.150s and in its folder " BUILT
                  ": an older release was started in the middle of a repair; move that folder elsewhere, keep it, and "
                  "start again",
                  directory);
        return false;
    }
    for (size_t i = 0; i < FILES; i++) {
        directory_path(from, directory, files[i]);
        directory_path(to, built, files[i]);
        if (rename(from, to) != 0 && errno != ENOENT)
            return repair_cannot(why, "move", from);
    }
    return files_sync(built, why) && files_sync(directory, why);
}

/* Renames `repaired` to damaged-TIME, and if that is taken to damaged-TIME-2 and so on. */
static bool keep_old(const char *directory, const char *built, struct error *why)
{
    char day[40], name[64], kept[STATE_PATH];
    time_t now = time(NULL);
    struct tm parts;
    gmtime_r(&now, &parts);
    strftime(day, sizeof day, "damaged-%Y%m%dT%H%M%SZ", &parts);
    snprintf(name, sizeof name, "%s", day);
    for (int n = 2; directory_has(directory, name) && n < NAMES_MOST; n++)
        snprintf(name, sizeof name, "%s-%d", day, n);
    directory_path(kept, directory, name);
    if (rename(built, kept) != 0)
        return repair_cannot(why, "rename", built);
    log_write(LEVEL_ERROR,
              "msg=queue_moved_aside to=\"%s\" reason=\"it was damaged; what could be read of it is in the "
              "new one\"",
              kept);
    return files_sync(directory, why);
}

static bool swap(const char *directory, struct error *why)
{
    char built[STATE_PATH], fresh[STATE_PATH], path[STATE_PATH];
    directory_path(built, directory, BUILT);
    directory_path(fresh, built, NEW_NAME);
    directory_path(path, directory, files[0]);
    if (directory_has(built, NEW_NAME)) {
        if (!move_old(directory, built, why))
            return false;
        if (rename(fresh, path) != 0)
            return repair_cannot(why, "move", fresh);
        if (!files_sync(directory, why) || !files_sync(built, why))
            return false;
    }
    damage_unmark(directory);
    return files_sync(directory, why) && keep_old(directory, built, why);
}

/* ---- all of it ---- */

bool repair_run(const char *directory, const struct config *config, struct error *why)
{
    char quoted[LOG_QUOTED];
    bool good = true;
    if (!directory_has(directory, BUILT)) {
        if (!damage_is_marked(directory))
            return true; /* another process was faster */
        if (!directory_has(directory, files[0])) {
            damage_unmark(directory); /* nothing to repair: a new database is created */
            return true;
        }
        good = build_repaired(directory, config, why);
    }
    good = good && swap(directory, why);
    if (!good)
        log_write(LEVEL_ERROR, "msg=queue_not_repaired state_dir=\"%s\" reason=%s", directory,
                  log_quote_reason(quoted, why->text));
    return good;
}

/* Whether there are files that a queue leaves in its directory once it has run. */
static bool has_traces(const char *directory)
{
    static const char *const traces[] = {"delivered", "clock", "reserve", "forward.lock"};
    for (size_t i = 0; i < sizeof traces / sizeof *traces; i++) {
        if (directory_has(directory, traces[i]))
            return true;
    }
    return false;
}

/* ---- A missing database may have been removed under a process that still has it open, and is about to save it. While
 * one forwards it is only marked as missing: either what it held is merged then (missing_unmark), or it is noted
 * as lost once nobody forwards any more. ---- */

/* Under the writers' lock. */
static bool note_or_mark(const char *directory, const struct config *config, struct error *why)
{
    bool is_gone = schema_is_missing(directory), is_marked = missing_is_marked(directory);
    if (!is_gone && !is_marked)
        return true; /* another process was faster */
    if (store_is_claimed(directory))
        return is_marked || missing_mark(directory, why);
    if (!is_gone)
        return repair_end_missing(directory, config, why);
    return damages_note_missing(directory, config, why);
}

bool repair_note_missing(const char *directory, const struct config *config, struct error *why)
{
    bool is_gone = schema_is_missing(directory) && has_traces(directory);
    if (!is_gone && !missing_is_marked(directory))
        return true;
    int lock = directory_open(directory, "write.lock", why);
    if (lock < 0)
        return false;
    bool good = flock(lock, LOCK_EX) == 0 || repair_cannot(why, "lock", directory);
    good = good && note_or_mark(directory, config, why);
    close(lock);
    return good;
}

bool repair_end_missing(const char *directory, const struct config *config, struct error *why)
{
    if (!missing_is_marked(directory) || rescue_is_due(directory))
        return true;
    bool good = damages_note_missing(directory, config, why);
    if (good)
        missing_unmark(directory);
    return good;
}
