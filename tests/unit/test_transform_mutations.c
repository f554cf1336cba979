/* Bodies that were damaged at random, always in the same way: whatever comes of them, it is no crash, our reader takes
 * exactly those that are JSON for another reader too, and every message is JSON for both. CLOSECRM_MUTATIONS says how
 * many (default 20000). */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/suites.h"
#include "tests/support/strict_json.h"
#include "tests/support/transform_tools.h"

#define ROOM 8192

/* Events of different shapes; the documented one comes to them from its file. */
static const char *const shapes[] = {
    ("{\"event\":{\"id\":\"ev_1\",\"object_type\":\"activity.email\",\"action\":\"sent\",\"object_id\":\"acti_1\","
     "\"lead_id\":\"lead_1\",\"date_created\":\"2024-05-01T08:00:00.000001\",\"date_updated\":"
     "\"2024-05-01T08:00:01.5+02:00\",\"changed_fields\":[\"status\"],\"data\":{\"subject\":\"Gr\\u00fc\\u00dfe "
     "\\ud83d\\ude39\",\"body_html\":\"<p "
     "class=\\\"a\\\">\\r\\n\\t\xE2\x82\xAC\xF0\x9F\x98\xB9</p>\",\"to\":[\"a@b.c\","
     "null],\"envelope\":{\"from\":[{\"email\":\"x@y.z\",\"name\":null}],\"is_autoreply\":false},\"attachments\":[{"
     "\"size\":12345678901234567890,\"ratio\":1.50e-3}]}},\"subscription_id\":\"whsub_1\"}"),
    ("{\"subscription_id\":\"whsub_2\",\"event\":{\"object_type\":\"lead\",\"action\":\"deleted\",\"id\":\"ev_2\","
     "\"lead_id\":\"lead_2\",\"data\":null,\"previous_data\":{\"name\":\"\xD0\x9B\xD0\xB8\xD0\xB4\",\"custom.cf_1\":[1,"
     "2.50,-0],\"custom\":{\"cf_2\":null}},\"meta\":{\"merge_source_lead_id\":\"lead_1\"},\"date_updated\":"
     "\"2016-12-31T23:59:60Z\"}}"),
    ("{\"event\":{\"object_type\":\"export.lead\",\"action\":\"completed\",\"lead_id\":null,\"object_id\":\"exp_1\","
     "\"organization_id\":\"orga_1\",\"data\":{\"\":{},\"a\":[[],[[]],{}],\"true\":true,\"n\":[0,-1.0E+2,1e400]}}}"),
    ("{\"event\":{\"action\":\"x\",\"object_type\":\"y\"}}"),
};
#define SHAPES (sizeof shapes / sizeof *shapes)

/* Pieces that JSON readers stumble over. */
static const char *const pieces[] = {
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "\\u0000",
    "\\ud800",
    "\\udc00",
    "\xED\xA0\x80",
    "\xC0\x80",
    "\xF4",
    "\xEF\xBB\xBF",
    "-",
    "1e",
    "\"id\":1,",
    "\"event\":",
    "\"lead_id\":\" \",",
    "\"data\":null,",
    "\n",
    "\x01",
    "[[[[[[[[",
    "{\"a\":",
    "/",
};

struct mutant {
    uint64_t random;
    size_t length;
    char bytes[ROOM];
};

/* A number below `below`, by xorshift: the same on every machine. */
static size_t pick(struct mutant *mutant, size_t below)
{
    mutant->random ^= mutant->random << 13;
    mutant->random ^= mutant->random >> 7;
    mutant->random ^= mutant->random << 17;
    return (size_t)(mutant->random >> 11) % below;
}

static void insert(struct mutant *mutant, size_t at, const char *bytes, size_t length)
{
    if (length > sizeof mutant->bytes - mutant->length)
        return;
    memmove(mutant->bytes + at + length, mutant->bytes + at, mutant->length - at);
    memcpy(mutant->bytes + at, bytes, length);
    mutant->length += length;
}

static void delete (struct mutant *mutant, size_t at, size_t length)
{
    memmove(mutant->bytes + at, mutant->bytes + at + length, mutant->length - at - length);
    mutant->length -= length;
}

/* A stretch of the body, mostly short. */
static size_t stretch(struct mutant *mutant, size_t from)
{
    size_t left = mutant->length - from;
    size_t most = pick(mutant, 4) == 0 ? left : 16;
    return 1 + pick(mutant, most < left ? most : left);
}

static void duplicate(struct mutant *mutant, size_t at)
{
    char copy[ROOM];
    size_t length = stretch(mutant, at);
    memcpy(copy, mutant->bytes + at, length);
    insert(mutant, pick(mutant, mutant->length), copy, length);
}

