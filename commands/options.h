/* Reading a command's options from a table: --name, --name VALUE or --name=VALUE, and its other arguments. */
#ifndef COMMANDS_OPTIONS_H
#define COMMANDS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct option_spec {
    const char *name;   /* "--source" */
    const char **value; /* set to its value, which lives in argv; NULL: it takes none, and flag is set */
    bool *flag;
};

/* Makes the command use this configuration file: what --config does, which every command takes. Returns false when the
 * path is empty; then stderr says so. */
bool options_use_configuration(const char *command, const char *path);

/* At most 16 options, beside --config. Reads argv[1] and what follows, with getopt_long, so in one thread at a time;
 * argv[0] is the command's name. argument: set to the one argument that is no option; NULL: there may be none. Options
 * that do not occur are left as they were. `--` ends the options, `-` alone is an argument. Returns false when the
 * command line is wrong; then stderr has the fault, and the command returns COMMAND_USAGE. */
bool options_read(int argc, char **argv, const struct option_spec *specs, size_t count, const char **argument);

/* The same where the one other argument must be there, and is the number *id; question: what stderr asks for otherwise.
 */
bool options_read_id(int argc, char **argv, const struct option_spec *specs, size_t count, const char *question,
                     uint64_t *id);

/* The same for any number of other arguments: they are moved to argv[1] and what follows, and *arguments counts them.
 */
bool options_read_all(int argc, char **argv, const struct option_spec *specs, size_t count, int *arguments);

/* Reads from the terminal the answer to a [y/N] question, which the caller has printed on stderr. Returns whether it is
 * yes; if it is not, prints that nothing was done. */
bool options_confirmed(const char *command);

/* Says on stderr what is wrong with the command line. Returns COMMAND_USAGE. */
int options_wrong(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
