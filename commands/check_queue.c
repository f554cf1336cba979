/* The queue, as `check` sees it: see check_queue.h. */
#include "commands/check_queue.h"

#include "base/escape.h"
#include "base/owner.h"
#include "base/times.h"
#include "commands/overview.h"
#include "commands/session.h"
#include "forward/forward.h"
#include "telemetry/cron_mark.h"

#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define LATE_MS INT64_C(180000) /* what is due for longer should have been tried: cron comes every minute */
#define PATH_ROOM 4096

/* ---- the directory ---- */

struct file_system {
    long type;
    const char *name;
};

/* Those that other machines may share. */
static const struct file_system remote[] = {
    {0x6969, "NFS"},       {0xff534d42, "CIFS"}, {0xfe534d42, "SMB"},    {0x517b, "SMB"},
    {0x01021997, "9p"},    {0x65735546, "FUSE"}, {0x00c36400, "Ceph"},   {0x5346414f, "AFS"},
    {0x7461636f, "OCFS2"}, {0x01161970, "GFS2"}, {0x0bd00bd0, "Lustre"},
};

/* Those that write each block to a new place: a mapped file may find no room there, and end the program. */
static const struct file_system copying[] = {
    {0x9123683e, "btrfs"}, {0x2fc12fc1, "ZFS"}, {0xca451a4e, "bcachefs"}, {0x3434, "NILFS"}};

static const char *name_in(const struct file_system *table, size_t count, const char *directory)
{
    struct statfs status;
    for (size_t i = 0; statfs(directory, &status) == 0 && i < count; i++) {
        if (((long)status.f_type & 0xffffffffL) == table[i].type)
            return table[i].name;
    }
    return NULL;
}

/* Where the file system is not surely this machine's own, the queue does without a write-ahead log: once it was opened
 * there is none. */
static void print_file_system(const char *directory)
{
    char path[PATH_ROOM];
    const char *name = name_in(remote, sizeof remote / sizeof *remote, directory);
    const char *copies = name_in(copying, sizeof copying / sizeof *copying, directory);
    snprintf(path, sizeof path, "%s/queue.db-wal", directory);
    if (name == NULL && access(path, F_OK) == 0)
        return;
    if (copies != NULL) {
        printf(
            "  file system: %s: the queue does without a write-ahead log there (SQLite's mode TRUNCATE), for on a\n"
            "    full disk the log's mapped index would end the program; that is safe, and slower than ext4 or xfs\n",
            copies);
        return;
    }
    printf("  file system: %s: the queue does without a write-ahead log there (SQLite's mode TRUNCATE),\n"
           "    which is safe, and slower. Only one machine may use this state directory; a local disk is better\n",
           name == NULL ? "one that may be another machine's" : name);
}

static void print_library(const struct config *config)
{
    char library[QUEUE_LIBRARY];
    queue_library(config, library);
    printf("  library: %s. Nobody else may write or checkpoint the queue while it is in use: look only at a copy\n"
           "    made by `closecrm.fcgi backup`\n",
           library);
}

/* Whether the folder in which it is to be made is there, and this user may write there. */
static bool could_be_made(const char *directory)
{
    char folder[PATH_ROOM];
    snprintf(folder, sizeof folder, "%s", directory);
    const char *parent = dirname(folder);
    if (access(parent, W_OK | X_OK) == 0) {
        printf("  it does not exist yet: the program makes it when it starts\n");
        return true;
    }
    printf(
        "  WRONG: it does not exist, and cannot be made in %s: %s; make it, for the user as which the program runs\n",
        parent, strerror(errno));
    return false;
}

static bool is_good(const char *directory, const struct stat *status)
{
    struct error why = {0};
    if (!S_ISDIR(status->st_mode)) {
        printf("  WRONG: it is no directory\n");
        return false;
    }
    if (geteuid() != 0 && status->st_uid != geteuid()) {
        owner_error("the state directory", directory, status->st_uid, &why);
        printf("  WRONG: %s\n", why.text);
        return false;
    }
    if ((status->st_mode & 077) != 0) {
        printf("  WRONG: others can get into it, where events wait: chmod 700 '%s'\n", directory);
        return false;
    }
    return true;
}

size_t check_state_directory(const struct config *config)
{
    struct stat status;
    if (config->queue != QUEUE_SQLITE)
        return 0;
    printf("\nstate directory %s\n", config->state_dir);
    if (stat(config->state_dir, &status) == 0) {
        return is_good(config->state_dir, &status) ? 0 : 1;
    }
    if (errno == ENOENT)
        return could_be_made(config->state_dir) ? 0 : 1;
    printf("  WRONG: it cannot be looked at: %s\n", strerror(errno));
    return 1;
}

