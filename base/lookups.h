/* Looking names up where the resolver hangs. libcurl looks a name up in a thread of its own and leaves that behind when
 * it gives up: with a resolver that never returns that would be one more thread for each try. So once a lookup has been
 * given up, this process begins no other one of that name until the resolver answers again, which one thread waits for.
 * Behind a proxy libcurl looks the proxy's name up, and not the one that is known here: then nothing is bounded. */
#ifndef BASE_LOOKUPS_H
#define BASE_LOOKUPS_H

#include <curl/curl.h>
#include <stdbool.h>

#include "base/error.h"

/* What is known of one libcurl handle's lookups. Used by the handle's thread only. */
struct lookup {
    char host[256]; /* "": nothing is watched */
    bool begun;     /* by the request in hand */
    bool refused;   /* the request in hand was not let begin one */
};

/* Watches a new handle's lookups, whose requests all go to the host of that URL. lookup must outlive the handle. */
CURLcode lookup_watch(struct lookup *lookup, CURL *easy, const char *url);

/* To be called before each request, ... */
void lookup_begin(struct lookup *lookup);

/* ... and after it, with its result, CURLE_OPERATION_TIMEDOUT when it was given up. Returns whether it failed because
 * another lookup of the name is still under way, and why says so then. */
bool lookup_end(const struct lookup *lookup, CURL *easy, CURLcode result, struct error *why);

#endif
