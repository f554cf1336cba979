/* The last errors in a file: see last_errors.h. */
#include "base/last_errors.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/text.h"
#include "base/times.h"

#define LOCK_FILE "last-errors.lock"
#define LOCK_MS 200 /* for another process that writes just now */

#define PART 32                          /* reasons of a part: errors, and refused requests */
#define LINE 900                         /* bytes of one */
#define FLUSH_MS 5000                    /* between writes of a process */
#define SHARED_MS 1000                   /* between writes of all processes, ... */
#define KNOWN_MS 10000                   /* ... when all reasons are known already */
#define GATHER_MS 30000                  /* between looks for what was written elsewhere */
#define KEPT_MS (INT64_C(30) * 86400000) /* what was not seen for so long is left out */

struct reason {
    uint64_t key; /* 0: a free place */
    uint64_t count;
    int64_t last_ms; /* Unix time */
    char line[LINE];
};

struct reasons {
    struct reason of[2][PART]; /* errors; refused requests */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* over what follows; never held while waiting */
static char place[LAST_ERRORS_PLACES][PATH_MAX];         /* "": none */
static struct reasons noted;
static pid_t noted_by; /* a child of it notes for itself */
static moment flushed;
static bool is_noted;

#define PATH_SIZE (PATH_MAX + 32)

static void path_of(char out[static PATH_SIZE], const char *folder, const char *name)
{
    snprintf(out, PATH_SIZE, "%.*s/%s", PATH_MAX - 1, folder, name);
}

/* ---- reasons ---- */

/* Whether a value varies from line to line of one reason. */
static bool is_variable(const char *name, size_t length)
{
    static const char *const names[] = {"remote", "id", "ids", "name", "left_out", "advice"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strlen(names[i]) == length && memcmp(names[i], name, length) == 0)
            return true;
    }
    return false;
}

/* The end of a line's next word: `name="a value"` is one. */
static const char *word_end(const char *word)
{
    bool quoted = false;
    for (; *word != '\0' && (quoted || *word != ' '); word++)
        quoted = *word == '"' ? !quoted : quoted;
    return word;
}

/* What identifies a reason: the line without numbers, and without what varies. */
static uint64_t key_of(const char *line)
{
    uint64_t key = TEXT_HASH;
    while (*line != '\0') {
        const char *end = word_end(line);
        if (!is_variable(line, strcspn(line, "= ")))
            key = text_hash_without_digits(key, line, (size_t)(end - line));
        line = *end == '\0' ? end : end + 1;
    }
    return key == 0 ? 1 : key;
}

static int part_of(const char *line)
{
    return strstr(line, " msg=refused") != NULL ? 1 : 0;
}

/* Adds to the reasons; the one that was not seen for longest makes room. Returns whether it was new. */
static bool add_reason(struct reasons *reasons, uint64_t count, int64_t last_ms, const char *line)
{
    struct reason *part = reasons->of[part_of(line)], *oldest = part;
    uint64_t key = key_of(line);
    for (size_t i = 0; i < PART; i++) {
        if (part[i].key == key) {
            part[i].count += count;
            if (last_ms >= part[i].last_ms)
                snprintf(part[i].line, LINE, "%s", line);
            part[i].last_ms = last_ms > part[i].last_ms ? last_ms : part[i].last_ms;
            return false;
        }
        if (oldest->key != 0 && (part[i].key == 0 || part[i].last_ms < oldest->last_ms))
            oldest = &part[i];
    }
    if (oldest->key != 0 && oldest->last_ms > last_ms)
        return false;
    *oldest = (struct reason){.key = key, .count = count, .last_ms = last_ms};
    snprintf(oldest->line, LINE, "%s", line);
    return true;
}

/* Returns whether one was new. */
static bool add_all(struct reasons *to, const struct reasons *from)
{
    bool any = false;
    for (size_t i = 0; i < 2 * PART; i++) {
        const struct reason *reason = &from->of[i / PART][i % PART];
        if (reason->key != 0 && add_reason(to, reason->count, reason->last_ms, reason->line))
            any = true;
    }
    return any;
}

/* ---- the file ---- */

static void read_reasons(const char *text, int64_t now_ms, struct reasons *reasons)
{
    char line[LINE];
    for (const char *at = text; at != NULL && *at != '\0';) {
        const char *end = strchr(at, '\n');
        size_t length = end == NULL ? strlen(at) : (size_t)(end - at);
        int64_t last_us = length > 22 ? times_read(at, 20) : DATE_UNREADABLE;
        char *rest = NULL;
        unsigned long long count = last_us == DATE_UNREADABLE ? 0 : strtoull(at + 20, &rest, 10);
        if (count > 0 && rest != NULL && *rest == ' ' && rest < at + length && now_ms - last_us / 1000 < KEPT_MS) {
            snprintf(line, sizeof line, "%.*s", (int)(at + length - rest - 1), rest + 1);
            add_reason(reasons, count, last_us / 1000, line);
        }
        at = end == NULL ? NULL : end + 1;
    }
}

