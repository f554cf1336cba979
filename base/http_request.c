/* The one set-up of libcurl: see http_request.h. */
#include "base/http_request.h"

#include <ctype.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

/* A thread that waits for the resolver to answer for one host name. */
struct asker {
    char host[256];
    struct asker *next;
};

/* Static, because hanging threads outlive everything else in the process. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct asker *askers; /* at most one of each host; guarded by lock */

/* With the lock held. */
static bool is_asked(const char *host)
{
    const struct asker *asker = askers;
    while (asker != NULL && strcmp(asker->host, host) != 0)
        asker = asker->next;
    return asker != NULL;
}

static void *wait_for_lookup(void *context)
{
    const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM};
    struct asker *asker = context;
    struct addrinfo *found = NULL;
    if (getaddrinfo(asker->host, NULL, &wanted, &found) == 0) /* any answer counts, also an error */
        freeaddrinfo(found);
    pthread_mutex_lock(&lock);
    struct asker **link = &askers;
    while (*link != asker)
        link = &(*link)->next;
    *link = asker->next;
    pthread_mutex_unlock(&lock);
    free(asker);
    return NULL;
}

/* Starts a detached thread with all signals blocked. */
static bool start_asker(struct asker *asker)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&thread, NULL, wait_for_lookup, asker) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started)
        pthread_detach(thread);
    return started;
}

/* Called when a lookup of this host was given up. Without memory or a thread, the next try simply starts another
 * lookup. */
static void lookup_given_up(const char *host)
{
    pthread_mutex_lock(&lock);
    struct asker *asker = is_asked(host) ? NULL : calloc(1, sizeof *asker);
    if (asker != NULL) {
        snprintf(asker->host, sizeof asker->host, "%s", host);
        asker->next = askers;
        askers = asker; /* before the thread starts, which removes its own entry */
        if (!start_asker(asker)) {
            askers = asker->next;
            free(asker);
        }
    }
    pthread_mutex_unlock(&lock);
}

/* libcurl's callback before a name lookup. Returns nonzero to prevent it. */
static int lookup_may_begin(void *state, void *reserved, void *context)
{
    (void)state;
    (void)reserved;
    struct lookup *lookup = context;
    pthread_mutex_lock(&lock);
    lookup->refused = is_asked(lookup->host);
    pthread_mutex_unlock(&lock);
    lookup->begun = !lookup->refused;
    return lookup->refused ? 1 : 0;
}

static bool read_host(char host[static 256], const char *url)
{
    char *part = NULL;
    CURLU *parsed = curl_url();
    bool read = parsed != NULL && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
                curl_url_get(parsed, CURLUPART_HOST, &part, 0) == CURLUE_OK && strlen(part) < 256;
    if (read)
        snprintf(host, 256, "%s", part);
    curl_free(part);
    curl_url_cleanup(parsed);
    return read;
}

static CURLcode watch_lookups(struct http_request *request, const char *url)
{
    if (!read_host(request->lookup.host, url))
        return CURLE_OK; /* libcurl itself reports an invalid URL */
    CURLcode failed = curl_easy_setopt(request->easy, CURLOPT_RESOLVER_START_FUNCTION, lookup_may_begin);
    failed |= curl_easy_setopt(request->easy, CURLOPT_RESOLVER_START_DATA, &request->lookup);
    return failed;
}

/* ---- setting up ---- */

/* Sets close-on-exec, which libcurl does not, because the program re-executes itself and starts children. Without a
 * limit the kernel's send buffer takes megabytes at once and sends them over a slow line while libcurl sees only
 * silence. */
static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)purpose;
    int bytes = (int)(intptr_t)context;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd >= 0 && bytes > 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    return fd;
}

static bool add_header(struct http_request *request, const char *line)
{
    struct curl_slist *longer = curl_slist_append(request->headers, line);
    request->headers = longer != NULL ? longer : request->headers;
    return longer != NULL;
}

static bool add_headers(struct http_request *request, const char *const *lines)
{
    bool added = add_header(request, "Expect:"); /* not to wait for a "100 Continue" */
    for (; added && lines != NULL && *lines != NULL; lines++)
        added = add_header(request, *lines);
    return added;
}

static size_t drop_body(char *data, size_t size, size_t count, void *context)
{
    (void)data, (void)context;
    return size * count;
}

