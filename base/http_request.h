/* HTTP requests over libcurl, as all of them are set up here: http and https only, no redirects, certificates verified,
 * no signals, close-on-exec sockets, and no lookup of a name that already hangs.
 *
 * libcurl looks a name up in a thread of its own and leaves that behind when it gives up: with a resolver that never
 * returns that would be one more thread for each try. So once a lookup has been given up, this process begins no other
 * one of that name until the resolver answers again, which one thread waits for. Behind a proxy libcurl looks the
 * proxy's name up, and not the one that is known here: then nothing is bounded. */
#ifndef BASE_HTTP_REQUEST_H
#define BASE_HTTP_REQUEST_H

#include <curl/curl.h>
#include <stdbool.h>

/* What is known of one libcurl handle's lookups. */
struct lookup {
    char host[256]; /* "": nothing is watched */
    bool begun;     /* by the request in hand */
    bool refused;   /* the request in hand was not let begin one */
};

/* A handle for one request after another. One thread; it must not move while it is open. All zero: not open. */
struct http_request {
    CURL *easy;
    struct curl_slist *headers;
    struct lookup lookup;
    char error[CURL_ERROR_SIZE]; /* after http_request_end: why there is no answer, in words; "": there is one */
};

struct http_options {
    const char *url; /* its host's lookups are watched; NULL: the caller sets it, and nothing is watched */
    const char *agent;
    const char *user;           /* of HTTP Basic, without a password; NULL: none */
    const char *certificates;   /* file with the roots that are trusted; NULL: libcurl's */
    const char *const *headers; /* lines, ended by NULL; "Expect:" is among them by itself; NULL: no others */
    long connect_ms, whole_ms;  /* 0: libcurl's, and no limit */
    long send_buffer;           /* bytes in the kernel; 0: as it likes */
    curl_write_callback take_body;
    void *context; /* of take_body */
};

/* Opens it; strings are copied. Returns false when memory is out; then nothing is to be closed. */
bool http_request_open(struct http_request *request, const struct http_options *options);

/* To be called before each request, ... */
void http_request_begin(struct http_request *request);

/* ... and after it with its result, CURLE_OPERATION_TIMEDOUT when it was given up. Writes request->error. Returns the
 * result; CURLE_COULDNT_CONNECT when it failed because another lookup of the name is still under way. */
CURLcode http_request_end(struct http_request *request, CURLcode result);

/* Also of one that is not open. */
void http_request_close(struct http_request *request);

#endif
