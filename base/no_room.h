/* Errors that mean that no more data can be written: disk full, quota exceeded, file size limit, read-only file system,
 * no memory for the write. Callers treat them alike; the text and advice for the operator differ. */
#ifndef BASE_NO_ROOM_H
#define BASE_NO_ROOM_H

#include <stdbool.h>

/* Whether an errno is one of these errors. */
bool no_room_is(int error);

/* Whether freeing space on the same file system helps against the error. */
bool no_room_helped_by_space(int error);

/* The error in words ("the quota is used up"), and the advice ("make room, or have the quota raised"). Any other errno
 * is described as a full disk. */
const char *no_room_words(int error);
const char *no_room_advice(int error);

/* Predicts which of these errors a write into a directory would meet, from the file system's figures; 0: none. A quota
 * cannot be predicted. */
int no_room_predict(const char *directory);

#endif
