/* The table of commands, help and version, and the dispatcher: see commands.h. */
#include "commands/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/program_name.h"
#include "base/text.h"
#include "commands/commands_private.h"
#include "process/process.h"

#define NAME_SIZE 64 /* for two words of a name */
#define NEAR 3       /* letters: a name that differs in more is not suggested */

/* The arguments that all commands over dead letters take. */
#define LETTERS "[FILTER ...] [ID ...] "
#define FILTERS                                                                                                        \
    "Filters, of which all must fit, and numbers as `dead list` shows them:\n"                                         \
    "\n"                                                                                                               \
    "  --source NAME\n"                                                                                                \
    "  --reason TEXT       a part of the reason, in any case\n"                                                        \
    "  --event PATTERN     object type and action: lead.updated, activity.*\n"                                         \
    "  --lead ID\n"                                                                                                    \
    "  --since T           died at T or later: 2026-11-24T20:45:00Z, a date alone (its midnight, UTC), or how long\n"  \
    "                      ago: 90s, 15m, 2h, 7d\n"                                                                    \
    "  --until T           died at T or earlier\n"                                                                     \
    "\n"

static int command_help(int argc, char **argv);

static const struct command commands[] = {
    {"transform", "[--source NAME] [--warehouse postgres] < EVENTS",
     "turn events on stdin into RudderStack messages on stdout",
     "Reads one event, printed over many lines or on one, or several one after another (JSON lines). Writes a message\n"
     "per line. The source's keep, drop and remove apply; without any configuration it works too, without rules.\n"
     "\n"
     "  --source NAME          whose rules; needed only where the configuration has several sources\n"
     "  --warehouse postgres   print the table and columns that a warehouse makes of each event instead, and what is\n"
     "                         lost there: the first value of a column decides its type, so keep the events' order\n"
     "\n"
     "A bad event is reported with its line and byte, the others still come, and the exit code is 1.\n",
     command_transform},
    {"check", "[--offline] [--settings] [--source NAME]",
     "say what is wrong: configuration, data plane, write key, place, queue",
     "Prints each source's address for Close, whether its data plane takes its\n"
     "write key (an empty batch is sent, which stores nothing), what is wrong with the place (permissions, limits,\n"
     "certificates, clock, cron, web servers' limits on bodies), and how the queue stands: what waits, who forwards,\n"
     "dead letters, sources that are no longer configured; each with what to do.\n"
     "\n"
     "  --offline       look at the configuration and the state directory's permissions only; change nothing\n"
     "  --settings      then every setting, and where it came from\n"
     "  --source NAME   of this source only\n"
     "\n"
     "The exit code is 1 when anything is wrong.\n",
     command_check},
    {"send-test", "[--source NAME] [--event TYPE.ACTION] [--size N] [--body FILE] [--no-forward] URL",
     "send a signed event to URL, as Close would, and explain the answer",
     "Sends a fresh event of object type closecrm_test, which means nothing to anybody and goes the whole way to\n"
     "RudderStack. It is signed with the source's first signature key, or carries its write key where it has none.\n"
     "\n"
     "  --source NAME         whose key; needed only where the configuration has several sources\n"
     "  --event TYPE.ACTION   another event than closecrm_test.created\n"
     "  --size N              fill the body up to about N bytes (200K, 4M), to find out what limits there are\n"
     "  --body FILE           send this file as it is (-: stdin)\n"
     "  --no-forward          only as far as the program: it answers, and neither keeps nor forwards anything\n"
     "\n"
     "The exit code is 0 only when the answer was 200 with the body that is wanted: `ok`, or with --no-forward the\n"
     "sentence that it was not kept.\n",
     command_send_test},
    {"subscribe",
     "--url URL [--update] [--source NAME] [--events LIST] [--filter FILE] [--dry-run] [--probe] [--no-url-check]",
     "make Close send its events to URL, signed, and keep the key",
     "Says what it will do, makes a subscription in Close, and keeps its key in the state directory, where the\n"
     "running program finds it at once. Needs close_api_key in the configuration. First of all it asks URL by a GET,\n"
     "which the program must answer: an address that does not lead to it leaves nothing behind in Close.\n"
     "\n"
     "  --url URL       the program's public address; with several sources it ends with /NAME\n"
     "  --source NAME   whose events; needed only where the configuration has several sources\n"
     "  --events LIST   lead.created,opportunity.*; without it all events that Close documents\n"
     "  --filter FILE   an extra_filter of Close's (JSON) for each of them\n"
     "  --dry-run       only say what would be done\n"
     "  --probe         then send a small and a large signed request to URL, which the program answers and does not\n"
     "                  keep; if URL is subscribed already, only this\n"
     "  --no-url-check  without the GET, where this machine cannot reach its own public address\n"
     "  --update        add event types to the source's subscription, which keeps its key: those that were seen in\n"
     "                  the Event Log and are missing in it, or those of --events\n",
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
     "[--dry-run] [--identify] [--json]",
     "fetch past events from Close's Event Log",
     "Puts into the queue what was not delivered yet, oldest first. Close keeps 30 days. The same line again goes on\n"
     "where it was stopped.\n"
     "\n"
     "  --since, --until T   2026-11-01, 2026-11-01T12:30 (UTC), or 7d, 12h: before now\n"
     "  --object-type X, --action Y, --lead ID   only these\n"
     "  --all-events         also what no subscription of the source covers\n"
     "  --again              from the start, not where it was stopped\n"
     "  --dry-run            only read and count\n"
     "  --identify           send identify messages, too, where the source has identify = yes: RudderStack keeps the\n"
     "                       traits that it received last, so only where no newer ones were sent\n",
     command_backfill},
    {"reconcile", "[--source NAME] [--from T] [--all-events] [--json]",
     "close every gap since the last time from Close's Event Log",
     "  --from T   read everything from this time on (2026-11-24, 2026-11-24T20:45 in UTC, 7d). After a loss of the\n"
     "             queue it fetches what is gone; what was delivered in that time and is not known any more is\n"
     "             counted twice. `0s` fetches nothing and leaves the loss as it is\n"
     "\n"
     "cron and the running program do this by themselves every reconcile_interval. Also looks whether Close has\n"
     "paused the subscription. The exit code is 1 when somebody must look at something.\n",
     command_reconcile},
    {"queue status", "[--source NAME] [--json]", "how many events were accepted, and what became of them",
     "For each source and in all: accepted, delivered, duplicates, dropped, waiting, dead letters, the last of each,\n"
     "the last error and the next attempt; and which process forwards.\n"
     "\n"
     "  --source NAME   of this source only\n"
     "  --json          for other programs; dates are UTC. oldest_waiting_seconds is 0 when nothing waits\n",
     command_queue_status},
    {"status", "[--source NAME] [--json]", "the same as `queue status`", "See `closecrm.fcgi help queue status`.\n",
     command_queue_status},
    {"queue list", "[--source NAME] [--limit N] [--json]", "list what waits, the oldest first",
     "  --source NAME   of this source only; its name may be one that is no longer configured\n"
     "  --limit N       the first N only\n"
     "  --json          an object a line\n",
     command_queue_list},
    {"queue show", "ID [--source NAME]", "show a waiting event as it came, and the message that it makes",
     "What the source's `remove` names is left out of both, so that personal data stays out of sight; how many\n"
     "members that are is told. A body that makes no message is shown with the reason.\n"
     "\n"
     "  --source NAME   needed only where several sources have an event of that number\n",
     command_queue_show},
    {"queue set-aside", "ID [--source NAME]", "make a waiting event a dead letter; its lead's later events go on",
     "For an event that stands in the way. The process that forwards carries it out, which is waited for up to 10 s;\n"
     "where none does, this command does it. Refused while the event is with the data plane. `dead replay` undoes it.\n"
     "\n"
     "  --source NAME   needed only where several sources have an event of that number\n",
     command_queue_set_aside},
    {"queue retry", "[--source NAME]", "have what waits tried now, whatever pause a failure has caused",
     "Asks each data plane first whether it takes the write key (an empty batch, which stores nothing), and then\n"
     "has whoever forwards, on whichever machine, try at once what it would try later, after an answer 500 or while\n"
     "a key is refused. The exit code is 1 when a data plane does not take it.\n"
     "\n"
     "  --source NAME   ask this source's data plane only; what waits of the others is tried, too\n",
     command_queue_retry},
    {"queue check", "[--repair]", "read the whole queue and say whether it is damaged",
     "  --repair   put what can be read of a damaged queue into a new one. No other process may have it open: those\n"
     "             that do are listed. The damaged files are kept beside it\n"
     "\n"
     "A queue that is known to be damaged is also repaired by whatever opens it first while nothing else does.\n",
     command_queue_check},
    {"queue move", "OLD NEW", "give a renamed or removed source's events to another",
     "All that is kept of OLD, which must be out of the configuration, becomes NEW's, which must be in it: waiting\n"
     "events, dead letters, what was delivered (so that it is known when it comes again), counts, the keys that\n"
     "`subscribe` obtained, how far Close's Event Log was read. What NEW has already stays as it is. Wait until the\n"
     "running program has taken on that configuration (its log says so, some seconds after the file was saved):\n"
     "what it is sending at that moment would go twice. Interrupted, it goes on when it is called again.\n",
     command_queue_move},
    {"queue migrate", "[--to ENGINE] [--give-up] [--gone]", "give the whole queue to the other kind of queue",
     "ENGINE: postgresql (the database of queue_url) or sqlite (state_dir). Stop the program before, everywhere.\n"
     "Interrupted, it goes on when it is called again; until it is done neither queue works. Then set `queue`.\n\n"
     "  --give-up   undo one that is not done: what has arrived is removed again, and the queue is where it was\n"
     "  --gone      also one of a machine that is gone for good: what has arrived of it stays\n",
     command_queue_migrate},
    {"queue adopt", "", "go on with a database that is not the one of before",
     "For queue = postgresql. Where the program finds another database than the one that it has noted in state_dir it\n"
     "accepts and sends nothing, and says so. If it is on purpose (a dump was restored, the queue begins anew), this\n"
     "takes it on, on each machine, without a stop. What waited in the one of before is not in it. Else mend "
     "queue_url.\n",
     command_queue_adopt},
    {"queue backup", "FILE", "the same as `backup`", "See `closecrm.fcgi help backup`.\n", command_backup},
    {"backup", "FILE", "write all that the state directory holds to a new file",
     "Queue, signature keys that `subscribe` obtained, and how far Close's Event Log was read; all may be in use\n"
     "meanwhile. `restore` puts it back. FILE must not exist, is readable by its owner only, and appears when it is\n"
     "whole. The configuration is not in it. Run by root, FILE is made by the state directory's owner, who must be\n"
     "allowed to write there.\n",
     command_backup},
    {"restore", "[--keys] FILE", "put a backup back, where no events are",
     "Stop the program before. A queue with waiting events or dead letters is not written over. A key is taken on\n"
     "only if Close still has its subscription, which close_api_key is for. What Close sent after the backup was made "
     "is\n"
     "not known to be complete any more: `reconcile` fetches it.\n"
     "\n"
     "  --keys   take on all keys without asking Close\n",
     command_restore},
    {"dead list", LETTERS "[--json]", "list dead letters, the oldest first: events that cannot be delivered",
     FILTERS "  --json              an object a line\n", command_dead_list},
    {"dead show", "ID", "show a dead letter: why, as it came, and the message that it would make now",
     "What the source's `remove` names is left out of both, so that personal data stays out of sight.\n",
     command_dead_show},
    {"dead replay", LETTERS "[--all] [--dry-run]", "send dead letters on their way again, transformed anew",
     FILTERS
     "  --all               without a filter: all of them\n"
     "  --dry-run           only count them\n"
     "\n"
     "A letter is gone when its event is delivered, and gets its new reason if it is not. Those that are on their\n"
     "way already are left alone. Interrupted, it goes on where it stopped when it is called again.\n",
     command_dead_replay},
    {"dead drop", LETTERS "[--all] [--dry-run] [--yes]", "throw dead letters away",
     FILTERS "  --all               without a filter: all of them\n"
             "  --dry-run           only count them\n"
             "  --yes               do not ask\n"
             "\n"
             "A dropped event is known, and not taken again when Close repeats it (a newer version of it is).\n",
     command_dead_drop},
    {"forget", "--lead ID [--source NAME] [--dry-run] [--yes]", "erase what is kept here of a lead",
     "Deletes the lead's waiting events, which then are not delivered, its dead letters, the status page's samples,\n"
     "and what deleted events left in the database's free pages and log. The program may run meanwhile. What backups,\n"
     "RudderStack and its destinations have is not reached. Events of the lead that Close sends later are accepted.\n"
     "\n"
     "  --source NAME   only this source's; without it all sources'\n"
     "  --dry-run       only count\n"
     "  --yes           do not ask\n",
     command_forget},
    {"forward", "[--follow]", "deliver what waits",
     "Delivers what is due and ends. Where another process forwards already (a FastCGI process does), there is\n"
     "nothing left to do. What the data plane does not take now stays, with the time of its next try.\n"
     "\n"
     "  --follow   goes on until SIGTERM or SIGINT, and takes a changed configuration by itself: for systemd\n",
     command_forward},
    {"cron", "[--seconds N]", "do all that time requires, and report what is wrong",
     "For a crontab, as the user as which the web server runs the program:\n"
     "  * * * * * /usr/lib/closecrm/closecrm.fcgi cron\n"
     "Delivers what is due where no other process does. Says nothing when all is well; else a line for each problem:\n"
     "events that wait for longer than alert_waiting or for you to act, new dead letters, a full disk, a queue that "
     "cannot be\n"
     "opened. While it lasts it is said once per alert_interval, and once when it is over. The exit code is 1 each\n"
     "time; for what you should only look at, as new dead letters or a data plane that is away, it is 0.\n"
     "\n"
     "  --seconds N   begin nothing new after N seconds (50)\n",
     command_cron},
    {"alert-test", "", "tell whoever is told when something is wrong that this is a test",
     "Runs alert_command and posts to alert_webhook_url, with the cause `test`, and says what became of it. Run it as\n"
     "the user the program runs as: what systemd forbids its service, a shell may do; `check` knows of that.\n",
     command_alert_test},
    {"completion", "[--sources]", "print what lets bash complete commands and options",
     "  source <(closecrm.fcgi completion)\n"
     "\n"
     "  --sources   print the names of the configured sources instead, which the completion asks for\n"
     "\n"
     "The Debian package and `make install` put it where bash finds it by itself.\n",
     command_completion},
    {"help", "[COMMAND]", "list the commands, or explain one", "", command_help},
    {"version", "", "print the versions of the program and its libraries", "", command_version},
};

