/* Errors: see error.h. */
#include "base/error.h"

#include "base/program_name.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Advice in it names the program as it can be typed. */
static void put_name(struct error *error)
{
    struct error named;
    if (strstr(error->text, PROGRAM_NAME " ") == NULL)
        return;
    program_name_put(error->text, named.text, sizeof named.text);
    memcpy(error->text, named.text, sizeof named.text);
}

static void set_text(struct error *error, enum error_kind kind, const char *format, va_list args)
{
    vsnprintf(error->text, sizeof error->text, format, args);
    put_name(error);
    error->kind = kind;
}

void error_set(struct error *error, const char *format, ...)
{
    if (error == NULL)
        return;
    va_list args;
    va_start(args, format);
    set_text(error, ERROR_GENERAL, format, args);
    va_end(args);
}

void error_set_kind(struct error *error, enum error_kind kind, const char *format, ...)
{
    if (error == NULL)
        return;
    va_list args;
    va_start(args, format);
    set_text(error, kind, format, args);
    va_end(args);
}

void error_prefix(struct error *error, const char *format, ...)
{
    if (error == NULL)
        return;
    struct error old = *error;
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    size_t used = strlen(error->text);
    snprintf(error->text + used, sizeof error->text - used, "%s", old.text);
}
