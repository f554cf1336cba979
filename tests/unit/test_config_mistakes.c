/* The configuration: every mistake has its place, its reason and what to do, word by word as the user reads it. */
#include "config/internal.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/config_text.h"

#include <stdio.h>
#include <string.h>

#define AT "~/closecrm.conf:"
#define URL "data_plane_url = https://h\n"
#define PLAIN_LINE                                                                                                     \
    " the line must look like \"key = value\", \"[source NAME]\" or \"# comment\"; what continues a list is indented"
#define NO_KEY " what stands before the = or : is no key; a line must look like \"key = value\""
#define OWN_LINE "has a ; or # after a blank: a comment must stand in a line of its own"
#define SECTION_LINE " a section's line must be [source NAME] and nothing else"
#define NAME_RULE " a source's name must be 1 to 64 of the characters A-Z a-z 0-9 _ -"
#define UNINDENT "an indented line continues the one above: remove the blanks at its beginning"

struct mistake {
    const char *text, *reason;
};

static void check_all(const struct mistake *mistakes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        CU_ASSERT_TRUE(refuses(mistakes[i].text, NULL, mistakes[i].reason));
}

static void lines(void)
{
    static const struct mistake mistakes[] = {
        {URL "\n# x\nwirte_key = a\n", AT "4: unknown key \"wirte_key\"; did you mean \"write_key\"?"},
        {URL "colour = blue\n", AT "2: unknown key \"colour\""},
        {URL "write_key\n", AT "2:" PLAIN_LINE},
        {URL "write_key = a,\nb\nlanes = many\n", AT "3:" PLAIN_LINE},
        {URL "b\nlanes\n", AT "2:" PLAIN_LINE},
        {URL "= x\n", AT "2:" NO_KEY},
        {URL "write_key a=b\n", AT "2:" NO_KEY},
        {URL "write_key = a\x01z\n", AT "2: a control character at place 14; save the file as plain text in UTF-8"},
        {"lanes = 4\n" URL "lanes = 5\n",
         AT "3: lanes stands twice, here and in line 1, and has one value: remove one"},
        {URL "[source a]\n" URL "write_key = a\n" URL,
         AT "5: data_plane_url stands twice, here and in line 3, and has one value: remove one"},
        {URL "write_key = a ; for production\n", AT "2: write_key " OWN_LINE},
        {URL "keep = # all\n", AT "2: keep " OWN_LINE},
        {URL "keep = lead.*\n  contact.* # too\n", AT "3: keep " OWN_LINE},
        {"lanes =\n", AT "1: lanes has no value: give it one or remove the line"},
        {"lanes = 4\n  5\n",
         AT "2: lanes has one value, and this indented line would be a second one: remove the blanks at its beginning"},
        {"  lanes = 4\n  log_level = info\n", AT "2: " UNINDENT},
        {URL "write_key = a\n  signature_key = b\n", AT "3: " UNINDENT},
        {URL "write_key = a\n  signature_kye : b\n", AT "3: " UNINDENT},
    };
    check_all(mistakes, sizeof mistakes / sizeof *mistakes);
}

#define NOT_SHOWN "its name is not shown, for it may be a secret itself"
#define POSTGRES "postgresql://USER:PASSWORD@HOST/DATABASE"
#define PORT "has a port that is no number from 1 to 65535 (an IPv6 address stands in brackets, [::1]:5432)"

