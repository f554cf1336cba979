/* The configuration: what `check` shows, docs/configuration.md's table of keys, and the sample file. */
#include "config/internal.h"
#include "tests/suites.h"
#include "tests/support/config_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE "config/closecrm.conf" /* tests run in the project's folder */

/* The keys of a source that none of these tests sets: the last ones. */
#define UNSET_KEYS                                                                                                     \
    "remove = none  (default)\n"                                                                                       \
    "nul = replace  (default)\n"                                                                                       \
    "warehouse = columns  (default)\n"                                                                                 \
    "context = none  (default)\n"                                                                                      \
    "include = none  (default)\n"                                                                                      \
    "identify = no  (default)\n"                                                                                       \
    "traits = none  (default)\n"                                                                                       \
    "alias = no  (default)\n"                                                                                          \
    "close_api_key = none  (default)\n"                                                                                \
    "close_api_url = https://api.close.com/api/v1  (default)\n"                                                        \
    "reconcile_interval = 15m  (default)\n"                                                                            \
    "auto_resume = no  (default)\n"                                                                                    \
    "accept_empty = no  (default)\n"                                                                                   \
    "queue_url = none  (default)\n"

/* Reads and prints; the text is the caller's. The folder is "~" in it. */
static char *printed(const char *text, char *const environment[])
{
    struct folder folder;
    struct error why = {0};
    char *out = NULL;
    size_t length = 0;
    folder_make(&folder);
    folder_write(&folder, "closecrm.conf", text, strlen(text), 0600);
    folder_write(&folder, "key", "k\n", 2, 0600);
    struct config *config = config_read(folder.file, environment, &why);
    CU_ASSERT_STRING_EQUAL(why.text, "");
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    FILE *stream = open_memstream(&out, &length);
    CU_ASSERT_PTR_NOT_NULL_FATAL(stream);
    config_print(config, stream);
    fclose(stream);
    config_free(config);
    for (char *at; (at = strstr(out, folder.path)) != NULL;) {
        *at = '~';
        memmove(at + 1, at + strlen(folder.path), strlen(at + strlen(folder.path)) + 1);
    }
    folder_remove(&folder);
    return out;
}

static void short_form(void)
{
    char *const environment[] = {"CLOSECRM_LANES=9", NULL};
    char *text = printed("data_plane_url = https://h\nwrite_key = 2bKeyKeyKeyKeyKey1, short\n"
                         "write_key_file = key\nsignature_key = " SIGNATURE_1 "\n"
                         "keep = lead.*, contact.*\nkeep = task.*\n",
                         environment);
    CU_ASSERT_STRING_EQUAL(text, "queue = sqlite  (default)\n"
                                 "state_dir = state  (default)\n"
                                 "queue_max_bytes = 8G  (default)\n"
                                 "queue_retention = 30d  (default)\n"
                                 "dead_retention = 90d  (default)\n"
                                 "dedupe_window = 31d  (default)\n"
                                 "poison_after = 10m  (default)\n"
                                 "deliver_rate = 0  (default)\n"
                                 "max_body = 16M  (default)\n"
                                 "ca_file = none  (default)\n"
                                 "log_level = info  (default)\n"
                                 "admin_password = none  (default)\n"
                                 "admin = password  (default)\n"
                                 "alert_command = none  (default)\n"
                                 "alert_webhook_url = none  (default)\n"
                                 "alert_interval = 1h  (default)\n"
                                 "alert_waiting = 10m  (default)\n"
                                 "alert_silence = 0s  (default)\n"
                                 "request_threads = 32  (default)\n"
                                 "request_timeout = 10s  (default)\n"
                                 "shutdown_grace = 2s  (default)\n"
                                 "confine = auto  (default)\n"
                                 "lanes = 9  (environment CLOSECRM_LANES)\n"
                                 "batch_events = 500  (default)\n"
                                 "data_plane_url = https://h  (~/closecrm.conf:1)\n"
                                 "write_key = 3 values, ending in Key1  (~/closecrm.conf:2, ~/closecrm.conf:3 from "
                                 "~/key)\n"
                                 "signature_key = 1 value, ending in eeff  (~/closecrm.conf:4)\n"
                                 "signature_tolerance = 73h  (default)\n"
                                 "keep = lead.*, contact.*, task.*  (~/closecrm.conf:5, ~/closecrm.conf:6)\n"
                                 "drop = none  (default)\n" UNSET_KEYS);
    free(text);
}

