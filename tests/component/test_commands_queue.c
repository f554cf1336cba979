/* The commands `queue ...`: what they show is what the queue holds, and nothing that `remove` names. */
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/commands_made.h"
#include "tests/support/commands_run.h"
#include "tests/support/crashing_body.h"
#include "tests/support/durable.h"
#include "tests/support/temporary.h"

static struct ran ran;
static char body[512];

#define HAS(text) CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, text))
#define HAS_NOT(text) CU_ASSERT_PTR_NULL(strstr(ran.out, text))

static struct json_object *member(struct json_object *object, const char *name)
{
    struct json_object *value = NULL;
    CU_ASSERT_TRUE(json_object_object_get_ex(object, name, &value));
    return value;
}

static void status_counts_and_explains(void)
{
    made_begin();
    made_append("one", made_event(body, "lead", "updated", "ev_1", "lead_1"));
    made_settle("one", "poison", "the data plane answered 400");
    made_settle("two", made_event(body, "lead", "updated", "ev_2", "lead_1"), NULL);
    struct queue *queue = made_open();
    struct error why = {0};
    struct notes notes = {.tries = 3,
                          .since_ms = clock_unix_ms() - 60000,
                          .next_ms = clock_unix_ms() + 90000,
                          .parked = {{.id = 1}},
                          .parked_count = 1,
                          .reason = "no connection to\033[31m 127.0.0.1"};
    CU_ASSERT_TRUE(queue_claim(queue, &why) && queue_note(queue, "one", &notes, true, &why));
    made_close(queue);

    RUN(&ran, NULL, "queue", "status");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_STRING_EQUAL(ran.err, "");
    HAS("source one\n  accepted        2\n  delivered       0\n");
    HAS("  dead letters    1\n  waiting         1, the oldest since ");
    check_waits_seconds(&ran, "\n");
    HAS("  last delivered  never\n");
    HAS("  last error      no connection to\\u001b[31m 127.0.0.1\n");
    HAS("  failed          3 times, since 20");
    const char *next = strstr(ran.out, " (in ");
    CU_ASSERT_PTR_NOT_NULL_FATAL(next);
    long seconds = strtol(next + 5, NULL, 10);
    CU_ASSERT_TRUE(seconds > 30 && seconds <= 90); /* of 90, less what the test itself took */
    HAS("source two\n  accepted        1\n  delivered       1\n");
    HAS("in all\n  accepted        3\n  delivered       1\n");
    HAS("forwarding: no process forwards now\n");

    RUN(&ran, NULL, "queue", "status", "--json");
    CU_ASSERT_EQUAL(ran.code, 0);
    struct json_object *status = json_tokener_parse(ran.out);
    CU_ASSERT_PTR_NOT_NULL_FATAL(status);
    CU_ASSERT_EQUAL(json_object_get_int(member(status, "accepted")), 3);
    CU_ASSERT_EQUAL(json_object_get_int(member(status, "delivered")), 1);
    CU_ASSERT_EQUAL(json_object_get_int(member(status, "duplicates")), 0);
    CU_ASSERT_EQUAL(json_object_get_int(member(status, "dropped")), 0);
    CU_ASSERT_EQUAL(json_object_get_int(member(status, "waiting")), 1);
    CU_ASSERT_EQUAL(json_object_get_int(member(status, "dead")), 1);
    CU_ASSERT_EQUAL(json_object_object_length(member(status, "refused")), 0);
    CU_ASSERT_TRUE(json_object_get_int(member(status, "oldest_waiting_seconds")) < 60);
    CU_ASSERT_EQUAL(strlen(json_object_get_string(member(status, "last_accepted"))),
                    strlen("2026-11-24T20:45:06.123Z"));
    CU_ASSERT_STRING_EQUAL(json_object_get_string(member(status, "last_error")), notes.reason);
    struct json_object *one = member(member(status, "sources"), "one");
    CU_ASSERT_EQUAL(json_object_get_int(member(one, "accepted")), 2);
    CU_ASSERT_PTR_NULL(member(one, "last_delivered"));
    CU_ASSERT_PTR_NULL(member(one, "complete_until"));
    CU_ASSERT_PTR_NOT_NULL(member(one, "next_attempt"));
    CU_ASSERT_EQUAL(json_object_get_int(member(one, "held_back")), 1);
    json_object_put(status);
    RUN(&ran, NULL, "queue", "list");
    HAS("lead_1 (held back, ");

    /* The short name, and of one source. */
    RUN(&ran, NULL, "status", "--json", "--source", "two");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_PTR_EQUAL(strchr(ran.out, '\n'), ran.out + strlen(ran.out) - 1);
    status = json_tokener_parse(ran.out);
    CU_ASSERT_FALSE(json_object_object_get_ex(member(status, "sources"), "one", NULL));
    CU_ASSERT_PTR_NOT_NULL(member(member(status, "sources"), "two"));
    CU_ASSERT_EQUAL(json_object_get_int(member(status, "accepted")),
                    json_object_get_int(member(member(member(status, "sources"), "two"), "accepted")));
    json_object_put(status);
    RUN(&ran, NULL, "queue", "status", "--source", "two");
    HAS("source two\n");
    HAS_NOT("source one\n");
    RUN(&ran, NULL, "queue", "status", "--source", "three");
    CU_ASSERT_EQUAL(ran.code, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "no source is called \"three\""));
    made_end();
}

