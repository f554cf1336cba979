/* subscribe --update: more events for a subscription that exists, which keeps its key. */
#ifndef COMMANDS_SUBSCRIBE_UPDATE_H
#define COMMANDS_SUBSCRIBE_UPDATE_H

#include "commands/close_session.h"

/* Adds event types to the subscription of the session's source: those that events names, NULL: those that were seen in
 * the Event Log and that it lacks. url: of the subscription, where the source has several; NULL: its only one. After
 * close_session_list. Returns an exit code. */
int subscribe_update(struct close_session *session, const char *url, const char *events, bool dry_run);

#endif
