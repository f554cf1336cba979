/* Subscriptions as Close has them, and the event types that they are for: see subscriptions.h. */
#include "closeapi/subscriptions.h"

#include <ctype.h>
#include <curl/curl.h>
#include <fnmatch.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- event types ---- */

/* made by make from event-types.tsv */
static const struct event_type documented[] = {
#include "build/closeapi/event-types.inc"
};

#define DOCUMENTED (sizeof documented / sizeof *documented)

const struct event_type *event_types_all(size_t *count)
{
    *count = DOCUMENTED;
    return documented;
}

static bool choice_has(const struct event_choice *choice, const struct event_type *type)
{
    for (size_t i = 0; i < choice->count; i++) {
        if (strcmp(choice->at[i].object_type, type->object_type) == 0 &&
            strcmp(choice->at[i].action, type->action) == 0)
            return true;
    }
    return false;
}

bool event_choice_add(struct event_choice *choice, const struct event_type *type)
{
    if (choice_has(choice, type))
        return true;
    struct event_type *more = realloc(choice->at, (choice->count + 1) * sizeof *more);
    if (more == NULL)
        return false;
    choice->at = more;
    more[choice->count++] = *type;
    return true;
}

/* Adds all documented types that the pattern matches. Returns how many it matched; -1: no memory. */
static int choice_add_matching(struct event_choice *choice, const char *pattern)
{
    int matched = 0;
    for (size_t i = 0; i < DOCUMENTED; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s.%s", documented[i].object_type, documented[i].action);
        if (fnmatch(pattern, name, 0) != 0)
            continue;
        if (!event_choice_add(choice, &documented[i]))
            return -1;
        matched++;
    }
    return matched;
}

static bool is_type_pattern(const char *word)
{
    size_t length = strlen(word);
    return strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.*") == length && length < 120;
}

/* word is a part of choice->text, and may be split there. */
static bool choice_take_word(struct event_choice *choice, char *word, struct error *why)
{
    char *dot = strrchr(word, '.');
    if (!is_type_pattern(word) || (dot == NULL && strcmp(word, "*") != 0) || dot == word ||
        (dot != NULL && dot[1] == '\0')) {
        error_set(why, "events are named like lead.created, opportunity.* or *.deleted, not \"%.60s\"", word);
        return false;
    }
    int matched = choice_add_matching(choice, word);
    bool pattern = strchr(word, '*') != NULL;
    if (matched == 0 && pattern) {
        error_set(why, "no documented event matches \"%.60s\": name a new one in full, like lead.created", word);
        return false;
    }
    bool added = matched >= 0;
    if (matched == 0 && dot != NULL) {
        *dot = '\0';
        added = event_choice_add(choice, &(struct event_type){word, dot + 1});
    }
    if (!added)
        error_set(why, "out of memory");
    return added;
}

bool event_types_choose(const char *patterns, struct event_choice *choice, struct error *why)
{
    static const char between[] = ", \t\n";
    *choice = (struct event_choice){.text = strdup(patterns == NULL ? "*" : patterns)};
    bool good = choice->text != NULL;
    if (!good)
        error_set(why, "out of memory");
    for (char *rest = choice->text, *word; good && (word = strtok_r(NULL, between, &rest)) != NULL;)
        good = choice_take_word(choice, word, why);
    if (good && choice->count == 0) {
        error_set(why, "no event is named");
        good = false;
    }
    if (!good)
        event_choice_free(choice);
    return good;
}

void event_choice_free(struct event_choice *choice)
{
    free(choice->at);
    free(choice->text);
    *choice = (struct event_choice){0};
}

/* ---- subscriptions ---- */

#define PAGE 100

static const char *member_text(struct json_object *json, const char *name)
{
    struct json_object *value = json_object_object_get(json, name);
    return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
}

