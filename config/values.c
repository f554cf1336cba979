/* What values hold: words of lists, URLs, files with secrets. */
#include "config/internal.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/escape.h"
#include "base/files.h"
#include "base/program_name.h"
#include "base/text.h"

/* ---- URLs. Reasons never contain the URL, since it may contain keys or passwords. ---- */

#define EXAMPLE "write it like https://HOST, https://HOST:PORT/PATH or file:///PATH"

static bool port_is_good(const char *port)
{
    int64_t number;
    return *port == '\0' || (text_read_count(port, &number) == TEXT_READ && number >= 1 && number <= 65535);
}

/* Validates a host or [address] with an optional port. */
static bool authority_is_good(const char *authority, size_t length)
{
    char copy[300];
    if (length >= sizeof copy)
        return false;
    memcpy(copy, authority, length);
    copy[length] = '\0';
    bool bracketed = copy[0] == '[';
    const char *host = bracketed ? copy + 1 : copy;
    size_t host_length = strspn(host, bracketed ? "0123456789abcdefABCDEF:."
                                                : "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._");
    const char *end = host + host_length;
    if (host_length == 0 || (bracketed && *end++ != ']'))
        return false;
    return *end == '\0' || (*end == ':' && port_is_good(end + 1));
}

/* Whether the path ends with the endpoint that the program itself appends; RudderStack shows such URLs. */
static bool ends_with_endpoint(const char *path, size_t length)
{
    static const char *const endpoints[] = {"/v1", "/v1/batch", "/v1/track", "/v1/webhook"};
    for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++) {
        size_t end = strlen(endpoints[i]);
        if (length >= end && memcmp(path + length - end, endpoints[i], end) == 0)
            return true;
    }
    return false;
}

static const char *fault_of_authority(const char *authority)
{
    size_t length = strcspn(authority, "/?#");
    if (memchr(authority, '@', length) != NULL)
        return "must not have a user or password in it: the write key goes into write_key";
    if (strpbrk(authority, "?#") != NULL)
        return "must end before the ? or #: the write key goes into write_key";
    if (length == 0)
        return "names no host: " EXAMPLE;
    if (!authority_is_good(authority, length))
        return "has a host or port that cannot be: " EXAMPLE;
    return NULL;
}

static const char *fault_of_http(const char *authority)
{
    const char *fault = fault_of_authority(authority);
    if (fault != NULL)
        return fault;
    size_t length = strcspn(authority, "/");
    size_t path = strlen(authority + length);
    while (path > 0 && authority[length + path - 1] == '/')
        path--;
    if (ends_with_endpoint(authority + length, path))
        return "must end before /v1: the program adds that itself";
    return NULL;
}

static const char *fault_of_api(const char *authority)
{
    if (strpbrk(authority, "@?#") != NULL)
        return "must be the bare address, like https://api.close.com/api/v1: the key goes into close_api_key";
    return fault_of_authority(authority);
}

static const char *fault_of_file(const char *rest)
{
    if (rest[0] != '/')
        return "must be file:/// with three slashes and an absolute path";
    if (value_is_address(rest, false)) /* it is shown where it cannot be written */
        return "must be file:/// and a path, with no address in it (which is not shown, for a password may be in it)";
    if (rest[strlen(rest) - 1] == '/')
        return "must name a file, not a folder";
    return NULL;
}

static const char *fault_of_characters(const char *text, bool file)
{
    for (const char *c = text; *c != '\0'; c++) {
        bool beyond_ascii = (unsigned char)*c >= 0x80;
        if (beyond_ascii && !file)
            return "has a character beyond ASCII: write the host as xn--..., the path with %XX";
        if (!beyond_ascii && (!isgraph((unsigned char)*c) || strchr("\"'<>\\^`{|}", *c) != NULL))
            return "has a blank or another character that no URL has: " EXAMPLE;
    }
    return NULL;
}

struct scheme {
    const char *start;
    const char *(*fault)(const char *rest); /* what must follow it, in words; NULL: no rule */
};

