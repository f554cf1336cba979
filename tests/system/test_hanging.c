/* The end and the reload wait for nobody: a resolver that hangs, a thread that is stuck. */
#include "tests/suites.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/system/check.h"
#include "tests/system/durable.h"
#include "tests/system/hung_resolver.h"
#include "tests/system/running.h"
#include "watch/clock.h"

#define SOON_MS 60000
#define PROBED_MS 1500 /* by then a probe that is due has begun */
#define STOPPED_MS                                                                                                     \
    6000 /* mod_fcgid kills after 3 s, on a machine with a core for it; a resolver that was waited for takes 8 */

/* The usual sources, and one, named hung, whose data plane is at that URL. */
static void configure(const struct site *site, const char *url)
{
    char text[2048];
    int length = snprintf(
        text, sizeof text,
        "shutdown_grace = 1s\ndata_plane_url = http://127.0.0.1:%u\n[source alpha]\nwrite_key = " ALPHA_WRITE_KEY
        "\nsignature_key = " ALPHA_SIGNATURE_KEY "\n[source hung]\nwrite_key = key-hung\ndata_plane_url = %s\n",
        site->standin_port, url);
    CU_ASSERT(temporary_write(site->directory, "closecrm.conf", 0600, text, (size_t)length));
}

/* Opens a site of which one source's data plane hangs at that URL. */
static bool open_hung(struct site *site, const char *url)
{
    if (!durable_open(site, &setup_lighttpd_spawn, NULL))
        return false;
    configure(site, url);
    return check(durable_start_anew(site, NULL), "it starts with a source that hangs");
}

/* An event for the source that hangs. */
static void send_hung(const struct site *site, const char *id)
{
    char url[256], body[128];
    snprintf(url, sizeof url, "%s/hung?writeKey=key-hung", site->url);
    snprintf(body, sizeof body, "{\"event\":{\"id\":\"%s\",\"object_type\":\"lead\",\"action\":\"updated\"}}", id);
    struct client_answer answer;
    struct client_request request = {.url = url, .body = slice_of(body)};
    check(client_send(site->client, &request, &answer) == 200, "%s is answered 200, not %d", id, answer.status);
}

/* What alpha gets is delivered although the other source hangs. */
static void check_alpha_delivers(const struct site *site, const char *id, size_t messages)
{
    CU_ASSERT_EQUAL(site_send(site, id).status, 200);
    check(standin_wait_messages(site->standin, messages, durable_patience(SOON_MS)), "%s is delivered", id);
}

static void check_reloads(const struct site *site)
{
    size_t before = site_count_logged(site, "msg=started");
    durable_signal(site->program.pid, SIGHUP);
    check(site_wait_logged(site, "msg=started", before + 1, durable_patience(SOON_MS)), "it starts anew");
    CU_ASSERT(process_alive(&site->program));
}

static void check_stops(struct site *site)
{
    int status = -1;
    durable_signal(site->program.pid, SIGTERM);
    CU_ASSERT(process_wait(&site->program, durable_patience(STOPPED_MS), &status));
    CU_ASSERT_EQUAL(status, 0);
}

static void a_resolver_that_hangs(void)
{
    struct site site;
    struct hung_resolver resolver;
    if (hung_resolver_start(&resolver) && open_hung(&site, "http://" HUNG_NAME)) {
        send_hung(&site, "ev_1");
        CU_ASSERT(hung_resolver_wait_asked(&resolver, SOON_MS));
        check_alpha_delivers(&site, "ev_2", 1);
        hung_resolver_forget(&resolver);
        check_reloads(&site);
        CU_ASSERT(hung_resolver_wait_asked(&resolver, SOON_MS));
        check_alpha_delivers(&site, "ev_3", 2);
        check_stops(&site);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
    hung_resolver_stop(&resolver);
}

static void wait_forwards(const struct site *site)
{
    bool forwards = false;
    for (moment deadline = clock_now() + SOON_MS; !forwards && clock_now() < deadline; poll(NULL, 0, 50)) {
        char *log = temporary_read(site->directory, "command.log");
        forwards = log != NULL && strstr(log, "msg=forwards") != NULL;
        free(log);
    }
    check(forwards, "the command forwards");
}

/* A command that forwards, and hangs while it opens the pipe, ends too. */
static void check_command_stops(const struct site *site)
{
    struct process forward = {0};
    int status = -1;
    CU_ASSERT(command_start(&forward, site, "command.log", "forward", NULL));
    wait_forwards(site);
    durable_signal(forward.pid, SIGTERM);
    CU_ASSERT(process_wait(&forward, durable_patience(STOPPED_MS), &status));
    CU_ASSERT((WIFEXITED(status) && WEXITSTATUS(status) == 1) || WIFSIGNALED(status)); /* it may not hang yet */
}

/* A pipe into which nobody looks: opening it for writing hangs, and the forwarder with it. */
static void a_thread_that_is_stuck(void)
{
    struct site site;
    char pipe[PATH_SIZE], url[PATH_SIZE + 16];
    struct user user = user_of_children();
    if (durable_open(&site, &setup_lighttpd_spawn, NULL)) {
        path_join(pipe, site.directory, "pipe");
        snprintf(url, sizeof url, "file://%s", pipe);
        CU_ASSERT_EQUAL(mkfifo(pipe, 0600), 0);
        CU_ASSERT_EQUAL(chown(pipe, user.uid, user.gid), 0);
        configure(&site, url);
        CU_ASSERT(durable_start_anew(&site, NULL));
        send_hung(&site, "ev_1");
        CU_ASSERT_EQUAL(site_send(&site, "ev_2").status, 200);
        check_reloads(&site);
        CU_ASSERT_EQUAL(site_send(&site, "ev_3").status, 200);
        check_stops(&site);
        check_command_stops(&site);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* Makes the writing probe due, which has been made once. */
static void age_probe(const struct site *site)
{
    const struct timespec long_ago[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    char path[PATH_SIZE];
    path_join(path, site->directory, "state/health.probe");
    int aged = -1;
    for (moment deadline = clock_now() + SOON_MS; aged != 0 && clock_now() < deadline; poll(NULL, 0, 50))
        aged = utimensat(AT_FDCWD, path, long_ago, 0);
    CU_ASSERT_EQUAL(aged, 0);
}

/* Somebody else's transaction: what is left behind in a write must find its memory until the process is gone. */
static void a_database_that_is_locked(void)
{
    struct site site;
    char path[PATH_SIZE];
    sqlite3 *outside = NULL;
    if (durable_open(&site, &setup_lighttpd_spawn, NULL)) {
        CU_ASSERT_EQUAL(site_send(&site, "ev_1").status, 200);
        CU_ASSERT(standin_wait_messages(site.standin, 1, durable_patience(SOON_MS)));
        path_join(path, site.directory, "state/queue.db");
        CU_ASSERT_EQUAL(sqlite3_open_v2(path, &outside, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
        sqlite3_busy_timeout(outside, SOON_MS);
        CU_ASSERT_EQUAL(sqlite3_exec(outside, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
        age_probe(&site);
        poll(NULL, 0, PROBED_MS);
        check_stops(&site);
        sqlite3_close(outside);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

void suite_hanging(void)
{
    static CU_TestInfo tests[] = {
        {"a resolver that hangs", a_resolver_that_hangs},
        {"a thread that is stuck", a_thread_that_is_stuck},
        {"a database that is locked from outside", a_database_that_is_locked},
        CU_TEST_INFO_NULL,
    };
    suite_add("hanging", NULL, NULL, tests);
}
