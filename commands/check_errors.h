/* The last errors that the program has kept (base/last_errors), for `check`. */
#ifndef COMMANDS_CHECK_ERRORS_H
#define COMMANDS_CHECK_ERRORS_H

#include "config/config.h"

/* Prints the files of last errors that there are. config: NULL where there is none that can be used. */
void print_last_errors(const struct config *config);

/* Notes in such a file why a configuration is refused, which a running program tries before it takes it on. */
void keep_refused_configuration(void);

#endif
