/* The reserve: room on the disk, held by a file in the state directory, that is given up when nothing more can be
 * written, so that what waits can still be delivered and settled. While it is gone nothing new is accepted. */
#ifndef QUEUE_SQLITE_RESERVE_H
#define QUEUE_SQLITE_RESERVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* How large the reserve must be so that any settling finds room: the largest is an event of max_body bytes that becomes
 * a dead letter. It is copied, once into the log and once into the database, before its row goes. */
int64_t reserve_bytes(int64_t max_body);

/* Makes it, of that many bytes, unless it is there; where that would take much of the room there is, a small one. One
 * that is smaller than it could be is made larger. Returns false, with errno, when there is no room for it. Any
 * process. */
bool reserve_make(const char *directory, int64_t bytes);

/* Gives it up because of that error (errno), which is noted. */
void reserve_give_up(const char *directory, int error);

bool reserve_is_there(const char *directory);

/* Its bytes; negative: it is gone. */
int64_t reserve_size(const char *directory);

/* Notes, for all processes, that nothing could be written because of that errno; 0: that it can. */
void no_room_note(const char *directory, int error);

/* The same of settling; and why nothing can be settled, as an errno, as was found in the last minutes; 0: it can, as
 * far as is known. */
void unsettled_note(const char *directory, int error);
int unsettled_of(const char *directory);

/* Why nothing new is accepted, as an errno, in whatever process it was noted: the reserve is gone, or a write failed
 * just now; 0: there is room as far as is known. */
int no_room_of(const char *directory);

#endif