#define COMMANDS (sizeof commands / sizeof *commands)

const struct command *commands_all(size_t *count)
{
    *count = COMMANDS;
    return commands;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

/* Whether the word begins the names of several commands: "queue". */
static bool is_group(const char *word)
{
    size_t length = strlen(word);
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strncmp(commands[i].name, word, length) == 0 && commands[i].name[length] == ' ')
            return true;
    }
    return false;
}

/* The last word of a command's name. */
static const char *last_word(const char *name)
{
    const char *blank = strrchr(name, ' ');
    return blank == NULL ? name : blank + 1;
}

/* Says on stderr that there is no such command, and the nearest name where one is near: less than half of a word may be
 * wrong; else, those of its group. */
static int refuse_unknown(const char *name)
{
    char group[64];
    size_t best = NEAR + 1;
    const char *nearest = NULL;
    snprintf(group, sizeof group, "%.*s", (int)strcspn(name, " "), name);
    for (size_t i = 0; i < COMMANDS; i++) {
        size_t distance = text_distance(name, commands[i].name);
        if (distance < best && 2 * distance < strlen(last_word(commands[i].name))) {
            best = distance;
            nearest = commands[i].name;
        }
    }
    fprintf(stderr, "%s: no such command: %s\n", program_name_alone(), name);
    if (nearest != NULL)
        fprintf(stderr, "Did you mean `%s %s`?\n", program_name(), nearest);
    else if (is_group(group))
        help_list(stderr, group);
    fprintf(stderr, "usage: %s COMMAND ...; `%s help` lists the commands\n", program_name_alone(), program_name());
    return COMMAND_USAGE_SAID;
}

