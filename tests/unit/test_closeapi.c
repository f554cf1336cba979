/* The parts of the Close side that need no Close: slices, the spool, names of events, filters, times, keys in files. */
#include "base/buffer.h"
#include "base/files.h"
#include "base/json.h"
#include "base/times.h"
#include "closeapi/closeapi.h"
#include "closeapi/import.h"
#include "closeapi/subscriptions.h"
#include "kept/keys.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/temporary.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- slices ---- */

static bool slice_has(struct json_slice slice, const char *text)
{
    return slice.length == strlen(text) && memcmp(slice.at, text, slice.length) == 0;
}

static void members_keep_their_bytes(void)
{
    static const char text[] =
        " { \"a\" : 1.10 , \"b\":\"}\\\"]\\\\\", \"c\":[ {\"d\":-0} ,\n\"]\", null ],\"e\":{\"a\":2},"
        "\"n\":123456789012345678901234567890,\"a\":1.20} ";
    struct json_slice whole = json_slice_whole(text, sizeof text - 1);
    CU_ASSERT(slice_has(json_slice_member(whole, "a"), "1.20")); /* of a name that comes twice the last counts */
    CU_ASSERT(slice_has(json_slice_member(whole, "b"), "\"}\\\"]\\\\\""));
    CU_ASSERT(slice_has(json_slice_member(whole, "c"), "[ {\"d\":-0} ,\n\"]\", null ]"));
    CU_ASSERT(slice_has(json_slice_member(whole, "n"), "123456789012345678901234567890"));
    CU_ASSERT(slice_has(json_slice_member(json_slice_member(whole, "e"), "a"), "2"));
    CU_ASSERT_PTR_NULL(json_slice_member(whole, "d").at); /* it lies deeper */
    CU_ASSERT_PTR_NULL(json_slice_member(json_slice_member(whole, "c"), "a").at);

    struct json_slice element = {NULL, 0}, array = json_slice_member(whole, "c");
    static const char *const elements[] = {"{\"d\":-0}", "\"]\"", "null"};
    for (size_t i = 0; i < 3; i++)
        CU_ASSERT(json_slice_element(array, &element) && slice_has(element, elements[i]));
    CU_ASSERT_FALSE(json_slice_element(array, &element));
    element = (struct json_slice){NULL, 0};
    CU_ASSERT_FALSE(json_slice_element(json_slice_whole("[ ]", 3), &element));
}

