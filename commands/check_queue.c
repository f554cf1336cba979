/* The queue, as `check` sees it: see check_queue.h. */
#include "commands/check_queue.h"

#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "commands/overview.h"
#include "commands/plain.h"
#include "commands/state.h"
#include "commands/when.h"

#define SLOW_MS INT64_C(60000) /* an event that waits longer is told of */
#define PATH_ROOM 4096

/* ---- the directory ---- */

/* File systems that other machines may share, where the queue does without a write-ahead log. */
static const struct {
    long type;
    const char *name;
} remote[] = {
    {0x6969, "NFS"},       {0xff534d42, "CIFS"}, {0xfe534d42, "SMB"},    {0x517b, "SMB"},
    {0x01021997, "9p"},    {0x65735546, "FUSE"}, {0x00c36400, "Ceph"},   {0x5346414f, "AFS"},
    {0x7461636f, "OCFS2"}, {0x01161970, "GFS2"}, {0x0bd00bd0, "Lustre"},
};

static void print_file_system(const char *directory)
{
    struct statfs status;
    if (statfs(directory, &status) != 0)
        return;
    for (size_t i = 0; i < sizeof remote / sizeof *remote; i++) {
        if (((long)status.f_type & 0xffffffffL) == remote[i].type)
            printf("  file system: %s, which other machines may use: the queue does without a write-ahead log there\n"
                   "    (SQLite's mode TRUNCATE), which is safe and slower. Only one machine may use this state\n"
                   "    directory; a local disk is better\n",
                   remote[i].name);
    }
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
    if (!S_ISDIR(status->st_mode)) {
        printf("  WRONG: it is no directory\n");
        return false;
    }
    if (geteuid() != 0 && status->st_uid != geteuid()) {
        printf("  WRONG: it belongs to user %u, and this runs as user %u: chown -R %u '%s'\n", (unsigned)status->st_uid,
               (unsigned)geteuid(), (unsigned)geteuid(), directory);
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
        print_file_system(config->state_dir);
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
        printf("  %s: %s (%s ago)\n", label, when_print(ms, date), when_print_age(now_ms - ms, age));
}

/* Events of a source that is not configured wait for ever, but for an operator. */
static size_t check_source(const struct overview_source *source)
{
    size_t wrong = 0;
    if (!source->configured && source->counts.waiting > 0) {
        printf("  WRONG: %" PRIu64 " events wait for source %s, which is not in the configuration: configure it again, "
               "or give\n    them to another: closecrm.fcgi queue move %s NEW\n",
               source->counts.waiting, source->name, source->name);
        wrong++;
    }
    if (source->configured && source->notes.operator_must_act) {
        printf("  WRONG: source %s cannot be delivered until somebody acts: ", source->name);
        plain_column(stdout, source->notes.reason, 0);
        putchar('\n');
        wrong++;
    } else if (source->configured && source->counts.waiting > 0 && source->notes.tries > 0) {
        printf("  source %s: %u attempts failed, it is tried again by itself; the last: ", source->name,
               (unsigned)source->notes.tries);
        plain_column(stdout, source->notes.reason, 0);
        putchar('\n');
    }
    if (source->counts.dead > 0)
        printf("  %" PRIu64 " dead letters of source %s: `closecrm.fcgi dead list --source %s` says why; once that is "
               "mended,\n    `closecrm.fcgi dead replay --source %s`\n",
               source->counts.dead, source->name, source->name, source->name);
    return wrong;
}

static size_t check_waiting(const struct overview *overview)
{
    char age[WHEN_SIZE];
    int64_t waits_ms = overview->all.waiting == 0 ? 0 : overview->now_ms - overview->all.oldest_received_ms;
    printf("  waiting: %" PRIu64, overview->all.waiting);
    if (overview->all.waiting > 0)
        printf(", the oldest since %s", when_print_age(waits_ms, age));
    printf("\n  forwarding: %s\n", overview->forwarder.text);
    if (overview->forwarding || waits_ms < SLOW_MS)
        return 0;
    printf("  WRONG: events wait and nothing forwards them: start the program (the web server does at the next event), "
           "or run\n    `closecrm.fcgi cron` every minute from the crontab of its user\n");
    return 1;
}

static size_t print_overview(const struct overview *overview)
{
    size_t wrong = check_waiting(overview);
    print_moment("last accepted", overview->all.last_accepted_ms, overview->now_ms);
    print_moment("last delivered", overview->all.last_delivered_ms, overview->now_ms);
    print_moment("last cron", overview->last_cron_ms, overview->now_ms);
    for (size_t i = 0; i < overview->names.count; i++)
        wrong += check_source(&overview->source[i]);
    return wrong;
}

/* Gathers all and lets go of the queue before anything is printed. */
static bool gather(const struct config *config, struct overview *overview, struct why *why)
{
    struct queue *queue = queue_open(config, why);
    bool good = queue != NULL && overview_gather(overview, queue, config, why);
    queue_close(queue);
    return good;
}

size_t check_queue(const struct config *config)
{
    struct overview overview = {.source = NULL};
    struct why why = {""};
    size_t wrong = 0;
    switch (state_take_on_owner(config, &why)) {
    case STATE_NONE:
        return 0;
    case STATE_MISSING:
        printf("\nstate directory %s\n  %s\n", config->state_dir, why.text);
        return 0;
    case STATE_BARRED:
        printf("\nstate directory %s\n  WRONG: %s\n", config->state_dir, why.text);
        return 1;
    case STATE_THERE:
        break;
    }
    wrong = check_state_directory(config);
    if (wrong == 0 && gather(config, &overview, &why)) {
        wrong = print_overview(&overview);
    } else if (wrong == 0) {
        printf("  WRONG: %s\n", why.text);
        wrong = 1;
    }
    overview_free(&overview);
    return wrong;
}