/* ---- help and version ---- */

static int command_help(int argc, char **argv)
{
    char name[64];
    int words = 0;
    if (!options_read_all(argc, argv, NULL, 0, &words))
        return COMMAND_USAGE;
    if (words > 2)
        return options_wrong(argv[0], "too many arguments: %s", argv[3]);
    if (words == 0) {
        puts("closecrm.fcgi takes Close CRM's webhooks and forwards them to RudderStack. A web\n"
             "server runs it by CGI or FastCGI; at a shell it has these commands:\n");
        help_list(stdout, NULL);
        puts("\n`closecrm.fcgi help COMMAND` explains one. Each takes --config FILE: the\n"
             "configuration, instead of the usual places.\n"
             "Exit codes: 0 done, or stopped; 1 something is wrong; 2 wrong command line;\n"
             "3 the configuration cannot be used; 4 the state directory, or the queue in it,\n"
             "cannot be used.");
        return COMMAND_OK;
    }
    snprintf(name, sizeof name, "%s%s%s", argv[1], words == 2 ? " " : "", words == 2 ? argv[2] : "");
    if (is_group(name)) {
        help_list(stdout, name);
        return COMMAND_OK;
    }
    const struct command *command = find_command(name);
    if (command == NULL)
        return refuse_unknown(name);
    help_explain(stdout, command);
    return COMMAND_OK;
}

