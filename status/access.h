/* Who may see the status page, and whether what was posted comes from it. */
#ifndef STATUS_ACCESS_H
#define STATUS_ACCESS_H

#include <pthread.h>
#include <stdbool.h>

#include "config/config.h"
#include "http/request.h"
#include "status/guesses.h"

enum access {
    ACCESS_ALLOWED,
    ACCESS_NONE,       /* there is no such page: 404 */
    ACCESS_ASK,        /* 401, asking for the password */
    ACCESS_SLOWED,     /* too many wrong passwords came from this address: 429 */
    ACCESS_NOT_LET_IN, /* the web server lets in whom it likes, and did not say that it did: 403 */
};

/* Counts and logs wrong passwords. With `admin = server` it believes REMOTE_USER only beside an AUTH_TYPE: Apache and
 * lighttpd set both when they have checked a password, and nothing else sets AUTH_TYPE; nginx can be made to fill
 * REMOTE_USER from a header that nobody has checked. Any thread. */
enum access access_check(const struct config *config, struct guesses *guesses, const struct request *request);

#define TOKEN_SIZE 65 /* hexadecimal digits and a NUL */
#define TOKEN_SECRET 32

/* What tokens are made with: shared by the processes of a state directory, else this process's own. */
struct tokens {
    pthread_mutex_t lock;
    bool known;
    unsigned char secret[TOKEN_SECRET];
};

void tokens_init(struct tokens *tokens);

/* Writes the token of this hour. Returns false when none can be made. Any thread, as tokens_are_good. */
bool tokens_make(struct tokens *tokens, const struct config *config, int64_t now_ms, char out[static TOKEN_SIZE]);

/* Whether it is the token of this hour or of the one before. */
bool tokens_are_good(struct tokens *tokens, const struct config *config, int64_t now_ms, const char *token);

void tokens_free(struct tokens *tokens);

#endif
