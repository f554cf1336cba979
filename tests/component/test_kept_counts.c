/* What several machines count that share one database: each shows the sum, a machine's end loses nothing of it, a
 * machine that begins anew is counted as another one, and what cannot be read or reached is left out, with words. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "health/findings.h"
#include "kept/kept.h"
#include "telemetry/telemetry.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/queue_rig.h"
#include "tests/support/webhook_rig.h"

#define MINUTE ((int64_t)60000)
#define MACHINES 3
#define PATIENCE_MS 30000

static struct queue_rig_engine engine;
static char directory[PATH_SIZE];
static struct webhook_rig machine[MACHINES];
static struct counters *counted[MACHINES];
static int64_t now_ms;

static int begin(void)
{
    return !(temporary_make(directory) && postgresql_start(&engine.postgresql, ""));
}

static int end(void)
{
    queue_rig_engine_end(&engine);
    temporary_remove(directory);
    return 0;
}

static void begin_machines(void)
{
    struct error why;
    CU_ASSERT_TRUE_FATAL(postgresql_database(&engine.postgresql, engine.url));
    now_ms = clock_unix_ms();
    for (size_t i = 0; i < MACHINES; i++) {
        webhook_rig_begin(&machine[i], 2);
        machine[i].config.queue = QUEUE_POSTGRESQL;
        machine[i].config.queue_url = engine.url;
        counted[i] = counters_open_all(&machine[i].config, &why);
    }
}

static void end_machines(void)
{
    for (size_t i = 0; i < MACHINES; i++) {
        counters_close(counted[i]);
        webhook_rig_end(&machine[i]);
    }
}

/* What people see on this machine; free with facts_free. */
static struct facts *look(size_t i)
{
    struct facts *facts = facts_gather(&machine[i].config, NULL, NULL, counted[i], now_ms);
    CU_ASSERT_PTR_NOT_NULL_FATAL(facts);
    facts_add_others(facts);
    CU_ASSERT_TRUE_FATAL(findings_judge(facts));
    return facts;
}

static bool finds(const struct facts *facts, enum finding_id id, const char *words)
{
    for (size_t i = 0; i < facts->found_count; i++) {
        if (facts->found[i].id == id)
            return strstr(facts->found[i].sentence, words) != NULL;
    }
    return false;
}

static void accept(size_t i, const char *source, size_t events, int64_t ago_minutes)
{
    for (size_t k = 0; k < events; k++)
        counters_accepted(counters_of(counted[i], source), 1000, now_ms - ago_minutes * MINUTE);
}

static uint64_t accepted(const struct facts *facts, size_t source, int64_t ago_minutes)
{
    return facts->source[source].tally.minute[COUNTED_MINUTES - 1 - ago_minutes].accepted;
}

static uint64_t sum_of_day(const struct facts *facts, size_t source)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < COUNTED_MINUTES; i++)
        sum += facts->source[source].tally.minute[i].accepted;
    return sum;
}