/* ---- the dispatcher ---- */

/* Where descriptor 0, 1 or 2 is closed, a file or socket opened later would get its number and be mistaken for it.
 * /dev/null takes the place, opened so that using it fails, as using the closed one would. */
static void fill_standard_descriptors(void)
{
    static const int flags[] = {O_WRONLY, O_RDONLY, O_WRONLY};
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", flags[fd]) < 0)
            return;
    }
}

/* Whether stdout is a pipe that its reader has closed, as `| head` does: the rest is not wanted. */
static bool reader_has_gone(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    struct stat status;
    return fstat(STDOUT_FILENO, &status) == 0 && (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode)) &&
           poll(&out, 1, 0) == 1 && (out.revents & (POLLERR | POLLHUP)) != 0;
}

/* Flushes stdout: only now is it known whether the results could be written. */
static int finish_stdout(int code)
{
    if ((fflush(stdout) == 0 && !ferror(stdout)) || reader_has_gone())
        return code;
    fprintf(stderr, "closecrm.fcgi: stdout did not take everything: %s\n", strerror(errno));
    return code == COMMAND_OK ? COMMAND_FAILED : code;
}

/* Only the first word of two was given. */
static int refuse_incomplete(const char *word)
{
    fprintf(stderr, "%s %s: what of it?\n", program_name_alone(), word);
    help_list(stderr, word);
    return COMMAND_USAGE_SAID;
}

