/* The commands: `closecrm.fcgi NAME ...` at a shell. A file for each family of commands, and the table of them. Results
 * go to stdout, everything else to stderr. */
#ifndef COMMANDS_COMMANDS_H
#define COMMANDS_COMMANDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "process/process.h"

/* Exit codes of every command: see process/process.h. */
enum {
    COMMAND_OK = CODE_OK,
    COMMAND_FAILED = CODE_FAILED,
    COMMAND_USAGE = CODE_USAGE,
    COMMAND_CONFIGURATION = CODE_CONFIGURATION,
    COMMAND_STATE = CODE_STATE,
    COMMAND_USAGE_SAID, /* ends as COMMAND_USAGE, without the usage line: stderr already says what to type */
};

struct command {
    const char *name;                  /* one word, or two: "queue status" */
    const char *arguments;             /* as usage shows them; "" for none */
    const char *help;                  /* one line */
    const char *more;                  /* what `help NAME` adds: whole lines */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name. Returns an exit code; COMMAND_USAGE: the
                                        * dispatcher adds the usage line */
};

/* Runs the command that argv[1] names; argc and argv are main's. Ignores SIGPIPE for the process. Returns the exit
 * code; COMMAND_FAILED also where stdout could not take all that was written. Call before threads start. */
int commands_run(int argc, char **argv);

/* The table, for the manual page. Sets *count. */
const struct command *commands_all(size_t *count);

/* ---- help.c: what is said of the commands ---- */

/* Lists the commands whose names begin with the word, or all (NULL). */
void help_list(FILE *out, const char *word);

/* "usage: closecrm.fcgi NAME ARGUMENTS", in lines of at most WRAP_COLUMNS. */
void help_usage(FILE *out, const struct command *command);

/* All that there is to say of a command. */
void help_explain(FILE *out, const struct command *command);

/* The options of a command, a blank behind each, and "=" behind those that take a value: "--source= --json ". out is
 * cut to fit. Returns out. */
#define HELP_OPTIONS 400
const char *help_options(const struct command *command, char out[static HELP_OPTIONS]);

/* ---- the commands ---- */

int command_transform(int argc, char **argv);
int command_check(int argc, char **argv);
int command_send_test(int argc, char **argv);
int command_subscribe(int argc, char **argv);
int command_subscriptions(int argc, char **argv);
int command_unsubscribe(int argc, char **argv);
int command_pause(int argc, char **argv);
int command_resume(int argc, char **argv);
int command_rotate(int argc, char **argv);
int command_backfill(int argc, char **argv);
int command_reconcile(int argc, char **argv);
int command_queue_status(int argc, char **argv);
int command_queue_list(int argc, char **argv);
int command_queue_show(int argc, char **argv);
int command_queue_set_aside(int argc, char **argv);
int command_queue_retry(int argc, char **argv);
int command_queue_check(int argc, char **argv);
int command_queue_move(int argc, char **argv);
int command_queue_migrate(int argc, char **argv);
int command_queue_adopt(int argc, char **argv);
int command_backup(int argc, char **argv);
int command_restore(int argc, char **argv);
int command_dead_list(int argc, char **argv);
int command_dead_show(int argc, char **argv);
int command_dead_replay(int argc, char **argv);
int command_dead_drop(int argc, char **argv);
int command_version(int argc, char **argv);
int command_forget(int argc, char **argv);
int command_forward(int argc, char **argv);
int command_alert_test(int argc, char **argv);
int command_cron(int argc, char **argv);
int command_completion(int argc, char **argv);

#endif
