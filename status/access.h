/* Who may see the status page, and whether what was posted comes from it. */
#ifndef STATUS_ACCESS_H
#define STATUS_ACCESS_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>

#include "base/clock.h"
#include "config/config.h"
#include "http/request.h"

/* Wrong admin passwords: each address may guess a little, and then once a second; what it sends beyond that is not even
 * compared, so nothing is learnt from it. Counted per address, so that nobody's guesses hinder another's right
 * password. An address from which the right password came lately is compared always: behind a proxy that hides its
 * clients, where all have one address, a stranger shall not lock the operator out. In memory, per process. Any thread.
 */
#define GUESSES_ADDRESSES 256                      /* kept; of more the one that was quiet for longest is forgotten */
#define GUESSES_AT_ONCE 10                         /* wrong ones that are compared before an address is slowed down */
#define GUESSES_EVERY_MS 1000                      /* one more each such time */
#define GUESSES_KNOWN_MS ((int64_t)15 * 60 * 1000) /* the right password was sent within this time */
#define GUESSES_LOG_MS 1000                        /* between two log lines about one address */

/* An IPv4 address, or an IPv6 network of 64 bits: who has one has all its addresses. */
struct guesses_key {
    unsigned char bytes[16];
};

struct guesses_address {
    struct guesses_key key;
    bool taken;
    moment seen;
    moment paid;   /* when the wrong ones so far are paid for, each with GUESSES_EVERY_MS */
    moment right;  /* the last right one; INT64_MIN / 2: none */
    moment logged; /* likewise, the last log line */
};

struct guesses {
    pthread_mutex_t lock;
    struct guesses_address at[GUESSES_ADDRESSES];
};

void guesses_init(struct guesses *guesses);
void guesses_free(struct guesses *guesses);

/* Whether a password from this address is to be compared at all. address is REMOTE_ADDR's text; NULL or nonsense: those
 * without an address count as one. */
bool guesses_may_try(struct guesses *guesses, const char *address, moment now);

/* It was the right one. */
void guesses_right(struct guesses *guesses, const char *address, moment now);

/* It was wrong; compared: else it was not looked at. Returns whether the log is to say so. */
bool guesses_wrong(struct guesses *guesses, const char *address, bool compared, moment now);

enum access_result {
    ACCESS_ALLOWED,
    ACCESS_NONE,       /* there is no such page: 404 */
    ACCESS_ASK,        /* 401, asking for the password */
    ACCESS_SLOWED,     /* too many wrong passwords came from this address: 429 */
    ACCESS_NOT_LET_IN, /* the web server lets in whom it likes, and did not say that it did: 403 */
};

/* Counts and logs wrong passwords. With `admin = server` it believes REMOTE_USER only beside an AUTH_TYPE, which a
 * web server sets when it has checked a password, or from a server that sets REMOTE_USER only when it knows who that
 * is. nginx can be made to fill REMOTE_USER from a header that nobody has checked. Any thread. */
enum access_result access_check(const struct config *config, struct guesses *guesses, const struct request *request);

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