static int newer_first(const void *a, const void *b)
{
    const struct reason *first = a, *second = b;
    return (first->last_ms < second->last_ms) - (first->last_ms > second->last_ms);
}

/* Fits into LAST_ERRORS_MAX: PART and LINE are chosen for it. */
static void write_reasons(struct reasons *reasons, char text[static LAST_ERRORS_MAX])
{
    static const char *const titles[] = {"\nERRORS\n", "\nREFUSED REQUESTS\n"};
    char date[DATE_PRINTED];
    int n =
        snprintf(text, LAST_ERRORS_MAX,
                 "The last errors of closecrm.fcgi, the newest first: when last (UTC), how often at least, what.\n");
    for (size_t p = 0; p < 2; p++) {
        qsort(reasons->of[p], PART, sizeof reasons->of[p][0], newer_first);
        n += snprintf(text + n, (size_t)(LAST_ERRORS_MAX - n), "%s", titles[p]);
        for (size_t i = 0; i < PART && reasons->of[p][i].key != 0; i++) {
            const struct reason *reason = &reasons->of[p][i];
            n += snprintf(text + n, (size_t)(LAST_ERRORS_MAX - n), "%s %llu %s\n",
                          times_print_ms(reason->last_ms, DATE_Z, date), (unsigned long long)reason->count,
                          reason->line);
        }
    }
}

char *last_errors_read(const char *folder)
{
    char path[PATH_SIZE];
    path_of(path, folder, LAST_ERRORS_FILE);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    char *text = fd < 0 ? NULL : malloc(LAST_ERRORS_MAX + 1);
    ssize_t n = text == NULL ? -1 : files_read_all(fd, text, LAST_ERRORS_MAX);
    if (fd >= 0)
        close(fd);
    if (n < 0) {
        free(text);
        return NULL;
    }
    text[n] = '\0';
    return text;
}

/* How long ago the file was written; INT64_MAX: there is none, or the clock was set. */
static int64_t age_ms(const char *folder)
{
    char path[PATH_SIZE];
    struct stat status;
    path_of(path, folder, LAST_ERRORS_FILE);
    if (lstat(path, &status) != 0)
        return INT64_MAX;
    int64_t age = clock_unix_ms() - clock_timespec_ms(status.st_mtim);
    return age < 0 ? INT64_MAX : age;
}

enum written { WRITTEN, NOT_NOW, NOT_HERE };

/* With the lock of the file held. */
static enum written merge_into(const char *folder, const struct reasons *more)
{
    struct error why;
    int64_t age = age_ms(folder);
    struct reasons *all = calloc(1, sizeof *all);
    char *old = last_errors_read(folder), *text = malloc(LAST_ERRORS_MAX);
    enum written result = NOT_HERE;
    if (all != NULL && text != NULL) {
        read_reasons(old, clock_unix_ms(), all);
        bool any_new = add_all(all, more);
        write_reasons(all, text);
        if (age < SHARED_MS || (age < KNOWN_MS && !any_new))
            result = NOT_NOW;
        else
            result = files_replace(folder, LAST_ERRORS_FILE, text, &why) ? WRITTEN : NOT_HERE;
    }
    free(all);
    free(old);
    free(text);
    return result;
}

static enum written write_into(const char *folder, const struct reasons *more)
{
    char path[PATH_SIZE];
    int fd = -1;
    if (!files_is_own_directory(folder))
        return NOT_HERE;
    path_of(path, folder, LOCK_FILE);
    int error = lock_take_within(&fd, path, LOCK_MS);
    enum written result = error == 0 ? merge_into(folder, more) : error == EWOULDBLOCK ? NOT_NOW : NOT_HERE;
    if (fd >= 0)
        close(fd);
    return result;
}

/* ---- noting ---- */

void last_errors_open(const char *const *places, size_t count)
{
    pthread_mutex_lock(&lock);
    memset(place, 0, sizeof place);
    if (count == 0)
        memset(&noted, 0, sizeof noted);
    is_noted = is_noted && count > 0;
    for (size_t i = 0; i < count && i < LAST_ERRORS_PLACES; i++)
        snprintf(place[i], PATH_MAX, "%s", places[i]);
    pthread_mutex_unlock(&lock);
}

