/* Findings: a situation, of made facts, for each thing that can be wrong; its words stand in a golden file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "health/alerts.h"
#include "health/report.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/made_config.h"
#include "tests/support/temporary.h"
#include "webhook/refusals.h"

#define NOW ((int64_t)1700000000000)
#define GOLDEN "tests/data/findings.txt"
#define FOUND "build/findings.txt"

static struct made_config made;
static struct source_facts *one; /* the only source; too large for the stack */
static struct facts facts;

/* All is well: an event was delivered a minute ago. */
static void make_well(void)
{
    static char url[] = "http://127.0.0.1:9", state_dir[] = "/var/lib/closecrm";
    made_config_init(&made, url, url);
    made.config.queue = QUEUE_SQLITE;
    made.config.queue_max_bytes = 100 << 20;
    made.config.alert_waiting_ms = 600000;
    made.config.alert_silence_ms = 3600000;
    made.config.state_dir = state_dir;
    memset(one, 0, sizeof *one);
    one->source = &made.source[0];
    memcpy(one->name, "one", 4);
    one->counts = (struct counts){
        .accepted = 5, .delivered = 5, .last_accepted_ms = NOW - 60000, .last_delivered_ms = NOW - 60000};
    free(facts.found);
    facts = (struct facts){.config = &made.config,
                           .now_ms = NOW,
                           .queue_works = true,
                           .is_durable = true,
                           .is_owned = true,
                           .watching_since_ms = NOW - 60000,
                           .disk_free = UINT64_MAX,
                           .source = one,
                           .sources = 1};
}

static void be_refused(void)
{
    one->notes.operator_must_act = true;
    memcpy(one->notes.reason, "it answered 401", 16);
    one->counts.waiting = 1;
}

static void fail(void)
{
    one->notes.tries = 3;
    one->notes.since_ms = NOW - 7200000;
    memcpy(one->notes.reason, "no answer", 10);
    one->counts.waiting = 1;
}

static void wait_long(void)
{
    one->counts.waiting = 2;
    one->counts.oldest_received_ms = NOW - 700000;
    one->oldest_seconds = 700;
}

static void wait_very_long(void)
{
    wait_long();
    one->oldest_seconds = 2 * 3600;
}

static void nobody_forwards(void)
{
    wait_long();
    facts.is_owned = false;
    error_set(&facts.owner, "none since then");
}

static void lose_key(void)
{
    one->signature = SIGNED_LOST;
    error_set(&one->keys, "the key of whsub_1 is not held");
}

static void pause_subscription(void)
{
    one->close.paused = true;
    memcpy(one->close.trouble, "permission_revoked", 19);
}

static void refuse_for_want_of_room(void)
{
    one->tally.refused_last_ms[REFUSED_QUEUE_FULL] = NOW - 1000;
}

static void have_no_room(void)
{
    error_set(&facts.no_room, "the disk is full: make room on the disk");
}

static void replace_files(void)
{
    error_set(&facts.replaced, "files were removed, and what they held is being brought over");
}

static void be_unsettled(void)
{
    one->counts.waiting = 1;
    error_set(&facts.unsettled, "the disk is full: make room on the disk");
}

static void fill_queue(void)
{
    facts.room = (struct queue_room){.used = (uint64_t)made.config.queue_max_bytes, .share = 1 << 18};
    one->tally.refused_last_ms[REFUSED_QUEUE_FULL] = NOW - 1000;
}

static void nearly_fill_queue(void)
{
    facts.room = (struct queue_room){.used = (uint64_t)made.config.queue_max_bytes / 10 * 9, .share = 1 << 18};
}

static void have_many_letters(void)
{
    facts.room = (struct queue_room){.used = 9 << 20, .letters = (9 << 20) - 4096, .share = 1 << 18};
}

static void have_letters_that_end(void)
{
    one->counts.ending = 2;
    one->counts.ending_ms = NOW + 86400000;
}

static void break_queue(void)
{
    facts.queue_works = false;
    error_set(&facts.queue_why, "it is gone");
}

static void forget_cron(void)
{
    facts.cron_ms = NOW - 3600000;
}

static void keep_letters(void)
{
    one->counts.dead = 2;
}

static void be_silent(void)
{
    one->counts.last_accepted_ms = one->counts.last_delivered_ms = NOW - 7200000;
}

static void fill_disk(void)
{
    facts.disk_free = 10 << 20;
}

static void be_complete(void)
{
    one->close.until_ms = NOW - 60000;
}

