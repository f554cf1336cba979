/* Findings: the words of each situation stand in a golden file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "health/alerts.h"
#include "health/findings.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/made_facts.h"
#include "tests/support/temporary.h"

#define NOW MADE_FACTS_NOW
#define GOLDEN "tests/data/findings.txt"
#define FOUND "build/findings.txt"

static struct made_facts *made;

static int take_memory(void)
{
    return (made = calloc(1, sizeof *made)) == NULL;
}

static int give_memory(void)
{
    free(made->facts.found);
    free(made);
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
        if (!report_shows(&made->facts, finding, views[i].view))
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
    CU_ASSERT_TRUE_FATAL(findings_judge(&made->facts));
    for (size_t i = 0; i < made->facts.found_count; i++) {
        const struct finding *one_found = &made->facts.found[i];
        seen[one_found->id] = true;
        fprintf(out, "%s: %s", finding_name(one_found->id), severities[one_found->severity]);
        write_views(out, one_found);
        fprintf(out, "    %s\n", report_line(one_found, words));
    }
    fprintf(out, "page: %s: %s\n", severities[report_severity(&made->facts, &made->one)],
            report_words(&made->facts, &made->one, words));
    CU_ASSERT_EQUAL(report_severity(&made->facts, NULL), report_severity(&made->facts, &made->one));
    CU_ASSERT_TRUE_FATAL(alerts_find_causes(&made->facts, &causes));
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
    size_t count;
    const struct situation *rows = situations_all(&count);
    for (size_t i = 0; i < count; i++) {
        made_facts_well(made);
        rows[i].happen(made);
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
    made_facts_well(made);
    made->facts.disk_free = (uint64_t)2 << 30;
    made->facts.cron_ms = NOW - 30000;
    CU_ASSERT_TRUE_FATAL(alerts_find_causes(&made->facts, &causes));
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
    made_facts_well(made);
    situation_happens(made, "nothing came yet");
    made->facts.watching_since_ms = NOW - 1000;
    CU_ASSERT_TRUE_FATAL(alerts_find_causes(&made->facts, &causes));
    CU_ASSERT_FALSE(lists(&causes, "silence") || lists(&causes, "cron_overdue") || lists(&causes, "disk_nearly_full"));
    CU_ASSERT_TRUE(lists(&causes, "queue_broken"));
    situation_happens(made, "the queue is broken");
    CU_ASSERT_TRUE_FATAL(alerts_find_causes(&made->facts, &causes));
    CU_ASSERT_FALSE(lists(&causes, "queue_broken") || lists(&causes, "events_wait"));
    alerts_free_causes(&causes);
}

/* The worst comes first, and names its source where there are several. */
static void test_the_sentence_at_the_top(void)
{
    char words[REPORT_SIZE];
    struct source_facts *two = calloc(2, sizeof *two);
    CU_ASSERT_PTR_NOT_NULL_FATAL(two);
    made_facts_well(made);
    situation_happens(made, "dead letters are kept");
    two[0] = made->one;
    made_facts_well(made);
    situation_happens(made, "the data plane refuses");
    two[1] = made->one;
    memcpy(two[1].name, "two", 4);
    made->facts.source = two;
    made->facts.sources = 2;
    CU_ASSERT_TRUE_FATAL(findings_judge(&made->facts));
    CU_ASSERT_STRING_EQUAL(report_words(&made->facts, NULL, words),
                           "Something is wrong: two: 1 event waits until you act, for the data plane refuses what is "
                           "sent: it answered 401. Mend write_key, data_plane_url or the data plane; it is tried again "
                           "every 5 minutes (with queue = none every 5 seconds), once a changed configuration is taken "
                           "on, and when this finds it mended: `closecrm.fcgi "
                           "check`.");
    CU_ASSERT_EQUAL(report_severity(&made->facts, NULL), SEVERITY_BAD);
    CU_ASSERT_EQUAL(report_severity(&made->facts, &two[0]), SEVERITY_WORRY);
    made_facts_well(made);
    situation_happens(made, "the data plane is away");
    two[1] = made->one;
    made->facts.source = two;
    made->facts.sources = 2;
    CU_ASSERT_TRUE_FATAL(findings_judge(&made->facts));
    CU_ASSERT_FALSE(report_delivers(&made->facts, VIEW_PAGE)); /* then nobody says that it works */
    CU_ASSERT_EQUAL(strncmp(report_words(&made->facts, NULL, words), "Look at this: ", 14), 0);
    made->facts.source = &made->one;
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
