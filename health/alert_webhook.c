/* Posting an alert: see alert_webhook.h. */
#include "health/alert_webhook.h"

#include <curl/curl.h>

#include "base/clock.h"
#include "base/http_request.h"
#include "config/config.h"

#define WHOLE_MS 10000L
#define CONNECT_MS 5000L
#define LOOK_MS 100 /* whether it is to be given up */

/* Runs the request until it ends, or is to be given up. */
static CURLcode perform(CURLM *multi, CURL *easy, const atomic_bool *hurry)
{
    int running = 0, left = 0;
    if (curl_multi_add_handle(multi, easy) != CURLM_OK)
        return CURLE_OUT_OF_MEMORY;
    CURLcode result = CURLE_OPERATION_TIMEDOUT;
    for (moment late = clock_now() + 2 * WHOLE_MS; clock_now() < late;) {
        if (hurry != NULL && atomic_load(hurry)) {
            result = CURLE_ABORTED_BY_CALLBACK;
            break;
        }
        if (curl_multi_perform(multi, &running) != CURLM_OK)
            break;
        const CURLMsg *message = curl_multi_info_read(multi, &left);
        if (message != NULL && message->msg == CURLMSG_DONE) {
            result = message->data.result;
            break;
        }
        curl_multi_poll(multi, NULL, 0, LOOK_MS, NULL);
    }
    curl_multi_remove_handle(multi, easy);
    return result;
}

static bool judge(struct http_request *request, CURLcode result, const char *host, struct error *why)
{
    long status = 0;
    result = http_request_end(request, result);
    if (result == CURLE_ABORTED_BY_CALLBACK)
        error_set(why, "%.200s: given up, for the program ends: it is told again", host);
    else if (result != CURLE_OK)
        error_set(why, "%.200s: %.250s", host, request->error);
    else if (curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK || status / 100 != 2)
        error_set(why, "%.200s answered %ld%s", host, status,
                  status / 100 == 3 ? ", a redirect, which is not followed: give the address to which it leads" : "");
    return result == CURLE_OK && status / 100 == 2;
}

static bool set_body(CURL *easy, const struct buffer *json)
{
    CURLcode failed = curl_easy_setopt(easy, CURLOPT_POSTFIELDS, json->data);
    failed |= curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)json->length);
    return failed == CURLE_OK;
}

bool alert_webhook_post(const char *url, const char *certificates, const struct alert *alert, const atomic_bool *hurry,
                        struct error *why)
{
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    const struct http_options options = {.url = url,
                                         .agent = "closecrm.fcgi/" CLOSECRM_VERSION,
                                         .certificates = certificates,
                                         .headers = headers,
                                         .connect_ms = CONNECT_MS,
                                         .whole_ms = WHOLE_MS};
    char host[URL_HOST];
    struct http_request request = {.easy = NULL};
    struct buffer json = {0};
    bool good = false;
    CURLM *multi = curl_multi_init();
    error_set(why, "out of memory");
    if (multi != NULL && alert_json(alert, alert->brief, &json) && http_request_open(&request, &options)) {
        http_request_begin(&request);
        if (set_body(request.easy, &json))
            good = judge(&request, perform(multi, request.easy, hurry), config_url_host(url, host), why);
        http_request_close(&request);
    }
    curl_multi_cleanup(multi);
    buffer_free(&json);
    if (good)
        error_set(why, "%s", "");
    return good;
}