static void sections(void)
{
    char *const nothing[] = {NULL};
    char *text = printed("data_plane_url = https://all\ndrop = *.deleted\n[source acme]\nwrite_key = a\n"
                         "[source globex]\nwrite_key = b\ndata_plane_url = https://own\ndrop =\n",
                         nothing);
    const char *sources = strstr(text, "[source acme]");
    CU_ASSERT_PTR_NOT_NULL_FATAL(sources);
    CU_ASSERT_STRING_EQUAL(sources, "[source acme]\n"
                                    "data_plane_url = https://all  (~/closecrm.conf:1)\n"
                                    "write_key = 1 value  (~/closecrm.conf:4)\n"
                                    "signature_key = not set  (default)\n"
                                    "signature_tolerance = 73h  (default)\n"
                                    "keep = none  (default)\n"
                                    "drop = *.deleted  (~/closecrm.conf:2)\n" UNSET_KEYS "[source globex]\n"
                                    "data_plane_url = https://own  (~/closecrm.conf:7)\n"
                                    "write_key = 1 value  (~/closecrm.conf:6)\n"
                                    "signature_key = not set  (default)\n"
                                    "signature_tolerance = 73h  (default)\n"
                                    "keep = none  (default)\n"
                                    "drop = none  (~/closecrm.conf:8)\n" UNSET_KEYS);
    free(text);
}

/* The address that a command is given may be as secret as alert_webhook_url. */
static void addresses_of_commands_are_not_shown(void)
{
    char *const nothing[] = {NULL};
    char *text = printed(WHOLE "alert_command = /bin/true -a https://u:s3cr3t@h/\n", nothing);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(text, "\nalert_command = /bin/true ..., with an address in it  (~/closecrm.conf:4)\n"));
    CU_ASSERT_PTR_NULL(strstr(text, "s3cr3t"));
    free(text);
    text = printed(WHOLE "alert_command = /bin/true -a u@h\n", nothing);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\nalert_command = /bin/true -a u@h  (~/closecrm.conf:4)\n"));
    free(text);
}

static void table_of_keys(void)
{
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    CU_ASSERT_PTR_NOT_NULL_FATAL(stream);
    config_print_keys(stream);
    fclose(stream);
    CU_ASSERT_PTR_EQUAL(strstr(text, "| key | stands at | value | default | meaning |\n| --- |"), text);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\n| `write_key`, `write_key_file` | source | list of keys |  | "));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(text, "\n| `signature_tolerance` | source; top level: for all | duration, 1m to 366d | `73h` | "));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\n| `max_body` | top level | size, 1K to 64M | `16M` | "));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(text, "\n| `log_level` | top level | one of `error`, `warn`, `info`, `debug` | `info` | "));
    free(text);
}

/* ---- the sample ---- */

static char *sample(void)
{
    static char text[16384];
    FILE *file = fopen(SAMPLE, "re");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    CU_ASSERT_FATAL(length > 0 && length < sizeof text - 1);
    return text;
}

/* Removes the # before a line that begins so, and writes value for what stands in < >. */
static void fill_in(char *text, const char *line, const char *value)
{
    char *at = strstr(text, line);
    CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    char *open = strchr(at, '<');
    CU_ASSERT_PTR_NOT_NULL_FATAL(open);
    char *end = strchr(open, '>');
    CU_ASSERT_PTR_NOT_NULL_FATAL(end);
    char *rest = strdup(end + 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rest);
    memcpy(open, value, strlen(value));
    memcpy(open + strlen(value), rest, strlen(rest) + 1);
    free(rest);
    at = strchr(at, '#');
    memmove(at, at + 1, strlen(at));
}

