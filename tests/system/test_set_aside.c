/* queue set-aside: an operator takes one event out of the way of its lead, while processes forward and while none does.
 */
#include "tests/suites.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/event.h"
#include "tests/support/running.h"

#define BAD "this one is refused"

static void send(const struct site *site, const char *id, const char *note)
{
    struct event_text event = {.body = {.data = NULL}};
    event_make(&event, &(struct event_options){.id = id, .lead = "lead_1", .note = note});
    CU_ASSERT_EQUAL(site_send_body(site, event_body(&event)).status, 200);
    event_free(&event);
}

/* Runs `closecrm.fcgi ARGUMENT ...`, of which the last may be NULL. */
static struct output run(const struct site *site, const char *first, const char *second, const char *id,
                         const char *last)
{
    static const char log[] = "aside.log";
    struct process process = {0};
    char program[PATH_SIZE], config[PATH_SIZE], path[PATH_SIZE], variable[PATH_SIZE + 32];
    site_program(site, program);
    path_join(config, site->directory, "closecrm.conf");
    path_join(path, site->directory, log);
    snprintf(variable, sizeof variable, "CLOSECRM_CONFIG=%s", config);
    const char *arguments[] = {program, first, second, id, last, NULL};
    const char *environment[] = {variable, NULL};
    remove(path);
    CU_ASSERT(process_start(&process, &(struct process_options){arguments, environment, site->directory, path}));
    return command_finish(&process, site, log);
}

static void expect(const struct output *output, int code, const char *words)
{
    check(output->code == code, "exit code %d, not %d: %s", output->code, code, output->text);
    check(strstr(output->text, words) != NULL, "%s: %s", words, output->text);
}

/* The first of a lead's events is refused alone, and nothing else is there that could show whose fault that is: the
 * others wait behind it. Without it they go on at once; replayed, once the data plane takes it, it arrives. */
static void the_rest_of_its_lead_goes_on(struct site *site)
{
    standin_fail(
        site->standin,
        &(struct standin_fault){
            .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = BAD, .status = 400, .body = "not this one"});
    send(site, "ev_1", BAD);
    CU_ASSERT(site_wait_logged(site, "msg=event_refused", 1, durable_patience(60000)));
    send(site, "ev_2", "");
    send(site, "ev_3", "");
    CU_ASSERT_EQUAL(standin_counts(site->standin).messages, 0);
    struct output output = run(site, "queue", "set-aside", "1", NULL);
    expect(&output, 0, "event 1 of source alpha: it is a dead letter now");
    CU_ASSERT(standin_wait_messages(site->standin, 2, durable_patience(60000)));
    CU_ASSERT(durable_wait_empty(site, durable_patience(60000)));
    struct counts counts = durable_counts(site, "alpha");
    CU_ASSERT(counts.dead == 1 && counts.delivered == 2 && counts.accepted == 3);
    output = run(site, "queue", "set-aside", "1", NULL);
    expect(&output, 1, "no event 1 waits");

    standin_heal(site->standin);
    output = run(site, "dead", "replay", "1", NULL);
    expect(&output, 0, "1 dead letter replayed");
    CU_ASSERT(standin_wait_messages(site->standin, 3, durable_patience(60000)));
    CU_ASSERT(durable_wait_empty(site, durable_patience(60000)));
    CU_ASSERT_EQUAL(durable_counts(site, "alpha").dead, 0);
}

/* What the data plane has in its hands may be stored there already. */
static void not_while_it_is_in_flight(struct site *site)
{
    standin_fail(site->standin, &(struct standin_fault){.act = STANDIN_HOLD, .times = STANDIN_ALWAYS});
    send(site, "ev_5", "");
    CU_ASSERT(standin_wait_held(site->standin, 1, durable_patience(60000)));
    struct output output = run(site, "queue", "set-aside", "5", NULL);
    expect(&output, 1, "it is with the data plane at this very moment: try again");
    standin_heal(site->standin);
    CU_ASSERT(standin_wait_messages(site->standin, 4, durable_patience(60000)));
    CU_ASSERT(durable_wait_empty(site, durable_patience(60000)));
    CU_ASSERT_EQUAL(durable_counts(site, "alpha").dead, 0);
}

