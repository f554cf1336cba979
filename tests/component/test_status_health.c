/* /healthz: what a load balancer is told, and that asking writes nothing. */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "health/facts.h"
#include "health/write_probe.h"
#include "tests/suites.h"
#include "tests/support/status_rig.h"
#include "webhook/webhook.h"

static struct status_rig rig;

static int prepare(void)
{
    return status_rig_open(&rig);
}

static int tidy(void)
{
    return status_rig_close(&rig);
}

static int ask(const char *method, const char *path, const char *query, const char *authorization, const char *form)
{
    return status_rig_ask(&rig, method, path, query, authorization, form);
}

static bool shows(const char *text)
{
    return status_rig_shows(&rig, text);
}

static int64_t probed_ns(void)
{
    char path[PATH_SIZE];
    struct stat file;
    path_join(path, rig.state, "health.probe");
    return stat(path, &file) == 0 ? (int64_t)file.st_mtim.tv_sec * 1000000000 + file.st_mtim.tv_nsec : 0;
}

/* Nobody's request writes: a probe does, in a thread of its own. */
static void test_health(void)
{
    char path[PATH_SIZE], log[PATH_SIZE];
    struct stat before, after;
    path_join(path, rig.state, "health.probe");
    path_join(log, rig.state, "queue.db-wal");
    CU_ASSERT_EQUAL(stat(log, &before), 0);
    CU_ASSERT_EQUAL(ask("GET", "/healthz", "", NULL, NULL), 200);
    CU_ASSERT_TRUE(shows("{\"ok\": true, \"words\": \"events are accepted\", \"last_forwarded\": null, "
                         "\"written\": null"));
    CU_ASSERT_FALSE(shows("one"));
    CU_ASSERT_EQUAL(probed_ns(), 0);
    CU_ASSERT_EQUAL(stat(log, &after), 0);
    CU_ASSERT_EQUAL(before.st_size, after.st_size);

    prober_once(&rig.made.config);
    int64_t first = probed_ns();
    CU_ASSERT_NOT_EQUAL(first, 0);
    CU_ASSERT_EQUAL(stat(log, &after), 0);
    CU_ASSERT_TRUE(after.st_size > before.st_size || after.st_mtim.tv_sec > before.st_mtim.tv_sec ||
                   after.st_mtim.tv_nsec != before.st_mtim.tv_nsec); /* into the database */
    CU_ASSERT_EQUAL(ask("GET", "/healthz", "", NULL, NULL), 200);
    CU_ASSERT_TRUE(shows("\"written\": \"2"));
    prober_once(&rig.made.config);
    CU_ASSERT_EQUAL(probed_ns(), first); /* not written again within 5 s */
    unlink(path);
}

/* Waits until the answer has this status. */
static bool wait_for_health(int status_wanted)
{
    for (moment deadline = clock_now() + 60000; clock_now() < deadline; usleep(20000)) {
        if (ask("GET", "/healthz", "", NULL, NULL) == status_wanted)
            return true;
    }
    return false;
}

static void test_health_when_nothing_can_be_written(void)
{
    char path[PATH_SIZE];
    path_join(path, rig.state, "health.probe");
    mkdir(path, 0700); /* so that nothing can be put there */
    status_alert(rig.status);
    CU_ASSERT_TRUE(wait_for_health(503));
    CU_ASSERT_TRUE(shows("\"ok\": false"));
    CU_ASSERT_TRUE(shows("nothing can be written where the queue is: "));
    CU_ASSERT_FALSE(shows(rig.state));
    rmdir(path);
    status_quiet(rig.status);
    status_attach(rig.status, &rig.telemetry);
    CU_ASSERT_EQUAL(ask("GET", "/healthz", "", NULL, NULL), 200);
}

/* What became of the last event says how it is, whatever an earlier probe says. */
static void test_health_follows_the_last_event(void)
{
    static const enum refusal refusals[] = {REFUSED_QUEUE_BROKEN, REFUSED_QUEUE_SLOW, REFUSED_QUEUE_FULL};
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        usleep(2000); /* the times are milliseconds */
        counters_refused(counters_of(rig.telemetry.counters, "one"), refusals[i], clock_unix_ms());
        CU_ASSERT_EQUAL(ask("GET", "/healthz", "", NULL, NULL), 503);
        usleep(2000);
        CU_ASSERT_TRUE(status_rig_append(&rig));
        CU_ASSERT_EQUAL(ask("GET", "/healthz", "", NULL, NULL), 200);
    }
    counters_refused(counters_of(rig.telemetry.counters, "one"), REFUSED_SIGNATURE, clock_unix_ms());
    CU_ASSERT_EQUAL(ask("GET", "/healthz", "", NULL, NULL), 200); /* not for the queue's sake */
}

