/* The stand-in data plane behaves as the real one was seen to: what is proved against it is worth no more than this. */
#include "tests/suites.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "tests/support/client.h"
#include "tests/support/standin.h"

#define KEY "key-one"

/* The stand-in of one test, a client, and the last answer. */
struct place {
    struct standin *standin;
    struct client *client;
    struct client_answer answer;
    char base[64];
};

static struct place place_open(void)
{
    struct standin_options options = {.write_keys = {KEY, "key-two"}};
    struct place place = {.standin = standin_start(&options), .client = client_new()};
    CU_ASSERT_PTR_NOT_NULL_FATAL(place.standin);
    snprintf(place.base, sizeof place.base, "http://127.0.0.1:%u", standin_port(place.standin));
    return place;
}

static void place_close(struct place *place)
{
    client_free(place->client);
    standin_stop(place->standin);
}

static int post_as(struct place *place, const char *path, const char *user, struct slice body, const char *header)
{
    char url[128];
    snprintf(url, sizeof url, "%s%s", place->base, path);
    struct client_request request = {.url = url, .headers = {header}, .body = body, .user = user};
    return client_send(place->client, &request, &place->answer);
}

static int post(struct place *place, const char *text)
{
    return post_as(place, "/v1/batch", KEY, slice_of(text), NULL);
}

static void keeps_messages_byte_for_byte_in_order(void)
{
    static const char first[] = "{ \"messageId\" : \"m1\",\"userId\":\"u\", \"n\":1.10,\"s\":\"]}\\\"\\u00e9\" }";
    static const char second[] = "{\"anonymousId\":\"a\",\"messageId\":\"m2\",\"properties\": {\"a\":[1,[2]]}}";
    struct place place = place_open();
    char body[512];
    snprintf(body, sizeof body, "{\"x\":[{}],\"batch\" : [ %s ,%s\n]}", first, second);

    CU_ASSERT_EQUAL(post(&place, body), 200);
    CU_ASSERT_STRING_EQUAL(place.answer.body, "ok");
    CU_ASSERT_EQUAL(standin_counts(place.standin).messages, 2);
    const struct standin_message *message = standin_message(place.standin, 0);
    CU_ASSERT(slice_equal(message->json, slice_of(first)));
    CU_ASSERT_STRING_EQUAL(message->write_key, KEY);
    message = standin_find(place.standin, "m2");
    CU_ASSERT(slice_equal(message->json, slice_of(second)));
    CU_ASSERT(slice_equal(slice_member(message->json, "properties"), slice_of("{\"a\":[1,[2]]}")));
    CU_ASSERT_PTR_NULL(standin_message(place.standin, 2));
    CU_ASSERT_PTR_NULL(standin_find(place.standin, "m3"));
    place_close(&place);
}

static void counts_message_ids_that_come_again(void)
{
    struct place place = place_open();
    CU_ASSERT_EQUAL(post(&place, "{\"batch\":[{\"userId\":\"u\",\"messageId\":\"m\"}]}"), 200);
    CU_ASSERT_EQUAL(post(&place, "{\"batch\":[{\"userId\":\"u\",\"messageId\":\"m\"},{\"userId\":\"u\"}]}"), 200);
    struct standin_counts counts = standin_counts(place.standin);
    CU_ASSERT_EQUAL(counts.messages, 3);
    CU_ASSERT_EQUAL(counts.repeated, 1);
    CU_ASSERT_EQUAL(standin_find(place.standin, "m")->times, 2);
    CU_ASSERT_EQUAL(standin_message(place.standin, 1)->request, 2);
    place_close(&place);
}

static void refuses_what_the_data_plane_refuses(void)
{
    static const struct {
        const char *body;
        const char *answer;
    } rows[] = {
        {"{\"batch\":[]}", "empty batch payload"},
        {"{}", "empty batch payload"},
        {"", "invalid json"},
        {"{\"batch\":[{\"userId\":\"u\"}]", "invalid json"},
        {"{\"batch\":[{\"userId\":\"u\"}]} x", "invalid json"},
        {"{\"batch\":[{\"userId\":\"u\",\"n\":1e400}]}", "invalid json"},
        {"{\"batch\":[{\"userId\":\"u\",\"n\":NaN}]}", "invalid json"},
        {"{\"batch\":[{\"userId\":\"a\tb\"}]}", "invalid json"},
        {"{\"batch\":[{\"userId\":\"\xED\xA0\x80\"}]}", "invalid json"},
        {"{\"batch\":[{\"userId\":\"\xC0\xA0\"}]}", "invalid json"},
        {"{\"batch\":[{\"userId\":\"\xF0\x9F\x98\"}]}", "invalid json"},
        {"{\"batch\":[{\"userId\":\xC2\xA0\"u\"}]}", "invalid json"},
        {"{\"batch\":[{\"userId\":\"u\"},7]}", "invalid json"},
        {"{\"batch\":[{\"userId\":\"u\"},{\"userId\":\"  \"}]}", "request neither has anonymousId nor userId"},
        {"{\"batch\":[{\"userId\":null,\"anonymousId\":\"\"}]}", "request neither has anonymousId nor userId"},
        {"{\"batch\":[{\"messageId\":\"m\"}]}", "request neither has anonymousId nor userId"},
    };
    struct place place = place_open();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CU_ASSERT_EQUAL(post(&place, rows[i].body), 400);
        CU_ASSERT_STRING_EQUAL(place.answer.body, rows[i].answer);
    }
    CU_ASSERT_EQUAL(standin_counts(place.standin).messages, 0);
    CU_ASSERT_EQUAL(standin_counts(place.standin).refused, sizeof rows / sizeof *rows);
    place_close(&place);
}

