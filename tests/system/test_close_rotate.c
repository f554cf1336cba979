/* A rotation whose new subscription is lost or paused, against the stand-in Close and through a real web server:
 * whatever becomes of the new one, the old one stays until Close sends to the new one. */
#include "tests/suites.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/close_site.h"
#include "tests/support/durable.h"

#define MINUTE INT64_C(60000)

static const struct standin_close_options usual = {.retry_ms = 20, .failures_most = 30};

/* A rotation that only has to be ended. */
struct rotating {
    struct close_site site;
    char old[80], new[80];
    size_t added; /* events */
};

/* An event arrives once, and both subscriptions' deliveries are accepted. */
static void send_one(struct rotating *work)
{
    char id[40];
    snprintf(id, sizeof id, "ev_%zu", work->added++);
    standin_close_add(work->site.close, &(struct close_event){.id = id, .lead = "lead_1"});
    CU_ASSERT(standin_close_wait_idle(work->site.close, 60000));
    check(standin_wait_messages(work->site.site.standin, work->added, 60000), "%s arrives", id);
}

/* Begins one, and lets it come to where the next reconcile ends it. */
static void begin_rotation(struct rotating *work)
{
    check(CLOSE_RUN(&work->site, "rotate") == 0, "it begins: %s", work->site.said);
    CU_ASSERT_EQUAL(standin_close_subscriptions(work->site.close), 2);
    standin_close_id(work->site.close, 1, work->new);
    send_one(work);
    standin_close_move_clock(work->site.close, 6 * MINUTE);
}

static bool open_rotating(struct rotating *work)
{
    *work = (struct rotating){.added = 0};
    if (!close_site_open(&work->site, &setup_lighttpd_spawn, &usual, NULL) ||
        !check(CLOSE_RUN(&work->site, "subscribe", "--url", close_site_url(&work->site)) == 0, "subscribed: %s",
               work->site.said))
        return false;
    standin_close_id(work->site.close, 0, work->old);
    begin_rotation(work);
    return true;
}

/* Only the old one is there, with its key, and delivers. */
static void check_old_delivers(struct rotating *work, const char *what)
{
    char id[80];
    check(standin_close_subscriptions(work->site.close) == 1, "%s: one subscription is there", what);
    check(strcmp(standin_close_id(work->site.close, 0, id), work->old) == 0, "%s: it is the old one: %s", what, id);
    size_t failed = standin_close_counts(work->site.close).failed;
    send_one(work);
    check(standin_close_counts(work->site.close).failed == failed, "%s: its key is held", what);
}

static void check_over(struct rotating *work, const char *what)
{
    char id[80], status[80];
    check(standin_close_subscriptions(work->site.close) == 1, "%s: one subscription is there", what);
    check(strcmp(standin_close_id(work->site.close, 0, id), work->new) == 0, "%s: it is the new one: %s", what, id);
    CU_ASSERT_STRING_EQUAL(standin_close_status(work->site.close, 0, status), "active");
    CU_ASSERT_EQUAL(close_site_keys(&work->site), 1);
    send_one(work);
}

static void check_says(const struct rotating *work, const char *what, const char *words)
{
    check(strstr(work->site.said, words) != NULL, "%s: \"%s\" is said: %s", what, words, work->site.said);
}

static void a_new_one_that_is_unsubscribed(void)
{
    struct rotating work;
    if (open_rotating(&work)) {
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "unsubscribe", work.new), 0);
        check_says(&work, "unsubscribe", "the rotation is called off: ");
        check_says(&work, "unsubscribe", work.old);
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "reconcile"), 0);
        check_old_delivers(&work, "unsubscribed");
        CU_ASSERT_EQUAL(close_site_keys(&work.site), 1);
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "subscriptions"), 0);
        CU_ASSERT(strstr(work.site.said, "place of") == NULL);
        begin_rotation(&work);
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "reconcile"), 0);
        check_over(&work, "the next rotation");
    }
    close_site_close(&work.site);
}