static void list_has_a_line_an_event(void)
{
    made_begin();
    RUN(&ran, NULL, "queue", "list", "--json");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_STRING_EQUAL(ran.out, "");

    made_append("one", made_event(body, "activity.email", "created", "ev_1", "lead_1"));
    made_append("two", "no json\033[2J");
    made_append("two", made_event(body, "lead", "updated", "ev_3", "lead_3"));
    RUN(&ran, NULL, "queue", "list");
    CU_ASSERT_EQUAL(ran.code, 0);
    HAS(" one          activity.email.created       ev_1                         lead_1\n");
    HAS(" two          unusable: ");
    HAS(" two          lead.updated ");
    HAS_NOT("\033");

    RUN(&ran, NULL, "queue", "list", "--source", "two", "--limit", "1");
    HAS("unusable");
    HAS_NOT("lead.updated");

    RUN(&ran, NULL, "queue", "list", "--json");
    struct json_object *list = ran_lines(&ran);
    CU_ASSERT_EQUAL_FATAL(json_object_array_length(list), 3);
    struct json_object *first = json_object_array_get_idx(list, 0);
    CU_ASSERT_STRING_EQUAL(json_object_get_string(member(first, "event")), "activity.email.created");
    CU_ASSERT_STRING_EQUAL(json_object_get_string(member(first, "lead_id")), "lead_1");
    CU_ASSERT_PTR_NULL(member(json_object_array_get_idx(list, 1), "event"));
    CU_ASSERT_PTR_NOT_NULL(member(json_object_array_get_idx(list, 1), "unusable"));
    json_object_put(list);

    RUN(&ran, NULL, "queue", "list", "--source", "three");
    CU_ASSERT_EQUAL(ran.code, 1);
    CU_ASSERT_STRING_EQUAL(ran.err, "queue list: the queue knows no source three\n");
    RUN(&ran, NULL, "queue", "list", "--limit", "-1");
    CU_ASSERT_EQUAL(ran.code, 2);
    made_end();
}

/* More events than are read at once. */
static void list_goes_through_all_pages(void)
{
    enum { EVENTS = 450 };
    struct error why;
    made_begin();
    struct queue *queue = made_open();
    for (int i = 0; i < EVENTS; i++) {
        char id[16];
        snprintf(id, sizeof id, "ev_%d", i);
        made_event(body, "lead", "updated", id, "lead_1");
        CU_ASSERT_EQUAL(queue_append(queue, "one", body, strlen(body), clock_now() + 20000, &why), QUEUE_STORED);
    }
    made_close(queue);
    RUN(&ran, NULL, "queue", "list");
    size_t lines = 0;
    for (const char *at = ran.out; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    CU_ASSERT_EQUAL(lines, 1 + EVENTS);
    RUN(&ran, NULL, "queue", "list", "--limit", "401");
    HAS(" ev_400 ");
    HAS_NOT(" ev_401 ");
    made_end();
}

static void show_has_event_and_message_without_what_is_removed(void)
{
    made_begin();
    made_append("one", made_event(body, "lead", "updated", "ev_1", "lead_1"));
    made_append("two", made_event(body, "lead", "updated", "ev_2", "lead_1"));
    made_append("two", made_event(body, "task", "created", "ev_3", "lead_1"));
    made_append("two", "{\"event\": 5}");

    RUN(&ran, NULL, "queue", "show", "1", "--source", "one");
    CU_ASSERT_EQUAL(ran.code, 0);
    HAS("event 1 of source one, received 20");
    HAS("\n    \"data\": {\n      \"note\": null,\n      \"value\": 1.10\n    },\n    \"previous_data\": {},\n");
    HAS("(without 2 members that `remove` names, which stay out of sight)\n");
    HAS("the message that it makes:\n{\n");
    HAS("\n  \"messageId\": \"ev_1\",\n");
    HAS_NOT("Secret");

    RUN(&ran, NULL, "queue", "show", "1");
    CU_ASSERT_EQUAL(ran.code, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "several sources have an event 1: say which, with --source: one two"));

    RUN(&ran, NULL, "queue", "show", "2");
    CU_ASSERT_EQUAL(ran.code, 0);
    HAS("it makes no message: keep and drop leave it out\n");
    HAS("Mrs. Secret");

    RUN(&ran, NULL, "queue", "show", "3");
    HAS("as it came, 12 bytes:\n{\n  \"event\": 5\n}\n");
    HAS("it makes no message: event is not an object\n");

    RUN(&ran, NULL, "queue", "show", "4");
    CU_ASSERT_EQUAL(ran.code, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "no event 4 waits: "));
    made_end();
}

