/* What a command is given: its options, and the configuration, source, queue and event that they name. */
#include "commands/commands_private.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/escape.h"
#include "base/program_name.h"
#include "base/text.h"
#include "commands/commands.h"
#include "config/config.h"
#include "process/process.h"
#include "queue/inspect.h"

/* ---- options ---- */

#define OPTIONS_MOST 16
#define CONFIG_OPTION "--config" /* of every command */
#define FIRST 256                /* getopt_long's value of the first option: above every letter */

int options_wrong(const char *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", command);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return CODE_USAGE;
}

/* Whether an argument names the option in full: getopt_long takes the beginning of a name, too. */
static bool names_option(const char *argument, const struct option_spec *spec)
{
    size_t length = strlen(spec->name);
    return strncmp(argument, spec->name, length) == 0 && (argument[length] == '\0' || argument[length] == '=');
}

/* Sets the option that getopt_long found in the argument. Returns false when the argument is wrong; stderr has the
 * fault. */
static bool take_option(const char *command, const char *argument, int found, const struct option_spec *specs,
                        size_t count)
{
    int value = found == '?' || found == ':' ? optopt : found;
    const struct option_spec *spec = value >= FIRST && (size_t)(value - FIRST) < count ? &specs[value - FIRST] : NULL;
    if (spec == NULL || !names_option(argument, spec)) {
        options_wrong(command, "no such option: %s", argument);
        return false;
    }
    bool empty = value == found && spec->value != NULL && *optarg == '\0'; /* a shell's variable that is not set */
    if (value != found || empty) {
        options_wrong(command, "%s %s", spec->name, found == ':' || empty ? "needs a value" : "takes no value");
        return false;
    }
    if (spec->value != NULL)
        *spec->value = optarg;
    else
        *spec->flag = true;
    return true;
}

bool options_use_configuration(const char *command, const char *path)
{
    if (path[0] != '\0' && setenv("CLOSECRM_CONFIG", path, 1) == 0) {
        program_name_use_configuration(path);
        return true;
    }
    options_wrong(command, path[0] == '\0' ? CONFIG_OPTION " needs a value" : "out of memory");
    return false;
}

bool options_read_all(int argc, char **argv, const struct option_spec *specs, size_t count, int *arguments)
{
    struct option options[OPTIONS_MOST + 2] = {{0}};
    struct option_spec with[OPTIONS_MOST + 1];
    const char *config = NULL;
    int found;
    for (size_t i = 0; i < count && i < OPTIONS_MOST; i++) {
        with[i] = specs[i];
        options[i] = (struct option){specs[i].name + strlen("--"),
                                     specs[i].value != NULL ? required_argument : no_argument, NULL, FIRST + (int)i};
    }
    with[count] = (struct option_spec){CONFIG_OPTION, &config, NULL};
    options[count] = (struct option){CONFIG_OPTION + strlen("--"), required_argument, NULL, FIRST + (int)count};
    *arguments = 0;
    opterr = 0;
    optind = 0; /* getopt_long starts over */
    const char *argument = argv[argc > 1];
    /* "-": an argument that is no option is returned as 1, in its place; ":": a missing value is returned as ':' */
    while ((found = getopt_long(argc, argv, "-:", options, NULL)) != -1) {
        if (found == 1)
            argv[++*arguments] = optarg;
        else if (!take_option(argv[0], argument, found, with, count + 1))
            return false;
        argument = argv[optind];
    }
    while (optind < argc) /* behind "--" */
        argv[++*arguments] = argv[optind++];
    return config == NULL || options_use_configuration(argv[0], config);
}

bool options_read(int argc, char **argv, const struct option_spec *specs, size_t count, const char **argument)
{
    int arguments = 0, most = argument == NULL ? 0 : 1;
    if (!options_read_all(argc, argv, specs, count, &arguments))
        return false;
    if (arguments > most) {
        options_wrong(argv[0], "too many arguments: %s", argv[most + 1]);
        return false;
    }
    if (arguments > 0)
        *argument = argv[1];
    return true;
}

