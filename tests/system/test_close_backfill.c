/* A backfill brings everything once and in order, whatever happens on the way. BACKFILL_EVENTS=100000 makes it as large
 * as a real one. */
#include "base/clock.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/close_site.h"
#include "tests/support/durable.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <termios.h>
#include <unistd.h>

#define SECOND_US INT64_C(1000000)
#define DAY_US (INT64_C(86400) * SECOND_US)
#define LEADS 50

static const struct standin_close_options usual = {.hold_ms = 0};

static size_t event_count(void)
{
    const char *text = getenv("BACKFILL_EVENTS");
    size_t count = text == NULL ? 0 : strtoul(text, NULL, 10);
    return count > 0 ? count : 5000;
}

static const char *name_event(char id[static 40], size_t i)
{
    snprintf(id, 40, "ev_%zu", i);
    return id;
}

/* Events that nobody delivered, evenly over so many days until an hour ago. */
static void fill_log(struct close_site *site, size_t count, int64_t days)
{
    int64_t end = standin_close_now_us(site->close) - 3600 * SECOND_US, step = days * DAY_US / (int64_t)count;
    for (size_t i = 0; i < count; i++) {
        char id[40], lead[40];
        snprintf(lead, sizeof lead, "lead_%zu", i % LEADS);
        standin_close_add(site->close, &(struct close_event){.id = name_event(id, i),
                                                             .lead = lead,
                                                             .updated_us = end - (int64_t)(count - 1 - i) * step,
                                                             .filler = 300,
                                                             .log_only = true});
    }
}

static bool subscribe(struct close_site *site, char id[static 80])
{
    bool good = CLOSE_RUN(site, "subscribe", "--url", close_site_url(site)) == 0;
    standin_close_id(site->close, 0, id);
    return check(good && id[0] != '\0', "subscribed: %s", site->said);
}

static size_t count_arrived(struct close_site *site, size_t count, const char *subscription)
{
    size_t arrived = 0;
    for (size_t i = 0; i < count; i++) {
        char id[40];
        const struct standin_message *message = standin_find(site->site.standin, name_event(id, i));
        if (message == NULL || message->times != 1)
            continue;
        /* looking each up in the log would take long */
        arrived += i % 97 != 0 || close_site_arrived(site, id, subscription);
    }
    return arrived;
}

static size_t count_disorder(struct close_site *site)
{
    size_t last[LEADS] = {0}, disorder = 0;
    const struct standin_message *message;
    for (size_t i = 0; (message = standin_message(site->site.standin, i)) != NULL; i++) {
        size_t number = strtoul(message->message_id + 3, NULL, 10);
        disorder += number < last[number % LEADS];
        last[number % LEADS] = number;
    }
    return disorder;
}

/* The most memory it had, in KiB, until it ends or so many pages were read in all. */
static long watch_until(struct close_site *site, struct process *process, size_t pages)
{
    long most = 0;
    size_t before = standin_close_counts(site->close).pages;
    while (process_alive(process) && standin_close_counts(site->close).pages < pages) {
        /* before it asks for something it may still be a copy of this program, which holds all events */
        bool works = standin_close_counts(site->close).pages > before;
        long now = works ? process_status(process->pid, "VmRSS") : 0;
        most = now > most ? now : most;
        poll(NULL, 0, 5);
    }
    return most;
}

