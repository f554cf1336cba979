/* What the tests of the durable queue share: a site with it, and a look into what is kept. */
#ifndef TESTS_SUPPORT_DURABLE_H
#define TESTS_SUPPORT_DURABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "queue/inspect.h"
#include "tests/support/load.h"
#include "tests/support/site.h"

/* How many rounds, or events, of so many: fewer in the sanitizers' variants, and CLOSECRM_TEST_SHARE percent of them
 * where that is set. At least 1. */
size_t durable_share(size_t full);

/* How often longer things may take: the sanitizers' programs are slow. */
int64_t durable_patience(int64_t ms);

/* From now on the sites of this process have queue = postgresql, each with a database of its own, on a server that is
 * started here, and request threads that may not connect. As CUnit has it: 0, or 1 where that failed. Without it they
 * have queue = sqlite. */
int durable_use_postgresql(void);

/* Stops the server. Returns 0. */
int durable_end_postgresql(void);

/* Makes a database for a site that is opened otherwise than by durable_open. Returns false when that failed. */
bool durable_new_queue(void);

bool durable_is_postgresql(void);

/* Loses a signature key that the database has; the machine's is the test's. */
void durable_lose_key(const char *subscription);

/* After a look into the queue has failed: whether to look again, until a deadline, a moment later. A server on a busy
 * machine may be silent for longer than is waited for. */
bool durable_looks_again(moment deadline);

/* The configuration's lines that say which queue it is, and the same in a struct; the texts are static. */
const char *durable_queue_lines(void);
void durable_queue_config(struct config *config);

/* site_open with these lines, and more. */
bool durable_open(struct site *site, const struct setup *setup, const char *more);

/* Ends the program behind spawn-fcgi, which may have begun just now, and starts it with this wrapper (NULL: none). */
bool durable_start_anew(struct site *site, const char *const *wrapper);

/* site_configure likewise. */
void durable_configure(struct site *site, const char *more);

/* The usual load of the source alpha: 16 connections, without end. */
struct load_options durable_load(const struct site *site);

/* What is kept of a source (NULL: of all). Whether it could be read is a CUnit assertion. May be called while the
 * program runs, but not while a damaged queue is to be repaired. */
struct counts durable_counts(const struct site *site, const char *source);

/* The dead letters of all sources; free with letters_free. */
struct letters durable_letters(const struct site *site);

/* Waits until nothing waits any more. Returns false when something did all the milliseconds. */
bool durable_wait_empty(const struct site *site, int64_t ms);

/* The checks after a load: all that was answered 200 was stored, nothing was altered. Prints what was sent twice. */
void durable_check_delivered(struct site *site, struct load *load, struct load_result result);

/* Checks that as many events are counted as delivered as the data plane has messages, soon: what a dead process sent
 * may still be read there, and a web server may still pass on a request that nobody awaits. Returns the counts. */
struct counts durable_check_counted(const struct site *site);

/* Runs `closecrm.fcgi NAME ARGUMENT` (NULL: none) as the site's user, with its configuration, for a minute at most;
 * what it prints is in the site's command.log. Returns its exit code, -1 when a signal ended it. */
int durable_command(const struct site *site, const char *name, const char *argument);

/* ---- processes of the program, whoever started them ---- */

#define DURABLE_PROCESSES 128

/* Those that execute the site's program now. */
size_t durable_processes(const struct site *site, pid_t pids[DURABLE_PROCESSES]);

/* Kills them all, and waits until none is left. Returns how many there were. */
size_t durable_kill_all(const struct site *site);

/* kill for one process; 0 and less, which would mean whole groups, are a CUnit failure. */
void durable_signal(pid_t pid, int signal);

/* The process that forwards, as its beat says: waits until there is one that lives. 0: there is none for a minute. */
pid_t durable_forwarder(const struct site *site);

/* A wrapper for site_spawn that starts so many processes on one socket ("2", "10"); static storage, one at a time. */
const char *const *durable_many(const char *count);

#endif
