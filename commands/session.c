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

int state_failed(const char *command, const struct error *why)
{
    fprintf(stderr, "%s: %s\n", command, why->text);
    return COMMAND_FAILED;
}

static enum state_place missing(const struct config *config, struct error *why)
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
    return STATE_MISSING;
}

/* Files that root made could not be written by the program: they must belong to whom the directory belongs to. */
static enum state_place become(const struct config *config, const struct stat *status, struct error *why)
{
    const struct passwd *user = getpwuid(status->st_uid);
    gid_t group = user != NULL ? user->pw_gid : status->st_gid;
    if (setgroups(1, &group) == 0 && setgid(group) == 0 && setuid(status->st_uid) == 0 && geteuid() == status->st_uid)
        return STATE_THERE;
    error_set(why, "cannot become user %u, to whom the state directory %.300s belongs: %s", (unsigned)status->st_uid,
              config->state_dir, strerror(errno));
    return STATE_BARRED;
}

enum state_place state_take_on_owner(const struct config *config, struct error *why)
{
    struct stat status;
    if (config->queue != QUEUE_SQLITE)
        return STATE_NONE;
    if (stat(config->state_dir, &status) != 0 && errno == ENOENT)
        return missing(config, why);
    if (stat(config->state_dir, &status) != 0) {
        error_set(why, "the state directory %.300s cannot be looked at: %s", config->state_dir, strerror(errno));
        return STATE_BARRED;
    }
    if (status.st_uid == geteuid())
        return STATE_THERE;
    if (geteuid() == 0)
        return become(config, &status, why);
    owner_why("the state directory", config->state_dir, status.st_uid, why);
    return STATE_BARRED;
}

bool state_may_open(const struct config *config, struct error *why)
{
    enum state_place place = state_take_on_owner(config, why);
    return place != STATE_BARRED && (place != STATE_MISSING || geteuid() != 0);
}

/* Says why, closes, and keeps the exit code. Returns false. */
static bool give_up(struct state *state, const char *command, const struct error *why)
{
    int code = state->config == NULL ? COMMAND_CONFIGURATION : COMMAND_STATE;
    state_failed(command, why);
    state_close(state);
    state->code = code;
    return false;
}

bool state_prepare(struct state *state, const char *command)
{
    struct error why = {0};
    *state = (struct state){.config = config_load(&why)};
    enum state_place place = state->config == NULL ? STATE_BARRED : state_take_on_owner(state->config, &why);
    if (place == STATE_THERE || place == STATE_NONE)
        return true;
    return give_up(state, command, &why);
}

bool state_open(struct state *state, const char *command)
{
    struct error why = {0};
    if (!state_prepare(state, command))
        return false;
    state->queue = queue_open(state->config, &why);
    if (state->queue != NULL)
        return true;
    return give_up(state, command, &why);
}

void state_close(struct state *state)
{
    queue_close(state->queue);
    config_free(state->config);
    *state = (struct state){.config = NULL};
}
