/* Another release in the same state directory, or on the same database, under load: the one before is replaced by this
 * one, this one is killed and started again, and gives the queue back to the one before. What waited, what was
 * delivered and the dead letters are the same all the way. Two machines on one database are upgraded one after the
 * other. `make test-upgrade BEFORE=COMMIT` builds the release before and names it in CLOSECRM_BEFORE; without that this
 * suite does not exist. */
#include "tests/suites.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/check.h"
#include "tests/support/close_site.h"
#include "tests/support/durable.h"
#include "tests/support/event.h"
#include "tests/support/signature.h"

#define PHASE_MS 1500
#define PATIENCE_MS 60000
#define CONFIG "lanes = 4\nbatch_events = 20\n"
#define UNDER_WAY (4 * 20) /* with the data plane when something ends without notice: may come twice */
#define SOME 40
#define PARKED 64 /* more than the release before knows of */

static const char *before(void)
{
    return getenv("CLOSECRM_BEFORE");
}

/* Puts a program in the place of the running one, which has started, as an installation does, and waits until it has
 * been taken on. */
static bool take_on(struct site *site, const char *program)
{
    size_t started = site_count_logged(site, "msg=started");
    return check(temporary_copy(site->directory, "closecrm.fcgi", 0755, program), "%s can be copied", program) &&
           check(site_wait_logged(site, "msg=started", started + 1, durable_patience(60000)), "%s is taken on",
                 program);
}

static bool started(const struct site *site, size_t times)
{
    return check(site_wait_logged(site, "msg=started", times, durable_patience(PATIENCE_MS)),
                 "the program has started");
}

static void kill_and_start(struct site *site)
{
    int status;
    durable_signal(site->program.pid, SIGKILL);
    CU_ASSERT(process_wait(&site->program, 60000, &status));
    durable_kill_all(site);
    CU_ASSERT(site_spawn(site));
}

static void there_and_back(struct site *site)
{
    const struct standin_fault one_event = {
        .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = LOAD_MARK, .status = 400, .body = "no"};
    const struct standin_fault away = {.act = STANDIN_ANSWER, .times = 3, .status = 503};
    struct load_options options = durable_load(site);
    options.pause_ms = 5;
    options.marked = 40;
    standin_fail(site->standin, &one_event);
    struct load *load = load_start(&options);
    CU_ASSERT(load_wait(load, 400, durable_patience(60000)));
    standin_fail(site->standin, &away); /* some wait, with tries noted */
    if (take_on(site, program_under_test())) {
        poll(NULL, 0, PHASE_MS);
        CU_ASSERT_EQUAL(durable_counts(site, "alpha").dead, 1);
        kill_and_start(site);
        standin_fail(site->standin, &away);
        poll(NULL, 0, PHASE_MS);
        take_on(site, before());
        poll(NULL, 0, PHASE_MS);
    }
    load_stop(load);
    struct load_result result = load_finish(load);
    CU_ASSERT(durable_wait_empty(site, durable_patience(60000)));
    CU_ASSERT_EQUAL(durable_counts(site, "alpha").dead, 1);
    standin_heal(site->standin);
    struct standin_counts received = standin_counts(site->standin);
    struct counts counts = durable_counts(site, NULL);
    check(load_count_arrived(load, site->standin, 0) == result.ok - (load_status(load, 40) == 200),
          "all that were answered 200 arrived, but for the dead letter");
    CU_ASSERT_EQUAL(load_count_altered(load, site->standin, ALPHA_WRITE_KEY), 0);
    CU_ASSERT_EQUAL(counts.delivered, received.messages - received.repeated);
    printf("(%zu of %zu answered 200, %zu messages, %zu of them sent twice) ", result.ok, result.sent,
           received.messages, received.repeated);
    check(received.repeated <= UNDER_WAY, "no more came twice than one kill explains");
    load_free(load);
}