/* Validates a URL with one of the schemes and returns a copy, with the scheme as it is spelt there. NULL with the
 * reason. */
static char *read_url(const char *text, const struct scheme *schemes, size_t count, const char *wanted,
                      struct error *why)
{
    for (size_t i = 0; i < count; i++) {
        size_t scheme = strlen(schemes[i].start);
        if (strncasecmp(text, schemes[i].start, scheme) != 0)
            continue;
        const char *fault = fault_of_characters(text, schemes[i].fault == fault_of_file);
        if (fault == NULL)
            fault = schemes[i].fault(text + scheme);
        char *url = fault == NULL ? strdup(text) : NULL;
        if (url == NULL)
            error_set(why, "%s", fault != NULL ? fault : "could not be read: out of memory");
        else
            memcpy(url, schemes[i].start, scheme);
        return url;
    }
    error_set(why, "must begin with %s", wanted);
    return NULL;
}

/* The program appends a path of its own. url: NULL is left alone. Returns url. */
static char *without_last_slashes(char *url)
{
    for (size_t end = url == NULL ? 0 : strlen(url); end > 0 && url[end - 1] == '/'; end--)
        url[end - 1] = '\0';
    return url;
}

char *url_data_plane(const char *text, struct error *why)
{
    static const struct scheme schemes[] = {
        {"https://", fault_of_http}, {"http://", fault_of_http}, {"file://", fault_of_file}};
    return without_last_slashes(
        read_url(text, schemes, sizeof schemes / sizeof *schemes, "https://, http:// or file:///: " EXAMPLE, why));
}

char *url_close_api(const char *text, struct error *why)
{
    static const struct scheme schemes[] = {{"https://", fault_of_api}, {"http://", fault_of_api}};
    return without_last_slashes(read_url(text, schemes, sizeof schemes / sizeof *schemes,
                                         "https:// or http://, like https://api.close.com/api/v1", why));
}

/* A service's address as it shows it: the path, and all behind it, may be the secret. */
static const char *fault_of_webhook(const char *authority)
{
    size_t length = strcspn(authority, "/?#");
    if (memchr(authority, '@', length) != NULL)
        return "must not have a user or password before the host";
    if (strchr(authority, '#') != NULL)
        return "must end before the #";
    return length > 0 && authority_is_good(authority, length) ? NULL : "has no host, or a host or port that cannot be";
}

/* Without TLS only what does not leave this machine. */
static const char *fault_of_loopback(const char *authority)
{
    char host[URL_HOST];
    if (!config_host_is_loopback(config_url_host(authority, host)))
        return "must begin with https:// (http:// only for this machine: http://127.0.0.1)";
    return fault_of_webhook(authority);
}

/* The same for an alert_webhook_url, which is kept as it is written. */
static char *url_webhook(const char *text, struct error *why)
{
    static const struct scheme schemes[] = {{"https://", fault_of_webhook}, {"http://", fault_of_loopback}};
    return read_url(text, schemes, sizeof schemes / sizeof *schemes, "https://", why);
}

const char *config_url_host(const char *url, char out[static URL_HOST])
{
    const char *scheme = strstr(url, "://");
    const char *host = scheme == NULL ? url : scheme + 3;
    size_t length = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/?#");
    snprintf(out, URL_HOST, "%.*s", (int)(length < URL_HOST ? length : URL_HOST - 1), host);
    return out;
}

bool config_host_is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0;
}

/* ---- files with secrets: only regular files that others cannot read ---- */

void secret_free(void *data, size_t length)
{
    if (data == NULL)
        return;
    explicit_bzero(data, length);
    free(data);
}

void file_free(char *data, size_t length)
{
    secret_free(data, length);
}

