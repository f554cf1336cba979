/* How the program runs, by the way it was started: as a FastCGI process, as a CGI program for one request, as a process
 * that only forwards; and what every process sets up for itself: signals, memory, limits. */
#ifndef PROCESS_PROCESS_H
#define PROCESS_PROCESS_H

#include <signal.h>
#include <stdbool.h>

/* Exit codes, of every command and of the program when it ends. */
enum {
    CODE_OK = 0,            /* done, or stopped */
    CODE_FAILED = 1,        /* something is wrong, or the input was bad */
    CODE_USAGE = 2,         /* the command line is wrong */
    CODE_CONFIGURATION = 3, /* the configuration cannot be used */
    CODE_STATE = 4,         /* the state directory, or the queue in it, cannot be used */
};

/* ---- the ways to run: each returns an exit code, and wants SIGPIPE ignored ---- */

/* Serves requests from the listening socket that is descriptor 0, and forwards, until a signal to stop. Takes on a
 * changed configuration, a replaced program and SIGHUP by executing the program anew in its place. */
int daemon_serve(void);

/* Forwards until SIGTERM or SIGINT, and takes on changes as daemon_serve does: what systemd runs. arguments: the
 * command line with which it executes the program anew, NULL-terminated; the first is replaced. */
int daemon_follow(char *const arguments[]);

/* Serves the one CGI request of this process. With a durable queue a detached child forwards afterwards. */
int cgi_serve(void);

/* ---- signals, whatever the process that started this one has ignored or blocked ---- */

/* Nothing stays ignored but SIGPIPE and SIGXFSZ: waitpid needs SIGCHLD, and sigtimedwait what ends the process. For a
 * person's command SIGHUP, SIGINT and SIGQUIT stay ignored where they are: nohup and shells mean it. First thing in
 * main. */
void process_reset_signals(bool command);

/* Blocks none. Not for a process that was executed in its own place: what came meanwhile is blocked and pending. */
void process_unblock_signals(void);

/* Blocks those that tell a daemon to stop or to reload, and no others. Returns them. */
sigset_t process_block_signals(void);

/* ---- limits ---- */

struct config;
struct http_limits;

/* What the configuration and the system's limits allow of requests. */
struct http_limits process_http_limits(const struct config *config);

/* Where the address space is limited, keeps malloc from reserving some for each thread, and from keeping what large
 * bodies have left. Call before threads start. */
void process_spare_memory(void);

#endif
