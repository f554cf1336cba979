/* What a repair could not read, said and noted: log lines with ids and times, and the losses that reconciling goes by.
 */
#ifndef QUEUE_SQLITE_DAMAGES_H
#define QUEUE_SQLITE_DAMAGES_H

#include <stdbool.h>

#include "config/config.h"
#include "queue/sqlite/salvage.h"

/* Logs and notes what is lost of each source; nothing where nothing is. Returns false with the reason when it cannot be
 * noted. */
bool damages_note(const char *directory, const struct config *config, const struct salvaged *salvaged,
                  struct error *why);

/* The same where the whole database is gone. */
bool damages_note_missing(const char *directory, const struct config *config, struct error *why);

#endif
