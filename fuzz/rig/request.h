/* A request without a web server, as an input describes it, and the answer as a client sees it. The text of an input:
 * lines NAME=value, the CGI variables; an empty line; the body. */
#ifndef FUZZ_RIG_REQUEST_H
#define FUZZ_RIG_REQUEST_H

#include "fuzz/rig/rig.h"
#include "http/http_private.h"

#define RIG_VARIABLES 32

/* CGI variables. All zero is none. */
struct rig_variables {
    char *name[RIG_VARIABLES], *value[RIG_VARIABLES];
    size_t count;
};

/* Reads the lines up to the empty one; what is no such line, or too much, is left out. */
void rig_variables_read(struct rig_variables *variables, struct rig_input *input);

/* Sets one, unless it is there. */
void rig_variables_add(struct rig_variables *variables, const char *name, const char *value);

/* The first one of that name; NULL: none, or empty. */
const char *rig_variables_get(const struct rig_variables *variables, const char *name);
void rig_variables_free(struct rig_variables *variables);

/* What a client understands of an answer, by the rules of CGI and HTTP alone. */
struct rig_answer {
    int status;
    char type[128];
    struct slice head, body;
};

/* Takes an answer apart. It must be one: a status, whole header lines, as many bytes as it announces (of a HEAD none),
 * JSON where it says so. */
void rig_answer_read(struct rig_answer *answer, struct slice text, bool of_head);

/* The request. Must not move. */
struct rig_request {
    struct request request;
    struct http_limits limits;
    struct body_budget budget;
    struct rig_variables variables;
    struct slice body;
    size_t taken; /* bytes of the body that were read */
    size_t piece; /* bytes that come at once at most */
    bool broken;  /* the connection breaks behind the body */
    struct buffer answer;
    int finished;
};

/* Begins a request by what is left of an input, which must stay. max_body: bytes. */
void rig_request_begin(struct rig_request *request, struct rig_input *input, size_t max_body);

/* Takes its answer apart; there must be one, and only one. */
void rig_request_answer(const struct rig_request *request, struct rig_answer *answer);
void rig_request_end(struct rig_request *request);

/* A query's or form's value by libcurl's decoding: false when it is not there. The first one of that name counts. */
bool rig_form_value(const char *form, const char *name, struct buffer *out);

/* The decoded credentials of HTTP Basic by OpenSSL, "user:password"; false: none. */
bool rig_basic(const struct rig_variables *variables, struct buffer *out);

#endif
