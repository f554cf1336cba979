/* Each alert is raised, and ends, by its real cause. */
#include "closeapi/closeapi.h"
#include "kept/kept.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/event.h"
#include "tests/support/looked.h"
#include "tests/support/running.h"
#include "tests/support/small_disk.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATIENCE_MS 60000

/* The alert command and what it was told. */
static char directory[PATH_SIZE], told[PATH_SIZE], line[PATH_SIZE * 2 + 128];

static int make_command(void)
{
    static const char text[] = "#!/bin/sh\ncat >>\"$1\"\n";
    if (!temporary_make(directory) || !temporary_write(directory, "tell", 0755, text, sizeof text - 1))
        return 1;
    path_join(told, directory, "told");
    snprintf(line, sizeof line, LOOKED_CONFIG "alert_command = %s/tell %s\nalert_interval = 1s\n", directory, told);
    return 0;
}

static int remove_command(void)
{
    temporary_remove(directory);
    return 0;
}

/* Whether it was told of a cause in a state, for a source ("": the whole). */
static bool was_told(const char *cause, const char *state, const char *source)
{
    char start[200];
    char *text = temporary_read(directory, "told");
    snprintf(start, sizeof start, "{\"cause\": \"%s\", \"state\": \"%s\", \"source\": \"%s\", \"words\": \"", cause,
             state, source);
    bool found = text != NULL && strstr(text, start) != NULL;
    free(text);
    return found;
}

static bool wait_told(const char *cause, const char *state, const char *source)
{
    for (moment deadline = clock_now() + PATIENCE_MS; !was_told(cause, state, source);) {
        if (clock_now() > deadline)
            return check(false, "%s is told to be %s", cause, state);
        poll(NULL, 0, 50);
    }
    return check(true, "%s is told to be %s", cause, state);
}

/* A site that tells, with more lines. Forgets what was told. */
static bool open_telling(struct site *site, const char *more)
{
    char all[sizeof line + 200];
    unlink(told);
    snprintf(all, sizeof all, "%s%s", line, more);
    return durable_open(site, &setup_lighttpd_spawn, all);
}

static void state_path(const struct site *site, char path[PATH_SIZE])
{
    path_join(path, site->directory, "state");
}

static void the_data_plane_refuses(void)
{
    struct site site;
    if (open_telling(&site, "")) {
        standin_fail(site.standin,
                     &(struct standin_fault){.act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .status = 401});
        CU_ASSERT_EQUAL(site_send(&site, "ev_1").status, 200);
        wait_told("data_plane_refuses", "raised", "alpha");
        standin_heal(site.standin);
        durable_configure(&site, line); /* saved again: tried at once */
        wait_told("data_plane_refuses", "gone", "alpha");
        CU_ASSERT(standin_wait_messages(site.standin, 1, PATIENCE_MS));
    }
    site_close(&site);
}

static void events_wait_and_nothing_comes(void)
{
    struct site site;
    if (open_telling(&site, "alert_waiting = 2s\nalert_silence = 4s\n")) {
        standin_fail(site.standin, &(struct standin_fault){.act = STANDIN_HOLD, .times = STANDIN_ALWAYS});
        CU_ASSERT_EQUAL(site_send(&site, "ev_1").status, 200);
        wait_told("events_wait", "raised", "alpha");
        standin_heal(site.standin);
        wait_told("events_wait", "gone", "alpha");
        wait_told("silence", "raised", "alpha");
        /* one may be 4 s old again before somebody looks */
        for (moment deadline = clock_now() + PATIENCE_MS;
             !was_told("silence", "gone", "alpha") && clock_now() < deadline; poll(NULL, 0, 200)) {
            char id[32];
            snprintf(id, sizeof id, "ev_at_%lld", (long long)clock_now());
            CU_ASSERT_EQUAL(site_send(&site, id).status, 200);
        }
        wait_told("silence", "gone", "alpha");
    }
    site_close(&site);
}

static void dead_letters_appear(void)
{
    struct site site;
    struct event_text event = {.body = {.data = NULL}};
    char form[200], token[LOOKED_TOKEN];
    if (open_telling(&site, "")) {
        standin_fail(
            site.standin,
            &(struct standin_fault){
                .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = "poisoned", .status = 400, .body = "no"});
        event_make(&event, &(struct event_options){.id = "ev_bad", .lead = "lead_bad", .note = "poisoned"});
        CU_ASSERT_EQUAL(site_send_body(&site, event_body(&event)).status, 200);
        CU_ASSERT_EQUAL(site_send(&site, "ev_good").status, 200);
        wait_told("dead_letters", "raised", "alpha");
        standin_heal(site.standin);
        CU_ASSERT_FATAL(looked_token(&site, token));
        snprintf(form, sizeof form, "token=%s&action=replay&letter=1", token);
        CU_ASSERT_EQUAL(looked_post(&site, form), 303);
        wait_told("dead_letters", "gone", "alpha");
        CU_ASSERT_PTR_NOT_NULL(standin_find(site.standin, "ev_bad"));
    }
    event_free(&event);
    site_close(&site);
}

