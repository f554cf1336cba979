/* Access to the status page: see status_private.h. Passwords are compared by their digests, in a time that tells
 * nothing. */
#include "status/status_private.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/files.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/text.h"
#include "kept/kept.h"

#define LONG_AGO (INT64_MIN / 2)
#define HOUR_MS ((int64_t)3600000)

/* ---- wrong passwords ---- */

void guesses_init(struct guesses *guesses)
{
    memset(guesses, 0, sizeof *guesses);
    pthread_mutex_init(&guesses->lock, NULL);
}

void guesses_free(struct guesses *guesses)
{
    pthread_mutex_destroy(&guesses->lock);
}

static struct guesses_key address_key(const char *address)
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

static bool is_known_address(const struct guesses_address *address, moment now)
{
    return address->taken && now - address->right < GUESSES_KNOWN_MS;
}

/* Whether a is to be forgotten rather than b: a free place first, a known address last. */
static bool is_rather_forgotten(const struct guesses_address *a, const struct guesses_address *b, moment now)
{
    if (a->taken != b->taken)
        return !a->taken;
    if (is_known_address(a, now) != is_known_address(b, now))
        return !is_known_address(a, now);
    return a->seen < b->seen;
}

/* Under the lock. */
static struct guesses_address *find_address(struct guesses *guesses, const char *text, moment now)
{
    struct guesses_key key = address_key(text);
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
    struct guesses_address *at = find_address(guesses, address, now);
    at->seen = now;
    bool may = is_known_address(at, now) || at->paid - now <= (int64_t)(GUESSES_AT_ONCE - 1) * GUESSES_EVERY_MS;
    pthread_mutex_unlock(&guesses->lock);
    return may;
}

/* It was the right one. */
static void guesses_right(struct guesses *guesses, const char *address, moment now)
{
    pthread_mutex_lock(&guesses->lock);
    find_address(guesses, address, now)->right = now;
    pthread_mutex_unlock(&guesses->lock);
}

bool guesses_wrong(struct guesses *guesses, const char *address, bool compared, moment now)
{
    pthread_mutex_lock(&guesses->lock);
    struct guesses_address *at = find_address(guesses, address, now);
    if (compared && at->paid - now < (int64_t)GUESSES_AT_ONCE * GUESSES_EVERY_MS)
        at->paid = (at->paid > now ? at->paid : now) + GUESSES_EVERY_MS;
    bool say = now - at->logged >= GUESSES_LOG_MS;
    if (say)
        at->logged = now;
    pthread_mutex_unlock(&guesses->lock);
    return say;
}

/* ---- who may see it ---- */

static bool is_same(const char *a, const char *b)
{
    unsigned char left[SHA256_BYTES], right[SHA256_BYTES];
    sha256(a, strlen(a), left);
    sha256(b, strlen(b), right);
    return secrets_equal(left, right, sizeof left);
}

/* These set REMOTE_USER only when they know who it is; some ways (client certificates) leave AUTH_TYPE out. */
static const char *const careful_servers[] = {"Apache", "lighttpd", "LiteSpeed"};

static bool is_careful_server(const struct request *request)
{
    const char *server = request_variable(request, "SERVER_SOFTWARE");
    for (size_t i = 0; server != NULL && i < sizeof careful_servers / sizeof *careful_servers; i++) {
        if (strncmp(server, careful_servers[i], strlen(careful_servers[i])) == 0)
            return true;
    }
    return false;
}

/* Whether the web server has checked who this is. */
static bool is_let_in(const struct request *request)
{
    return request_variable(request, "REMOTE_USER") != NULL &&
           (request_variable(request, "AUTH_TYPE") != NULL || is_careful_server(request));
}

/* The line that fail2ban reads: the address stands there as it is, so nothing but an address may. */
static void log_wrong(const char *address)
{
    static const char of_addresses[] = "0123456789abcdefABCDEF.:";
    bool plain = address != NULL && strspn(address, of_addresses) == strlen(address);
    log_write(LEVEL_WARN, "msg=refused kind=wrong_admin_password remote=%s", plain ? address : "unknown");
}

static bool is_right(const struct config *config, const char *user, const char *password)
{
    bool right_password = is_same(password, config->admin_password);
    bool right_user = is_same(user, "admin");
    return right_user && right_password;
}

