/* Lookups that hang: see lookups.h. */
#include "base/lookups.h"

#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* A thread that waits for the resolver to answer. */
struct asker {
    char host[256];
    struct asker *next;
};

/* Threads that hang outlive all else in the process, and so does what they use. */
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

static void *ask(void *context)
{
    const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM};
    struct asker *asker = context;
    struct addrinfo *found = NULL;
    if (getaddrinfo(asker->host, NULL, &wanted, &found) == 0) /* whatever it says: it has answered */
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

/* Starts a detached thread that no signal is delivered to. */
static bool start(struct asker *asker)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&thread, NULL, ask, asker) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started)
        pthread_detach(thread);
    return started;
}

/* A lookup of this name was given up. Where there is no memory or no thread for it, the next try begins another one. */
static void given_up(const char *host)
{
    pthread_mutex_lock(&lock);
    struct asker *asker = is_asked(host) ? NULL : calloc(1, sizeof *asker);
    if (asker != NULL) {
        snprintf(asker->host, sizeof asker->host, "%s", host);
        asker->next = askers;
        askers = asker; /* before it is started: it takes itself out */
        if (!start(asker)) {
            askers = asker->next;
            free(asker);
        }
    }
    pthread_mutex_unlock(&lock);
}

/* libcurl is about to look a name up. Returns whether it must not. */
static int may_begin(void *state, void *reserved, void *context)
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

CURLcode lookup_watch(struct lookup *lookup, CURL *easy, const char *url)
{
    *lookup = (struct lookup){.host = ""};
    if (!read_host(lookup->host, url))
        return CURLE_OK; /* libcurl will say what is wrong with it */
    CURLcode failed = curl_easy_setopt(easy, CURLOPT_RESOLVER_START_FUNCTION, may_begin);
    return failed != CURLE_OK ? failed : curl_easy_setopt(easy, CURLOPT_RESOLVER_START_DATA, lookup);
}

void lookup_begin(struct lookup *lookup)
{
    lookup->begun = lookup->refused = false;
}

bool lookup_end(const struct lookup *lookup, CURL *easy, CURLcode result, struct error *why)
{
    curl_off_t took_us = 0;
    if (lookup->refused && result != CURLE_OK) {
        error_set(why, "the name %.100s is still being looked up: the name server does not answer", lookup->host);
        return true;
    }
    bool hangs = lookup->begun && result == CURLE_OPERATION_TIMEDOUT &&
                 curl_easy_getinfo(easy, CURLINFO_NAMELOOKUP_TIME_T, &took_us) == CURLE_OK && took_us == 0;
    if (hangs)
        given_up(lookup->host);
    return false;
}