/* What is removed cannot be found in what cannot be read: nothing of it is shown. */
static void show_hides_unusable_bodies_where_something_is_removed(void)
{
    made_begin();
    made_append("one", "{\"event\": {\"data\": {\"secret\": \"Mrs. Secret\"");
    made_append("one",
                "{\"event\": {\"object_type\": \"lead\", \"data\": {\"secr\\u0065t\": \"Mrs. Secret\", \"a\": 1}}}");
    RUN(&ran, NULL, "queue", "show", "1");
    CU_ASSERT_EQUAL(ran.code, 0);
    HAS("(not shown: what `remove` names cannot be found in it)");
    HAS("it makes no message: ");
    HAS_NOT("Secret");
    RUN(&ran, NULL, "queue", "show", "2");
    HAS("\"a\": 1\n");
    HAS("it makes no message: event.action is missing");
    HAS_NOT("Secret");
    made_append("one", made_event(body, "lead", "updated", "ev_3", "lead_1"));
    made_configure(MADE_WITHOUT_ONE "remove = data.secret\n");
    RUN(&ran, NULL, "queue", "show", "3");
    HAS("no source one is configured");
    HAS_NOT("Secret");
    made_end();
}

/* A dead letter that waits again becomes the same letter again; and so can be what crashes the parser. */
static void set_aside_makes_a_dead_letter(void)
{
    made_begin();
    made_settle("one", made_event(body, "lead", "updated", "ev_1", "lead_1"), "no");
    made_append("two", CRASHING_BODY("ev_2", "lead_2"));
    RUN(&ran, NULL, "dead", "replay", "1");
    RUN(&ran, NULL, "queue", "set-aside", "2");
    CU_ASSERT_EQUAL(ran.code, 0);
    HAS(made_advice("event 2 of source one: it is a dead letter now; `", "dead list` shows it, "));
    CU_ASSERT_EQUAL(made_counts("one").waiting, 0);
    CU_ASSERT_EQUAL(made_counts("one").dead, 1);
    RUN(&ran, NULL, "dead", "list");
    HAS("1        ");
    HAS("set aside by an operator");
    HAS_NOT("on its way again");

    RUN(&ran, NULL, "queue", "set-aside", "1");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_EQUAL(made_counts("two").dead, 1);
    CU_ASSERT_EQUAL(made_counts("two").waiting, 0);
    RUN(&ran, NULL, "queue", "set-aside", "1");
    CU_ASSERT_EQUAL(ran.code, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "queue set-aside: no event 1 waits"));
    RUN(&ran, NULL, "queue", "set-aside");
    CU_ASSERT_EQUAL(ran.code, 2);
    made_end();
}