static void values(void)
{
    static const struct mistake mistakes[] = {
        {"request_threads = many\n", AT "1: request_threads must be a whole number"},
        {"request_threads = 0\n", AT "1: request_threads must be from 1 to 512, not 0"},
        {"request_threads = 513\n", AT "1: request_threads must be from 1 to 512, not 513"},
        {"lanes = 65\n", AT "1: lanes must be from 1 to 64, not 65"},
        {"batch_events = 10001\n", AT "1: batch_events must be from 1 to 10000, not 10001"},
        {"max_body = 65M\n", AT "1: max_body must be from 1K to 64M, not 65M"},
        {"max_body = 16MB\n", AT "1: max_body must be a size such as 4000K, 16M or 8G, not \"16MB\""},
        {"request_timeout = 500ms\n",
         AT "1: request_timeout must be a duration such as 90s, 15m, 73h or 31d, not \"500ms\""},
        {"request_timeout = 13s\n", AT "1: request_timeout must be from 1s to 12s, not 13s"},
        {"dedupe_window = 99999999999999999999d\n",
         AT "1: dedupe_window must be from 1s to 3660d, not 99999999999999999999d"},
        {"log_level = verbose\n", AT "1: log_level must be one of error, warn, info, debug"},
        {"queue_url = mysql://u:secret@h/d\n", AT "1: queue_url must be postgresql://USER:PASSWORD@HOST/DATABASE, in "
                                                  "one line and without blanks; %XX stands for "
                                                  "what has a meaning in addresses"},
        {"queue_url = postgresql://u:sec@ret@h/d\n", AT "1: queue_url must have %40 for @, %2F for /, %3F for ? and "
                                                        "%23 for # in user and password"},
        {"queue_url = postgresql://u:sec/ret@h/d\n", AT "1: queue_url must have %40 for @, %2F for /, %3F for ? and "
                                                        "%23 for # in user and password"},
        {"queue_url = postgresql://u:p@h\n", AT "1: queue_url names no database: " POSTGRES},
        {"queue_url = postgresql://u:p@h/\n", AT "1: queue_url names no database: " POSTGRES},
        {"queue_url = postgresql://h/d\n", AT "1: queue_url names no user: " POSTGRES},
        {"queue_url = postgresql://u:p@/d\n", AT "1: queue_url names no host: " POSTGRES},
        {"queue_url = postgresql://u:p@h:abc/d\n", AT "1: queue_url " PORT},
        {"queue_url = postgresql://u:p@h:0/d\n", AT "1: queue_url " PORT},
        {"queue_url = postgresql://u:p@h:70000/d\n", AT "1: queue_url " PORT},
        {"queue_url = postgresql://u:p@g,h:5433x,i/d\n", AT "1: queue_url " PORT},
        {"queue_url = postgresql://u:p@::1/d\n", AT "1: queue_url has an empty host, or one whose ] is missing: HOST, "
                                                    "HOST:PORT, or HOST,HOST"},
        {"queue_url = postgresql://u:p@[::1/d\n", AT "1: queue_url has an empty host, or one whose ] is missing: HOST, "
                                                     "HOST:PORT, or HOST,HOST"},
        {"queue_url = postgresql://u:p@[::1]5432/d\n", AT "1: queue_url has something between the ] of a host and what "
                                                          "follows: [::1]:5432"},
        {"queue_url = postgresql://u:p@g,,h/d\n", AT "1: queue_url has an empty host, or one whose ] is missing: HOST, "
                                                     "HOST:PORT, or HOST,HOST"},
        {"queue_url = postgresql://u:p@/d?host=g,\n", AT "1: queue_url has an empty host between commas"},
        {"queue_url = postgresql://u:p@g,h,i/d?port=5432,5433\n",
         AT "1: queue_url has 2 ports for 3 hosts: give one for all, or one for each"},
        {"queue_url = postgresql://u:p@g/d?port=65536\n", AT "1: queue_url " PORT},
        {"queue_url = postgresql://u:p@g:1,h:2/d?host=g,h,i\n",
         AT "1: queue_url has other ports than hosts: with ?host= give ?port=, too"},
        {"queue_url = postgresql://u:p@g,h/d?hostaddr=127.0.0.1\n",
         AT "1: queue_url has 2 hosts and 1 host addresses (hostaddr): give one for each"},
        {"queue_url = postgresql://u:p@h/d?sslmod=require\n",
         AT "1: queue_url has a parameter behind the ? that PostgreSQL does not know; did you mean sslmode?"},
        {"queue_url = postgresql://u:p@h/d?s3cr3t=require\n",
         AT "1: queue_url has a parameter behind the ? that PostgreSQL does not know: remove it; what there is stands "
            "in its documentation under Parameter Key Words"},
        {"queue_url = postgresql://u:p@h/d?sslmode\n", AT "1: queue_url must have NAME=VALUE behind the ?, with & "
                                                          "between, and %3D for a = in a value"},
        {"queue_url = postgresql://u:p@h/d?sslmode=full\n",
         AT "1: queue_url has a value of sslmode that does not exist; there are: disable, allow, prefer, require, "
            "verify-ca, verify-full"},
        {"queue_url = postgresql://u:p@h/d?sslmode=verify\n",
         AT "1: queue_url has a value of sslmode that does not exist; there are: disable, allow, prefer, require, "
            "verify-ca, verify-full"},
        {"queue_url = postgresql://u:p@h/d?connect_timeout=2s\n",
         AT "1: queue_url must have a whole number as connect_timeout"},
        {"queue_url = postgresql://u:p@h/d?sslrootcert=/nowhere/ca.pem\n",
         AT "1: queue_url names a file as sslrootcert that cannot be read: No such file or directory"},
        {"queue_url = postgresql://u:p@h/d?sslrootcert=ca.pem\n",
         AT "1: queue_url must name sslrootcert by its whole path: it does not matter then from where the program is "
            "started"},
        {"queue_url = postgresql://u:p%zz@h/d\n", AT "1: queue_url has a % that two hexadecimal digits do not follow, "
                                                     "or %00: %25 stands for a % itself"},
        {"queue_url = postgresql://u:p@h /d\n", AT "1: queue_url must be postgresql://USER:PASSWORD@HOST/DATABASE, in "
                                                   "one line and without blanks; %XX stands for what has a meaning in "
                                                   "addresses"},
        {"queue = redis\n", AT "1: queue must be one of sqlite, none, postgresql"},
        {"ca_file = ca.pem\n", AT "1: ca_file names a file that is not there; " NOT_SHOWN},
        {"ca_file = ./closecrm.conf\n",
         AT "1: ca_file names ~/./closecrm.conf, which has no certificate, or one that is cut: each is from "
            "-----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----"},
        {"ca_file = /dev/null\n",
         AT "1: ca_file names /dev/null, which has no certificate, or one that is cut: each is "
            "from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----"},
        {"ca_file = ./ca.pem\n", AT "1: ca_file names ~/./ca.pem, which cannot be read: No such file or directory"},
        {"queue = sqllite\n", AT "1: queue must be one of sqlite, none, postgresql, not \"sqllite\""},
        {"log_level = Info\n", AT "1: log_level must be one of error, warn, info, debug"},
        {"include = previous-data\n",
         AT "1: include must be previous_data, changed_fields or both, not \"previous-data\""},
        {"ca_file = ~/ca.pem\n", AT "1: ca_file must be a path without ~, which only a shell understands"},
        {"keep = lead\n",
         AT "1: keep must name object type and action: \"lead\" would match nothing; did you mean \"lead.*\"?"},
        {"drop = lead..x\n",
         AT "1: drop must name events like lead.updated, activity.email.* or *.deleted, not \"lead..x\""},
        {"remove = data.*\n", AT "1: remove must name members of an event like data.body_html, not \"data.*\""},
        {"remove = .data\n", AT "1: remove must name members of an event like data.body_html, not \".data\""},
        {"include = previous_data, data\n", AT "1: include must be previous_data, changed_fields or both"},
        {"traits = custom.cf_1, data.name\n",
         AT "1: traits must name custom fields of a lead like cf_a1b2, not \"data.name\""},
        {"nul = drop\n", AT "1: nul must be one of replace, keep"},
        {"warehouse = yes\n", AT "1: warehouse must be one of columns, json"},
        {"data_plane_url = https://me:pass@h\n",
         AT "1: data_plane_url must not have a user or password in it: the write key goes into write_key"},
        {"write_key = \"abc\"\n", AT "1: write_key stands in quotes, which would be part of it: remove them"},
        {"write_key = a\"c\n",
         AT "1: write_key must be the bare key as RudderStack shows it: no quotes, no comment, none of : ; # < >"},
        {"signature_key = abc\n",
         AT "1: signature_key must be 64 hexadecimal digits, as Close gave it; this one has 3"},
        {"signature_key = none, " SIGNATURE_1 "\n",
         AT "1: signature_key cannot be both none and a key: remove one of them"},
        {"signature_key = " SIGNATURE_1 "00\n",
         AT "1: signature_key must be 64 hexadecimal digits, as Close gave it; this one has 66"},
        {"signature_key = " SIGNATURE_1 ",\n  0x12\n",
         AT "2: signature_key must be 64 hexadecimal digits, as Close gave it; character 2 of this one is none"},
    };
    check_all(mistakes, sizeof mistakes / sizeof *mistakes);
}

