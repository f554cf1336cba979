/* Looking at the status page: see looked.h. */
#include "tests/support/looked.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define AUTHORIZATION "Authorization: Basic YWRtaW46Y29ycmVjdCBob3JzZQ==" /* admin:correct horse */

int looked_get(const struct site *site, const char *path, struct buffer *out)
{
    char url[256];
    struct client_answer answer;
    snprintf(url, sizeof url, "%s%s", site->url, path);
    buffer_clear(out);
    struct client_request request = {.method = "GET", .url = url, .headers = {AUTHORIZATION}, .whole = out};
    client_send(site->client, &request, &answer);
    buffer_append(out, "", 1);
    return answer.status;
}

int looked_post(const struct site *site, const char *form)
{
    char url[256];
    struct client_answer answer;
    snprintf(url, sizeof url, "%s/status", site->url);
    struct client_request request = {.url = url, .headers = {AUTHORIZATION}, .body = slice_of(form)};
    client_send(site->client, &request, &answer);
    return answer.status;
}

static int64_t number_of(const char *json, const char *name)
{
    struct slice sources = slice_member(slice_of(json), "sources"), source = {NULL, 0};
    while (slice_element(sources, &source)) {
        if (slice_equal(slice_member(source, "name"), slice_of("\"alpha\""))) {
            struct slice value = slice_member(source, name);
            return value.at == NULL ? -1 : strtoll(value.at, NULL, 10);
        }
    }
    return -1;
}

int64_t looked_number(const struct site *site, const char *name)
{
    struct buffer out = {0};
    int64_t number = looked_get(site, "/status?format=json", &out) == 200 ? number_of(out.data, name) : -1;
    buffer_free(&out);
    return number;
}

bool looked_wait(const struct site *site, const char *name, int64_t value, int64_t ms)
{
    for (moment deadline = clock_now() + ms; looked_number(site, name) != value;) {
        if (clock_now() > deadline)
            return false;
        poll(NULL, 0, 50);
    }
    return true;
}

int64_t looked_metric(const struct site *site, const char *sample)
{
    static const char instance[] = ",instance=\"";
    struct buffer out = {0};
    char line[256];
    int64_t value = -1;
    size_t length = strlen(sample);
    bool labelled = length > 0 && sample[length - 1] == '}';
    snprintf(line, sizeof line, "\n%.*s%s", (int)(length - labelled), sample, labelled ? "" : " ");
    const char *at = looked_get(site, "/metrics", &out) == 200 ? strstr(out.data, line) : NULL;
    if (at != NULL && labelled) {
        at += strlen(line);
        bool has_machine = strncmp(at, instance, sizeof instance - 1) == 0;
        at += has_machine ? sizeof instance - 1 + strcspn(at + sizeof instance - 1, "\"") + 1 : 0;
        value = strncmp(at, "} ", 2) == 0 ? strtoll(at + 2, NULL, 10) : -1;
    } else if (at != NULL) {
        value = strtoll(at + strlen(line), NULL, 10);
    }
    buffer_free(&out);
    return value;
}

bool looked_token(const struct site *site, char token[static LOOKED_TOKEN])
{
    static const char mark[] = "data-token=\"";
    struct buffer out = {0};
    const char *at = looked_get(site, "/status", &out) == 200 ? strstr(out.data, mark) : NULL;
    if (at != NULL)
        snprintf(token, LOOKED_TOKEN, "%.64s", at + sizeof mark - 1);
    buffer_free(&out);
    return at != NULL;
}
