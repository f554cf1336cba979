/* The commands `dead ...`: they mean the letters that fit, all of those and no others. */
#include "commands/commands.h"
#include "tests/suites.h"
#include "tests/support/commands_made.h"
#include "tests/support/commands_run.h"
#include "tests/support/crashing_body.h"
#include "tests/support/durable.h"
#include "tests/support/postgresql.h"
#include "tests/support/temporary.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct ran ran;
static char body[512];

#define HAS(text) CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, text))
#define HAS_NOT(text) CU_ASSERT_PTR_NULL(strstr(ran.out, text))

/* Letters 1 to 4. */
static void begin(void)
{
    made_begin();
    made_settle("one", made_event(body, "lead", "updated", "ev_1", "lead_1"), "the data plane answered 400: Bad Thing");
    made_settle("one", made_event(body, "activity.email", "created", "ev_2", "lead_2"), "older than queue_retention");
    made_settle("two", made_event(body, "lead", "created", "ev_3", "lead_1"), "the data plane answered 413");
    made_settle("two", "no json", "the body is no JSON");
}

/* The ids that `dead list` finds, as one text: "1 3". */
static const char *ids(char out[static 64])
{
    out[0] = '\0';
    struct json_object *list = ran_lines(&ran);
    for (size_t i = 0; list != NULL && i < json_object_array_length(list); i++) {
        size_t length = strlen(out);
        struct json_object *id = json_object_object_get(json_object_array_get_idx(list, i), "id");
        snprintf(out + length, 64 - length, "%s%d", i == 0 ? "" : " ", json_object_get_int(id));
    }
    json_object_put(list);
    return out;
}

static void filters_choose(void)
{
    static const struct {
        const char *arguments[10];
        const char *ids;
        int code; /* 1: not all that were named are there and fit */
    } cases[] = {
        {{"dead", "list", "--json"}, "1 2 3 4", 0},
        {{"dead", "list", "--json", "--source", "two"}, "3 4", 0},
        {{"dead", "list", "--json", "--reason", "bad thing"}, "1", 0},
        {{"dead", "list", "--json", "--reason", "ANSWERED"}, "1 3", 0},
        {{"dead", "list", "--json", "--event", "lead.*"}, "1 3", 0},
        {{"dead", "list", "--json", "--event=*.created"}, "2 3", 0},
        {{"dead", "list", "--json", "--event", "lead"}, "", 0},
        {{"dead", "list", "--json", "--lead", "lead_1"}, "1 3", 0},
        {{"dead", "list", "--json", "--lead", "lead"}, "", 0},
        {{"dead", "list", "--json", "--since", "1h"}, "1 2 3 4", 0},
        {{"dead", "list", "--json", "--until", "1h"}, "", 0},
        {{"dead", "list", "--json", "--since", "2020-01-01", "--until", "2020-01-02T00:00:00Z"}, "", 0},
        {{"dead", "list", "--json", "--since", "2020-01-01"}, "1 2 3 4", 0},
        {{"dead", "list", "--json", "4", "2", "2", "99"}, "2 4", 1},
        {{"dead", "list", "--json", "--lead", "lead_1", "1", "2"}, "1", 1},
        {{"dead", "list", "--json", "--source", "two", "--event", "lead.*", "--reason", "413"}, "3", 0},
    };
    char found[64];
    begin();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run_command(&ran, NULL, cases[i].arguments);
        CU_ASSERT_EQUAL(ran.code, cases[i].code);
        CU_ASSERT_STRING_EQUAL(ids(found), cases[i].ids);
    }
    RUN(&ran, NULL, "dead", "list", "99");
    CU_ASSERT_EQUAL(ran.code, 1);
    CU_ASSERT_STRING_EQUAL(ran.err, "dead list: 1 of the 1 that were named are not there, or do not fit\n");
    RUN(&ran, NULL, "dead", "drop", "--yes", "--event", "***");
    CU_ASSERT_EQUAL(ran.code, 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "\"***\" would be all"));
    RUN(&ran, NULL, "dead", "list", "--json");
    CU_ASSERT_STRING_EQUAL(ids(found), "1 2 3 4");
    made_end();
}