#define ADDRESS "postgresql://u:s3cr3t@h/d"
#define HIDDEN ", not an address (which is not shown, for a password may be in it): "
#define TO_QUEUE_URL HIDDEN "a database's goes into queue_url, with queue = postgresql"

/* An address in the place of another value is no more shown than where it belongs. */
static void addresses_in_the_wrong_place(void)
{
    static const struct mistake mistakes[] = {
        {"queue = " ADDRESS "\n", AT "1: queue must be one of sqlite, none, postgresql" TO_QUEUE_URL},
        {"queue = POSTGRES://u:s3cr3t@h\n", AT "1: queue must be one of sqlite, none, postgresql" TO_QUEUE_URL},
        {"queue = u:s3cr3t@h/d\n", AT "1: queue must be one of sqlite, none, postgresql" TO_QUEUE_URL},
        {"queue = host=h password=s3cr3t\n", AT "1: queue must be one of sqlite, none, postgresql" TO_QUEUE_URL},
        {"log_level = " ADDRESS "\n", AT "1: log_level must be one of error, warn, info, debug" TO_QUEUE_URL},
        {"lanes = " ADDRESS "\n", AT "1: lanes must be a number" TO_QUEUE_URL},
        {"lanes = https://h/s3cr3t\n", AT "1: lanes must be a number" HIDDEN "a data plane's goes into data_plane_url"},
        {"max_body = " ADDRESS "\n", AT "1: max_body must be a size" TO_QUEUE_URL},
        {"dedupe_window = " ADDRESS "\n", AT "1: dedupe_window must be a duration" TO_QUEUE_URL},
        {"keep = lead.*,\n  " ADDRESS "\n", AT "2: keep must be a list of events" TO_QUEUE_URL},
        {"remove = " ADDRESS "\n", AT "1: remove must be a list of members" TO_QUEUE_URL},
        {"include = " ADDRESS "\n", AT "1: include must be a list of members" TO_QUEUE_URL},
        {"traits = " ADDRESS "\n", AT "1: traits must be a list of custom fields" TO_QUEUE_URL},
        {WHOLE "state_dir = " ADDRESS "\n", AT "4: state_dir must be a path" TO_QUEUE_URL},
        {WHOLE "state_dir = u:s3cr3t@h/d\n", AT "4: state_dir must be a path" TO_QUEUE_URL},
        {"ca_file = " ADDRESS "\n", AT "1: ca_file must be a path" TO_QUEUE_URL},
        {"ca_file = file:///etc/ca.pem\n", AT "1: ca_file must be a path" HIDDEN "leave out file://"},
        {"queue_url_file = " ADDRESS "\n",
         AT "1: queue_url_file must be a path" HIDDEN "it goes into queue_url, or into the file that is named here"},
        {"alert_webhook_url_file = https://h/s3cr3t\n",
         AT "1: alert_webhook_url_file must be a path" HIDDEN
            "it goes into alert_webhook_url, or into the file that is named here"},
        {"write_key_file = " ADDRESS "\n", AT "1: write_key_file must be a path" TO_QUEUE_URL},
        {"alert_command = /" ADDRESS "\n",
         AT "1: alert_command must begin with the whole path of a program, such as /usr/local/bin/tell-me"},
    };
    check_all(mistakes, sizeof mistakes / sizeof *mistakes);
}

