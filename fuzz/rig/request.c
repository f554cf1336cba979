/* A request without a web server: see request.h. */
#include "fuzz/rig/request.h"

#include <curl/curl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- variables ---- */

void rig_variables_add(struct rig_variables *variables, const char *name, const char *value)
{
    for (size_t i = 0; i < variables->count; i++) {
        if (strcmp(variables->name[i], name) == 0)
            return;
    }
    if (variables->count == RIG_VARIABLES)
        return;
    variables->name[variables->count] = rig_string((struct slice){name, strlen(name)});
    variables->value[variables->count++] = rig_string((struct slice){value, strlen(value)});
}

void rig_variables_read(struct rig_variables *variables, struct rig_input *input)
{
    *variables = (struct rig_variables){.count = 0};
    for (struct slice line; (line = rig_until(input, '\n')).length > 0;) {
        char *text = rig_string(line);
        char *equals = strchr(text, '=');
        if (equals != NULL && equals != text) {
            *equals = '\0';
            rig_variables_add(variables, text, equals + 1);
        }
        free(text);
    }
}

const char *rig_variables_get(const struct rig_variables *variables, const char *name)
{
    for (size_t i = 0; i < variables->count; i++) {
        if (strcmp(variables->name[i], name) == 0)
            return variables->value[i][0] == '\0' ? NULL : variables->value[i];
    }
    return NULL;
}

void rig_variables_free(struct rig_variables *variables)
{
    for (size_t i = 0; i < variables->count; i++) {
        free(variables->name[i]);
        free(variables->value[i]);
    }
    variables->count = 0;
}

/* ---- the answer ---- */

/* A header line's value, where it is of that name. */
static const char *header_value(const char *line, const char *name)
{
    size_t length = strlen(name);
    return strncasecmp(line, name, length) == 0 && line[length] == ':' ? line + length + 1 + (line[length + 1] == ' ')
                                                                       : NULL;
}

static void check_line(const char *line)
{
    size_t name = strcspn(line, ":");
    RIG_CHECK(name > 0 && line[name] == ':', "no header: %s", line);
    for (const char *at = line; *at != '\0'; at++)
        RIG_CHECK((unsigned char)*at >= ' ' || *at == '\t', "a header has a control character: %s", line);
}

void rig_answer_read(struct rig_answer *answer, struct slice text, bool of_head)
{
    size_t announced = 0;
    bool has_length = false;
    *answer = (struct rig_answer){.status = 0};
    const char *end = text.length == 0 ? NULL : memmem(text.at, text.length, "\r\n\r\n", 4);
    RIG_CHECK(end != NULL, "no end of the headers: %.*s", (int)text.length, text.at);
    answer->head = (struct slice){text.at, (size_t)(end - text.at) + 2};
    answer->body = (struct slice){end + 4, text.length - answer->head.length - 2};
    char *head = rig_string(answer->head), *rest = head;
    RIG_CHECK(strlen(head) == answer->head.length, "a header has a NUL");
    for (char *line; (line = strsep(&rest, "\n")) != NULL && *line != '\0';) {
        size_t length = strlen(line);
        const char *value;
        RIG_CHECK(line[length - 1] == '\r', "a header line ends without CR: %s", line);
        line[length - 1] = '\0';
        check_line(line);
        if ((value = header_value(line, "Status")) != NULL)
            answer->status = atoi(value);
        else if ((value = header_value(line, "Content-Type")) != NULL)
            snprintf(answer->type, sizeof answer->type, "%s", value);
        else if ((value = header_value(line, "Content-Length")) != NULL) {
            announced = strtoul(value, NULL, 10);
            has_length = true;
        }
    }
    free(head);
    RIG_CHECK(answer->status >= 200 && answer->status < 600, "the status is %d", answer->status);
    RIG_CHECK(has_length, "no Content-Length");
    RIG_CHECK(answer->body.length == (of_head ? 0 : announced), "%zu bytes, announced were %zu", answer->body.length,
              announced);
    if (!of_head && strncmp(answer->type, "application/json", strlen("application/json")) == 0)
        rig_check_json(answer->body, "an answer");
}

/* ---- the request ---- */

static const char *variable(void *self, const char *name)
{
    const struct rig_request *request = self;
    for (size_t i = 0; i < request->variables.count; i++) {
        if (strcmp(request->variables.name[i], name) == 0)
            return request->variables.value[i];
    }
    return NULL;
}

