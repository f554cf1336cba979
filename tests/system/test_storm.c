/* Everything at once, again and again, under load: processes killed, the data plane failing in every way, a limit on
 * what may be written that comes and goes as a quota does, an outside look into the database, the status page and
 * reconciling polled. What was answered 200 arrives, unaltered; what arrives twice is what README says can. In CI a few
 * rounds; `make test-storm ROUNDS=500` for as many as one likes. */
#include "tests/suites.h"

#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/looked.h"
#include "tests/support/standin_close.h"

#define ROUNDS 12
#define LONGEST_MS 150   /* of a round, beside what its act takes */
#define QUOTA_BYTES 4096 /* no file may be written beyond this while the quota is used up */
#define LANES 4          /* as configured, as the next one */
#define BATCH_EVENTS 20

struct storm {
    struct site site;
    unsigned random;
    bool full; /* the quota is used up now */
    size_t kills, cuts, looks, fulls;
};

static size_t rounds_wanted(void)
{
    const char *text = getenv("CLOSECRM_STORM_ROUNDS");
    return text != NULL && *text != '\0' ? strtoul(text, NULL, 10) : durable_share(ROUNDS);
}

static unsigned seed(void)
{
    const char *given = getenv("CLOSECRM_TEST_SEED");
    unsigned chosen = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
    printf("(seed %u) ", chosen);
    return chosen;
}

/* ---- what can happen in a round ---- */

static void act_nothing(struct storm *storm)
{
    (void)storm;
}

/* All of them; what spawn-fcgi started is started again, the rest is the web server's. */
static void act_kill_all(struct storm *storm)
{
    int status;
    if (storm->site.setup->spawned) {
        durable_signal(storm->site.program.pid, SIGKILL);
        CU_ASSERT(process_wait(&storm->site.program, 10000, &status));
    }
    durable_kill_all(&storm->site);
    storm->kills++;
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
    kill(pids[(size_t)rand_r(&storm->random) % count], SIGKILL);
    storm->kills++;
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

/* As `sqlite3 queue.db 'select count(*) from source'` would, with SQLite's default settings, which checkpoint and
 * delete the log when the last connection closes. */
static _Noreturn void look_from_outside(const char *path)
{
    sqlite3 *db = NULL;
    struct user user = user_of_children();
    if (getuid() == 0 && (setgid(user.gid) != 0 || setuid(user.uid) != 0))
        _exit(2);
    bool good = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK;
    sqlite3_exec(db, "SELECT count(*) FROM source", NULL, NULL, NULL); /* busy is fine */
    sqlite3_close(db);
    _exit(good ? 0 : 1);
}

static void act_outside_look(struct storm *storm)
{
    char path[PATH_SIZE];
    int status = -1;
    path_join(path, storm->site.directory, "state/queue.db");
    pid_t child = fork();
    if (child == 0)
        look_from_outside(path);
    CU_ASSERT(child > 0 && waitpid(child, &status, 0) == child);
    storm->looks++;
}

/* Everybody's writes beyond some bytes fail, as they do where a quota is used up; or they are allowed again. */
static void act_quota(struct storm *storm)
{
    pid_t pids[DURABLE_PROCESSES];
    size_t count = durable_processes(&storm->site, pids);
    storm->full = !storm->full;
    const struct rlimit limit = {.rlim_cur = storm->full ? QUOTA_BYTES : RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    for (size_t i = 0; i < count; i++)
        prlimit(pids[i], RLIMIT_FSIZE, &limit, NULL); /* one that has just ended needs none */
    storm->fulls += storm->full;
}

static void act_page(struct storm *storm)
{
    static const char *const paths[] = {"/status", "/status?format=json", "/metrics", "/healthz"};
    struct buffer out = {0};
    looked_get(&storm->site, paths[(size_t)rand_r(&storm->random) % (sizeof paths / sizeof *paths)], &out);
    buffer_free(&out);
}

static void act_reload(struct storm *storm)
{
    pid_t pids[DURABLE_PROCESSES];
    size_t count = durable_processes(&storm->site, pids);
    if (count > 0)
        kill(pids[(size_t)rand_r(&storm->random) % count], SIGHUP);
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

static void go_through(struct storm *storm)
{
    for (size_t i = 0, rounds = rounds_wanted(); i < rounds; i++) {
        acts[(size_t)rand_r(&storm->random) % (sizeof acts / sizeof *acts)](storm);
        poll(NULL, 0, (int)(rand_r(&storm->random) % LONGEST_MS));
        if (i % 8 == 7)
            act_data_plane_heals(storm);
    }
    act_data_plane_heals(storm);
    if (storm->full)
        act_quota(storm);
}

static void check_all(struct storm *storm, struct load *load)
{
    struct load_result result = load_finish(load);
    if (!storm->site.setup->spawned)
        durable_command(&storm->site, "cron", NULL);
    check(durable_wait_empty(&storm->site, durable_patience(120000)), "all that waits is delivered in the end");
    printf("(%zu kills, %zu cuts, %zu looks, %zu times full) ", storm->kills, storm->cuts, storm->looks, storm->fulls);
    CU_ASSERT(result.ok > 0);
    durable_check_delivered(&storm->site, load, result);
    struct standin_counts received = standin_counts(storm->site.standin);
    struct counts counts = durable_counts(&storm->site, NULL);
    size_t distinct = received.messages - received.repeated;
    check(counts.delivered == distinct, "the queue counts %llu delivered, the data plane %zu",
          (unsigned long long)counts.delivered, distinct);
    check(received.repeated <= (storm->kills * LANES + storm->cuts * 2) * BATCH_EVENTS,
          "%zu came twice: more than what was under way when something died", received.repeated);
    CU_ASSERT_EQUAL(counts.dead, 0);
}

/* Gives the source alpha an API key, so that the program reconciles each second. */
static void have_reconciled(struct storm *storm, const struct standin_close *close)
{
    static const char section[] = "[source alpha]\n";
    char text[4096];
    char *config = temporary_read(storm->site.directory, "closecrm.conf");
    char *at = config == NULL ? NULL : strstr(config, section);
    CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    at += strlen(section);
    int length = snprintf(text, sizeof text,
                          "%.*sclose_api_key = " CLOSE_API_KEY "\nclose_api_url = %s\nreconcile_interval = 1s\n%s",
                          (int)(at - config), config, standin_close_url(close), at);
    CU_ASSERT(temporary_write(storm->site.directory, "closecrm.conf", 0600, text, (size_t)length));
    free(config);
    if (storm->site.setup->spawned)
        CU_ASSERT(durable_start_anew(&storm->site, NULL));
}

static void rage(const struct setup *setup)
{
    static const struct standin_close_options well = {0};
    struct storm storm = {.random = seed()};
    char more[128];
    struct standin_close *close = standin_close_start(&well);
    CU_ASSERT_PTR_NOT_NULL_FATAL(close);
    snprintf(more, sizeof more, LOOKED_CONFIG "lanes = %d\nbatch_events = %d\n", LANES, BATCH_EVENTS);
    if (durable_open(&storm.site, setup, more)) {
        have_reconciled(&storm, close);
        struct load_options options = durable_load(&storm.site);
        options.pause_ms = 3;
        options.timeout_ms = durable_patience(3000);
        struct load *load = load_start(&options);
        CU_ASSERT(load_wait(load, 50, durable_patience(10000)));
        go_through(&storm);
        load_stop(load);
        check_all(&storm, load);
        load_free(load);
    }
    site_close(&storm.site);
    standin_close_stop(close);
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