static void each_machine_shows_the_sum(void)
{
    begin_machines();
    for (size_t i = 0; i < MACHINES; i++) {
        accept(i, "acme", i + 1, 0);
        accept(i, "acme", 10 * (i + 1), 1);
        accept(i, "acme", 100 * (i + 1), 20);
        accept(i, "acme", 7 * (i + 1), 1400);
        accept(i, "beta", 1, 45);
        counters_refused(counters_of(counted[i], "acme"), 3, now_ms - (int64_t)i * 1000);
        counters_refused(counters_of(counted[i], NULL), 2, now_ms);
        counters_delivered(counters_of(counted[i], "acme"), 700, now_ms - MINUTE);
        counters_live_delay(counters_of(counted[i], "acme"), 700, now_ms - MINUTE);
        counters_done(counters_of(counted[i], "acme"), now_ms - MINUTE);
        counters_answered(counters_of(counted[i], "acme"), 200 + (int)i, i == 2, now_ms + (int64_t)i);
        counters_ended(counters_of(counted[i], "acme"), COUNTED_DEAD);
        counters_nul_replaced(counters_of(counted[i], "acme"));
        counters_identify_refused(counters_of(counted[i], "acme"));
    }
    webhook_rig_exchange_all(machine, MACHINES);
    for (size_t i = 0; i < MACHINES; i++) {
        struct facts *facts = look(i);
        const struct tally *tally = &facts->source[0].tally;
        CU_ASSERT_EQUAL(accepted(facts, 0, 0), 6);
        CU_ASSERT_EQUAL(accepted(facts, 0, 1), 60);
        CU_ASSERT_EQUAL(accepted(facts, 0, 20), 600);
        CU_ASSERT_EQUAL(accepted(facts, 0, 1400), 42);
        CU_ASSERT_EQUAL(accepted(facts, 1, 45), 3);
        CU_ASSERT_EQUAL(tally->minute[COUNTED_MINUTES - 2].bytes, 60000);
        CU_ASSERT_EQUAL(tally->minute[COUNTED_MINUTES - 2].done, 3);
        CU_ASSERT_EQUAL(tally->minute[COUNTED_MINUTES - 2].delivered, 3);
        CU_ASSERT_EQUAL(tally->minute[COUNTED_MINUTES - 2].delay[3], 3);
        CU_ASSERT_EQUAL(tally->outcome[COUNTED_ACCEPTED], 6 + 60 + 600 + 42);
        CU_ASSERT_EQUAL(tally->outcome[COUNTED_DEAD], 3);
        CU_ASSERT_EQUAL(tally->refused[3], 3);
        CU_ASSERT_EQUAL(tally->refused_last_ms[3], now_ms);
        CU_ASSERT_EQUAL(facts->nowhere.refused[2], 3);
        CU_ASSERT_EQUAL(tally->delay.bucket[3], 3);
        CU_ASSERT_EQUAL(tally->delay.sum, 2100);
        CU_ASSERT_EQUAL(tally->size.bucket[1], 708);
        CU_ASSERT_EQUAL(tally->answered[0], 1);
        CU_ASSERT_EQUAL(tally->answered_last_status, 202);
        CU_ASSERT_TRUE(tally->answered_last_refused);
        CU_ASSERT_EQUAL(tally->nul_replaced, 3);
        CU_ASSERT_EQUAL(tally->identify_refused, 3);
        CU_ASSERT_EQUAL(facts->machines, MACHINES - 1);
        CU_ASSERT_EQUAL(facts->machines_unread, 0);
        CU_ASSERT_FALSE(finds(facts, FINDING_MACHINES_UNHEARD, ""));
        facts_free(facts);
    }
    end_machines();
}

/* And what is counted afterwards is added, also once its minutes have moved from one record to the other. */
static void nothing_is_counted_twice(void)
{
    begin_machines();
    accept(0, "acme", 5, 29);
    accept(0, "acme", 5, 31);
    webhook_rig_exchange_all(machine, MACHINES);
    accept(0, "acme", 2, 0);
    webhook_rig_exchange_all(machine, MACHINES);
    webhook_rig_exchange_all(machine, MACHINES);
    struct facts *facts = look(1);
    CU_ASSERT_EQUAL(sum_of_day(facts, 0), 12);
    facts_free(facts);
    /* as if it had been said 40 minutes ago */
    char path[PATH_SIZE], text[400];
    path_join(path, machine[0].directory, "machines/said");
    char *said = temporary_read(machine[0].directory, "machines/said");
    CU_ASSERT_PTR_NOT_NULL_FATAL(said);
    char name[200];
    files_value(said, "machine", name, sizeof name);
    free(said);
    int length =
        snprintf(text, sizeof text, "machine = %s\nfrom = %lld\nsum = 1\n", name, (long long)(now_ms / MINUTE - 40));
    temporary_write(machine[0].directory, "machines/said", 0600, text, (size_t)length);
    accept(0, "acme", 1, 0);
    webhook_rig_exchange_all(machine, MACHINES);
    facts = look(1);
    CU_ASSERT_EQUAL(sum_of_day(facts, 0), 13);
    CU_ASSERT_EQUAL(facts->source[0].tally.outcome[COUNTED_ACCEPTED], 13);
    facts_free(facts);
    end_machines();
}