static void many_and_everything_goes_wrong(void)
{
    static const struct standin_close_options trouble = {
        .limit_every = 25, .limit_for = "0.02", .cut_per_mille = 30, .refuse_every = 40, .expire_every = 60};
    static const char *const arguments[] = {"backfill", "--since", "29d", NULL};
    struct close_site site;
    char id[80];
    size_t count = event_count();
    if (close_site_open(&site, &setup_lighttpd_spawn, &(struct standin_close_options){.hold_ms = 0}, NULL) &&
        subscribe(&site, id)) {
        fill_log(&site, count, 28);
        standin_close_set(site.close, &trouble);
        moment began = clock_now();
        long memory[2] = {0};
        for (size_t i = 1; i <= 3; i++) {
            struct process process = {0};
            int status;
            CU_ASSERT(close_site_start(&site, &process, arguments));
            long most = watch_until(&site, &process, i * count / 50 / 4);
            memory[0] = i == 1 ? most : memory[0];
            check(process_alive(&process), "it is killed on the way");
            kill(process.pid, SIGKILL);
            CU_ASSERT(process_wait(&process, 60000, &status));
        }
        struct process process = {0};
        int status = -1;
        CU_ASSERT(close_site_start(&site, &process, arguments));
        memory[1] = watch_until(&site, &process, SIZE_MAX);
        CU_ASSERT(process_wait(&process, 60000, &status));
        check(status == 0, "the fourth run ends well: %d", status);
        char *said = temporary_read(site.site.directory, "command.log");
        check(said != NULL && strstr(said, "went on") != NULL, "and goes on where the third stopped: %s", said);
        free(said);
        int64_t took = clock_now() - began;
        CU_ASSERT(standin_wait_messages(site.site.standin, count, 120000));
        CU_ASSERT_EQUAL(count_arrived(&site, count, id), count);
        CU_ASSERT_EQUAL(standin_counts(site.site.standin).messages, count);
        CU_ASSERT_EQUAL(count_disorder(&site), 0);
        struct standin_close_counts counts = standin_close_counts(site.close);
        printf(
            "(%zu events in %lld ms; %zu pages; %zu limited, %zu cut, %zu 401, %zu cursors expired; %ld and %ld KiB) ",
            count, (long long)took, counts.pages, counts.limited, counts.cut, counts.refused, counts.expired, memory[0],
            memory[1]);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        check(memory[1] < 65536, "%ld KiB", memory[1]);
#endif
        /* and it adds nothing */
        standin_close_set(site.close, &(struct standin_close_options){.hold_ms = 0});
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "backfill", "--since", "29d", "--json"), 0);
        CU_ASSERT(strstr(site.said, "\"new\":0") != NULL);
    }
    close_site_close(&site);
}

static void only_what_is_asked_for(void)
{
    static const struct {
        const char *more[3];
        const char *fresh;
    } rows[] = {
        {{"--lead", "lead_1"}, "\"new\":3,"},    {{"--object-type", "lead"}, "\"new\":2,"},
        {{"--action", "updated"}, "\"new\":2,"}, {{"--all-events"}, "\"new\":6,"},
        {{"--dry-run"}, "\"new\":4,"},
    };
    for (int wants_filter = 0; wants_filter < 2; wants_filter++) {
        struct close_site site;
        const struct standin_close_options options = {.wants_filter = wants_filter == 1};
        if (close_site_open(&site, &setup_lighttpd_spawn, &options, NULL)) {
            int64_t then = standin_close_now_us(site.close) - 3 * 3600 * SECOND_US;
            static const char *const kinds[6][3] = {
                {"lead_1", "lead", "created"},        {"lead_1", "lead", "updated"},
                {"lead_1", "contact", "created"},     {"lead_2", "contact", "updated"},
                {"lead_2", "opportunity", "created"}, {"lead_2", "opportunity", "deleted"}};
            for (size_t i = 0; i < 6; i++) {
                char id[40];
                standin_close_add(site.close, &(struct close_event){.id = name_event(id, i),
                                                                    .lead = kinds[i][0],
                                                                    .object_type = kinds[i][1],
                                                                    .action = kinds[i][2],
                                                                    .updated_us = then + (int64_t)i * SECOND_US,
                                                                    .log_only = true});
            }
            CU_ASSERT_EQUAL(
                CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site), "--events", "lead.*,contact.*"), 0);
            for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
                check(CLOSE_RUN(&site, "backfill", "--since", "1d", "--json", "--dry-run", rows[i].more[0],
                                rows[i].more[1]) == 0,
                      "%s: %s", rows[i].more[0], site.said);
                check(strstr(site.said, rows[i].fresh) != NULL, "%s: %s not %s", rows[i].more[0], rows[i].fresh,
                      site.said);
            }
            CU_ASSERT_EQUAL(CLOSE_RUN(&site, "backfill", "--since", "1d", "--all-events"), 0);
            CU_ASSERT(standin_wait_messages(site.site.standin, 6, 60000));
            char id[80];
            standin_close_id(site.close, 0, id);
            CU_ASSERT(close_site_arrived(&site, "ev_0", id));
            CU_ASSERT(close_site_arrived(&site, "ev_5", NULL)); /* no subscription would have brought it */
        }
        close_site_close(&site);
    }
}