static void be_new(void)
{
    one->counts = (struct counts){0};
}

static void nothing(void)
{
}

static void lose_one_key(void)
{
    one->signature = SIGNED_PART;
    error_set(&one->keys, "the key of whsub_2 is not held");
}

static void be_found_mended(void)
{
    be_refused();
    one->takes_key = true;
}

static void be_refused_without_queue(void)
{
    facts.is_durable = false;
    one->tally.answered_last_ms = NOW - 1000;
    one->tally.answered_last_status = 403;
    one->tally.answered_last_refused = true;
}

static void be_answered_otherwise_without_queue(void)
{
    be_refused_without_queue();
    one->tally.answered_last_status = 200;
}

static void lose_events(void)
{
    one->close.lost = true;
    snprintf(one->close.trouble, sizeof one->close.trouble, "%s",
             "the queue was damaged: closecrm.fcgi reconcile --source one");
}

static void lack_types(void)
{
    snprintf(one->close.lacks, sizeof one->close.lacks, "lead.merged opportunity.created");
}

static void have_trouble_at_close(void)
{
    memcpy(one->close.trouble, "42 events are hidden", 21);
}

static void not_know_close(void)
{
    error_set(&one->close_why, "state/closeapi/one/reconcile: Permission denied");
}

static void remove_source(void)
{
    one->source = NULL;
    one->counts.waiting = 1;
}

static void remove_source_with_letters(void)
{
    one->source = NULL;
    one->counts.dead = 3;
}

static void leave_something_over(void)
{
    memcpy(facts.left_over, "old", 4);
}

static void miss_cron(void)
{
    static char line[] = "* * * * * /home/shop/cgi-bin/closecrm.cgi cron";
    facts.launcher = "/home/shop/cgi-bin/closecrm.cgi";
    facts.crontab = line;
}

static void run_cron_late(void)
{
    miss_cron();
    forget_cron();
}

static void just_stop(void)
{
    one->counts.waiting = 1;
    one->counts.oldest_received_ms = NOW - 1000;
    facts.is_owned = false;
}

static void bring_letters(void)
{
    keep_letters();
    facts.new_letters = 2;
    error_set(&facts.newest_letter, "source one: the data plane answered 400");
}

static const struct {
    const char *label;
    void (*happen)(void);
} rows[] = {
    {"all is well", nothing},
    {"nothing came yet", be_new},
    {"it is complete", be_complete},
    {"nothing comes", be_silent},
    {"the queue is broken", break_queue},
    {"files of the queue were replaced", replace_files},
    {"no room", have_no_room},
    {"what is delivered could not be noted", be_unsettled},
    {"the queue is full", fill_queue},
    {"there was no room a moment ago", refuse_for_want_of_room},
    {"the queue is nearly full", nearly_fill_queue},
    {"the disk is nearly full", fill_disk},
    {"the signature key is lost", lose_key},
    {"one signature key is missing", lose_one_key},
    {"the data plane refuses", be_refused},
    {"the data plane refused, and check finds it mended", be_found_mended},
    {"the data plane refuses, queue = none", be_refused_without_queue},
    {"the data plane answers 200 and not ok, queue = none", be_answered_otherwise_without_queue},
    {"the data plane is away", fail},
    {"events wait for long", wait_long},
    {"events wait for hours", wait_very_long},
    {"nothing forwards", nobody_forwards},
    {"the program was just stopped", just_stop},
    {"the subscription is paused", pause_subscription},
    {"events may be lost", lose_events},
    {"Close has events of types that the subscription lacks", lack_types},
    {"trouble at Close", have_trouble_at_close},
    {"what is known of Close cannot be read", not_know_close},
    {"the source is not configured, and events wait", remove_source},
    {"the source is not configured, and dead letters are kept", remove_source_with_letters},
    {"something of an old source is left over", leave_something_over},
    {"cron stopped", forget_cron},
    {"cron never ran, and must", miss_cron},
    {"cron stopped, and must run", run_cron_late},
    {"dead letters are kept", keep_letters},
    {"new dead letters, for cron", bring_letters},
    {"dead letters end", have_letters_that_end},
    {"dead letters take much room", have_many_letters},
};

#define ROWS (sizeof rows / sizeof *rows)

static int take_memory(void)
{
    return (one = calloc(1, sizeof *one)) == NULL;
}

static int give_memory(void)
{
    free(facts.found);
    free(one);
    return 0;
}