static void what_is_empty(void)
{
    static const struct {
        const char *text;
        bool empty;
    } rows[] = {{"null", true},      {"{}", true}, {"{ \n }", true}, {"[]", true},     {"{\"a\":null}", false},
                {"\"null\"", false}, {"0", false}, {"\"\"", false},  {"[null]", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check(json_slice_is_empty(json_slice_whole(rows[i].text, strlen(rows[i].text))) == rows[i].empty, "%s",
              rows[i].text);
    CU_ASSERT(json_slice_is_empty((struct json_slice){NULL, 0}));
}

static bool only_cursor(unsigned depth, const char *parent, const char *name)
{
    (void)parent;
    return depth > 1 || strcmp(name, "cursor") == 0;
}

/* Reads all elements of `data`, each printed as a tree, with its bytes behind it. */
static enum json_step read_list(const char *text, struct buffer *out, struct json_object **rest)
{
    struct json_element element;
    struct error why;
    enum json_step step;
    struct json_list *list = json_list_new(text, strlen(text), "data", only_cursor);
    CU_ASSERT_PTR_NOT_NULL_FATAL(list);
    buffer_clear(out);
    while ((step = json_list_next(list, &element, &why)) == JSON_ELEMENT) {
        buffer_text(out, json_object_to_json_string_ext(element.tree, JSON_C_TO_STRING_PLAIN));
        buffer_text(out, "=");
        buffer_append(out, element.bytes, element.length);
        buffer_text(out, ";");
    }
    buffer_append(out, "", 1);
    *rest = json_object_get(json_list_rest(list));
    json_list_free(list);
    return step;
}

static void lists_are_read_element_by_element(void)
{
    static const struct {
        const char *text, *elements, *rest;
    } good[] = {
        {"{\"cursor\":null,\"x\":[1],\"data\":[ {\"a\" : 1.10} ,null,\"\\u0041\"] }",
         "{\"a\":1.10}={\"a\" : 1.10};null=null;\"A\"=\"\\u0041\";", "{\"cursor\":null,\"data\":[]}"},
        {" {\"data\":[],\"cursor\":\"next\"} ", "", "{\"data\":[],\"cursor\":\"next\"}"},
        {"{\"data\":{\"data\":[1]}}", "", "{}"},
        {"{}", "", "{}"},
        {"[{\"data\":[1]}]", "", "{}"},
    };
    static const char *const bad[] = {
        "",
        "{",
        "{\"data\":[{}",
        "{\"data\":[{}]",
        "{\"data\":[{} {}]}",
        "{\"data\":[{},]}",
        "{\"data\":[{\"a\":01}]}",
        "{\"data\":[],}",
        "{\"data\":[]} x",
        "{\"data\":[]}}",
        "{\"data\":[1],\"data\":[2]}",
        "{\"data\":[1],\"data\":2}",
        "{\"data\":[1],\"d\\u0061ta\":null}",
        "{\"data\":[1],\"cursor\":tru}",
        "{\"data\":[1] \"cursor\":null}",
    };
    struct buffer out = {0};
    struct json_object *rest;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        bool read = read_list(good[i].text, &out, &rest) == JSON_END;
        const char *printed = json_object_to_json_string_ext(rest, JSON_C_TO_STRING_PLAIN);
        check(read && strcmp(out.data, good[i].elements) == 0 && strcmp(printed, good[i].rest) == 0, "%s: %s and %s",
              good[i].text, out.data, printed);
        json_object_put(rest);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        check(read_list(bad[i], &out, &rest) == JSON_BROKEN, "%s is no list", bad[i]);
        json_object_put(rest);
    }
    buffer_free(&out);
}

/* ---- the spool ---- */

static void put(struct spool *spool, const char *text, int64_t order)
{
    struct error why;
    CU_ASSERT(spool_put(spool, text, strlen(text), order, &why));
}

static void the_spool_turns_round(void)
{
    static const char *const wanted[] = {"1", "2", "", "4", "5", "6"};
    char directory[PATH_SIZE];
    struct spool spool;
    struct buffer out = {0};
    struct error why;
    int64_t order;
    CU_ASSERT_FATAL(temporary_make(directory));
    CU_ASSERT_FATAL(spool_open(&spool, directory, &why));
    put(&spool, "5", 50);
    put(&spool, "2", 20);
    CU_ASSERT(spool_begin_run(&spool));
    put(&spool, "6", 60);
    put(&spool, "4", 40);
    put(&spool, "1", 10);
    CU_ASSERT(spool_begin_run(&spool)); /* an empty one */
    CU_ASSERT(spool_begin_run(&spool));
    put(&spool, "", 30);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        CU_ASSERT(spool_take(&spool, &out, &order, &why));
        CU_ASSERT(out.length == strlen(wanted[i]) && memcmp(out.data, wanted[i], out.length) == 0);
        CU_ASSERT_EQUAL(order, (int64_t)(i + 1) * 10);
    }
    CU_ASSERT_FALSE(spool_take(&spool, &out, &order, &why));
    CU_ASSERT_STRING_EQUAL(why.text, "");
    spool_clear(&spool);
    put(&spool, "again", 1);
    CU_ASSERT(spool_take(&spool, &out, &order, &why) && out.length == 5);
    CU_ASSERT_EQUAL(rmdir(directory), 0); /* it has left no file */
    buffer_free(&out);
    spool_close(&spool);
}

/* ---- names of events ---- */

