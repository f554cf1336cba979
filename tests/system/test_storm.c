/* Everything at once, again and again, under load: processes killed, the data plane failing in every way, a limit on
 * what may be written that comes and goes as a quota does, reloads, an outside look into the database, the status page
 * polled, and events that only reconciling finds. What was answered 200 arrives, unaltered, and so does what is in
 * Close's Event Log; what arrives twice is what README says can. In CI a few rounds; `make test-storm ROUNDS=500` for
 * as many as one likes. */
#include "tests/suites.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/looked.h"
#include "tests/support/standin_close.h"
#include "tests/support/strict_json.h"

#define ROUNDS 12
#define LONGEST_MS 150     /* of a round, beside what its act takes */
#define LULL_ROUNDS 8      /* every so many rounds all is well until events are taken again */
#define TOLD_ROUNDS 50     /* every so many rounds it says how far it is */
#define ROUND_EVENTS 5000  /* more than can be sent in one */
#define QUOTA_BYTES "4096" /* no file may be written beyond this while the quota is used up */
#define LANES 4            /* as configured, as the next one */
#define BATCH_EVENTS 20
#define SETTLED_US (INT64_C(302) * 1000000) /* an event is read out of Close's log at that age */
#define UNDER_WAY_MS 30000 /* so long before its end the program may have sent what it has not noted yet */
#define LATE_MS 3000       /* so long after an end the stand-in may store what was sent before; a reload takes less */

struct storm {
    struct site site;
    unsigned random;
    struct load *load;
    struct standin_close *close;
    size_t gaps;   /* events that are in Close's Event Log only */
    moment *ended; /* when the program was ended before it could note what it had sent; so often: */
    size_t ends;
    moment reloaded; /* the last time; 0: never */
    bool full;       /* the quota is used up now */
    size_t kills, cuts, looks, pages, fulls;
    int64_t slowest_lull; /* ms until events were taken again */
};

static size_t rounds_wanted(void)
{
    const char *text = getenv("CLOSECRM_STORM_ROUNDS");
    return text != NULL && *text != '\0' ? strtoul(text, NULL, 10) : durable_share(ROUNDS);
}

static unsigned seed(void)
{
    unsigned chosen = suite_seed((unsigned)time(NULL));
    printf("(seed %u) ", chosen);
    fflush(stdout);
    return chosen;
}

/* ---- what can happen in a round ---- */

static void act_nothing(struct storm *storm)
{
    (void)storm;
}

/* Once a round at most. */
static void note_end(struct storm *storm)
{
    storm->ended[storm->ends++] = clock_now();
}

static void note_kill(struct storm *storm)
{
    note_end(storm);
    storm->kills++;
}

/* All of them; what spawn-fcgi started is started again, the rest is the web server's. */
static void act_kill_all(struct storm *storm)
{
    int status;
    note_kill(storm);
    if (storm->site.setup->spawned) {
        durable_signal(storm->site.program.pid, SIGKILL);
        CU_ASSERT(process_wait(&storm->site.program, 60000, &status));
    }
    durable_kill_all(&storm->site);
    storm->full = false; /* the limit was theirs */
    if (storm->site.setup->spawned)
        CU_ASSERT(site_spawn(&storm->site));
}

static void act_kill_forwarder(struct storm *storm)
{
    pid_t pids[DURABLE_PROCESSES];
    size_t count = durable_processes(&storm->site, pids);
    if (count < 2 || storm->site.setup->spawned)
        return; /* act_kill_all does that */
    note_kill(storm);
    kill(pids[(size_t)rand_r(&storm->random) % count], SIGKILL);
}

static void act_data_plane_fails(struct storm *storm)
{
    static const struct standin_fault faults[] = {
        {.act = STANDIN_ANSWER, .times = 2, .status = 500, .body = "x"},
        {.act = STANDIN_ANSWER, .times = 1, .status = 503},
        {.act = STANDIN_ANSWER, .times = 1, .status = 429, .retry_after = "0"},
        {.act = STANDIN_CUT, .times = 2},
        {.act = STANDIN_STORE_CUT, .times = 1},
        {.act = STANDIN_HALF, .times = 1},
        {.act = STANDIN_SLOW, .times = 4, .delay_ms = 200},
        {.act = STANDIN_HOLD, .times = 2},
    };
    const struct standin_fault *fault = &faults[(size_t)rand_r(&storm->random) % (sizeof faults / sizeof *faults)];
    storm->cuts += fault->act == STANDIN_STORE_CUT || fault->act == STANDIN_HALF || fault->act == STANDIN_HOLD;
    standin_fail(storm->site.standin, fault);
}

