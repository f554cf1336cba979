/* A site with Close at its other end: the stand-ins for Close and the data plane, the program behind a web server, one
 * source with an API key; and the program's commands, run as its user. */
#ifndef TESTS_SUPPORT_CLOSE_SITE_H
#define TESTS_SUPPORT_CLOSE_SITE_H

#include "tests/support/site.h"
#include "tests/support/standin_close.h"

struct close_site {
    struct site site;
    struct standin_close *close;
    size_t starts;    /* of the program */
    bool reconciles;  /* by itself, too: set it before the configuration is written */
    char said[16384]; /* what the last command wrote, both ways */
};

/* more: further lines of the configuration; NULL: none. Returns false when it did not start; close it in either case.
 */
bool close_site_open(struct close_site *site, const struct setup *setup, const struct standin_close_options *options,
                     const char *more);

/* Writes the configuration anew, with this API key and base URL (NULL: the right ones). */
void close_site_configure(struct close_site *site, const char *key, const char *url, const char *more);

/* Whether the last command has advised this one, with the site's configuration. */
bool close_site_advises(const struct close_site *site, const char *words);

/* Runs `closecrm.fcgi ARGUMENTS`, the last of which is NULL, and waits. Returns its exit code; -1: a signal, or it did
 * not end. */
int close_site_run(struct close_site *site, const char *const *arguments);

#define CLOSE_RUN(site, ...) close_site_run((site), (const char *const[]){__VA_ARGS__, NULL})

/* Starts it and does not wait; its words go to command.log. */
bool close_site_start(struct close_site *site, struct process *process, const char *const *arguments);

/* The program's public address, which every configuration here accepts. */
const char *close_site_url(const struct close_site *site);

/* Stops the program, and starts it again. */
void close_site_stop_program(struct close_site *site);
bool close_site_start_program(struct close_site *site);

/* Adds events to Close, which delivers them: PREFIX_FIRST and so on, of seven leads in turn. */
void close_site_add(struct close_site *site, const char *prefix, size_t first, size_t count);

/* Whether the event arrived at the data plane once, with properties as Close has them, by a webhook or a backfill of
 * this subscription (NULL: none). */
bool close_site_arrived(struct close_site *site, const char *id, const char *subscription);

/* How many files there are in STATE_DIR/keys. */
size_t close_site_keys(const struct close_site *site);

void close_site_close(struct close_site *site);

#endif
