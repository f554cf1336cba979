/* Access to the status page: see access.h. Passwords are compared by their digests, in a time that tells nothing. */
#include "status/access.h"

#include <fcntl.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define DIGEST 32
#define HOUR_MS ((int64_t)3600000)

static bool digest_of(const char *text, unsigned char out[static DIGEST])
{
    return EVP_Digest(text, strlen(text), out, NULL, EVP_sha256(), NULL) == 1;
}

static bool is_same(const char *a, const char *b)
{
    unsigned char left[DIGEST], right[DIGEST];
    return digest_of(a, left) && digest_of(b, right) && CRYPTO_memcmp(left, right, DIGEST) == 0;
}

enum access access_check(const struct config *config, const struct request *request)
{
    char user[64], password[512];
    if (config->admin == ADMIN_SERVER)
        return request_variable(request, "REMOTE_USER") != NULL ? ACCESS_ALLOWED : ACCESS_NOT_LET_IN;
    if (config->admin_password == NULL)
        return ACCESS_NONE;
    bool good = request_basic(request, user, sizeof user, password, sizeof password);
    bool right_password = is_same(password, config->admin_password);
    bool right_user = is_same(user, "admin");
    OPENSSL_cleanse(password, sizeof password);
    return good && right_user && right_password ? ACCESS_ALLOWED : ACCESS_ASK;
}

void tokens_init(struct tokens *tokens)
{
    *tokens = (struct tokens){0};
    pthread_mutex_init(&tokens->lock, NULL);
}

void tokens_free(struct tokens *tokens)
{
    OPENSSL_cleanse(tokens->secret, sizeof tokens->secret);
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

/* Makes the file, unless another process does so at the same time: a link never takes another's place. */
static void make_secret(const char *path, const unsigned char secret[static TOKEN_SECRET])
{
    char made[PATH_MAX];
    if (snprintf(made, sizeof made, "%s.%ld", path, (long)getpid()) >= (int)sizeof made)
        return;
    int fd = open(made, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    bool good = write(fd, secret, TOKEN_SECRET) == TOKEN_SECRET;
    close(fd);
    if (good && link(made, path) != 0) {
        unsigned char ignored[TOKEN_SECRET];
        if (!read_secret(path, ignored)) { /* half a file, left by a full disk */
            int renamed = rename(made, path);
            (void)renamed;
        }
    }
    unlink(made);
}

/* Under the lock. */
static bool find_secret(struct tokens *tokens, const struct config *config)
{
    char path[PATH_MAX];
    if (tokens->known)
        return true;
    if (getrandom(tokens->secret, TOKEN_SECRET, 0) != TOKEN_SECRET)
        return false;
    if (config->queue == QUEUE_SQLITE && config->state_dir != NULL) {
        unsigned char shared[TOKEN_SECRET];
        snprintf(path, sizeof path, "%s/status.secret", config->state_dir);
        if (!read_secret(path, shared))
            make_secret(path, tokens->secret);
        if (read_secret(path, shared))
            memcpy(tokens->secret, shared, TOKEN_SECRET);
    }
    tokens->known = true;
    return true;
}

static bool token_of(const struct tokens *tokens, int64_t hour, char out[static TOKEN_SIZE])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    char text[48];
    int n = snprintf(text, sizeof text, "status %lld", (long long)hour);
    if (HMAC(EVP_sha256(), tokens->secret, TOKEN_SECRET, (const unsigned char *)text, (size_t)n, digest, &length) ==
            NULL ||
        length != DIGEST)
        return false;
    for (size_t i = 0; i < DIGEST; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
    return true;
}

bool tokens_make(struct tokens *tokens, const struct config *config, int64_t now_ms, char out[static TOKEN_SIZE])
{
    pthread_mutex_lock(&tokens->lock);
    bool made = find_secret(tokens, config) && token_of(tokens, now_ms / HOUR_MS, out);
    pthread_mutex_unlock(&tokens->lock);
    return made;
}

bool tokens_are_good(struct tokens *tokens, const struct config *config, int64_t now_ms, const char *token)
{
    char right[TOKEN_SIZE];
    bool good = false;
    pthread_mutex_lock(&tokens->lock);
    for (int64_t hour = now_ms / HOUR_MS; find_secret(tokens, config) && hour >= now_ms / HOUR_MS - 1; hour--)
        good |= token_of(tokens, hour, right) && is_same(right, token);
    pthread_mutex_unlock(&tokens->lock);
    return good;
}
