/* Commands of this program as they are printed for somebody to type. */
#ifndef CONFIG_OWN_COMMAND_H
#define CONFIG_OWN_COMMAND_H

#include "config/config.h"

#define OWN_COMMAND 400

/* Writes a command: the program as it is called (base/program_name), the words, and behind the command's name
 * `--source NAME` where several sources are configured and the command is about one. source: its name; NULL: about
 * none, or it takes no such option. config may be NULL where source is. words begin with the command's name and are a
 * literal: a test tries each. Returns out; what does not fit is cut to the program's name and the command's. */
const char *own_command(char out[static OWN_COMMAND], const struct config *config, const char *source,
                        const char *words, ...) __attribute__((format(printf, 4, 5)));

#endif