static void by_the_command_where_nobody_forwards(struct site *site)
{
    site_standin_down(site);
    send(site, "ev_6", "");
    send(site, "ev_7", "");
    CU_ASSERT_EQUAL(process_stop(&site->program, 60000), 0);
    struct output output = run(site, "queue", "set-aside", "6", NULL);
    expect(&output, 0, "event 6 of source alpha: it is a dead letter now");
    struct counts counts = durable_counts(site, "alpha");
    CU_ASSERT(counts.dead == 1 && counts.waiting == 1);
    CU_ASSERT(site_standin_up(site));
    CU_ASSERT(durable_start_anew(site, NULL));
    send(site, "ev_8", "");
    CU_ASSERT(standin_wait_messages(site->standin, 2, durable_patience(60000)));
    CU_ASSERT_PTR_NULL(standin_find(site->standin, "ev_6"));
    send(site, "ev_6", ""); /* Close repeats it: it is known */
    CU_ASSERT(durable_wait_empty(site, durable_patience(60000)));
    counts = durable_counts(site, "alpha");
    CU_ASSERT(counts.dead == 1 && counts.duplicates == 1);
    CU_ASSERT_PTR_NULL(standin_find(site->standin, "ev_6"));
}

/* The running program takes events of a lead out of its hands, and they do not arrive; others' do. */
static void a_lead_is_forgotten_while_it_runs(struct site *site)
{
    struct event_text other = {.body = {.data = NULL}};
    site_standin_down(site);
    send(site, "ev_9", "");
    send(site, "ev_10", "");
    event_make(&other, &(struct event_options){.id = "ev_11", .lead = "lead_2"});
    CU_ASSERT_EQUAL(site_send_body(site, event_body(&other)).status, 200);
    event_free(&other);
    struct output output = run(site, "forget", "--lead=lead_1", "--yes", NULL);
    expect(&output, 0, "Deleted of lead lead_1: 2 waiting events, 1 dead letter,");
    CU_ASSERT(site_standin_up(site));
    CU_ASSERT(standin_wait_messages(site->standin, 1, durable_patience(60000)));
    CU_ASSERT(durable_wait_empty(site, durable_patience(60000)));
    send(site, "ev_9", ""); /* Close repeats it: it is known */
    CU_ASSERT(durable_wait_empty(site, durable_patience(60000)));
    CU_ASSERT_PTR_NOT_NULL(standin_find(site->standin, "ev_11"));
    CU_ASSERT_PTR_NULL(standin_find(site->standin, "ev_9"));
    CU_ASSERT_PTR_NULL(standin_find(site->standin, "ev_10"));
    CU_ASSERT_EQUAL(durable_counts(site, "alpha").dead, 0);
}

/* The data plane may have stored what was set aside: with the same messageId its deduplication would discard what
 * follows. */
static void a_newer_version_has_a_message_id_of_its_own(struct site *site)
{
    static const char newer[] =
        "{\"event\":{\"id\":\"ev_20\",\"object_type\":\"lead\",\"action\":\"updated\",\"lead_id\":\"lead_1\","
        "\"date_updated\":\"2030-01-01T00:00:00.000000\",\"data\":{}},\"subscription_id\":\"whsub_1\"}";
    size_t before = standin_counts(site->standin).messages;
    standin_fail(
        site->standin,
        &(struct standin_fault){
            .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = BAD, .status = 500, .body = "not this one"});
    send(site, "ev_20", BAD);
    CU_ASSERT(site_wait_logged(site, "msg=not_delivered", 1, durable_patience(60000)));
    struct output output = run(site, "queue", "list", NULL, NULL);
    char *line = strchr(output.text, '\n');
    CU_ASSERT_PTR_NOT_NULL_FATAL(line);
    line[1 + strspn(line + 1, "0123456789")] = '\0';
    output = run(site, "queue", "set-aside", line + 1, NULL);
    expect(&output, 0, "it is a dead letter now");
    CU_ASSERT_EQUAL(site_send_body(site, (struct slice){newer, sizeof newer - 1}).status, 200);
    CU_ASSERT(standin_wait_messages(site->standin, before + 1, durable_patience(60000)));
    CU_ASSERT(durable_wait_empty(site, durable_patience(60000)));
    CU_ASSERT_PTR_NULL(standin_find(site->standin, "ev_20"));
    standin_heal(site->standin);
}

static void an_event_is_set_aside(void)
{
    struct site site;
    if (durable_open(&site, &setup_lighttpd_spawn, NULL) && durable_start_anew(&site, durable_many("3"))) {
        the_rest_of_its_lead_goes_on(&site);
        not_while_it_is_in_flight(&site);
        by_the_command_where_nobody_forwards(&site);
        a_lead_is_forgotten_while_it_runs(&site);
        a_newer_version_has_a_message_id_of_its_own(&site);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

void suite_set_aside(void)
{
    static CU_TestInfo tests[] = {
        {"an event is set aside, by whoever forwards, and where nobody does", an_event_is_set_aside},
        CU_TEST_INFO_NULL,
    };
    suite_add("set aside", NULL, NULL, tests);
}
