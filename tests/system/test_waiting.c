/* Requests that wait: for the thread that writes, which is kept from committing; for peers that stall. Each is
 * answered, whatever becomes of the queue meanwhile, and no thread waits with them. */
#include "tests/suites.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/check.h"
#include "tests/support/fastcgi_client.h"
#include "tests/support/running.h"
#include "tests/support/unanswered.h"

#define MANY 1000
#define SOON_MS 60000

static uint64_t waiting(const struct unanswered *scene)
{
    return durable_counts(&scene->site, "open").waiting;
}

static void a_thousand_wait_for_one_commit(void)
{
    struct unanswered scene;
    if (unanswered_open(&scene, "request_threads = 2\n")) {
        unanswered_keep_from_writing(&scene);
        unanswered_send(&scene, MANY, "");
        unanswered_let_write(&scene);
        CU_ASSERT_EQUAL(unanswered_count(&scene, 200, "ok"), MANY);
        CU_ASSERT_EQUAL(waiting(&scene), MANY);
    }
    unanswered_close(&scene);
}

static void a_full_queue_answers_each(void)
{
    struct unanswered scene;
    char fill[60001];
    memset(fill, 'x', sizeof fill - 1);
    fill[sizeof fill - 1] = '\0';
    if (unanswered_open(&scene, "request_threads = 2\nqueue_max_bytes = 1M\nmax_body = 1M\n")) {
        do {
            unanswered_send(&scene, 4, fill);
        } while (unanswered_count(&scene, 200, NULL) > 0);
        unanswered_keep_from_writing(&scene);
        unanswered_send(&scene, MANY, "");
        unanswered_let_write(&scene);
        CU_ASSERT_EQUAL(unanswered_count(&scene, 503, "there is no room for the event"), MANY);
    }
    unanswered_close(&scene);
}

static void a_queue_that_is_moved_away_answers_each(void)
{
    struct unanswered scene;
    char from[PATH_SIZE], to[PATH_SIZE];
    if (unanswered_open(&scene, "request_threads = 2\n")) {
        path_join(from, scene.site.directory, "state/queue.db");
        path_join(to, scene.site.directory, "state/moved.db");
        unanswered_keep_from_writing(&scene);
        unanswered_send(&scene, MANY, "");
        CU_ASSERT_EQUAL(rename(from, to), 0);
        unanswered_let_write(&scene);
        CU_ASSERT_EQUAL(unanswered_count(&scene, 503, NULL), MANY);
        CU_ASSERT_EQUAL(rename(to, from), 0);
    }
    unanswered_close(&scene);
}

/* Who gives up leaves its body to the group: it may be stored, and nothing breaks when it is. */
static void who_waits_too_long_is_answered(void)
{
    struct unanswered scene;
    if (unanswered_open(&scene, "request_threads = 2\n")) {
        unanswered_keep_from_writing(&scene);
        moment asked = clock_now();
        unanswered_send(&scene, MANY / 10, "");
        CU_ASSERT_EQUAL(unanswered_count(&scene, 503, IN_TIME), MANY / 10);
        CU_ASSERT(site_count_logged(&scene.site, "the disk has not taken the event in time") > 0);
        int64_t took = clock_now() - asked;
        check(took >= ANSWERED_MS && took < durable_patience(ANSWERED_MS + 3000), "they are answered after %lld ms",
              (long long)took);
        unanswered_let_write(&scene);
        CU_ASSERT_EQUAL(unanswered_ask(&scene), 200);
        CU_ASSERT(waiting(&scene) <= MANY / 10 + 1);
    }
    unanswered_close(&scene);
}

static void what_the_writer_has_survives(int signal)
{
    struct unanswered scene;
    if (unanswered_open(&scene, "request_threads = 2\nshutdown_grace = 10s\n")) {
        size_t opened = site_opened(&scene.site);
        unanswered_keep_from_writing(&scene);
        unanswered_send(&scene, MANY / 2, "");
        unanswered_wait_until_accepted(&scene);
        durable_signal(scene.site.program.pid, signal);
        poll(NULL, 0, 300);
        unanswered_let_write(&scene);
        CU_ASSERT_EQUAL(unanswered_count(&scene, 200, "ok"), MANY / 2);
        if (signal == SIGHUP)
            site_wait_opened(&scene.site, opened + 1);
        CU_ASSERT_EQUAL(waiting(&scene), MANY / 2);
    }
    unanswered_close(&scene);
}

