/* The configuration: that what is written arrives in the struct. */
#include "tests/suites.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/config_text.h"

/* Reads what must be readable. */
static struct config *read_good(const char *text)
{
    struct error why = {0};
    struct config *config = read_text(text, NULL, &why);
    CU_ASSERT_STRING_EQUAL(why.text, "");
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    return config;
}

static void short_form_and_defaults(void)
{
    struct config *config = read_good(WHOLE);

    CU_ASSERT_EQUAL(config->queue, QUEUE_SQLITE);
    CU_ASSERT_PTR_NOT_NULL(strstr(config->state_dir, "/state"));
    CU_ASSERT_EQUAL(config->queue_retention_ms, INT64_C(30) * 24 * 3600 * 1000);
    CU_ASSERT_EQUAL(config->poison_after_ms, 600000);
    CU_ASSERT_EQUAL(config->deliver_rate, 0);
    CU_ASSERT_EQUAL(config->queue_max_bytes, INT64_C(8) << 30);
    CU_ASSERT_EQUAL(config->dedupe_window_ms, INT64_C(31) * 24 * 3600 * 1000);
    CU_ASSERT_EQUAL(config->max_body, 16 << 20);
    CU_ASSERT_PTR_NULL(config->ca_file);
    CU_ASSERT_EQUAL(config->log_level, LEVEL_INFO);
    CU_ASSERT_EQUAL(config->request_threads, 32);
    CU_ASSERT_EQUAL(config->request_timeout_ms, 10000);
    CU_ASSERT_EQUAL(config->shutdown_grace_ms, 2000);
    CU_ASSERT_EQUAL(config->confine, CONFINE_AUTO);
    CU_ASSERT_EQUAL(config->lanes, 4);
    CU_ASSERT_EQUAL(config->batch_events, 500);

    CU_ASSERT_EQUAL_FATAL(config->sources, 1);
    const struct source *source = &config->source[0];
    CU_ASSERT_PTR_EQUAL(config_source(config, "default"), source);
    CU_ASSERT_PTR_NULL(config_source(config, "acme"));
    CU_ASSERT_STRING_EQUAL(source->data_plane_url, "https://rs.example.com");
    CU_ASSERT_EQUAL_FATAL(source->write_key.count, 1);
    CU_ASSERT_STRING_EQUAL(source->write_key.at[0], "2bKeyKeyKeyKeyKey1");
    CU_ASSERT_EQUAL_FATAL(source->signature_keys, 1);
    CU_ASSERT_EQUAL_FATAL(source->signature_key[0].length, 32);
    static const unsigned char begin[] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                                          0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
    CU_ASSERT_EQUAL(memcmp(source->signature_key[0].bytes, begin, sizeof begin), 0);
    CU_ASSERT_EQUAL(memcmp(source->signature_key[0].bytes + 16, begin, sizeof begin), 0);
    CU_ASSERT_EQUAL(source->signature_tolerance_ms, INT64_C(73) * 3600 * 1000);
    CU_ASSERT_EQUAL(source->keep.count + source->drop.count + source->remove.count, 0);
    config_free(config);
}