static void a_new_one_that_is_removed_in_close(void)
{
    struct rotating work;
    char lost[80];
    if (open_rotating(&work)) {
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "subscriptions"), 0);
        check_says(&work, "under way", " is taking the place of ");
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "check"), 0);
        check_says(&work, "check", " is taking the place of ");
        standin_close_remove(work.site.close, work.new);
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "subscriptions"), 0);
        check_says(&work, "subscriptions", "does not exist in Close any more");
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "reconcile"), 1);
        check_says(&work, "reconcile", "the rotation is called off");
        check_says(&work, "reconcile", work.old);
        check_old_delivers(&work, "removed");
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "reconcile"), 0); /* said once */

        /* `rotate` is the first that finds it out, and begins again */
        begin_rotation(&work);
        standin_close_remove(work.site.close, strcpy(lost, work.new));
        begin_rotation(&work);
        check_says(&work, "rotate", "does not exist in Close any more");
        CU_ASSERT_STRING_NOT_EQUAL(work.new, lost);
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "unsubscribe", lost), 0); /* its key was kept */
        CU_ASSERT_EQUAL(close_site_keys(&work.site), 3);                /* with that of the one lost first */
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "reconcile"), 0);
        CU_ASSERT_EQUAL(standin_close_subscriptions(work.site.close), 1);
    }
    close_site_close(&work.site);
}

static void a_new_one_that_is_paused(void)
{
    struct rotating work;
    if (open_rotating(&work)) {
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "pause", work.new), 0);
        check_says(&work, "pause", "stays meanwhile");
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "reconcile"), 0);
        check_says(&work, "reconcile", "resume ");
        CU_ASSERT_EQUAL(standin_close_subscriptions(work.site.close), 2);
        CU_ASSERT_EQUAL(close_site_keys(&work.site), 2);
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "rotate"), 1);
        check_says(&work, "rotate", "resume ");
        CU_ASSERT_EQUAL(standin_close_subscriptions(work.site.close), 2);
        send_one(&work);
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "resume", work.new), 0);
        check_over(&work, "resumed");
    }
    close_site_close(&work.site);
}

static void a_new_one_that_close_pauses(void)
{
    struct rotating work;
    if (open_rotating(&work)) {
        standin_close_pause(work.site.close, 1, "too_many_events");
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "reconcile"), 1);
        CU_ASSERT_EQUAL(standin_close_subscriptions(work.site.close), 2);
        check_says(&work, "reconcile", "resume ");
        check_says(&work, "reconcile", work.old);
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "unsubscribe", work.old), 1);
        check_says(&work, "unsubscribe", "resume ");
        CU_ASSERT_EQUAL(standin_close_subscriptions(work.site.close), 2);

        /* activated by itself: that it is active a moment later is no reason yet */
        close_site_configure(&work.site, NULL, NULL, "auto_resume = yes");
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "reconcile"), 1);
        CU_ASSERT_EQUAL(standin_close_subscriptions(work.site.close), 2);
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "reconcile"), 0);
        check_over(&work, "activated");
    }
    close_site_close(&work.site);
}

/* What Close said before the Event Log was read, which takes minutes, does not count. */
static void a_new_one_that_goes_while_the_log_is_read(void)
{
    struct rotating work;
    const char *const arguments[] = {"reconcile", NULL};
    if (open_rotating(&work)) {
        struct process process = {0};
        int status = -1;
        standin_close_fail(work.site.close, &(struct close_fault){"GET /event", CLOSE_HOLD, 1, 0, NULL});
        CU_ASSERT(close_site_start(&work.site, &process, arguments));
        CU_ASSERT(standin_close_wait_held(work.site.close, 60000));
        standin_close_remove(work.site.close, work.new);
        standin_close_heal(work.site.close);
        CU_ASSERT(process_wait(&process, 60000, &status));
        check_old_delivers(&work, "removed meanwhile");
    }
    close_site_close(&work.site);
}