static void a_stop_answers_what_the_writer_has(void)
{
    what_the_writer_has_survives(SIGTERM);
}

static void a_reload_answers_what_the_writer_has(void)
{
    what_the_writer_has_survives(SIGHUP);
}

/* A disk that hangs: nobody is left without an answer. */
static void a_stop_gives_up_what_is_not_written(void)
{
    struct unanswered scene;
    if (unanswered_open(&scene, "request_threads = 2\nshutdown_grace = 3s\n")) {
        unanswered_keep_from_writing(&scene);
        unanswered_send(&scene, MANY / 10, "");
        unanswered_wait_until_accepted(&scene);
        durable_signal(scene.site.program.pid, SIGTERM);
        CU_ASSERT_EQUAL(unanswered_count(&scene, 503, IN_TIME), MANY / 10);
        CU_ASSERT(site_count_logged(&scene.site, "the disk has not taken the event in time") > 0);
    }
    unanswered_close(&scene);
}

/* More than there are threads by far: good ones are served beside them. */
static void stalled_peers_hold_a_descriptor_only(void)
{
    struct unanswered scene;
    if (unanswered_open(&scene, "request_threads = 1\nrequest_timeout = 12s\n")) {
        for (int i = 0; i < 2 * MANY; i++, scene.count++)
            scene.fds[scene.count] = unanswered_begin(&scene, i, "some more that never comes", 10);
        for (int i = 0; i < 10; i++)
            CU_ASSERT_EQUAL(unanswered_ask(&scene), 200);
        long memory = process_status(scene.site.program.pid, "VmRSS");
        check(memory < 64 * 1024, "it takes %ld KiB", memory);
        CU_ASSERT_EQUAL(unanswered_count(&scene, 400, "did not arrive within"), 2 * MANY);
    }
    unanswered_close(&scene);
}

/* Beyond the limit of descriptors there is an answer, and room again once others have gone. */
static void beyond_the_limit_the_answer_is_503(void)
{
    static const char *const few[] = {"/bin/sh", "-c", "ulimit -n 200; exec \"$0\"", NULL};
    struct unanswered scene;
    if (unanswered_open(&scene, NULL) &&
        check(durable_start_anew(&scene.site, few), "it starts with few descriptors")) {
        for (int i = 0; i < 150; i++, scene.count++)
            scene.fds[scene.count] = unanswered_begin(&scene, i, "some more that never comes", 10);
        CU_ASSERT_EQUAL(unanswered_ask(&scene), 503);
        for (int i = 0; i < 100; i++, scene.count++)
            scene.fds[scene.count] = fastcgi_connect(scene.socket);
        CU_ASSERT(site_wait_logged(&scene.site, "msg=accept_failed", 1, SOON_MS));
        for (int i = 0; i < scene.count; i++)
            close(scene.fds[i]);
        moment deadline = clock_now() + durable_patience(SOON_MS);
        while (unanswered_ask(&scene) != 200 && clock_now() < deadline)
            poll(NULL, 0, 20);
        CU_ASSERT_EQUAL(unanswered_ask(&scene), 200);
    }
    unanswered_close(&scene);
}

void suite_waiting(void)
{
    static CU_TestInfo tests[] = {
        {"a thousand wait for one commit", a_thousand_wait_for_one_commit},
        {"a queue that is full answers each", a_full_queue_answers_each},
        {"a queue that is moved away answers each", a_queue_that_is_moved_away_answers_each},
        {"who waits too long is answered", who_waits_too_long_is_answered},
        {"a stop answers what the writer has", a_stop_answers_what_the_writer_has},
        {"a reload answers what the writer has", a_reload_answers_what_the_writer_has},
        {"a stop gives up what is not written", a_stop_gives_up_what_is_not_written},
        {"stalled peers hold a descriptor only", stalled_peers_hold_a_descriptor_only},
        {"beyond the limit of descriptors the answer is 503", beyond_the_limit_the_answer_is_503},
        CU_TEST_INFO_NULL,
    };
    suite_add("waiting", NULL, NULL, tests);
}
