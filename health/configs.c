/* The configurations of the machines that share a queue: each notes hashes of its own where all see them (kept), and
 * `check` says what differs. See facts.h. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/times.h"
#include "health/facts.h"
#include "kept/kept.h"

#define TOLD "told"
#define NOTE "config-"                   /* and the machine's name */
#define RENEWED_MS (60 * INT64_C(60000)) /* a note is written anew after so long */
#define OLD_MS (30 * INT64_C(86400000))  /* one that was not renewed for so long is of a machine that is gone */
#define SHOWN 6                          /* keys that differ, of one machine */

/* The hashes; the caller frees them. NULL when memory is out. */
static char *hashes_of(const struct config *config)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (out == NULL)
        return NULL;
    config_print_hashes(config, out);
    fclose(out);
    return text;
}

/* A note: when it was written, and the hashes. */
static const char *read_note(const char *text, int64_t *written_ms)
{
    char *end;
    *written_ms = strtoll(text, &end, 10);
    return *end == '\n' ? end + 1 : end;
}

bool configs_note(const struct config *config, const char *name)
{
    char directory[FILES_PATH], file[sizeof NOTE + 256], host[256] = "";
    struct kept *kept = NULL;
    if (!kept_is_shared(config))
        return true;
    if (name == NULL && gethostname(host, sizeof host - 1) != 0)
        return true;
    snprintf(file, sizeof file, NOTE "%.200s", name == NULL ? host : name);
    bool good = files_make_directory(directory, config->state_dir, TOLD, NULL);
    char *own = hashes_of(config), *before = good ? files_read(directory, file, NULL, NULL) : NULL, *text = NULL;
    int64_t now_ms = clock_unix_ms(), written_ms = 0;
    bool same = own != NULL && before != NULL && strcmp(read_note(before, &written_ms), own) == 0;
    if (!same || now_ms - written_ms > RENEWED_MS) {
        kept = kept_open(config, NULL);
        good = good && own != NULL && asprintf(&text, "%lld\n%s", (long long)now_ms, own) > 0 && kept != NULL &&
               kept_look(kept, NULL) && kept_put(kept, directory, file, text, NULL);
    }
    kept_close(kept);
    free(text);
    free(before);
    free(own);
    return good;
}

/* ---- what differs ---- */

/* Whether the text has this line. */
static bool has_line(const char *text, const char *line, size_t length)
{
    for (; *text != '\0'; text += strcspn(text, "\n") + (text[strcspn(text, "\n")] != '\0')) {
        if (strcspn(text, "\n") == length && memcmp(text, line, length) == 0)
            return true;
    }
    return false;
}

/* Whether it has one of this source and key, whatever the hash. */
static bool has_key(const char *text, const char *line, size_t length)
{
    while (length > 0 && line[length - 1] != ' ')
        length--;
    for (; *text != '\0'; text += strcspn(text, "\n") + (text[strcspn(text, "\n")] != '\0')) {
        if (strncmp(text, line, length) == 0)
            return true;
    }
    return false;
}

static void add_difference(const char *line, size_t length, bool is_missing, size_t count, struct error *words)
{
    char source[80] = "", key[48] = "";
    struct error before = *words;
    const char *space = memchr(line, ' ', length);
    size_t name = space == NULL ? 0 : (size_t)(space - line);
    if (space == NULL || count >= SHOWN || sscanf(space + 1, "%47s", key) != 1) {
        if (count == SHOWN)
            error_set(words, "%.400s ...", before.text);
        return;
    }
    if (*line != '-' || name != 1)
        snprintf(source, sizeof source, "%.*s: ", (int)(name < 70 ? name : 70), line);
    error_set(words, "%.300s%s%s%s%s", before.text, count == 0 ? " " : ", ", source, key,
              is_missing ? " (only here)" : "");
}

/* Adds what one machine has otherwise. A source that it does not have is told of by one of its keys. */
static void compare(const char *own, const char *other, const char *host, int64_t written_ms, struct error *words)
{
    struct error found = {.text = ""};
    size_t count = 0;
    for (const char *line = own; *line != '\0'; line += strcspn(line, "\n") + 1) {
        size_t length = strcspn(line, "\n");
        bool is_missing = !has_key(other, line, length);
        if (has_line(other, line, length) || (is_missing && strstr(line, " write_key ") != strchr(line, ' ')))
            continue;
        add_difference(line, length, is_missing, count++, &found);
    }
    for (const char *line = other; *line != '\0'; line += strcspn(line, "\n") + (line[strcspn(line, "\n")] != '\0')) {
        size_t length = strcspn(line, "\n");
        if (!has_key(own, line, length) && strstr(line, " write_key ") == strchr(line, ' '))
            add_difference(line, length, false, count++, &found);
    }
    if (count == 0)
        return;
    char date[DATE_PRINTED];
    struct error before = *words;
    error_set(words, "%.200s%smachine %.60s has another configuration than this one (as of %s):%.200s", before.text,
              before.text[0] == '\0' ? "" : "; ", host, times_print_ms(written_ms, DATE_Z, date), found.text);
}

void configs_compare(const struct config *config, const char *name, struct error *words)
{
    char path[FILES_PATH], host[256] = "";
    char *own = kept_is_shared(config) ? hashes_of(config) : NULL;
    if (name == NULL)
        gethostname(host, sizeof host - 1);
    snprintf(path, sizeof path, "%.3500s/" TOLD, config->state_dir == NULL ? "" : config->state_dir);
    DIR *directory = own == NULL ? NULL : opendir(path);
    const struct dirent *entry;
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        const char *of = entry->d_name + sizeof NOTE - 1;
        int64_t written_ms;
        if (strncmp(entry->d_name, NOTE, sizeof NOTE - 1) != 0 || strcmp(of, name == NULL ? host : name) == 0)
            continue;
        char *text = files_read(path, entry->d_name, NULL, NULL);
        const char *other = text == NULL ? "" : read_note(text, &written_ms);
        if (text != NULL && clock_unix_ms() - written_ms < OLD_MS)
            compare(own, other, of, written_ms, words);
        free(text);
    }
    if (directory != NULL)
        closedir(directory);
    free(own);
}
