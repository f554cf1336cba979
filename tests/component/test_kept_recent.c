/* The sample of recent events of several machines that share one database: each shows those of all, under the same
 * numbers, with their bodies; and what is to be forgotten is erased on all of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "kept/kept.h"
#include "telemetry/telemetry.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/queue_rig.h"
#include "tests/support/webhook_rig.h"

#define MACHINES 3
#define LEAD "lead_Forget"
#define SECRET "Mrs. Forget-Me of 7 Elm Street"

static struct queue_rig_engine engine;
static struct webhook_rig machine[MACHINES];
static struct counters *counted[MACHINES];
static struct recent *recent[MACHINES];
static struct recent_event list[RECENT_COUNT];
static struct recent_whole whole;
static int64_t now_ms;

static int begin(void)
{
    return !postgresql_start(&engine.postgresql, "");
}

static int end(void)
{
    queue_rig_engine_end(&engine);
    return 0;
}

static void begin_machines(void)
{
    struct error why;
    CU_ASSERT_TRUE_FATAL(postgresql_database(&engine.postgresql, engine.url));
    now_ms = clock_unix_ms();
    for (size_t i = 0; i < MACHINES; i++) {
        webhook_rig_begin(&machine[i], 1);
        machine[i].config.queue = QUEUE_POSTGRESQL;
        machine[i].config.queue_url = engine.url;
        counted[i] = counters_open_all(&machine[i].config, &why);
        recent[i] = recent_open(machine[i].directory);
    }
}

static void end_machines(void)
{
    for (size_t i = 0; i < MACHINES; i++) {
        counters_close(counted[i]);
        recent_close(recent[i]);
        webhook_rig_end(&machine[i]);
    }
}

static void add(size_t i, uint64_t id, const char *lead, int64_t ago_ms)
{
    char incoming[100], message[100];
    struct recent_event event = {.queue_id = id,
                                 .ended_ms = now_ms - ago_ms,
                                 .received_ms = now_ms - ago_ms - 1,
                                 .updated_ms = 7,
                                 .bytes = 1234};
    struct attempt attempt = {.sent_ms = now_ms - 2, .took_ms = 3, .status = 200, .events = 4, .words = "ok"};
    snprintf(event.source, sizeof event.source, "acme");
    snprintf(event.name, sizeof event.name, "lead updated");
    snprintf(event.lead, sizeof event.lead, "%s", lead);
    snprintf(event.id, sizeof event.id, "ev_%llu", (unsigned long long)id);
    snprintf(event.state, sizeof event.state, "dead");
    snprintf(event.reason, sizeof event.reason, "too \"odd\"");
    int in = snprintf(incoming, sizeof incoming, "{\"in\":%llu, \"of\":\"%s\"}", (unsigned long long)id,
                      strcmp(lead, LEAD) == 0 ? SECRET : "somebody");
    int out = snprintf(message, sizeof message, "{\"out\":%llu}", (unsigned long long)id);
    recent_add(recent[i], &event,
               &(struct recent_bodies){.incoming = incoming,
                                       .message = message,
                                       .incoming_length = (size_t)in,
                                       .message_length = (size_t)out,
                                       .attempt = &attempt,
                                       .attempts = 1});
}

static size_t look(size_t i)
{
    return machines_recent_list(&machine[i].config, recent[i], counters_machine(counted[i]), now_ms, list,
                                RECENT_COUNT);
}

static bool get(size_t i, uint64_t number)
{
    return machines_recent_get(&machine[i].config, recent[i], counters_machine(counted[i]), number, now_ms, &whole);
}

static void each_machine_shows_the_events_of_all(void)
{
    uint64_t number[MACHINES] = {0};
    begin_machines();
    for (size_t i = 0; i < MACHINES; i++)
        add(i, i + 1, "lead_1", (int64_t)i * 1000);
    webhook_rig_exchange_all(machine, MACHINES);
    for (size_t i = 0; i < MACHINES; i++) {
        CU_ASSERT_EQUAL_FATAL(look(i), MACHINES);
        for (size_t k = 0; k < MACHINES; k++) {
            number[k] = i == 0 ? list[k].number : number[k];
            CU_ASSERT_EQUAL(list[k].queue_id, k + 1); /* the last that ended first */
            CU_ASSERT_EQUAL(list[k].number, number[k]);
            CU_ASSERT_TRUE(list[k].number < UINT64_C(1) << 53);
            CU_ASSERT_STRING_EQUAL(list[k].reason, "too \"odd\"");
            CU_ASSERT_EQUAL(list[k].received_ms, now_ms - (int64_t)k * 1000 - 1);
            CU_ASSERT_EQUAL(list[k].bytes, 1234);
        }
    }
    for (size_t i = 0; i < MACHINES; i++) {
        CU_ASSERT_TRUE_FATAL(get(i, number[2]));
        CU_ASSERT_EQUAL(whole.event.number, number[2]);
        CU_ASSERT_EQUAL(whole.event.queue_id, 3);
        CU_ASSERT_EQUAL(whole.event.message_length, strlen("{\"out\":3}"));
        CU_ASSERT_NSTRING_EQUAL(whole.message, "{\"out\":3}", 9);
        CU_ASSERT_NSTRING_EQUAL(whole.incoming, "{\"in\":3", 7);
        CU_ASSERT_EQUAL(whole.attempts, 1);
        CU_ASSERT_EQUAL(whole.attempt[0].status, 200);
        CU_ASSERT_STRING_EQUAL(whole.attempt[0].words, "ok");
        CU_ASSERT_FALSE(get(i, number[2] + 1));
    }
    end_machines();
}

