/* Errors: a kind and a text; and the texts of two that many rooms report: no room on a disk, a file of another user. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* ---- An error: a kind, for code that branches on it, and a text, for the person who has to fix it. Passed up as an
 * out-parameter to the one place that turns it into an HTTP error, a log line or a command's message. ---- */

/* Code never branches on the text. A function whose callers branch on the kind lists in its header the kinds that it
 * sets. */
enum error_kind {
    ERROR_GENERAL,  /* no distinction needed */
    ERROR_MISSING,  /* the requested thing does not exist */
    ERROR_REJECTED, /* the peer understood the request and refuses it as invalid: repeating it is useless */
    ERROR_BUSY,     /* another process does it, or is about to: nothing is wrong */
};

struct error {
    char text[1024]; /* a sentence without a full stop, never a secret; "" when nothing failed */
    enum error_kind kind;
};

/* Sets the text, printf-like, truncated to fit, and the kind ERROR_GENERAL. error may be NULL, then nothing happens. */
void error_set(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* As error_set, with a kind. */
void error_set_kind(struct error *error, enum error_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts a prefix before the text ("config: " + "no such key"). The kind stays. */
void error_prefix(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- Errors that mean that no more data can be written: disk full, quota exceeded, file size limit, read-only file
 * system, no memory for the write. Callers treat them alike; the text and advice for the operator differ. ---- */

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

/* ---- a file or directory belongs to another user than the one this process runs as ---- */

/* Writes the user's name, or the number of a user without a name. Returns out. */
#define OWNER_NAME 64
const char *owner_name(uid_t user, char out[static OWNER_NAME]);

/* Sets why: the owner, the user this process runs as (geteuid), and commands to fix it, ready to be typed. what: "the
 * state directory"; path: its path; owner: its owner; instead: what to do in the place of changing the owner, where
 * that might do harm; NULL: it does none. Any thread. */
void owner_error(const char *what, const char *path, uid_t owner, const char *instead, struct error *why);

#endif
