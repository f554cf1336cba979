/* Which source a request is for. */
#include "tests/suites.h"
#include "webhook/auth.h"

#include <string.h>

static unsigned char key_bytes[32] = {1, 2, 3};
static struct signature_key key = {key_bytes, 32};
static char acme_old[] = "acme-old", acme_new[] = "acme-new", beta_key[] = "beta-key", gamma_key[] = "gamma-key";
static char *acme_keys[] = {acme_new, acme_old}, *beta_keys[] = {beta_key}, *gamma_keys[] = {gamma_key};
static char acme[] = "acme", beta[] = "beta", gamma_name[] = "gamma";

/* acme and beta take write keys, gamma only what is signed. */
static struct source sources[] = {
    {.name = acme, .write_key = {acme_keys, 2}},
    {.name = beta, .write_key = {beta_keys, 1}},
    {.name = gamma_name, .write_key = {gamma_keys, 1}, .signature_key = &key, .signature_keys = 1},
};

struct expected {
    size_t sources; /* the first so many */
    const char *path;
    const char *write_key;
    bool is_signed;
    enum choice choice;
    const char *name; /* NULL: none */
};

static void expect(const struct expected *expected)
{
    struct config config = {.source = sources, .sources = expected->sources};
    struct auth_table table;
    struct request_keys keys = {.count = 0};
    const struct source_auth *auth = NULL;
    CU_ASSERT_TRUE_FATAL(auth_table_init(&table, &config));
    request_keys_add(&keys, expected->write_key);
    CU_ASSERT_EQUAL(auth_choose_source(&table, expected->path, &keys, expected->is_signed, &auth), expected->choice);
    CU_ASSERT_EQUAL(auth != NULL, expected->name != NULL);
    if (auth != NULL && expected->name != NULL)
        CU_ASSERT_STRING_EQUAL(auth->source->name, expected->name);
    auth_table_free(&table);
}

static void chooses(void)
{
    static const struct expected cases[] = {
        /* the path comes first */
        {3, "/beta", "", false, CHOSEN, "beta"},
        {3, "/beta", "acme-new", true, CHOSEN, "beta"},
        {3, "/delta", "acme-new", true, CHOSEN_UNKNOWN, NULL},
        {3, "/Beta", "", false, CHOSEN_UNKNOWN, NULL},
        {1, "/delta", "acme-new", false, CHOSEN_UNKNOWN, NULL},
        /* then the write key */
        {3, "", "beta-key", false, CHOSEN, "beta"},
        {3, "/v1/webhook", "acme-old", false, CHOSEN, "acme"},
        {3, "/v1/webhook", "acme-new", true, CHOSEN, "acme"},
        {3, "", "gamma-key", false, CHOSEN, "gamma"},
        /* then the signature */
        {3, "", "", true, CHOSEN_BY_SIGNATURE, NULL},
        {3, "", "unknown", true, CHOSEN_BY_SIGNATURE, NULL},
        {2, "", "", true, CHOSEN_NONE, NULL},
        /* then there must be only one */
        {1, "", "", false, CHOSEN, "acme"},
        {1, "/v1/webhook", "unknown", true, CHOSEN, "acme"},
        {3, "", "", false, CHOSEN_NONE, NULL},
        {3, "", "acme-ne", false, CHOSEN_NONE, NULL},
        {3, "", "acme-new ", false, CHOSEN_NONE, NULL},
        {0, "", "", true, CHOSEN_NONE, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect(&cases[i]);
}

/* By the address that `check` and the status page show, without any key. */
static void the_address_that_is_shown_leads_to_its_source(void)
{
    static struct source named[] = {{.name = acme, .line = 3}, {.name = beta, .line = 7}};
    static char standard[] = "default";
    static struct source unnamed = {.name = standard};
    const struct config configs[] = {
        {.source = &unnamed, .sources = 1}, {.source = named, .sources = 1}, {.source = named, .sources = 2}};
    static const char *const paths[][2] = {{""}, {"/acme"}, {"/acme", "/beta"}};
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        struct auth_table table;
        CU_ASSERT_TRUE_FATAL(auth_table_init(&table, &configs[i]));
        for (size_t j = 0; j < configs[i].sources; j++) {
            char path[SOURCE_PATH];
            struct request_keys keys = {.count = 0};
            const struct source_auth *auth = NULL;
            CU_ASSERT_STRING_EQUAL(config_source_path(&configs[i].source[j], path), paths[i][j]);
            CU_ASSERT_EQUAL(auth_choose_source(&table, path, &keys, false, &auth), CHOSEN);
            CU_ASSERT(auth != NULL && auth->source == &configs[i].source[j]);
        }
        auth_table_free(&table);
    }
}

static void takes_only_its_own_write_keys(void)
{
    static const struct {
        const char *keys[2];
        bool taken;
    } cases[] = {
        {{"acme-new", ""}, true},  {{"acme-old", ""}, true},
        {{"", "acme-old"}, true},  {{"wrong", "acme-old"}, true},
        {{"beta-key", ""}, false}, {{"wrong", "beta-key"}, false},
        {{"", ""}, false},
    };
    struct config config = {.source = sources, .sources = 1};
    struct auth_table table;
    CU_ASSERT_TRUE_FATAL(auth_table_init(&table, &config));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct request_keys keys = {.count = 0};
        request_keys_add(&keys, cases[i].keys[0]);
        request_keys_add(&keys, cases[i].keys[1]);
        CU_ASSERT_EQUAL(source_auth_accepts(&table.at[0], &keys), cases[i].taken);
    }
    auth_table_free(&table);
}

/* An unset key that accepts everything is a known fault of other receivers. */
static void a_source_without_keys_takes_nothing(void)
{
    struct source keyless = {.name = acme};
    struct config config = {.source = &keyless, .sources = 1};
    struct auth_table table;
    struct request_keys keys = {.count = 0};
    CU_ASSERT_TRUE_FATAL(auth_table_init(&table, &config));
    CU_ASSERT_FALSE(source_auth_accepts(&table.at[0], &keys));
    request_keys_add(&keys, "anything");
    CU_ASSERT_FALSE(source_auth_accepts(&table.at[0], &keys));
    auth_table_free(&table);
}

void suite_webhook_choose(void)
{
    static CU_TestInfo tests[] = {
        {"path, write key, signature, the only one", chooses},
        {"the address that is shown leads to its source", the_address_that_is_shown_leads_to_its_source},
        {"a source takes its own write keys", takes_only_its_own_write_keys},
        {"a source without keys takes nothing", a_source_without_keys_takes_nothing},
        CU_TEST_INFO_NULL,
    };
    suite_add("webhook choose", NULL, NULL, tests);
}