static void sample_names_every_key(void)
{
    const char *text = sample();
    size_t count;
    const struct key *key = keys_all(&count);
    for (; count > 0; count--, key++) {
        char line[200];
        snprintf(line, sizeof line, "\n#%s =%s%s%s", key->name, key->standard[0] == '\0' ? "" : " ", key->standard,
                 key->standard[0] == '\0' ? "" : "\n");
        CU_ASSERT_PTR_NOT_NULL(strstr(text, line));
        snprintf(line, sizeof line, "\n#%s_file =\n", key->name);
        CU_ASSERT_EQUAL(strstr(text, line) != NULL, key->secret);
    }
}

static void sample_needs_three_lines(void)
{
    char *text = sample();
    fill_in(text, "#data_plane_url", "rs.example.com");
    fill_in(text, "#write_key", "2bKey");
    fill_in(text, "#signature_key", SIGNATURE_1);
    struct error why = {0};
    struct config *config = read_text(text, NULL, &why);
    CU_ASSERT_STRING_EQUAL(why.text, "");
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    CU_ASSERT_STRING_EQUAL(config->source[0].data_plane_url, "https://rs.example.com");
    CU_ASSERT_STRING_EQUAL(config->source[0].write_key.at[0], "2bKey");
    CU_ASSERT_EQUAL(config->source[0].signature_keys, 1);
    config_free(config);
}

static void sample_with_sections(void)
{
    char *text = sample();
    fill_in(text, "#data_plane_url", "rs.example.com");
    char *example = strstr(text, "#[source acme]");
    CU_ASSERT_PTR_NOT_NULL_FATAL(example);
    fill_in(example, "#write_key", "one");
    fill_in(example, "#signature_key", SIGNATURE_1);
    fill_in(example, "#data_plane_url", "another.example.com");
    fill_in(example, "#write_key", "two");
    fill_in(example, "#signature_key", SIGNATURE_2);
    for (char *hash; (hash = strchr(example, '#')) != NULL;)
        memmove(hash, hash + 1, strlen(hash));
    struct error why = {0};
    struct config *config = read_text(text, NULL, &why);
    CU_ASSERT_STRING_EQUAL(why.text, "");
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    CU_ASSERT_EQUAL_FATAL(config->sources, 2);
    CU_ASSERT_STRING_EQUAL(config->source[0].name, "acme");
    CU_ASSERT_STRING_EQUAL(config->source[1].data_plane_url, "https://another.example.com");
    CU_ASSERT_STRING_EQUAL(config->source[1].drop.at[0], "*.deleted");
    config_free(config);
}

/* A placeholder that were taken would be a key that everybody knows. */
static void sample_must_be_filled_in(void)
{
    static const char *const lines[] = {"\n#data_plane_url = ", "\n#write_key = ", "\n#signature_key = "};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char *text = sample();
        char *at = strstr(text, lines[i]);
        CU_ASSERT_PTR_NOT_NULL_FATAL(at);
        memmove(at + 1, at + 2, strlen(at + 1));
        int line = 2;
        for (const char *c = text; c < at; c++)
            line += *c == '\n' ? 1 : 0;
        char begin[100];
        snprintf(begin, sizeof begin, "~/closecrm.conf:%d: %.*s", line, (int)strlen(lines[i]) - 4, lines[i] + 2);
        struct error why = {0};
        CU_ASSERT_PTR_NULL(read_text(text, NULL, &why));
        CU_ASSERT_EQUAL(strncmp(why.text, begin, strlen(begin)), 0);
    }
}

void suite_config_print(void)
{
    static CU_TestInfo tests[] = {
        {"check shows every key and where it came from, and no secret", short_form},
        {"check shows every source", sections},
        {"docs/configuration.md's table of keys", table_of_keys},
        {"the sample has every key with its default", sample_names_every_key},
        {"the sample needs three lines", sample_needs_three_lines},
        {"the sample's sections", sample_with_sections},
        {"the sample's placeholders are refused", sample_must_be_filled_in},
        {"an address in a command is not shown", addresses_of_commands_are_not_shown},
        CU_TEST_INFO_NULL,
    };
    suite_add("config print", NULL, NULL, tests);
}
