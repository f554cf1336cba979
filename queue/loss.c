/* Records of lost events, in small files: see loss.h. */
#include "queue/loss.h"

#include "base/files.h"
#include "base/times.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIRECTORY "loss"

static bool name_of(const char *source, char out[static 256], struct error *why)
{
    int length = snprintf(out, 256, DIRECTORY "/%s", source);
    if (length > 0 && length < 256 && source[0] != '\0' && strchr(source, '/') == NULL && source[0] != '.')
        return true;
    error_set(why, "\"%.60s\" is no name of a source", source);
    return false;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Merges the record before into `into`, so that nothing of either is lost. */
static void merge_losses(struct loss *into, const struct loss *before)
{
    into->from_ms = earlier(into->from_ms, before->from_ms);
    into->until_ms = into->until_ms > before->until_ms ? into->until_ms : before->until_ms;
    into->identities_kept = into->identities_kept && before->identities_kept;
    into->mark_ms = earlier(into->mark_ms, before->mark_ms);
    if (strstr(before->words, into->words) != NULL) {
        memcpy(into->words, before->words, sizeof into->words);
    } else if (before->words[0] != '\0') {
        char words[LOSS_WORDS];
        snprintf(words, sizeof words, "%.190s; before: %.190s", into->words, before->words);
        memcpy(into->words, words, sizeof into->words);
    }
}

static void make_one_line(char *words)
{
    for (; *words != '\0'; words++) {
        if ((unsigned char)*words < ' ')
            *words = ' ';
    }
}

bool loss_note(const char *state_dir, const char *source, const struct loss *loss, struct error *why)
{
    struct loss all = *loss, before;
    bool any;
    char name[256], directory[FILES_PATH], text[LOSS_WORDS + 200];
    if (!name_of(source, name, why) || !loss_read(state_dir, source, &before, &any, why))
        return false;
    if (all.mark_ms == 0)
        all.mark_ms = delivered_mark(state_dir, source);
    if (any)
        merge_losses(&all, &before);
    make_one_line(all.words);
    snprintf(text, sizeof text, "from_ms = %lld\nuntil_ms = %lld\nidentities_kept = %d\nmark_ms = %lld\nwords = %s\n",
             (long long)all.from_ms, (long long)all.until_ms, all.identities_kept, (long long)all.mark_ms, all.words);
    return files_make_directory(directory, state_dir, DIRECTORY, why) && files_replace(state_dir, name, text, why) &&
           files_sync(directory, why);
}

bool loss_read(const char *state_dir, const char *source, struct loss *loss, bool *any, struct error *why)
{
    bool missing;
    char name[256];
    *any = false;
    *loss = (struct loss){.from_ms = 0};
    if (!name_of(source, name, why))
        return false;
    char *text = files_read(state_dir, name, &missing, why);
    if (text == NULL)
        return missing;
    *any = true;
    loss->from_ms = files_number(text, "from_ms", 0);
    loss->until_ms = files_number(text, "until_ms", INT64_MAX);
    loss->identities_kept = files_number(text, "identities_kept", 0) == 1;
    loss->mark_ms = files_number(text, "mark_ms", 0);
    files_value(text, "words", loss->words, sizeof loss->words);
    files_free(text);
    return true;
}

bool loss_clear(const char *state_dir, const char *source, struct error *why)
{
    bool missing;
    char name[256];
    if (!name_of(source, name, why))
        return false;
    char *text = files_read(state_dir, name, &missing, why);
    if (text == NULL)
        return missing;
    files_free(text);
    return files_remove(state_dir, name, why);
}

/* ---- the delivered mark, in a small file ---- */

#define NAME "delivered"
#define LINE_MOST 128

int64_t delivered_mark(const char *state_dir, const char *source)
{
    char *text = files_read(state_dir, NAME, NULL, NULL);
    int64_t mark = text == NULL ? 0 : files_number(text, source, 0);
    files_free(text);
    return mark > 0 ? mark : 0;
}

bool delivered_write(const char *state_dir, const struct delivered *marks, size_t count, struct error *why)
{
    size_t size = count * LINE_MOST + 1, at = 0;
    char *text = size <= FILES_READ_MAX ? calloc(1, size) : NULL;
    if (text == NULL) {
        error_set(why, "too many sources for the delivered mark");
        return false;
    }
    for (size_t i = 0; i < count; i++)
        at += (size_t)snprintf(text + at, LINE_MOST, "%.79s = %lld\n", marks[i].source, (long long)marks[i].mark_ms);
    bool good = files_replace(state_dir, NAME, text, why);
    free(text);
    return good;
}

/* ---- the date in an unparsed body ---- */

struct text {
    const char *at, *end;
};

/* Skips the string that begins here; returns its raw bytes between the quotes. */
static const char *take_string(struct text *text, size_t *length)
{
    const char *begin = ++text->at;
    while (text->at < text->end && *text->at != '"')
        text->at += *text->at == '\\' && text->at + 1 < text->end ? 2 : 1;
    *length = (size_t)(text->at - begin);
    if (text->at < text->end)
        text->at++;
    return begin;
}

static void skip_to_value(struct text *text)
{
    while (text->at < text->end && strchr(" \t\r\n:", *text->at) != NULL && *text->at != '\0')
        text->at++;
}

/* The member is two levels deep: {"event": {"date_updated": "..."}}. */
int64_t delivered_date_of(const char *body, size_t length)
{
    static const char wanted[] = "date_updated";
    struct text text = {body, body + length};
    unsigned depth = 0;
    while (text.at < text.end) {
        if (*text.at != '"') {
            depth += *text.at == '{' || *text.at == '[';
            depth -= depth > 0 && (*text.at == '}' || *text.at == ']');
            text.at++;
            continue;
        }
        size_t n;
        const char *name = take_string(&text, &n);
        if (depth != 2 || n != sizeof wanted - 1 || memcmp(name, wanted, n) != 0)
            continue;
        skip_to_value(&text);
        if (text.at >= text.end || *text.at != '"')
            continue;
        const char *date = take_string(&text, &n);
        return times_read(date, n);
    }
    return DATE_UNREADABLE;
}
