/* Validation of data_plane_url and close_api_url. Reasons never contain the URL, since it may contain keys or
 * passwords. */
#include "config/internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

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

char *url_webhook(const char *text, struct error *why)
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