/* So many come that not all are said: the newest are, and the ring goes round. */
static void of_many_the_newest_are_said(void)
{
    begin_machines();
    for (uint64_t id = 1; id <= 500; id++)
        add(0, id, "lead_1", 1000 - (int64_t)id);
    webhook_rig_exchange_all(machine, MACHINES);
    CU_ASSERT_EQUAL(look(1), 10);
    CU_ASSERT_EQUAL(list[0].queue_id, 500);
    CU_ASSERT_EQUAL(list[9].queue_id, 491);
    for (uint64_t id = 501; id <= 800; id++) {
        add(0, id, "lead_1", 1000 - (int64_t)id);
        if (id % 5 == 0)
            webhook_rig_exchange(&machine[0]);
    }
    webhook_rig_exchange(&machine[1]);
    CU_ASSERT_EQUAL(look(1), RECENT_COUNT);
    CU_ASSERT_EQUAL(list[0].queue_id, 800);
    CU_ASSERT_EQUAL(list[RECENT_COUNT - 1].queue_id, 601);
    CU_ASSERT_EQUAL(look(0), RECENT_COUNT);
    CU_ASSERT_STRING_EQUAL(postgresql_ask(engine.url, "SELECT count(*) FROM closecrm.said WHERE name LIKE 'recent.%'"),
                           "200");
    end_machines();
}

/* The same event, said under the name before and under the new one, is shown once. */
static void a_machine_with_another_name_shows_each_once(void)
{
    char path[PATH_SIZE];
    struct error why;
    begin_machines();
    add(0, 1, "lead_1", 0);
    webhook_rig_exchange_all(machine, MACHINES);
    counters_close(counted[0]);
    path_join(path, machine[0].directory, "counters.2");
    unlink(path);
    counted[0] = counters_open_all(&machine[0].config, &why);
    webhook_rig_exchange_all(machine, MACHINES);
    for (size_t i = 0; i < MACHINES; i++)
        CU_ASSERT_EQUAL(look(i), 1);
    end_machines();
}

