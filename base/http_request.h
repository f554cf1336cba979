/* HTTP requests by libcurl, with one set of options for all: http and https only, no redirects, certificates verified,
 * no signals, close-on-exec sockets, and no second lookup of a host name while one hangs. libcurl resolves each name in
 * a thread and abandons that thread on a timeout: with a resolver that never returns, every try would leave one more
 * thread. So after a timed-out lookup this process starts no other lookup of the name until the resolver answers again,
 * for which one thread waits. Behind a proxy libcurl resolves the proxy's name, which is not known here: then the
 * number of threads is not bounded.
 *
 * An answer that another request was meant by is not taken. With HTTP/2 each says whose it is. Without, a connection is
 * used again only after a 200: a proxy that gave up and answered may pass on, late, what it had given up. Nor is one
 * used again on which something has come unasked (libcurl 7.88 looks only whether it is closed), and an answer that
 * came before its request was sent whole counts as none. libcurl itself sends no request before the last one's answer
 * is there, and closes a connection whose answer it did not await to its end. What cannot be told apart: a second
 * answer to a 200 that comes when the next request is sent already. */
#ifndef BASE_HTTP_REQUEST_H
#define BASE_HTTP_REQUEST_H

#include <curl/curl.h>
#include <stdbool.h>

/* State of one libcurl handle's name lookups. */
struct lookup {
    char host[256]; /* "": lookups are not limited */
    bool begun;     /* the current request has started a lookup */
    bool refused;   /* the current request was denied a lookup */
};

/* The sockets of the connections that a multi handle keeps, which it must outlive. All zero: none. One thread. */
struct http_sockets {
    struct http_socket {
        int fd;
        bool one_at_a_time; /* it has answered, and not with HTTP/2: now it has nothing to say before it is asked */
    } * at;
    size_t count, capacity;
};

/* After the multi handle's end. */
void http_sockets_free(struct http_sockets *sockets);

/* A handle for consecutive requests. One thread; it must not be moved in memory while open. Zero-initialized: not
 * open. */
struct http_request {
    CURL *easy;
    struct curl_slist *headers;
    struct lookup lookup;
    struct http_sockets *sockets;    /* of the multi handle; NULL: a connection is for one request */
    int fd;                          /* of the current request's connection; -1: not known */
    int send_buffer;                 /* as in http_options */
    bool early;                      /* the current request's answer came before it was sent whole */
    bool has_status;                 /* the last status line of the current request can be read */
    bool head_whole;                 /* an empty line has come behind the last status line */
    bool in_headers;                 /* a line of headers has come, and no empty one behind it */
    curl_write_callback take_header; /* the caller's, with context */
    void *context;
    char error[CURL_ERROR_SIZE]; /* after http_request_end: why there is no response; "": there is one */
};

struct http_options {
    const char *url; /* lookups of its host are limited; NULL: the caller sets the URL, and they are not */
    const char *agent;
    const char *user;                /* user name for HTTP Basic, with an empty password; NULL: none */
    const char *certificates;        /* file with trusted root certificates; NULL: libcurl's default */
    const char *const *headers;      /* NULL-terminated; "Expect:" is added; NULL: no others */
    long connect_ms, whole_ms;       /* timeouts; 0: libcurl's default for connect_ms, none for whole_ms */
    long send_buffer;                /* bytes of the socket's send buffer; 0: the system's default */
    curl_write_callback take_body;   /* NULL: the body is discarded */
    curl_write_callback take_header; /* gets each header line; NULL: nobody */
    void *context;                   /* of take_body and take_header */
    struct http_sockets *sockets;    /* borrowed, of the multi handle; NULL: a connection is for one request */
};

/* Opens the handle; strings are copied. Returns false when out of memory; then nothing needs closing. */
bool http_request_open(struct http_request *request, const struct http_options *options);

/* Call before each request. */
void http_request_begin(struct http_request *request);

/* Call after each request with its result, or CURLE_OPERATION_TIMEDOUT when the caller gave it up. Sets request->error.
 * Returns the result; CURLE_COULDNT_CONNECT when it failed because another lookup of the name is still running;
 * CURLE_WEIRD_SERVER_REPLY when the answer has no status that can be read; CURLE_SEND_ERROR when it came before the
 * request was sent whole. */
CURLcode http_request_end(struct http_request *request, CURLcode result);

/* Closes the handle; allowed when it is not open. */
void http_request_close(struct http_request *request);

#endif
