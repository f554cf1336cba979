/* A child that outlives the CGI request: it forwards what the request stored, after the answer is out. It is forked
 * before any database is opened, for a connection must not cross a fork, and waits until the request's process has
 * ended. */
#ifndef PROCESS_CGI_CHILD_H
#define PROCESS_CGI_CHILD_H

#include <stdbool.h>

#include "config/config.h"

/* Forks the child, before threads start and anything is opened. It has a session of its own and none of the request's
 * descriptors: the web server waits until all processes that have them are gone. Returns the write end of a pipe, for
 * cgi_child_release; -1 when no child can be had, which is logged: then another request or cron forwards. */
int cgi_child_start(const struct config *config);

/* Lets the child forward (proceed), or ends it; where this process ends before, the child forwards. Closes release_fd,
 * of cgi_child_start; -1 does nothing. */
void cgi_child_release(int release_fd, bool proceed);

#endif