/* The container was made anew, with an empty state directory: it is another machine, and hears what it was. */
static void a_machine_that_begins_anew_is_another_one(void)
{
    char path[PATH_SIZE], before[120];
    struct error why;
    begin_machines();
    accept(0, "acme", 4, 0);
    webhook_rig_exchange_all(machine, MACHINES);
    snprintf(before, sizeof before, "%s", counters_machine(counted[0]));
    counters_close(counted[0]);
    path_join(path, machine[0].directory, "counters.2");
    CU_ASSERT_EQUAL(unlink(path), 0);
    path_join(path, machine[0].directory, "machines");
    temporary_remove(path);
    counted[0] = counters_open_all(&machine[0].config, &why);
    CU_ASSERT_STRING_NOT_EQUAL(counters_machine(counted[0]), before);
    accept(0, "acme", 1, 0);
    webhook_rig_exchange_all(machine, MACHINES);
    for (size_t i = 0; i < MACHINES; i++) {
        struct facts *facts = look(i);
        CU_ASSERT_EQUAL(sum_of_day(facts, 0), 5);
        CU_ASSERT_EQUAL(facts->source[0].tally.outcome[COUNTED_ACCEPTED], 5);
        CU_ASSERT_EQUAL(facts->machines, MACHINES);
        facts_free(facts);
    }
    end_machines();
}

static void the_machine_keeps_its_name(void)
{
    struct error why;
    char name[120];
    begin_machines();
    snprintf(name, sizeof name, "%s", counters_machine(counted[0]));
    CU_ASSERT_TRUE(strlen(name) > 9);
    CU_ASSERT_STRING_NOT_EQUAL(name, counters_machine(counted[1]));
    struct counters *again = counters_open_all(&machine[0].config, &why);
    CU_ASSERT_STRING_EQUAL(counters_machine(again), name);
    counters_close(again);
    /* a file of the release before has none yet */
    char path[PATH_SIZE];
    path_join(path, machine[0].directory, "counters.2");
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CU_ASSERT_TRUE(pwrite(fd, (char[104]){0}, 104, 0) == 104);
    close(fd);
    accept(0, "acme", 3, 0);
    again = counters_open_all(&machine[0].config, &why);
    CU_ASSERT_STRING_NOT_EQUAL(counters_machine(again), "");
    counters_close(again);
    webhook_rig_exchange_all(machine, MACHINES);
    struct facts *facts = look(1);
    CU_ASSERT_EQUAL(sum_of_day(facts, 0), 3);
    facts_free(facts);
    end_machines();
}

static void set_heard(size_t i, int64_t ago_ms)
{
    char path[PATH_SIZE];
    int64_t at_ms = now_ms - ago_ms;
    struct timespec times[2] = {{.tv_sec = at_ms / 1000}, {.tv_sec = at_ms / 1000}};
    path_join(path, machine[i].directory, "machines/heard");
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void without_the_database_the_last_figures_are_shown(void)
{
    struct error why = {0};
    struct kept_speaker speaker;
    begin_machines();
    accept(0, "acme", 4, 0);
    webhook_rig_exchange_all(machine, MACHINES);
    process_stop(&engine.postgresql.server, PATIENCE_MS);
    machines_speaker(&machine[1].config, &speaker);
    struct kept *kept = kept_open(&machine[1].config, &why);
    CU_ASSERT_FALSE(kept_exchange(kept, &speaker, &why));
    CU_ASSERT_STRING_NOT_EQUAL(why.text, "");
    kept_close(kept);
    speaker.close(speaker.context);
    set_heard(1, 10 * MINUTE);
    accept(1, "acme", 1, 0);
    struct facts *facts = look(1);
    CU_ASSERT_EQUAL(sum_of_day(facts, 0), 5);
    CU_ASSERT_TRUE(
        finds(facts, FINDING_MACHINES_UNHEARD, "2 other machines count is in the figures as it was 10 minutes ago"));
    facts_free(facts);
    CU_ASSERT_TRUE_FATAL(postgresql_begin(&engine.postgresql));
    webhook_rig_exchange_all(machine, MACHINES);
    facts = look(0);
    CU_ASSERT_EQUAL(sum_of_day(facts, 0), 5);
    CU_ASSERT_FALSE(finds(facts, FINDING_MACHINES_UNHEARD, ""));
    facts_free(facts);
    end_machines();
}

static void what_another_release_says_is_left_out(void)
{
    static const char *const values[] = {"'closecrm counts 2' || chr(10) || 'x'", "''",
                                         "'closecrm counts 1' || chr(10) || 'xx'"};
    char sql[1200];
    begin_machines();
    accept(0, "acme", 4, 0);
    webhook_rig_exchange_all(machine, MACHINES);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        snprintf(sql, sizeof sql,
                 "INSERT INTO closecrm.said SELECT 'newer', 'now', version + 1, 0, convert_to(%s, 'UTF8') FROM"
                 " closecrm.said WHERE machine = '' ON CONFLICT (machine, name) DO UPDATE SET version ="
                 " excluded.version, value = excluded.value;"
                 "INSERT INTO closecrm.said SELECT 'newer', 'else' || version, version + 1, 0, '' FROM closecrm.said"
                 " WHERE machine = '';"
                 "INSERT INTO closecrm.said SELECT '../evil' || version, 'now', version + 1, 0, 'x' FROM closecrm.said"
                 " WHERE machine = '';"
                 "UPDATE closecrm.said SET version = version + 1 WHERE machine = ''",
                 values[i]);
        postgresql_ask(engine.url, sql);
        webhook_rig_exchange(&machine[1]);
        struct facts *facts = look(1);
        CU_ASSERT_EQUAL(sum_of_day(facts, 0), 4);
        bool empty = i == 1; /* a file that says nothing is none */
        CU_ASSERT_EQUAL(facts->machines_unread, empty ? 0 : 1);
        CU_ASSERT_EQUAL(finds(facts, FINDING_MACHINE_UNREAD, "machine newer counts is not in"), !empty);
        facts_free(facts);
    }
    char path[PATH_SIZE];
    path_join(path, machine[1].directory, "evil");
    CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0);
    end_machines();
}

