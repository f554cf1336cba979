/* Requests that wait for a database that stands still, the second of two: the source `hung` is in that one. They are
 * answered, and neither they nor it hold up the other source. */
#include "tests/suites.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/check.h"
#include "tests/support/postgresql.h"
#include "tests/support/unanswered.h"

#define HUNG 40
#define THREADS "request_threads = 2\n"
#define NOT_TAKEN "the database has not taken the event in time"

static struct postgresql second;
static char second_url[POSTGRESQL_URL];

static int begin_two(void)
{
    return durable_use_postgresql() || !postgresql_start(&second, "");
}

static int end_two(void)
{
    postgresql_stop(&second);
    return durable_end_postgresql();
}

static int answered_by(struct unanswered *scene, const char *source)
{
    scene->source = source;
    return unanswered_ask(scene);
}

/* With requests for the hung source, one of which was stored before, and the rest waits. */
static bool hung_open(struct unanswered *scene, const char *more)
{
    char text[2048];
    if (!unanswered_open(scene, NULL) || !check(postgresql_database(&second, second_url), "a database is made"))
        return false;
    int length = snprintf(text, sizeof text,
                          "%s%sdata_plane_url = http://127.0.0.1:%u\n[source open]\nwrite_key = key-open\n"
                          "[source hung]\nwrite_key = key-hung\nqueue_url = %s\n",
                          durable_queue_lines(), more, scene->site.standin_port, second_url);
    if (!temporary_write(scene->site.directory, "closecrm.conf", 0600, text, (size_t)length) ||
        !check(durable_start_anew(&scene->site, NULL), "it starts with two databases"))
        return false;
    CU_ASSERT_EQUAL(answered_by(scene, "open"), 200);
    CU_ASSERT_EQUAL(answered_by(scene, "hung"), 200);
    postgresql_signal(&second, SIGSTOP);
    unanswered_send(scene, HUNG, "");
    unanswered_wait_until_accepted(scene);
    return true;
}

static void hung_close(struct unanswered *scene)
{
    postgresql_signal(&second, SIGCONT);
    unanswered_close(scene);
}

/* Each event once at most, and of those that were sent to the source so many at least; -1 was answered at the start. */
static void check_stored(int least)
{
    CU_ASSERT_STRING_EQUAL(postgresql_ask(second_url, "SELECT count(*) - count(DISTINCT body) FROM closecrm.event"),
                           "0");
    int stored = (int)strtol(postgresql_ask(second_url, "SELECT count(*) FROM closecrm.event"), NULL, 10);
    check(stored >= least + 1 && stored <= HUNG + 1, "%d and 1 are there at least: %d", least, stored);
}

static void check_open_is_served(struct unanswered *scene)
{
    int64_t slowest = 0;
    for (int i = 0; i < 20; i++) {
        moment asked = clock_now();
        CU_ASSERT_EQUAL(answered_by(scene, "open"), 200);
        slowest = clock_now() - asked > slowest ? clock_now() - asked : slowest;
    }
    printf("(%lld ms) ", (long long)slowest);
    check(slowest < durable_patience(3000), "the other source is held up for %lld ms", (long long)slowest);
}

static void a_database_that_hangs_holds_no_thread(void)
{
    struct unanswered scene;
    moment asked = clock_now();
    if (hung_open(&scene, THREADS)) {
        check_open_is_served(&scene);
        CU_ASSERT_EQUAL(unanswered_count(&scene, 503, IN_TIME), HUNG);
        CU_ASSERT(site_count_logged(&scene.site, NOT_TAKEN ": the database ") > 0);
        check(clock_now() - asked >= ANSWERED_MS, "they are not answered before");
        check_open_is_served(&scene);
        postgresql_signal(&second, SIGCONT);
        CU_ASSERT_EQUAL(answered_by(&scene, "hung"), 200);
        CU_ASSERT_STRING_EQUAL(postgresql_ask(second_url, "SELECT count(*) FROM closecrm.event WHERE"
                                                          " convert_from(body, 'UTF8') LIKE '%\"ev_-1\"%'"),
                               "2");
    }
    hung_close(&scene);
}

static void a_database_that_goes_on_in_time_takes_all(void)
{
    struct unanswered scene;
    if (hung_open(&scene, THREADS)) {
        for (int i = 0; i < HUNG / 4; i++) /* peers that do not wait for it */
            close(scene.fds[--scene.count]);
        poll(NULL, 0, 4000); /* longer than one try */
        postgresql_signal(&second, SIGCONT);
        CU_ASSERT_EQUAL(unanswered_count(&scene, 200, "ok"), HUNG - HUNG / 4);
        check_stored(HUNG - HUNG / 4);
    }
    hung_close(&scene);
}

/* It ends within its time, and each request has an answer. */
static void a_stop_answers_what_a_database_has(void)
{
    struct unanswered scene;
    int status = -1;
    if (hung_open(&scene, THREADS "shutdown_grace = 3s\n")) {
        moment asked = clock_now();
        durable_signal(scene.site.program.pid, SIGTERM);
        CU_ASSERT_EQUAL(unanswered_count(&scene, 503, IN_TIME), HUNG);
        CU_ASSERT(site_count_logged(&scene.site, NOT_TAKEN) > 0);
        CU_ASSERT(process_wait(&scene.site.program, durable_patience(6000), &status));
        CU_ASSERT_EQUAL(status, 0);
        int64_t took = clock_now() - asked;
        printf("(%lld ms) ", (long long)took);
        check(took < durable_patience(6000), "it ends after %lld ms", (long long)took);
    }
    hung_close(&scene);
}

/* The database goes on while the program stops, or reloads. */
static void what_a_database_has_survives(int signal)
{
    struct unanswered scene;
    if (hung_open(&scene, THREADS "shutdown_grace = 10s\n")) {
        size_t opened = site_opened(&scene.site);
        durable_signal(scene.site.program.pid, signal);
        poll(NULL, 0, 1000);
        postgresql_signal(&second, SIGCONT);
        CU_ASSERT_EQUAL(unanswered_count(&scene, 200, "ok"), HUNG);
        if (signal == SIGHUP)
            site_wait_opened(&scene.site, opened + 1);
        check_stored(HUNG);
    }
    hung_close(&scene);
}

static void a_stop_waits_for_a_database_that_goes_on(void)
{
    what_a_database_has_survives(SIGTERM);
}

static void a_reload_waits_for_a_database_that_goes_on(void)
{
    what_a_database_has_survives(SIGHUP);
}

void suite_waiting_postgresql(void)
{
    static CU_TestInfo tests[] = {
        {"a database that hangs holds no thread", a_database_that_hangs_holds_no_thread},
        {"a database that goes on in time takes all", a_database_that_goes_on_in_time_takes_all},
        {"a stop answers what a database has", a_stop_answers_what_a_database_has},
        {"a stop waits for a database that goes on", a_stop_waits_for_a_database_that_goes_on},
        {"a reload waits for a database that goes on", a_reload_waits_for_a_database_that_goes_on},
        CU_TEST_INFO_NULL,
    };
    suite_add("waiting postgresql", begin_two, end_two, tests);
}