static void every_key_is_taken(void)
{
    struct config *config = read_good(WHOLE "queue = none\nqueue_max_bytes = 2000000K\ndedupe_window = 90s\n"
                                            "max_body = 4000K\nca_file = certificates.pem\nlog_level = debug\n"
                                            "request_threads = 512\nrequest_timeout = 12s\nshutdown_grace = 1m\n"
                                            "confine = no\nlanes = 64\nbatch_events = 1\nsignature_tolerance = 15m\n"
                                            "keep = lead.*\ndrop = *.deleted\nremove = data.body_html\n"
                                            "nul = keep\nwarehouse = json\ncontext = close\n"
                                            "include = previous_data, changed_fields\n");
    CU_ASSERT_EQUAL(config->queue_max_bytes, INT64_C(2000000) * 1024);
    CU_ASSERT_EQUAL(config->dedupe_window_ms, 90000);
    CU_ASSERT_EQUAL(config->max_body, 4000 * 1024);
    size_t folder = strlen(config->path) - strlen("closecrm.conf"); /* which it is relative to */
    CU_ASSERT_EQUAL(strncmp(config->ca_file, config->path, folder), 0);
    CU_ASSERT_STRING_EQUAL(config->ca_file + folder, "certificates.pem");
    CU_ASSERT_EQUAL(config->log_level, LEVEL_DEBUG);
    CU_ASSERT_EQUAL(config->request_threads, 512);
    CU_ASSERT_EQUAL(config->request_timeout_ms, 12000);
    CU_ASSERT_EQUAL(config->shutdown_grace_ms, 60000);
    CU_ASSERT_EQUAL(config->confine, CONFINE_NO);
    CU_ASSERT_EQUAL(config->lanes, 64);
    CU_ASSERT_EQUAL(config->batch_events, 1);
    CU_ASSERT_EQUAL(config->source[0].signature_tolerance_ms, 15 * 60000);
    CU_ASSERT_STRING_EQUAL(config->source[0].keep.at[0], "lead.*");
    CU_ASSERT_STRING_EQUAL(config->source[0].drop.at[0], "*.deleted");
    CU_ASSERT_STRING_EQUAL(config->source[0].remove.at[0], "data.body_html");
    CU_ASSERT_EQUAL(config->source[0].nul, NUL_KEEP);
    CU_ASSERT_EQUAL(config->source[0].warehouse, WAREHOUSE_JSON);
    CU_ASSERT_EQUAL(config->source[0].context, CONTEXT_CLOSE);
    CU_ASSERT_EQUAL_FATAL(config->source[0].include.count, 2);
    CU_ASSERT_STRING_EQUAL(config->source[0].include.at[1], "changed_fields");
    config_free(config);
}

static void lists_in_every_form(void)
{
    struct config *config = read_good("data_plane_url = https://h\r\n"
                                      "write_key = one, two three\r\n"
                                      "# between\n"
                                      "write_key = four\n"
                                      "\tfive ,six\n"
                                      "    # a comment in it\n"
                                      "\n"
                                      "    seven\n"
                                      "keep =\n"
                                      "    lead.created\n"
                                      "    activity.email.*");
    static const char *const expected[] = {"one", "two", "three", "four", "five", "six", "seven"};
    CU_ASSERT_EQUAL_FATAL(config->source[0].write_key.count, 7);
    for (size_t i = 0; i < 7; i++)
        CU_ASSERT_STRING_EQUAL(config->source[0].write_key.at[i], expected[i]);
    CU_ASSERT_EQUAL_FATAL(config->source[0].keep.count, 2);
    CU_ASSERT_STRING_EQUAL(config->source[0].keep.at[1], "activity.email.*");
    config_free(config);
}

/* "none" is a value: any number of sources may have it. */
static void signature_key_none(void)
{
    struct config *config = read_good("data_plane_url = https://all\n[source a]\nwrite_key = a\nsignature_key = none\n"
                                      "[source b]\nwrite_key = b\nsignature_key = none\n[source c]\nwrite_key = c\n");
    CU_ASSERT_EQUAL_FATAL(config->sources, 3);
    CU_ASSERT(config->source[0].signature_none && config->source[1].signature_none);
    CU_ASSERT_FALSE(config->source[2].signature_none);
    CU_ASSERT_EQUAL(config->source[0].signature_keys, 0);
    config_free(config);
}

