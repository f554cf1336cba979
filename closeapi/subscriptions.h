/* Close's webhook subscriptions: listing, making, changing, and which events they cover. */
#ifndef CLOSEAPI_SUBSCRIPTIONS_H
#define CLOSEAPI_SUBSCRIPTIONS_H

#include <json-c/json_object.h>

#include "closeapi/client.h"
#include "closeapi/event_types.h"
#include "config/keyring.h"

#define SUBSCRIPTIONS_MOST 40 /* of an organization */

/* Texts live as long as the struct subscriptions they stand in; those that Close did not send are "". */
struct subscription {
    char id[KEYRING_ID];
    const char *url;
    const char *status; /* active, paused */
    const char *health;
    const char *pause_reason;
    const char *latest_error;
    const char *signature_key; /* Close may never repeat it */
    struct json_object *json;  /* all of it, borrowed */
};

/* All zero is empty; free with subscriptions_free. */
struct subscriptions {
    struct subscription *at;
    size_t count;
    struct json_document *documents;
    size_t documents_count;
    int64_t date_ms; /* Close's clock */
};

/* Lists all of the organization. A read that failed is never an empty list. On anything but DONE nothing is to be
 * freed. */
enum close_result subscriptions_list(struct close_client *client, struct subscriptions *list, struct error *why);

/* Reads one, as a list of one. */
enum close_result subscriptions_get(struct close_client *client, const char *id, struct subscriptions *list,
                                    struct error *why);

/* Makes one from a body as Close wants it, as a list of one. */
enum close_result subscriptions_create(struct close_client *client, const char *body, struct subscriptions *list,
                                       struct error *why);

/* Removes one; that it is gone already counts as DONE. */
enum close_result subscriptions_delete(struct close_client *client, const char *id, struct error *why);

/* Sets its status: "active" or "paused". */
enum close_result subscriptions_set_status(struct close_client *client, const char *id, const char *status,
                                           struct error *why);

const struct subscription *subscriptions_find(const struct subscriptions *list, const char *id);

bool subscription_is_paused(const struct subscription *subscription);

/* Whether two URLs are the same address: scheme, host, port and path, not the query. */
bool subscription_same_url(const char *a, const char *b);

void subscriptions_free(struct subscriptions *list);

/* Appends the body that makes a subscription. filter: JSON for every event, or NULL. */
void subscription_write(struct buffer *out, const char *url, const struct event_choice *choice, const char *filter);

/* The same with the events of another one. */
void subscription_write_like(struct buffer *out, const struct subscription *other);

#endif
