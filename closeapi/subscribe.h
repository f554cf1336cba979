/* Making a subscription so that its key is never lost, whatever dies in between; and what `rotate` leaves to be done.
 */
#ifndef CLOSEAPI_SUBSCRIBE_H
#define CLOSEAPI_SUBSCRIBE_H

#include "closeapi/closeapi.h"
#include "closeapi/subscriptions.h"

/* The work on the subscriptions of one source. All borrowed; directory and list as from closeapi_directory and
 * subscriptions_list, and the caller holds the lock `subscribe.lock`. */
struct subscribing {
    const struct config *config;
    const struct source *source;
    struct close_client *client;
    const char *directory;
    const struct subscriptions *list;
};

/* Makes one from a body whose URL is url, and keeps its key. Signals that end the process wait meanwhile. id and
 * *created_ms (Close's clock) are set when DONE. Otherwise none is left behind in Close, or a note of it stands in the
 * directory, and subscribe_recover sees to it. */
enum close_result subscribe_create(const struct subscribing *work, const char *body, const char *url,
                                   char id[static KEYRING_ID], int64_t *created_ms, struct error *why);

/* Ends what an earlier subscribe was killed in: a subscription whose key nobody has is removed in Close, or its key is
 * taken over where Close shows it. *changed: the list is out of date. Returns DONE also when there was nothing. */
enum close_result subscribe_recover(const struct subscribing *work, bool *changed, struct error *why);

/* What a rotation still has to do. */
struct rotation {
    char from[KEYRING_ID];
    char to[KEYRING_ID];
    int64_t created_us; /* of the new one, by Close's clock */
};

/* Reads the rotation under way; false: there is none. */
bool rotation_read(const char *directory, struct rotation *rotation);
bool rotation_write(const char *directory, const struct rotation *rotation, struct error *why);

/* Removes the old subscription when the new one delivers and the log was read beyond its creation. complete_us: until
 * there it was. *ended: the rotation is over. Else why says what is missing, also when DONE. */
enum close_result rotation_go_on(const struct subscribing *work, int64_t complete_us, bool *ended, struct error *why);

#endif
