/* What all fuzzers share: see rig.h. */
#include "fuzz/rig/rig.h"

#include "base/log.h"
#include "tests/support/strict_json.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void rig_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("WRONG: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs("\n", stderr);
    va_end(arguments);
    abort();
}

void rig_check_equal(struct slice found, struct slice expected, const char *what)
{
    if (found.length == expected.length && (found.length == 0 || memcmp(found.at, expected.at, found.length) == 0))
        return;
    rig_fail("%s differs\nfound    %.*s\nexpected %.*s", what, (int)found.length, found.at, (int)expected.length,
             expected.at);
}

void rig_check_json(struct slice text, const char *what)
{
    RIG_CHECK(is_strict_json(text), "%s is no JSON: %.*s", what, (int)text.length, text.at);
}

struct rig_input rig_input_of(const uint8_t *data, size_t size)
{
    return (struct rig_input){(const char *)data, size};
}

unsigned rig_byte(struct rig_input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return (unsigned char)*input->at++;
}

struct slice rig_until(struct rig_input *input, char end)
{
    struct slice piece = {input->at, input->left};
    const char *found = input->left == 0 ? NULL : memchr(input->at, end, input->left);
    if (found != NULL)
        piece.length = (size_t)(found - input->at);
    size_t taken = piece.length + (found != NULL);
    input->at += taken;
    input->left -= taken;
    return piece;
}

char *rig_string(struct slice text)
{
    char *copy = malloc(text.length + 1);
    RIG_CHECK(copy != NULL, "out of memory");
    if (text.length > 0)
        memcpy(copy, text.at, text.length);
    copy[text.length] = '\0';
    return copy;
}

struct slice rig_slice(const struct buffer *buffer)
{
    return (struct slice){buffer->data == NULL ? "" : buffer->data, buffer->length};
}

/* ---- a directory ---- */

static char directory[64];

static void remove_directory(void)
{
    char path[512];
    DIR *open = opendir(directory);
    for (struct dirent *entry; open != NULL && (entry = readdir(open)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        unlink(path);
    }
    if (open != NULL)
        closedir(open);
    rmdir(directory);
}

const char *rig_path(const char *name, char out[static 256])
{
    if (directory[0] == '\0') {
        snprintf(directory, sizeof directory, "%s/closecrm-fuzz.XXXXXX",
                 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        RIG_CHECK(mkdtemp(directory) != NULL, "no directory can be made: %s", directory);
        atexit(remove_directory);
    }
    snprintf(out, 256, "%s/%s", directory, name);
    return out;
}

/* ---- the record ---- */

static void put_text(FILE *out, struct slice text)
{
    fprintf(out, "%zu\n", text.length);
    fwrite(text.at, 1, text.length, out);
    fputs("\n", out);
}

void rig_record(const char *kind, struct slice from, struct slice made)
{
    static FILE *out;
    const char *path = getenv("RIG_RECORD");
    if (path == NULL)
        return;
    if (out == NULL)
        out = fopen(path, "ae");
    RIG_CHECK(out != NULL, "the record cannot be written: %s", path);
    fprintf(out, "%s\n", kind);
    put_text(out, from);
    put_text(out, made);
    fflush(out);
}

static bool take_line(void *context, enum log_level level, const char *line, size_t length)
{
    (void)context;
    (void)level;
    (void)line;
    (void)length;
    return true;
}

void rig_no_log(void)
{
    log_open(LEVEL_ERROR);
    log_observe(take_line, NULL);
}
