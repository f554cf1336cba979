/* What machines.c and machines_recent.c share: the files with what was heard, MACHINE.NAME. */
#ifndef TELEMETRY_MACHINES_PRIVATE_H
#define TELEMETRY_MACHINES_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/files.h"
#include "kept/kept.h"
#include "telemetry/telemetry.h"

#define MACHINE_NAME 101         /* bytes, with the NUL */
#define SAY_EVENTS 10            /* at once */
#define MACHINES_RECENT "recent" /* the file with a machine's recent events */

/* The path of a file; machine "": of their folder. */
void machines_path(char out[static FILES_PATH], const struct config *config, const char *machine, const char *name);

/* Calls the function for each machine that has a file of this name. */
void machines_each(const struct config *config, const char *name, void (*call)(void *context, const char *machine),
                   void *context);

/* ---- machines_recent.c ---- */

/* What this machine says of its recent events. */
struct saying {
    struct recent *recent;
    struct recent_event *events;
    struct recent_whole *whole;
    struct buffer text[SAY_EVENTS];
    char name[SAY_EVENTS][32];
};

/* Makes records of the newest events beyond *said, which becomes the newest one's number. Returns how many. */
size_t saying_make(struct saying *saying, const struct config *config, const char *machine, int64_t now_ms,
                   uint64_t *said, struct kept_record *records);
void saying_free(struct saying *saying);

/* Takes a record that is one of these. Returns false when it is none. */
bool machines_hear_recent(const struct config *config, const struct kept_record *record);

/* Removes files to which nothing was added for longer than a day, and all where the queue is shared no more. */
void machines_forget_old(const struct config *config);

#endif