/* Whatever key it stands behind, as a value or as a file's name. */
static void a_secret_in_the_wrong_line(void)
{
    static const char *const secrets[] = {"Tr0ub4dor&3!horse",
                                          "api_4rV5x9Kq2BL7.3sWz",
                                          "correcthorsebatterystaple",
                                          "PASSWORDS",
                                          "Passw0rd",
                                          "26zDFnIvZpCgdlV0d2L3TDD0GLd",
                                          "9c1d5e0b7a3f8e2d6c4b1a0f9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c4b3a2f1e0d",
                                          "8fKz/Qw+e1/3A==",
                                          "file:///postgresql://u:Tr0ub4dor@h/d"};
    size_t count;
    const struct key *key = keys_all(&count);
    for (; count > 0; count--, key++) {
        for (size_t i = 0; i < (key->secret ? 2 : 1) * (sizeof secrets / sizeof *secrets); i++) {
            char text[400];
            struct error why = {0};
            const char *secret = secrets[i % (sizeof secrets / sizeof *secrets)];
            bool from_file = i >= sizeof secrets / sizeof *secrets;
            snprintf(text, sizeof text, "%s%s = %s\nlanes = 0\n", key->name, from_file ? "_file" : "", secret);
            CU_ASSERT_PTR_NULL(read_text(text, NULL, &why));
            check(strstr(why.text, secret) == NULL && strstr(why.text, "Tr0ub4dor") == NULL, "it is not repeated: %s%s",
                  text, why.text);
            check(!from_file || strstr(why.text, "_file ") != NULL, "it is refused: %s%s", text, why.text);
        }
    }
}

