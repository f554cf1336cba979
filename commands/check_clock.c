/* Is this machine's clock right? A data plane's answer says what time it is there. Close's signatures are judged by the
 * clock here, and so is the age of what waits. */
#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/http_request.h"
#include "base/times.h"
#include "commands/check_place.h"

#define TRY_MS 5000L            /* for all of it */
#define WRONG_MS INT64_C(60000) /* a difference beyond this is told */

/* Takes the Date of an answer: at *context, a time_t. */
static size_t take_header(char *line, size_t size, size_t count, void *context)
{
    char date[64];
    size_t length = size * count;
    if (length > 5 && length < sizeof date && strncasecmp(line, "Date:", 5) == 0) {
        snprintf(date, sizeof date, "%.*s", (int)(length - 5), line + 5);
        *(time_t *)context = curl_getdate(date, NULL);
    }
    return length;
}

static size_t take_nothing(char *data, size_t size, size_t count, void *context)
{
    (void)data, (void)context;
    return size * count;
}

static void print_own_time(void)
{
    char now[WHEN_SIZE];
    printf("  clock: it says %s here. If that is wrong, certificates look outdated: set it right\n",
           times_print_utc(clock_unix_ms(), now));
}

/* The time there, in seconds; -1: it did not say. */
static time_t time_at(const char *url, const char *certificates)
{
    time_t date = -1;
    struct http_request request;
    const struct http_options options = {
        .url = url,
        .agent = "closecrm.fcgi/" CLOSECRM_VERSION,
        .certificates = certificates,
        .connect_ms = TRY_MS,
        .whole_ms = TRY_MS,
        .take_body = take_nothing,
    };
    if (!http_request_open(&request, &options))
        return -1;
    curl_easy_setopt(request.easy, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(request.easy, CURLOPT_HEADERDATA, &date);
    /* Where the clock is so wrong that certificates look outdated, there is no Date to compare with. */
    if (curl_easy_perform(request.easy) == CURLE_PEER_FAILED_VERIFICATION)
        print_own_time();
    http_request_close(&request);
    return date;
}

size_t check_clock(const struct config *config)
{
    char url[2048], age[WHEN_SIZE];
    for (size_t i = 0; i < config->sources; i++) {
        const char *data_plane = config->source[i].data_plane_url;
        if (strncmp(data_plane, "http", 4) != 0 ||
            snprintf(url, sizeof url, "%s/health", data_plane) >= (int)sizeof url)
            continue;
        time_t there = time_at(url, config_certificates(config));
        if (there == -1)
            continue;
        int64_t ahead = clock_unix_ms() - (int64_t)there * 1000;
        if (llabs(ahead) < WRONG_MS) {
            printf("  clock: agrees with the data plane's\n");
            return 0;
        }
        printf(
            "  WRONG: this machine's clock is %s %s, compared with the data plane's: signatures are judged by it, and\n"
            "    certificates; set it right (timedatectl set-ntp true), or ask the host\n",
            times_print_age(llabs(ahead), age), ahead > 0 ? "fast" : "slow");
        return 1;
    }
    return 0;
}
