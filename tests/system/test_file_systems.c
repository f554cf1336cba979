/* What no CI machine must have: file systems of their own kinds, really mounted from images, and full: the disk, or a
 * quota. Run by `make test-hosts`, as root. What this kernel cannot mount is said, and counted by no one as a success.
 */
#include "tests/suites.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/event.h"
#include "tests/support/looked.h"
#include "tests/support/signature.h"

#define LARGE 19300 /* bytes by which an event is larger: 20 KB */
#define MORE_THAN_FITS 6000
#define RESUMED_MS 30000
#define SOON_MS 3000
#define SAID_MS 10000

/* A kind of host. The commands are the shell's, with $0.image for the image, $1 for where it is mounted, and $2 for
 * the program's user. */
struct host {
    const char *name;
    const char *make;   /* the image, mounted; its failure: this machine has none of that */
    const char *fill;   /* until little is left */
    const char *relent; /* there is room again */
    const char *words;  /* of the log, when it is full */
    bool wal;
};

static const struct host hosts[] = {
    {"ext4, full", "truncate -s 200M $0.image && mkfs.ext4 -q -m 0 $0.image && mount -o loop $0.image $1",
     "fallocate -l 110M $1/other", "rm $1/other", "the disk is full", true},
    {"ext4, a quota",
     "truncate -s 400M $0.image && mkfs.ext4 -q -O quota -E quotatype=usrquota $0.image && "
     "mount -o loop,usrquota $0.image $1 && setquota -u $2 0 60000 0 0 $1",
     "true", "setquota -u $2 0 300000 0 0 $1", "the quota is used up", true},
    {"xfs, full", "truncate -s 330M $0.image && mkfs.xfs -q $0.image && mount -o loop $0.image $1",
     "fallocate -l 160M $1/other", "rm $1/other", "the disk is full", true},
    {"btrfs, full", "truncate -s 500M $0.image && mkfs.btrfs -q $0.image && mount -o loop $0.image $1",
     "dd if=/dev/urandom of=$1/other bs=1M count=350 status=none; sync -f $1",
     "rm $1/other && { sync -f $1; true; }", /* that reports, once, whose write it was that found no room before */
     "the disk is full", false},
    {"btrfs, a quota",
     "truncate -s 800M $0.image && mkfs.btrfs -q $0.image && mount -o loop $0.image $1 && "
     "btrfs quota enable $1 && btrfs qgroup limit 60M $1",
     "true", "btrfs qgroup limit none $1", "the quota is used up", false},
};

