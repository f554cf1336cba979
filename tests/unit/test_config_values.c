/* The configuration: durations, sizes, counts and URLs, each rule in a row of a table. */
#include "config/internal.h"
#include "tests/suites.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/times.h"

struct row {
    enum text_reading (*read)(const char *text, int64_t *value);
    const char *text;
    enum text_reading result;
    int64_t value;
};

static const struct row rows[] = {
    {times_read_duration, "0s", TEXT_READ, 0},
    {times_read_duration, "90s", TEXT_READ, 90000},
    {times_read_duration, "15m", TEXT_READ, 900000},
    {times_read_duration, "73h", TEXT_READ, 262800000},
    {times_read_duration, "31d", TEXT_READ, 2678400000},
    {times_read_duration, "106751991167d", TEXT_READ, INT64_C(106751991167) * 86400000},
    {times_read_duration, "106751991168d", TEXT_TOO_LARGE, 0},
    {times_read_duration, "99999999999999999999999s", TEXT_TOO_LARGE, 0},
    {times_read_duration, "90", TEXT_UNREADABLE, 0},
    {times_read_duration, "500ms", TEXT_UNREADABLE, 0},
    {times_read_duration, "1h30m", TEXT_UNREADABLE, 0},
    {times_read_duration, "1 h", TEXT_UNREADABLE, 0},
    {times_read_duration, "-1s", TEXT_UNREADABLE, 0},
    {times_read_duration, "+1s", TEXT_UNREADABLE, 0},
    {times_read_duration, "1.5h", TEXT_UNREADABLE, 0},
    {times_read_duration, "1S", TEXT_UNREADABLE, 0},
    {times_read_duration, "s", TEXT_UNREADABLE, 0},
    {times_read_duration, "", TEXT_UNREADABLE, 0},
    {text_read_size, "0", TEXT_READ, 0},
    {text_read_size, "4000K", TEXT_READ, 4096000},
    {text_read_size, "16M", TEXT_READ, 16777216},
    {text_read_size, "8G", TEXT_READ, INT64_C(8589934592)},
    {text_read_size, "123", TEXT_READ, 123},
    {text_read_size, "9223372036854775807", TEXT_READ, INT64_MAX},
    {text_read_size, "9223372036854775808", TEXT_TOO_LARGE, 0},
    {text_read_size, "8589934591G", TEXT_READ, INT64_C(8589934591) * 1073741824},
    {text_read_size, "8589934592G", TEXT_TOO_LARGE, 0},
    {text_read_size, "8g", TEXT_UNREADABLE, 0},
    {text_read_size, "16MB", TEXT_UNREADABLE, 0},
    {text_read_size, "16 M", TEXT_UNREADABLE, 0},
    {text_read_size, "1T", TEXT_UNREADABLE, 0},
    {text_read_size, "0x10", TEXT_UNREADABLE, 0},
    {text_read_count, "1", TEXT_READ, 1},
    {text_read_count, "0032", TEXT_READ, 32},
    {text_read_count, "1K", TEXT_UNREADABLE, 0},
    {text_read_count, "four", TEXT_UNREADABLE, 0},
};

static void numbers_are_read(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t value = 0;
        enum text_reading result = rows[i].read(rows[i].text, &value);
        if (result != rows[i].result || value != rows[i].value)
            fprintf(stderr, "\nwrong: \"%s\"\n", rows[i].text);
        CU_ASSERT_EQUAL(result, rows[i].result);
        CU_ASSERT_EQUAL(value, rows[i].value);
    }
}