static void a_value_and_its_file(void)
{
    static const struct {
        const char *key, *value;
    } pairs[] = {{"queue_url", "postgresql://u:p@h/d"},
                 {"close_api_key", "api_1"},
                 {"admin_password", "correct horse"},
                 {"alert_webhook_url", "https://h/x"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const char *key = pairs[i].key;
        char text[300], reason[300];
        snprintf(text, sizeof text, WHOLE "%s = %s\n%s_file = /nowhere\n", key, pairs[i].value, key);
        snprintf(reason, sizeof reason,
                 AT "5: %s_file says what %s in line 4 says, and one of them counts: remove %s if the file is right, "
                    "else %s_file",
                 key, key, key, key);
        CU_ASSERT_TRUE(refuses(text, NULL, reason));
    }
}

static void sections(void)
{
    static const struct mistake mistakes[] = {
        {"[source a\n", AT "1:" SECTION_LINE},
        {"[source a] # first\n", AT "1:" SECTION_LINE},
        {"[source a] write_key = x\n", AT "1:" SECTION_LINE},
        {"[acme]\n", AT "1: unknown section; did you mean [source acme]?"},
        {"[sink acme]\n", AT "1: unknown section; there is only [source NAME]"},
        {"[]\n", AT "1: unknown section; there is only [source NAME]"},
        {"[source]\n", AT "1:" NAME_RULE},
        {"[source a b]\n", AT "1:" NAME_RULE},
        {"[source \"a\"]\n", AT "1:" NAME_RULE},
        {"[source aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\n", AT "1:" NAME_RULE},
        {"[source status]\n", AT "1: a source cannot be named \"status\": that is a page of this program"},
        {"[source metrics]\n", AT "1: a source cannot be named \"metrics\": that is a page of this program"},
        {"[source healthz]\n", AT "1: a source cannot be named \"healthz\": that is a page of this program"},
        {"[source v1]\n", AT "1: a source cannot be named \"v1\": that is a page of this program"},
        {URL "[source a]\nwrite_key = x\n[source b]\n[source a]\n",
         AT "5: [source a] stands twice, here and in line 2: put both together"},
        {URL "keep = lead.*\n [source a]\n",
         AT "3: an indented line continues the one above: remove the blanks before the ["},
        {URL "write_key = x\n[source a]\nwrite_key = y\n",
         AT "3: [source a] begins here, but line 2 has write_key above all sections: move that into the section it "
            "belongs to"},
        {URL "[source a]\nlanes = 3\n",
         AT "3: lanes is for all sources and cannot stand in [source a]: move it above the first section"},
    };
    check_all(mistakes, sizeof mistakes / sizeof *mistakes);
}

static void whole(void)
{
    static const struct mistake mistakes[] = {
        {"", "~/closecrm.conf: there is no data_plane_url, which says where events go: add \"data_plane_url = "
             "https://HOST\""},
        {URL,
         "~/closecrm.conf: there is no write_key, without which RudderStack takes nothing: add \"write_key = KEY\""},
        {URL "signature_key = " SIGNATURE_1 "\n",
         "~/closecrm.conf: there is no write_key, without which RudderStack takes nothing: add \"write_key = KEY\""},
        {"data_plane_url = file:///tmp/x\n",
         "~/closecrm.conf: there is no signature_key, nor a write_key, so that nobody could be let in: add "
         "\"signature_key = DIGITS\""},
        {"[source a]\n" URL "write_key = x\n[source b]\nwrite_key = y\n",
         AT "4: [source b] has no data_plane_url, which says where events go: add \"data_plane_url = https://HOST\""},
        {URL "[source a]\nwrite_key = x\n[source b]\n",
         AT "4: [source b] has no write_key, without which RudderStack takes nothing: add \"write_key = KEY\""},
        {URL "write_key = x\nsignature_key =\n", AT "3: signature_key has no value: give it one or remove it"},
        {URL "write_key = ,\n", AT "2: write_key has no value: give it one or remove it"},
        {URL "[source a]\nwrite_key = x\n[source b]\nwrite_key = y\nwrite_key = z, x\n",
         AT "6: [source b] has a write_key that [source a] has in line 3: the two could not be told apart; give each "
            "its own"},
        {WHOLE "queue = postgresql\n", "~/closecrm.conf: there is no queue_url, where events wait: add \"queue_url = "
                                       "postgresql://USER:PASSWORD@HOST/DATABASE\""},
        {WHOLE "queue_max_bytes = 1M\n",
         AT "4: queue_max_bytes is less than max_body: the largest events would never be taken"},
    };
    check_all(mistakes, sizeof mistakes / sizeof *mistakes);
}

static void signature_keys_in_either_case(void)
{
    CU_ASSERT_TRUE(refuses(URL "[source a]\nwrite_key = x\nsignature_key = " SIGNATURE_1 "\n"
                               "[source b]\nwrite_key = y\n"
                               "signature_key = 00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF\n",
                           NULL,
                           AT "7: [source b] has a signature_key that [source a] has in line 4: the two could not be "
                              "told apart; give each its own"));
}

static void file_sink_needs_one_of_both(void)
{
    static const char *const texts[] = {
        "data_plane_url = file:///tmp/x\nwrite_key = k\n",
        "data_plane_url = file:///tmp/x\nsignature_key = " SIGNATURE_1 "\n",
    };
    for (size_t i = 0; i < 2; i++) {
        struct error why = {0};
        struct config *config = read_text(texts[i], NULL, &why);
        CU_ASSERT_STRING_EQUAL(why.text, "");
        CU_ASSERT_PTR_NOT_NULL(config);
        config_free(config);
    }
}

static void secrets_are_not_shown(void)
{
    static const char *const texts[] = {
        "signature_key = s3cr3t\n",
        "signature_key = 00s3cr3t00\n",
        "signature_key s3cr3t\n",
        "signature_key s3cr3t = 1\n",
        "s3cr3t = x\n",
        "write_key = a\ns3cr3t\n",
        "write_key = s3cr3t:\n",
        "write_key = \"s3cr3t\"\n",
        "write_key = x ; s3cr3t\n",
        "write_key = s3cr3t\x01\n",
        "[s3cr3t:]\n",
        "[source s3cr3t=]\n",
        "data_plane_url = https://u:s3cr3t@h\n",
        "data_plane_url = https://h?writeKey=s3cr3t\n",
        "data_plane_url = s3cr3t\n",
        "queue_url = mysql://u:s3cr3t@h/d\n",
        "queue_url = postgresql://u:s3cr3t @h/d\n",
        "queue_url = postgresql://u:s3cr3t@h\n",
        "queue_url = postgresql://u:p@s3cr3t@h/d\n",
        "queue_url = postgresql://u:s3cr3t%zz@h/d\n",
        "queue_url = postgresql://u:s3cr3t@h:x/d\n",
        "queue_url = postgresql://h:s3cr3t/d?user=u\n",
        "queue_url = postgresql://u@h/d?password=a&s3cr3t=x\n",
        "queue_url = postgresql://u@h/d?password=a&sslmode=s3cr3t\n",
        "queue_url = postgresql://u@h/d?password=a&sslrootcert=/s3cr3t\n",
        "queue_url = postgresql://u@h/d?port=s3cr3t\n",
        URL "[source a]\nwrite_key = s3cr3t\n[source b]\nwrite_key = s3cr3t\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct error why = {0};
        CU_ASSERT_PTR_NULL(read_text(texts[i], NULL, &why));
        CU_ASSERT_STRING_NOT_EQUAL(why.text, "");
        CU_ASSERT_PTR_NULL(strstr(why.text, "s3cr3t"));
    }
}

static void nul_is_refused(void)
{
    static const char text[] = URL "write_key = a\0b\n";
    struct folder folder;
    char *const nothing[] = {NULL};
    struct error why = {0};
    folder_make(&folder);
    folder_write(&folder, "closecrm.conf", text, sizeof text - 1, 0600);
    CU_ASSERT_PTR_NULL(config_read(folder.file, nothing, &why));
    folder_shorten(&folder, &why);
    CU_ASSERT_STRING_EQUAL(why.text, AT "2: a control character at place 14; save the file as plain text in UTF-8");
    folder_remove(&folder);
}

void suite_config_mistakes(void)
{
    static CU_TestInfo tests[] = {
        {"in a line", lines},
        {"in a value", values},
        {"an address in the wrong place is not shown", addresses_in_the_wrong_place},
        {"a secret in the wrong line is not repeated", a_secret_in_the_wrong_line},
        {"a value, and a file with it", a_value_and_its_file},
        {"in a section", sections},
        {"in the whole", whole},
        {"two sources with one signature key, in either case of its digits", signature_keys_in_either_case},
        {"a file as the data plane needs either key", file_sink_needs_one_of_both},
        {"no secret is shown", secrets_are_not_shown},
        {"a NUL is refused", nul_is_refused},
        CU_TEST_INFO_NULL,
    };
    suite_add("config mistakes", NULL, NULL, tests);
}
