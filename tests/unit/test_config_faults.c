/* The configuration: all that is wrong with it is told at once, and what looks wrong but is taken is warned of. */
#include "tests/suites.h"
#include "tests/support/config_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define URL "data_plane_url = https://h\n"
#define KEY "write_key = 2bKeyKeyKeyKeyKey1\n"
#define ZERO_WIDTH "\xe2\x80\x8b"
#define NO_BREAK "\xc2\xa0"
#define LATER "; it is taken for now, and the next release refuses it"

static char *const nothing[] = {NULL};

/* Reads the text; joined becomes its faults, or its warnings, a line each, with ~ for the folder. Returns whether it is
 * taken. */
static bool read_joined(const char *text, char *const environment[], char *joined, size_t size)
{
    struct folder folder;
    struct error why = {0};
    struct strings faults;
    joined[0] = '\0';
    folder_make(&folder);
    folder_write(&folder, "closecrm.conf", text, strlen(text), 0600);
    struct config *config = config_read_all(folder.file, environment, &faults, &why);
    const struct strings *all = config == NULL ? &faults : &config->warnings;
    for (size_t i = 0; i < all->count; i++) {
        struct error one;
        size_t length = strlen(joined);
        error_set(&one, "%s", all->at[i]);
        folder_shorten(&folder, &one);
        snprintf(joined + length, size - length, "%s\n", one.text);
    }
    if (config == NULL)
        CU_ASSERT_STRING_EQUAL(faults.count > 0 ? faults.at[0] : "", why.text);
    bool taken = config != NULL;
    strings_free(&faults);
    config_free(config);
    folder_remove(&folder);
    return taken;
}

static bool same(const char *found, const char *expected)
{
    if (strcmp(found, expected) == 0)
        return true;
    printf("\nexpected: %s\n   found: %s\n", expected, found);
    return false;
}

static void all_are_told_at_once(void)
{
    static const struct {
        const char *text, *faults;
    } rows[] = {
        {"wirte_key = a\nlanes = 99\ndata_plane_url = ftp://h\ncolour = blue\n  lanes\nwrite\n",
         "~/closecrm.conf:1: unknown key \"wirte_key\"; did you mean \"write_key\"?\n"
         "~/closecrm.conf:2: lanes must be from 1 to 64, not 99\n"
         "~/closecrm.conf:3: data_plane_url must begin with https://, http:// or file:///: write it like https://HOST, "
         "https://HOST:PORT/PATH or file:///PATH\n"
         "~/closecrm.conf:4: unknown key \"colour\"\n"
         "~/closecrm.conf:6: the line must look like \"key = value\", \"[source NAME]\" or \"# comment\"; what "
         "continues a list is indented\n"},
        {"lanes = 4\nmax_body = 16\n",
         "~/closecrm.conf:2: max_body must be from 1K to 64M, not 16\n"
         "~/closecrm.conf: there is no data_plane_url, which says where events go: add \"data_plane_url = "
         "https://HOST\"\n"
         "~/closecrm.conf: there is no write_key, without which RudderStack takes nothing: add \"write_key = KEY\"\n"},
        {URL "[sink x]\nlanes = 70\n[source a]\nkeep = lead\n",
         "~/closecrm.conf:2: unknown section; there is only [source NAME]\n"
         "~/closecrm.conf:3: lanes must be from 1 to 64, not 70\n"
         "~/closecrm.conf:5: keep must name object type and action: \"lead\" would match nothing; did you mean "
         "\"lead.*\"?\n"
         "~/closecrm.conf:4: [source a] has no write_key, without which RudderStack takes nothing: add \"write_key = "
         "KEY\"\n"},
        {URL "write_key = x\n[source a]\n[source b]\nwrite_key = y\n[source b]\nlanes = 4\n",
         "~/closecrm.conf:3: [source a] begins here, but line 2 has write_key above all sections: move that into the "
         "section it belongs to\n"
         "~/closecrm.conf:6: [source b] stands twice, here and in line 4: put both together\n"},
    };
    char joined[4096];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CU_ASSERT_FALSE(read_joined(rows[i].text, nothing, joined, sizeof joined));
        CU_ASSERT_TRUE(same(joined, rows[i].faults));
    }
}

static void those_of_the_environment_too(void)
{
    char *const environment[] = {"CLOSECRM_LANES=many", "CLOSECRM_COLOUR=blue", NULL};
    char joined[4096];
    CU_ASSERT_FALSE(read_joined(URL KEY "max_body = 1\n", environment, joined, sizeof joined));
    CU_ASSERT_TRUE(same(joined, "~/closecrm.conf:3: max_body must be from 1K to 64M, not 1\n"
                                "environment: CLOSECRM_LANES must be a whole number\n"
                                "environment: CLOSECRM_COLOUR is no key: unset it\n"));
}

