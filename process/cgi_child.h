/* A child that outlives the CGI request: it forwards what the request brought, after the answer is out. It is made
 * before any database is opened, for a connection must not cross a fork, and waits for the request's end. */
#ifndef PROCESS_CGI_CHILD_H
#define PROCESS_CGI_CHILD_H

#include <stdbool.h>

#include "config/config.h"

/* Makes the child, before threads start and anything is opened. It has a session of its own and nothing of the
 * request's descriptors: the web server waits until all who have them are gone. Returns what cgi_child_release takes;
 * -1 when there is no child to be had, which is logged: then another request or cron forwards. */
int cgi_child_start(const struct config *config);

/* Lets the child forward (go), or ends it. Where this process ends without, the child forwards. word: of
 * cgi_child_start; -1 is fine. */
void cgi_child_release(int word, bool go);

#endif