static void wrong_filters_are_2(void)
{
    static const struct {
        const char *arguments[6];
        const char *words;
    } cases[] = {
        {{"dead", "list", "--since", "yesterday"}, "dead list: --since must be a date"},
        {{"dead", "list", "--until", "5w"}, "dead list: --until must be a date"},
        {{"dead", "list", "ev_1"}, "dead list: ev_1 is no number of a dead letter"},
        {{"dead", "replay"}, "dead replay: which ones? Give their numbers or a filter, or --all\n"},
        {{"dead", "drop", "--yes"}, "dead drop: which ones?"},
        {{"dead", "replay", "--yes"}, "dead replay: no such option: --yes"},
        {{"dead", "drop", "--all"}, "dead drop: 4 dead letters would be dropped, for good: say so with --yes\n"},
        {{"dead", "show"}, "dead show: which dead letter?"},
    };
    begin();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run_command(&ran, NULL, cases[i].arguments);
        CU_ASSERT_EQUAL(ran.code, 2);
        CU_ASSERT_EQUAL(strncmp(ran.err, cases[i].words, strlen(cases[i].words)), 0);
    }
    CU_ASSERT_EQUAL(made_counts("one").dead + made_counts("two").dead, 4);
    RUN(&ran, NULL, "dead", "list", "--source", "tow");
    CU_ASSERT_EQUAL(ran.code, 1);
    CU_ASSERT_STRING_EQUAL(ran.err, "dead list: the queue knows no source tow\n");
    made_end();
}

static void list_and_show_tell_why(void)
{
    begin();
    RUN(&ran, NULL, "dead", "list");
    CU_ASSERT_EQUAL(ran.code, 0);
    HAS(" lead_1                                           the data plane answered 400: Bad Thing\n");

    RUN(&ran, NULL, "dead", "show", "1");
    CU_ASSERT_EQUAL(ran.code, 0);
    HAS("dead letter 1 of source one\nreceived  20");
    HAS("\nreason    the data plane answered 400: Bad Thing\n");
    HAS("the message that it makes:\n");
    HAS_NOT("Secret");

    RUN(&ran, NULL, "dead", "show", "4");
    HAS("as it came, 7 bytes:\nno json\n");
    HAS("it makes no message: ");

    RUN(&ran, NULL, "dead", "show", "5");
    CU_ASSERT_EQUAL(ran.code, 1);
    CU_ASSERT_STRING_EQUAL(ran.err, "dead show: there is no dead letter 5 (any more)\n");
    made_end();
}

static void dry_run_changes_nothing(void)
{
    begin();
    RUN(&ran, NULL, "dead", "replay", "--all", "--dry-run");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_STRING_EQUAL(ran.out, "4 dead letters would be replayed\n");
    RUN(&ran, NULL, "dead", "drop", "--source", "two", "--dry-run");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_STRING_EQUAL(ran.out, "2 dead letters would be dropped\n");
    CU_ASSERT_EQUAL(made_counts("one").waiting, 0);
    CU_ASSERT_EQUAL(made_counts("one").dead, 2);
    CU_ASSERT_EQUAL(made_counts("two").dead, 2);
    made_end();
}

static void replay_appends_each_once(void)
{
    begin();
    RUN(&ran, NULL, "dead", "replay", "--event", "lead.*");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_STRING_EQUAL(ran.out, "2 dead letters replayed\n");
    CU_ASSERT_EQUAL(made_counts("one").waiting, 1);
    CU_ASSERT_EQUAL(made_counts("two").waiting, 1);

    RUN(&ran, NULL, "dead", "replay", "--all");
    CU_ASSERT_STRING_EQUAL(ran.out, "2 dead letters replayed; 2 are on their way already\n");
    RUN(&ran, NULL, "dead", "replay", "--all");
    CU_ASSERT_STRING_EQUAL(ran.out, "0 dead letters replayed; 4 are on their way already\n");
    CU_ASSERT_EQUAL(made_counts("one").waiting, 2);
    CU_ASSERT_EQUAL(made_counts("two").waiting, 2);
    RUN(&ran, NULL, "dead", "list", "1");
    HAS(" (on its way again) ");
    RUN(&ran, NULL, "queue", "list", "--source", "one");
    HAS(" lead_1 (a dead letter's replay)\n");
    made_end();
}

