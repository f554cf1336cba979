/* Close's webhook subscriptions: listed, created, changed, removed. */
#ifndef CLOSEAPI_SUBSCRIPTIONS_H
#define CLOSEAPI_SUBSCRIPTIONS_H

#include <json-c/json_object.h>

#include "closeapi/client.h"
#include "closeapi/event_types.h"
#include "config/keyring.h"

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

#endif
