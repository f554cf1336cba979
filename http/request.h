/* One HTTP request, from FastCGI or CGI alike. Belongs to the thread that serves it. */
#ifndef HTTP_REQUEST_H
#define HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"

struct request;

enum body_result {
    BODY_OK,
    BODY_EMPTY,
    BODY_SHORT,     /* it ended before its announced length, or the client stalled: answer 400 */
    BODY_TOO_LARGE, /* beyond the limit: answer 413 */
    BODY_NO_ROOM,   /* all bodies in hand together are beyond what they may take: answer 503 */
};

/* A CGI variable ("REQUEST_METHOD"), NULL when absent or empty. Lives as long as the request. */
const char *request_variable(const struct request *request, const char *name);

/* A request header, by its variable's name without HTTP_ ("CLOSE_SIG_HASH"); NULL when absent or empty. */
const char *request_header(const struct request *request, const char *name);

/* The path after the program's own, "" or starting with a slash. */
const char *request_path(const struct request *request);

/* Copies the percent-decoded value of a query parameter, NUL-terminated. Returns false, and out is "", when it is
 * absent, does not fit or holds a NUL. */
bool request_query(const struct request *request, const char *name, char *out, size_t size);

/* Copies the user name of HTTP Basic authentication, NUL-terminated. Returns false, and out is "", when there is none.
 */
bool request_basic_user(const struct request *request, char *out, size_t size);

/* Copies the user name and the password of HTTP Basic authentication, NUL-terminated. Returns false, and both are "",
 * when there is none, or one of them does not fit. */
bool request_basic(const struct request *request, char *user, size_t user_size, char *password, size_t password_size);

/* Copies the value of a field of a form (application/x-www-form-urlencoded), percent-decoded and NUL-terminated, as
 * request_query does. */
bool request_field(const char *form, size_t length, const char *name, char *out, size_t size);

/* When the request's first byte was taken up; deadlines count from here. */
moment request_started(const struct request *request);

/* Reads the whole body, whether its length was announced or not, within the request's time-out. Call once. The bytes
 * belong to the request and live as long. why says what to tell the client when the result is not BODY_OK. */
enum body_result request_body(struct request *request, const char **body, size_t *length, struct error *why);

/* Gives the body's memory back before the request ends: before an answer, so that who sends again when it has come
 * finds room. What request_body gave is gone. */
void request_forget_body(struct request *request);

/* Answers, once: status and its standard words, extra header lines ("Allow: POST\r\n"; NULL: none), a body of
 * text/plain. Returns false when the client has gone. */
bool request_answer(struct request *request, int status, const char *headers, const char *text);

/* Answers, once, with bytes of any Content-Type. headers and result as above. */
bool request_send(struct request *request, int status, const char *headers, const char *type, const char *data,
                  size_t length);

/* Answers, once, with {"error": "..."} as application/json. text is plain UTF-8 words. */
bool request_refuse(struct request *request, int status, const char *headers, const char *text);

#endif