static void asks_for_a_write_key(void)
{
    static const char body[] = "{\"batch\":[{\"userId\":\"u\"}]}";
    struct place place = place_open();
    CU_ASSERT_EQUAL(post_as(&place, "/v1/batch", "wrong", slice_of(body), NULL), 401);
    CU_ASSERT_STRING_EQUAL(place.answer.body, "invalid write key");
    CU_ASSERT_EQUAL(post_as(&place, "/v1/batch", NULL, slice_of(body), NULL), 401);
    CU_ASSERT_STRING_EQUAL(place.answer.body, "failed to read writekey from header");
    CU_ASSERT_EQUAL(post_as(&place, "/v1/batch", "key-two", slice_of(body), NULL), 200);
    CU_ASSERT_EQUAL(post_as(&place, "/v2/batch", KEY, slice_of(body), NULL), 404);
    place_close(&place);
}

static void takes_one_message_at_track(void)
{
    static const char message[] = "{\"userId\":\"u\",\"messageId\":\"m\"}";
    struct place place = place_open();
    CU_ASSERT_EQUAL(post_as(&place, "/v1/track", KEY, slice_of(message), NULL), 200);
    CU_ASSERT(slice_equal(standin_message(place.standin, 0)->json, slice_of(message)));
    place_close(&place);
}

/* {"batch":[{"userId":"u...u"}]} of exactly that length; the caller frees. */
static char *batch_of_length(size_t length)
{
    static const char head[] = "{\"batch\":[{\"userId\":\"", tail[] = "\"}]}";
    char *body = malloc(length);
    CU_ASSERT_PTR_NOT_NULL_FATAL(body);
    memset(body, 'u', length);
    memcpy(body, head, sizeof head - 1);
    memcpy(body + length - (sizeof tail - 1), tail, sizeof tail - 1);
    return body;
}