static void move_gives_events_to_another_source(void)
{
    made_begin();
    made_append("one", made_event(body, "lead", "updated", "ev_1", "lead_1"));
    made_settle("one", "poison", "no");
    RUN(&ran, NULL, "queue", "move", "one", "two");
    CU_ASSERT_EQUAL(ran.code, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "source one is configured"));
    CU_ASSERT_EQUAL(made_counts("one").waiting, 1);

    made_configure(MADE_WITHOUT_ONE);
    RUN(&ran, NULL, "queue", "status");
    HAS("source one (not in the configuration)\n");
    HAS(made_advice("`", "queue move one NEW`"));
    RUN(&ran, NULL, "queue", "move", "one", "three");
    CU_ASSERT_EQUAL(ran.code, 2);
    RUN(&ran, NULL, "queue", "move", "nobody", "two");
    CU_ASSERT_EQUAL(ran.code, 1);
    RUN(&ran, NULL, "queue", "move", "one");
    CU_ASSERT_EQUAL(ran.code, 2);
    RUN(&ran, NULL, "queue", "move", "one", "two");
    check(ran.code == 0, "%d: %s", ran.code, ran.err);
    CU_ASSERT_STRING_EQUAL(ran.out,
                           "moved from one to two: 1 waiting event, 1 dead letter, 0 identities of delivered events, "
                           "0 signature keys, 0 notes of the Close side\n");
    CU_ASSERT_EQUAL(made_counts("two").waiting, 1);
    CU_ASSERT_EQUAL(made_counts("two").dead, 1);
    made_end();
}

static bool holds(const char *file, size_t length, const char *text)
{
    return memmem(file, length, text, strlen(text)) != NULL;
}

/* Neither what was deleted, of which the database still has some pages, nor the secret of the status page. */
static void backup_holds_no_more_than_it_must(void)
{
    enum { LARGE = 100000 };
    char path[PATH_SIZE], *large = malloc(LARGE + 1);
    static char file[1 << 20];
    CU_ASSERT_PTR_NOT_NULL_FATAL(large);
    made_begin();
    for (size_t i = 0; i < LARGE; i++)
        large[i] = "deleted "[i % 8];
    large[LARGE] = '\0';
    made_append("one", "what waits");
    made_settle("one", large, NULL);
    free(large);
    CU_ASSERT(temporary_write(made_state(), "status.secret", 0600, "the secret of the page 123456789", 32));
    path_join(path, made_state(), "copy.db");
    RUN(&ran, NULL, "backup", path);
    CU_ASSERT_EQUAL(ran.code, 0);
    FILE *copy = fopen(path, "re");
    CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
    size_t length = fread(file, 1, sizeof file, copy);
    fclose(copy);
    CU_ASSERT_TRUE(length < sizeof file && holds(file, length, "what waits"));
    CU_ASSERT_FALSE(holds(file, length, "deleted deleted"));
    CU_ASSERT_FALSE(holds(file, length, "the secret of the page"));
    made_end();
}

static void backup_writes_a_new_file(void)
{
    char path[PATH_SIZE];
    struct stat status;
    made_begin();
    made_append("one", "x");
    path_join(path, made_state(), "copy.db");
    RUN(&ran, NULL, "queue", "backup", path);
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_EQUAL(stat(path, &status), 0);
    CU_ASSERT_EQUAL(status.st_mode & 0777, 0600);
    RUN(&ran, NULL, "queue", "backup", path);
    CU_ASSERT_EQUAL(ran.code, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "is there already"));
    RUN(&ran, NULL, "queue", "backup");
    CU_ASSERT_EQUAL(ran.code, 2);
    made_end();
}

/* Overwrites a page in the middle. */
static void damage(void)
{
    char path[PATH_SIZE];
    path_join(path, made_state(), "queue.db");
    FILE *file = fopen(path, "r+e");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fseek(file, 0, SEEK_END);
    long pages = ftell(file) / 16384;
    CU_ASSERT_TRUE_FATAL(pages > 20);
    fseek(file, pages / 2 * 16384L, SEEK_SET);
    for (int i = 0; i < 16384; i++)
        fputc(0x55, file);
    fclose(file);
    path_join(path, made_state(), "queue.db-wal");
    unlink(path);
}

/* A process that has the queue open until it is told to end. */
struct holder {
    pid_t pid;
    int until; /* closed: it ends */
};

