/* check: what it shows, what it finds, and that the documentation has the keys that there are. */
#include "tests/suites.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "tests/support/commands_run.h"

#define WRITE_KEY "1234567890abcdefghijklmnopq"
#define KEY "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static struct ran ran;

static void shows_settings_and_addresses(void)
{
    configuration_use("data_plane_url = https://data-plane.example\n"
                      "[source one]\nwrite_key = " WRITE_KEY "\nsignature_key = " KEY "\n"
                      "[source two]\nwrite_key = 9876543210" WRITE_KEY "\n");
    RUN(&ran, NULL, "check", "--offline");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_PTR_NULL(strstr(ran.out, "data_plane_url = "));
    RUN(&ran, NULL, "check", "--offline", "--source", "two");
    CU_ASSERT_PTR_NULL(strstr(ran.out, "source one"));
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "source two"));
    RUN(&ran, NULL, "check", "--offline", "--settings");
    configuration_forget();

    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_STRING_EQUAL(ran.err, "");
    const char *verdict = strstr(ran.out, "The configuration is good");
    CU_ASSERT_PTR_NOT_NULL_FATAL(verdict);
    CU_ASSERT_PTR_NOT_NULL(strstr(verdict, "data_plane_url = https://data-plane.example"));
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "https://YOUR-SITE/WHERE-IT-IS-MOUNTED/one\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "https://YOUR-SITE/WHERE-IT-IS-MOUNTED/two?writeKey=<your write key>\n"));
    CU_ASSERT_PTR_NULL(strstr(ran.out, WRITE_KEY));
    CU_ASSERT_PTR_NULL(strstr(ran.out, KEY));
}

/* As the README has it: a source that nobody has named has no name in its address. */
static void one_source_has_the_plain_address(void)
{
    configuration_use("data_plane_url = https://data-plane.example\nwrite_key = " WRITE_KEY "\nsignature_key = " KEY
                      "\n");
    RUN(&ran, NULL, "check", "--offline");
    configuration_forget();
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "  address for Close: https://YOUR-SITE/WHERE-IT-IS-MOUNTED\n"));
    configuration_use("data_plane_url = https://data-plane.example\nwrite_key = " WRITE_KEY "\n");
    RUN(&ran, NULL, "check", "--offline");
    configuration_forget();
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "https://YOUR-SITE/WHERE-IT-IS-MOUNTED?writeKey=<your write key>\n"));
}

static void data_plane_that_is_away_is_1(void)
{
    configuration_use("data_plane_url = http://127.0.0.1:1\nwrite_key = " WRITE_KEY "\n");
    RUN(&ran, NULL, "check");
    CU_ASSERT_EQUAL(ran.code, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "  data plane: WRONG: "));
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "1 of 1 source has something wrong"));

    RUN(&ran, NULL, "check", "--offline");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_PTR_NULL(strstr(ran.out, "  data plane: "));
    configuration_forget();
}

static void http_in_the_open_is_told(void)
{
    configuration_use("data_plane_url = http://127.0.0.1:1\nwrite_key = " WRITE_KEY "\n");
    RUN(&ran, NULL, "check", "--offline");
    CU_ASSERT_PTR_NULL(strstr(ran.out, "readable by others"));
    configuration_forget();

    configuration_use("data_plane_url = http://data-plane.example\nwrite_key = " WRITE_KEY "\n");
    RUN(&ran, NULL, "check", "--offline");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "readable by others"));
    configuration_forget();
}

static void options_for_a_warehouse_are_told(void)
{
    static const char *const lines[][2] = {
        {"nul = keep\n", "  nul = keep: "},
        {"warehouse = json\n", "  warehouse = json: "},
        {"context = close\n", "  context = close: "},
        {"include = previous_data\n", "  include = previous_data: "},
        {"include = changed_fields\n", "  include = changed_fields: "},
        {"identify = yes\ntraits = cf_1\n", "  identify = yes: "},
        {"alias = yes\n", "  alias = yes: "},
        {"remove = data.url\n", "  remove: what it names is in no message, page or sample"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char text[256];
        snprintf(text, sizeof text, "data_plane_url = https://h.example\nwrite_key = " WRITE_KEY "\n%s", lines[i][0]);
        configuration_use(text);
        RUN(&ran, NULL, "check", "--offline");
        CU_ASSERT_EQUAL(ran.code, 0);
        for (size_t other = 0; other < sizeof lines / sizeof *lines; other++)
            CU_ASSERT_EQUAL(strstr(ran.out, lines[other][1]) != NULL, other == i);
        configuration_forget();
    }
}

static void faulty_configuration_is_3_with_line_on_stderr(void)
{
    configuration_use("data_plane_url = https://data-plane.example\nwrite_kei = x\n");
    RUN(&ran, NULL, "check", "--offline");
    configuration_forget();

    CU_ASSERT_EQUAL(ran.code, 3);
    CU_ASSERT_STRING_EQUAL(ran.out, "");
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "closecrm.conf:2: "));
    CU_ASSERT_PTR_NULL(strstr(ran.err, "there is no write_key"));

    configuration_use("data_plane_url = https://data-plane.example\nlanes = 99\nkeep = lead\n");
    RUN(&ran, NULL, "queue", "status");
    configuration_forget();
    CU_ASSERT_EQUAL(ran.code, 3);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "closecrm.conf:2: lanes"));
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "closecrm.conf:3: keep"));
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "there is no write_key"));
}

