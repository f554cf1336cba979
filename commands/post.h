/* One POST over libcurl, as Close would do it: no redirects, certificates verified. */
#ifndef COMMANDS_POST_H
#define COMMANDS_POST_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "transform/buffer.h"

struct post {
    CURLU *url;
    const char *body;
    size_t length;
    const char *timestamp; /* close-sig-timestamp and close-sig-hash; NULL: sent without */
    const char *hash;
};

struct post_answer {
    CURLcode code;               /* CURLE_OK: there was an answer */
    char error[CURL_ERROR_SIZE]; /* what went wrong, else "" */
    long status;
    char type[64];      /* of its content, without parameters; "" where it was not said */
    struct buffer body; /* its first 64 KiB */
    int64_t took_ms;
};

/* Sends it and waits for the answer, 60 s at most. All in post is borrowed. Returns false when memory ran out; else
 * answer is to be freed with post_answer_free. */
bool post_send(const struct post *post, struct post_answer *answer);

void post_answer_free(struct post_answer *answer);

#endif