/* Asks the database by a process of its own, until the answer is that line. Returns false when it never is. */
static bool wait_for_answer(const struct site *site, const char *question, const char *line)
{
    char path[PATH_SIZE], log[PATH_SIZE];
    bool said = false;
    path_join(path, site->directory, "state/queue.db");
    path_join(log, site->directory, "asked.log");
    const char *arguments[] = {"sqlite3", "-cmd", ".timeout 5000", path, question, NULL};
    const moment deadline = clock_now() + durable_patience(PATIENCE_MS);
    for (; !said && clock_now() < deadline; poll(NULL, 0, 50)) {
        struct process process = {0};
        int status = -1;
        unlink(log);
        if (process_start(&process, &(struct process_options){arguments, NULL, site->directory, log}))
            process_wait(&process, PATIENCE_MS, &status);
        process_stop(&process, 1000);
        char *answer = temporary_read(site->directory, "asked.log");
        said = status == 0 && answer != NULL && strcmp(answer, line) == 0;
        free(answer);
    }
    return check(said, "%s: %s", question, line);
}

/* A version of one event, which is answered 200. */
static void send_version(struct site *site, const char *updated)
{
    struct event_text event = {.body = {.data = NULL}};
    struct client_answer answer = {.status = 0};
    event_make(&event, &(struct event_options){.id = "many_versions", .lead = "lead_of_it", .updated = updated});
    for (moment deadline = clock_now() + PATIENCE_MS; answer.status != 200 && clock_now() < deadline;) {
        struct signature signature = signature_make(ALPHA_SIGNATURE_KEY, event_body(&event), 0);
        client_send(site->client,
                    &(struct client_request){
                        .url = site->url, .headers = {signature.hash, signature.timestamp}, .body = event_body(&event)},
                    &answer);
    }
    CU_ASSERT_EQUAL(answer.status, 200);
    event_free(&event);
}

/* How many messages there are of the one event, each with a messageId of its own: it stands in their properties. */
static size_t count_versions(struct site *site)
{
    const struct standin_message *message;
    size_t count = 0;
    for (size_t i = 0; (message = standin_message(site->standin, i)) != NULL; i++) {
        struct slice properties = slice_member(message->json, "properties");
        bool first = standin_find(site->standin, message->message_id) == message;
        count += first && slice_contains(properties, "\"id\":\"many_versions\"");
    }
    return count;
}

/* Removes the database under the running program, which merges what it holds into a new one: table `origin`. */
static bool make_origin(struct site *site)
{
    static const char *const files[] = {"state/queue.db", "state/queue.db-wal", "state/queue.db-shm"};
    char path[PATH_SIZE];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        path_join(path, site->directory, files[i]);
        CU_ASSERT_EQUAL(unlink(path), 0);
    }
    return wait_for_answer(site, "SELECT count(*) FROM sqlite_master WHERE name = 'origin'", "1\n");
}

/* As many events as this release parks wait, each of another lead, while others are delivered. */
static struct load *park_many(struct site *site)
{
    static const struct standin_fault fault = {
        .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = "\"parked_", .status = 500, .body = "x"};
    struct load_options options = durable_load(site);
    options.prefix = "parked";
    options.count = PARKED;
    options.connections = 1;
    options.first_lead = 1000;
    options.refused_ms = 50;
    standin_fail(site->standin, &fault);
    struct load *load = load_start(&options);
    CU_ASSERT(load_wait(load, PARKED, durable_patience(PATIENCE_MS)));
    return load;
}

static void check_all_came(struct site *site, struct load *loads[2])
{
    CU_ASSERT(durable_wait_empty(site, durable_patience(PATIENCE_MS)));
    for (size_t i = 0; i < 2; i++) {
        struct load_result result = load_finish(loads[i]);
        check(load_count_arrived(loads[i], site->standin, 0) == result.ok, "all that were answered 200 arrived");
        CU_ASSERT_EQUAL(load_count_altered(loads[i], site->standin, ALPHA_WRITE_KEY), 0);
    }
    check(count_versions(site) == 3, "each version of the event arrived, under one messageId: %zu",
          count_versions(site));
    CU_ASSERT_EQUAL(durable_counts(site, NULL).dead, 0);
    struct standin_counts received = standin_counts(site->standin);
    printf("(%zu messages, %zu of them sent twice) ", received.messages, received.repeated);
    check(received.repeated <= UNDER_WAY, "no more came twice than the removed database explains");
}

