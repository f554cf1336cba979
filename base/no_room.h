/* Errors that mean that nothing more can be written: a full disk, a quota that is used up, a limit on the size of
 * files, a read-only file system, no memory for the write. They mean the same for what was to be written; what is
 * different for the operator is said. */
#ifndef BASE_NO_ROOM_H
#define BASE_NO_ROOM_H

#include <stdbool.h>

/* Whether an errno is one of those. */
bool no_room_is(int error);

/* Whether giving up room elsewhere in the same place helps against it. */
bool no_room_helped_by_space(int error);

/* What is wrong ("the quota is used up"), and what to do about it ("make room, or have the quota raised"). Of an errno
 * that is none of those, those of a full disk. */
const char *no_room_words(int error);
const char *no_room_advice(int error);

/* Which of these errors a write into a directory is about to meet, as far as the file system's figures
 * tell; 0: none of them. A quota cannot be seen so. */
int no_room_look(const char *directory);

#endif