static bool is_in(const char *directory, const char *name, const char *text)
{
    char path[PATH_SIZE], bytes[4096];
    path_join(path, directory, name);
    FILE *file = fopen(path, "re");
    bool found = false;
    size_t kept = 0, n;
    while (file != NULL && (n = fread(bytes + kept, 1, sizeof bytes - kept, file)) > 0) {
        found = found || memmem(bytes, kept + n, text, strlen(text)) != NULL;
        size_t all = kept + n;
        kept = all < 100 ? all : 100;
        memmove(bytes, bytes + all - kept, kept);
    }
    if (file != NULL)
        fclose(file);
    return found;
}

static void copy_name(size_t of, char name[static 140])
{
    snprintf(name, 140, "machines/%s.recent", counters_machine(counted[of]));
}

/* Also what is not said yet, and what a machine has said that is away: it erases its own when it is back. */
static void what_is_to_be_forgotten_is_erased_everywhere(void)
{
    char copy[140];
    struct error why = {0};
    uint64_t count;
    begin_machines();
    for (size_t i = 0; i < MACHINES; i++) {
        add(i, 10 + i, LEAD, 100);
        add(i, 20 + i, "lead_Other", 50);
    }
    webhook_rig_exchange_all(machine, MACHINES);
    add(1, 30, LEAD, 10);
    copy_name(2, copy);
    CU_ASSERT_TRUE(is_in(machine[0].directory, copy, SECRET));
    CU_ASSERT_TRUE(is_in(machine[2].directory, "recent.2", SECRET));
    CU_ASSERT_TRUE(machines_recent_forget(&machine[0].config, NULL, LEAD, true, &count, &why));
    CU_ASSERT_EQUAL(count, MACHINES);
    CU_ASSERT_EQUAL(look(0), 2 * MACHINES);
    CU_ASSERT_TRUE(machines_recent_forget(&machine[0].config, "beta", LEAD, false, &count, &why));
    CU_ASSERT_EQUAL(count, 0);
    CU_ASSERT_TRUE(machines_recent_forget(&machine[0].config, "acme", LEAD, false, &count, &why));
    CU_ASSERT_EQUAL(count, MACHINES);
    webhook_rig_exchange(&machine[1]); /* and 2 is away */
    CU_ASSERT_EQUAL(look(0), MACHINES);
    CU_ASSERT_EQUAL(look(1), MACHINES);
    CU_ASSERT_STRING_EQUAL(postgresql_ask(engine.url,
                                          "SELECT count(*) FROM closecrm.said WHERE position('Elm Street' IN"
                                          " encode(value, 'escape')) > 0 OR position('" LEAD
                                          "' IN encode(value, 'escape')) > 0"),
                           "0");
    webhook_rig_exchange(&machine[2]);
    webhook_rig_exchange_all(machine, MACHINES);
    for (size_t i = 0; i < MACHINES; i++) {
        CU_ASSERT_EQUAL(look(i), MACHINES);
        CU_ASSERT_FALSE(is_in(machine[i].directory, "recent.2", SECRET));
        for (size_t k = 0; k < MACHINES; k++) {
            copy_name(k, copy);
            check(!is_in(machine[i].directory, copy, SECRET), "machine %zu has nothing of machine %zu", i, k);
        }
    }
    end_machines();
}

static void a_queue_of_its_own_has_nothing_of_others(void)
{
    char copy[140];
    struct kept_speaker speaker;
    begin_machines();
    add(1, 1, LEAD, 0);
    webhook_rig_exchange_all(machine, MACHINES);
    copy_name(1, copy);
    CU_ASSERT_TRUE(is_in(machine[0].directory, copy, SECRET));
    machine[0].config.queue = QUEUE_SQLITE;
    machines_speaker(&machine[0].config, &speaker);
    CU_ASSERT_PTR_NULL(speaker.close);
    CU_ASSERT_FALSE(is_in(machine[0].directory, copy, SECRET));
    CU_ASSERT_EQUAL(look(0), 0);
    end_machines();
}