static struct holder hold(void)
{
    int ready[2], until[2];
    char byte;
    CU_ASSERT_EQUAL_FATAL(pipe2(ready, O_CLOEXEC) + pipe2(until, O_CLOEXEC), 0);
    fflush(NULL);
    struct holder holder = {fork(), until[1]};
    CU_ASSERT_TRUE_FATAL(holder.pid >= 0);
    if (holder.pid == 0) {
        close(until[1]);
        struct queue *queue = made_open();
        bool told = write(ready[1], "", 1) == 1 && read(until[0], &byte, 1) == 0;
        made_close(queue);
        _exit(told ? 0 : 1);
    }
    CU_ASSERT_EQUAL(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    close(until[0]);
    return holder;
}

static void let_go(const struct holder *holder)
{
    int status = -1;
    close(holder->until);
    CU_ASSERT_EQUAL(waitpid(holder->pid, &status, 0), holder->pid);
    CU_ASSERT_EQUAL(status, 0);
}

static void check_finds_damage_and_repairs_it_when_nobody_has_it_open(void)
{
    static char large[2001];
    struct error why;
    made_begin();
    RUN(&ran, NULL, "queue", "check");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_STRING_EQUAL(ran.out, "the queue is whole\n");

    memset(large, 'x', sizeof large - 1);
    struct queue *queue = made_open();
    for (int i = 0; i < 200; i++)
        CU_ASSERT_EQUAL(queue_append(queue, "one", large, 2000, clock_now() + 20000, &why), QUEUE_STORED);
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    made_close(queue);
    damage();

    struct holder holder = hold();
    RUN(&ran, NULL, "queue", "check");
    CU_ASSERT_EQUAL(ran.code, 1);
    HAS("fault: ");
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "queue check --repair"));
    RUN(&ran, NULL, "queue", "check", "--repair");
    CU_ASSERT_EQUAL(ran.code, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "as soon as no process has it open"));
    char process[64];
    snprintf(process, sizeof process, "  process %ld: ", (long)holder.pid);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, process));
    let_go(&holder);

    RUN(&ran, NULL, "queue", "check", "--repair");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "msg=queue_repaired"));
    HAS("source one: the database was damaged and is repaired: up to ");
    HAS("received between 20"); /* and both times */
    RUN(&ran, NULL, "queue", "check");
    CU_ASSERT_EQUAL(ran.code, 0);
    struct counts counts = made_counts("one");
    CU_ASSERT_TRUE(counts.waiting >= 180);
    made_end();
}

static void queue_none_has_nothing_to_show(void)
{
    configuration_use("data_plane_url = http://127.0.0.1:9\nwrite_key = 1234567890abcdefghijklmnopq\nqueue = none\n");
    RUN(&ran, NULL, "queue", "status");
    configuration_forget();
    CU_ASSERT_EQUAL(ran.code, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "queue status: queue = none keeps nothing"));
}

/* The configuration says queue = none now: what waits is told by `check`, and stays. */
static void events_that_a_queue_of_none_leaves_are_told(void)
{
    made_begin();
    for (int i = 0; i < 3; i++)
        made_append("one", "{}");
    made_settle("two", made_event(body, "lead", "updated", "ev_2", "lead_1"), NULL);
    made_configure("queue = none\n" MADE_TEXT);
    RUN(&ran, NULL, "check");
    CU_ASSERT_EQUAL(ran.code, 1);
    HAS("  WRONG: 3 events wait in queue.db in ");
    HAS(", which nothing delivers with queue = none\n    set queue = sqlite until nothing is left there, which `");
    made_configure(MADE_TEXT);
    CU_ASSERT_EQUAL(made_counts("one").waiting, 3);
    made_end();
}

#define OF_BOTH                                                                                                        \
    {"status counts and explains", status_counts_and_explains},                                                        \
        {"list has a line an event", list_has_a_line_an_event},                                                        \
        {"list goes through all pages", list_goes_through_all_pages},                                                  \
        {"show has event and message, without what is removed", show_has_event_and_message_without_what_is_removed},   \
        {"show hides unusable bodies where something is removed",                                                      \
         show_hides_unusable_bodies_where_something_is_removed},                                                       \
        {"set-aside makes a dead letter", set_aside_makes_a_dead_letter},                                              \
    {                                                                                                                  \
        "move gives events to another source", move_gives_events_to_another_source                                     \
    }

void suite_commands_queue_postgresql(void)
{
    static CU_TestInfo tests[] = {OF_BOTH, CU_TEST_INFO_NULL};
    suite_add("commands: queue postgresql", durable_use_postgresql, durable_end_postgresql, tests);
}

void suite_commands_queue(void)
{
    static CU_TestInfo tests[] = {
        OF_BOTH,
        {"backup writes a new file", backup_writes_a_new_file},
        {"backup holds no more than it must", backup_holds_no_more_than_it_must},
        {"check finds damage, and repairs it when nobody has it open",
         check_finds_damage_and_repairs_it_when_nobody_has_it_open},
        {"queue = none has nothing to show", queue_none_has_nothing_to_show},
        {"events that a queue of none leaves are told", events_that_a_queue_of_none_leaves_are_told},
        CU_TEST_INFO_NULL,
    };
    suite_add("commands: queue", NULL, NULL, tests);
}
