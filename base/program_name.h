/* What this program is called where it runs: in what is printed as advice, so that it works when it is typed. */
#ifndef BASE_PROGRAM_NAME_H
#define BASE_PROGRAM_NAME_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#define PROGRAM_NAME "closecrm.fcgi" /* in texts, until program_name_put puts the real name there */
#define PROGRAM_NAME_SIZE 110

/* The file that this process executes, also where another one stands in its place meanwhile, as after an installation
 * (proc(5)). Returns false, and path is "", without /proc. Any thread. */
bool program_path(char path[static PATH_MAX]);

/* Takes from a link of /proc/PID/exe what it says of a file that was replaced: for tests. */
void program_path_of(char *link);

/* Lets what program_name returns carry `--config FILE`, so that a command that is typed as printed acts on the same
 * installation; "": no more. One that is too long is left out, and so is one that the bundle's launcher finds again.
 * Before threads are started. */
void program_name_use_configuration(const char *path);

/* The name to type: "closecrm.fcgi" or "closecrm.cgi" where a shell finds it by that, else its whole path, quoted where
 * a shell wants that; a path that is too long is left out. Static. Any thread. */
const char *program_name(void);

/* The same without a path, for those who must not learn it. */
const char *program_name_alone(void);

/* The line of a crontab that runs `cron` every minute: this program by its whole path, and the configuration that
 * CLOSECRM_CONFIG names, which no crontab knows of; quoted as a shell and a crontab want it. The bundle's launcher
 * finds its own configuration again. The caller frees; NULL: memory is out, or the path cannot be known. */
char *program_name_crontab(void);

/* Copies a text in which PROGRAM_NAME stands before a command, with program_name in its place. What does not fit is
 * cut, and the copy keeps PROGRAM_NAME rather than a cut name. Returns out. */
const char *program_name_put(const char *text, char *out, size_t size);

/* The same with program_name_alone, also where program_name stands in the text already. */
const char *program_name_put_alone(const char *text, char *out, size_t size);

/* program_name for a program of this path, looked for in these folders, a colon between: for tests. */
void program_name_of(const char *path, const char *folders, char out[static PROGRAM_NAME_SIZE]);

#endif