/* ---- what is in it ---- */

static void print_moment(const char *label, int64_t ms, int64_t now_ms)
{
    char date[WHEN_SIZE], age[WHEN_SIZE];
    if (ms == 0)
        printf("  %s: never\n", label);
    else
        printf("  %s: %s (%s ago)\n", label, times_print_utc(ms, date), times_print_age(now_ms - ms, age));
}

/* Whether the source's data plane was refusing, and was just found to take its key. */
static bool is_mended(const struct overview_source *source, const struct config *config, const bool *delivers)
{
    for (size_t i = 0; i < config->sources; i++) {
        if (strcmp(config->source[i].name, source->name) == 0)
            return delivers[i] && source->counts.waiting > 0 && source->notes.operator_must_act;
    }
    return false;
}

static void print_letters(const struct overview_source *source)
{
    char date[WHEN_SIZE];
    if (source->counts.dead > 0 && !source->configured)
        printf("  %" PRIu64 " dead letters of source %s, which is not in the configuration: `closecrm.fcgi dead list "
               "--source %s`\n    says why. To send them again configure it and replay them, or give them to another "
               "source:\n"
               "    closecrm.fcgi queue move %s NEW && closecrm.fcgi dead replay --source NEW\n",
               source->counts.dead, source->name, source->name, source->name);
    else if (source->counts.dead > 0)
        printf("  %" PRIu64 " dead letters of source %s: `closecrm.fcgi dead list --source %s` says why; once that is "
               "mended,\n    `closecrm.fcgi dead replay --source %s`\n",
               source->counts.dead, source->name, source->name, source->name);
    if (source->counts.ending > 0)
        printf("  %" PRIu64 " dead letters of source %s end from %s on (dead_retention): replay them, or keep a copy:\n"
               "    closecrm.fcgi backup FILE\n",
               source->counts.ending, source->name, times_print_utc(source->counts.ending_ms, date));
}

/* Events of a source that is not configured wait for ever, but for an operator. */
static size_t check_source(const struct overview_source *source, bool mended)
{
    size_t wrong = 0;
    if (!source->configured && source->counts.waiting > 0) {
        printf("  WRONG: %" PRIu64 " events wait for source %s, which is not in the configuration: configure it again, "
               "or give\n    them to another: closecrm.fcgi queue move %s NEW\n",
               source->counts.waiting, source->name, source->name);
        wrong++;
    }
    if (source->configured && source->counts.waiting > 0 && source->notes.operator_must_act) {
        printf("  WRONG: source %s cannot be delivered until somebody acts: ", source->name);
        plain_column(stdout, source->notes.reason, 0);
        puts(
            mended
                ? "\n    but just now the data plane takes the write key: the program was told to try again at once"
                : "\n    it is tried every 5 minutes, and as soon as the program takes on a changed configuration, or\n"
                  "    `closecrm.fcgi check` finds it mended");
        wrong++;
    } else if (source->configured && source->counts.waiting > 0 && source->notes.tries > 0) {
        printf("  source %s: %u attempts failed, it is tried again by itself; the last: ", source->name,
               (unsigned)source->notes.tries);
        plain_column(stdout, source->notes.reason, 0);
        putchar('\n');
    }
    if (source->configured && source->complete.lost) {
        printf("  WRONG: source %s: ", source->name);
        plain_column(stdout, source->complete.trouble, 0);
        putchar('\n');
        wrong++;
    }
    print_letters(source);
    return wrong;
}

/* Whether something should have been tried long ago. */
static bool is_late(const struct overview *overview)
{
    for (size_t i = 0; i < overview->names.count; i++) {
        const struct overview_source *source = &overview->source[i];
        int64_t due_ms = source->counts.oldest_received_ms;
        if (source->notes.next_ms > due_ms)
            due_ms = source->notes.next_ms;
        if (source->configured && source->counts.waiting > 0 && overview->now_ms - due_ms > LATE_MS)
            return true;
    }
    return false;
}

static size_t check_waiting(const struct overview *overview)
{
    char age[WHEN_SIZE];
    printf("  waiting: %" PRIu64, overview->all.waiting);
    if (overview->all.waiting > 0)
        printf(", the oldest since %s", times_print_age(overview->now_ms - overview->all.oldest_received_ms, age));
    printf("\n  forwarding: %s\n", overview->forwarder.text);
    const char *still = overview_stands_still(overview);
    if (still != NULL && !is_late(overview))
        printf("    %s\n", still);
    if (still == NULL || !is_late(overview))
        return 0;
    printf("  WRONG: events wait and nothing forwards them: start the program (the web server does at the next event), "
           "or run\n    `closecrm.fcgi cron` every minute from the crontab of its user\n");
    return 1;
}