/* Runs a command with the host's variables. Returns whether it succeeded. What it prints is thrown away. */
static bool run(const struct site *site, const char *command)
{
    char state[PATH_SIZE], child[16];
    const char *const arguments[] = {"sh", "-c", command, site->directory, state, child, NULL};
    path_join(state, site->directory, "state");
    snprintf(child, sizeof child, "%u", (unsigned)user_of_children().uid);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
        dup2(nothing, STDOUT_FILENO);
        dup2(nothing, STDERR_FILENO);
        execvp(arguments[0], (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    int status = -1;
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/* Shorter than the silence after which the program sends again what the stand-in may have stored. */
static const struct standin_fault holding = {
    .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .status = 503, .delay_ms = 10000};

static int send_event(struct site *site, const char *prefix)
{
    char id[64];
    struct event_text event = {.body = {.data = NULL}};
    struct client_answer answer;
    snprintf(id, sizeof id, "%s_%lld", prefix, (long long)clock_now());
    event_make(&event, &(struct event_options){.id = id});
    struct signature signature = signature_make(ALPHA_SIGNATURE_KEY, event_body(&event), 0);
    struct client_request request = {
        .url = site->url, .headers = {signature.hash, signature.timestamp}, .body = event_body(&event)};
    client_send(site->client, &request, &answer);
    event_free(&event);
    return answer.status;
}

static void check_resumes(struct site *site)
{
    moment begin = clock_now();
    int status = 0;
    while (status != 200 && clock_now() - begin < RESUMED_MS) {
        status = send_event(site, "resumed");
        poll(NULL, 0, 50);
    }
    int64_t took = clock_now() - begin;
    check(status == 200 && took < SOON_MS, "events are taken again after %lld ms: %d", (long long)took, status);
    printf("(again after %lld ms) ", (long long)took);
}

static bool says(struct site *site, const char *path, const char *words)
{
    struct buffer page = {0};
    looked_get(site, path, &page);
    bool said = page.data != NULL && strstr(page.data, words) != NULL;
    buffer_free(&page);
    return said;
}

/* The page and health say that nothing is accepted, and why. At the edge an event may fit in between. */
static void check_said(struct site *site, const char *words)
{
    bool health = false, page = false;
    for (moment deadline = clock_now() + SAID_MS; (!health || !page) && clock_now() < deadline; poll(NULL, 0, 20)) {
        send_event(site, "refused");
        /* Without a log a journal may be left that needs room to be rolled back: until then nobody can read. */
        health = health || says(site, "/healthz", words) || says(site, "/healthz", "the queue does not work");
        page = page || says(site, "/status?format=json", words);
    }
    check(health, "health says it");
    check(page, "the page says it");
}

static bool open_on(struct site *site, const struct host *host)
{
    char state[PATH_SIZE];
    if (!durable_open(site, &setup_lighttpd_spawn, LOOKED_CONFIG))
        return false;
    path_join(state, site->directory, "state");
    process_stop(&site->program, 10000);
    temporary_remove(state);
    CU_ASSERT(temporary_directory(site->directory, "state"));
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 || !run(site, host->make)) {
        printf("NOT POSSIBLE HERE: this kernel or machine cannot mount it ");
        return false;
    }
    struct user user = user_of_children();
    CU_ASSERT_EQUAL(chown(state, user.uid, user.gid), 0);
    CU_ASSERT_EQUAL(chmod(state, 0700), 0);
    return durable_start_anew(site, durable_many("2"));
}

/* Two processes on one queue. All that fits is delivered while nothing is free, once, and nobody dies. */
static void fill_and_drain(struct site *site, const struct host *host)
{
    char log[PATH_SIZE];
    standin_fail(site->standin, &holding);
    CU_ASSERT(run(site, host->fill));
    struct load_options options = durable_load(site);
    options.count = MORE_THAN_FITS;
    options.filler = LARGE;
    struct load *load = load_start(&options);
    struct load_result result = load_finish(load);
    check(result.ok > 100 && result.ok < result.sent && result.other == 503, "%zu fit, the others get 503, not %d",
          result.ok, result.other);
    check(site_count_logged(site, host->words) > 0, "the log says: %s", host->words);
    check_said(site, host->words);
    path_join(log, site->directory, "state/queue.db-wal");
    check((access(log, F_OK) == 0) == host->wal, "the journal is the one for this file system");
    path_join(log, site->directory, "state/forward.lock");
    check(lock_find_holder(log).pid > 0, "who forwards can be named");
    standin_heal(site->standin);
    check(standin_wait_messages(site->standin, result.ok, 120000), "delivery goes on: %zu of %zu",
          standin_counts(site->standin).messages, result.ok);
    CU_ASSERT(durable_wait_empty(site, durable_patience(60000)));
    CU_ASSERT(run(site, host->relent));
    check_resumes(site);
    check(load_count_arrived(load, site->standin, 1) == result.ok, "each arrived once: %zu of %zu",
          load_count_arrived(load, site->standin, 1), result.ok);
    check(site_count_logged(site, "msg=died") == 0, "nobody has died");
    printf("(%zu fit) ", result.ok);
    load_free(load);
}

/* CLOSECRM_HOST: only those whose name has this text. */
static void on_host(const struct host *host)
{
    struct site site;
    const char *only = getenv("CLOSECRM_HOST");
    if (only != NULL && strstr(host->name, only) == NULL)
        return;
    if (open_on(&site, host))
        fill_and_drain(&site, host);
    durable_kill_all(&site);
    run(&site, "umount -l $1; rm -f $0.image");
    site_close(&site);
}

static void ext4_full(void)
{
    on_host(&hosts[0]);
}

static void ext4_quota(void)
{
    on_host(&hosts[1]);
}

static void xfs_full(void)
{
    on_host(&hosts[2]);
}

static void btrfs_full(void)
{
    on_host(&hosts[3]);
}

static void btrfs_quota(void)
{
    on_host(&hosts[4]);
}

void suite_file_systems(void)
{
    static CU_TestInfo tests[] = {
        {"ext4, full", ext4_full},   {"ext4, a quota", ext4_quota},   {"xfs, full", xfs_full},
        {"btrfs, full", btrfs_full}, {"btrfs, a quota", btrfs_quota}, CU_TEST_INFO_NULL,
    };
    suite_add_if_named("file_systems", NULL, NULL, tests);
}
