/* The configuration: the environment, which wins over the top level of the file. */
#include "tests/suites.h"
#include "tests/support/config_text.h"

#include <string.h>

#define URL "data_plane_url = https://h\n"
#define AT "~/closecrm.conf:"

static void environment_alone(void)
{
    char *const environment[] = {"PATH=/bin",
                                 "CLOSECRM_CONFIG=/nowhere",
                                 "CLOSECRM_KEPT_CONNECTIONS=3",
                                 "CLOSECRM_DATA_PLANE_URL=https://env",
                                 "CLOSECRM_WRITE_KEY=one, two\nthree\n",
                                 "CLOSECRM_LANES=7",
                                 "CLOSECRM_STATE_DIR=/nowhere/state",
                                 NULL};
    struct error why = {0};
    struct config *config = config_read(NULL, environment, &why);
    CU_ASSERT_STRING_EQUAL(why.text, "");
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    CU_ASSERT_PTR_NULL(config->path);
    CU_ASSERT_EQUAL(config->lanes, 7);
    CU_ASSERT_STRING_EQUAL(config->source[0].data_plane_url, "https://env");
    CU_ASSERT_EQUAL_FATAL(config->source[0].write_key.count, 3);
    CU_ASSERT_STRING_EQUAL(config->source[0].write_key.at[2], "three");
    config_free(config);
}

static void environment_wins(void)
{
    char *const environment[] = {"CLOSECRM_LANES=7", "CLOSECRM_WRITE_KEY=env", NULL};
    struct error why = {0};
    struct config *config = read_text("lanes = 3\nwrite_key = file\nbatch_events = 9\n" URL, environment, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    CU_ASSERT_EQUAL(config->lanes, 7);
    CU_ASSERT_EQUAL(config->batch_events, 9);
    CU_ASSERT_EQUAL_FATAL(config->source[0].write_key.count, 1);
    CU_ASSERT_STRING_EQUAL(config->source[0].write_key.at[0], "env");
    config_free(config);
}

static void a_section_wins_over_environment(void)
{
    char *const environment[] = {"CLOSECRM_DATA_PLANE_URL=https://env", NULL};
    struct error why = {0};
    struct config *config = read_text("data_plane_url = https://top\n[source a]\nwrite_key = x\n[source b]\n"
                                      "write_key = y\ndata_plane_url = https://own\n",
                                      environment, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    CU_ASSERT_STRING_EQUAL(config->source[0].data_plane_url, "https://env");
    CU_ASSERT_STRING_EQUAL(config->source[1].data_plane_url, "https://own");
    config_free(config);
}

static void environment_mistakes(void)
{
    static const struct {
        const char *text;
        char *variable;
        const char *reason;
    } mistakes[] = {
        {WHOLE, "CLOSECRM_DATAPLANE_URL=x",
         "environment: CLOSECRM_DATAPLANE_URL is no key; did you mean CLOSECRM_DATA_PLANE_URL?"},
        {WHOLE, "CLOSECRM_COLOUR=x", "environment: CLOSECRM_COLOUR is no key: unset it"},
        {WHOLE, "CLOSECRM_lanes=4", "environment: CLOSECRM_lanes is no key; did you mean CLOSECRM_LANES?"},
        {WHOLE, "CLOSECRM_=4", "environment: CLOSECRM_ is no key: unset it"},
        {WHOLE, "CLOSECRM_LANES=0", "environment: CLOSECRM_LANES must be from 1 to 64, not 0"},
        {WHOLE, "CLOSECRM_LANES=4\n",
         "environment: CLOSECRM_LANES has a control character in it, a newline perhaps: remove it"},
        {WHOLE, "CLOSECRM_SIGNATURE_KEY=", "environment: CLOSECRM_SIGNATURE_KEY is empty: give it a value or unset it"},
        {WHOLE, "CLOSECRM_SIGNATURE_KEY=12",
         "environment: CLOSECRM_SIGNATURE_KEY must be 64 hexadecimal digits, as Close gave it; this one has 2"},
        {WHOLE, "CLOSECRM_WRITE_KEY_FILE=key",
         "environment: CLOSECRM_WRITE_KEY_FILE names a file that is not there; its name is not shown, for it may be a "
         "secret itself, which goes into that file"},
        {WHOLE, "CLOSECRM_QUEUE=postgresql://u:s3cr3t@h/d",
         "environment: CLOSECRM_QUEUE must be one of sqlite, none, postgresql, not an address (which is not shown, for "
         "a password may be in it): a database's goes into queue_url, with queue = postgresql"},
        {WHOLE, "CLOSECRM_QUEUE_URL_FILE=postgresql://u:s3cr3t@h/d",
         "environment: CLOSECRM_QUEUE_URL_FILE must be a path, not an address (which is not shown, for a password may "
         "be in it): it goes into queue_url, or into the file that is named here"},
        {URL "[source a]\nwrite_key = x\n", "CLOSECRM_WRITE_KEY=y",
         "environment: CLOSECRM_WRITE_KEY cannot say which source it means, for " AT
         "2 begins [source a]: write it there"},
    };
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        char *const environment[] = {mistakes[i].variable, NULL};
        CU_ASSERT_TRUE(refuses(mistakes[i].text, environment, mistakes[i].reason));
    }
}

static void environment_does_not_suffice(void)
{
    static const struct {
        char *variable;
        const char *reason;
    } mistakes[] = {
        {"CLOSECRM_LANES=4", "environment: there is no CLOSECRM_DATA_PLANE_URL, which says where events go: set it, "
                             "for example to https://HOST"},
        {"CLOSECRM_DATA_PLANE_URL=https://h", "environment: there is no CLOSECRM_WRITE_KEY, without which RudderStack "
                                              "takes nothing: set it, for example to KEY"},
        {"CLOSECRM_WRITE_KEY_FILE=key",
         "environment: CLOSECRM_WRITE_KEY_FILE must be an absolute path, for there is no "
         "configuration file beside which to look"},
    };
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        char *const environment[] = {mistakes[i].variable, NULL};
        struct error why = {0};
        CU_ASSERT_PTR_NULL(config_read(NULL, environment, &why));
        CU_ASSERT_STRING_EQUAL(why.text, mistakes[i].reason);
    }
}