static void drop_throws_away_what_fits(void)
{
    begin();
    RUN(&ran, NULL, "dead", "drop", "--lead", "lead_1", "--yes");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_STRING_EQUAL(ran.out, "2 dead letters dropped\n");
    RUN(&ran, NULL, "dead", "drop", "1", "2", "--yes");
    CU_ASSERT_EQUAL(ran.code, 1);
    CU_ASSERT_STRING_EQUAL(ran.out,
                           "1 dead letter dropped; of the 2 that were named 1 cannot be found, or does not fit\n");
    RUN(&ran, NULL, "dead", "list", "--json");
    char found[64];
    CU_ASSERT_STRING_EQUAL(ids(found), "4");
    made_end();
}

/* Letters on their way may be delivered: dropping them would say what is not so. */
static void drop_leaves_alone_what_is_on_its_way(void)
{
    begin();
    RUN(&ran, NULL, "dead", "replay", "1");
    CU_ASSERT_EQUAL(ran.code, 0);
    RUN(&ran, NULL, "dead", "drop", "--all", "--yes");
    CU_ASSERT_STRING_EQUAL(ran.out, "3 dead letters dropped; 1 is on its way already\n");
    CU_ASSERT_EQUAL(made_counts("one").dead, 0); /* it waits */
    CU_ASSERT_EQUAL(made_counts("one").waiting, 1);
    made_end();
}

/* A letter that crashes the parser can be listed, found by its lead, shown without what is removed, sent again and
 * thrown away: nobody parses what is only looked at. The message is made in a process of its own. */
static void what_crashes_the_parser_is_shown_and_dropped(void)
{
    made_begin();
    made_settle("one", CRASHING_BODY("ev_1", "lead_1"), "transforming it crashed the program twice");
    made_append("one", CRASHING_BODY("ev_2", "lead_2"));
    RUN(&ran, NULL, "dead", "list", "--lead", "lead_1", "--event", "lead.*");
    CU_ASSERT_EQUAL(ran.code, 0);
    HAS(" lead.updated                 ev_1                         lead_1 ");
    RUN(&ran, NULL, "queue", "list");
    HAS(" lead.updated                 ev_2                         lead_2\n");

    RUN(&ran, NULL, "dead", "show", "1");
    CU_ASSERT_EQUAL(ran.code, 0);
    HAS("\n      \"note\": \"" CRASHING_TEXT "\"\n");
    HAS("(without 1 member that `remove` names, which stays out of sight)\n");
    HAS("the message that it makes cannot be shown: making it crashes the program (signal 11, ");
    HAS_NOT("Secret");
    RUN(&ran, NULL, "queue", "show", "2");
    CU_ASSERT_EQUAL(ran.code, 0);
    HAS("making it crashes the program (signal 11, ");

    RUN(&ran, NULL, "dead", "replay", "--lead", "lead_1");
    CU_ASSERT_STRING_EQUAL(ran.out, "1 dead letter replayed\n");
    made_settle("one", CRASHING_BODY("ev_3", "lead_3"), "transforming it crashed the program twice");
    RUN(&ran, NULL, "dead", "drop", "--lead", "lead_3", "--yes");
    CU_ASSERT_STRING_EQUAL(ran.out, "1 dead letter dropped\n");
    made_end();
}