/* An event that the subscription's extra_filter does not let pass would not have come by webhook. */
static void a_filter_leaves_events_out(void)
{
    static const char filter[] = "{\"type\": \"field_accessor\", \"field\": \"lead_id\", \"filter\": {\"type\": "
                                 "\"equals\", \"value\": \"lead_1\"}}";
    struct close_site site;
    char path[PATH_SIZE];
    if (close_site_open(&site, &setup_lighttpd_spawn, &(struct standin_close_options){.hold_ms = 0}, NULL)) {
        CU_ASSERT(temporary_write(site.site.directory, "filter.json", 0644, filter, sizeof filter - 1));
        path_join(path, site.site.directory, "filter.json");
        CU_ASSERT_EQUAL(
            CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site), "--events", "lead.*", "--filter", path), 0);
        for (size_t i = 0; i < 3; i++) {
            char id[40];
            standin_close_add(site.close, &(struct close_event){.id = name_event(id, i),
                                                                .lead = i == 1 ? "lead_2" : "lead_1",
                                                                .object_type = "lead",
                                                                .action = "updated",
                                                                .log_only = true});
        }
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "backfill", "--since", "1d", "--json", "--dry-run"), 0);
        check(strstr(site.said, "\"new\":2,") != NULL && strstr(site.said, "\"uncovered\":1,") != NULL, "%s",
              site.said);
    }
    close_site_close(&site);
}

/* Events without their data are not sent half-empty. */
static void hidden_data_are_reported(void)
{
    struct close_site site;
    char id[80];
    const struct standin_close_options options = {.not_admin = true};
    if (close_site_open(&site, &setup_lighttpd_spawn, &options, NULL) && subscribe(&site, id)) {
        fill_log(&site, 10, 2);
        standin_close_add(site.close, &(struct close_event){.id = "ev_10", .log_only = true});
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "backfill", "--since", "3d"), 1);
        CU_ASSERT(strstr(site.said, "did not show the data of 10 events") != NULL);
        CU_ASSERT(strstr(site.said, "administrator") != NULL);
        CU_ASSERT(standin_wait_messages(site.site.standin, 1, 60000));
        CU_ASSERT(close_site_arrived(&site, "ev_10", id));
        CU_ASSERT_EQUAL(standin_counts(site.site.standin).messages, 1);
    }
    close_site_close(&site);
}

static void thirty_days_are_the_limit(void)
{
    struct close_site site;
    char id[80];
    if (close_site_open(&site, &setup_lighttpd_spawn, &(struct standin_close_options){.hold_ms = 0}, NULL) &&
        subscribe(&site, id)) {
        fill_log(&site, 10, 20);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "backfill", "--since", "60d"), 0);
        CU_ASSERT(strstr(site.said, "30 days") != NULL);
        CU_ASSERT(standin_wait_messages(site.site.standin, 10, 60000));
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "backfill", "--since", "2019-01-01", "--until", "2019-02-01"), 2);
        CU_ASSERT(strstr(site.said, "30 days") != NULL);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "backfill", "--since", "yesterday"), 2);
        CU_ASSERT(strstr(site.said, "a time is written like") != NULL);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "backfill"), 2);
    }
    close_site_close(&site);
}

/* ---- output that nobody takes ---- */

