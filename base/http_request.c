/* The one set-up of libcurl: see http_request.h. */
#include "base/http_request.h"

#include <ctype.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

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

/* ---- kept connections ---- */

void http_sockets_free(struct http_sockets *sockets)
{
    free(sockets->at);
    *sockets = (struct http_sockets){.at = NULL};
}

static bool sockets_add(struct http_sockets *sockets, int fd)
{
    if (sockets->count == sockets->capacity) {
        size_t capacity = sockets->capacity + 16;
        struct http_socket *more = realloc(sockets->at, capacity * sizeof *more);
        if (more == NULL)
            return false;
        sockets->at = more;
        sockets->capacity = capacity;
    }
    sockets->at[sockets->count++] = (struct http_socket){.fd = fd};
    return true;
}

static int close_socket(void *context, curl_socket_t fd)
{
    struct http_sockets *sockets = context;
    for (size_t i = 0; i < sockets->count; i++) {
        if (sockets->at[i].fd == fd)
            sockets->at[i] = sockets->at[--sockets->count];
    }
    return close(fd);
}

/* The socket of the current request's connection; NULL: not known. */
static struct http_socket *socket_of(const struct http_request *request)
{
    struct http_sockets *sockets = request->sockets;
    for (size_t i = 0; sockets != NULL && i < sockets->count; i++) {
        if (sockets->at[i].fd == request->fd)
            return &sockets->at[i];
    }
    return NULL;
}

static int port_in(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)address)->sin_port);
    return address->ss_family == AF_INET6 ? ntohs(((const struct sockaddr_in6 *)address)->sin6_port) : -1;
}

static bool is_between(int fd, int own_port, int peer_port)
{
    struct sockaddr_storage own = {.ss_family = AF_UNSPEC}, peer = own;
    socklen_t own_size = sizeof own, peer_size = sizeof peer;
    return getsockname(fd, (struct sockaddr *)&own, &own_size) == 0 &&
           getpeername(fd, (struct sockaddr *)&peer, &peer_size) == 0 && port_in(&own) == own_port &&
           port_in(&peer) == peer_port;
}

/* libcurl's callback when it has a connection and is about to send. Where something has come unasked on one that is
 * used again, nothing can be sent on it any more: libcurl then opens a new one by itself. */
