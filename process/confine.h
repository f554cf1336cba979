/* Confinement of request threads (the key `confine`): what reads what comes from outside needs few rights, and is left
 * with these. seccomp refuses to execute, to connect, to start threads and processes, and what administers a system;
 * Landlock refuses to open what lies outside of the state directory. Both are a thread's own: the threads that forward,
 * ask Close, send alerts or execute the program anew keep their rights. What a request needs more for runs in a thread
 * aside. A kernel that has neither changes nothing: nothing here makes a request fail.
 *
 * All threads share their memory: this stops what a request thread is led to ask of the kernel by a fault in reading,
 * not code of an attacker's own that writes into the other threads' memory. */
#ifndef PROCESS_CONFINE_H
#define PROCESS_CONFINE_H

#include <stdbool.h>

#include "config/config.h"

/* What there is to confine with. */
struct confine_means {
    bool seccomp; /* the kernel filters calls, and the program was built with libseccomp */
    int landlock; /* its version in the kernel; 0: none */
};

struct confine_means confine_means(void);

/* Whether the configuration asks for it: `confine = yes`, or `auto` where systemd has started this very process. */
bool confine_is_wanted(const struct config *config);

/* Says what of it there is, for `check`. */
#define CONFINE_WORDS 200
void confine_say(const struct config *config, struct confine_means means, char words[static CONFINE_WORDS]);

struct confine;

/* Prepares to confine. Call before threads start. Returns NULL when nothing is confined: it is not wanted, or cannot be
 * had, which is logged. All that follows takes NULL, and does nothing then. */
struct confine *confine_open(const struct config *config);

/* Starts the thread that starts those aside, and logs what is confined from now on. Where there is no thread to be had
 * nothing is, which is logged too. */
void confine_start(struct confine *confine);

/* Request threads may be left with the state directory alone, as it is now, if it is there. Call once, when the queue
 * is open. */
void confine_to_state(struct confine *confine);

/* Whether the state directory is another one than confine_to_state has found: request threads cannot open anything in
 * it, and others must take their place. Any thread. */
bool confine_is_stale(struct confine *confine);

/* Confines the calling thread as far as can be told by now; costs nothing once it is done. It cannot be undone, and
 * threads that it starts inherit it. context: the struct confine. */
void confine_thread(void *context);

/* Runs a job in another thread, which may connect, start threads and open everything, but not execute, and waits until
 * it is done. NULL: in the calling one. context: the struct confine. */
void confine_aside(void *context, void (*job)(void *argument), void *argument);

/* No job may be running any more. */
void confine_close(struct confine *confine);

#endif
