/* What comes after this process image: the program's file as it is now, executed in its place. */
#ifndef PROCESS_REEXEC_H
#define PROCESS_REEXEC_H

#include <stdbool.h>

/* The path of the program that runs; of the bundle, of its launcher (CLOSECRM_LAUNCHER). The caller frees; NULL when it
 * cannot be known. Call at the start: later the file may be another one. */
char *reexec_path(void);

/* Whether program and configuration, as they are now, pass the check, as a child of 10 s at most: a faulty
 * configuration or half a program must not take the place of what works. Its words go to stderr. */
bool reexec_is_good(const char *program);

/* Makes sure that no descriptor but 0 to 2 goes over, whichever library or thread that was left behind has it open.
 * What shall go over is made inheritable after it. */
void reexec_seal(void);

/* Executes it in this process's place: nothing but descriptors 0 to 2 and what is inheritable goes over; blocked
 * signals stay blocked and pending. arguments ends with NULL; the first is replaced by program. Returns only when that
 * fails, which it logs. */
void reexec_execute(const char *program, char *const arguments[]);

#endif
