/* How the program lives, by the way it was started: as a FastCGI process, as a CGI program for one request, as a
 * process that only forwards. Each returns an exit code. */
#ifndef PROCESS_PROCESS_H
#define PROCESS_PROCESS_H

/* Serves requests from the listening socket that is descriptor 0, and forwards, until a signal to stop. Takes a changed
 * configuration, a replaced program and SIGHUP by executing itself anew. SIGPIPE must be ignored. */
int life_fastcgi(void);

/* Serves the one CGI request of this process. With a durable queue a detached child forwards afterwards. SIGPIPE must
 * be ignored. */
int life_cgi(void);

/* Forwards until SIGTERM or SIGINT, and takes what is new as life_fastcgi does: what systemd runs. arguments: the
 * command line with which it executes itself anew, NULL-terminated; the first is replaced. */
int life_follow(char *const arguments[]);

#endif