bool last_errors_is_kept(void)
{
    bool kept = false;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < LAST_ERRORS_PLACES; i++)
        kept = kept || place[i][0] != '\0';
    pthread_mutex_unlock(&lock);
    return kept;
}

void last_errors_leave(const char *folder)
{
    char path[PATH_SIZE];
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < LAST_ERRORS_PLACES; i++) {
        if (strcmp(place[i], folder) == 0)
            place[i][0] = '\0';
    }
    pthread_mutex_unlock(&lock);
    if (!files_is_own_directory(folder))
        return;
    path_of(path, folder, LAST_ERRORS_FILE);
    unlink(path);
    path_of(path, folder, LOCK_FILE);
    unlink(path);
}

/* With the lock held: a child knows nothing of what its parent has noted, and will write. */
static void forget_parents(void)
{
    if (noted_by != 0 && noted_by != getpid())
        memset(&noted, 0, sizeof noted);
    is_noted = is_noted && noted_by == getpid();
    noted_by = getpid();
}

bool last_errors_note(void *context, enum log_level level, const char *line, size_t length)
{
    char copy[LINE];
    (void)context;
    if (level > LEVEL_WARN)
        return false;
    snprintf(copy, sizeof copy, "%.*s", (int)(length < LINE ? length : LINE - 1), line);
    for (char *c = copy; *c != '\0'; c++)
        *c = iscntrl((unsigned char)*c) ? ' ' : *c;
    pthread_mutex_lock(&lock);
    forget_parents();
    add_reason(&noted, 1, clock_unix_ms(), copy);
    is_noted = true;
    pthread_mutex_unlock(&lock);
    return false;
}

/* Takes what was noted, and where to. Returns NULL: nothing is to be written now. */
static struct reasons *take_noted(bool is_last, char to[LAST_ERRORS_PLACES][PATH_MAX])
{
    moment now = clock_now();
    struct reasons *taken = NULL;
    pthread_mutex_lock(&lock);
    forget_parents();
    if (is_noted && (is_last || flushed == 0 || now - flushed >= FLUSH_MS))
        taken = malloc(sizeof *taken);
    if (taken != NULL) {
        *taken = noted;
        memset(&noted, 0, sizeof noted);
        is_noted = false;
        flushed = now;
        memcpy(to, place, sizeof place);
    }
    pthread_mutex_unlock(&lock);
    return taken;
}

/* Takes what stands in one place over into the first. */
static void take_over(const char *from, const char *to)
{
    int fd = -1;
    char file[PATH_SIZE], lock_path[PATH_SIZE];
    path_of(file, from, LAST_ERRORS_FILE);
    path_of(lock_path, from, LOCK_FILE);
    struct reasons *reasons =
        files_is_own_directory(from) && access(file, F_OK) == 0 ? calloc(1, sizeof *reasons) : NULL;
    if (reasons != NULL && lock_take(&fd, lock_path, LOCK_EX | LOCK_NB) == 0) {
        char *text = last_errors_read(from);
        read_reasons(text, clock_unix_ms(), reasons);
        if (text != NULL && write_into(to, reasons) == WRITTEN) {
            unlink(file);
            unlink(lock_path);
        }
        free(text);
    }
    if (fd >= 0)
        close(fd);
    free(reasons);
}

/* What stood in the way of the first place is over where it can be written again: what was written elsewhere meanwhile
 * is taken over, and nobody takes it for what is wrong now. */
static void gather(bool is_last)
{
    static moment gathered; /* under the lock */
    char all[LAST_ERRORS_PLACES][PATH_MAX];
    pthread_mutex_lock(&lock);
    bool due = is_last || gathered == 0 || clock_now() - gathered >= GATHER_MS;
    if (due)
        gathered = clock_now();
    memcpy(all, place, sizeof all);
    pthread_mutex_unlock(&lock);
    for (size_t i = 1; due && i < LAST_ERRORS_PLACES; i++) {
        if (all[0][0] != '\0' && all[i][0] != '\0' && strcmp(all[0], all[i]) != 0)
            take_over(all[i], all[0]);
    }
}

void last_errors_flush(bool is_last)
{
    gather(is_last);
    char to[LAST_ERRORS_PLACES][PATH_MAX];
    enum written result = NOT_HERE;
    struct reasons *taken = take_noted(is_last, to);
    if (taken == NULL)
        return;
    for (size_t i = 0; i < LAST_ERRORS_PLACES && result == NOT_HERE; i++) {
        if (to[i][0] != '\0')
            result = write_into(to[i], taken);
    }
    if (result != WRITTEN) {
        pthread_mutex_lock(&lock);
        add_all(&noted, taken);
        is_noted = true;
        pthread_mutex_unlock(&lock);
    }
    free(taken);
}
