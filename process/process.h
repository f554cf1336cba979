/* How the program runs, by the way it was started: as a FastCGI process, as a CGI program for one request, as a process
 * that only forwards; and what every process sets up for itself: signals, memory, limits. */
#ifndef PROCESS_PROCESS_H
#define PROCESS_PROCESS_H

#include <signal.h>
#include <stdbool.h>

#include "base/clock.h"
#include "base/error.h"
#include "config/config.h"

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

/* Serves the one CGI request of this process. With a durable queue a child of its own forwards afterwards. */
int cgi_serve(void);

/* Whether this process is that child, by its command line. */
bool cgi_child_is_started(int argc, char *const argv[]);

/* What the child does: forwards until nothing has come for more than a second, and ends. */
int cgi_child_serve(void);

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

/* ---- bounded.c: Forwarding for a limited time, by a process that has something else to do or is to end soon: the CGI
 * request's child, cron, a person at a shell. ---- */

enum bounded {
    BOUNDED_DONE,      /* nothing that is due is left, or the time was over */
    BOUNDED_LATE,      /* bounded_forward_on: the time was over */
    BOUNDED_STOPPED,   /* SIGTERM or SIGINT came, or the queue must be opened anew */
    BOUNDED_ELSEWHERE, /* another process forwards, and why says so */
    BOUNDED_FAILED,    /* the queue cannot be used, and why says why */
};

/* Claims the queue (the consumer lock) if it can, forwards until nothing due is left or the deadline has passed,
 * releases the claim, and looks once more for events that came in between: the process that stored them found the queue
 * claimed and left them to this one. Batches in flight at the deadline are awaited; at a signal for shutdown_grace
 * only. The calling thread must have no queue open, and no other thread may wait for SIGTERM or SIGINT meanwhile. */
enum bounded bounded_forward(const struct config *config, moment deadline, struct error *why);

/* How a process leaves that others rely on while it is there: who stores an event then starts nobody. */
struct bounded_leave {
    void (*leave)(void *context); /* from here on others know that it leaves; it looks at the queue once more */
    bool (*stay)(void *context);  /* that look found something: whether it is this process that forwards it */
    void *context;
};

/* The same for a process that stays until nothing has come for more than a second. It has left when the result is
 * BOUNDED_DONE or BOUNDED_ELSEWHERE. leave: NULL: as bounded_forward. */
enum bounded bounded_forward_on(const struct config *config, moment deadline, const struct bounded_leave *leave,
                                struct error *why);

/* ---- process.c: Where the last errors are kept (base/last_errors): in the state directory, or beside the
 * configuration where that directory cannot be used or is not known; never in a document root. ---- */

/* Notes errors and warnings from now on. config: NULL where there is none that can be used. Call before threads start.
 */
void errors_keep(const struct config *config);

/* Keeps nothing in this document root, and removes what was kept there. Any thread. */
void errors_avoid(const struct config *config, const char *document_root);

/* Where to look, for an answer: "... says" follows. Names a file, no path. */
const char *errors_where(void);

/* ---- process.c: Executing the program anew in this process's place: the file as it is now, which may be another
 * release. ---- */

/* The path of the program that runs; of the bundle, of its launcher (CLOSECRM_LAUNCHER). The caller frees; NULL when it
 * cannot be known. Call at the start: later the file may be another one. */
char *reexec_path(void);

/* Whether program and configuration, as they are now, pass `check --offline` in a child of 10 s at most: a faulty
 * configuration or half a program must not replace what works. The child's messages go to stderr. as_read: as_read_new;
 * the configuration that the child has read is noted there. -1: nowhere. */
bool reexec_is_good(const char *program, int as_read);

/* Marks every descriptor but 0 to 2 close-on-exec, whichever library, or thread that was left behind, has it open. A
 * descriptor that the new image shall have is made inheritable after this. */
void reexec_seal(void);

/* Replaces this process image: the new one has descriptors 0 to 2 and those that are inheritable; blocked signals stay
 * blocked and pending. arguments ends with NULL; the first is replaced by program. as_read: what its configuration is
 * read from (config.h); -1: from the disk. Returns only when that fails, which it logs. */
void reexec_execute(const char *program, char *const arguments[], int as_read);

/* The same with the program that runs, whatever is at its path by now. */
void reexec_execute_same(const char *program, char *const arguments[], int as_read);

#endif
