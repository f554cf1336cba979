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
    {"forward", "[--follow]", "deliver what waits",
     "Delivers what is due and ends. Where another process forwards already (a FastCGI process does), there is "
     "nothing\n"
     "left to do. What the data plane does not take now stays, with the time of its next try.\n"
     "\n"
     "  --follow   goes on until SIGTERM or SIGINT, and takes a changed configuration by itself: for systemd\n",
     command_forward},
    {"cron", "[--seconds N]", "do all that time requires, and report what is wrong",
     "For a crontab, as the user as which the web server runs the program:\n"
     "  * * * * * /usr/lib/closecrm/closecrm.fcgi cron\n"
     "Delivers what is due where no other process does. Says nothing when all is well; else a line for each problem:\n"
     "events that wait for more than an hour or for you to act, new dead letters, a full disk, a queue that cannot be\n"
     "opened. The exit code is 1 then.\n"
     "\n"
     "  --seconds N   begin nothing new after N seconds (50)\n",
     command_cron},
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
