/* Creating a subscription so that its signature key is never lost, whatever is killed in between; and the end of a
 * rotation. */
#ifndef CLOSEAPI_SUBSCRIBE_H
#define CLOSEAPI_SUBSCRIBE_H

#include "closeapi/closeapi.h"
#include "closeapi/subscriptions.h"

/* The work on the subscriptions of a source. All is borrowed: the directory of closeapi_directory, the list of
 * subscriptions_list. The caller holds the lock `subscribe.lock` in that directory. */
struct subscribing {
    const struct config *config;
    const struct source *source;
    struct close_client *client;
    const char *directory;
    const struct subscriptions *list;
};

/* Creates one from a body whose URL is url, and stores its key. SIGINT, SIGTERM and SIGHUP are blocked meanwhile. Sets
 * id and *created_ms (Close's clock) when DONE. Otherwise none is left behind in Close, or a note in the directory
 * makes subscribe_recover remove it. */
enum close_result subscribe_create(const struct subscribing *work, const char *body, const char *url,
                                   char id[static KEYRING_ID], int64_t *created_ms, struct error *why);

/* Cleans up after a subscribe that was killed: a subscription whose key nobody has is removed in Close, or its key is
 * stored where Close shows it; a rotation that was interrupted goes on. *changed: the list is out of date. Returns DONE
 * also when there was nothing to do. */
enum close_result subscribe_recover(const struct subscribing *work, bool *changed, struct error *why);

/* A rotation under way: a new subscription takes the place of an old one. */
struct rotation {
    char from[KEYRING_ID]; /* the old subscription */
    char to[KEYRING_ID];   /* the new one */
    int64_t created_us;    /* when the new one was created, by Close's clock */
};

/* Reads the source's rotation; false: there is none. */
bool rotation_read(const char *directory, struct rotation *rotation);

/* Before the new subscription is made: notes what for. If the rest of the note is not written, subscribe_recover finds
 * that subscription and writes it. */
bool rotation_intend(const struct subscribing *work, const struct subscription *old, struct error *why);
bool rotation_write(const char *directory, const struct rotation *rotation, struct error *why);

/* Removes the old subscription when the new one delivers and the Event Log was read beyond its creation. complete_us:
 * until when the log was read. *ended: the rotation is over. Else why says what is missing, also when DONE. */
enum close_result rotation_go_on(const struct subscribing *work, int64_t complete_us, bool *ended, struct error *why);

#endif