static void act_data_plane_heals(struct storm *storm)
{
    standin_heal(storm->site.standin);
}

/* Runs a program to its end as the children's user: one of its own, since a mere fork could inherit a lock that one of
 * the stand-in's threads held, SQLite's for example, and would wait for ever. Returns its exit code; -1: a signal. */
static int run(const struct storm *storm, const char *const *arguments, const char *log_name)
{
    char log[PATH_SIZE];
    struct process process = {0};
    int status = -1;
    path_join(log, storm->site.directory, log_name);
    const struct process_options options = {arguments, NULL, storm->site.directory, log};
    check(process_start(&process, &options) && process_wait(&process, durable_patience(60000), &status), "%s ends",
          arguments[0]);
    process_stop(&process, 1000);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* With the shell's default settings, which checkpoint and delete the log when the last connection closes. That it finds
 * the database busy is fine. */
static void act_outside_look(struct storm *storm)
{
    char path[PATH_SIZE];
    path_join(path, storm->site.directory, "state/queue.db");
    const char *arguments[] = {"sqlite3", path, "SELECT count(*) FROM source", NULL};
    int code = run(storm, arguments, "look.log");
    check(code >= 0 && code < 126, "sqlite3 can be run: %d", code);
    storm->looks++;
}

/* Everybody's writes beyond some bytes fail, as they do where a quota is used up; or they are allowed again. One that
 * has just ended needs no limit. By prlimit(1), as their user: root may have no right to limit others. */
static void act_quota(struct storm *storm)
{
    static const char script[] = "limit=$1; shift; for pid; do prlimit --pid \"$pid\" --fsize=\"$limit\": ||"
                                 " [ ! -d /proc/\"$pid\" ] || failed=1; done; exit ${failed:-0}";
    pid_t pids[DURABLE_PROCESSES];
    char words[DURABLE_PROCESSES][16];
    const char *arguments[5 + DURABLE_PROCESSES + 1] = {"sh", "-c", script, "sh"};
    size_t count = durable_processes(&storm->site, pids);
    storm->full = !storm->full;
    arguments[4] = storm->full ? QUOTA_BYTES : "unlimited";
    for (size_t i = 0; i < count; i++) {
        snprintf(words[i], sizeof words[i], "%d", (int)pids[i]);
        arguments[5 + i] = words[i];
    }
    check(run(storm, arguments, "quota.log") == 0, "the limit is set");
    if (storm->full && storm->reloaded > 0 && clock_now() < storm->reloaded + LATE_MS)
        note_end(storm); /* it may not be over yet */
    storm->fulls += storm->full;
}

static void act_page(struct storm *storm)
{
    static const char *const paths[] = {"/status", "/status?format=json", "/metrics", "/healthz"};
    struct buffer out = {0};
    const char *path = paths[(size_t)rand_r(&storm->random) % (sizeof paths / sizeof *paths)];
    if (looked_get(&storm->site, path, &out) == 200) {
        storm->pages++;
        check(strstr(path, "json") == NULL || is_strict_json(slice_of(out.data)), "%s is JSON: %s", path, out.data);
    }
    buffer_free(&out);
}

/* Whether the process has come so far that SIGHUP is a message to it: it blocks that, and then starts its threads. One
 * that begins just now would be ended. */
static bool takes_hangup(pid_t pid)
{
    return process_status(pid, "Threads") > 1;
}

/* What was delivered just before can be noted, unless nothing may be written. */
static void act_reload(struct storm *storm)
{
    pid_t pids[DURABLE_PROCESSES];
    size_t count = durable_processes(&storm->site, pids);
    pid_t pid = count == 0 ? 0 : pids[(size_t)rand_r(&storm->random) % count];
    if (pid <= 0 || !takes_hangup(pid))
        return;
    storm->reloaded = clock_now();
    if (storm->full)
        note_end(storm);
    kill(pid, SIGHUP);
}

static void (*const acts[])(struct storm *storm) = {
    act_nothing,
    act_kill_all,
    act_kill_forwarder,
    act_data_plane_fails,
    act_data_plane_fails,
    act_data_plane_heals,
    act_outside_look,
    act_outside_look,
    act_quota,
    act_page,
    act_page,
    act_page,
    act_reload,
};

/* ---- the whole ---- */

static const char *name_gap(char name[static 32], size_t number)
{
    snprintf(name, 32, "gap_%zu", number);
    return name;
}

/* An event that no webhook brings: reconciling finds it. */
static void lose_one(struct storm *storm)
{
    char name[32];
    standin_close_add(storm->close, &(struct close_event){.id = name_gap(name, storm->gaps++),
                                                          .lead = "lead_gap",
                                                          .object_type = "lead",
                                                          .action = "created",
                                                          .updated_us = standin_close_now_us(storm->close) - SETTLED_US,
                                                          .log_only = true});
}

/* The data plane heals, the quota has room: whatever was killed, events are taken again. */
static bool lull(struct storm *storm)
{
    moment began = clock_now();
    act_data_plane_heals(storm);
    if (storm->full)
        act_quota(storm);
    if (storm->site.setup->spawned && !process_alive(&storm->site.program)) {
        int status = -1;
        bool waited = process_wait(&storm->site.program, 1000, &status);
        return check(!waited, "nobody told the program to end: status %d", status);
    }
    bool taken = load_wait_ok(storm->load, 1, durable_patience(60000));
    int64_t took = clock_now() - began;
    storm->slowest_lull = took > storm->slowest_lull ? took : storm->slowest_lull;
    return check(taken, "events are taken again after a minute") &&
           check(!load_used_up(storm->load), "the load lasts as long as the rounds");
}

static void tell(const struct storm *storm, size_t round, size_t rounds)
{
    printf("\n    round %zu of %zu: %zu answered 200, %zu kills, %zu cuts, %zu looks, %zu pages, %zu times full", round,
           rounds, load_ok(storm->load), storm->kills, storm->cuts, storm->looks, storm->pages, storm->fulls);
    fflush(stdout);
}

static void go_through(struct storm *storm, size_t rounds)
{
    bool well = true;
    for (size_t i = 1; i <= rounds && well; i++) {
        lose_one(storm);
        acts[(size_t)rand_r(&storm->random) % (sizeof acts / sizeof *acts)](storm);
        poll(NULL, 0, (int)(rand_r(&storm->random) % LONGEST_MS));
        if (i % LULL_ROUNDS == 0 || i == rounds)
            well = lull(storm);
        if (i % TOLD_ROUNDS == 0)
            tell(storm, i, rounds);
    }
}

/* What those who looked from outside were told. */
static void check_looks(const struct storm *storm)
{
    char *said = temporary_read(storm->site.directory, "look.log");
    const char *malformed = said == NULL ? NULL : strstr(said, "malformed");
    check(malformed == NULL, "the database is whole whenever sqlite3 looks");
    free(said);
}

/* All that only the Event Log had has arrived, unaltered. */
static void check_gaps(struct storm *storm)
{
    char subscription[80], name[32];
    size_t arrived = 0;
    standin_close_id(storm->close, 0, subscription);
    for (size_t i = 0; i < storm->gaps; i++) {
        struct buffer wanted = {.data = NULL};
        const struct standin_message *message = standin_find(storm->site.standin, name_gap(name, i));
        standin_close_properties(storm->close, name, subscription, &wanted);
        arrived += message != NULL &&
                   slice_equal(slice_member(message->json, "properties"), (struct slice){wanted.data, wanted.length});
        buffer_free(&wanted);
    }
    check(arrived == storm->gaps, "of %zu in the Event Log only, %zu arrived unaltered", storm->gaps, arrived);
}

/* Whether it is because the program ended that the message came again: it was under way the last time before that. */
static bool is_of_an_end(const struct storm *storm, const struct standin_message *first,
                         const struct standin_message *again)
{
    size_t before = storm->ends;
    while (before > 0 && storm->ended[before - 1] > again->arrived)
        before--;
    moment end = before == 0 ? 0 : storm->ended[before - 1];
    return before > 0 && end >= first->arrived - LATE_MS && end <= first->arrived + UNDER_WAY_MS;
}

/* Nothing comes twice but what was with the data plane when the connection broke or the program died. */
static void check_repeated(struct storm *storm)
{
    const struct standin_message *message;
    size_t causeless = 0;
    for (size_t i = 0; (message = standin_message(storm->site.standin, i)) != NULL; i++) {
        const struct standin_message *first = standin_find(storm->site.standin, message->message_id);
        if (first == message || first->unsure || message->unsure || is_of_an_end(storm, first, message))
            continue;
        if (causeless++ == 0)
            printf("\n    %s came at %lld and again at %lld ", message->message_id, (long long)first->arrived,
                   (long long)message->arrived);
    }
    check(causeless == 0, "%zu came twice without a cause", causeless);
}

static void check_all(struct storm *storm)
{
    struct load_result result = load_finish(storm->load);
    int reconciled = -1;
    for (moment deadline = clock_now() + durable_patience(60000); reconciled != 0 && clock_now() < deadline;)
        reconciled = durable_command(&storm->site, "reconcile", NULL); /* another process may be at it */
    CU_ASSERT_EQUAL(reconciled, 0);
    if (!storm->site.setup->spawned)
        durable_command(&storm->site, "cron", NULL);
    check(durable_wait_empty(&storm->site, durable_patience(120000)), "all that waits is delivered in the end");
    printf("(%zu kills, %zu cuts, %zu looks, %zu pages, %zu times full, the slowest lull %lld ms) ", storm->kills,
           storm->cuts, storm->looks, storm->pages, storm->fulls, (long long)storm->slowest_lull);
    CU_ASSERT(result.ok > 0);
    result.sent += storm->gaps;
    durable_check_delivered(&storm->site, storm->load, result);
    check_gaps(storm);
    check_repeated(storm);
    check_looks(storm);
    struct standin_counts received = standin_counts(storm->site.standin);
    struct counts counts = durable_check_counted(&storm->site);
    check(received.repeated <= (storm->ends * LANES + storm->cuts * 2) * BATCH_EVENTS,
          "%zu came twice: more than what was under way when something died", received.repeated);
    CU_ASSERT_EQUAL(counts.dead, 0);
}

/* Gives the source alpha an API key, so that the program reconciles each second. */
static void have_reconciled(struct storm *storm)
{
    static const char section[] = "[source alpha]\n";
    char text[4096];
    snprintf(text, sizeof text, "%s/alpha", storm->site.url);
    standin_close_subscribe(storm->close, text);
    char *config = temporary_read(storm->site.directory, "closecrm.conf");
    char *at = config == NULL ? NULL : strstr(config, section);
    CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    at += strlen(section);
    int length = snprintf(text, sizeof text,
                          "%.*sclose_api_key = " CLOSE_API_KEY "\nclose_api_url = %s\nreconcile_interval = 1s\n%s",
                          (int)(at - config), config, standin_close_url(storm->close), at);
    CU_ASSERT(temporary_write(storm->site.directory, "closecrm.conf", 0600, text, (size_t)length));
    free(config);
    if (storm->site.setup->spawned)
        CU_ASSERT(durable_start_anew(&storm->site, NULL));
}

/* CLOSECRM_STORM_SETUP: only where the name of the way of running the program has this text. */
static bool is_wanted(const struct setup *setup)
{
    const char *text = getenv("CLOSECRM_STORM_SETUP");
    return text == NULL || strstr(setup->name, text) != NULL;
}

static void rage(const struct setup *setup)
{
    static const struct standin_close_options unwell = {.cut_per_mille = 20, .limit_every = 15, .limit_for = "0.05"};
    if (!is_wanted(setup))
        return;
    size_t rounds = rounds_wanted();
    struct storm storm = {.random = seed(), .close = standin_close_start(&unwell)};
    char more[128];
    CU_ASSERT_PTR_NOT_NULL_FATAL(storm.close);
    storm.ended = calloc(rounds, sizeof *storm.ended);
    CU_ASSERT_PTR_NOT_NULL_FATAL(storm.ended);
    snprintf(more, sizeof more, LOOKED_CONFIG "lanes = %d\nbatch_events = %d\n", LANES, BATCH_EVENTS);
    if (durable_open(&storm.site, setup, more)) {
        have_reconciled(&storm);
        struct load_options options = durable_load(&storm.site);
        options.count = rounds * ROUND_EVENTS;
        options.pause_ms = 3;
        options.refused_ms = 50;
        options.timeout_ms = durable_patience(3000);
        storm.load = load_start(&options);
        CU_ASSERT(load_wait(storm.load, 50, durable_patience(60000)));
        go_through(&storm, rounds);
        load_stop(storm.load);
        check_all(&storm);
        load_free(storm.load);
    }
    site_close(&storm.site);
    standin_close_stop(storm.close);
    free(storm.ended);
}

static void behind_spawn_fcgi(void)
{
    rage(&setup_lighttpd_spawn);
}

static void started_by_lighttpd(void)
{
    static const struct setup setup = {
        .name = "lighttpd, fastcgi", .server = "lighttpd", .sample = "fastcgi.conf", .mount = "/closecrm"};
    rage(&setup);
}

static void started_by_mod_fcgid(void)
{
    rage(&setup_apache_fcgid);
}

void suite_storm(void)
{
    static CU_TestInfo tests[] = {
        {"everything at once, behind spawn-fcgi", behind_spawn_fcgi},
        {"everything at once, started by lighttpd", started_by_lighttpd},
        {"everything at once, started by mod_fcgid", started_by_mod_fcgid},
        CU_TEST_INFO_NULL,
    };
    suite_add("storm", NULL, NULL, tests);
}
