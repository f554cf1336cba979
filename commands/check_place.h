/* What `check` says of the place where the program runs: what a host, its limits and an upload may have made wrong, and
 * of the state directory. Each prints a line for each thing that it finds, with what to do; what must be mended has
 * WRONG in it. All change nothing. */
#ifndef COMMANDS_CHECK_PLACE_H
#define COMMANDS_CHECK_PLACE_H

#include <stddef.h>

#include "config/config.h"

/* Looks at permissions and places of the program's file and the configuration, limits of the process, the certificates,
 * the clock, which it asks a data plane for, and check_servers. Returns how many things are wrong. */
size_t check_place(const struct config *config);

/* Looks only whether the state directory could be used: opens and makes nothing, and what waits does not matter.
 * Returns likewise. */
size_t check_state_directory(const struct config *config);

/* Says what is to be known of the file system of a state directory that was opened. */
void check_file_system(const char *directory);

/* Reads the web servers' configuration in its usual places below root ("" on this machine), and a .htaccess beside the
 * program, where they can be read: limits on bodies that are smaller than max_body. They are no errors, for they may be
 * another site's. Returns how many were found. */
size_t check_servers(const struct config *config, const char *root, const char *program);

#define PROGRAM_PATH 4096 /* of the program's file */

#endif