static void why_not_open(const char *path, int error, struct error *why)
{
    char user[OWNER_NAME], owner[OWNER_NAME];
    struct stat status;
    bool is_known = error == EACCES && stat(path, &status) == 0;
    owner_name(geteuid(), user);
    if (is_known && status.st_uid == 0)
        error_set(why,
                  "%.200s: user %s, as which this runs, may not read it, for it is root's%s: run this as root (sudo "
                  "%s ...)",
                  path, user, (status.st_mode & S_IRGRP) != 0 ? ", and its group's" : "", program_name());
    else if (is_known && status.st_uid != geteuid())
        error_set(why,
                  "%.200s: user %s, as which this runs, may not read it, for it is %s's: run this as that user; if the "
                  "program is to run as %s, let %s own it",
                  path, user, owner_name(status.st_uid, owner), user, user);
    else if (error == EACCES)
        error_set(why, "%.300s: user %s, as which this runs, may not read it%s", path, user,
                  is_known ? ", for its permissions do not let its owner: chmod 600" : ", nor look into its folder");
    else
        error_set(why, "%.300s: cannot be read: %s", path, strerror(error));
}

static bool may_be_used(int descriptor, const char *path, struct error *why)
{
    struct stat status;
    if (fstat(descriptor, &status) != 0) {
        error_set(why, "%.300s: cannot be looked at: %s", path, strerror(errno));
        return false;
    }
    if (!S_ISREG(status.st_mode)) {
        error_set(why, "%.300s: is not a regular file", path);
        return false;
    }
    if ((status.st_mode & S_IRWXO) == 0)
        return true;
    char *quoted = escape_shell(path);
    if (quoted == NULL)
        error_set(why, "%.300s: out of memory", path);
    else
        error_set(why, "%s: others can read it, and there are secrets in it; run: chmod o-rwx %s", path, quoted);
    free(quoted);
    return false;
}

static char *read_descriptor(int descriptor, const char *path, size_t *length, struct error *why)
{
    char *data = malloc(FILE_LIMIT + 1);
    if (data == NULL) {
        error_set(why, "%.300s: cannot be read: out of memory", path);
        return NULL;
    }
    ssize_t got = files_read_all(descriptor, data, FILE_LIMIT + 1);
    if (got < 0)
        error_set(why, "%.300s: cannot be read: %s", path, strerror(errno));
    else if (got > FILE_LIMIT)
        error_set(why, "%.300s: is larger than %d KiB; is it the right file?", path, FILE_LIMIT / 1024);
    if (got < 0 || got > FILE_LIMIT) {
        file_free(data, FILE_LIMIT + 1);
        return NULL;
    }
    size_t mark = got >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    *length = (size_t)got - mark;
    memmove(data, data + mark, *length);
    explicit_bzero(data + *length, mark + 1);
    return data;
}

char *file_read_from_disk(const char *path, size_t *length, struct error *why)
{
    /* Without O_NONBLOCK, opening a FIFO would block the start. */
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (descriptor < 0) {
        why_not_open(path, errno, why);
        return NULL;
    }
    char *data = may_be_used(descriptor, path, why) ? read_descriptor(descriptor, path, length, why) : NULL;
    close(descriptor);
    return data;
}

char *file_read(const char *path, size_t *length, struct error *why)
{
    char *data = as_read_find(path, length);
    if (data != NULL)
        return data;
    data = file_read_from_disk(path, length, why);
    if (data != NULL)
        as_read_note(path, data, *length);
    return data;
}

/* ---- words of lists ---- */

static bool separates(char c)
{
    return c == ',' || isspace((unsigned char)c);
}

const char *value_word(const char **rest, size_t *length)
{
    const char *start = *rest;
    while (*start != '\0' && separates(*start))
        start++;
    const char *end = start;
    while (*end != '\0' && !separates(*end))
        end++;
    *rest = end;
    *length = (size_t)(end - start);
    return end == start ? NULL : start;
}

size_t value_control(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] != '\t' && ((unsigned char)text[i] < 0x20 || text[i] == 0x7f))
            return i + 1;
    }
    return 0;
}

bool value_is_address(const char *text, bool is_path)
{
    if (strstr(text, "://") != NULL || strstr(text, "password=") != NULL)
        return true;
    const char *colon = strchr(text, ':'); /* USER:PASSWORD@HOST */
    return colon != NULL && strchr(colon, '@') != NULL && !(is_path && text[0] == '/' && text[1] != '/');
}