static void misspelt_rules_are_warned_of(void)
{
    static const struct {
        const char *rule, *words; /* NULL: none */
    } rows[] = {
        {"keep = leads.*", "keep = leads.* matches no event that Close documents; did you mean lead.*?\n"
                           "warning: source default: keep names nothing else: every event is dropped\n"},
        {"keep = lead.*, oportunity.updated",
         "keep = oportunity.updated matches no event that Close documents; did you mean opportunity.updated?\n"},
        {"drop = activity.mail.*", "drop = activity.mail.* matches no event that Close documents; did you mean"},
        {"drop = lead.deleted, *", "warning: source default: drop names everything: every event is dropped\n"},
        {"remove = body_html",
         "remove = body_html: Close's events have no member body_html, so nothing is removed; did "
         "you mean data.body_html?\n"},
        {"remove = event.data.body_html", "did you mean data.body_html?\n"},
        {"remove = data.body_htlm", "remove = data.body_htlm: no event is known to have it; did you mean "
                                    "data.body_html?\n"},
        {"keep = lead.*, *.deleted\ndrop = activity.email.*", NULL},
        {"remove = data.body_html, data.bcc, previous_data.note, data.custom.cf_abc, data.email", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[400];
        snprintf(text, sizeof text, "data_plane_url = https://data-plane.example\nwrite_key = " WRITE_KEY "\n%s\n",
                 rows[i].rule);
        configuration_use(text);
        RUN(&ran, NULL, "check", "--offline");
        configuration_forget();
        CU_ASSERT_EQUAL(ran.code, 0);
        const char *warning = strstr(ran.out, "warning: ");
        CU_ASSERT_EQUAL(warning != NULL, rows[i].words != NULL);
        if (rows[i].words != NULL)
            CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, rows[i].words));
    }
}

#define TABLE_BEGINS "<!-- keys begin: from config_print_keys -->\n\n"
#define TABLE_ENDS "\n<!-- keys end -->\n"

static void documentation_has_the_keys_that_there_are(void)
{
    static char documentation[131072];
    FILE *file = fopen("docs/configuration.md", "re"); /* tests run in the tree's top folder */
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    documentation[fread(documentation, 1, sizeof documentation - 1, file)] = '\0';
    fclose(file);
    char *keys = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&keys, &length);
    CU_ASSERT_PTR_NOT_NULL_FATAL(out);
    config_print_keys(out);
    fclose(out);

    const char *table = strstr(documentation, TABLE_BEGINS);
    CU_ASSERT_PTR_NOT_NULL_FATAL(table);
    table += strlen(TABLE_BEGINS);
    const char *end = strstr(table, TABLE_ENDS);
    CU_ASSERT_PTR_NOT_NULL_FATAL(end);
    CU_ASSERT_EQUAL((size_t)(end - table), length);
    CU_ASSERT_EQUAL(strncmp(table, keys, length), 0);
    free(keys);
}

void suite_commands_check(void)
{
    static CU_TestInfo tests[] = {
        {"shows settings and addresses, and no secret", shows_settings_and_addresses},
        {"one source has the plain address", one_source_has_the_plain_address},
        {"a data plane that is away is exit code 1", data_plane_that_is_away_is_1},
        {"http to another machine is told", http_in_the_open_is_told},
        {"options for a warehouse are told", options_for_a_warehouse_are_told},
        {"a faulty configuration is exit code 3 with its line", faulty_configuration_is_3_with_line_on_stderr},
        {"the documentation has the keys that there are", documentation_has_the_keys_that_there_are},
        {"misspelt rules are warned of", misspelt_rules_are_warned_of},
        CU_TEST_INFO_NULL,
    };
    suite_add("commands: check", NULL, NULL, tests);
}