/* What a repair, the running program and another command need. */
static bool can_be_locked(const struct close_site *site, const char *name)
{
    char path[PATH_SIZE];
    path_join(path, site->site.directory, name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    bool had = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (fd >= 0)
        close(fd);
    return had;
}

static bool nothing_is_held(const struct close_site *site)
{
    return can_be_locked(site, "state/open.lock") && can_be_locked(site, "state/closeapi/default/backfill.lock") &&
           can_be_locked(site, "state/closeapi/default/reconcile.lock");
}

/* Starts a command of these words, all that it prints going to a terminal. */
static bool start_on_terminal(struct close_site *site, struct process *process, const char *terminal, const char *words)
{
    char program[PATH_SIZE], log[PATH_SIZE], config[PATH_SIZE + 32], line[256];
    site_program(&site->site, program);
    path_join(log, site->site.directory, "shell.log");
    snprintf(config, sizeof config, "CLOSECRM_CONFIG=%s/closecrm.conf", site->site.directory);
    snprintf(line, sizeof line, "exec \"$0\" %s >%s 2>&1", words, terminal);
    const char *const arguments[] = {"/bin/sh", "-c", line, program, NULL};
    const char *const environment[] = {config, NULL};
    return process_start(process, &(struct process_options){arguments, environment, site->site.directory, log});
}

/* Runs it on a terminal that is stopped, as by Ctrl-S: it does its work, lets go, and ends once that goes on. */
static void check_on_stopped_terminal(struct close_site *site, int terminal, int line, const char *words)
{
    struct process process = {0};
    int status = -1;
    size_t pages = standin_close_counts(site->close).pages;
    bool let_go = false;
    CU_ASSERT_EQUAL(tcflow(line, TCOOFF), 0);
    CU_ASSERT(start_on_terminal(site, &process, ptsname(terminal), words));
    CU_ASSERT(standin_close_wait_pages(site->close, pages + 1, 60000));
    for (moment deadline = clock_now() + 60000; !let_go && clock_now() < deadline; poll(NULL, 0, 5))
        let_go = nothing_is_held(site);
    check(let_go, "`%s` holds nothing while nobody takes what it prints", words);
    check(process_alive(&process), "`%s` is still there", words);
    CU_ASSERT_EQUAL(tcflow(line, TCOON), 0);
    CU_ASSERT(process_wait(&process, 60000, &status));
    CU_ASSERT_EQUAL(status, 0);
    process_stop(&process, 1000);
}

static void output_that_nobody_takes_holds_nothing_up(void)
{
    struct close_site site;
    struct user user = user_of_children();
    char id[80], path[PATH_SIZE];
    int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    CU_ASSERT_FATAL(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    CU_ASSERT_EQUAL(chown(ptsname(terminal), user.uid, user.gid), 0);
    int line = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
    const struct standin_close_options slow = {.limit_every = 3, .limit_for = "0.21"}; /* so that progress is shown */
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL) && subscribe(&site, id)) {
        close_site_stop_program(&site);
        fill_log(&site, 100, 1);
        standin_close_set(site.close, &slow);
        path_join(path, site.site.directory, "state/closeapi/default/reconcile.lock");
        CU_ASSERT_EQUAL(close(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666)), 0);
        CU_ASSERT_EQUAL(chown(path, user.uid, user.gid), 0);
        check_on_stopped_terminal(&site, terminal, line, "backfill --since 2d");
        standin_close_set(site.close, &usual);
        check_on_stopped_terminal(&site, terminal, line, "reconcile --from 2d");
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "queue", "status", "--json"), 0);
        CU_ASSERT(strstr(site.said, "\"waiting\":100") != NULL);
        CU_ASSERT(close_site_start_program(&site));
    }
    close_site_close(&site);
    close(line);
    close(terminal);
}

/* Runs one about subscriptions on a stopped terminal: once Close has this many, the first with that status, the lock is
 * free, whoever reads what is printed. */
static void check_subscriptions_on_stopped_terminal(struct close_site *site, int terminal, int line, const char *words,
                                                    size_t wanted, const char *wanted_status)
{
    struct process process = {0};
    char status[80] = "";
    int code = -1;
    bool done = false, let_go = false;
    CU_ASSERT_EQUAL(tcflow(line, TCOOFF), 0);
    CU_ASSERT(start_on_terminal(site, &process, ptsname(terminal), words));
    for (moment deadline = clock_now() + 60000; !let_go && clock_now() < deadline; poll(NULL, 0, 5)) {
        done = done || (standin_close_subscriptions(site->close) == wanted &&
                        strcmp(standin_close_status(site->close, 0, status), wanted_status) == 0);
        let_go = done && can_be_locked(site, "state/closeapi/default/subscribe.lock");
    }
    check(done, "`%s` does its work while nobody takes what it prints", words);
    check(let_go, "`%s` holds no lock while nobody takes what it prints", words);
    check(process_alive(&process), "`%s` is still there", words);
    CU_ASSERT_EQUAL(tcflow(line, TCOON), 0);
    CU_ASSERT(process_wait(&process, 60000, &code));
    CU_ASSERT_EQUAL(code, 0);
    process_stop(&process, 1000);
}

static void subscriptions_are_not_held_up(void)
{
    struct close_site site;
    struct user user = user_of_children();
    char id[80], words[200];
    int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    CU_ASSERT_FATAL(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    CU_ASSERT_EQUAL(chown(ptsname(terminal), user.uid, user.gid), 0);
    int line = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        snprintf(words, sizeof words, "subscribe --url %s", close_site_url(&site));
        check_subscriptions_on_stopped_terminal(&site, terminal, line, words, 1, "active");
        standin_close_id(site.close, 0, id);
        snprintf(words, sizeof words, "pause %s", id);
        check_subscriptions_on_stopped_terminal(&site, terminal, line, words, 1, "paused");
        check_subscriptions_on_stopped_terminal(&site, terminal, line, "rotate", 2, "paused");
        snprintf(words, sizeof words, "unsubscribe %s", id);
        check_subscriptions_on_stopped_terminal(&site, terminal, line, words, 1, "active");
    }
    close_site_close(&site);
    close(line);
    close(terminal);
}

