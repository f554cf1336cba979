/* What a warehouse needs, through a web server: each option's effect at the data plane, and that what `remove` names is
 * in no message, page, sample or log. */
#include "tests/suites.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"
#include "tests/support/close_site.h"
#include "tests/support/looked.h"
#include "tests/support/signature.h"
#include "tests/support/site.h"

#define WAIT_MS 60000
#define BODY                                                                                                           \
    "{\"event\":{\"object_type\":\"lead\",\"action\":\"updated\",\"id\":\"ev_1\",\"lead_id\":\"lead_1\","              \
    "\"user_id\":\"MARKER\",\"api_key_id\":\"key_1\",\"changed_fields\":[\"note\"],"                                   \
    "\"data\":{\"note\":\"a\\u0000b\",\"secret\":\"MARKER\",\"n\\u0000\":1200.50},"                                    \
    "\"previous_data\":{\"note\":\"\",\"secret\":\"MARKER\"}},\"subscription_id\":\"whsub_1\"}"
#define MESSAGE                                                                                                        \
    "{\"context\":{\"library\":{\"name\":\"unknown\",\"version\":\"unknown\"},\"integration\":{\"name\":\"CloseCRM\"}" \
    ","                                                                                                                \
    "\"close\":{\"event_id\":\"ev_1\",\"object_type\":\"lead\",\"action\":\"updated\",\"subscription_id\":\"whsub_"    \
    "1\","                                                                                                             \
    "\"api_key_id\":\"key_1\"}},\"integrations\":{\"CloseCRM\":false,\"DATA_WAREHOUSE\":{\"options\":{\"jsonPaths\":"  \
    "[\"track.properties.data\",\"track.properties.previous_data\",\"track.properties.changed_fields\"]}}},"           \
    "\"type\":\"track\",\"event\":\"lead updated\",\"userId\":\"lead_1\",\"messageId\":\"ev_1\",\"properties\":{"      \
    "\"object_type\":\"lead\",\"action\":\"updated\",\"id\":\"ev_1\",\"lead_id\":\"lead_1\",\"api_key_id\":\"key_1\"," \
    "\"changed_fields\":[\"note\"],\"data\":{\"note\":\"a\xEF\xBF\xBD"                                                 \
    "b\",\"n\xEF\xBF\xBD\":1200.50},\"previous_data\":{\"note\":\"\"},\"subscription_id\":\"whsub_1\"}}"

static void send_body(struct site *site, const char *text)
{
    char url[160];
    struct client_answer answer;
    struct slice body = {text, strlen(text)};
    struct signature signature = signature_make(ALPHA_SIGNATURE_KEY, body, 0);
    snprintf(url, sizeof url, "%s/alpha", site->url);
    struct client_request request = {.url = url, .headers = {signature.hash, signature.timestamp}, .body = body};
    CU_ASSERT_EQUAL(client_send(site->client, &request, &answer), 200);
}

/* Asserts that this page is there and shows no marker; holds: a text that it has (NULL: none). */
static void check_page(struct site *site, const char *path, const char *holds)
{
    struct buffer page = {0};
    CU_ASSERT_EQUAL(looked_get(site, path, &page), 200);
    CU_ASSERT_PTR_NULL(strstr(page.data, "MARKER"));
    check(holds == NULL || strstr(page.data, holds) != NULL, "%s has %s", path, holds);
    buffer_free(&page);
}