static void with_all_that_is_new(struct site *site)
{
    struct load_options options = durable_load(site);
    options.connections = 4;
    options.pause_ms = 10;
    options.refused_ms = 50;
    struct load *loads[2] = {load_start(&options), NULL};
    send_version(site, NULL);
    send_version(site, "2020-01-15T12:48:23.395000");
    make_origin(site);
    loads[1] = park_many(site);
    wait_for_answer(site, "SELECT count(*) FROM parked", "64\n");
    if (take_on(site, before())) {
        send_version(site, "2020-01-15T12:48:23.395000");
        send_version(site, "2021-01-15T12:48:23.395000");
        poll(NULL, 0, PHASE_MS);
        take_on(site, program_under_test());
        send_version(site, "2021-01-15T12:48:23.395000");
    }
    standin_heal(site->standin);
    load_stop(loads[0]);
    check_all_came(site, loads);
    load_free(loads[0]);
    load_free(loads[1]);
}

static void what_is_new_in_this_release(void)
{
    struct site site;
    if (durable_open(&site, &setup_lighttpd_spawn, CONFIG "alert_command = /bin/false\n"))
        with_all_that_is_new(&site);
    site_close(&site);
}

static void another_release(void)
{
    struct site site;
    if (durable_open(&site, &setup_lighttpd_spawn, CONFIG) && started(&site, 1) && take_on(&site, before())) {
        kill_and_start(&site);
        there_and_back(&site);
    }
    site_close(&site);
}

/* Some events come by webhook, signed with the key that `subscribe` obtained; others only reconciling finds. */
static void bring_some(struct close_site *site, size_t *events, const char *id)
{
    size_t arrived = 0, first = *events;
    for (*events += SOME; first < *events; first++) {
        char name[40];
        snprintf(name, sizeof name, "ev_%zu", first);
        standin_close_add(site->close,
                          &(struct close_event){.id = name, .lead = "lead_1", .log_only = *events - first <= SOME / 4});
    }
    CU_ASSERT(standin_close_wait_idle(site->close, durable_patience(PATIENCE_MS)));
    standin_close_move_clock(site->close, INT64_C(360000)); /* old enough to be read */
    CU_ASSERT_EQUAL(CLOSE_RUN(site, "reconcile", "--json"), 0);
    char missing[32];
    snprintf(missing, sizeof missing, "\"missing\":%d,", SOME / 4);
    check(strstr(site->said, missing) != NULL, "%s: %s", missing, site->said);
    CU_ASSERT(standin_wait_messages(site->site.standin, *events, durable_patience(PATIENCE_MS)));
    for (size_t i = 0; i < *events; i++) {
        char name[40];
        snprintf(name, sizeof name, "ev_%zu", i);
        arrived += close_site_arrived(site, name, id);
    }
    check(arrived == *events, "of %zu events %zu arrived once, unaltered", *events, arrived);
}

static void keys_and_the_position_in_the_event_log(void)
{
    static const struct standin_close_options usual = {.retry_ms = 20, .failures_most = 1000};
    struct close_site site;
    char id[80];
    size_t events = 0;
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL) && started(&site.site, 2) &&
        take_on(&site.site, before())) {
        check(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site)) == 0, "subscribed: %s", site.said);
        standin_close_id(site.close, 0, id);
        bring_some(&site, &events, id);
        take_on(&site.site, program_under_test());
        bring_some(&site, &events, id);
        take_on(&site.site, before());
        bring_some(&site, &events, id);
        CU_ASSERT_EQUAL(close_site_keys(&site), 1);
    }
    close_site_close(&site);
}

/* ---- two machines on one database ---- */

/* A site each; both send to the stand-in of the first. Two sources, so that each machine forwards one. */
struct pair {
    struct site site[2];
    struct load *load[2];
};

static bool configure(struct pair *pair, struct site *site)
{
    char text[2048];
    int length = snprintf(text, sizeof text,
                          CONFIG "%sdata_plane_url = http://127.0.0.1:%u\n"
                                 "[source alpha]\nwrite_key = %s\nsignature_key = %s\n"
                                 "[source beta]\nwrite_key = %s\nsignature_key = %s\n",
                          durable_queue_lines(), pair->site[0].standin_port, ALPHA_WRITE_KEY, ALPHA_SIGNATURE_KEY,
                          BETA_WRITE_KEY, BETA_SIGNATURE_KEY);
    return temporary_write(site->directory, "closecrm.conf", 0600, text, (size_t)length) &&
           temporary_copy(site->directory, "closecrm.fcgi", 0755, before()) && durable_start_anew(site, NULL);
}

