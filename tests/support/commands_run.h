/* Runs a command in this process, with stdin, stdout and stderr in memory. */
#ifndef TESTS_SUPPORT_COMMANDS_RUN_H
#define TESTS_SUPPORT_COMMANDS_RUN_H

#include <stddef.h>

struct json_object;

struct ran {
    int code;        /* what commands_run returned */
    char out[65536]; /* what came on stdout and stderr, NUL-terminated */
    char err[65536];
};

/* Checks that each command of the program in a text, which told_by has printed, names a configuration: this one, or
 * ("") any. */
void check_advice(const char *text, const char *config, const char *told_by);

/* Runs `closecrm.fcgi ARGUMENTS...`; arguments ends with NULL; input: what stands on stdin, NULL: nothing. What it
 * advises is checked (check_advice). */
void run_command(struct ran *ran, const char *input, const char *const *arguments);

/* The same with a descriptor in the place of stdout, which it closes; out stays "". */
void run_command_into(struct ran *ran, const char *input, int out, const char *const *arguments);

/* Writes a configuration of these lines into a new folder (mode 0600) and makes CLOSECRM_CONFIG name it, one at a time.
 * End with configuration_forget. */
void configuration_use(const char *text);
void configuration_forget(void);

/* What stands on stdout as an object a line, as one array; the caller's to put. */
struct json_object *ran_lines(const struct ran *ran);

/* Checks that what is printed has "the oldest since N s", with less than a minute, and then that text. */
void check_waits_seconds(const struct ran *ran, const char *then);

#define RUN(ran, input, ...) run_command((ran), (input), (const char *const[]){__VA_ARGS__, NULL})

#endif
