/* The owner's heartbeat, a file in the state directory: the machine and process that forwards, rewritten periodically.
 */
#ifndef QUEUE_SQLITE_BEAT_H
#define QUEUE_SQLITE_BEAT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define BEAT_MACHINE 128
#define BEAT_TEXT 160

/* Identifies this machine since its boot: "HOST BOOT"; BOOT is "?" where it is unknown. */
void beat_machine(char out[static BEAT_MACHINE]);

/* Whether a heartbeat comes from the machine named as by beat_machine. Where the boot is unknown (no /proc) the host
 * decides. */
bool beat_is_of(const char *beat, const char *machine);

/* Writes a heartbeat of this process. */
void beat_write(const char *directory);

/* Says in words, for people, which process a heartbeat is of: "process 4711 on HOST". */
void beat_words(const char *beat, struct error *words);

/* Reads the last heartbeat, "HOST BOOT PID", and its age. Returns false when there is none. */
bool beat_read(const char *directory, char out[static BEAT_TEXT], int64_t *age_ms);

#endif