static bool subscriptions_add(struct subscriptions *list, struct json_object *json, struct error *why)
{
    const char *id = json_object_is_type(json, json_type_object) ? member_text(json, "id") : "";
    if (!keyring_id_is_good(id)) {
        error_set(why, "Close answered with a subscription that has no usable id: is close_api_url right?");
        return false;
    }
    if (subscriptions_find(list, id) != NULL)
        return true;
    struct subscription *more = realloc(list->at, (list->count + 1) * sizeof *more);
    if (more == NULL) {
        error_set(why, "out of memory");
        return false;
    }
    list->at = more;
    struct subscription *one = &more[list->count++];
    *one = (struct subscription){
        .url = member_text(json, "url"),
        .status = member_text(json, "status"),
        .health = member_text(json, "health_status"),
        .pause_reason = member_text(json, "pause_reason"),
        .latest_error = member_text(json, "latest_error"),
        .signature_key = member_text(json, "signature_key"),
        .json = json,
    };
    snprintf(one->id, sizeof one->id, "%s", id);
    return true;
}

/* Takes over the ownership of the document. */
static bool subscriptions_keep_document(struct subscriptions *list, struct json_document *document, struct error *why)
{
    struct json_document *more = realloc(list->documents, (list->documents_count + 1) * sizeof *more);
    if (more == NULL) {
        json_document_free(document);
        error_set(why, "out of memory");
        return false;
    }
    list->documents = more;
    more[list->documents_count++] = *document;
    return true;
}

void subscriptions_free(struct subscriptions *list)
{
    free(list->at);
    for (size_t i = 0; i < list->documents_count; i++)
        json_document_free(&list->documents[i]);
    free(list->documents);
    *list = (struct subscriptions){0};
}

/* Adds the page's subscriptions. *more: another page follows. */
static bool subscriptions_add_page(struct subscriptions *list, struct json_object *root, bool *more, struct error *why)
{
    struct json_object *data = json_object_object_get(root, "data");
    size_t before = list->count;
    if (!json_object_is_type(data, json_type_array)) {
        error_set(why, "Close answered without a list of subscriptions: is close_api_url right?");
        return false;
    }
    for (size_t i = 0; i < json_object_array_length(data); i++) {
        if (!subscriptions_add(list, json_object_array_get_idx(data, i), why))
            return false;
    }
    *more = json_object_get_boolean(json_object_object_get(root, "has_more"));
    if (*more && list->count == before) {
        error_set(why, "Close's list of subscriptions does not end: try again later");
        return false;
    }
    return true;
}

enum close_result subscriptions_list(struct close_client *client, struct subscriptions *list, struct error *why)
{
    struct close_answer answer = {0};
    enum close_result result = CLOSE_DONE;
    *list = (struct subscriptions){0};
    for (bool more = true; more && result == CLOSE_DONE;) {
        char path[64];
        struct json_document document;
        snprintf(path, sizeof path, "/webhook/?_limit=%d&_skip=%zu", PAGE, list->count);
        result = close_call_json(client, "GET", path, NULL, &answer, &document, why);
        if (result == CLOSE_DONE && (!subscriptions_keep_document(list, &document, why) ||
                                     !subscriptions_add_page(list, document.root, &more, why)))
            result = CLOSE_REFUSED;
        list->date_ms = answer.date_ms;
    }
    close_answer_free(&answer);
    if (result != CLOSE_DONE)
        subscriptions_free(list);
    return result;
}

/* Sends a request whose answer is one subscription. */
static enum close_result subscriptions_call_one(struct close_client *client, const char *method, const char *path,
                                                const char *body, struct subscriptions *list, struct error *why)
{
    struct close_answer answer = {0};
    struct json_document document;
    *list = (struct subscriptions){0};
    enum close_result result = close_call_json(client, method, path, body, &answer, &document, why);
    if (result == CLOSE_DONE &&
        (!subscriptions_keep_document(list, &document, why) || !subscriptions_add(list, document.root, why))) {
        subscriptions_free(list);
        result = strcmp(method, "POST") == 0 ? CLOSE_INDETERMINATE : CLOSE_REFUSED;
    }
    list->date_ms = answer.date_ms;
    if (answer.body.data != NULL)
        explicit_bzero(answer.body.data, answer.body.capacity); /* it may hold a signature key */
    close_answer_free(&answer);
    return result;
}