static bool has_event(const struct event_choice *choice, const char *type, const char *action)
{
    for (size_t i = 0; i < choice->count; i++) {
        if (strcmp(choice->at[i].object_type, type) == 0 && strcmp(choice->at[i].action, action) == 0)
            return true;
    }
    return false;
}

static void names_are_expanded(void)
{
    struct event_choice choice;
    struct error why;
    size_t all;
    event_types_all(&all);
    CU_ASSERT_EQUAL(all, 151);
    CU_ASSERT_FATAL(event_types_choose(NULL, &choice, &why));
    CU_ASSERT_EQUAL(choice.count, all);
    event_choice_free(&choice);

    CU_ASSERT_FATAL(event_types_choose("lead.*, lead.created activity.email.sent,new.kind.of_thing", &choice, &why));
    CU_ASSERT_EQUAL(choice.count, 4 + 2);
    CU_ASSERT(has_event(&choice, "lead", "merged") && has_event(&choice, "activity.email", "sent") &&
              has_event(&choice, "new.kind", "of_thing"));
    event_choice_free(&choice);

    CU_ASSERT_FATAL(event_types_choose("*.deleted", &choice, &why));
    CU_ASSERT(has_event(&choice, "lead", "deleted") && !has_event(&choice, "lead", "created"));
    event_choice_free(&choice);

    static const char *const bad[] = {"", " , ", "lead", "lead.", ".created", "nothing.*", "le ad.x y", "lead.\"x\""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        check(!event_types_choose(bad[i], &choice, &why), "\"%s\" is refused", bad[i]);
}

/* ---- filters ---- */

static void filters_are_understood(void)
{
    static const char event[] = "{\"action\":\"updated\",\"user_id\":null,\"changed_fields\":[\"note\",\"value\"],"
                                "\"data\":{\"status_id\":\"stat_1\",\"value\":7,\"tags\":[{\"n\":1},{\"n\":2}]}}";
#define FIELD(name, filter) "{\"type\":\"field_accessor\",\"field\":\"" name "\",\"filter\":" filter "}"
    static const struct {
        const char *filter;
        bool passes;
    } rows[] = {
        {FIELD("action", "{\"type\":\"equals\",\"value\":\"updated\"}"), true},
        {FIELD("action", "{\"type\":\"equals\",\"value\":\"created\"}"), false},
        {FIELD("action", "{\"type\":\"not_equals\",\"value\":\"created\"}"), true},
        {FIELD("data", FIELD("status_id", "{\"type\":\"equals\",\"value\":\"stat_1\"}")), true},
        {FIELD("data", FIELD("value", "{\"type\":\"equals\",\"value\":7}")), true},
        {FIELD("data", FIELD("value", "{\"type\":\"equals\",\"value\":\"7\"}")), false},
        {FIELD("data", FIELD("nothing", "{\"type\":\"is_null\"}")), true},
        {FIELD("data", FIELD("value", "{\"type\":\"non_null\"}")), true},
        {FIELD("user_id", "{\"type\":\"non_null\"}"), false},
        {FIELD("changed_fields", "{\"type\":\"contains\",\"value\":\"note\"}"), true},
        {FIELD("changed_fields", "{\"type\":\"contains\",\"value\":\"other\"}"), false},
        {FIELD("changed_fields", "{\"type\":\"any_array_value\",\"filter\":{\"type\":\"equals\",\"value\":\"value\"}}"),
         true},
        {FIELD("data", FIELD("tags", "{\"type\":\"any_array_value\",\"filter\":" FIELD(
                                         "n", "{\"type\":\"equals\",\"value\":2}") "}")),
         true},
        {"{\"type\":\"and\",\"filters\":[" FIELD("data", "{\"type\":\"non_null\"}") "," FIELD(
             "user_id", "{\"type\":\"non_null\"}") "]}",
         false},
        {"{\"type\":\"or\",\"filters\":[" FIELD("data", "{\"type\":\"non_null\"}") "," FIELD(
             "user_id", "{\"type\":\"non_null\"}") "]}",
         true},
        {"{\"type\":\"not\",\"filter\":" FIELD("user_id", "{\"type\":\"non_null\"}") "}", true},
        /* what this release does not know lets all pass, also where it is turned round */
        {"{\"type\":\"brand_new\"}", true},
        {"{\"type\":\"not\",\"filter\":{\"type\":\"brand_new\"}}", true},
        {"{\"type\":\"and\",\"filters\":[{\"type\":\"brand_new\"}," FIELD("user_id", "{\"type\":\"non_null\"}") "]}",
         true},
        {"{}", true},
    };
#undef FIELD
    struct json_object *tree = json_tokener_parse(event);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct json_object *filter = json_tokener_parse(rows[i].filter);
        check(filter_passes(filter, tree) == rows[i].passes, "%s", rows[i].filter);
        json_object_put(filter);
    }
    json_object_put(tree);
}