static void mutate(struct mutant *mutant, const char *other)
{
    size_t at = pick(mutant, mutant->length);
    size_t from = pick(mutant, strlen(other));
    const char *piece = pieces[pick(mutant, sizeof pieces / sizeof *pieces)];
    switch (pick(mutant, 10)) {
    case 0:
        mutant->bytes[at] ^= (char)(1 << pick(mutant, 8));
        break;
    case 1:
        mutant->bytes[at] = (char)pick(mutant, 256);
        break;
    case 2:
        insert(mutant, at, piece, strlen(piece));
        break;
    case 3:
        delete (mutant, at, stretch(mutant, at));
        break;
    case 4:
        insert(mutant, at, other + from, 1 + pick(mutant, strlen(other) - from));
        break;
    case 5:
        duplicate(mutant, at);
        break;
    default: /* a digit or letter in the place of one: more of these are still JSON */
        if (mutant->bytes[at] >= '0')
            mutant->bytes[at] = (char)('0' + pick(mutant, 75));
    }
}

/* Whether both readers agree; taken says whether ours takes it. JSON allows names with a NUL, ours does not. */
static bool agree(const char *text, size_t length, bool *taken)
{
    struct error why = {0};
    *taken = tool_is_json(text, length, &why);
    bool theirs = is_strict_json((struct slice){text, length});
    bool same = *taken == theirs || strstr(why.text, "a name holds \\u0000") != NULL;
    if (!same)
        printf("\n    %s: %.*s", *taken ? "only ours takes it" : why.text, (int)length, text);
    return same;
}

/* Transforms it twice; returns whether there was a message. */
static bool run(const char *bytes, size_t length, const struct rules *rules, bool newer)
{
    struct buffer out[2] = {{0}, {0}};
    bool made = false;
    bool taken;
    CU_ASSERT_TRUE(agree(bytes, length, &taken));
    for (int i = 0; i < 2; i++) {
        struct error why = {0};
        bool out_of_memory;
        struct parsed *parsed = transform_parse(bytes, length, &out_of_memory, &why);
        CU_ASSERT_FALSE(out_of_memory);
        CU_ASSERT_EQUAL(parsed == NULL, why.text[0] != '\0');
        if (parsed == NULL)
            break;
        CU_ASSERT_EQUAL(transform_message(parsed, rules, newer, &out[i]), TRANSFORM_OK);
        CU_ASSERT_TRUE(strlen(transform_ordering_key(parsed)) <= length ||
                       strlen(transform_ordering_key(parsed)) == 36);
        parsed_free(parsed);
        made = true;
    }
    if (made) {
        CU_ASSERT_TRUE(is_strict_json((struct slice){bytes, length})); /* with NULs in names replaced */
        CU_ASSERT_TRUE(agree(out[0].data, out[0].length, &taken) && taken);
        CU_ASSERT_EQUAL(out[0].length, out[1].length);
        CU_ASSERT_EQUAL(memcmp(out[0].data, out[1].data, out[0].length), 0);
    }
    buffer_free(&out[0]);
    buffer_free(&out[1]);
    return made;
}

static long wanted_count(void)
{
    const char *text = getenv("CLOSECRM_MUTATIONS");
    long count = text == NULL ? 0 : strtol(text, NULL, 10);
    return count > 0 ? count : 20000;
}

static void test_mutations(void)
{
    static struct mutant mutant;
    char *documented = tool_file("tests/data/opportunity-updated.webhook.json");
    char *paths[] = {(char[]){"data.to"}, (char[]){"data.custom.cf_1"}, (char[]){"id"}};
    struct rules rules = {.remove = paths, .removes = 3};
    long count = wanted_count();
    long made = 0;
    for (long i = 0; i < count; i++) {
        mutant.random = UINT64_C(0x9E3779B97F4A7C15) * (uint64_t)(i + 1);
        size_t shape = pick(&mutant, SHAPES + 1);
        const char *body = shape == SHAPES ? documented : shapes[shape];
        mutant.length = strlen(body);
        memcpy(mutant.bytes, body, mutant.length);
        for (size_t rounds = 1 + pick(&mutant, 3); rounds > 0 && mutant.length > 0; rounds--)
            mutate(&mutant, shapes[pick(&mutant, SHAPES)]);
        /* Exactly as long as the body, so that the sanitizers see who reads beyond it. */
        char *exact = malloc(mutant.length > 0 ? mutant.length : 1);
        memcpy(exact, mutant.bytes, mutant.length);
        made += run(exact, mutant.length, &rules, i % 2 == 0);
        free(exact);
    }
    printf("\n    %ld bodies, %ld messages ", count, made);
    /* Neither all nor nothing got through, or the loop above would prove little. */
    CU_ASSERT_TRUE(made > count / 100);
    CU_ASSERT_TRUE(made < count);
    free(documented);
}

void suite_transform_mutations(void)
{
    static CU_TestInfo tests[] = {
        {"damaged bodies", test_mutations},
        CU_TEST_INFO_NULL,
    };
    suite_add("transform mutations", NULL, NULL, tests);
}