static bool asks_for_help(const char *argument)
{
    return strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0;
}

/* Whether what a command writes on a terminal are lines to be broken where they are too long: no JSON, and none of
 * those that show a body, whose lines are somebody else's, or that execute the program anew. */
static bool is_for_people(const struct command *command, int argc, char *const *argv)
{
    static int (*const verbatim[])(int, char **) = {command_transform,  command_queue_show, command_dead_show,
                                                    command_completion, command_help,       command_forward};
    bool found = !isatty(STDOUT_FILENO);
    for (size_t i = 0; i < sizeof verbatim / sizeof *verbatim; i++)
        found = found || command->run == verbatim[i];
    for (int i = 1; i < argc; i++)
        found = found || strcmp(argv[i], "--json") == 0;
    return !found;
}

/* Runs the command of one word or two that argv[1] begins; *name has room for both, and is its argv[0]. */
static int run_named(int argc, char **argv, char name[static NAME_SIZE])
{
    int words = 1;
    snprintf(name, NAME_SIZE, "%s", argv[1]);
    if (is_group(argv[1])) {
        if (argc < 3 || asks_for_help(argv[2]))
            return argc < 3 ? refuse_incomplete(argv[1]) : command_help(2, (char *[]){argv[2], argv[1], NULL});
        snprintf(name, NAME_SIZE, "%s %s", argv[1], argv[2]);
        words = 2;
    }
    const struct command *command = find_command(name);
    if (command == NULL)
        return refuse_unknown(name);
    if (argc == words + 2 && asks_for_help(argv[words + 1]))
        return command_help(2, (char *[]){argv[words + 1], name, NULL});
    argv[words] = name;
    FILE *plain = stdout,
         *wrapping = is_for_people(command, argc, argv) ? wrap_open(stdout, wrap_columns(STDOUT_FILENO)) : NULL;
    if (wrapping != NULL)
        stdout = wrapping;
    int code = command->run(argc - words, argv + words);
    if (wrapping != NULL)
        fclose(wrapping);
    stdout = plain;
    if (code == COMMAND_USAGE)
        help_usage(stderr, command);
    return code;
}

