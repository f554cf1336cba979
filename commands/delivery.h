/* Trying an address: a webhook sent as Close would send it (signed, no redirects, certificates verified), what its
 * answer means, and the tests that are made of it. */
#ifndef COMMANDS_DELIVERY_H
#define COMMANDS_DELIVERY_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "config/config.h"

/* Reads a whole http or https URL; NULL for anything else, and when memory ran out. The caller frees with
 * curl_url_cleanup. */
CURLU *delivery_url(const char *text);

struct delivery {
    CURLU *url;
    const char *body;
    size_t length;
    const char *timestamp; /* close-sig-timestamp and close-sig-hash; NULL: sent without */
    const char *hash;
    bool is_get; /* a GET, without a body */
};

struct delivery_answer {
    CURLcode code;               /* CURLE_OK: there was an answer */
    char error[CURL_ERROR_SIZE]; /* what went wrong, else "" */
    long status;
    char type[64];      /* of its content, without parameters; "" where it was not said */
    struct buffer body; /* its first 64 KiB */
    int64_t took_ms;
};

/* Sends it and waits for the answer, 60 s at most. All in delivery is borrowed. Returns false when memory ran out; else
 * answer is to be freed with delivery_answer_free. */
bool delivery_send(const struct delivery *delivery, struct delivery_answer *answer);

/* The sentence of a refusal by this program, {"error": "..."}: as a line of printable ASCII (what could move the
 * terminal's cursor becomes a `?`), as it stands in the JSON, cut to fit. Returns false, and sentence is "", for what
 * another server answered. */
#define DELIVERY_SENTENCE 600
bool delivery_sentence(const struct delivery_answer *answer, char sentence[static DELIVERY_SENTENCE]);

void delivery_answer_free(struct delivery_answer *answer);

#define DELIVERY_HASH_SIZE 65

/* Writes what the header close-sig-hash holds for this close-sig-timestamp and body, NUL-terminated. */
void delivery_sign(const struct signature_key *key, const char *timestamp, const char *body, size_t length,
                   char out[static DELIVERY_HASH_SIZE]);

/* Prints to stdout: status, time and words of the answer, or why there is none, and the advice. sent: bytes of the body
 * that was sent. Returns an exit code: COMMAND_OK only for 200 with the body `wanted`, in the time that Close gives. */
int delivery_explain(const struct delivery_answer *answer, size_t sent, const char *wanted);

/* ---- delivery.c: what to change when a test event was not taken: the table of answers, and that of failures to get
 * one ---- */

/* Room for any of it, with the program called as it can be typed (base/program_name). */
#define ADVICE_SIZE 1200

/* Advice on an answer: its status, the sentence of this program that came with it (NULL: it was a web server before the
 * program that answered), and how many bytes were sent. Never NULL. */
const char *advice_on_answer(long status, const char *sentence, size_t sent);

/* Advice on a request that got no answer. Never NULL. */
const char *advice_on_failure(CURLcode code);

/* ---- send_test.c: trying an address before and after Close is given it ---- */

/* Sends an unsigned GET, which the program answers with a sentence of its own. Returns COMMAND_OK when that came; else
 * stderr says what came, and what to do. */
int probe_address(const char *command, const char *url);

/* Sends a small and a large request, signed with the key, and prints what became of them, and how large they may be.
 * Returns an exit code. */
int probe_sizes(const struct config *config, const char *url, const struct signature_key *key);

/* ---- send_test.c: the event that send-test sends: shaped as Close's are, and harmless: nothing is named
 * closecrm_test. ---- */

struct test_event {
    const char *object_type;  /* as test_event_name_fits allows: they are not escaped */
    const char *action;       /* likewise */
    unsigned char unique[16]; /* random bytes: they make its id */
    int64_t now_ms;           /* its dates, Unix time in milliseconds */
    size_t size;              /* bytes to fill the body up to, exactly; 0 or below its own length: as it is */
};

/* Appends the body of the webhook. Out of memory: out->failed is set. */
void test_event_write(const struct test_event *event, struct buffer *out);

#endif
