/* What `check` says of the place where the program runs: what a host, its limits and an upload may have made wrong.
 * Each prints a line for each thing that it finds, with what to do; what must be mended has WRONG in it. All change
 * nothing.
 */
#ifndef COMMANDS_CHECK_PLACE_H
#define COMMANDS_CHECK_PLACE_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"

/* Looks at all of the following. Returns how many things are wrong. */
size_t check_place(const struct config *config);

/* Permissions and places of the program's file and the configuration; limits of the process and the disk; the
 * certificates; whether cron has been here where it must. Returns likewise. */
/* Whether a path, a folder with a slash at its end, leads through a folder of the kind that web servers show. */
bool place_looks_shown(const char *path);

size_t check_files(const struct config *config);
size_t check_limits(const struct config *config);
size_t check_certificates(const struct config *config);
size_t check_cron(const struct config *config);

/* Asks the data plane what time it is. Returns likewise. */
size_t check_clock(const struct config *config);

/* Reads the web servers' configuration in its usual places below root ("" on this machine), and a .htaccess beside the
 * program, where they can be read: limits on bodies that are smaller than max_body. They are no errors, for they may be
 * another site's. Returns how many were found. */
size_t check_servers(const struct config *config, const char *root, const char *program);

/* The path of the program's file as the web server knows it: of the bundle, its launcher. Returns out, or NULL. */
#define PROGRAM_PATH 4096
const char *check_program_path(char out[static PROGRAM_PATH]);

#endif