/* As if they had died longer ago, and this release had come longer ago. */
static void age_all(void)
{
    char path[PATH_SIZE];
    sqlite3 *db = NULL;
    struct config config = {.queue_url = NULL};
    if (durable_is_postgresql()) {
        durable_queue_config(&config);
        free(postgresql_run(config.queue_url, "UPDATE closecrm.letter SET died = died - 84 * 86400000::int8;"
                                              " UPDATE closecrm.meta SET made = made - 84 * 86400000::int8"));
        return;
    }
    path_join(path, made_state(), "queue.db");
    CU_ASSERT_EQUAL(sqlite3_open(path, &db), SQLITE_OK);
    CU_ASSERT_EQUAL(sqlite3_exec(db,
                                 "UPDATE letter SET died = died - 84 * 86400000;"
                                 "UPDATE count SET n = n - 84 * 86400000 WHERE source = 0 AND kind = 13",
                                 NULL, NULL, NULL),
                    SQLITE_OK);
    sqlite3_close(db);
}

/* A week before. `cron`, whose words are mailed, says it once a day. */
static void the_end_is_told(void)
{
    static const char words[] = "2 dead letters end from ";
    begin();
    age_all();
    RUN(&ran, NULL, "queue", "status");
    HAS("  end soon        2 dead letters end from 20");
    RUN(&ran, NULL, "cron", "--seconds", "1");
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, words));
    CU_ASSERT_EQUAL(ran.code, 0);
    RUN(&ran, NULL, "cron", "--seconds", "1");
    CU_ASSERT_PTR_NULL(strstr(ran.err, words));
    made_end();
}

/* Events that became dead letters, all at once. */
static void make_letters(size_t count)
{
    struct error why = {0};
    struct events found = {NULL, 0, 0, {NULL, 0, 0, false}};
    struct verdict *verdicts = calloc(count, sizeof *verdicts);
    struct queue *queue = made_open();
    CU_ASSERT_PTR_NOT_NULL_FATAL(verdicts);
    for (size_t i = 0; i < count; i++)
        CU_ASSERT_EQUAL(queue_append(queue, "one", "x", 1, clock_now() + 20000, &why), QUEUE_STORED);
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    CU_ASSERT_EQUAL_FATAL(queue_next(queue, "one", 0, count, count, &found, &why), (int)count);
    for (size_t i = 0; i < count; i++)
        verdicts[i] = (struct verdict){.id = found.at[i].id, .kind = VERDICT_DEAD, .reason = "no"};
    CU_ASSERT_TRUE(queue_settle(queue, "one", verdicts, count, &why));
    events_free(&found);
    free(verdicts);
    made_close(queue);
}

/* Waits until something was replayed. Returns how many. */
static uint64_t wait_for_a_step(void)
{
    struct counts counts = {.waiting = 0};
    struct error why;
    struct queue *queue = made_open();
    for (moment deadline = clock_now() + 20000; counts.waiting == 0 && clock_now() < deadline;)
        CU_ASSERT_TRUE(queue_count(queue, "one", &counts, &why));
    made_close(queue);
    return counts.waiting;
}

/* A replay is killed after its first steps; another does the rest, and no letter goes twice. */
static void replay_goes_on_where_it_stopped(void)
{
    enum { LETTERS = 3000 };
    unsigned replayed = 0, on_their_way = 0;
    int status = -1;
    made_begin();
    make_letters(LETTERS);
    fflush(NULL);
    pid_t child = fork();
    CU_ASSERT_TRUE_FATAL(child >= 0);
    if (child == 0) {
        RUN(&ran, NULL, "dead", "replay", "--all");
        _exit(ran.code);
    }
    CU_ASSERT_TRUE(wait_for_a_step() >= 200);
    CU_ASSERT_EQUAL(kill(child, SIGKILL), 0);
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT_TRUE(WIFSIGNALED(status));

    RUN(&ran, NULL, "dead", "replay", "--reason", "no");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_EQUAL(sscanf(ran.out, "%u dead letters replayed; %u are on their way already", &replayed, &on_their_way),
                    2);
    CU_ASSERT_TRUE(replayed > 0 && on_their_way >= 200);
    CU_ASSERT_EQUAL(replayed + on_their_way, LETTERS);
    CU_ASSERT_EQUAL(made_counts("one").waiting, LETTERS);
    made_end();
}