static void all_options_through_a_web_server(void)
{
    struct site site;
    if (site_open(&site, &setup_lighttpd_spawn,
                  "warehouse = json\ncontext = close\ninclude = previous_data, changed_fields\n"
                  "remove = user_id, data.secret\nadmin_password = correct horse\nlog_level = debug")) {
        send_body(&site, BODY);
        CU_ASSERT_TRUE(standin_wait_messages(site.standin, 1, WAIT_MS));
        const struct standin_message *message = standin_find(site.standin, "ev_1");
        CU_ASSERT_PTR_NOT_NULL_FATAL(message);
        CU_ASSERT_TRUE(slice_equal(message->json, (struct slice){MESSAGE, sizeof MESSAGE - 1}));
        CU_ASSERT_TRUE(looked_wait(&site, "nul_replaced", 1, WAIT_MS));
        check_page(&site, "/metrics", "closecrm_nul_replaced_events_total{source=\"alpha\"} 1\n");
        check_page(&site, "/status", "data-fact=\"nul_replaced\">1<");
        check_page(&site, "/status?format=json", NULL);
        check_page(&site, "/status?event=1", "ev_1");
        CU_ASSERT_EQUAL(site_count_logged(&site, "MARKER"), 0);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

#define LEAD(id, action, rest)                                                                                         \
    "{\"event\":{\"object_type\":\"lead\",\"action\":\"" action "\",\"id\":\"" id "\",\"lead_id\":\"lead_1\"," rest "}}"

/* Whether the data plane has one message with these pieces. */
static bool has_message(struct site *site, const char *type, const char *piece)
{
    char typed[32];
    size_t count = 0;
    const struct standin_message *message;
    snprintf(typed, sizeof typed, "\"type\":\"%s\"", type);
    for (size_t i = 0; (message = standin_message(site->standin, i)) != NULL; i++)
        count += slice_contains(message->json, typed) && slice_contains(message->json, piece);
    return count == 1;
}

static void person_through_a_web_server(void)
{
    struct site site;
    if (site_open(&site, &setup_lighttpd_spawn,
                  "identify = yes\ntraits = cf_1\nalias = yes\nnul = keep\nremove = data.url")) {
        send_body(&site,
                  LEAD("ev_1", "updated", "\"data\":{\"name\":\"a\\u0000b\",\"url\":\"u\",\"custom.cf_1\":1.50}"));
        send_body(&site,
                  LEAD("ev_2", "merged",
                       "\"meta\":{\"merge_source_lead_id\":\"lead_0\",\"merge_destination_lead_id\":\"lead_1\"}"));
        CU_ASSERT_TRUE(standin_wait_messages(site.standin, 4, WAIT_MS));
        CU_ASSERT_TRUE(has_message(&site, "track", "\"data\":{\"name\":\"a\\u0000b\",\"custom.cf_1\":1.50}"));
        CU_ASSERT_TRUE(has_message(&site, "identify", "\"traits\":{\"name\":\"a\\u0000b\",\"cf_1\":1.50}}"));
        CU_ASSERT_TRUE(has_message(&site, "track", "\"event\":\"lead merged\""));
        CU_ASSERT_TRUE(has_message(&site, "alias", "\"userId\":\"lead_1\",\"previousId\":\"lead_0\""));
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* ---- what comes from the Event Log sends no identify, unless it is asked for ---- */

static void add_leads(struct close_site *site, const char *prefix, size_t count)
{
    int64_t end = standin_close_now_us(site->close) - INT64_C(3600000000);
    for (size_t i = 0; i < count; i++) {
        char id[40];
        snprintf(id, sizeof id, "ev_%s%zu", prefix, i);
        standin_close_add(site->close, &(struct close_event){.id = id,
                                                             .lead = "lead_1",
                                                             .object_type = "lead",
                                                             .action = "updated",
                                                             .updated_us = end + (int64_t)i * 1000000,
                                                             .log_only = true});
    }
}

/* How many messages of this type the data plane has. */
static size_t count_messages(struct close_site *site, const char *type)
{
    char piece[32];
    size_t count = 0;
    const struct standin_message *message;
    snprintf(piece, sizeof piece, "\"type\":\"%s\"", type);
    for (size_t i = 0; (message = standin_message(site->site.standin, i)) != NULL; i++)
        count += slice_contains(message->json, piece);
    return count;
}

static void backfill_identifies_where_it_is_asked_to(void)
{
    static const struct standin_close_options options = {.hold_ms = 0};
    struct close_site site = {.starts = 0};
    if (close_site_open(&site, &setup_lighttpd_spawn, &options, "identify = yes\ntraits = cf_1\n")) {
        check(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site)) == 0, "subscribed: %s", site.said);
        add_leads(&site, "a", 3);
        check(CLOSE_RUN(&site, "backfill", "--since", "2h") == 0, "backfill: %s", site.said);
        CU_ASSERT_TRUE(standin_wait_messages(site.site.standin, 3, WAIT_MS));
        CU_ASSERT_EQUAL(count_messages(&site, "identify"), 0);
        add_leads(&site, "b", 2);
        check(CLOSE_RUN(&site, "backfill", "--since", "2h", "--identify") == 0, "backfill: %s", site.said);
        CU_ASSERT_TRUE(standin_wait_messages(site.site.standin, 7, WAIT_MS));
        CU_ASSERT_EQUAL(count_messages(&site, "track"), 5);
        CU_ASSERT_EQUAL(count_messages(&site, "identify"), 2);
    }
    close_site_close(&site);
}

void suite_warehouse(void)
{
    static CU_TestInfo tests[] = {
        {"all options through a web server", all_options_through_a_web_server},
        {"identify and alias through a web server", person_through_a_web_server},
        {"backfill identifies where it is asked to", backfill_identifies_where_it_is_asked_to},
        CU_TEST_INFO_NULL,
    };
    suite_add("warehouse", NULL, NULL, tests);
}
