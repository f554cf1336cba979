/* The owner's sign of life, a file in the state directory: which machine and process forwards, written now and then. */
#ifndef QUEUE_SQLITE_BEAT_H
#define QUEUE_SQLITE_BEAT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define BEAT_MACHINE 128
#define BEAT_TEXT 160

/* This machine, since it was started: "HOST BOOT"; BOOT is "?" where it cannot be known. */
void beat_machine(char out[static BEAT_MACHINE]);

/* Whether a beat is this machine's, as beat_machine tells it. Where there is no /proc the boot is unknown: then the
 * host decides. */
bool beat_is_of(const char *beat, const char *machine);

/* Writes that this process forwards. */
void beat_write(const char *directory);

/* Says in words, for people, which process a beat is of: "process 4711 on HOST". */
void beat_words(const char *beat, struct error *words);

/* Reads the last one, "HOST BOOT PID", and its age. Returns false when there is none. */
bool beat_read(const char *directory, char out[static BEAT_TEXT], int64_t *age_ms);

#endif