static void the_queue_is_full(void)
{
    struct site site;
    struct event_text event = {.body = {.data = NULL}};
    int status = 200;
    if (open_telling(&site, "queue_max_bytes = 1M\nmax_body = 512K\n")) {
        standin_fail(site.standin, &(struct standin_fault){.act = STANDIN_HOLD, .times = STANDIN_ALWAYS});
        moment end = clock_now() + PATIENCE_MS;
        for (int i = 0; (i < 40 || durable_is_postgresql()) && status == 200 && clock_now() < end; i++) {
            char id[16];
            snprintf(id, sizeof id, "ev_%d", i);
            event_make(&event, &(struct event_options){.id = id, .filler = 100000});
            status = site_send_body(&site, event_body(&event)).status;
            if (durable_is_postgresql())
                poll(NULL, 0, 100); /* how full it is, is asked every few seconds */
        }
        CU_ASSERT_EQUAL(status, 503);
        wait_told("queue_full", "raised", "alpha");
        standin_heal(site.standin);
        for (moment deadline = clock_now() + PATIENCE_MS; site_send(&site, "ev_last").status != 200;) {
            if (!check(clock_now() < deadline, "events are taken again"))
                break;
            poll(NULL, 0, 200);
        }
        wait_told("queue_full", "gone", "alpha");
    }
    event_free(&event);
    site_close(&site);
}

static void cron_is_overdue(void)
{
    struct site site;
    char state[PATH_SIZE], mark[PATH_SIZE];
    if (open_telling(&site, "")) {
        CU_ASSERT_EQUAL(command_output(&site, "cron", NULL).code, 0);
        state_path(&site, state);
        path_join(mark, state, "cron.last");
        int64_t past = clock_unix_ms() / 1000 - 20 * 60;
        struct timespec times[2] = {{.tv_sec = past}, {.tv_sec = past}};
        CU_ASSERT_EQUAL(utimensat(AT_FDCWD, mark, times, 0), 0);
        wait_told("cron_overdue", "raised", "");
        CU_ASSERT_EQUAL(command_output(&site, "cron", NULL).code, 0);
        wait_told("cron_overdue", "gone", "");
    }
    site_close(&site);
}

/* What is known of the source beta's subscription, as whoever asks Close leaves it. */
static void mark_paused(const struct site *site, bool paused)
{
    struct error why;
    struct completeness known = {.last_run_ms = 1, .paused = paused, .trouble = "permission_revoked"};
    char state[PATH_SIZE], closeapi[PATH_SIZE], beta[PATH_SIZE], path[PATH_SIZE];
    state_path(site, state);
    path_join(closeapi, state, "closeapi");
    path_join(beta, closeapi, "beta");
    path_join(path, beta, "reconcile");
    temporary_directory(state, "closeapi"); /* the second time it is there */
    temporary_directory(closeapi, "beta");
    struct config config = {.state_dir = state};
    durable_queue_config(&config);
    struct kept *kept = kept_open(&config, &why);
    CU_ASSERT(completeness_write(kept, beta, &known, &why));
    kept_close(kept);
    CU_ASSERT_EQUAL(chown(path, user_of_children().uid, user_of_children().gid), 0);
}

static void the_subscription_is_paused(void)
{
    struct site site;
    if (open_telling(&site, "")) {
        CU_ASSERT_EQUAL(site_send(&site, "ev_1").status, 200);
        mark_paused(&site, true);
        wait_told("subscription_paused", "raised", "beta");
        mark_paused(&site, false);
        wait_told("subscription_paused", "gone", "beta");
    }
    site_close(&site);
}

/* Where no process lives long, cron tells: here none is there when it comes. */
static void cron_tells_by_itself(void)
{
    struct site site;
    if (open_telling(&site, "")) {
        CU_ASSERT_EQUAL(site_send(&site, "ev_1").status, 200);
        process_stop(&site.program, 10000);
        mark_paused(&site, true);
        command_output(&site, "cron", NULL);
        CU_ASSERT(was_told("subscription_paused", "raised", "beta"));
        mark_paused(&site, false);
        command_output(&site, "cron", NULL);
        CU_ASSERT(was_told("subscription_paused", "gone", "beta"));
    }
    site_close(&site);
}

static void the_disk_is_nearly_full(void)
{
    struct site site;
    char state[PATH_SIZE];
    if (open_telling(&site, "")) {
        state_path(&site, state);
        process_stop(&site.program, 10000);
        temporary_remove(state);
        CU_ASSERT(temporary_directory(site.directory, "state"));
        if (small_disk_mount(state, "60m")) {
            CU_ASSERT(site_spawn(&site));
            wait_told("disk_nearly_full", "raised", "");
            CU_ASSERT_EQUAL(mount(NULL, state, NULL, MS_REMOUNT, "size=300m"), 0);
            wait_told("disk_nearly_full", "gone", "");
            process_stop(&site.program, 10000);
            small_disk_unmount(state);
        }
    }
    site_close(&site);
}

static int with_postgresql(void)
{
    return make_command() != 0 || durable_use_postgresql() != 0;
}

static int without_postgresql(void)
{
    durable_end_postgresql();
    return remove_command();
}

static CU_TestInfo tests[] = {
    {"the data plane refuses", the_data_plane_refuses},
    {"events wait, and nothing comes", events_wait_and_nothing_comes},
    {"dead letters appear", dead_letters_appear},
    {"the queue is full", the_queue_is_full},
    {"cron is overdue", cron_is_overdue},
    {"the subscription is paused", the_subscription_is_paused},
    {"cron tells by itself", cron_tells_by_itself},
    {"the disk is nearly full", the_disk_is_nearly_full},
    CU_TEST_INFO_NULL,
};

void suite_status_alerts_postgresql(void)
{
    suite_add("status_alerts postgresql", with_postgresql, without_postgresql, tests);
}

void suite_status_alerts(void)
{
    suite_add("status_alerts", make_command, remove_command, tests);
}