bool options_read_id(int argc, char **argv, const struct option_spec *specs, size_t count, const char *question,
                     uint64_t *id)
{
    const char *text = NULL;
    if (!options_read(argc, argv, specs, count, &text))
        return false;
    if (text != NULL && text_read_id(text, id))
        return true;
    if (text == NULL)
        options_wrong(argv[0], "%s", question);
    else
        options_wrong(argv[0], "\"%.60s\" is no number: %s", text, question);
    return false;
}

bool options_confirmed(const char *command)
{
    char answer[16] = "";
    ssize_t n = read(STDIN_FILENO, answer, sizeof answer - 1); /* a terminal gives a line at a time */
    if (n > 0 && (answer[0] == 'y' || answer[0] == 'Y'))
        return true;
    fprintf(stderr, "%s: nothing was done\n", command);
    return false;
}

/* ---- configuration, owner, source, queue ---- */

#define EVENT_BYTES ((size_t)1 << 20) /* the first always comes */
#define PATH_ROOM 4096

int session_failed(const char *command, const struct error *why)
{
    fprintf(stderr, "%s: %s\n", command, why->text);
    return COMMAND_FAILED;
}

static enum session_place explain_missing(const struct config *config, struct error *why)
{
    struct stat status;
    if (!state_place_may_open(config, why))
        return SESSION_PLACE_MISSING;
    if (lstat(config->state_dir, &status) == 0)
        error_set(
            why,
            "the state directory %.200s is a symbolic link to what is not there: make that, for the user as which "
            "the program runs, or remove the link",
            config->state_dir);
    else if (geteuid() == 0)
        error_set(
            why,
            "there is no state directory %.120s. If it was moved or removed while the program runs, put it back: "
            "nothing "
            "is lost then. Only where the program has never run: it makes it when it starts, as its user (root must "
            "not, or it could not write there); to make it before: install -d -m 700 -o USER '%.120s'",
            config->state_dir, config->state_dir);
    else
        error_set(why,
                  "there is no state directory %.200s: if it was moved or removed while the program runs, put it back, "
                  "and nothing is lost; where the program has never run, it makes it when it starts",
                  config->state_dir);
    return SESSION_PLACE_MISSING;
}

/* The program could not write files that root created: they must belong to the state directory's owner. */
static enum session_place become_user(const struct config *config, const struct stat *status, struct error *why)
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
    if (config_state_dir(config) == NULL)
        return SESSION_PLACE_NONE;
    if (stat(config->state_dir, &status) != 0 && errno == ENOENT)
        return explain_missing(config, why);
    if (stat(config->state_dir, &status) != 0) {
        error_set(why, "the state directory %.300s cannot be looked at: %s", config->state_dir, strerror(errno));
        return SESSION_PLACE_BARRED;
    }
    if (status.st_uid == geteuid())
        return SESSION_PLACE_READY;
    if (geteuid() == 0)
        return become_user(config, &status, why);
    state_folder_owner_error(config->state_dir, status.st_uid, why);
    return SESSION_PLACE_BARRED;
}

bool session_may_open(const struct config *config, struct error *why)
{
    enum session_place place = session_become_owner(config, why);
    return place != SESSION_PLACE_BARRED && (place != SESSION_PLACE_MISSING || geteuid() != 0);
}

struct config *session_configuration_if_any(const char *command, bool *missing)
{
    struct strings faults;
    struct error why = {0};
    struct config *config = config_load_all(&faults, &why);
    bool silent = missing != NULL && config == NULL && why.kind == ERROR_MISSING;
    if (missing != NULL)
        *missing = silent;
    for (size_t i = 0; i < faults.count; i++)
        fprintf(stderr, "%s: %s\n", command, faults.at[i]);
    if (config == NULL && faults.count == 0 && !silent)
        session_failed(command, &why);
    strings_free(&faults);
    return config;
}

struct config *session_configuration(const char *command)
{
    return session_configuration_if_any(command, NULL);
}

