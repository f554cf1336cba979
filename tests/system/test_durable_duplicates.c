/* The same event again: over several connections and processes, after a restart. Delivered once, the others counted; a
 * newer version of it is delivered too, and so is what only looks like the same. */
#include "tests/suites.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/event.h"
#include "tests/support/signature.h"

#define CONNECTIONS 4
#define COPIES 10

static const char stamp[] = "2019-01-15T12:48:23.395000";

/* The event, with another date_updated of the same length. */
static void make_event(struct event_text *event, const char *date)
{
    event_make(event, &(struct event_options){.id = "ev_same", .lead = "lead_1"});
    struct buffer *texts[] = {&event->body, &event->properties};
    for (size_t i = 0; i < 2; i++) {
        char *at = memmem(texts[i]->data, texts[i]->length, stamp, strlen(stamp));
        CU_ASSERT_PTR_NOT_NULL_FATAL(at);
        memcpy(at, date, strlen(stamp));
    }
}

struct sender {
    const struct site *site;
    const struct event_text *event;
    size_t copies;
    size_t ok;
};

static void *send_copies(void *context)
{
    struct sender *sender = context;
    struct client *client = client_new();
    struct signature signature = signature_make(ALPHA_SIGNATURE_KEY, event_body(sender->event), 0);
    struct client_request request = {
        .url = sender->site->url, .headers = {signature.hash, signature.timestamp}, .body = event_body(sender->event)};
    for (size_t i = 0; i < sender->copies; i++) {
        struct client_answer answer;
        sender->ok += client_send(client, &request, &answer) == 200;
    }
    client_free(client);
    return NULL;
}

/* Ten copies over four connections at once: 3 + 3 + 2 + 2. */
static void send_ten(const struct site *site, const struct event_text *event)
{
    pthread_t threads[CONNECTIONS];
    struct sender senders[CONNECTIONS];
    size_t ok = 0;
    for (size_t i = 0; i < CONNECTIONS; i++) {
        senders[i] = (struct sender){.site = site, .event = event, .copies = i < 2 ? 3 : 2};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, send_copies, &senders[i]), 0);
    }
    for (size_t i = 0; i < CONNECTIONS; i++) {
        pthread_join(threads[i], NULL);
        ok += senders[i].ok;
    }
    check(ok == COPIES, "each of ten is answered 200: %zu", ok);
}

static void check_counts(const struct site *site, uint64_t delivered, uint64_t duplicates)
{
    CU_ASSERT(durable_wait_empty(site, durable_patience(60000)));
    struct counts counts = durable_counts(site, "alpha");
    check(counts.delivered == delivered, "%llu delivered, not %llu", (unsigned long long)delivered,
          (unsigned long long)counts.delivered);
    check(counts.duplicates == duplicates, "%llu duplicates, not %llu", (unsigned long long)duplicates,
          (unsigned long long)counts.duplicates);
    CU_ASSERT_EQUAL(counts.accepted, delivered + duplicates);
    CU_ASSERT_EQUAL(standin_counts(site->standin).messages, delivered);
}

static void check_arrived(const struct site *site, size_t index, const struct event_text *event)
{
    const struct standin_message *message = standin_message(site->standin, index);
    CU_ASSERT_PTR_NOT_NULL_FATAL(message);
    CU_ASSERT(slice_equal(slice_member(message->json, "properties"), event_properties(event)));
}

static void restart(struct site *site, const char *const *wrapper, bool killed)
{
    int status;
    if (killed) {
        durable_signal(site->program.pid, SIGKILL);
        CU_ASSERT(process_wait(&site->program, 60000, &status));
        durable_kill_all(site);
    } else {
        process_stop(&site->program, 60000);
    }
    CU_ASSERT(durable_start_anew(site, wrapper));
}

static void the_same_event_ten_times(void)
{
    struct site site;
    struct event_text event = {.body = {.data = NULL}}, newer = event, older = event;
    pid_t pids[DURABLE_PROCESSES];
    make_event(&event, stamp);
    make_event(&newer, "2019-01-15T12:48:24.000000");
    make_event(&older, "2019-01-15T12:48:23.394999");
    if (durable_open(&site, &setup_lighttpd_spawn, NULL)) {
        restart(&site, durable_many("2"), false);
        send_ten(&site, &event);
        CU_ASSERT_EQUAL(durable_processes(&site, pids), 2);
        check_counts(&site, 1, 9);
        check_arrived(&site, 0, &event);
        CU_ASSERT_STRING_EQUAL(standin_message(site.standin, 0)->message_id, "ev_same");

        restart(&site, durable_many("2"), true);
        send_ten(&site, &event);
        check_counts(&site, 1, 19);

        send_ten(&site, &newer); /* Close merged more changes into it */
        check_counts(&site, 2, 28);
        check_arrived(&site, 1, &newer);
        CU_ASSERT_STRING_NOT_EQUAL(standin_message(site.standin, 1)->message_id, "ev_same");

        send_ten(&site, &older);
        check_counts(&site, 2, 38);
    }
    event_free(&event);
    event_free(&newer);
    event_free(&older);
    site_close(&site); /* of two processes the shell's end is not the program's */
}

/* The copies wait together while the data plane is away, and a newer version comes while they do. */
static void copies_that_wait_together(void)
{
    struct site site;
    struct event_text event = {.body = {.data = NULL}}, newer = event;
    make_event(&event, stamp);
    make_event(&newer, "2019-01-15T12:48:24.000000");
    if (durable_open(&site, &setup_lighttpd_spawn, NULL)) {
        standin_fail(site.standin,
                     &(struct standin_fault){.act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .status = 503});
        send_ten(&site, &event);
        send_ten(&site, &newer);
        restart(&site, NULL, true);
        send_ten(&site, &event);
        standin_heal(site.standin);
        check_counts(&site, 2, 28);
        check_arrived(&site, 0, &event); /* in their order */
        check_arrived(&site, 1, &newer);
    }
    event_free(&event);
    event_free(&newer);
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* A message can hold U+FFFD alone of all of these but the last. */
static void ids_that_a_message_cannot_hold(void)
{
    static const char *const ids[] = {"x\\ud800", "x\\udfff", "x\\u0000", "x\\ud800\\u0000", "x\\ufffd"};
    enum { IDS = sizeof ids / sizeof *ids };
    struct site site;
    if (durable_open(&site, &setup_lighttpd_spawn, NULL)) {
        for (size_t i = 0; i < IDS; i++) {
            struct event_text event = {.body = {.data = NULL}};
            event_make(&event, &(struct event_options){.id = ids[i], .lead = "lead_1"});
            send_ten(&site, &event);
            event_free(&event);
        }
        check_counts(&site, IDS, IDS * (COPIES - 1));
        for (size_t i = 0; i < IDS; i++) {
            const struct standin_message *message = standin_message(site.standin, i);
            CU_ASSERT_PTR_NOT_NULL_FATAL(message);
            CU_ASSERT_PTR_EQUAL(standin_find(site.standin, message->message_id), message); /* nobody else's */
        }
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static CU_TestInfo tests[] = {
    {"the same event ten times, and again after a restart", the_same_event_ten_times},
    {"copies that wait together", copies_that_wait_together},
    {"ids that a message cannot hold", ids_that_a_message_cannot_hold},
    CU_TEST_INFO_NULL,
};

void suite_durable_duplicates_postgresql(void)
{
    suite_add("durable duplicates postgresql", durable_use_postgresql, durable_end_postgresql, tests);
}

void suite_durable_duplicates(void)
{
    suite_add("durable duplicates", NULL, NULL, tests);
}
