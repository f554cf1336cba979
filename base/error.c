/* Errors: see error.h. */
#include "base/error.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/program_name.h"

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

/* ---- errors that mean "no space": a table ---- */

static const struct {
    int error;
    bool space; /* it concerns bytes on this file system */
    const char *words;
    const char *advice;
} table[] = {
    {ENOSPC, true, "the disk is full", "make room on the disk"},
    {EDQUOT, true, "the quota is used up", "make room, or have the quota raised"},
    {EFBIG, false, "a limit on the size of files is reached (ulimit -f, or the file system's own)",
     "set it to unlimited, or to 64 MiB more than queue_max_bytes, where the web server starts the program"},
    {EROFS, false, "the file system is read-only", "look into the kernel's log, repair and remount the file system"},
    {ENOMEM, false, "the kernel has no memory for the write", "free memory, or raise the limit on it"},
};
#define NEXT_TO_NOTHING 131072 /* bytes free; file systems reserve some */
#define ROWS (sizeof table / sizeof *table)

static size_t row_of(int error)
{
    size_t i = 0;
    while (i < ROWS && table[i].error != error)
        i++;
    return i;
}

bool no_room_is(int error)
{
    return row_of(error) < ROWS;
}

bool no_room_helped_by_space(int error)
{
    size_t row = row_of(error);
    return row < ROWS && table[row].space;
}

const char *no_room_words(int error)
{
    return table[row_of(error) % ROWS].words;
}

const char *no_room_advice(int error)
{
    return table[row_of(error) % ROWS].advice;
}

int no_room_predict(const char *directory)
{
    struct statvfs disk;
    if (statvfs(directory, &disk) != 0)
        return 0;
    if ((disk.f_flag & ST_RDONLY) != 0)
        return EROFS;
    return (uint64_t)disk.f_bavail * disk.f_frsize < NEXT_TO_NOTHING || (disk.f_files > 0 && disk.f_favail == 0)
               ? ENOSPC
               : 0;
}

/* ---- texts about a wrong owner ---- */

#define NAME_SIZE 32
#define NAME_MOST 20 /* bytes of a user name; a longer one is replaced by the number */
/* Bytes of a path in a command, which must fit completely into struct error. */
#define PATH_MOST 120

#define GIVE_SIZE (PATH_MOST + NAME_SIZE + 80)

/* A user as printed, and as written for chown and sudo: a user without a name is a number, which sudo wants with a
 * quoted #. */
struct name {
    char plain[NAME_SIZE];
    char sudo[NAME_SIZE];
};

static bool find_name(uid_t user, char out[static OWNER_NAME])
{
    struct passwd entry, *found = NULL;
    char room[4096];
    bool named = getpwuid_r(user, &entry, room, sizeof room, &found) == 0 && found != NULL;
    snprintf(out, OWNER_NAME, "%s", named ? entry.pw_name : "");
    return named;
}

const char *owner_name(uid_t user, char out[static OWNER_NAME])
{
    if (!find_name(user, out))
        snprintf(out, OWNER_NAME, "%u", (unsigned)user);
    return out;
}

static struct name name_of(uid_t user)
{
    struct name name;
    char known[OWNER_NAME];
    if (find_name(user, known) && strlen(known) <= NAME_MOST) {
        snprintf(name.plain, NAME_SIZE, "%.*s", NAME_MOST, known);
        snprintf(name.sudo, NAME_SIZE, "%.*s", NAME_MOST, known);
    } else {
        snprintf(name.plain, NAME_SIZE, "%u", (unsigned)user);
        snprintf(name.sudo, NAME_SIZE, "'#%u'", (unsigned)user);
    }
    return name;
}

/* Prints what to do with the command that changes the owner; a description in words when the path does not fit
 * completely between quotes. */
static void print_chown(const char *path, const struct name *to, char out[static GIVE_SIZE])
{
    if (strlen(path) <= PATH_MOST && strchr(path, '\'') == NULL)
        snprintf(out, GIVE_SIZE, "let root say chown -R %s '%s'", to->plain, path);
    else
        snprintf(out, GIVE_SIZE, "let root say chown -R with %s and its path", to->plain);
}

void owner_error(const char *what, const char *path, uid_t owner, const char *instead, struct error *why)
{
    char command[GIVE_SIZE];
    uid_t own = geteuid();
    struct name theirs = name_of(owner), ours = name_of(own);
    if (instead == NULL)
        print_chown(path, &ours, command);
    else
        snprintf(command, sizeof command, "%s", instead);
    if (owner == 0)
        error_set(why,
                  "%s %.80s belongs to root, and this runs as user %s: if the program runs as %s, %s; if it "
                  "runs as root, run this as root",
                  what, path, ours.plain, ours.plain, command);
    else
        error_set(why,
                  "%s %.80s belongs to user %s, and this runs as user %s: run it as %s (sudo -u %s %s ...); "
                  "if the program is to run as %s, %s",
                  what, path, theirs.plain, ours.plain, theirs.plain, theirs.sudo, program_name(), ours.plain, command);
}