static bool subscription_path(char out[static 128], const char *id, struct error *why)
{
    if (keyring_id_is_good(id)) {
        snprintf(out, 128, "/webhook/%s/", id);
        return true;
    }
    error_set(why, "\"%.60s\" cannot be the id of a subscription: `closecrm.fcgi subscriptions` lists them", id);
    return false;
}

enum close_result subscriptions_get(struct close_client *client, const char *id, struct subscriptions *list,
                                    struct error *why)
{
    char path[128];
    *list = (struct subscriptions){0};
    return subscription_path(path, id, why) ? subscriptions_call_one(client, "GET", path, NULL, list, why)
                                            : CLOSE_REFUSED;
}

enum close_result subscriptions_create(struct close_client *client, const char *body, struct subscriptions *list,
                                       struct error *why)
{
    return subscriptions_call_one(client, "POST", "/webhook/", body, list, why);
}

enum close_result subscriptions_delete(struct close_client *client, const char *id, struct error *why)
{
    char path[128];
    struct close_answer answer = {0};
    if (!subscription_path(path, id, why))
        return CLOSE_REFUSED;
    enum close_result result = close_call(client, "DELETE", path, NULL, &answer, why);
    close_answer_free(&answer);
    return result == CLOSE_MISSING ? CLOSE_DONE : result;
}

enum close_result subscriptions_set_status(struct close_client *client, const char *id, const char *status,
                                           struct error *why)
{
    char path[128], body[64];
    struct subscriptions one;
    if (!subscription_path(path, id, why))
        return CLOSE_REFUSED;
    snprintf(body, sizeof body, "{\"status\": \"%s\"}", status);
    enum close_result result = subscriptions_call_one(client, "PUT", path, body, &one, why);
    if (result != CLOSE_DONE)
        return result;
    if (one.at[0].status[0] != '\0' && strcmp(one.at[0].status, status) != 0) {
        error_set(why, "Close left the subscription %s %.40s: try again, or set it in Close", id, one.at[0].status);
        result = CLOSE_REFUSED;
    }
    subscriptions_free(&one);
    return result;
}

const struct subscription *subscriptions_find(const struct subscriptions *list, const char *id)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->at[i].id, id) == 0)
            return &list->at[i];
    }
    return NULL;
}

bool subscription_is_paused(const struct subscription *subscription)
{
    return subscription->status[0] != '\0' && strcmp(subscription->status, "active") != 0;
}

enum close_result subscriptions_set_events(struct close_client *client, const char *id, const char *events,
                                           struct error *why)
{
    char path[128];
    struct subscriptions one;
    struct buffer body = {0};
    if (!subscription_path(path, id, why))
        return CLOSE_REFUSED;
    buffer_text(&body, "{\"events\": ");
    buffer_text(&body, events);
    buffer_append(&body, "}", sizeof "}");
    enum close_result result = CLOSE_FAILED;
    if (body.failed)
        error_set(why, "out of memory");
    else
        result = subscriptions_call_one(client, "PUT", path, body.data, &one, why);
    buffer_free(&body);
    if (result == CLOSE_DONE)
        subscriptions_free(&one);
    return result;
}

/* The URL without query, fragment and trailing slashes, with its port. NULL: the text is no URL. The caller frees with
 * curl_free. */