/* Who sends no password at all, as a browser does at first, has not guessed. */
static enum access_result check_password(const struct config *config, struct guesses *guesses,
                                         const struct request *request)
{
    char user[64], password[512];
    const char *address = request_variable(request, "REMOTE_ADDR");
    moment now = clock_now();
    bool sent = request_basic(request, user, sizeof user, password, sizeof password);
    bool compared = sent && guesses_may_try(guesses, address, now);
    bool right = compared && is_right(config, user, password);
    explicit_bzero(password, sizeof password);
    if (!sent)
        return ACCESS_ASK;
    if (right)
        guesses_right(guesses, address, now);
    else if (guesses_wrong(guesses, address, compared, now))
        log_wrong(address);
    return right ? ACCESS_ALLOWED : compared ? ACCESS_ASK : ACCESS_SLOWED;
}

enum access_result access_check(const struct config *config, struct guesses *guesses, const struct request *request)
{
    if (config->admin == ADMIN_SERVER)
        return is_let_in(request) ? ACCESS_ALLOWED : ACCESS_NOT_LET_IN;
    return config->admin_password == NULL ? ACCESS_NONE : check_password(config, guesses, request);
}

/* ---- tokens ---- */

void tokens_init(struct tokens *tokens)
{
    *tokens = (struct tokens){0};
    pthread_mutex_init(&tokens->lock, NULL);
}

void tokens_free(struct tokens *tokens)
{
    explicit_bzero(tokens->secret, sizeof tokens->secret);
    pthread_mutex_destroy(&tokens->lock);
}

static bool read_secret(const char *path, unsigned char secret[static TOKEN_SECRET])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool good = read(fd, secret, TOKEN_SECRET) == TOKEN_SECRET;
    close(fd);
    return good;
}

/* Makes the file, unless another process does so at the same time: it has the lock on the unfinished one, which is
 * taken over where it was killed. */
static void make_secret(const char *path, const unsigned char secret[static TOKEN_SECRET])
{
    char made[PATH_MAX];
    if (snprintf(made, sizeof made, "%s.new", path) >= (int)sizeof made)
        return;
    int fd = open(made, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    if (flock(fd, LOCK_EX) == 0 && lock_is_current(fd, made)) {
        unsigned char ignored[TOKEN_SECRET];
        bool good = !read_secret(path, ignored) && pwrite(fd, secret, TOKEN_SECRET, 0) == TOKEN_SECRET &&
                    rename(made, path) == 0; /* also over half a file, left by a full disk */
        if (!good)
            unlink(made);
    }
    close(fd);
}

/* Under the lock. */
static bool find_secret(struct tokens *tokens, const struct config *config)
{
    char path[PATH_MAX];
    if (tokens->known)
        return true;
    _Static_assert(TOKEN_SECRET == KEPT_SECRET, "either may be it");
    tokens->known = kept_secret(config, tokens->secret);
    if (tokens->known)
        return true;
    if (getrandom(tokens->secret, TOKEN_SECRET, 0) != TOKEN_SECRET)
        return false;
    if (config_state_dir(config) != NULL) {
        unsigned char shared[TOKEN_SECRET];
        snprintf(path, sizeof path, "%s/status.secret", config->state_dir);
        if (!read_secret(path, shared))
            make_secret(path, tokens->secret);
        if (read_secret(path, shared))
            memcpy(tokens->secret, shared, TOKEN_SECRET);
    }
    tokens->known = !kept_is_shared(config); /* else one is found, which all machines have */
    return true;
}

static void token_of(const struct tokens *tokens, int64_t hour, char out[static TOKEN_SIZE])
{
    unsigned char digest[SHA256_BYTES];
    struct hmac hmac;
    char text[48];
    int n = snprintf(text, sizeof text, "status %lld", (long long)hour);
    hmac_begin(&hmac, tokens->secret, TOKEN_SECRET);
    hmac_add(&hmac, text, (size_t)n);
    hmac_end(&hmac, digest);
    text_hex_encode(digest, sizeof digest, out);
}

bool tokens_make(struct tokens *tokens, const struct config *config, int64_t now_ms, char out[static TOKEN_SIZE])
{
    pthread_mutex_lock(&tokens->lock);
    bool made = find_secret(tokens, config);
    if (made)
        token_of(tokens, now_ms / HOUR_MS, out);
    pthread_mutex_unlock(&tokens->lock);
    return made;
}

bool tokens_are_good(struct tokens *tokens, const struct config *config, int64_t now_ms, const char *token)
{
    char right[TOKEN_SIZE];
    bool good = false;
    pthread_mutex_lock(&tokens->lock);
    for (int64_t hour = now_ms / HOUR_MS; find_secret(tokens, config) && hour >= now_ms / HOUR_MS - 1; hour--) {
        token_of(tokens, hour, right);
        good |= is_same(right, token);
    }
    pthread_mutex_unlock(&tokens->lock);
    return good;
}