/* More than is read at a time, and of what is said at once nothing is left out where that ends. */
static void much_that_is_said_at_once_is_heard(void)
{
    enum { EACH = 200 };
    static const char value[] = "closecrm counts 1\nx";
    static char names[EACH][16];
    struct kept_record records[EACH];
    struct error why = {0};
    begin_machines();
    struct kept *kept = kept_open(&machine[0].config, &why);
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < EACH; i++) {
            snprintf(names[i], sizeof names[i], "m%zu", round * EACH + i);
            records[i] = (struct kept_record){names[i], "now", value, sizeof value - 1};
        }
        CU_ASSERT_TRUE(kept_say(kept, records, EACH, &why));
    }
    kept_close(kept);
    webhook_rig_exchange(&machine[1]);
    struct facts *facts = look(1);
    CU_ASSERT_EQUAL(facts->machines, 3 * EACH);
    facts_free(facts);
    end_machines();
}

/* A clock that is ahead counts in minutes that have not come here yet. */
static void clocks_that_differ_do_no_harm(void)
{
    begin_machines();
    accept(0, "acme", 3, 0);
    webhook_rig_exchange_all(machine, MACHINES);
    now_ms -= 2 * MINUTE; /* of who looks */
    accept(1, "acme", 1, 0);
    struct facts *facts = look(1);
    CU_ASSERT_EQUAL(sum_of_day(facts, 0), 4);
    CU_ASSERT_EQUAL(accepted(facts, 0, 0), 4);
    facts_free(facts);
    now_ms += 4 * MINUTE;
    facts = look(1);
    CU_ASSERT_EQUAL(sum_of_day(facts, 0), 4);
    facts_free(facts);
    end_machines();
}

static void another_database_is_told_all_anew(void)
{
    begin_machines();
    accept(0, "acme", 3, 0);
    accept(1, "acme", 5, 50);
    webhook_rig_exchange_all(machine, MACHINES);
    CU_ASSERT_TRUE_FATAL(postgresql_database(&engine.postgresql, engine.url));
    for (size_t i = 0; i < MACHINES; i++)
        queue_rig_adopt(&machine[i].config);
    webhook_rig_exchange(&machine[0]);
    struct facts *facts = look(0);
    CU_ASSERT_EQUAL(sum_of_day(facts, 0), 3);
    facts_free(facts);
    webhook_rig_exchange(&machine[1]);
    webhook_rig_exchange(&machine[0]);
    facts = look(0);
    CU_ASSERT_EQUAL(sum_of_day(facts, 0), 8);
    facts_free(facts);
    end_machines();
}

/* A database that went back, as of a backup, numbers what is said from before on; one whose table was emptied numbers
 * it by the clock. */