static char *url_address(const char *text)
{
    CURLU *url = curl_url();
    char *out = NULL;
    if (url != NULL && curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK &&
        curl_url_set(url, CURLUPART_QUERY, NULL, 0) == CURLUE_OK &&
        curl_url_set(url, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK)
        curl_url_get(url, CURLUPART_URL, &out, CURLU_DEFAULT_PORT);
    curl_url_cleanup(url);
    char *host = out == NULL ? NULL : strstr(out, "://");
    for (char *c = host; c != NULL && *c != '\0' && (c < host + 3 || *c != '/'); c++)
        *c = (char)tolower((unsigned char)*c);
    for (size_t length = out == NULL ? 0 : strlen(out); length > 0 && out[length - 1] == '/'; length--)
        out[length - 1] = '\0';
    return out;
}

bool subscription_same_url(const char *a, const char *b)
{
    char *first = url_address(a), *second = url_address(b);
    bool same = first != NULL && second != NULL && strcmp(first, second) == 0;
    curl_free(first);
    curl_free(second);
    return same;
}

/* ---- the body of the request that creates one ---- */

static void write_json_string(struct buffer *out, const char *text)
{
    struct json_object *string = json_object_new_string(text);
    if (string == NULL)
        out->failed = true;
    else
        buffer_text(out,
                    json_object_to_json_string_ext(string, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(string);
}

static void write_subscription_head(struct buffer *out, const char *url)
{
    buffer_text(out, "{\"url\": ");
    write_json_string(out, url);
    buffer_text(out, ", \"events\": ");
}

static void write_subscription_tail(struct buffer *out)
{
    buffer_text(out, ", \"verify_ssl\": true}");
    buffer_append(out, "", 1);
}

/* Appends these event types, each with the extra_filter (NULL: none), as elements of a list. first: of the list. */
static void write_event_types(struct buffer *out, const struct event_choice *choice, const char *filter, bool first)
{
    for (size_t i = 0; i < choice->count; i++) {
        buffer_text(out, first && i == 0 ? "{\"object_type\": " : ", {\"object_type\": ");
        write_json_string(out, choice->at[i].object_type);
        buffer_text(out, ", \"action\": ");
        write_json_string(out, choice->at[i].action);
        if (filter != NULL) {
            buffer_text(out, ", \"extra_filter\": ");
            buffer_text(out, filter);
        }
        buffer_text(out, "}");
    }
}

void subscription_write(struct buffer *out, const char *url, const struct event_choice *choice, const char *filter)
{
    write_subscription_head(out, url);
    buffer_text(out, "[");
    write_event_types(out, choice, filter, true);
    buffer_text(out, "]");
    write_subscription_tail(out);
}

void subscription_write_like(struct buffer *out, const struct subscription *other)
{
    write_subscription_head(out, other->url);
    struct json_object *events = json_object_object_get(other->json, "events");
    buffer_text(out, json_object_to_json_string_ext(events, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    write_subscription_tail(out);
}

/* The extra_filter that all events have, as JSON; NULL: there is none, or they differ. */
static const char *common_filter(struct json_object *events)
{
    const char *common = NULL;
    size_t count = json_object_is_type(events, json_type_array) ? json_object_array_length(events) : 0;
    for (size_t i = 0; i < count; i++) {
        struct json_object *filter = json_object_object_get(json_object_array_get_idx(events, i), "extra_filter");
        const char *text = filter == NULL ? NULL : json_object_to_json_string_ext(filter, JSON_C_TO_STRING_PLAIN);
        if (text == NULL || (common != NULL && strcmp(common, text) != 0))
            return NULL;
        common = text;
    }
    return common;
}

void subscription_write_events(struct buffer *out, const struct subscription *subscription,
                               const struct event_choice *more)
{
    struct json_object *events = json_object_object_get(subscription->json, "events");
    size_t count = json_object_is_type(events, json_type_array) ? json_object_array_length(events) : 0;
    const char *filter = common_filter(events);
    buffer_text(out, "[");
    for (size_t i = 0; i < count; i++) {
        buffer_text(out, i > 0 ? ", " : "");
        buffer_text(out, json_object_to_json_string_ext(json_object_array_get_idx(events, i),
                                                        JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    }
    write_event_types(out, more, filter, count == 0);
    buffer_append(out, "]", sizeof "]");
}