static void without_the_database_it_is_said_that_others_are_not_reached(void)
{
    struct error why = {0};
    uint64_t count;
    begin_machines();
    add(0, 1, LEAD, 0);
    process_stop(&engine.postgresql.server, 30000);
    CU_ASSERT_FALSE(machines_recent_forget(&machine[0].config, NULL, LEAD, false, &count, &why));
    CU_ASSERT_STRING_NOT_EQUAL(why.text, "");
    CU_ASSERT_EQUAL(count, 1);
    CU_ASSERT_TRUE_FATAL(postgresql_begin(&engine.postgresql));
    end_machines();
}

static void what_cannot_be_read_or_is_too_old_is_not_shown(void)
{
    static const char *const values[] = {"closecrm event 2\nxxxx", "closecrm event 1\n",
                                         "closecrm event 1\n\xff\xff\xff", "closecrm forget 1\n\x05x"};
    struct error why = {0};
    begin_machines();
    add(0, 1, "lead_1", RECENT_AGE_MS + 60000);
    add(0, 2, "lead_1", 0);
    webhook_rig_exchange_all(machine, MACHINES);
    struct kept *kept = kept_open(&machine[0].config, &why);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        const struct kept_record records[] = {{"other", "recent.1", values[i], strlen(values[i])},
                                              {"other", "recent.200", values[i], strlen(values[i])},
                                              {"other", "recent.x", values[i], strlen(values[i])},
                                              {"other", "forget.1", values[i], strlen(values[i])}};
        CU_ASSERT_TRUE(kept_say(kept, records, 4, &why));
        webhook_rig_exchange(&machine[1]);
        CU_ASSERT_EQUAL(look(1), 1);
    }
    kept_close(kept);
    end_machines();
}

/* A record whose end is missing, at each byte, and one with each byte changed, does no harm. */
static void a_record_may_be_cut_or_changed_anywhere(void)
{
    struct error why = {0};
    char *bytes = NULL;
    begin_machines();
    add(0, 1, "lead_1", 0);
    webhook_rig_exchange(&machine[0]);
    char *hex = postgresql_run(engine.url, "SELECT encode(value, 'hex') FROM closecrm.said WHERE name LIKE 'recent.%'");
    CU_ASSERT_PTR_NOT_NULL_FATAL(hex);
    size_t length = strlen(hex) / 2;
    bytes = malloc(length);
    for (size_t i = 0; i < length; i++)
        sscanf(hex + 2 * i, "%2hhx", (unsigned char *)&bytes[i]);
    struct kept_speaker speaker;
    machines_speaker(&machine[1].config, &speaker);
    for (size_t i = 0; i < length; i++) {
        speaker.hear(speaker.context, &(struct kept_record){"cut", "recent.1", bytes, i});
        bytes[i] = (char)~bytes[i];
        speaker.hear(speaker.context, &(struct kept_record){"changed", "recent.1", bytes, length});
        look(1);
        bytes[i] = (char)~bytes[i];
    }
    webhook_rig_exchange(&machine[1]);
    CU_ASSERT_TRUE(look(1) >= 1);
    speaker.close(speaker.context);
    free(bytes);
    free(hex);
    (void)why;
    end_machines();
}

void suite_kept_recent(void)
{
    static CU_TestInfo tests[] = {
        {"each machine shows the events of all", each_machine_shows_the_events_of_all},
        {"of many the newest are said", of_many_the_newest_are_said},
        {"a machine with another name shows each once", a_machine_with_another_name_shows_each_once},
        {"what is to be forgotten is erased everywhere", what_is_to_be_forgotten_is_erased_everywhere},
        {"a queue of its own has nothing of others", a_queue_of_its_own_has_nothing_of_others},
        {"without the database it is said that others are not reached",
         without_the_database_it_is_said_that_others_are_not_reached},
        {"what cannot be read or is too old is not shown", what_cannot_be_read_or_is_too_old_is_not_shown},
        {"a record may be cut or changed anywhere", a_record_may_be_cut_or_changed_anywhere},
        CU_TEST_INFO_NULL,
    };
    suite_add("kept recent", begin, end, tests);
}