static void a_database_that_went_back_is_heard_anew(void)
{
    begin_machines();
    accept(0, "acme", 3, 0);
    webhook_rig_exchange_all(machine, MACHINES);
    for (size_t i = 0; i < 3; i++) {
        accept(0, "acme", 1, 0);
        webhook_rig_exchange_all(machine, MACHINES);
    }
    postgresql_ask(engine.url, "UPDATE closecrm.said SET version = 2");
    webhook_rig_exchange_all(machine, MACHINES);
    accept(0, "acme", 1, 0);
    webhook_rig_exchange_all(machine, MACHINES);
    struct facts *facts = look(1);
    CU_ASSERT_EQUAL(sum_of_day(facts, 0), 7);
    facts_free(facts);
    postgresql_ask(engine.url, "TRUNCATE closecrm.said");
    webhook_rig_exchange(&machine[1]); /* which has nothing to say */
    accept(0, "acme", 1, 0);
    webhook_rig_exchange_all(machine, MACHINES);
    facts = look(1);
    CU_ASSERT_EQUAL(sum_of_day(facts, 0), 8);
    facts_free(facts);
    end_machines();
}

/* What did not change is not said, and what is said again and again takes no more room. */
static void the_table_does_not_grow(void)
{
    begin_machines();
    accept(0, "acme", 1, 0);
    webhook_rig_exchange_all(machine, MACHINES);
    char before[64];
    snprintf(before, sizeof before, "%s",
             postgresql_ask(engine.url, "SELECT version FROM closecrm.said WHERE machine = ''"));
    webhook_rig_exchange_all(machine, MACHINES);
    CU_ASSERT_STRING_EQUAL(postgresql_ask(engine.url, "SELECT version FROM closecrm.said WHERE machine = ''"), before);
    struct error why = {0};
    struct kept_speaker speaker;
    machines_speaker(&machine[0].config, &speaker);
    struct kept *kept = kept_open(&machine[0].config, &why);
    for (size_t i = 0; i < 1000; i++) {
        accept(0, "acme", 1, 0);
        CU_ASSERT_TRUE(kept_exchange(kept, &speaker, &why));
    }
    kept_close(kept);
    speaker.close(speaker.context);
    long size = atol(postgresql_ask(engine.url, "SELECT pg_total_relation_size('closecrm.said')"));
    check(size <= 256 * 1024, "1000 times said it takes %ld bytes", size);
    end_machines();
}

static void a_watch_says_and_hears(void)
{
    struct kept_watch *watch[2];
    struct kept_speaker speaker;
    uint64_t sum = 0;
    begin_machines();
    for (size_t i = 0; i < 2; i++) {
        machines_speaker(&machine[i].config, &speaker);
        watch[i] = kept_watch_start(&machine[i].config, &speaker);
        accept(i, "acme", i + 1, 0);
    }
    for (moment until = clock_now() + PATIENCE_MS; sum != 3 && clock_now() < until; usleep(100000)) {
        struct facts *facts = look(0);
        sum = sum_of_day(facts, 0);
        facts_free(facts);
    }
    CU_ASSERT_EQUAL(sum, 3);
    for (size_t i = 0; i < 2; i++)
        CU_ASSERT_TRUE(kept_watch_stop(watch[i]));
    end_machines();
}

void suite_kept_counts(void)
{
    static CU_TestInfo tests[] = {
        {"each machine shows the sum", each_machine_shows_the_sum},
        {"nothing is counted twice", nothing_is_counted_twice},
        {"a machine that begins anew is another one", a_machine_that_begins_anew_is_another_one},
        {"the machine keeps its name", the_machine_keeps_its_name},
        {"without the database the last figures are shown", without_the_database_the_last_figures_are_shown},
        {"what another release says is left out", what_another_release_says_is_left_out},
        {"much that is said at once is heard", much_that_is_said_at_once_is_heard},
        {"clocks that differ do no harm", clocks_that_differ_do_no_harm},
        {"another database is told all anew", another_database_is_told_all_anew},
        {"a database that went back is heard anew", a_database_that_went_back_is_heard_anew},
        {"the table does not grow", the_table_does_not_grow},
        {"a watch says and hears", a_watch_says_and_hears},
        CU_TEST_INFO_NULL,
    };
    suite_add("kept counts", begin, end, tests);
}