static void unseen_characters_and_quotes_are_named(void)
{
    static const char *const rows[][2] = {
        {"keep = lead.*" NO_BREAK "\n", "keep has a no-break space (U+00A0) at character 7, which cannot be seen: type "
                                        "it anew"},
        {"lanes = 4" ZERO_WIDTH "\n",
         "lanes has a zero-width character (U+200B) at character 2, which cannot be seen: type it anew"},
        {"lanes = \"4\"\n", "lanes stands in quotes, which would be part of it: remove them"},
        {"lanes = \xe2\x80\x9c"
         "4\xe2\x80\x9d\n",
         "lanes stands in quotes, which would be part of it: remove them"},
        {"\xef\xbb\xbf"
         "lanes = 4\n",
         "has a byte order mark (U+FEFF) at character 1, which cannot be seen: type it anew"},
        {NO_BREAK "lanes\n", "has a no-break space (U+00A0) at character 1, which cannot be seen: type it anew"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[256], expected[512];
        snprintf(text, sizeof text, URL KEY "%s", rows[i][0]);
        snprintf(expected, sizeof expected, "~/closecrm.conf:3: %s", rows[i][1]);
        CU_ASSERT_TRUE(refuses(text, NULL, expected));
    }
}

/* A configuration that the release before took is taken. */
static void what_was_taken_is_taken_with_a_warning(void)
{
    static const char *const rows[][2] = {
        {URL "write_key = 2bKeyKeyKey,\n  KeyKey1\n", ""},
        {URL "write_key = 2bKeyKeyKey\n  , KeyKey1\n", ""},
        {URL "write_key = 2bKeyKeyKey\n  KeyKey1\n",
         "~/closecrm.conf:3: write_key goes on in an indented line with no comma between: a key that a line break has "
         "cut in two must be put together, and two keys need the comma; they are taken as two keys for now, and the "
         "next release refuses it\n"},
        {URL KEY "admin_password = \"long enough\"\n",
         "~/closecrm.conf:3: admin_password stands in quotes, which would be part of it: remove them" LATER "\n"},
        {URL KEY "admin_password = " ZERO_WIDTH "long enough\n",
         "~/closecrm.conf:3: admin_password has a zero-width character (U+200B) at character 1, which cannot be seen: "
         "type it anew" LATER "\n"},
        {URL KEY "state_dir = 'state'\n",
         "~/closecrm.conf:3: state_dir stands in quotes, which would be part of it: remove them" LATER "\n"},
        {URL KEY "alert_command = /bin/sh -c \"exit 0\"\n", "~/closecrm.conf:3: alert_command has a \", and there is "
                                                            "no shell that would understand it: put the command into "
                                                            "a script, and name that" LATER "\n"},
        {URL KEY "close_api_key = THE-API-KEY\n",
         "~/closecrm.conf:3: close_api_key is still the placeholder of the documentation: put your own value "
         "there" LATER "\n"},
        {URL KEY "admin_password = SOMETHING-LONG\n",
         "~/closecrm.conf:3: admin_password is still the placeholder of the documentation: put your own value "
         "there" LATER "\n"},
        {"data_plane_url = file:///tmp/x\nwrite_key = THE-WRITE-KEY\n",
         "~/closecrm.conf:2: write_key is still the placeholder of the documentation: put your own value there" LATER
         "\n"},
        {URL KEY "admin_password = Correct-Horse-Battery\n", ""},
    };
    char joined[4096];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CU_ASSERT_TRUE(read_joined(rows[i][0], nothing, joined, sizeof joined));
        CU_ASSERT_TRUE(same(joined, rows[i][1]));
    }
}

/* ---- what the documentation has in the place of values ---- */

/* "    data_plane_url = https://YOUR-DATA-PLANE", and the same between the marks of Markdown: sets the value. */
static bool find_value(const char *line, const char *key, char value[static 200])
{
    const char *at = strstr(line, key);
    if (at == NULL || strchr(line, '|') == line + 2 || strncmp(at + strlen(key), " = ", 3) != 0)
        return false;
    if (at > line && strchr(" `#\"n", at[-1]) == NULL)
        return false;
    at += strlen(key) + 3;
    snprintf(value, 200, "%.*s", (int)strcspn(at, " `\n\\\""), at);
    return value[0] != '\0' && strcmp(value, "none") != 0;
}

static void check_value(const char *file, const char *key, const char *value)
{
    char text[600], joined[4096];
    if (strstr(value, "example.com") != NULL) /* nobody's */
        return;
    snprintf(text, sizeof text, "%s%s%s = %s\n", strcmp(key, "data_plane_url") == 0 ? "" : URL,
             strcmp(key, "write_key") == 0 ? "" : KEY, key, value);
    bool taken = read_joined(text, nothing, joined, sizeof joined);
    if (taken && joined[0] == '\0')
        printf("\n%s: %s = %s passes\n", file, key, value);
    CU_ASSERT_TRUE(!taken || joined[0] != '\0');
}

static void documented_placeholders_do_not_pass(void)
{
    static const char *const files[] = {"README.md",
                                        "docs/configuration.md",
                                        "docs/troubleshooting.md",
                                        "config/closecrm.conf",
                                        "packaging/bundle/GUIDE.txt",
                                        "packaging/manual/closecrm.conf.5"};
    static const char *const keys[] = {"data_plane_url", "write_key", "signature_key", "close_api_key",
                                       "admin_password"};
    char line[4096], value[200];
    size_t found = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        FILE *file = fopen(files[i], "re");
        CU_ASSERT_PTR_NOT_NULL_FATAL(file);
        while (fgets(line, sizeof line, file) != NULL) {
            for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
                if (!find_value(line, keys[k], value))
                    continue;
                found++;
                check_value(files[i], keys[k], value);
            }
        }
        fclose(file);
    }
    CU_ASSERT_TRUE(found > 10);
}

void suite_config_faults(void)
{
    static CU_TestInfo tests[] = {
        {"all that is wrong is told at once", all_are_told_at_once},
        {"and what is wrong in the environment", those_of_the_environment_too},
        {"characters that cannot be seen, and quotes, are named", unseen_characters_and_quotes_are_named},
        {"what was taken before is taken, with a warning", what_was_taken_is_taken_with_a_warning},
        {"the documentation's placeholders do not pass", documented_placeholders_do_not_pass},
        CU_TEST_INFO_NULL,
    };
    suite_add("config faults", NULL, NULL, tests);
}