/* ---- on a terminal ---- */

/* All that was written to the terminal, whose other end is closed. The kernel hands it over piece by piece, the echo of
 * what was typed first, and says EIO at the end. */
static void read_terminal(int terminal, char shown[static 1024])
{
    size_t length = 0;
    for (ssize_t n; length < 1023 && (n = read(terminal, shown + length, 1023 - length)) > 0;)
        length += (size_t)n;
    shown[length] = '\0';
}

/* Runs a command with a terminal as stdin and stderr, on which `answer` is typed. Returns its exit code; shown is what
 * stood on the terminal. */
static int run_on_terminal(const char *const *arguments, const char *answer, char shown[static 1024])
{
    int status = -1;
    int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    CU_ASSERT_TRUE_FATAL(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    int line = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
    CU_ASSERT_TRUE_FATAL(line >= 0);
    CU_ASSERT_EQUAL(write(terminal, answer, strlen(answer)), (ssize_t)strlen(answer));
    fflush(NULL);
    pid_t child = fork();
    CU_ASSERT_TRUE_FATAL(child >= 0);
    if (child == 0) {
        char *argv[8] = {(char[]){"closecrm.fcgi"}};
        int argc = 1, nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
        for (; argc < 8 && arguments[argc - 1] != NULL; argc++)
            argv[argc] = strdup(arguments[argc - 1]);
        unsetenv("CLOSECRM_PROGRAM");
        _exit(dup2(line, 0) < 0 || dup2(nothing, 1) < 0 || dup2(line, 2) < 0 ? 99 : commands_run(argc, argv));
    }
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    close(line);
    read_terminal(terminal, shown);
    close(terminal);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void drop_asks_on_a_terminal(void)
{
    static const char *const arguments[] = {"dead", "drop", "--all", NULL};
    char shown[1024];
    begin();
    CU_ASSERT_EQUAL(run_on_terminal(arguments, "n\n", shown), 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(shown, "4 dead letters would be dropped, for good. Do it? [y/N] "));
    CU_ASSERT_PTR_NOT_NULL(strstr(shown, "nothing was done"));
    CU_ASSERT_EQUAL(made_counts("one").dead, 2);
    CU_ASSERT_EQUAL(run_on_terminal(arguments, "y\n", shown), 0);
    CU_ASSERT_EQUAL(made_counts("one").dead, 0);
    made_end();
}

static void progress_is_shown_on_a_terminal(void)
{
    static const char *const arguments[] = {"dead", "replay", "--all", NULL};
    char shown[1024];
    begin();
    CU_ASSERT_EQUAL(run_on_terminal(arguments, "", shown), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(shown, "\rreplaying: 4 of 4"));
    RUN(&ran, NULL, "dead", "drop", "--all", "--yes");
    CU_ASSERT_STRING_EQUAL(ran.err, "");
    made_end();
}

static CU_TestInfo tests[] = {
    {"filters choose", filters_choose},
    {"wrong filters are exit code 2", wrong_filters_are_2},
    {"list and show tell why", list_and_show_tell_why},
    {"a dry run changes nothing", dry_run_changes_nothing},
    {"replay appends each once", replay_appends_each_once},
    {"drop throws away what fits", drop_throws_away_what_fits},
    {"drop leaves alone what is on its way", drop_leaves_alone_what_is_on_its_way},
    {"what crashes the parser is shown and dropped", what_crashes_the_parser_is_shown_and_dropped},
    {"the end is told, by cron once a day", the_end_is_told},
    {"an interrupted replay goes on where it stopped", replay_goes_on_where_it_stopped},
    {"drop asks on a terminal", drop_asks_on_a_terminal},
    {"progress is shown on a terminal", progress_is_shown_on_a_terminal},
    CU_TEST_INFO_NULL,
};

void suite_commands_dead_postgresql(void)
{
    suite_add("commands: dead postgresql", durable_use_postgresql, durable_end_postgresql, tests);
}

void suite_commands_dead(void)
{
    suite_add("commands: dead", NULL, NULL, tests);
}
