/* Opening the queue for a command: see session.h. */
#include "commands/session.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/owner.h"
#include "commands/commands.h"

int session_failed(const char *command, const struct error *why)
{
    fprintf(stderr, "%s: %s\n", command, why->text);
    return COMMAND_FAILED;
}

static enum session_place missing(const struct config *config, struct error *why)
{
    if (geteuid() == 0)
        error_set(
            why,
            "there is no state directory %.160s yet. The program makes it when it starts, as the user as which it "
            "runs; root must not, or the program could not write there. To make it before: install -d -m 700 -o "
            "USER '%.160s'",
            config->state_dir, config->state_dir);
    else
        error_set(why, "there is no state directory %.300s yet: the program makes it when it starts",
                  config->state_dir);
    return SESSION_PLACE_MISSING;
}

/* Files that root made could not be written by the program: they must belong to whom the directory belongs to. */
static enum session_place become(const struct config *config, const struct stat *status, struct error *why)
{
    const struct passwd *user = getpwuid(status->st_uid);
    gid_t group = user != NULL ? user->pw_gid : status->st_gid;
    if (setgroups(1, &group) == 0 && setgid(group) == 0 && setuid(status->st_uid) == 0 && geteuid() == status->st_uid)
        return SESSION_PLACE_READY;
    error_set(why, "cannot become user %u, to whom the state directory %.300s belongs: %s", (unsigned)status->st_uid,
              config->state_dir, strerror(errno));
    return SESSION_PLACE_BARRED;
}

enum session_place session_become_owner(const struct config *config, struct error *why)
{
    struct stat status;
    if (config->queue != QUEUE_SQLITE)
        return SESSION_PLACE_NONE;
    if (stat(config->state_dir, &status) != 0 && errno == ENOENT)
        return missing(config, why);
    if (stat(config->state_dir, &status) != 0) {
        error_set(why, "the state directory %.300s cannot be looked at: %s", config->state_dir, strerror(errno));
        return SESSION_PLACE_BARRED;
    }
    if (status.st_uid == geteuid())
        return SESSION_PLACE_READY;
    if (geteuid() == 0)
        return become(config, &status, why);
    owner_why("the state directory", config->state_dir, status.st_uid, why);
    return SESSION_PLACE_BARRED;
}

bool session_may_open(const struct config *config, struct error *why)
{
    enum session_place place = session_become_owner(config, why);
    return place != SESSION_PLACE_BARRED && (place != SESSION_PLACE_MISSING || geteuid() != 0);
}

/* Says why, closes, and keeps the exit code. Returns false. */
static bool give_up(struct session *session, const char *command, const struct error *why)
{
    int code = session->config == NULL ? COMMAND_CONFIGURATION : COMMAND_STATE;
    session_failed(command, why);
    session_close(session);
    session->code = code;
    return false;
}

bool session_prepare(struct session *session, const char *command)
{
    struct error why = {0};
    *session = (struct session){.config = config_load(&why)};
    enum session_place place =
        session->config == NULL ? SESSION_PLACE_BARRED : session_become_owner(session->config, &why);
    if (place == SESSION_PLACE_READY || place == SESSION_PLACE_NONE)
        return true;
    return give_up(session, command, &why);
}

bool session_open(struct session *session, const char *command)
{
    struct error why = {0};
    if (!session_prepare(session, command))
        return false;
    session->queue = queue_open(session->config, &why);
    if (session->queue != NULL)
        return true;
    return give_up(session, command, &why);
}

void session_close(struct session *session)
{
    queue_close(session->queue);
    config_free(session->config);
    *session = (struct session){.config = NULL};
}