static void sections_take_defaults_from_above(void)
{
    struct config *config = read_good("data_plane_url = https://all\nsignature_tolerance = 1h\ndrop = *.deleted\n"
                                      "remove = data.note\n"
                                      "[source acme]\nwrite_key = a\n"
                                      "[ source  globex ]\nwrite_key = b\ndata_plane_url = https://own/\ndrop =\n"
                                      "signature_tolerance = 2h\nremove = data.body_html\n");
    CU_ASSERT_EQUAL_FATAL(config->sources, 2);
    const struct source *acme = config_source(config, "acme"), *globex = config_source(config, "globex");
    CU_ASSERT_PTR_NOT_NULL_FATAL(acme);
    CU_ASSERT_PTR_NOT_NULL_FATAL(globex);
    CU_ASSERT_STRING_EQUAL(acme->data_plane_url, "https://all");
    CU_ASSERT_STRING_EQUAL(globex->data_plane_url, "https://own");
    CU_ASSERT_EQUAL(acme->signature_tolerance_ms, 3600000);
    CU_ASSERT_EQUAL(globex->signature_tolerance_ms, 7200000);
    CU_ASSERT_EQUAL_FATAL(acme->drop.count, 1);
    CU_ASSERT_EQUAL(globex->drop.count, 0); /* an empty list of its own is one */
    CU_ASSERT_STRING_EQUAL(acme->remove.at[0], "data.note");
    CU_ASSERT_EQUAL_FATAL(globex->remove.count, 1); /* lists are not joined */
    CU_ASSERT_STRING_EQUAL(globex->remove.at[0], "data.body_html");
    CU_ASSERT_STRING_EQUAL(globex->write_key.at[0], "b");
    CU_ASSERT_EQUAL(acme->line, 5);
    config_free(config);
}

static void values_are_never_cut(void)
{
    struct config *config = read_good("\xef\xbb\xbf"
                                      "data_plane_url = https://h/a;b=c:d\nwrite_key: k=e=y\n");
    CU_ASSERT_STRING_EQUAL(config->source[0].data_plane_url, "https://h/a;b=c:d");
    CU_ASSERT_STRING_EQUAL(config->source[0].write_key.at[0], "k=e=y");
    config_free(config);
}

/* inih keeps 49 characters of a section's name. */
static void longest_source_name(void)
{
    char name[66], text[300];
    memset(name, 'n', 65);
    name[64] = '\0';
    snprintf(text, sizeof text,
             "data_plane_url = https://h\n[source %s]\nwrite_key = a\n[source %.63s2]\nwrite_key = b\n", name, name);
    struct config *config = read_good(text);
    CU_ASSERT_EQUAL_FATAL(config->sources, 2);
    CU_ASSERT_STRING_EQUAL(config->source[0].name, name);
    CU_ASSERT_STRING_EQUAL(config->source[1].write_key.at[0], "b");
    config_free(config);
}

static void longest_line(void)
{
    static const char key[] = "write_key = ";
    char text[5000] = "data_plane_url = https://h\n";
    size_t start = strlen(text);
    memcpy(text + start, key, strlen(key));
    memset(text + start + strlen(key), 'k', 4000 - strlen(key));
    text[start + 4000] = '\n';
    struct config *config = read_good(text);
    CU_ASSERT_EQUAL(strlen(config->source[0].write_key.at[0]), 4000 - strlen(key));
    config_free(config);

    text[start + 4000] = 'k';
    CU_ASSERT_TRUE(refuses(text, NULL,
                           "~/closecrm.conf:2: the line is longer than 4000 bytes; lists may go on in further, "
                           "indented lines"));
}

void suite_config(void)
{
    static CU_TestInfo tests[] = {
        {"three lines are enough, and the rest has defaults", short_form_and_defaults},
        {"every key arrives where it belongs", every_key_is_taken},
        {"lists: commas, blanks, repeated and indented lines", lists_in_every_form},
        {"sections take from above what they lack", sections_take_defaults_from_above},
        {"signature_key = none is a value", signature_key_none},
        {"values are never cut", values_are_never_cut},
        {"a source's name may have 64 characters", longest_source_name},
        {"a line may have 4000 bytes, and one more is refused", longest_line},
        CU_TEST_INFO_NULL,
    };
    suite_add("config", NULL, NULL, tests);
}
