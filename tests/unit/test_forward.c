/* The parts of the forwarder, each alone: outcomes, back-off, compression, batches, events in hand, the file sink. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "forward/pending.h"
#include "forward/post.h"
#include "queue/engine.h"
#include "tests/suites.h"
#include "tests/support/temporary.h"

static struct answer answer_of(int status, const char *body)
{
    struct answer answer = {.status = status, .length = strlen(body)};
    memcpy(answer.body, body, answer.length);
    return answer;
}

/* The design's table, status by status: 0 is no answer. */
static enum outcome expected(int status)
{
    if (status == 0 || status == 408 || status == 429 || (status >= 500 && status <= 599))
        return OUTCOME_RETRY;
    if (status == 400 || status == 403 || status == 404 || status == 413 || status == 422)
        return OUTCOME_REFUSED;
    return OUTCOME_OPERATOR;
}

static void every_status_has_its_outcome(void)
{
    int wrong = 0;
    for (int status = 0; status <= 999; status++) {
        struct answer answer = answer_of(status, "some words");
        wrong += answer_outcome(&answer, false) != expected(status);
    }
    CU_ASSERT_EQUAL(wrong, 0);
}

/* What data planes, and the proxies before them, answer with 200; whatever its Content-Type. */
static void what_counts_as_delivered(void)
{
    static const struct {
        const char *body;
        enum outcome outcome, if_accepted; /* without and with accept_empty */
    } bodies[] = {
        {"ok", OUTCOME_DELIVERED, OUTCOME_DELIVERED},
        {"OK", OUTCOME_DELIVERED, OUTCOME_DELIVERED},
        {"Ok", OUTCOME_DELIVERED, OUTCOME_DELIVERED},
        {"oK\n", OUTCOME_DELIVERED, OUTCOME_DELIVERED},
        {"ok\r\n", OUTCOME_DELIVERED, OUTCOME_DELIVERED},
        {" \t ok  ", OUTCOME_DELIVERED, OUTCOME_DELIVERED},
        {"\"OK\"", OUTCOME_DELIVERED, OUTCOME_DELIVERED},
        {"\"ok\"\n", OUTCOME_DELIVERED, OUTCOME_DELIVERED},
        {"\n\" ok \"\r\n", OUTCOME_DELIVERED, OUTCOME_DELIVERED},
        {"{\"success\":true}", OUTCOME_DELIVERED, OUTCOME_DELIVERED},
        {" {\"success\":true}\n", OUTCOME_DELIVERED, OUTCOME_DELIVERED},
        {"", OUTCOME_OPERATOR, OUTCOME_DELIVERED},
        {"\n", OUTCOME_OPERATOR, OUTCOME_OPERATOR},
        {"\"\"", OUTCOME_OPERATOR, OUTCOME_OPERATOR},
        {"okay", OUTCOME_OPERATOR, OUTCOME_OPERATOR},
        {"o k", OUTCOME_OPERATOR, OUTCOME_OPERATOR},
        {"k", OUTCOME_OPERATOR, OUTCOME_OPERATOR},
        {"'ok'", OUTCOME_OPERATOR, OUTCOME_OPERATOR},
        {"<html>ok</html>", OUTCOME_OPERATOR, OUTCOME_OPERATOR},
        {"{}", OUTCOME_OPERATOR, OUTCOME_OPERATOR},
        {"{\"success\": true}", OUTCOME_OPERATOR, OUTCOME_OPERATOR},
        {"\"{\"success\":true}\"", OUTCOME_OPERATOR, OUTCOME_OPERATOR},
        {"{\"success\":false}", OUTCOME_OPERATOR, OUTCOME_OPERATOR},
        {"{\"SUCCESS\":TRUE}", OUTCOME_OPERATOR, OUTCOME_OPERATOR},
        {"{\"success\":true,\"x\":1}", OUTCOME_OPERATOR, OUTCOME_OPERATOR},
    };
    int wrong = 0;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        for (int status = 0; status <= 999; status++) { /* with any other status no body makes a delivery */
            struct answer answer = answer_of(status, bodies[i].body);
            wrong += answer_outcome(&answer, false) != (status == 200 ? bodies[i].outcome : expected(status));
            wrong += answer_outcome(&answer, true) != (status == 200 ? bodies[i].if_accepted : expected(status));
        }
    }
    CU_ASSERT_EQUAL(wrong, 0);
}

