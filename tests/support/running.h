/* The program beside the web server: commands on a site's configuration, and which processes of it there are. */
#ifndef TESTS_SUPPORT_RUNNING_H
#define TESTS_SUPPORT_RUNNING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/support/client.h"
#include "tests/support/process.h"
#include "tests/support/site.h"

/* What a command wrote to stdout and stderr, and its exit code (-1: it did not end by itself). */
struct output {
    int code;
    char text[8192];
};

/* Starts `closecrm.fcgi NAME OPTION` (NULL: none) with the site's configuration; log: a file's name in the site. */
bool command_start(struct process *process, const struct site *site, const char *log, const char *name,
                   const char *option);

/* The same with any words after the program's name; the last is NULL. */
bool command_start_words(struct process *process, const struct site *site, const char *log, const char *const *words);

/* Waits for its end, and reads its log. */
struct output command_finish(struct process *process, const struct site *site, const char *log);

/* Both. */
struct output command_output(const struct site *site, const char *name, const char *option);

/* Sends one signed event to the source alpha and waits for its answer; and any body. */
struct client_answer site_send(const struct site *site, const char *id);
struct client_answer site_send_body(const struct site *site, struct slice body);

/* Kills (SIGKILL) all processes that run the site's program, whoever their parent is. Returns how many. */
size_t programs_kill(const struct site *site);

/* Waits until there is none. Returns false when that did not happen within the milliseconds. */
bool programs_wait_gone(const struct site *site, int64_t ms);

#endif