static void addresses_are_compared(void)
{
    static const struct {
        const char *a, *b;
        bool same;
    } rows[] = {
        {"https://x.com/closecrm", "https://x.com/closecrm?writeKey=1", true},
        {"https://x.com/closecrm/", "https://X.com:443/closecrm", true},
        {"https://x.com/closecrm/a", "https://x.com/closecrm/b", false},
        {"https://x.com/closecrm", "http://x.com/closecrm", false},
        {"https://x.com:8443/closecrm", "https://x.com/closecrm", false},
        {"nothing", "https://x.com/", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check(subscription_same_url(rows[i].a, rows[i].b) == rows[i].same, "%s and %s", rows[i].a, rows[i].b);
}

/* ---- times ---- */

static void times_are_read(void)
{
    static const char now[] = "2026-11-24T12:00:00";
    static const struct {
        const char *text, *means;
    } rows[] = {
        {"2026-11-01", "2026-11-01T00:00:00"},
        {"2026-11-01T12:30", "2026-11-01T12:30:00"},
        {"2026-11-01T12:30:15Z", "2026-11-01T12:30:15"},
        {"7d", "2026-11-17T12:00:00"},
        {"36h", "2026-11-23T00:00:00"},
        {"90s", "2026-11-24T11:58:30"},
        {"yesterday", NULL},
        {"7", NULL},
        {"7w", NULL},
        {"-7d", NULL},
        {"2026-13-01", NULL},
        {"", NULL},
    };
    int64_t now_us = times_read(now, strlen(now));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct error why;
        int64_t us = 0;
        bool read = backfill_read_time(rows[i].text, now_us, &us, &why);
        check(read == (rows[i].means != NULL), "\"%s\"", rows[i].text);
        if (read && rows[i].means != NULL)
            check(us == times_read(rows[i].means, strlen(rows[i].means)), "\"%s\" is %s", rows[i].text, rows[i].means);
    }
}

/* ---- keys in files ---- */

#define HEX "00112233445566778899aabbccddeeff00112233445566778899aabbccddeefF"

static void keys_are_kept(void)
{
    char directory[PATH_SIZE];
    struct keyring keyring;
    struct config config = {.state_dir = directory};
    struct keyring_look look = {.there = false};
    struct error why = {0};
    struct held_key key = {.source = "acme", .subscription = "whsub_1", .created_ms = 1700000000123};
    CU_ASSERT_FATAL(temporary_make(directory));
    CU_ASSERT_FALSE(keyring_changed(directory, &look));
    CU_ASSERT(keyring_read(directory, &keyring, &why) && keyring.count == 0);

    CU_ASSERT(kept_key_store(&config, &key, HEX, "https://x.com/closecrm", &why));
    CU_ASSERT(keyring_changed(directory, &look));
    CU_ASSERT(keyring_read(directory, &keyring, &why));
    CU_ASSERT_EQUAL_FATAL(keyring.count, 1);
    CU_ASSERT_STRING_EQUAL(keyring.at[0].source, "acme");
    CU_ASSERT_STRING_EQUAL(keyring.at[0].subscription, "whsub_1");
    CU_ASSERT_EQUAL(keyring.at[0].created_ms, 1700000000123);
    CU_ASSERT_EQUAL(keyring.at[0].bytes[1], 0x11);
    CU_ASSERT_EQUAL(keyring.at[0].bytes[31], 0xff);
    keyring_free(&keyring);

    struct stat status;
    char path[PATH_SIZE];
    path_join(path, directory, "keys/acme-whsub_1.key");
    CU_ASSERT(stat(path, &status) == 0 && (status.st_mode & 07777) == 0600);
    path_join(path, directory, "keys");
    CU_ASSERT(stat(path, &status) == 0 && (status.st_mode & 07777) == 0700);

    /* what is no key is left out, and hides no other */
    CU_ASSERT(temporary_write(path, "broken.key", 0600, "source = x\n", 11));
    CU_ASSERT(keyring_read(directory, &keyring, &why) && keyring.count == 1);
    keyring_free(&keyring);

    /* what a kill left behind goes when it is surely nobody's any more */
    char half[PATH_SIZE];
    const struct timespec old[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    CU_ASSERT(temporary_write(path, "acme-whsub_2.key.new", 0600, "", 0));
    path_join(half, path, "acme-whsub_2.key.new");
    keyring_tidy(directory);
    CU_ASSERT_EQUAL(access(half, F_OK), 0);
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, half, old, 0), 0);
    keyring_tidy(directory);
    CU_ASSERT_NOT_EQUAL(access(half, F_OK), 0);

    CU_ASSERT(kept_key_remove(&config, "acme", "whsub_1", &why) && kept_key_remove(&config, "acme", "whsub_1", &why));
    CU_ASSERT(keyring_read(directory, &keyring, &why) && keyring.count == 0);

    CU_ASSERT_FALSE(kept_key_store(&config, &key, "abc", "", &why));
    snprintf(key.subscription, sizeof key.subscription, "../x");
    CU_ASSERT_FALSE(kept_key_store(&config, &key, HEX, "", &why));

    CU_ASSERT_FALSE(keyring_was_used(directory, "whsub_1"));
    keyring_mark_used(directory, "whsub_1");
    CU_ASSERT(keyring_was_used(directory, "whsub_1"));
    temporary_remove(directory);
}

