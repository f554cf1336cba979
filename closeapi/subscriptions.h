/* Subscriptions: the event types that they are for, the subscriptions that Close has, and what those of a source
 * cover. */
#ifndef CLOSEAPI_SUBSCRIPTIONS_H
#define CLOSEAPI_SUBSCRIPTIONS_H

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "closeapi/client.h"
#include "config/keyring.h"

/* ---- subscriptions.c: The event types that Close documents, from event-types.tsv: what `*` stands for when a
 * subscription is created. Events of other types are accepted, too. ---- */

struct event_type {
    const char *object_type;
    const char *action;
};

/* All zero is empty; free with event_choice_free. */
struct event_choice {
    struct event_type *at;
    size_t count;
    char *text; /* holds the names that are not in the table */
};

/* The table. Sets *count. */
const struct event_type *event_types_all(size_t *count);

/* Expands "lead.created,opportunity.*" (commas or blanks between; NULL: all that are documented) to event types, each
 * once. A name without `*` need not be in the table: Close adds event types without notice. Returns false with the
 * reason; then there is nothing to free. */
bool event_types_choose(const char *patterns, struct event_choice *choice, struct error *why);

/* Adds a type, unless it is there; its texts are borrowed. Returns false when memory is out. */
bool event_choice_add(struct event_choice *choice, const struct event_type *type);

void event_choice_free(struct event_choice *choice);

/* ---- subscriptions.c: Close's webhook subscriptions: listed, created, changed, removed. ---- */

#define SUBSCRIPTIONS_MOST 40 /* of an organization */

/* Texts live as long as the struct subscriptions that this one is in; those that Close did not send are "". */
struct subscription {
    char id[KEYRING_ID];
    const char *url;
    const char *status; /* active, paused */
    const char *health;
    const char *pause_reason;
    const char *latest_error;
    const char *signature_key; /* perhaps Close only shows it when it creates the subscription */
    struct json_object *json;  /* all of Close's answer about it, borrowed */
};

/* All zero is empty; free with subscriptions_free. */
struct subscriptions {
    struct subscription *at;
    size_t count;
    struct json_document *documents;
    size_t documents_count;
    int64_t date_ms; /* Close's clock */
};

/* Lists all of the organization. A failure is never an empty list. On anything but DONE there is nothing to free. */
enum close_result subscriptions_list(struct close_client *client, struct subscriptions *list, struct error *why);

/* Reads one, as a list of one. */
enum close_result subscriptions_get(struct close_client *client, const char *id, struct subscriptions *list,
                                    struct error *why);

/* Creates one from the body of a request (subscription_write), as a list of one. */
enum close_result subscriptions_create(struct close_client *client, const char *body, struct subscriptions *list,
                                       struct error *why);

/* Removes one. DONE also when it does not exist any more. */
enum close_result subscriptions_delete(struct close_client *client, const char *id, struct error *why);

/* Sets its status: "active" or "paused". */
enum close_result subscriptions_set_status(struct close_client *client, const char *id, const char *status,
                                           struct error *why);

/* Sets its events, from a JSON array of them (subscription_write_events); its key stays. */
enum close_result subscriptions_set_events(struct close_client *client, const char *id, const char *events,
                                           struct error *why);

const struct subscription *subscriptions_find(const struct subscriptions *list, const char *id);

bool subscription_is_paused(const struct subscription *subscription);

/* Whether two URLs are the same address: scheme, host, port and path, not the query. */
bool subscription_same_url(const char *a, const char *b);

void subscriptions_free(struct subscriptions *list);

/* Appends the body of the request that creates a subscription. filter: an extra_filter for every event, as JSON, or
 * NULL. */
void subscription_write(struct buffer *out, const char *url, const struct event_choice *choice, const char *filter);

/* Appends the events of a subscription and more as a JSON array, with a NUL. What all of its events have as
 * extra_filter the new ones get, too. */
void subscription_write_events(struct buffer *out, const struct subscription *subscription,
                               const struct event_choice *more);

/* The same with the URL and the events of another subscription. */
void subscription_write_like(struct buffer *out, const struct subscription *other);

/* ---- coverage.c: the subscriptions that belong to a source, and which events they cover, by type and
 * extra_filter ---- */

/* The subscriptions of a source; borrowed from a list. All zero: none, which cover nothing. */
struct coverage {
    const struct subscription *at[SUBSCRIPTIONS_MOST];
    size_t count;
};

/* Finds the source's subscriptions: those whose key is held here; else those with the source's signature key, where
 * Close shows it; else those whose URL ends with the source's name; else the only one there is, for the only source.
 * sources: how many are configured. Returns false with the reason when none is found. */
bool coverage_find(struct coverage *coverage, const struct subscriptions *list, const struct source *source,
                   size_t sources, const struct keyring *held, struct error *why);

/* A subscription that delivers to this source, and whose signature key is not held here: one of the coverage, or one of
 * the list with the URL of one of those. NULL: there is none, or it cannot be told (a signature key in the
 * configuration, a write key in the URL). */
const struct subscription *coverage_keyless(const struct coverage *coverage, const struct subscriptions *list,
                                            const struct source *source, const struct keyring *held);

/* Writes what is wrong with it, and what to do. */
void coverage_keyless_words(const struct subscription *subscription, const struct source *source, struct error *words);

/* Whether an extra_filter lets an event pass. One that has a kind of filter in it which is not known here
 * lets all events pass. */
bool filter_passes(struct json_object *filter, struct json_object *value);

/* Whether a type, "lead.updated", is among the events of the subscriptions, with an extra_filter or without. */
bool coverage_has_type(const struct coverage *coverage, const char *name);

/* Adds the types of all covered events. Returns false when memory is out. */
bool coverage_add_types(const struct coverage *coverage, struct event_choice *types);

/* A list of event types, a blank between. Adds a name, unless it is there; a list that is full stays as it is. */
void coverage_list_add(char *list, size_t size, const char *name);

/* Takes those out of it that the subscriptions have. */
void coverage_list_reduce(const struct coverage *coverage, char *list);

/* Appends the names of all covered event types ("lead.updated"), sorted, a blank between; behind those with an
 * extra_filter stands `*`. */
void coverage_describe(const struct coverage *coverage, struct buffer *out);

#endif