/* Only what was seen whole counts. */
static void a_long_answer_is_no_ok(void)
{
    struct answer answer = {.status = 200, .length = ANSWER_BODY + 1};
    memset(answer.body, ' ', sizeof answer.body);
    memcpy(answer.body, "ok", 2);
    CU_ASSERT_EQUAL(answer_outcome(&answer, true), OUTCOME_OPERATOR);
    answer.length = ANSWER_BODY;
    CU_ASSERT_EQUAL(answer_outcome(&answer, true), OUTCOME_DELIVERED);
}

static void an_empty_batch_is_known_in_any_letter_case(void)
{
    static const struct {
        int status;
        const char *body;
        bool takes;
    } rows[] = {
        {400, "empty batch payload", true},  {400, "Empty batch payload\n", true},
        {400, "EMPTY BATCH PAYLOAD", true},  {400, "x: \"Empty batch payload\"", true},
        {400, "Empty batch payloa", false},  {400, "", false},
        {401, "Empty batch payload", false}, {200, "Empty batch payload", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct answer answer = answer_of(rows[i].status, rows[i].body);
        CU_ASSERT_EQUAL(answer_takes_empty_batch(&answer), rows[i].takes);
    }
}

static void answers_are_described_with_their_words(void)
{
    struct error why;
    struct answer answer = answer_of(401, "invalid write key\n");
    answer_describe(&answer, &why);
    CU_ASSERT_STRING_EQUAL(why.text, "the data plane answered 401 \"invalid write key\"");
    CU_ASSERT_PTR_NOT_NULL(answer_advice(401));
    CU_ASSERT_PTR_NULL(answer_advice(503));
}

static void backoff_doubles_up_to_five_minutes(void)
{
    CU_ASSERT_EQUAL(answer_delay(BACKOFF_FIRST_MS, 1, 0, UINT64_MAX - 1) <= 1000, 1);
    for (unsigned tries = 1; tries < 100; tries++) {
        int64_t most = 0, least = INT64_MAX;
        for (uint64_t chance = 0; chance < 4000; chance++) {
            int64_t delay = answer_delay(BACKOFF_FIRST_MS, tries, 0, chance * 997);
            most = delay > most ? delay : most;
            least = delay < least ? delay : least;
        }
        int64_t bound = tries > 9 ? 300000 : (int64_t)1000 << (tries - 1);
        bound = bound > 300000 ? 300000 : bound;
        CU_ASSERT_TRUE(most <= bound && most > bound * 9 / 10);
        CU_ASSERT_TRUE(least >= 50 && least < bound / 10 + 51);
    }
}

static void retry_after_is_obeyed_up_to_a_quarter_of_an_hour(void)
{
    CU_ASSERT_EQUAL(answer_delay(BACKOFF_FIRST_MS, 1, 7000, 12345), 7000);
    CU_ASSERT_EQUAL(answer_delay(BACKOFF_FIRST_MS, 1, 3600000, 12345), 15 * 60 * 1000);
}

/* Unpacks with zlib, which is not what packed it. Returns whether the text comes out again. */
static bool unpacks_to(const struct buffer *packed, const char *text, size_t length)
{
    unsigned char *out = malloc(length + 1);
    z_stream stream = {0};
    bool good = out != NULL && inflateInit2(&stream, 16 + MAX_WBITS) == Z_OK;
    stream.next_in = (unsigned char *)packed->data;
    stream.avail_in = (unsigned)packed->length;
    stream.next_out = out;
    stream.avail_out = (unsigned)length + 1;
    good = good && inflate(&stream, Z_FINISH) == Z_STREAM_END && stream.total_out == length &&
           memcmp(out, text, length) == 0;
    inflateEnd(&stream);
    free(out);
    return good;
}

static void gzip_packs_text_and_noise_of_any_length(void)
{
    struct gzip *gzip = gzip_new();
    struct buffer packed = {0};
    size_t most = 300000;
    char *text = malloc(most), *noise = malloc(most);
    uint32_t chance = 1;
    for (size_t i = 0; i < most; i++) {
        chance = chance * 1664525 + 1013904223;
        noise[i] = (char)(chance >> 24);
        text[i] = "{\"type\":\"track\"},"[i % 17];
    }
    for (size_t length = 1; length <= most; length = length * 3 + 1) {
        CU_ASSERT_TRUE(gzip_compress(gzip, text, length, &packed) && unpacks_to(&packed, text, length));
        CU_ASSERT_TRUE(gzip_compress(gzip, noise, length, &packed) && unpacks_to(&packed, noise, length));
    }
    CU_ASSERT_TRUE(gzip_compress(gzip, text, most, &packed) && packed.length < most / 20);
    free(text);
    free(noise);
    buffer_free(&packed);
    gzip_free(gzip);
}

static bool add(struct batch *batch, const char *message, size_t length)
{
    buffer_append(batch_begin(batch), message, length);
    return batch_accept(batch);
}

static void batch_has_the_data_planes_form(void)
{
    struct batch batch = {.form = &batch_for_data_plane};
    CU_ASSERT_TRUE(add(&batch, "{\"a\":1}", 7));
    CU_ASSERT_TRUE(add(&batch, "{\"b\":2}", 7));
    buffer_text(batch_begin(&batch), "{\"rejected\":");
    batch_reject(&batch);
    CU_ASSERT_TRUE(batch_finish(&batch));
    CU_ASSERT_EQUAL(batch.count, 2);
    CU_ASSERT_EQUAL(batch.text.length, 27);
    CU_ASSERT_NSTRING_EQUAL(batch.text.data, "{\"batch\":[{\"a\":1},{\"b\":2}]}", 27);
    buffer_free(&batch.text);
}

static void batch_is_bounded_but_one_alone_fits(void)
{
    struct batch batch = {.form = &batch_for_data_plane};
    char *large = calloc(1, BATCH_BYTES);
    CU_ASSERT_TRUE(add(&batch, large, BATCH_BYTES));
    CU_ASSERT_FALSE(add(&batch, "{}", 2));
    CU_ASSERT_EQUAL(batch.count, 1);
    batch_clear(&batch);
    CU_ASSERT_TRUE(add(&batch, large, BATCH_BYTES - 16));
    CU_ASSERT_TRUE(add(&batch, "{}", 2));
    CU_ASSERT_FALSE(add(&batch, "{}", 2));
    free(large);
    buffer_free(&batch.text);
}

static void the_newest_version_in_flight_is_found(void)
{
    struct pending_table table;
    CU_ASSERT_TRUE_FATAL(pending_table_init(&table));
    struct pending old = {.identity = {.key = {7}, .updated_us = 1}};
    struct pending newer = {.identity = {.key = {7}, .updated_us = 2}};
    struct pending other = {.identity = {.key = {7, 0, 0, 0, 0, 0, 0, 0, 1}, .updated_us = 3}}; /* same bucket */
    pending_table_add(&table, &newer);
    pending_table_add(&table, &old);
    pending_table_add(&table, &other);
    CU_ASSERT_PTR_EQUAL(pending_table_find(&table, &old.identity), &newer);
    pending_table_remove(&table, &newer);
    CU_ASSERT_PTR_EQUAL(pending_table_find(&table, &newer.identity), &old);
    pending_table_remove(&table, &old);
    CU_ASSERT_PTR_NULL(pending_table_find(&table, &old.identity));
    CU_ASSERT_PTR_EQUAL(pending_table_find(&table, &other.identity), &other);
    pending_table_free(&table);
}

static struct identity numbered(uint32_t number)
{
    struct identity identity = {.updated_us = number};
    memcpy(identity.key, &number, sizeof number);
    return identity;
}

static void the_oldest_identities_are_forgotten_first(void)
{
    struct identities *identities = identities_new(1000, 60000);
    CU_ASSERT_PTR_NOT_NULL_FATAL(identities);
    for (uint32_t i = 0; i < 2500; i++) {
        struct identity identity = numbered(i);
        identities_add(identities, i % 2, &identity, 0);
    }
    unsigned wrong = 0;
    for (uint32_t i = 0; i < 2500; i++) {
        struct identity identity = numbered(i);
        struct known known = identities_find(identities, i % 2, &identity, 0);
        wrong += known.delivered != (i >= 1500);
        wrong += identities_find(identities, 1 - i % 2, &identity, 0).delivered;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    struct identity last = numbered(2499);
    CU_ASSERT_TRUE(identities_find(identities, 1, &last, 60000).delivered);
    CU_ASSERT_FALSE(identities_find(identities, 1, &last, 60001).delivered);
    identities_free(identities);
}

static void file_sink_appends_lines(void)
{
    char directory[PATH_SIZE], path[PATH_SIZE];
    struct answer answer;
    struct file_sink sink = {.path = path}, full = {.path = "/dev/full"};
    CU_ASSERT_TRUE_FATAL(temporary_make(directory));
    path_join(path, directory, "events.ndjson");
    file_sink_append(&sink, "{\"a\":1}\n", 8, &answer);
    CU_ASSERT_EQUAL(answer_outcome(&answer, false), OUTCOME_DELIVERED);
    file_sink_append(&sink, "{\"b\":2}\n", 8, &answer);
    char *text = temporary_read(directory, "events.ndjson");
    CU_ASSERT_STRING_EQUAL(text, "{\"a\":1}\n{\"b\":2}\n");
    free(text);
    temporary_remove(directory);
    file_sink_append(&sink, "{}\n", 3, &answer);
    CU_ASSERT_EQUAL(answer_outcome(&answer, false), OUTCOME_RETRY);
    CU_ASSERT_PTR_NOT_NULL(strstr(answer.error.text, path));
    file_sink_append(&full, "{}\n", 3, &answer);
    CU_ASSERT_EQUAL(answer_outcome(&answer, false), OUTCOME_RETRY);
    file_sink_free(&sink);
    file_sink_free(&full);
}

static void append_lines(struct file_sink *sink, const char *lines)
{
    struct answer answer;
    file_sink_append(sink, lines, strlen(lines), &answer);
    CU_ASSERT_EQUAL(answer_outcome(&answer, false), OUTCOME_DELIVERED);
}

#define LINE(id) "{\"type\":\"track\",\"messageId\":\"" id "\",\"properties\":{\"messageId\":\"x\"}}\n"

/* By one process, by another that shares the file, after a restart; a file that was removed is begun anew. */
static void file_sink_leaves_out_what_it_has(void)
{
    char directory[PATH_SIZE], path[PATH_SIZE];
    struct file_sink sink = {.path = path}, other = {.path = path};
    CU_ASSERT_TRUE_FATAL(temporary_make(directory));
    path_join(path, directory, "events.ndjson");
    append_lines(&sink, LINE("1") LINE("2"));
    append_lines(&sink, LINE("2") LINE("3"));
    append_lines(&other, LINE("1") LINE("4") LINE("3"));
    append_lines(&sink, LINE("4") "{\"no\":\"id\"}\n" LINE("5"));
    append_lines(&sink, LINE("4"));
    char *text = temporary_read(directory, "events.ndjson");
    CU_ASSERT_STRING_EQUAL(text, LINE("1") LINE("2") LINE("3") LINE("4") "{\"no\":\"id\"}\n" LINE("5"));
    free(text);
    remove(path);
    append_lines(&sink, LINE("2"));
    text = temporary_read(directory, "events.ndjson");
    CU_ASSERT_STRING_EQUAL(text, LINE("2"));
    free(text);
    file_sink_free(&sink);
    file_sink_free(&other);
    temporary_remove(directory);
}

void suite_forward(void)
{
    static CU_TestInfo tests[] = {
        {"every HTTP status has its outcome", every_status_has_its_outcome},
        {"200 with ok, as people's data planes say it, is delivered", what_counts_as_delivered},
        {"a long answer is no ok", a_long_answer_is_no_ok},
        {"an empty batch is known in any letter case", an_empty_batch_is_known_in_any_letter_case},
        {"answers are described in the data plane's words", answers_are_described_with_their_words},
        {"back-off doubles from 1 s to 5 min, with full jitter", backoff_doubles_up_to_five_minutes},
        {"Retry-After is obeyed up to 15 minutes", retry_after_is_obeyed_up_to_a_quarter_of_an_hour},
        {"gzip packs text and noise of any length", gzip_packs_text_and_noise_of_any_length},
        {"a batch has the data plane's form", batch_has_the_data_planes_form},
        {"a batch is bounded, but one message alone always fits", batch_is_bounded_but_one_alone_fits},
        {"of an identity in hand the newest version is found", the_newest_version_in_flight_is_found},
        {"the oldest identities are forgotten first", the_oldest_identities_are_forgotten_first},
        {"the file sink appends whole lines or says why not", file_sink_appends_lines},
        {"the file sink leaves out messages that the file has", file_sink_leaves_out_what_it_has},
        CU_TEST_INFO_NULL,
    };
    suite_add("forward", NULL, NULL, tests);
}
