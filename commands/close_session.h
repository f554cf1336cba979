/* What commands that call Close's API work on: the configuration, the source, its directory in the state directory, the
 * API client, the list of subscriptions and the lock on it. */
#ifndef COMMANDS_CLOSE_SESSION_H
#define COMMANDS_CLOSE_SESSION_H

#include <stdbool.h>

#include "closeapi/closeapi.h"
#include "closeapi/subscriptions.h"
#include "config/config.h"
#include "queue/queue.h"

struct close_session {
    const char *command; /* its name, for messages */
    struct config *config;
    const struct source *source;
    char directory[4096];
    struct close_client *client;
    struct kept *lock;         /* subscribe.lock; NULL: not held */
    struct subscriptions list; /* set by close_session_list */
    struct queue *queue;       /* set by close_session_open_queue */
};

/* Reads the configuration and sets up the client of the source (NULL: the only one). Returns an exit code; stderr has
 * the reason when it is not COMMAND_OK. In any case call close_session_close. */
int close_session_open(struct close_session *session, const char *command, const char *source);

/* The two parts of close_session_open: first the configuration, then a source; close_session_choose may be called again
 * for another one. */
int close_session_begin(struct close_session *session, const char *command);
int close_session_choose(struct close_session *session, const struct source *source);

/* Acquires the lock on the subscriptions, completes or undoes what a killed command began, and lists them. Returns
 * likewise. */
int close_session_list(struct close_session *session);

/* Opens the queue, which must keep events on disk. Returns likewise. */
int close_session_open_queue(struct close_session *session);

/* What a command does to a subscription: id is as it was given. Returns an exit code. */
typedef int close_session_action(struct close_session *session, const char *id);

/* A command that works on one subscription: reads the command line, with --source and the subscription's id (id_needed:
 * it must be there), opens the session of its source and lists the subscriptions, acts, and closes. Where several
 * sources are configured and none is named, it is the one for which the key is kept here, else the one in whose Close
 * the subscription is. Returns an exit code. */
int close_session_act(int argc, char **argv, bool id_needed, close_session_action *act);

/* Releases, then prints "COMMAND: reason" on stderr. Returns COMMAND_FAILED. */
int close_session_failed(struct close_session *session, const struct error *why);

struct subscribing close_session_work(const struct close_session *session);

/* The subscription of that id. NULL when Close has none: then all is released, and stderr lists the ids there are. */
const struct subscription *close_session_find(struct close_session *session, const char *id);

/* Whether the key of a subscription is kept here, for whichever source; its name is set, "" for none. */
bool close_session_holds_key(const struct close_session *session, const char *id, char source[static 128]);

/* Closes the queue and releases the lock. To be called before anything is printed: a pager or a stopped terminal may
 * hold up the printing for hours, and must not hold up other processes. */
void close_session_release(struct close_session *session);

void close_session_close(struct close_session *session);

/* ---- import.c: reconciling a source and printing the result, for `reconcile` and `resume` ---- */

struct reconcile_arguments {
    bool all_events;
    bool json;
    int64_t from_us;  /* as in reconcile_options */
    bool after_pause; /* print that the last five minutes come later */
};

/* The session must have its queue open. Releases its lock on the subscriptions, which reconciling needs. Returns an
 * exit code. */
int reconcile_and_print(struct close_session *session, const struct reconcile_arguments *arguments);

#endif
