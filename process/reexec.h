/* Executing the program anew in this process's place: the file as it is now, which may be another release. */
#ifndef PROCESS_REEXEC_H
#define PROCESS_REEXEC_H

#include <stdbool.h>

/* The path of the program that runs; of the bundle, of its launcher (CLOSECRM_LAUNCHER). The caller frees; NULL when it
 * cannot be known. Call at the start: later the file may be another one. */
char *reexec_path(void);

/* Whether program and configuration, as they are now, pass `check --offline` in a child of 10 s at most: a faulty
 * configuration or half a program must not replace what works. The child's messages go to stderr. */
bool reexec_is_good(const char *program);

/* Marks every descriptor but 0 to 2 close-on-exec, whichever library, or thread that was left behind, has it open. A
 * descriptor that the new image shall have is made inheritable after this. */
void reexec_seal(void);

/* Replaces this process image: the new one has descriptors 0 to 2 and those that are inheritable; blocked signals stay
 * blocked and pending. arguments ends with NULL; the first is replaced by program. Returns only when that fails, which
 * it logs. */
void reexec_execute(const char *program, char *const arguments[]);

#endif
