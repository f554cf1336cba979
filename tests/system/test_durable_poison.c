/* One event that the data plane will not have, among a thousand that it will: that one becomes a dead letter with the
 * data plane's words. A data plane that refuses everything fills no dead letters. */
#include "tests/suites.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/event.h"
#include "tests/support/faked_clock.h"

#define EVENTS 1000
#define PATIENCE_MS 90000 /* ends as soon as what is waited for has come */
#define WORDS "this one is not to my taste"

/* The dead letter is that event, as it came, with the data plane's words. */
static void check_letter(const struct site *site, size_t poison)
{
    char id[32], lead[32];
    struct letters letters = durable_letters(site);
    struct event_text event = {.body = {.data = NULL}};
    snprintf(id, sizeof id, "ev_%zu", poison);
    snprintf(lead, sizeof lead, "lead_%zu", poison % 97);
    event_make(&event, &(struct event_options){.id = id, .lead = lead, .note = LOAD_MARK});
    check(letters.count == 1, "one dead letter, not %zu", letters.count);
    if (letters.count > 0) {
        const struct letter *letter = &letters.at[0];
        check(slice_equal((struct slice){letter->body, letter->length}, event_body(&event)), "the body as it came");
        check(strstr(letter->reason, WORDS) != NULL, "the data plane's words: %s", letter->reason);
        CU_ASSERT_STRING_EQUAL(letter->source, "alpha");
        CU_ASSERT(letter->died_ms >= letter->received_ms);
    }
    event_free(&event);
    letters_free(&letters);
}

/* Sends the events, with the poison in the middle. Where the clock is to run faster, the data plane refuses everything
 * meanwhile, and the program is started with the wrapper afterwards: its time limits are shorter then, too short for
 * requests on a busy machine. */
static struct load *send_all(struct site *site, const struct load_options *options, const struct standin_fault *poison,
                             const char *const *wrapper)
{
    struct standin_fault everything = {.act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .status = 503, .body = "later"};
    standin_fail(site->standin, wrapper == NULL ? poison : &everything);
    struct load *load = load_start(options);
    struct load_result result = load_finish(load);
    check(result.ok == options->count, "%zu of %zu are answered 200, else %d", result.ok, result.sent, result.other);
    if (wrapper != NULL) {
        CU_ASSERT(durable_start_anew(site, wrapper));
        standin_heal(site->standin);
        standin_fail(site->standin, poison);
    }
    return load;
}

/* A trickle of other events goes on, as it does in life, until there is a dead letter. Of these events those count that
 * were answered 200: on a busy machine a faster clock leaves some no time. */
static struct load *trickle_until_dead(const struct site *site)
{
    struct load_options options = durable_load(site);
    options.prefix = "later";
    options.connections = 1;
    options.pause_ms = 50;
    struct load *load = load_start(&options);
    moment begin = clock_now();
    while (durable_counts(site, "alpha").dead == 0 && clock_now() - begin < durable_patience(PATIENCE_MS))
        poll(NULL, 0, 50);
    printf("(dead after %lld ms) ", (long long)(clock_now() - begin));
    load_stop(load);
    return load;
}

static void check_poison(const char *more, int status, const char *const *wrapper)
{
    struct site site;
    if (durable_open(&site, &setup_lighttpd_spawn, more)) {
        struct load_options options = durable_load(&site);
        struct standin_fault poison = {
            .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = LOAD_MARK, .status = status, .body = WORDS};
        options.count = durable_share(EVENTS);
        options.marked = options.count / 2;
        struct load *load = send_all(&site, &options, &poison, wrapper);
        struct load *after = trickle_until_dead(&site);
        struct load_result trickled = load_finish(after);
        CU_ASSERT(durable_wait_empty(&site, durable_patience(PATIENCE_MS)));
        size_t arrived = load_count_arrived(load, site.standin, 1);
        check(arrived == options.count - 1, "the other %zu arrive once: %zu", options.count - 1, arrived);
        CU_ASSERT_EQUAL(load_count_arrived(after, site.standin, 1), trickled.ok);
        check_letter(&site, options.marked);
        struct counts counts = durable_counts(&site, "alpha");
        check(counts.accepted >= options.count + trickled.ok && counts.accepted <= options.count + trickled.sent,
              "accepted: %zu and between %zu and %zu, not %llu", options.count, trickled.ok, trickled.sent,
              (unsigned long long)counts.accepted);
        CU_ASSERT_EQUAL(counts.delivered, counts.accepted - 1);
        CU_ASSERT_EQUAL(counts.dead, 1);
        load_free(load);
        load_free(after);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void refused_with_400(void)
{
    check_poison(NULL, 400, NULL);
}

/* After a few failures of its batch it is looked for; alone it is parked, and after poison_after it is dead: that takes
 * a minute, so the clock runs faster where it can. */
static void answered_with_500(void)
{
    check_poison("poison_after = 10s", 500, faked_clock_works() ? faked_clock_that_runs("x20") : NULL);
}

/* A proxy that will have none of it: all waits, nothing is dead; and when somebody mends it all arrives. */
static void everything_refused(void)
{
    struct site site;
    if (durable_open(&site, &setup_lighttpd_spawn, NULL)) {
        struct load_options options = durable_load(&site);
        standin_fail(
            site.standin,
            &(struct standin_fault){.act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .status = 400, .body = "go away"});
        options.count = durable_share(EVENTS);
        struct load *load = load_start(&options);
        struct load_result result = load_finish(load);
        CU_ASSERT_EQUAL(result.ok, options.count);
        CU_ASSERT(site_wait_logged(&site, "msg=data_plane_refuses", 1, durable_patience(PATIENCE_MS)));
        struct counts counts = durable_counts(&site, "alpha");
        CU_ASSERT_EQUAL(counts.dead, 0);
        CU_ASSERT_EQUAL(counts.waiting, options.count);
        standin_heal(site.standin);
        durable_configure(&site, "lanes = 3"); /* the program looks at it, and tries again */
        check(durable_wait_empty(&site, durable_patience(PATIENCE_MS)),
              "a changed configuration is a reason to try again");
        durable_check_delivered(&site, load, result);
        CU_ASSERT_EQUAL(durable_counts(&site, "alpha").dead, 0);
        load_free(load);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static CU_TestInfo tests[] = {
    {"one of 1,000 is refused with 400", refused_with_400},
    {"one of 1,000 is answered with 500", answered_with_500},
    {"everything is refused with 400", everything_refused},
    CU_TEST_INFO_NULL,
};

void suite_durable_poison_postgresql(void)
{
    suite_add("durable poison postgresql", durable_use_postgresql, durable_end_postgresql, tests);
}

void suite_durable_poison(void)
{
    suite_add("durable poison", NULL, NULL, tests);
}
