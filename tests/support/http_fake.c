/* A request without a web server: see http_fake.h. */
#include "tests/support/http_fake.h"

#include <stdio.h>
#include <string.h>

static const char *variable(void *self, const char *name)
{
    const struct fake_request *fake = self;
    for (const struct fake_variable *v = fake->variables; v->name != NULL; v++) {
        if (strcmp(v->name, name) == 0)
            return v->value;
    }
    return NULL;
}

static enum arrival read_body(void *self, char *out, size_t size, size_t *got)
{
    struct fake_request *fake = self;
    size_t left = fake->length - fake->at;
    size_t most = fake->piece > 0 && fake->piece < size ? fake->piece : size;
    *got = left < most ? left : most;
    memcpy(out, fake->body + fake->at, *got);
    fake->at += *got;
    if (*got > 0)
        return ARRIVED_SOME;
    return fake->broken ? ARRIVED_BROKEN : ARRIVED_END;
}

static bool write_answer(void *self, const char *data, size_t length)
{
    struct fake_request *fake = self;
    if (fake->gone || length >= sizeof fake->text - fake->written)
        return false;
    memcpy(fake->text + fake->written, data, length);
    fake->written += length;
    fake->text[fake->written] = '\0';
    return true;
}

static bool finish(void *self)
{
    struct fake_request *fake = self;
    fake->finished++;
    return !fake->gone;
}

void fake_init(struct fake_request *fake, const struct fake_variable *variables, const char *body, size_t length)
{
    static const struct transport transport = {variable, read_body, write_answer, finish, NULL};
    *fake = (struct fake_request){.variables = variables, .body = body, .length = length};
    fake->limits = (struct http_limits){.max_body = 1000, .max_bodies = 4000, .request_timeout_ms = 10000};
    budget_init(&fake->budget, 4000);
    fake->request = (struct request){.transport = &transport,
                                     .self = fake,
                                     .limits = &fake->limits,
                                     .budget = &fake->budget,
                                     .started = clock_now()};
    request_begin(&fake->request);
}

void fake_end(struct fake_request *fake)
{
    request_end(&fake->request);
}

int fake_status(const struct fake_request *fake)
{
    int status;
    return sscanf(fake->text, "Status: %d", &status) == 1 ? status : 0;
}

const char *fake_body(const struct fake_request *fake)
{
    const char *end = strstr(fake->text, "\r\n\r\n");
    return end == NULL ? "" : end + 4;
}