/* Nobody shall make room for it, or make a new one. */
static void test_a_state_directory_that_is_gone_is_named(void)
{
    char away[PATH_SIZE + 8];
    snprintf(away, sizeof away, "%s.away", rig.state);
    for (int gone = 1; gone >= 0; gone--) {
        CU_ASSERT_EQUAL(gone ? rename(rig.state, away) : rename(away, rig.state), 0);
        struct facts *facts = facts_gather(&rig.made.config, rig.queue, NULL, rig.telemetry.counters, clock_unix_ms());
        CU_ASSERT_PTR_NOT_NULL_FATAL(facts);
        CU_ASSERT_EQUAL(facts->queue_works, !gone);
        CU_ASSERT_STRING_EQUAL(facts->no_room.text, "");
        CU_ASSERT_STRING_EQUAL(facts->replaced.text, "");
        CU_ASSERT_EQUAL(strstr(facts->queue_why.text, "put it back where it was") != NULL, gone);
        CU_ASSERT_EQUAL(strstr(facts->queue_why.text, "state_dir_gone") != NULL, gone);
        facts_free(facts);
    }
}

static void test_health_of_a_write_that_hangs(void)
{
    struct health health;
    struct facts *facts = facts_gather(&rig.made.config, rig.queue, NULL, rig.telemetry.counters, clock_unix_ms());
    struct probed probed = {.known = true, .good = true, .looked = clock_now()};
    CU_ASSERT_PTR_NOT_NULL_FATAL(facts);
    prober_judge(facts, true, &probed, &health);
    CU_ASSERT_TRUE(health.good);
    prober_judge(facts, false, &probed, &health); /* no webhook comes in */
    CU_ASSERT_FALSE(health.good);
    probed.looked -= 60000;
    prober_judge(facts, true, &probed, &health);
    CU_ASSERT_FALSE(health.good);
    facts_free(facts);
}

/* A load balancer that obeys it sends nothing any more: only the probe can show that there is room again. */
static void test_health_comes_back_without_an_event(void)
{
    struct health health;
    int64_t now = clock_unix_ms();
    struct facts *facts = facts_gather(&rig.made.config, rig.queue, NULL, rig.telemetry.counters, now);
    struct probed probed = {.known = true, .good = true, .looked = clock_now(), .written_ms = now - 21000};
    CU_ASSERT_PTR_NOT_NULL_FATAL(facts);
    for (size_t i = 0; i < facts->sources; i++) {
        memset(facts->source[i].tally.refused_last_ms, 0, sizeof facts->source[i].tally.refused_last_ms);
        facts->source[i].tally.refused_last_ms[REFUSED_QUEUE_FULL] = now - 20000;
        facts->source[i].counts.last_accepted_ms = now - 60000;
    }
    prober_judge(facts, true, &probed, &health);
    CU_ASSERT_FALSE(health.good);
    probed.written_ms = now;
    prober_judge(facts, true, &probed, &health);
    CU_ASSERT_TRUE(health.good);
    facts->room.used = (uint64_t)rig.made.config.queue_max_bytes; /* a probe is small: it shows nothing about that */
    prober_judge(facts, true, &probed, &health);
    CU_ASSERT_FALSE(health.good);
    facts_free(facts);
}

void suite_status_health(void)
{
    static CU_TestInfo tests[] = {
        {"nobody's request writes", test_health},
        {"nothing can be written", test_health_when_nothing_can_be_written},
        {"it follows the last event", test_health_follows_the_last_event},
        {"a state directory that is gone", test_a_state_directory_that_is_gone_is_named},
        {"a write that hangs", test_health_of_a_write_that_hangs},
        {"it comes back without an event", test_health_comes_back_without_an_event},
        CU_TEST_INFO_NULL,
    };
    suite_add("status_health", prepare, tidy, tests);
}
