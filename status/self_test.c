/* A test event to the program's own address: through DNS, certificates, web server and signature as Close's come, and
 * then no further. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/http_request.h"
#include "base/text.h"
#include "config/config.h"
#include "config/keyring.h"
#include "status/status_private.h"
#include "webhook/auth.h"
#include "webhook/webhook.h"

#define CONNECT_MS 5000L /* as long as Close waits for a connection */
#define WHOLE_MS 15000L  /* as long as Close waits for an answer */
#define ANSWER_MOST 4096 /* bytes */

struct self_test {
    const struct config *config;
    const struct source *source;
    char url[1024];
    char shown_url[700]; /* without a key */
    char timestamp[64], hash[96];
    bool is_signed;
    struct buffer answer;
    long status;
    double seconds;
};

static size_t take_answer(char *data, size_t size, size_t count, void *context)
{
    struct buffer *answer = context;
    size_t length = size * count, room = ANSWER_MOST - answer->length;
    buffer_append(answer, data, length < room ? length : room);
    return answer->failed ? 0 : length;
}

static void sign_with(struct self_test *test, const struct signature_key *key)
{
    const char *stamp = test->timestamp + strlen("close-sig-timestamp: ");
    char digits[2 * SIGNATURE_BYTES + 1];
    unsigned char hash[SIGNATURE_BYTES];
    signature_sign(key, stamp, WEBHOOK_TEST, strlen(WEBHOOK_TEST), hash);
    snprintf(test->hash, sizeof test->hash, "close-sig-hash: %s", text_hex_encode(hash, sizeof hash, digits));
    test->is_signed = true;
}

/* With a key that the program accepts for the source; one without any takes its write key. Returns false with the
 * reason. */
static bool sign(struct self_test *test, struct error *why)
{
    struct source_keys keys;
    bool good = source_keys_read(&keys, test->config, test->source);
    snprintf(test->timestamp, sizeof test->timestamp, "close-sig-timestamp: %lld", (long long)(clock_unix_ms() / 1000));
    error_set(why, "out of memory");
    if (good && keys.count > 0)
        sign_with(test, &keys.at[0]);
    source_keys_free(&keys);
    return good;
}

/* Keys have only characters that may stand in a query. */
static void write_url(struct self_test *test, const char *base)
{
    const struct source *source = test->source;
    char path[SOURCE_PATH];
    snprintf(test->shown_url, sizeof test->shown_url, "%s%s", base, config_source_path(source, path));
    if (test->is_signed || source->write_key.count == 0)
        snprintf(test->url, sizeof test->url, "%s", test->shown_url);
    else
        snprintf(test->url, sizeof test->url, "%.600s?writeKey=%.400s", test->shown_url, source->write_key.at[0]);
}

static bool send_test(struct self_test *test, struct error *why)
{
    struct http_request request = {0};
    const char *const headers[] = {"Content-Type: application/json", test->is_signed ? test->timestamp : NULL,
                                   test->hash, NULL};
    const struct http_options options = {
        .url = test->url,
        .agent = "closecrm.fcgi/" CLOSECRM_VERSION " test",
        .certificates = config_certificates(test->config),
        .headers = headers,
        .connect_ms = CONNECT_MS,
        .whole_ms = WHOLE_MS,
        .take_body = take_answer,
        .context = &test->answer,
    };
    error_set(why, "out of memory");
    if (!http_request_open(&request, &options))
        return false;
    curl_easy_setopt(request.easy, CURLOPT_URL, test->url);
    curl_easy_setopt(request.easy, CURLOPT_POSTFIELDS, WEBHOOK_TEST);
    http_request_begin(&request);
    CURLcode code = http_request_end(&request, curl_easy_perform(request.easy));
    curl_easy_getinfo(request.easy, CURLINFO_RESPONSE_CODE, &test->status);
    curl_easy_getinfo(request.easy, CURLINFO_TOTAL_TIME, &test->seconds);
    if (code != CURLE_OK)
        error_set(why, "%s", request.error);
    http_request_close(&request);
    return code == CURLE_OK;
}

static bool judge(const struct self_test *test, char words[static ACTION_WORDS])
{
    static const char wanted[] = WEBHOOK_PROBE_ANSWER;
    const struct buffer *answer = &test->answer;
    bool ours = answer->length >= sizeof wanted - 1 && memcmp(answer->data, wanted, sizeof wanted - 1) == 0;
    if (test->status == 200 && ours) {
        snprintf(
            words, ACTION_WORDS,
            "The test got through: %s took it after %.0f ms, %s, and kept nothing of it. So an event of Close gets "
            "as far as the queue.",
            test->shown_url, test->seconds * 1000,
            test->is_signed ? "signed as Close signs" : "with the write key in its URL");
        return true;
    }
    char excerpt[160] = "";
    for (size_t i = 0; i < answer->length && i < sizeof excerpt - 1; i++)
        excerpt[i] = answer->data[i] < 0x20 || answer->data[i] > 0x7e ? ' ' : answer->data[i];
    snprintf(words, ACTION_WORDS,
             test->status == 200 ? "The test did not reach this program: %s answered %ld, but something else: %s"
                                 : "The test did not get through: %s answered %ld: %s",
             test->shown_url, test->status, excerpt[0] == '\0' ? "nothing" : excerpt);
    return false;
}

bool self_test(const struct config *config, const struct source *source, const char *base,
               char words[static ACTION_WORDS])
{
    char line[OWN_COMMAND];
    struct error why = {0};
    struct self_test test = {.config = config, .source = source};
    bool good = sign(&test, &why);
    write_url(&test, base);
    if (good && send_test(&test, &why))
        good = judge(&test, words);
    else {
        good = false;
        snprintf(words, ACTION_WORDS,
                 "The test did not get through: %.600s: %.250s. Some hosts do not let a machine reach its own public "
                 "address: "
                 "then `%s` from another machine tells more.",
                 test.shown_url, why.text,
                 own_command(line, config, source->name, "send-test --no-forward %.250s", test.shown_url));
    }
    explicit_bzero(test.url, sizeof test.url);
    buffer_free(&test.answer);
    return good;
}