/* ---- the golden file ---- */

static void write_views(FILE *out, const struct finding *finding)
{
    static const struct {
        enum finding_view view;
        const char *name;
    } views[] = {{VIEW_PAGE, "page"},           {VIEW_CHECK, "check"}, {VIEW_OFFLINE, "check --offline"},
                 {VIEW_QUEUE_STATUS, "status"}, {VIEW_CRON, "cron"},   {VIEW_CRON_DAILY, "cron once a day"}};
    const char *separator = " (";
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        if (!report_shows(&facts, finding, views[i].view))
            continue;
        fprintf(out, "%s%s", separator, views[i].name);
        separator = ", ";
    }
    fputs(separator[0] == ' ' ? " (nobody)\n" : ")\n", out);
}

/* Every finding of a situation, what the page makes of it, and what is alerted. */
static void write_situation(FILE *out, bool *seen)
{
    static const char *const severities[] = {"good", "worry", "bad"};
    char words[REPORT_SIZE];
    struct alert_causes causes = {0};
    CU_ASSERT_TRUE_FATAL(findings_judge(&facts));
    for (size_t i = 0; i < facts.found_count; i++) {
        const struct finding *one_found = &facts.found[i];
        seen[one_found->id] = true;
        fprintf(out, "%s: %s", finding_name(one_found->id), severities[one_found->severity]);
        write_views(out, one_found);
        fprintf(out, "    %s\n", report_line(one_found, words));
    }
    fprintf(out, "page: %s: %s\n", severities[report_severity(&facts, one)], report_words(&facts, one, words));
    CU_ASSERT_EQUAL(report_severity(&facts, NULL), report_severity(&facts, one));
    CU_ASSERT_TRUE_FATAL(alerts_find_causes(&facts, &causes));
    for (size_t i = 0; i < causes.count; i++) {
        if (causes.at[i].raised)
            fprintf(out, "alert: %s of %s: %s\n", causes.at[i].name,
                    causes.at[i].source[0] == '\0' ? "all" : causes.at[i].source, causes.at[i].words.text);
    }
    alerts_free_causes(&causes);
}

/* Returns the next line, and ends it; NULL: there is none. */
static char *next_line(char **text)
{
    char *line = *text, *end = line == NULL ? NULL : strchr(line, '\n');
    if (end != NULL)
        *end = '\0';
    *text = end == NULL ? NULL : end + 1;
    return line;
}

/* Prints the lines of which the two differ. */
static void print_difference(char *wanted, char *got)
{
    while (wanted != NULL || got != NULL) {
        const char *old = next_line(&wanted), *new = next_line(&got);
        if (old != NULL && new != NULL && strcmp(old, new) == 0)
            continue;
        if (old != NULL)
            printf("-%s\n", old);
        if (new != NULL)
            printf("+%s\n", new);
    }
    printf("(- is in " GOLDEN "; what stands there now is in " FOUND ")\n");
}

/* All words of all findings, as people read them: who changes one sees it here. */
static void test_words(void)
{
    static char wanted[65536];
    bool seen[FINDINGS] = {false};
    char *got = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&got, &length);
    CU_ASSERT_PTR_NOT_NULL_FATAL(out);
    for (size_t i = 0; i < ROWS; i++) {
        make_well();
        rows[i].happen();
        fprintf(out, "%s== %s\n", i == 0 ? "" : "\n", rows[i].label);
        write_situation(out, seen);
    }
    fclose(out);
    for (size_t i = 0; i < FINDINGS; i++)
        check(seen[i], "%s has a row", finding_name((enum finding_id)i));
    FILE *file = fopen(GOLDEN, "re"); /* tests run in the tree's top folder */
    size_t n = file == NULL ? 0 : fread(wanted, 1, sizeof wanted - 1, file);
    wanted[n] = '\0';
    if (file != NULL)
        fclose(file);
    if (!check(strcmp(wanted, got) == 0, "the words are those of " GOLDEN)) {
        temporary_write("build", "findings.txt", 0644, got, length);
        print_difference(wanted, got);
    }
    free(got);
}