/* ---- The types of the keys that are for watching: a password, and a command with its arguments. ---- */

#define PASSWORD_LEAST 8   /* minimum length: the page is open to the internet */
#define PASSWORD_MOST 500  /* maximum that HTTP Basic can carry here */
#define ARGUMENTS_MOST 100 /* arguments of a command */

bool password_store(const struct key *key, void *base, char *text)
{
    secret_clear(key, base);
    memcpy(key_field(key, base), &text, sizeof text);
    return text != NULL;
}

static bool password_parse(const struct key *key, const char *text, void *base, struct error *why)
{
    size_t length = strlen(text);
    if (length < PASSWORD_LEAST || length > PASSWORD_MOST || value_control(text, length) != 0) {
        error_set(why, "must be %d to %d characters in one line", PASSWORD_LEAST, PASSWORD_MOST);
        return false;
    }
    char *copy = strdup(text);
    if (copy == NULL)
        error_set(why, "could not be read: out of memory");
    return password_store(key, base, copy);
}

/* Returns the next word of a command line: separated by blanks, quoted by double quotes. The caller frees it. NULL:
 * none, with a reason if that is an error. */
static char *next_word(const char **rest, struct error *why)
{
    const char *at = *rest;
    while (isspace((unsigned char)*at))
        at++;
    char *word = *at == '\0' ? NULL : malloc(strlen(at) + 1);
    size_t length = 0;
    bool quoted = false;
    if (word == NULL) {
        error_set(why, "%s", *at == '\0' ? "" : "could not be read: out of memory");
        return NULL;
    }
    for (; *at != '\0' && (quoted || !isspace((unsigned char)*at)); at++) {
        if (*at == '"')
            quoted = !quoted;
        else
            word[length++] = *at;
    }
    word[length] = '\0';
    *rest = at;
    if (!quoted)
        return word;
    error_set(why, "has a double quote without its end");
    free(word);
    return NULL;
}

static void command_clear(const struct key *key, void *base)
{
    struct strings *words = key_field(key, base);
    for (size_t i = 0; i < words->count; i++)
        free(words->at[i]);
    free(words->at);
    *words = (struct strings){0};
}

static bool add_words(struct strings *words, const char *text, struct error *why)
{
    char *word;
    while ((word = next_word(&text, why)) != NULL) {
        if (words->count == ARGUMENTS_MOST) {
            error_set(why, "has more than %d words", ARGUMENTS_MOST);
            free(word);
            return false;
        }
        words->at[words->count++] = word;
    }
    return why->text[0] == '\0';
}

/* Builds a NULL-terminated argv. */
static bool command_parse(const struct key *key, const char *text, void *base, struct error *why)
{
    struct strings *words = key_field(key, base);
    struct error none = {0};
    if (why == NULL)
        why = &none;
    error_set(why, "%s", "");
    command_clear(key, base);
    words->at = calloc(ARGUMENTS_MOST + 1, sizeof *words->at);
    if (words->at == NULL) {
        error_set(why, "could not be read: out of memory");
        return false;
    }
    if (!add_words(words, text, why))
        return false;
    const char *program = words->at[0];
    if (program == NULL || program[0] != '/' || value_is_address(program, true))
        error_set(why, "must begin with the whole path of a program, such as /usr/local/bin/tell-me");
    else if (access(program, X_OK) != 0 && !path_may_be_shown(program, program))
        error_set(why, "names a program that is not there, in a folder that is not there");
    else if (access(program, X_OK) != 0)
        error_set(why, "names %.300s, which cannot be executed: %s", program, strerror(errno));
    return why->text[0] == '\0';
}

/* ---- a secret address ---- */

static bool webhook_url_parse(const struct key *key, const char *text, void *base, struct error *why)
{
    return password_store(key, base, url_webhook(text, why));
}

const struct type type_password = {"password", false, false, password_parse, secret_clear, NULL};
const struct type type_webhook_url = {"URL", false, false, webhook_url_parse, secret_clear, NULL};
const struct type type_command = {"program and arguments", false, false, command_parse, command_clear, NULL};