static int refuse_nothing(void)
{
    fprintf(stderr, "usage: %s COMMAND ...; `%s help` lists the commands\n", program_name_alone(), program_name());
    return COMMAND_USAGE;
}

/* --config before the command's name. Returns how many arguments it takes up; -1 when it is wrong, and stderr says how.
 */
static int take_configuration(int argc, char *const *argv)
{
    static const char option[] = "--config";
    size_t length = sizeof option - 1;
    if (strncmp(argv[1], option, length) != 0 || (argv[1][length] != '\0' && argv[1][length] != '='))
        return 0;
    int taken = argv[1][length] == '=' ? 1 : 2;
    const char *path = taken == 1 ? argv[1] + length + 1 : argc > 2 ? argv[2] : "";
    return options_use_configuration("closecrm.fcgi", path) ? taken : -1;
}

/* Runs the command with a copy of argv: the option reader moves arguments within the array. */
static int run_copy(int argc, char **argv)
{
    char name[NAME_SIZE], help[] = "help", version[] = "version";
    char **copy = calloc((size_t)argc + 1, sizeof *copy);
    if (copy == NULL) {
        fprintf(stderr, "closecrm.fcgi: out of memory\n");
        return COMMAND_FAILED;
    }
    memcpy(copy, argv, (size_t)argc * sizeof *copy);
    int code = COMMAND_USAGE;
    program_name_use_configuration("");
    int taken = take_configuration(argc, copy);
    if (taken >= 0 && argc - taken >= 2) {
        char **from = copy + taken;
        if (asks_for_help(from[1]))
            from[1] = help;
        if (strcmp(from[1], "--version") == 0 || strcmp(from[1], "-V") == 0)
            from[1] = version;
        code = run_named(argc - taken, from, name);
    } else if (taken >= 0) {
        refuse_nothing();
    }
    free(copy);
    return code == COMMAND_USAGE_SAID ? COMMAND_USAGE : code;
}

int commands_run(int argc, char **argv)
{
    fill_standard_descriptors();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    if (argc < 2)
        return refuse_nothing();
    if (strcmp(argv[1], "forward") != 0) /* reexec keeps pending signals blocked: see process.h */
        process_unblock_signals();
    return finish_stdout(run_copy(argc, argv));
}
