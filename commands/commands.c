/* The table of commands, and what all of them have in common: see commands.h. */
#include "commands/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands/nearest.h"

#define NEAR 3 /* a name farther away than this many letters is not what was meant */

static const struct command commands[] = {
    {"transform", "[--source NAME] < EVENTS", "turn events on stdin into RudderStack messages on stdout",
     "Reads one event, printed over many lines or on one, or several one after another (JSON lines). Writes a message\n"
     "per line. The source's keep, drop and remove apply; without any configuration it works too, without rules.\n"
     "\n"
     "  --source NAME   whose rules; needed only where the configuration has several sources\n"
     "\n"
     "A bad event is reported with its line and byte, the others still come, and the exit code is 1.\n",
     command_transform},
    {"check", "[--offline]", "say what is wrong: configuration, data plane, write key",
     "Prints every setting and where it came from, each source's address for Close, and whether its data plane takes\n"
     "its write key (an empty batch is sent, which stores nothing).\n"
     "\n"
     "  --offline   look at the configuration only\n"
     "\n"
     "The exit code is 1 when anything is wrong.\n",
     command_check},
    {"send-test", "[--source NAME] [--event TYPE.ACTION] [--size N] [--body FILE] URL",
     "send a signed event to URL, as Close would, and explain the answer",
     "Sends a fresh event of object type closecrm_test, which means nothing to anybody and goes the whole way to\n"
     "RudderStack. It is signed with the source's first signature key, or carries its write key where it has none.\n"
     "\n"
     "  --source NAME         whose key; needed only where the configuration has several sources\n"
     "  --event TYPE.ACTION   another event than closecrm_test.created\n"
     "  --size N              fill the body up to about N bytes (200K, 4M), to find out what limits there are\n"
     "  --body FILE           send this file as it is (-: stdin)\n"
     "\n"
     "The exit code is 0 only when the answer was 200 with the body `ok`.\n",
     command_send_test},
    {"subscribe", "--url URL [--source NAME] [--events LIST] [--filter FILE] [--dry-run] [--probe]",
     "make Close send its events to URL, signed, and keep the key",
     "Says what it will do, makes a subscription in Close, and keeps its key in the state directory, where the "
     "running\n"
     "program finds it at once. Needs close_api_key in the configuration.\n"
     "\n"
     "  --url URL       the program's public address; with several sources it ends with /NAME\n"
     "  --source NAME   whose events; needed only where the configuration has several sources\n"
     "  --events LIST   lead.created,opportunity.*; without it all events that Close documents\n"
     "  --filter FILE   an extra_filter of Close's (JSON) for each of them\n"
     "  --dry-run       only say what would be done\n"
     "  --probe         then send a small and a large signed request to URL, which the program answers and does not\n"
     "                  keep; if URL is subscribed already, only this\n",
     command_subscribe},
    {"subscriptions", "[--source NAME] [--json]", "list the subscriptions in Close, and whether their keys are held",
     "", command_subscriptions},
    {"unsubscribe", "[--source NAME] ID", "remove a subscription in Close, and its key here", "", command_unsubscribe},
    {"pause", "[--source NAME] ID", "make Close send nothing for a while",
     "Close drops what waits; `resume` fetches it from the Event Log, which Close keeps for 30 days.\n", command_pause},
    {"resume", "[--source NAME] ID", "make Close send again, and fill the gap", "", command_resume},
    {"rotate", "[--source NAME] [ID]", "put a new subscription with a new key in an old one's place, without a gap",
     "Makes the new one; both deliver for a while. `reconcile` removes the old one when the new one has delivered and\n"
     "the Event Log was read past its creation. Said again, it tells how far that is.\n",
     command_rotate},
    {"backfill",
     "--since T [--until T] [--source NAME] [--object-type X] [--action Y] [--lead ID] [--all-events] [--again] "
     "[--dry-run] [--json]",
     "fetch past events from Close's Event Log",
     "Puts into the queue what was not delivered yet, oldest first. Close keeps 30 days. The same line again goes on\n"
     "where it was stopped.\n"
     "\n"
     "  --since, --until T   2026-11-01, 2026-11-01T12:30 (UTC), or 7d, 12h: before now\n"
     "  --object-type X, --action Y, --lead ID   only these\n"
     "  --all-events         also what no subscription of the source covers\n"
     "  --again              from the start, not where it was stopped\n"
     "  --dry-run            only read and count\n",
     command_backfill},
    {"reconcile", "[--source NAME] [--all-events] [--json]",
     "close every gap since the last time from Close's Event Log",
     "cron and the running program do this by themselves every reconcile_interval. Also looks whether Close has "
     "paused\n"
     "the subscription. The exit code is 1 when somebody must look at something.\n",
     command_reconcile},
    {"help", "[COMMAND]", "list the commands, or explain one", "", command_help},
    {"version", "", "print the versions of the program and its libraries", "", command_version},
};

#define COMMANDS (sizeof commands / sizeof *commands)

const struct command *commands_all(size_t *count)
{
    *count = COMMANDS;
    return commands;
}

const struct command *commands_find(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

int commands_unknown(const char *name)
{
    size_t best = NEAR + 1;
    const char *nearest = NULL;
    for (size_t i = 0; i < COMMANDS; i++) {
        size_t distance = nearest_distance(name, commands[i].name);
        if (distance < best && distance < strlen(commands[i].name)) {
            best = distance;
            nearest = commands[i].name;
        }
    }
    fprintf(stderr, "closecrm.fcgi: no such command: %s\n", name);
    if (nearest != NULL)
        fprintf(stderr, "Did you mean `closecrm.fcgi %s`?\n", nearest);
    fprintf(stderr, "usage: closecrm.fcgi COMMAND ...; `closecrm.fcgi help` lists the commands\n");
    return COMMAND_USAGE;
}

/* Where 0, 1 or 2 is closed, a file or socket opened later would get its number and be mistaken for it. What stands in
 * fails when it is used, as the closed one would. */
static void fill_standard_descriptors(void)
{
    static const int flags[] = {O_WRONLY, O_RDONLY, O_WRONLY};
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", flags[fd]) < 0)
            return;
    }
}

/* Writes what stdio still holds: only now is it known whether the results have arrived. */
static int finish_stdout(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    fprintf(stderr, "closecrm.fcgi: stdout did not take everything: %s\n", strerror(errno));
    return code == COMMAND_OK ? COMMAND_FAILED : code;
}

static bool asks_for_help(const char *argument)
{
    return strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0;
}

int commands_run(int argc, char **argv)
{
    fill_standard_descriptors();
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        fprintf(stderr, "usage: closecrm.fcgi COMMAND ...; `closecrm.fcgi help` lists the commands\n");
        return COMMAND_USAGE;
    }
    const char *name = argv[1];
    if (asks_for_help(name))
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    const struct command *command = commands_find(name);
    if (command == NULL)
        return commands_unknown(name);
    if (argc == 3 && asks_for_help(argv[2]))
        return finish_stdout(command_help(2, (char *[]){argv[2], argv[1], NULL}));
    return finish_stdout(command->run(argc - 1, argv + 1));
}