/* Prints the reason, closes, and sets the exit code. Returns false. */
static bool give_up(struct session *session, const char *command, const struct error *why)
{
    session_failed(command, why);
    session_close(session);
    session->code = COMMAND_STATE;
    return false;
}

static bool prepare(struct session *session, const char *command, bool makes)
{
    struct error why = {0};
    *session = (struct session){.config = session_configuration(command), .code = COMMAND_CONFIGURATION};
    if (session->config == NULL)
        return false;
    enum session_place place = session_become_owner(session->config, &why);
    bool may_make = makes && place == SESSION_PLACE_MISSING && geteuid() != 0;
    if (place == SESSION_PLACE_READY || place == SESSION_PLACE_NONE || may_make)
        return true;
    struct queue_setup setup;
    struct error fault;
    bool is_there;
    if (place == SESSION_PLACE_MISSING && !queue_try(session->config, &setup, &is_there, &fault))
        why = fault; /* the program that would make the directory could not run */
    return give_up(session, command, &why);
}

bool session_prepare(struct session *session, const char *command)
{
    return prepare(session, command, false);
}

bool session_prepare_to_make(struct session *session, const char *command)
{
    return prepare(session, command, true);
}

/* Opening a queue in a database connects to nothing: a server that is away shows when it is asked. */
static bool is_reached(const struct session *session, struct error *why)
{
    struct strings names = {0};
    bool reached = session->config->queue != QUEUE_POSTGRESQL || queue_names(session->queue, &names, why);
    queue_names_free(&names);
    return reached;
}

bool session_open(struct session *session, const char *command)
{
    struct error why = {0};
    if (!session_prepare(session, command))
        return false;
    session->queue = queue_open(session->config, &why);
    if (session->queue != NULL && is_reached(session, &why))
        return true;
    return give_up(session, command, &why);
}

int session_missed(const struct session *session, const char *command, const char *source, int code)
{
    struct error words;
    if (source != NULL || session->queue == NULL || !queue_missed(session->queue, &words))
        return code;
    fprintf(stderr, "%s: not looked into: %s\n", command, words.text);
    return code == COMMAND_OK ? COMMAND_FAILED : code;
}

void session_close(struct session *session)
{
    queue_close(session->queue);
    config_free(session->config);
    *session = (struct session){.config = NULL};
}

const struct source *session_source(const struct config *config, const char *name, const char *command)
{
    if (name == NULL && config->sources == 1)
        return &config->source[0];
    const struct source *source = name == NULL ? NULL : config_source(config, name);
    if (source != NULL)
        return source;
    if (name == NULL)
        fprintf(stderr, "%s: there are several sources: say which, with --source NAME; there are:", command);
    else
        fprintf(stderr, "%s: no source is called \"%s\"; there are:", command, name);
    for (size_t i = 0; i < config->sources; i++)
        fprintf(stderr, " %s", config->source[i].name);
    fputc('\n', stderr);
    return NULL;
}

bool session_knows_source(struct queue *queue, const char *name, bool *known, struct error *why)
{
    struct strings names = {NULL, 0};
    *known = false;
    if (!queue_names(queue, &names, why))
        return false;
    for (size_t i = 0; i < names.count; i++)
        *known = *known || strcmp(names.at[i], name) == 0;
    queue_names_free(&names);
    return *known || !queue_missed(queue, why);
}

int session_read_event(struct queue *queue, const char *source, uint64_t id, struct events *events, struct error *why)
{
    int found = queue_list(queue, source, id - 1, 1, EVENT_BYTES, events, why);
    return found <= 0 ? found : events->at[0].id == id;
}

