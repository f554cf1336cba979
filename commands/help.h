/* What is said of the commands, from their table: lists, usage, explanations, and bash's completion. */
#ifndef COMMANDS_HELP_H
#define COMMANDS_HELP_H

#include <stdio.h>

#include "commands/commands.h"

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

#endif
