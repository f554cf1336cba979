/* What was tried with an event: found by its id, ten of a lane, seen by other processes; and that the forwarder notes
 * it once a batch. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/times.h"
#include "telemetry/telemetry.h"
#include "tests/suites.h"
#include "tests/support/forward_rig.h"

#define NOW ((int64_t)1700000000000)

static const char *const names[] = {"one", "two"};

static void note(struct attempts *attempts, const char *source, size_t lane, int64_t sent_ms, int status, uint64_t id)
{
    const uint64_t ids[] = {id, id + 1};
    struct attempt attempt;
    memset(&attempt, 0, sizeof attempt);
    attempt.sent_ms = sent_ms;
    attempt.took_ms = 40;
    attempt.status = status;
    attempt.events = 2;
    snprintf(attempt.words, sizeof attempt.words, "answer %d", status);
    attempts_add(attempts, source, lane, &attempt, ids, 2);
}

static void found_by_id(const char *state_dir)
{
    struct attempt found[ATTEMPTS_KEPT];
    struct attempts *attempts = attempts_open(state_dir, names, 2, 4);
    CU_ASSERT_PTR_NOT_NULL_FATAL(attempts);
    CU_ASSERT_EQUAL(attempts_of(attempts, "one", 7, 0, found), 0);
    note(attempts, "one", 1, NOW + 2000, 200, 7);
    note(attempts, "one", 0, NOW, 503, 6); /* of 6 and 7; another lane, as after a change of `lanes` */
    note(attempts, "two", 1, NOW, 503, 7);
    note(attempts, "one", 1, NOW, 503, 100);
    CU_ASSERT_EQUAL_FATAL(attempts_of(attempts, "one", 7, NOW, found), 2);
    CU_ASSERT_EQUAL(found[0].sent_ms, NOW);
    CU_ASSERT_EQUAL(found[0].status, 503);
    CU_ASSERT_EQUAL(found[1].status, 200);
    CU_ASSERT_EQUAL(found[1].took_ms, 40);
    CU_ASSERT_STRING_EQUAL(found[1].words, "answer 200");
    /* An id may come again after a queue was replaced: what was before the event came is not its own. */
    CU_ASSERT_EQUAL(attempts_of(attempts, "one", 7, NOW + 1, found), 1);
    CU_ASSERT_EQUAL(attempts_of(attempts, "nobody", 7, 0, found), 0);
    attempts_close(attempts);
}

static void test_found_by_id(void)
{
    char directory[PATH_SIZE];
    CU_ASSERT_TRUE_FATAL(temporary_make(directory));
    found_by_id(directory);
    found_by_id(NULL);
    temporary_remove(directory);
}

/* Also over a restart; and another process reads them. */
static void test_ten_of_a_lane(void)
{
    char directory[PATH_SIZE];
    struct attempt found[ATTEMPTS_KEPT];
    CU_ASSERT_TRUE_FATAL(temporary_make(directory));
    struct attempts *attempts = attempts_open(directory, names, 2, 4);
    note(attempts, "one", 2, NOW, 502, 1); /* another lane's is kept */
    for (int i = 0; i < 25; i++) {
        if (i == 12) {
            attempts_close(attempts);
            attempts = attempts_open(directory, names, 2, 4);
        }
        note(attempts, "one", 1, NOW + i, 503, 7);
    }
    CU_ASSERT_EQUAL(attempts_of(attempts, "one", 1, 0, found), 1);
    pid_t child = fork();
    if (child == 0) {
        struct attempts *other = attempts_open(directory, names, 2, 4);
        size_t count = attempts_of(other, "one", 7, 0, found);
        _exit(count == ATTEMPTS_KEPT && found[0].sent_ms == NOW + 15 && found[9].sent_ms == NOW + 24 ? 0 : 1);
    }
    int status = -1;
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT_EQUAL(status, 0);
    attempts_close(attempts);
    temporary_remove(directory);
}

/* Left by a death in the middle of writing. */
static void test_half_a_record_is_none(void)
{
    char directory[PATH_SIZE], path[PATH_SIZE];
    struct attempt found[ATTEMPTS_KEPT];
    CU_ASSERT_TRUE_FATAL(temporary_make(directory));
    struct attempts *attempts = attempts_open(directory, names, 2, 4);
    note(attempts, "one", 0, NOW, 503, 7);
    CU_ASSERT_EQUAL(attempts_of(attempts, "one", 7, 0, found), 1);
    path_join(path, directory, "attempts.1");
    int fd = open(path, O_RDWR);
    CU_ASSERT_EQUAL(pwrite(fd, "d", 1, 100), 1); /* in the words */
    close(fd);
    CU_ASSERT_EQUAL(attempts_of(attempts, "one", 7, 0, found), 0);
    attempts_close(attempts);
    temporary_remove(directory);
}

/* ---- the forwarder's ---- */

static void watch_and_run(struct rig *rig, struct telemetry *telemetry)
{
    struct error why;
    telemetry_open(telemetry, &rig->made.config);
    rig->forwarder = forwarder_new(&rig->made.config, rig->queue, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig->forwarder);
    forwarder_watch(rig->forwarder, telemetry);
    forwarder_back_off(rig->forwarder, RIG_BACKOFF_MS);
    rig_go(rig);
}