static void small_files_are_read(void)
{
    static const char text[] = "a = 1\nab = two words\nempty = \nn = -5\nbad = 5x";
    char out[16];
    CU_ASSERT(files_value(text, "ab", out, sizeof out));
    CU_ASSERT_STRING_EQUAL(out, "two words");
    CU_ASSERT(files_value(text, "empty", out, sizeof out) && out[0] == '\0');
    CU_ASSERT_FALSE(files_value(text, "b", out, sizeof out));
    CU_ASSERT_FALSE(files_value(text, "ab", out, 9)); /* it would be cut */
    CU_ASSERT_EQUAL(files_number(text, "n", 0), -5);
    CU_ASSERT_EQUAL(files_number(text, "bad", 7), 7);
    CU_ASSERT_EQUAL(files_number(text, "missing", 8), 8);
}

void suite_closeapi(void)
{
    static CU_TestInfo tests[] = {
        {"members keep their bytes", members_keep_their_bytes},
        {"what is empty", what_is_empty},
        {"lists are read element by element", lists_are_read_element_by_element},
        {"the spool turns round, and merges", the_spool_turns_round},
        {"names of events are expanded", names_are_expanded},
        {"filters are understood", filters_are_understood},
        {"addresses are compared without their query", addresses_are_compared},
        {"times are read", times_are_read},
        {"keys are kept in files", keys_are_kept},
        {"small files are read", small_files_are_read},
        CU_TEST_INFO_NULL,
    };
    suite_add("closeapi", NULL, NULL, tests);
}