/* To each machine: events of alpha to the first, of beta to the second. */
static void start_loads(struct pair *pair, char urls[2][160])
{
    for (size_t i = 0; i < 2; i++) {
        struct load_options options = durable_load(&pair->site[i]);
        snprintf(urls[i], 160, "%s/%s", pair->site[i].url, i == 0 ? "alpha" : "beta");
        options.url = urls[i];
        options.prefix = i == 0 ? "alpha" : "beta";
        options.signature_key = i == 0 ? ALPHA_SIGNATURE_KEY : BETA_SIGNATURE_KEY;
        options.connections = 4;
        options.pause_ms = 5;
        options.ordered = true;
        options.first_lead = i * 100;
        pair->load[i] = load_start(&options);
    }
}

static void check_loads(struct pair *pair)
{
    static const char *const write_keys[] = {ALPHA_WRITE_KEY, BETA_WRITE_KEY};
    struct standin *standin = pair->site[0].standin;
    struct load_result results[2];
    for (size_t i = 0; i < 2; i++) {
        load_stop(pair->load[i]);
        results[i] = load_finish(pair->load[i]);
        check(results[i].ok == results[i].sent, "%zu of %zu are answered 200, else %d", results[i].ok, results[i].sent,
              results[i].other);
    }
    CU_ASSERT(durable_wait_empty(&pair->site[0], durable_patience(PATIENCE_MS)));
    for (size_t i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL(load_count_arrived(pair->load[i], standin, 1), results[i].ok);
        CU_ASSERT_EQUAL(load_count_altered(pair->load[i], standin, write_keys[i]), 0);
        CU_ASSERT_EQUAL(load_count_disordered(pair->load[i], standin), 0);
    }
    struct counts counts = durable_counts(&pair->site[0], NULL);
    CU_ASSERT_EQUAL(counts.accepted, results[0].ok + results[1].ok);
    CU_ASSERT_EQUAL(counts.delivered, counts.accepted);
    printf("(%zu and %zu events) ", results[0].ok, results[1].ok);
}

static void two_machines_one_after_the_other(void)
{
    struct pair pair = {.load = {NULL}};
    char urls[2][160];
    if (durable_open(&pair.site[0], &setup_lighttpd_spawn, CONFIG) &&
        site_open(&pair.site[1], &setup_lighttpd_spawn, durable_queue_lines()) && configure(&pair, &pair.site[0]) &&
        configure(&pair, &pair.site[1])) {
        start_loads(&pair, urls);
        const char *const programs[] = {program_under_test(), before()};
        for (size_t i = 0; i < 4; i++) {
            poll(NULL, 0, PHASE_MS);
            take_on(&pair.site[i % 2], programs[i / 2]);
        }
        poll(NULL, 0, PHASE_MS);
        check_loads(&pair);
        load_free(pair.load[0]);
        load_free(pair.load[1]);
    }
    site_close(&pair.site[1]);
    site_close(&pair.site[0]);
}

/* What is new in this one is about the file of the engine sqlite. */
void suite_upgrade_postgresql(void)
{
    static CU_TestInfo tests[] = {
        {"the release before, this one, and back", another_release},
        {"two machines, one after the other, and back", two_machines_one_after_the_other},
        {"keys, and the position in the Event Log", keys_and_the_position_in_the_event_log},
        CU_TEST_INFO_NULL,
    };
    if (before() != NULL)
        suite_add("upgrade postgresql", durable_use_postgresql, durable_end_postgresql, tests);
}

void suite_upgrade(void)
{
    static CU_TestInfo tests[] = {
        {"the release before, this one, and back", another_release},
        {"what this one keeps more of is no harm to the one before", what_is_new_in_this_release},
        {"keys, and the position in the Event Log", keys_and_the_position_in_the_event_log},
        CU_TEST_INFO_NULL,
    };
    if (before() != NULL)
        suite_add("upgrade", NULL, NULL, tests);
}
