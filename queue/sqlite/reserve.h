/* The reserve: a file in the state directory that is deleted when the disk is full, so that waiting events can still be
 * delivered and settled. While it is gone no new event is accepted. */
#ifndef QUEUE_SQLITE_RESERVE_H
#define QUEUE_SQLITE_RESERVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* The size with which any settling finds room. The largest turns an event of max_body bytes into a dead letter: the
 * body is copied into the log and into the database before its row is deleted. */
int64_t reserve_bytes(int64_t max_body);

/* Creates the reserve unless it exists; a small one where the full size would take much of the free space, but none of
 * fewer bytes than `least`. A small one is enlarged when there is room. Returns false with errno when there is no room.
 * Any process. */
bool reserve_make(const char *directory, int64_t bytes, int64_t least);

/* Deletes the reserve and records its size, and the error (errno) that was the cause. */
void reserve_give_up(const char *directory, int error);

/* The bytes of the reserve that was given up last; 0: it is not known. */
int64_t reserve_given_up(const char *directory);

bool reserve_is_there(const char *directory);

/* Records, for all processes, the errno of a failed write; 0: writing works. */
void no_room_note(const char *directory, int error);

/* The same for settling; unsettled_of returns the errno recorded in the last minutes; 0: settling works, as far as is
 * known. */
void unsettled_note(const char *directory, int error);
int unsettled_of(const char *directory);

/* Why no process accepts new events, as an errno: the reserve is gone, or a write failed just now; 0: there is room as
 * far as is known. */
int no_room_of(const char *directory);

#endif