static void set_twice(void)
{
    char *const environment[] = {"CLOSECRM_LANES=4", "CLOSECRM_LANES=5", NULL};
    CU_ASSERT_TRUE(refuses(WHOLE, environment, "environment: CLOSECRM_LANES is set twice: unset one"));
    char *const both[] = {"CLOSECRM_QUEUE_URL_FILE=/nowhere", "CLOSECRM_QUEUE_URL=postgresql://u:p@h/d", NULL};
    char *const other[] = {"CLOSECRM_QUEUE_URL=postgresql://u:p@h/d", "CLOSECRM_QUEUE_URL_FILE=/nowhere", NULL};
    CU_ASSERT_TRUE(refuses(WHOLE, both,
                           "environment: CLOSECRM_QUEUE_URL_FILE: /nowhere: cannot be read: No such file or "
                           "directory"));
    CU_ASSERT_TRUE(refuses(WHOLE, other,
                           "environment: CLOSECRM_QUEUE_URL_FILE says what CLOSECRM_QUEUE_URL says, and one of them "
                           "counts: unset CLOSECRM_QUEUE_URL if the file is right, else CLOSECRM_QUEUE_URL_FILE"));
}

void suite_config_environment(void)
{
    static CU_TestInfo tests[] = {
        {"the environment alone suffices", environment_alone},
        {"the environment wins over the file's top level", environment_wins},
        {"a section's own value wins over the environment", a_section_wins_over_environment},
        {"mistakes in the environment", environment_mistakes},
        {"an environment that does not suffice", environment_does_not_suffice},
        {"a variable that is set twice", set_twice},
        CU_TEST_INFO_NULL,
    };
    suite_add("config environment", NULL, NULL, tests);
}