static void print_cron(const char *directory, int64_t now_ms)
{
    struct cron_mark mark;
    char date[WHEN_SIZE], age[WHEN_SIZE];
    cron_mark_read(directory, &mark);
    if (mark.ran_ms == 0)
        printf(
            "  cron: never ran. Where the web server starts the program (CGI, mod_fcgid), `closecrm.fcgi cron` belongs "
            "into its\n    user's crontab, for every minute\n");
    else
        printf("  cron: ran %s (%s ago)\n", times_print_utc(mark.ran_ms, date),
               times_print_age(now_ms - mark.ran_ms, age));
}

static size_t print_overview(const struct overview *overview, const struct config *config, const bool *delivers)
{
    size_t wrong = check_waiting(overview);
    if (overview->no_room.text[0] != '\0') {
        printf("  WRONG: nothing new is accepted, and Close keeps its events meanwhile: %s\n", overview->no_room.text);
        wrong++;
    }
    if (overview->unsettled.text[0] != '\0') {
        printf(
            "  WRONG: nothing is forwarded, for it could not be noted as delivered, and would be sent again after each "
            "start:\n    %s\n",
            overview->unsettled.text);
        wrong++;
    }
    print_moment("last accepted", overview->all.last_accepted_ms, overview->now_ms);
    print_moment("last delivered", overview->all.last_delivered_ms, overview->now_ms);
    print_moment("last cron", overview->last_cron_ms, overview->now_ms);
    for (size_t i = 0; i < overview->names.count; i++)
        wrong += check_source(&overview->source[i], is_mended(&overview->source[i], config, delivers));
    if (overview->room.letters > overview->room.share)
        printf("  dead letters take %" PRIu64
               " MiB, more than their quarter of queue_max_bytes: they are kept, and events "
               "have the other\n    three quarters; `closecrm.fcgi dead drop` throws away those that you name\n",
               overview->room.letters >> 20);
    return wrong;
}

/* Tells the process that forwards, if anything was found mended. */
static void tell_mended(const struct config *config, const struct overview *overview, const bool *delivers,
                        struct queue *queue)
{
    bool mended = false;
    for (size_t i = 0; i < overview->names.count; i++)
        mended = mended || is_mended(&overview->source[i], config, delivers);
    if (mended && forward_mended(config))
        queue_wake(queue);
}

/* Gathers all and lets go of the queue before anything is printed. */
static bool gather(const struct config *config, struct overview *overview, const bool *delivers, struct error *why)
{
    struct queue *queue = queue_open(config, why);
    bool good = queue != NULL && overview_gather(overview, queue, config, why);
    if (good)
        tell_mended(config, overview, delivers, queue);
    queue_close(queue);
    return good;
}

/* The queue was `sqlite` before, and is `none` now. */
static size_t check_left_behind(const struct config *config)
{
    uint64_t waiting;
    struct error why = {0};
    bool known = queue_left_behind(config, &waiting, &why);
    if (known && waiting == 0)
        return 0;
    printf("\nstate directory %s\n", config->state_dir);
    if (!known) {
        printf(
            "  WRONG: there is a queue.db, which queue = none does not use, and what waits in it cannot be told: %s\n",
            why.text);
        return 1;
    }
    printf("  WRONG: %" PRIu64 " events wait in its queue.db, and with queue = none nothing delivers them: set\n"
           "    queue = sqlite until they are delivered, which `closecrm.fcgi queue status` shows\n",
           waiting);
    return 1;
}

size_t check_queue(const struct config *config, const bool *delivers, bool *stands_still)
{
    struct overview overview = {.source = NULL};
    struct error why = {0};
    size_t wrong = 0;
    *stands_still = false;
    switch (session_become_owner(config, &why)) {
    case SESSION_PLACE_NONE:
        return check_left_behind(config);
    case SESSION_PLACE_MISSING:
        printf("\nstate directory %s\n  %s\n", config->state_dir, why.text);
        return 0;
    case SESSION_PLACE_BARRED:
        printf("\nstate directory %s\n  WRONG: %s\n", config->state_dir, why.text);
        return 1;
    case SESSION_PLACE_READY:
        break;
    }
    wrong = check_state_directory(config);
    if (wrong == 0 && gather(config, &overview, delivers, &why)) {
        print_file_system(config->state_dir);
        print_library(config);
        wrong = print_overview(&overview, config, delivers);
        *stands_still = overview_stands_still(&overview) != NULL;
        print_cron(config->state_dir, overview.now_ms);
    } else if (wrong == 0) {
        printf("  WRONG: %s\n", why.text);
        wrong = 1;
    }
    overview_free(&overview);
    return wrong;
}