static int before_request(void *context, char *peer, char *own, int peer_port, int own_port)
{
    struct http_request *request = context;
    struct http_sockets *sockets = request->sockets;
    char byte;
    (void)peer, (void)own;
    request->fd = -1;
    for (size_t i = 0; i < sockets->count && request->fd < 0; i++) {
        if (is_between(sockets->at[i].fd, own_port, peer_port))
            request->fd = sockets->at[i].fd;
    }
    const struct http_socket *found = socket_of(request);
    if (found != NULL && found->one_at_a_time && recv(found->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
        shutdown(found->fd, SHUT_RDWR);
    return CURL_PREREQFUNC_OK;
}

/* ---- setting up ---- */

/* Sets close-on-exec, which libcurl does not, because the program re-executes itself and starts children. Without a
 * limit the kernel's send buffer takes megabytes at once and sends them over a slow line while libcurl sees only
 * silence. */
static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
    const struct http_request *request = context;
    (void)purpose;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd >= 0 && request->send_buffer > 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &request->send_buffer, sizeof request->send_buffer);
    if (fd < 0 || request->sockets == NULL || sockets_add(request->sockets, fd))
        return fd;
    close(fd);
    return CURL_SOCKET_BAD;
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

/* Whether the line is of HTTP/2 or 3, whose answers say whose they are. */
static bool is_multiplexed(const char *line, size_t length)
{
    const char *version = line + strlen("HTTP/");
    return length > strlen("HTTP/2") && (version[0] == '2' || version[0] == '3') && version[1] == ' ';
}

/* The status of `HTTP/1.1 200` or `HTTP/2 200`; 0: it is none. libcurl 7.88 takes other lines that begin with `HTTP/`
 * for ones with the status 200, or with what it finds in them, and any release the status 000. */
static int status_of(const char *line, size_t length)
{
    size_t at = strlen(is_multiplexed(line, length) ? "HTTP/2" : "HTTP/1.1");
    int status = 0;
    if (at + 4 > length || line[at] != ' ' || line[at + 1] == '0')
        return 0;
    if (at > strlen("HTTP/2") &&
        (!isdigit((unsigned char)line[5]) || line[6] != '.' || !isdigit((unsigned char)line[7])))
        return 0;
    for (size_t i = at + 1; i < at + 4; i++) {
        if (!isdigit((unsigned char)line[i]))
            return 0;
        status = status * 10 + (line[i] - '0');
    }
    return status;
}

static bool is_sent_whole(const struct http_request *request)
{
    curl_off_t sent = 0, whole = 0;
    return curl_easy_getinfo(request->easy, CURLINFO_CONTENT_LENGTH_UPLOAD_T, &whole) != CURLE_OK ||
           curl_easy_getinfo(request->easy, CURLINFO_SIZE_UPLOAD_T, &sent) != CURLE_OK || sent >= whole;
}

/* Returns whether the answer can be the current request's. */
static bool take_status(struct http_request *request, const char *line, size_t length)
{
    int status = status_of(line, length);
    request->has_status = status != 0;
    bool one_at_a_time = !is_multiplexed(line, length);
    struct http_socket *used = socket_of(request);
    if (used != NULL)
        used->one_at_a_time = one_at_a_time;
    if (request->sockets != NULL)
        curl_easy_setopt(request->easy, CURLOPT_FORBID_REUSE, one_at_a_time && status != 200 ? 1L : 0L);
    request->early = one_at_a_time && status / 100 == 2 && !is_sent_whole(request);
    return !request->early;
}

static size_t take_header(char *line, size_t size, size_t count, void *context)
{
    struct http_request *request = context;
    size_t length = size * count;
    bool begins = !request->in_headers && length >= strlen("HTTP/") && strncasecmp(line, "HTTP/", strlen("HTTP/")) == 0;
    if (begins && !take_status(request, line, length))
        return 0;
    request->in_headers = length > 0 && line[0] != '\r' && line[0] != '\n'; /* behind an interim answer comes another */
    request->head_whole = !request->in_headers || (request->head_whole && !begins);
    return request->take_header == NULL ? length : request->take_header(line, size, count, request->context);
}

static CURLcode watch_connections(struct http_request *request, const struct http_options *options)
{
    CURL *easy = request->easy;
    request->sockets = options->sockets;
    request->send_buffer = (int)options->send_buffer;
    CURLcode failed = curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    failed |= curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, request);
    failed |= curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    failed |= curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L); /* a proxy's, which are no answer */
    if (request->sockets == NULL)
        return failed;
    failed |= curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    failed |= curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, request->sockets);
    failed |= curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, before_request);
    failed |= curl_easy_setopt(easy, CURLOPT_PREREQDATA, request);
    return failed;
}

static CURLcode set_options(struct http_request *request, const struct http_options *options)
{
    CURL *easy = request->easy;
    CURLcode failed = watch_connections(request, options);
    failed |= curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    failed |= curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    failed |= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    failed |= curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* never wait for a hanging resolver */
    failed |= curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, options->connect_ms);
    failed |= curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, options->whole_ms);
    failed |= curl_easy_setopt(easy, CURLOPT_USERAGENT, options->agent);
    failed |= curl_easy_setopt(easy, CURLOPT_HTTPHEADER, request->headers);
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
    request->has_status = request->head_whole = request->in_headers = request->early = false;
    request->fd = -1;
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
    if (result == CURLE_OK && !request->head_whole) { /* libcurl takes that for a whole answer */
        snprintf(request->error, sizeof request->error, "the connection was cut within the headers of the answer");
        return CURLE_RECV_ERROR;
    }
    if (result == CURLE_OK) {
        request->error[0] = '\0';
        return result;
    }
    if (request->early) {
        snprintf(request->error, sizeof request->error,
                 "an answer came before the request was sent whole: it is none to it");
        return CURLE_SEND_ERROR;
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