/* When Close does not answer whether it is there. */
static void a_new_one_of_which_nothing_is_known(void)
{
    struct rotating work;
    char match[120];
    if (open_rotating(&work)) {
        snprintf(match, sizeof match, "GET /webhook/%s", work.new);
        standin_close_fail(work.site.close, &(struct close_fault){match, CLOSE_ANSWER, 9, 403, "{}"});
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "rotate"), 1);
        check_says(&work, "rotate", "not known");
        CU_ASSERT_EQUAL(standin_close_subscriptions(work.site.close), 2);
        standin_close_heal(work.site.close);
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "reconcile"), 0);
        check_over(&work, "it is known");
    }
    close_site_close(&work.site);
}

static void a_new_one_whose_key_is_gone(void)
{
    struct rotating work;
    char name[120], path[PATH_SIZE];
    if (open_rotating(&work)) {
        snprintf(name, sizeof name, "state/keys/default-%s.key", work.new);
        path_join(path, work.site.site.directory, name);
        CU_ASSERT_EQUAL(remove(path), 0);
        durable_lose_key(work.new);
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "reconcile"), 1);
        check_says(&work, "reconcile", "unsubscribe ");
        CU_ASSERT_EQUAL(standin_close_subscriptions(work.site.close), 2);
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "unsubscribe", work.new), 0);
        check_old_delivers(&work, "without key");
    }
    close_site_close(&work.site);
}

static void an_old_one_that_is_unsubscribed(void)
{
    struct rotating work;
    if (open_rotating(&work)) {
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "unsubscribe", work.old), 0);
        check_says(&work, "unsubscribe", "the rotation is over: ");
        check_over(&work, "unsubscribed");
        strcpy(work.old, work.new);
        begin_rotation(&work);

        /* the new one is gone: who removes the old one may not know that */
        standin_close_remove(work.site.close, work.new);
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "unsubscribe", work.old), 1);
        check_says(&work, "unsubscribe", "the rotation is called off");
        check_old_delivers(&work, "refused");
        CU_ASSERT_EQUAL(CLOSE_RUN(&work.site, "unsubscribe", work.old), 0);
        CU_ASSERT_EQUAL(standin_close_subscriptions(work.site.close), 0);
    }
    close_site_close(&work.site);
}

static void the_program_calls_it_off(void)
{
    struct rotating work;
    if (open_rotating(&work)) {
        close_site_stop_program(&work.site);
        standin_close_remove(work.site.close, work.new);
        work.site.reconciles = true;
        close_site_configure(&work.site, NULL, NULL, NULL);
        CU_ASSERT(close_site_start_program(&work.site));
        CU_ASSERT(site_wait_logged(&work.site.site, "msg=rotation_called_off", 1, 60000));
        check_old_delivers(&work, "the program");
        CU_ASSERT_EQUAL(site_count_logged(&work.site.site, "msg=rotated"), 0);
    }
    close_site_close(&work.site);
}

static CU_TestInfo tests[] = {
    {"a new one that is unsubscribed", a_new_one_that_is_unsubscribed},
    {"a new one that is removed in Close", a_new_one_that_is_removed_in_close},
    {"a new one that is paused", a_new_one_that_is_paused},
    {"a new one that Close pauses", a_new_one_that_close_pauses},
    {"a new one that goes while the log is read", a_new_one_that_goes_while_the_log_is_read},
    {"a new one of which nothing is known", a_new_one_of_which_nothing_is_known},
    {"a new one whose key is gone", a_new_one_whose_key_is_gone},
    {"an old one that is unsubscribed", an_old_one_that_is_unsubscribed},
    {"the program calls it off", the_program_calls_it_off},
    CU_TEST_INFO_NULL,
};

void suite_close_rotate(void)
{
    suite_add("close subscribe: rotation", NULL, NULL, tests);
}

void suite_close_rotate_postgresql(void)
{
    suite_add("close subscribe: rotation postgresql", durable_use_postgresql, durable_end_postgresql, tests);
}