/* A failed read is never "nothing there". */
static void a_failed_read_is_no_end(void)
{
    struct close_site site;
    char id[80];
    if (close_site_open(&site, &setup_lighttpd_spawn, &(struct standin_close_options){.hold_ms = 0}, NULL) &&
        subscribe(&site, id)) {
        fill_log(&site, 120, 1);
        static const struct close_fault faults[] = {
            {"GET /event", CLOSE_ANSWER, 99, 200, "{\"error\": \"x\"}"},
            {"GET /event", CLOSE_ANSWER, 99, 200, "{\"data\": null, \"cursor_next\": null}"},
            {"GET /event", CLOSE_ANSWER, 99, 403, "{\"error\": \"x\"}"},
            {"GET /event", CLOSE_ANSWER, 99, 404, "nothing"},
        };
        for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
            standin_close_fail(site.close, &faults[i]);
            check(CLOSE_RUN(&site, "backfill", "--since", "2d") == 1, "fault %zu: %s", i, site.said);
            standin_close_heal(site.close);
        }
        CU_ASSERT_EQUAL(standin_counts(site.site.standin).messages, 0);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "backfill", "--since", "2d"), 0);
        CU_ASSERT(standin_wait_messages(site.site.standin, 120, 60000));
    }
    close_site_close(&site);
}

/* Killed while the pages of a window are read, long enough that the progress is noted in between: none of its events is
 * in the queue yet, and the next run reads them again. */
static void killed_within_a_window(void)
{
    enum { COUNT = 300, STEP_S = 5, PAGES_BEFORE = 2, PAGES = 6 };
    static const struct standin_close_options slow = {.limit_every = 2, .limit_for = "0.6"};
    static const char *const arguments[] = {"backfill", "--since", "3h", NULL};
    struct close_site site;
    char id[80];
    if (close_site_open(&site, &setup_lighttpd_spawn, &(struct standin_close_options){.hold_ms = 0}, NULL) &&
        subscribe(&site, id)) {
        struct process process = {0};
        int status = -1;
        int64_t end = standin_close_now_us(site.close) - 3600 * SECOND_US;
        for (size_t i = 0; i < COUNT; i++) {
            char event[40];
            standin_close_add(site.close,
                              &(struct close_event){.id = name_event(event, i),
                                                    .lead = "lead_1",
                                                    .updated_us = end - (int64_t)(COUNT - i) * STEP_S * SECOND_US,
                                                    .log_only = true});
        }
        standin_close_set(site.close, &slow);
        CU_ASSERT(close_site_start(&site, &process, arguments));
        watch_until(&site, &process, PAGES_BEFORE + PAGES - 2);
        check(process_alive(&process), "it is killed on the way");
        kill(process.pid, SIGKILL);
        CU_ASSERT(process_wait(&process, 60000, &status));
        standin_close_set(site.close, &(struct standin_close_options){.hold_ms = 0});
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "backfill", "--since", "3h"), 0);
        CU_ASSERT(standin_wait_messages(site.site.standin, COUNT, 60000));
        CU_ASSERT_EQUAL(count_arrived(&site, COUNT, id), COUNT);
        CU_ASSERT_EQUAL(standin_counts(site.site.standin).messages, COUNT);
    }
    close_site_close(&site);
}

static CU_TestInfo tests[] = {
    {"many events, everything goes wrong, killed three times", many_and_everything_goes_wrong},
    {"killed within a window", killed_within_a_window},
    {"only what is asked for, whether Close wants a filter or not", only_what_is_asked_for},
    {"a filter leaves events out", a_filter_leaves_events_out},
    {"hidden data are reported, not sent half-empty", hidden_data_are_reported},
    {"30 days are the limit", thirty_days_are_the_limit},
    {"a failed read is no end", a_failed_read_is_no_end},
    {"output that nobody takes holds nothing up", output_that_nobody_takes_holds_nothing_up},
    {"a terminal that is stopped holds up no other command about subscriptions", subscriptions_are_not_held_up},
    CU_TEST_INFO_NULL,
};

void suite_close_backfill(void)
{
    suite_add("close backfill", NULL, NULL, tests);
}

void suite_close_backfill_postgresql(void)
{
    suite_add("close backfill postgresql", durable_use_postgresql, durable_end_postgresql, tests);
}