/* 503 twice, then taken: three attempts, which stay with the event; what comes after has only its own. */
static void test_of_an_event(void)
{
    struct rig rig;
    struct telemetry telemetry;
    static struct recent_event list[4];
    static struct recent_whole whole;
    rig_prepare(&rig);
    rig_open(&rig);
    standin_fail(rig.standin, &(struct standin_fault){.act = STANDIN_ANSWER, .times = 2, .status = 503});
    rig_append(&rig, 1, 1, NULL);
    watch_and_run(&rig, &telemetry);
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
    rig_append(&rig, 2, 1, NULL);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 2, RIG_PATIENCE_MS));
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
    CU_ASSERT_EQUAL(recent_list(telemetry.recent, 0, clock_unix_ms(), list, 4), 2);
    CU_ASSERT_TRUE(recent_get(telemetry.recent, list[1].number, clock_unix_ms(), &whole));
    CU_ASSERT_EQUAL(whole.attempts, 3);
    CU_ASSERT_EQUAL(whole.attempt[0].status, 503);
    CU_ASSERT_PTR_NOT_NULL(strstr(whole.attempt[0].words, "the data plane answered 503"));
    CU_ASSERT_EQUAL(whole.attempt[1].status, 503);
    CU_ASSERT_EQUAL(whole.attempt[2].status, 200);
    CU_ASSERT_STRING_EQUAL(whole.attempt[2].words, "");
    CU_ASSERT_EQUAL(whole.attempt[2].events, 1);
    CU_ASSERT_TRUE(whole.attempt[2].sent_ms >= whole.event.received_ms);
    CU_ASSERT_TRUE(recent_get(telemetry.recent, list[0].number, clock_unix_ms(), &whole));
    CU_ASSERT_EQUAL(whole.attempts, 1);
    rig_end(&rig);
    telemetry_close(&telemetry);
}

/* A 503 asks for ten minutes. Somebody wants it tried now, and it is; before, it waits. */
static void test_tried_now(void)
{
    struct rig rig;
    struct telemetry telemetry;
    rig_prepare(&rig);
    rig_open(&rig);
    standin_fail(rig.standin, &(struct standin_fault){
                                  .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .status = 503, .retry_after = "600"});
    rig_append(&rig, 1, 1, NULL);
    watch_and_run(&rig, &telemetry);
    CU_ASSERT_TRUE(standin_wait_requests(rig.standin, 1, RIG_PATIENCE_MS));
    standin_heal(rig.standin);
    CU_ASSERT_FALSE(standin_wait_messages(rig.standin, 1, 150));
    CU_ASSERT_TRUE(forward_mended(&rig.made.config, NULL));
    queue_wake(rig.queue);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 1, RIG_PATIENCE_MS));
    CU_ASSERT_EQUAL(standin_counts(rig.standin).repeated, 0);
    rig_end(&rig);
    telemetry_close(&telemetry);
}

static void append_dated(struct rig *rig, const char *id, const char *date)
{
    char body[512];
    struct error why;
    snprintf(
        body, sizeof body,
        "{\"event\": {\"id\": \"%s\", \"date_updated\": \"%s\", \"lead_id\": \"lead_1\", \"object_type\": \"lead\", "
        "\"action\": \"updated\", \"data\": {}}, \"subscription_id\": \"whsub_1\"}",
        id, date);
    CU_ASSERT_EQUAL(queue_append(rig->queue, "one", body, strlen(body), clock_now() + RIG_PATIENCE_MS, &why),
                    QUEUE_STORED);
}

/* An event of today, the same once more, one of a year ago: three are done with, as many as came, and only the first
 * one's delay tells how long the way is. */
static void test_live_events_are_told(void)
{
    struct rig rig;
    struct telemetry telemetry;
    static struct tally tally;
    char now[DATE_PRINTED];
    times_print_ms(clock_unix_ms(), DATE_MICROSECONDS, now);
    rig_prepare(&rig);
    rig_open(&rig);
    append_dated(&rig, "ev_1", now);
    append_dated(&rig, "ev_1", now);
    append_dated(&rig, "ev_2", "2025-11-24T21:01:10.000000+00:00");
    watch_and_run(&rig, &telemetry);
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
    counters_read(counters_of(telemetry.counters, "one"), clock_unix_ms(), &tally);
    uint64_t done = 0, delays = 0;
    for (size_t i = 0; i < COUNTED_MINUTES; i++) {
        done += tally.minute[i].done;
        for (size_t k = 0; k < COUNTED_BUCKETS; k++)
            delays += tally.minute[i].delay[k];
    }
    CU_ASSERT_EQUAL(done, 3);
    CU_ASSERT_EQUAL(delays, 1);
    CU_ASSERT_EQUAL(tally.outcome[COUNTED_DELIVERED], 2);
    rig_end(&rig);
    telemetry_close(&telemetry);
}

void suite_attempts(void)
{
    static CU_TestInfo tests[] = {
        {"found by id", test_found_by_id},
        {"ten of a lane", test_ten_of_a_lane},
        {"half a record is none", test_half_a_record_is_none},
        {"of an event", test_of_an_event},
        {"tried now", test_tried_now},
        {"live events are told", test_live_events_are_told},
        CU_TEST_INFO_NULL,
    };
    suite_add("attempts", NULL, NULL, tests);
}