/* Whether the line is `HTTP/1.1 200` and so on. libcurl 7.88 takes any line that begins with `HTTP/` for one with the
 * status 200, and any release the status 000. */
static bool is_status_line(const char *line, size_t length)
{
    size_t at = strlen("HTTP/");
    while (at < length && (isdigit((unsigned char)line[at]) || line[at] == '.'))
        at++;
    return at + 4 <= length && line[at] == ' ' && line[at + 1] > '0' && isdigit((unsigned char)line[at + 1]) &&
           isdigit((unsigned char)line[at + 2]) && isdigit((unsigned char)line[at + 3]);
}

static size_t take_header(char *line, size_t size, size_t count, void *context)
{
    struct http_request *request = context;
    size_t length = size * count;
    if (!request->in_headers && length >= strlen("HTTP/") && strncasecmp(line, "HTTP/", strlen("HTTP/")) == 0)
        request->has_status = is_status_line(line, length);
    request->in_headers = length > 0 && line[0] != '\r' && line[0] != '\n'; /* behind an interim answer comes another */
    return request->take_header == NULL ? length : request->take_header(line, size, count, request->context);
}

static CURLcode set_options(struct http_request *request, const struct http_options *options)
{
    CURL *easy = request->easy;
    CURLcode failed = CURLE_OK;
    failed |= curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    failed |= curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    failed |= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    failed |= curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* never wait for a hanging resolver */
    failed |= curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, options->connect_ms);
    failed |= curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, options->whole_ms);
    failed |= curl_easy_setopt(easy, CURLOPT_USERAGENT, options->agent);
    failed |= curl_easy_setopt(easy, CURLOPT_HTTPHEADER, request->headers);
    failed |= curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    failed |= curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, (void *)(intptr_t)options->send_buffer);
    failed |=
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, options->take_body == NULL ? drop_body : options->take_body);
    failed |= curl_easy_setopt(easy, CURLOPT_WRITEDATA, options->context);
    request->take_header = options->take_header;
    request->context = options->context;
    failed |= curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    failed |= curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
    failed |= curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error);
    if (options->certificates != NULL)
        failed |= curl_easy_setopt(easy, CURLOPT_CAINFO, options->certificates);
    if (options->user != NULL) {
        failed |= curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        failed |= curl_easy_setopt(easy, CURLOPT_USERNAME, options->user);
        failed |= curl_easy_setopt(easy, CURLOPT_PASSWORD, "");
    }
    if (options->url != NULL) {
        failed |= curl_easy_setopt(easy, CURLOPT_URL, options->url);
        failed |= watch_lookups(request, options->url);
    }
    return failed;
}

bool http_request_open(struct http_request *request, const struct http_options *options)
{
    *request = (struct http_request){.easy = curl_easy_init()};
    if (request->easy != NULL && add_headers(request, options->headers) && set_options(request, options) == CURLE_OK)
        return true;
    http_request_close(request);
    return false;
}

void http_request_close(struct http_request *request)
{
    curl_easy_cleanup(request->easy);
    curl_slist_free_all(request->headers);
    *request = (struct http_request){.easy = NULL};
}

/* ---- one request ---- */

void http_request_begin(struct http_request *request)
{
    request->lookup.begun = request->lookup.refused = false;
    request->has_status = request->in_headers = false;
    request->error[0] = '\0';
}

CURLcode http_request_end(struct http_request *request, CURLcode result)
{
    const struct lookup *lookup = &request->lookup;
    curl_off_t took_us = 0;
    if (result == CURLE_OK && !request->has_status) {
        snprintf(request->error, sizeof request->error, "the answer has no HTTP status");
        return CURLE_WEIRD_SERVER_REPLY;
    }
    if (result == CURLE_OK) {
        request->error[0] = '\0';
        return result;
    }
    if (lookup->refused) {
        snprintf(request->error, sizeof request->error,
                 "the name %.100s is still being looked up: the name server does not answer", lookup->host);
        return CURLE_COULDNT_CONNECT;
    }
    if (request->error[0] == '\0')
        snprintf(request->error, sizeof request->error, "%s", curl_easy_strerror(result));
    if (lookup->begun && result == CURLE_OPERATION_TIMEDOUT &&
        curl_easy_getinfo(request->easy, CURLINFO_NAMELOOKUP_TIME_T, &took_us) == CURLE_OK && took_us == 0)
        lookup_given_up(lookup->host);
    return result;
}
