/* Wrong admin passwords: see guesses.h. */
#include "status/guesses.h"

#include <arpa/inet.h>
#include <string.h>

#define LONG_AGO (INT64_MIN / 2)

void guesses_init(struct guesses *guesses)
{
    memset(guesses, 0, sizeof *guesses);
    pthread_mutex_init(&guesses->lock, NULL);
}

void guesses_free(struct guesses *guesses)
{
    pthread_mutex_destroy(&guesses->lock);
}

static struct guesses_key key_of(const char *address)
{
    struct guesses_key key = {{0}};
    struct in6_addr ipv6;
    if (address == NULL)
        return key;
    if (inet_pton(AF_INET, address, key.bytes + 12) == 1) {
        key.bytes[10] = key.bytes[11] = 0xff;
    } else if (inet_pton(AF_INET6, address, &ipv6) == 1) {
        memcpy(key.bytes, &ipv6, IN6_IS_ADDR_V4MAPPED(&ipv6) ? sizeof key.bytes : sizeof key.bytes / 2);
    }
    return key;
}

static bool is_known(const struct guesses_address *address, moment now)
{
    return address->taken && now - address->right < GUESSES_KNOWN_MS;
}

/* Whether a is to be forgotten rather than b: a free place first, a known address last. */
static bool is_rather_forgotten(const struct guesses_address *a, const struct guesses_address *b, moment now)
{
    if (a->taken != b->taken)
        return !a->taken;
    if (is_known(a, now) != is_known(b, now))
        return !is_known(a, now);
    return a->seen < b->seen;
}

/* Under the lock. */
static struct guesses_address *find(struct guesses *guesses, const char *text, moment now)
{
    struct guesses_key key = key_of(text);
    struct guesses_address *place = &guesses->at[0];
    for (size_t i = 0; i < GUESSES_ADDRESSES; i++) {
        struct guesses_address *at = &guesses->at[i];
        if (at->taken && memcmp(&at->key, &key, sizeof key) == 0)
            return at;
        if (is_rather_forgotten(at, place, now))
            place = at;
    }
    *place = (struct guesses_address){
        .key = key, .taken = true, .seen = now, .paid = now, .right = LONG_AGO, .logged = LONG_AGO};
    return place;
}

bool guesses_may_try(struct guesses *guesses, const char *address, moment now)
{
    pthread_mutex_lock(&guesses->lock);
    struct guesses_address *at = find(guesses, address, now);
    at->seen = now;
    bool may = is_known(at, now) || at->paid - now <= (int64_t)(GUESSES_AT_ONCE - 1) * GUESSES_EVERY_MS;
    pthread_mutex_unlock(&guesses->lock);
    return may;
}

void guesses_right(struct guesses *guesses, const char *address, moment now)
{
    pthread_mutex_lock(&guesses->lock);
    find(guesses, address, now)->right = now;
    pthread_mutex_unlock(&guesses->lock);
}

bool guesses_wrong(struct guesses *guesses, const char *address, bool compared, moment now)
{
    pthread_mutex_lock(&guesses->lock);
    struct guesses_address *at = find(guesses, address, now);
    if (compared && at->paid - now < (int64_t)GUESSES_AT_ONCE * GUESSES_EVERY_MS)
        at->paid = (at->paid > now ? at->paid : now) + GUESSES_EVERY_MS;
    bool say = now - at->logged >= GUESSES_LOG_MS;
    if (say)
        at->logged = now;
    pthread_mutex_unlock(&guesses->lock);
    return say;
}