static void numbers_are_written(void)
{
    char out[32];
    times_write_duration(86400000, out, sizeof out);
    CU_ASSERT_STRING_EQUAL(out, "1d");
    times_write_duration(90000, out, sizeof out);
    CU_ASSERT_STRING_EQUAL(out, "90s");
    times_write_duration(0, out, sizeof out);
    CU_ASSERT_STRING_EQUAL(out, "0s");
    text_write_size(4096000, out, sizeof out);
    CU_ASSERT_STRING_EQUAL(out, "4000K");
    text_write_size(1025, out, sizeof out);
    CU_ASSERT_STRING_EQUAL(out, "1025");
    text_write_count(500, out, sizeof out);
    CU_ASSERT_STRING_EQUAL(out, "500");
}

static void words_are_separated(void)
{
    const char *rest = " ,one,\t two\n,,three";
    static const char *const expected[] = {"one", "two", "three"};
    size_t length = 0;
    for (size_t i = 0; i < 3; i++) {
        const char *word = value_word(&rest, &length);
        CU_ASSERT_PTR_NOT_NULL_FATAL(word);
        CU_ASSERT_EQUAL(length, strlen(expected[i]));
        CU_ASSERT_EQUAL(strncmp(word, expected[i], length), 0);
    }
    CU_ASSERT_PTR_NULL(value_word(&rest, &length));
}

static void good_urls(void)
{
    static const char *const urls[][2] = {
        {"https://rs.example.com", "https://rs.example.com"},
        {"HTTPS://rs.example.com//", "https://rs.example.com"},
        {"http://localhost:8080/rudder/", "http://localhost:8080/rudder"},
        {"http://127.0.0.1:1", "http://127.0.0.1:1"},
        {"http://[::1]:65535/a", "http://[::1]:65535/a"},
        {"https://my_host/v1/x", "https://my_host/v1/x"},
        {"file:///tmp/events.ndjson", "file:///tmp/events.ndjson"},
        {"file:///home/m\xc3\xbcller/events", "file:///home/m\xc3\xbcller/events"},
    };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct error why = {0};
        char *url = url_data_plane(urls[i][0], &why);
        CU_ASSERT_STRING_EQUAL(why.text, "");
        CU_ASSERT_PTR_NOT_NULL_FATAL(url);
        CU_ASSERT_STRING_EQUAL(url, urls[i][1]);
        free(url);
    }
}

#define EXAMPLE "write it like https://HOST, https://HOST:PORT/PATH or file:///PATH"
#define NO_HOST "names no host: " EXAMPLE
#define BAD_HOST "has a host or port that cannot be: " EXAMPLE
#define BAD_CHARACTER "has a blank or another character that no URL has: " EXAMPLE
#define BAD_SCHEME "must begin with https://, http:// or file:///: " EXAMPLE
#define USER "must not have a user or password in it: the write key goes into write_key"
#define QUERY "must end before the ? or #: the write key goes into write_key"
#define ENDPOINT "must end before /v1: the program adds that itself"

static void bad_urls(void)
{
    static const char *const urls[][2] = {
        {"rs.example.com", BAD_SCHEME},
        {"ftp://rs.example.com", BAD_SCHEME},
        {"https:/rs.example.com", BAD_SCHEME},
        {"https://", NO_HOST},
        {"https:///path", NO_HOST},
        {"https://:80", BAD_HOST},
        {"https://h:0", BAD_HOST},
        {"https://h:65536", BAD_HOST},
        {"https://h:8080x", BAD_HOST},
        {"https://h:1:2", BAD_HOST},
        {"https://[::1", BAD_HOST},
        {"https://a,b", BAD_HOST},
        {"https://me:secret@h/", USER},
        {"https://me@h?x", USER},
        {"https://h/?writeKey=secret", QUERY},
        {"https://h?writeKey=secret", QUERY},
        {"https://h/#part", QUERY},
        {"https://h/v1", ENDPOINT},
        {"https://h/v1/batch/", ENDPOINT},
        {"https://h/x/v1/webhook", ENDPOINT},
        {"https://h/a b", BAD_CHARACTER},
        {"https://<data plane>", BAD_CHARACTER},
        {"https://h/\"", BAD_CHARACTER},
        {"https://m\xc3\xbcller.de", "has a character beyond ASCII: write the host as xn--..., the path with %XX"},
        {"file://host/path", "must be file:/// with three slashes and an absolute path"},
        {"file://", "must be file:/// with three slashes and an absolute path"},
        {"file:/tmp/x", BAD_SCHEME},
        {"file:///tmp/", "must name a file, not a folder"},
        {"file:///", "must name a file, not a folder"},
    };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct error why = {0};
        char *url = url_data_plane(urls[i][0], &why);
        if (strcmp(why.text, urls[i][1]) != 0)
            fprintf(stderr, "\n%s: %s\n", urls[i][0], why.text);
        CU_ASSERT_PTR_NULL(url);
        CU_ASSERT_STRING_EQUAL(why.text, urls[i][1]);
        free(url);
    }
}