/* What is told when an alert ends must be true then. */
static void test_words_of_what_is_over(void)
{
    static const struct {
        const char *name, *words;
    } over[] = {
        {"events_wait", "no event waits longer than alert_waiting any more"},
        {"data_plane_refuses",
         "the data plane is not known to refuse any more: it takes events, or they are tried anew"},
        {"dead_letters", "no dead letters are kept any more"},
        {"dead_letters_end", "no dead letter is about to end any more"},
        {"dead_letters_large", "dead letters take no more than their quarter of queue_max_bytes"},
        {"subscription_paused", "Close has no subscription paused any more"},
        {"queue_full", "the queue is neither full nor nearly full any more"},
        {"silence", "the silence is over: an event was accepted, or alert_silence is another one"},
        {"disk_nearly_full", "the disk of the queue has room again"},
        {"cron_overdue", "cron runs again"},
        {"queue_broken", "the queue works"},
    };
    struct alert_causes causes = {0};
    make_well();
    facts.disk_free = (uint64_t)2 << 30;
    facts.cron_ms = NOW - 30000;
    CU_ASSERT_TRUE_FATAL(alerts_find_causes(&facts, &causes));
    CU_ASSERT_EQUAL_FATAL(causes.count, sizeof over / sizeof *over);
    for (size_t i = 0; i < causes.count; i++) {
        CU_ASSERT_FALSE(causes.at[i].raised);
        CU_ASSERT_STRING_EQUAL(causes.at[i].name, over[i].name);
        CU_ASSERT_STRING_EQUAL(causes.at[i].words.text, over[i].words);
    }
    alerts_free_causes(&causes);
}

static bool lists(const struct alert_causes *causes, const char *name)
{
    for (size_t i = 0; i < causes->count; i++) {
        if (strcmp(causes->at[i].name, name) == 0)
            return true;
    }
    return false;
}

/* After a restart nothing is over because it was not looked at for long enough. */
static void test_what_cannot_be_told_is_left_out(void)
{
    struct alert_causes causes = {0};
    make_well();
    be_new();
    facts.watching_since_ms = NOW - 1000;
    CU_ASSERT_TRUE_FATAL(alerts_find_causes(&facts, &causes));
    CU_ASSERT_FALSE(lists(&causes, "silence") || lists(&causes, "cron_overdue") || lists(&causes, "disk_nearly_full"));
    CU_ASSERT_TRUE(lists(&causes, "queue_broken"));
    break_queue();
    CU_ASSERT_TRUE_FATAL(alerts_find_causes(&facts, &causes));
    CU_ASSERT_FALSE(lists(&causes, "queue_broken") || lists(&causes, "events_wait"));
    alerts_free_causes(&causes);
}

/* The worst comes first, and names its source where there are several. */
static void test_the_sentence_at_the_top(void)
{
    char words[REPORT_SIZE];
    struct source_facts *two = calloc(2, sizeof *two);
    CU_ASSERT_PTR_NOT_NULL_FATAL(two);
    make_well();
    keep_letters();
    two[0] = *one;
    make_well();
    be_refused();
    two[1] = *one;
    memcpy(two[1].name, "two", 4);
    facts.source = two;
    facts.sources = 2;
    CU_ASSERT_TRUE_FATAL(findings_judge(&facts));
    CU_ASSERT_STRING_EQUAL(report_words(&facts, NULL, words),
                           "Something is wrong: two: 1 event waits until you act, for the data plane refuses what is "
                           "sent: it answered 401. Mend write_key, data_plane_url or the data plane; it is tried again "
                           "every 5 minutes (with queue = none every 5 seconds), once a changed configuration is taken "
                           "on, and when this finds it mended: `closecrm.fcgi "
                           "check`.");
    CU_ASSERT_EQUAL(report_severity(&facts, NULL), SEVERITY_BAD);
    CU_ASSERT_EQUAL(report_severity(&facts, &two[0]), SEVERITY_WORRY);
    make_well();
    fail();
    two[1] = *one;
    facts.source = two;
    facts.sources = 2;
    CU_ASSERT_TRUE_FATAL(findings_judge(&facts));
    CU_ASSERT_FALSE(report_delivers(&facts, VIEW_PAGE)); /* then nobody says that it works */
    CU_ASSERT_EQUAL(strncmp(report_words(&facts, NULL, words), "Look at this: ", 14), 0);
    facts.source = one;
    free(two);
}

void suite_findings(void)
{
    static CU_TestInfo tests[] = {
        {"words", test_words},
        {"words of what is over", test_words_of_what_is_over},
        {"what cannot be told is left out", test_what_cannot_be_told_is_left_out},
        {"the sentence at the top", test_the_sentence_at_the_top},
        CU_TEST_INFO_NULL,
    };
    suite_add("health: findings", take_memory, give_memory, tests);
}