static enum arrival read_body(void *self, char *out, size_t size, size_t *got)
{
    struct rig_request *request = self;
    size_t left = request->body.length - request->taken;
    size_t most = request->piece < size ? request->piece : size;
    *got = left < most ? left : most;
    memcpy(out, request->body.at + request->taken, *got);
    request->taken += *got;
    if (*got > 0)
        return ARRIVED_SOME;
    return request->broken ? ARRIVED_BROKEN : ARRIVED_END;
}

static bool write_answer(void *self, const char *data, size_t length)
{
    struct rig_request *request = self;
    buffer_append(&request->answer, data, length);
    return true;
}

static bool finish(void *self)
{
    struct rig_request *request = self;
    request->finished++;
    return true;
}

void rig_request_begin(struct rig_request *request, struct rig_input *input, size_t max_body)
{
    static const struct transport transport = {variable, read_body, write_answer, finish, NULL};
    *request = (struct rig_request){
        .limits = {.max_body = max_body, .max_bodies = 4 * max_body, .request_timeout_ms = 3600000}};
    unsigned how = rig_byte(input);
    request->piece = 1 + how % 32 * (how % 32);
    request->broken = (how & 0x80) != 0;
    rig_variables_read(&request->variables, input);
    request->body = (struct slice){input->left == 0 ? "" : input->at, input->left};
    budget_init(&request->budget, request->limits.max_bodies);
    request->request = (struct request){.transport = &transport,
                                        .self = request,
                                        .limits = &request->limits,
                                        .budget = &request->budget,
                                        .started = clock_now()};
}

void rig_request_answer(const struct rig_request *request, struct rig_answer *answer)
{
    const char *method = rig_variables_get(&request->variables, "REQUEST_METHOD");
    RIG_CHECK(request->finished == 1, "%d answers", request->finished);
    rig_answer_read(answer, rig_slice(&request->answer), method != NULL && strcmp(method, "HEAD") == 0);
}

void rig_request_end(struct rig_request *request)
{
    request_end(&request->request);
    RIG_CHECK(atomic_load(&request->budget.taken) == 0, "%zu bytes of bodies were not given back",
              atomic_load(&request->budget.taken));
    budget_free(&request->budget);
    rig_variables_free(&request->variables);
    buffer_free(&request->answer);
}

/* ---- other decoders ---- */

/* A form's text; `+` is a space there. */
static bool decode(const char *text, size_t length, struct buffer *out)
{
    int decoded_length = 0;
    char *copy = rig_string((struct slice){text, length});
    for (char *at = copy; *at != '\0'; at++)
        *at = *at == '+' ? ' ' : *at;
    char *decoded = curl_easy_unescape(NULL, copy, (int)strlen(copy), &decoded_length);
    RIG_CHECK(decoded != NULL, "out of memory");
    buffer_clear(out);
    buffer_append(out, decoded, (size_t)decoded_length);
    buffer_append(out, "", 1);
    out->length--;
    curl_free(decoded);
    free(copy);
    return true;
}

bool rig_form_value(const char *form, const char *name, struct buffer *out)
{
    for (const char *at = form; at != NULL && *at != '\0'; at = *at == '\0' ? at : at + 1) {
        size_t whole = strcspn(at, "&"), key = strcspn(at, "=&");
        decode(at, key, out);
        if (out->length == strlen(name) && memcmp(out->data, name, out->length) == 0)
            return decode(at + key + (key < whole), whole - key - (key < whole), out);
        at += whole;
    }
    return false;
}

bool rig_basic(const struct rig_variables *variables, struct buffer *out)
{
    const char *value = rig_variables_get(variables, "HTTP_AUTHORIZATION");
    if (value == NULL)
        value = rig_variables_get(variables, "REDIRECT_HTTP_AUTHORIZATION");
    if (value == NULL || strncasecmp(value, "Basic ", 6) != 0)
        return false;
    value += 6;
    value += strspn(value, " ");
    size_t length = strcspn(value, " "), padding = 0;
    while (length > 0 && padding < 2 && value[length - 1] == '=') {
        length--;
        padding++;
    }
    char *padded = calloc(1, length + 4);
    RIG_CHECK(padded != NULL, "out of memory");
    memcpy(padded, value, length);
    for (padding = 0; (length + padding) % 4 != 0; padding++)
        padded[length + padding] = 'A';
    buffer_clear(out);
    char *room = buffer_room(out, length + 8);
    int got = EVP_DecodeBlock((unsigned char *)room, (const unsigned char *)padded, (int)(length + padding));
    free(padded);
    if (got < 0 || padding > 2)
        return false;
    out->length = (size_t)got - padding;
    out->data[out->length] = '\0';
    return out->length > 0;
}