/* Compresses as gzip; the caller frees. */
static struct slice pack(struct slice plain)
{
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)plain.at, .avail_in = (uInt)plain.length};
    CU_ASSERT_EQUAL_FATAL(deflateInit2(&stream, 1, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    uLong room = deflateBound(&stream, plain.length);
    char *packed = malloc(room);
    CU_ASSERT_PTR_NOT_NULL_FATAL(packed);
    stream.next_out = (Bytef *)packed;
    stream.avail_out = (uInt)room;
    CU_ASSERT_EQUAL(deflate(&stream, Z_FINISH), Z_STREAM_END);
    deflateEnd(&stream);
    return (struct slice){packed, room - stream.avail_out};
}

static void limits_a_body_after_decompression(void)
{
    struct place place = place_open();
    static const struct {
        size_t length;
        int status;
    } rows[] = {{4096000, 200}, {4096001, 413}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct slice plain = {batch_of_length(rows[i].length), rows[i].length};
        struct slice packed = pack(plain);
        CU_ASSERT_EQUAL(post_as(&place, "/v1/batch", KEY, plain, NULL), rows[i].status);
        CU_ASSERT_EQUAL(post_as(&place, "/v1/batch", KEY, packed, "Content-Encoding: gzip"), rows[i].status);
        free((void *)(uintptr_t)plain.at);
        free((void *)(uintptr_t)packed.at);
    }
    CU_ASSERT_STRING_EQUAL(place.answer.body, "request size exceeds max limit");
    CU_ASSERT_EQUAL(standin_counts(place.standin).messages, 2);
    place_close(&place);
}

static void answers_broken_gzip_with_500(void)
{
    struct place place = place_open();
    struct slice packed = pack(slice_of("{\"batch\":[{\"userId\":\"u\"}]}"));
    CU_ASSERT_EQUAL(post_as(&place, "/v1/batch", KEY, packed, "Content-Encoding: gzip"), 200);
    packed.length -= 9; /* without its end and check sum */
    CU_ASSERT_EQUAL(post_as(&place, "/v1/batch", KEY, packed, "Content-Encoding: gzip"), 500);
    CU_ASSERT_EQUAL(post_as(&place, "/v1/batch", KEY, slice_of("{}"), "Content-Encoding: gzip"), 500);
    CU_ASSERT_EQUAL(standin_counts(place.standin).messages, 1);
    free((void *)(uintptr_t)packed.at);
    place_close(&place);
}

static void fails_on_demand(void)
{
    static const char body[] = "{\"batch\":[{\"userId\":\"u\",\"messageId\":\"m\"}]}";
    static const char marked[] = "{\"batch\":[{\"userId\":\"marked\"}]}";
    static const struct standin_fault faults[] = {
        {.act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = "marked", .status = 400, .body = "no"},
        {.act = STANDIN_ANSWER, .times = 1, .status = 429, .retry_after = "7"},
        {.act = STANDIN_CUT, .times = 2},
        {.act = STANDIN_STORE_CUT, .times = 1},
    };
    struct place place = place_open();
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        standin_fail(place.standin, &faults[i]);

    CU_ASSERT_EQUAL(post(&place, body), 429);
    CU_ASSERT_STRING_EQUAL(place.answer.retry_after, "7");
    /* libcurl sends once more what met a cut on a connection used before: both cuts may go to one call */
    CU_ASSERT_EQUAL(post(&place, body), 0);
    while (standin_counts(place.standin).requests < 3)
        CU_ASSERT_EQUAL(post(&place, body), 0);
    CU_ASSERT_EQUAL(standin_counts(place.standin).messages, 0);
    CU_ASSERT_EQUAL(post(&place, body), 0);
    CU_ASSERT_EQUAL(standin_find(place.standin, "m")->times, 1);
    CU_ASSERT_EQUAL(post(&place, marked), 400);
    CU_ASSERT_STRING_EQUAL(place.answer.body, "no");
    CU_ASSERT_EQUAL(post(&place, body), 200);
    standin_heal(place.standin);
    CU_ASSERT_EQUAL(post(&place, marked), 200);
    place_close(&place);
}

static void holds_until_it_is_healed(void)
{
    struct place place = place_open();
    char url[128];
    snprintf(url, sizeof url, "%s/v1/batch", place.base);
    struct client_request hasty = {
        .url = url, .body = slice_of("{\"batch\":[{\"userId\":\"u\"}]}"), .user = KEY, .timeout_ms = 100};
    standin_fail(place.standin, &(struct standin_fault){.act = STANDIN_HOLD, .times = 1});

    CU_ASSERT_EQUAL(client_send(place.client, &hasty, &place.answer), 0);
    CU_ASSERT(standin_wait_held(place.standin, 1, 60000));
    CU_ASSERT_EQUAL(standin_counts(place.standin).messages, 0);
    standin_heal(place.standin);
    CU_ASSERT(standin_wait_messages(place.standin, 1, 60000));
    CU_ASSERT_FALSE(standin_wait_messages(place.standin, 2, 10));
    standin_forget(place.standin);
    CU_ASSERT_EQUAL(standin_counts(place.standin).messages, 0);
    place_close(&place);
}

static void delays_on_demand(void)
{
    struct place place = place_open();
    standin_fail(place.standin, &(struct standin_fault){.act = STANDIN_SLOW, .times = 1, .delay_ms = 150});
    moment before = clock_now();
    CU_ASSERT_EQUAL(post(&place, "{\"batch\":[{\"userId\":\"u\"}]}"), 200);
    CU_ASSERT(clock_now() - before >= 150);
    place_close(&place);
}

void suite_standin(void)
{
    static CU_TestInfo tests[] = {
        {"keeps messages byte for byte, in order", keeps_messages_byte_for_byte_in_order},
        {"counts messageIds that come again", counts_message_ids_that_come_again},
        {"refuses what the data plane refuses", refuses_what_the_data_plane_refuses},
        {"asks for a write key", asks_for_a_write_key},
        {"takes one message at /v1/track", takes_one_message_at_track},
        {"limits a body after decompression", limits_a_body_after_decompression},
        {"answers broken gzip with 500", answers_broken_gzip_with_500},
        {"fails on demand", fails_on_demand},
        {"holds until it is healed", holds_until_it_is_healed},
        {"delays on demand", delays_on_demand},
        CU_TEST_INFO_NULL,
    };
    suite_add("standin", NULL, NULL, tests);
}