static void nearest_names(void)
{
    static const char *const names[][2] = {
        {"wirte_key", "write_key"},
        {"write-key", "write_key"},
        {"Write_Key", "write_key"},
        {"writekey", "write_key"},
        {"dataplane_url", "data_plane_url"},
        {"signature_keyfile", "signature_key_file"},
        {"lane", "lanes"},
        {"loglevel", "log_level"},
        {"max_bytes", NULL},
        {"colour", NULL},
        {"x", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char nearest[SPELLING_SIZE] = "";
        bool found = keys_nearest(names[i][0], nearest, sizeof nearest);
        CU_ASSERT_EQUAL(found, names[i][1] != NULL);
        CU_ASSERT_STRING_EQUAL(nearest, names[i][1] == NULL ? "" : names[i][1]);
    }
}

static bool is_not_context(const char *name, const void *context)
{
    return strcmp(name, context) != 0;
}

static void unknown_parameters(void)
{
    static const struct {
        const char *url, *unknown, *found;
    } urls[] = {
        {"postgresql://u:p@h/d", "user", NULL},
        {"postgresql://u:p@h/d?require_auth=none", "require_auth", "require_auth"},
        {"postgresql://u:p@h/d?sslmode=require&require%5Fauth=none", "require_auth", "require_auth"},
        {"postgresql://u:p@h/d?sslmode=require_auth", "require_auth", NULL},
        {"postgresql://u:p@h/d?s3cr3t=x&sslmode=require", "s3cr3t", NULL},
        {"postgresql://u:p@h/d?%zz=x&&=&sslmode", "sslmode", "sslmode"},
        {"postgresql://u:p@h/d?", "sslmode", NULL},
    };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        const char *found = config_queue_url_unknown(urls[i].url, is_not_context, urls[i].unknown);
        CU_ASSERT_STRING_EQUAL(found == NULL ? "" : found, urls[i].found == NULL ? "" : urls[i].found);
    }
}

/* A row that contradicts itself would be found by its first user. */
static void defaults_are_in_range(void)
{
    size_t count;
    const struct key *key = keys_all(&count);
    for (; count > 0; count--, key++) {
        struct error why = {0};
        if (key->standard[0] != '\0')
            CU_ASSERT_TRUE(value_is_good(key, key->standard, &why));
        CU_ASSERT_STRING_EQUAL(why.text, "");
    }
}

void suite_config_values(void)
{
    static CU_TestInfo tests[] = {
        {"durations, sizes and counts are read strictly", numbers_are_read},
        {"numbers are written as one would write them", numbers_are_written},
        {"commas and white space separate words", words_are_separated},
        {"a data plane's URL is taken, without slashes at its end", good_urls},
        {"what is no data plane's URL is refused, and not shown", bad_urls},
        {"the nearest name of a key, and none when nothing is near", nearest_names},
        {"a parameter of queue_url that is not known is found", unknown_parameters},
        {"every key's default is in its range", defaults_are_in_range},
        CU_TEST_INFO_NULL,
    };
    suite_add("config values", NULL, NULL, tests);
}
