/* A program on a socket, its data plane down, and requests whose answers are not read yet. */
#ifndef TESTS_SUPPORT_UNANSWERED_H
#define TESTS_SUPPORT_UNANSWERED_H

#include "tests/support/durable.h"
#include "tests/support/temporary.h"

#define UNANSWERED_MOST 3000 /* at most */
#define ANSWERED_MS 12000    /* a request waits no longer */
#define IN_TIME "the event was not stored in time: "

struct unanswered {
    struct site site;
    char socket[PATH_SIZE];
    const char *source; /* to which requests go; "open" until it is set */
    int lock;           /* of those who write; -1: not held */
    int *fds;
    int count;
};

/* As durable_open. Close it in any case. */
bool unanswered_open(struct unanswered *scene, const char *more);
void unanswered_close(struct unanswered *scene);

/* Nobody commits into a queue of SQLite's from now on; until it may again. */
void unanswered_keep_from_writing(struct unanswered *scene);
void unanswered_let_write(struct unanswered *scene);

/* Begins a request, and sends so much of its body. Each second one names a document root that was not named before, for
 * whose sake its thread gives up the lead. Returns its descriptor. */
int unanswered_begin(const struct unanswered *scene, int number, const char *fill, size_t part);

/* Sends so many more. */
void unanswered_send(struct unanswered *scene, int count, const char *fill);

/* Until the program has accepted them all: what is not accepted ends with a stop. */
void unanswered_wait_until_accepted(const struct unanswered *scene);

/* Reads all answers. Returns how many have that status; words: what each says (NULL: anything). */
int unanswered_count(struct unanswered *scene, int status, const char *words);

/* Sends one, and waits. Returns the answer's status; 0: none came. */
int unanswered_ask(const struct unanswered *scene);

#endif
