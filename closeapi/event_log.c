/* Reading the Event Log: see event_log.h. */
#include "closeapi/event_log.h"

#include <curl/curl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/times.h"

#define MALFORMED 3 /* so often an answer that is none of the log's is asked for again */

/* Only cursor_next is needed as a value; the events are cut out of the text. */
static bool is_wanted(unsigned depth, const char *parent, const char *name)
{
    (void)parent;
    return depth == 1 && strcmp(name, "cursor_next") == 0;
}

static void add_parameter(struct buffer *path, const char *name, const char *value)
{
    if (value == NULL)
        return;
    char *escaped = curl_easy_escape(NULL, value, 0);
    buffer_text(path, "&");
    buffer_text(path, name);
    buffer_text(path, "=");
    if (escaped == NULL)
        path->failed = true;
    else
        buffer_text(path, escaped);
    curl_free(escaped);
}

/* Close's dates are UTC without saying so. */
static void add_date(struct buffer *path, const char *name, int64_t us)
{
    char date[DATE_PRINTED];
    date_print(us, DATE_MICROSECONDS, date);
    date[strcspn(date, "+")] = '\0';
    add_parameter(path, name, date);
}

/* The first page asks for the dates; those that follow for the cursor, with the other filters again. */
static void write_path(struct buffer *path, const struct log_filter *filter, int64_t from_us, int64_t to_us,
                       const char *cursor)
{
    char limit[32];
    buffer_clear(path);
    snprintf(limit, sizeof limit, "/event/?_limit=%d", LOG_PAGE);
    buffer_text(path, limit);
    add_parameter(path, "object_type", filter->object_type);
    add_parameter(path, "action", filter->action);
    add_parameter(path, "lead_id", filter->lead_id);
    if (cursor != NULL) {
        add_parameter(path, "_cursor", cursor);
    } else {
        add_date(path, "date_updated__gte", from_us);
        add_date(path, "date_updated__lt", to_us);
    }
    buffer_append(path, "", 1);
}

static int64_t date_of(struct json_slice event)
{
    struct json_slice date = json_slice_member(event, "date_updated");
    if (date.length < 2 || date.at[0] != '"')
        return DATE_UNREADABLE;
    return date_read(date.at + 1, date.length - 2);
}

static struct log_event read_event(struct json_slice bytes)
{
    return (struct log_event){
        .bytes = bytes,
        .updated_us = date_of(bytes),
        .hidden = json_slice_is_empty(json_slice_member(bytes, "data")) &&
                  json_slice_is_empty(json_slice_member(bytes, "previous_data")),
    };
}

/* Hands out the page's events. *below: one was older than the window, so all that follow are. */
static bool take_events(const struct log_reader *reader, struct json_slice data, int64_t from_us, int64_t to_us,
                        bool *below, struct error *why)
{
    struct json_slice element = {NULL, 0};
    while (json_slice_element(data, &element)) {
        struct log_event event = read_event(element);
        if (event.updated_us != DATE_UNREADABLE && event.updated_us < from_us) {
            *below = true;
            continue;
        }
        if (event.updated_us != DATE_UNREADABLE && event.updated_us >= to_us)
            continue;
        if (!reader->take(reader->context, &event, why))
            return false;
    }
    return true;
}

/* Whether the text is an answer of the log. *cursor: a copy of what leads on, NULL at the end. */
static bool understand(const struct close_answer *answer, struct json_slice *data, char **cursor, struct error *why)
{
    struct json_document document;
    bool out_of_memory;
    struct error reason = {0};
    *cursor = NULL;
    if (!json_read(answer->body.data, answer->body.length, is_wanted, &document, &out_of_memory, &reason)) {
        error_set(why, "Close's Event Log answered with what is no JSON (%.200s): try again later", reason.text);
        return false;
    }
    struct json_slice root = json_slice_whole(answer->body.data, answer->body.length);
    struct json_slice next = json_slice_member(root, "cursor_next");
    struct json_object *value = json_object_object_get(document.root, "cursor_next");
    *data = json_slice_member(root, "data");
    bool good = data->length > 0 && data->at[0] == '[' && next.length > 0 &&
                (value == NULL || json_object_is_type(value, json_type_string));
    if (good && value != NULL && json_object_get_string_len(value) > 0)
        good = (*cursor = strdup(json_object_get_string(value))) != NULL;
    if (!good)
        error_set(why, "Close's Event Log answered without data and cursor_next: is close_api_url right?");
    json_document_free(&document);
    return good;
}

/* Whether Close refuses the cursor, and not the request as such. */
static bool is_expired(const struct close_answer *answer, const char *cursor)
{
    return cursor != NULL &&
           (answer->status == 400 || answer->status == 404 || answer->status == 410 || answer->status == 422);
}

/* Reads and understands one page; one that is none is asked for again before it is believed. */
static enum log_result read_page(const struct log_reader *reader, const char *path, const char *cursor,
                                 struct close_answer *answer, struct json_slice *data, char **next, struct error *why)
{
    for (unsigned tries = 0; tries < MALFORMED; tries++) {
        enum close_result result = close_call(reader->client, "GET", path, NULL, answer, why);
        if (result == CLOSE_STOPPED)
            return LOG_STOPPED;
        if (result != CLOSE_DONE)
            return is_expired(answer, cursor) ? LOG_EXPIRED : LOG_FAILED;
        if (understand(answer, data, next, why))
            return LOG_DONE;
    }
    return LOG_FAILED;
}

enum log_result log_read(const struct log_reader *reader, int64_t from_us, int64_t to_us, struct error *why)
{
    struct close_answer answer = {0};
    struct buffer path = {0};
    char *cursor = NULL;
    enum log_result result;
    bool more;
    do {
        struct json_slice data = {NULL, 0};
        char *next = NULL;
        bool below = false;
        write_path(&path, &reader->filter, from_us, to_us, cursor);
        if (path.failed) {
            error_set(why, "out of memory");
            result = LOG_FAILED;
            break;
        }
        result = read_page(reader, path.data, cursor, &answer, &data, &next, why);
        if (result == LOG_DONE && (!take_events(reader, data, from_us, to_us, &below, why) ||
                                   (reader->page != NULL && !reader->page(reader->context, answer.date_ms, why))))
            result = LOG_FAILED;
        if (result == LOG_DONE && next != NULL && cursor != NULL && strcmp(next, cursor) == 0) {
            error_set(why, "Close's Event Log leads in a circle: try again later");
            result = LOG_FAILED;
        }
        free(cursor);
        cursor = next;
        more = result == LOG_DONE && cursor != NULL && !below;
    } while (more);
    free(cursor);
    buffer_free(&path);
    close_answer_free(&answer);
    return result;
}

int64_t log_clock(struct close_client *client, struct error *why)
{
    struct close_answer answer = {0};
    enum close_result result = close_call(client, "GET", "/me/", NULL, &answer, why);
    int64_t date_ms = result == CLOSE_DONE ? answer.date_ms : 0;
    if (result == CLOSE_DONE && date_ms == 0)
        error_set(why, "Close's answer does not say what time it is (Date): does something in between remove it?");
    close_answer_free(&answer);
    return date_ms;
}
