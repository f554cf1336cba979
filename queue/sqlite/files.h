/* The state directory, private to its user and on one machine, and the small files in it beside the database. */
#ifndef QUEUE_SQLITE_FILES_H
#define QUEUE_SQLITE_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* ---- directory.c: the directory ---- */

#define STATE_PATH 4096

/* Creates the directory if it is missing, mode 0700, and checks it. Returns false with the reason and the command that
 * fixes it when it cannot be used or other users have access. */
bool directory_prepare(const char *directory, struct error *why);

/* Logs files in it that are symbolic links or belong to another user: they work but should not be. */
void directory_warn(const char *directory);

/* Writes "directory/name" to out. */
void directory_path(char out[static STATE_PATH], const char *directory, const char *name);

/* Whether it has something of that name. */
bool directory_has(const char *directory, const char *name);

/* Opens a file in the directory, creating it with mode 0600. Returns -1 with the reason. */
int directory_open(const char *directory, const char *name, struct error *why);

/* What the directory's file system can do: the comment beside the table in directory.c says why it matters. */
enum file_system_kind {
    FILE_SYSTEM_REMOTE, /* or unknown: no memory that processes share */
    FILE_SYSTEM_COPIES, /* local, but on a write it copies: a mapped file has no room of its own */
    FILE_SYSTEM_LOCAL,
};
enum file_system_kind directory_file_system(const char *directory);

/* ---- the damage mark: the next process that opens the database alone repairs it ---- */

void damage_mark(const char *directory);
bool damage_is_marked(const char *directory);
void damage_unmark(const char *directory);

/* ---- the mark of a missing database, which a process that still has it open may save (recovery.h) ---- */

bool missing_mark(const char *directory, struct error *why);
bool missing_is_marked(const char *directory);
void missing_unmark(const char *directory);

/* ---- for all processes: files were removed or replaced, and a process that still has the old ones open refuses events
 * until it has opened the queue anew. Noted again and again while it does; noted in the last seconds. ---- */

void replaced_note(const char *directory);
bool replaced_is_noted(const char *directory);

/* ---- room.c: The reserve: a file in the state directory that is deleted when the disk is full, so that waiting events
 * can still be delivered and settled. While it is gone no new event is accepted. ---- */

/* The path of the reserve, and whether it is there. */
void reserve_path(char out[static STATE_PATH], const char *directory);
bool reserve_is_there(const char *directory);

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

/* Records, for all processes, the errno of a failed write; 0: writing works. */
void no_room_note(const char *directory, int error);

/* The same for settling, EIO standing for whatever else makes it fail; unsettled_of returns the errno recorded in the
 * last minutes; 0: settling works, as far as is known. */
void unsettled_note(const char *directory, int error);
int unsettled_of(const char *directory);

/* Why no process accepts new events, as an errno: the reserve was given up, or a write failed just now; 0: there is
 * room as far as is known. */
int no_room_of(const char *directory);

#endif