/* Finds the one of these sources that has the event. Returns its name, in names; NULL with the reason. */
static const char *find_source_of(struct queue *queue, uint64_t id, const struct strings *names, const char *wanted,
                                  struct events *events, struct error *why)
{
    char several[200] = "";
    struct error missed;
    const char *source = NULL;
    size_t having = 0;
    for (size_t i = 0; i < names->count; i++) {
        bool meant = wanted == NULL || strcmp(names->at[i], wanted) == 0;
        int found = meant ? session_read_event(queue, names->at[i], id, events, why) : 0;
        if (found < 0)
            return NULL;
        if (found == 0)
            continue;
        having++;
        source = names->at[i];
        size_t length = strlen(several);
        snprintf(several + length, sizeof several - length, " %s", source);
    }
    if (having == 1)
        return source;
    if (having == 0 && queue_missed(queue, &missed))
        error_set(why, "no event %" PRIu64 " waits where it could be looked for; not looked into: %.400s", id,
                  missed.text);
    else if (having == 0)
        error_set(why, "no event %" PRIu64 " waits%s%.64s: `closecrm.fcgi queue list` shows what does", id,
                  wanted == NULL ? "" : " in source ", wanted == NULL ? "" : wanted);
    else
        error_set(why, "several sources have an event %" PRIu64 ": say which, with --source:%s", id, several);
    return NULL;
}

bool session_find_event(struct queue *queue, uint64_t id, const char *wanted, char source[static SESSION_SOURCE],
                        struct events *events, struct error *why)
{
    struct strings names = {NULL, 0};
    const char *name = NULL;
    bool known = wanted == NULL;
    int found = -1;
    bool good = known || session_knows_source(queue, wanted, &known, why);
    if (good && !known)
        error_set(why, "the queue knows no source %.64s", wanted);
    if (known && queue_names(queue, &names, why))
        name = find_source_of(queue, id, &names, wanted, events, why);
    if (name != NULL)
        found = session_read_event(queue, name, id, events, why);
    if (found == 0)
        error_set(why, "event %" PRIu64 " has just gone", id);
    if (found > 0)
        snprintf(source, SESSION_SOURCE, "%s", name);
    queue_names_free(&names);
    return found > 0;
}

/* Whether a link of /proc/PID/fd leads to something directly in the directory. */
static bool leads_into(const char *link, const char *directory)
{
    char target[PATH_ROOM];
    size_t length = strlen(directory);
    ssize_t n = readlink(link, target, sizeof target - 1);
    if (n < 0)
        return false;
    target[n] = '\0';
    return strncmp(target, directory, length) == 0 && target[length] == '/';
}

/* Whether a process has a descriptor of a file in the directory, as /proc tells it. */
static bool has_it_open(const char *process, const char *directory)
{
    char path[PATH_ROOM];
    bool has = false;
    snprintf(path, sizeof path, "/proc/%.20s/fd", process);
    DIR *descriptors = opendir(path);
    const struct dirent *entry;
    while (descriptors != NULL && !has && (entry = readdir(descriptors)) != NULL) {
        snprintf(path, sizeof path, "/proc/%.20s/fd/%.20s", process, entry->d_name);
        has = leads_into(path, directory);
    }
    if (descriptors != NULL)
        closedir(descriptors);
    return has;
}

static void print_process(const char *process, FILE *out)
{
    char path[64], words[256];
    snprintf(path, sizeof path, "/proc/%.20s/cmdline", process);
    FILE *file = fopen(path, "re");
    size_t n = file == NULL ? 0 : fread(words, 1, sizeof words, file);
    if (file != NULL)
        fclose(file);
    for (size_t i = 0; i < n; i++)
        words[i] = words[i] == '\0' ? ' ' : words[i];
    fprintf(out, "  process %s: ", process);
    plain_write(out, words, n);
    fputc('\n', out);
}

size_t session_print_holders(const struct config *config, FILE *out)
{
    size_t found = 0;
    char own[32];
    char *directory = realpath(config->state_dir, NULL);
    DIR *processes = directory == NULL ? NULL : opendir("/proc");
    const struct dirent *entry;
    snprintf(own, sizeof own, "%ld", (long)getpid());
    while (processes != NULL && (entry = readdir(processes)) != NULL) {
        if (!isdigit((unsigned char)entry->d_name[0]) || strcmp(entry->d_name, own) == 0 ||
            !has_it_open(entry->d_name, directory))
            continue;
        print_process(entry->d_name, out);
        found++;
    }
    if (processes != NULL)
        closedir(processes);
    free(directory);
    return found;
}
