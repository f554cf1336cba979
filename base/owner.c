/* Texts about a wrong owner: see owner.h. */
#include "base/owner.h"

#include "base/program_name.h"

#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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
