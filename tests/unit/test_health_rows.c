/* What /healthz says, row by row: what is so, and whether that is healthy. */
#include "health/write_probe.h"

#include <stdio.h>
#include <string.h>

#include "tests/suites.h"
#include "tests/support/check.h"
#include "webhook/webhook.h"

#define NOW_MS INT64_C(1790000000000)
#define FULL (INT64_C(1) << 30) /* queue_max_bytes */
#define SECOND INT64_C(1000)
#define NEVER INT64_C(-1)

/* What is so besides events that come and go. */
enum so {
    SO_WELL,
    SO_NOT_OPEN,
    SO_QUEUE_FAILS,
    SO_GONE,
    SO_NO_ROOM,
    SO_NOT_PROBED,
    SO_PROBE_FAILS,
    SO_PROBE_HANGS,
    SO_QUEUE_FULL,
};

static const struct {
    const char *label;
    enum so so;
    enum refusal refusal; /* of source two, so long ago: */
    int64_t refused_ms;
    int64_t accepted_ms; /* likewise, by source one; NEVER: none was */
    int64_t written_ms;  /* likewise, the last probe */
    const char *words;   /* what it says then */
} rows[] = {
    {"all is well", SO_WELL, REFUSAL_NONE, 0, 10, 10, "events are accepted"},
    {"nothing has come yet", SO_WELL, REFUSAL_NONE, 0, NEVER, 10, "events are accepted"},
    {"not probed yet", SO_NOT_PROBED, REFUSAL_NONE, 0, 10, NEVER, "events are accepted"},
    {"the queue is not open", SO_NOT_OPEN, REFUSAL_NONE, 0, 10, 10, "the queue is not open"},
    {"the queue fails", SO_QUEUE_FAILS, REFUSAL_NONE, 0, 10, 10, "the queue does not work"},
    {"the state directory is gone", SO_GONE, REFUSAL_NONE, 0, 10, 10, "the state directory is gone: put it back"},
    {"no room", SO_NO_ROOM, REFUSAL_NONE, 0, 10, 10, "no room at all"},
    {"a probe fails", SO_PROBE_FAILS, REFUSAL_NONE, 0, 10, 10, "nothing can be written"},
    {"a probe hangs", SO_PROBE_HANGS, REFUSAL_NONE, 0, 10, 10, "takes too long"},

    {"full", SO_WELL, REFUSED_QUEUE_FULL, 599 * SECOND, 700 * SECOND, NEVER,
     "there was no room for the last event: the log says why"},
    {"full, long ago", SO_WELL, REFUSED_QUEUE_FULL, 601 * SECOND, 700 * SECOND, NEVER, "events are accepted"},
    {"broken", SO_WELL, REFUSED_QUEUE_BROKEN, 59 * SECOND, 60 * SECOND, NEVER, "could not be kept"},
    {"broken, long ago", SO_WELL, REFUSED_QUEUE_BROKEN, 61 * SECOND, 62 * SECOND, NEVER, "events are accepted"},
    {"slow", SO_WELL, REFUSED_QUEUE_SLOW, 59 * SECOND, NEVER, NEVER, "not kept in time"},
    {"slow, long ago", SO_WELL, REFUSED_QUEUE_SLOW, 61 * SECOND, NEVER, NEVER, "events are accepted"},
    {"refused for another reason", SO_WELL, REFUSED_SIGNATURE, 1 * SECOND, 10 * SECOND, 1, "events are accepted"},
    {"accepted since", SO_WELL, REFUSED_QUEUE_FULL, 2 * SECOND, 1 * SECOND, 30 * SECOND, "events are accepted"},

    {"written just then", SO_WELL, REFUSED_QUEUE_FULL, 20 * SECOND, NEVER, 16 * SECOND,
     "there was no room for the last event: the log says why"},
    {"written since", SO_WELL, REFUSED_QUEUE_FULL, 20 * SECOND, NEVER, 14 * SECOND, "events are accepted"},
    {"full to the limit", SO_QUEUE_FULL, REFUSED_QUEUE_FULL, 20 * SECOND, NEVER, 0,
     "there was no room for the last event: the log says why"},
    {"the same, but slow", SO_QUEUE_FULL, REFUSED_QUEUE_SLOW, 20 * SECOND, NEVER, 0, "events are accepted"},
};

static void judge(size_t i, struct health *health)
{
    const struct config config = {.queue_max_bytes = FULL};
    struct source_facts source[2] = {{.name = "one"}, {.name = "two"}};
    struct facts facts = {.config = &config,
                          .now_ms = NOW_MS,
                          .queue_works = rows[i].so != SO_QUEUE_FAILS && rows[i].so != SO_GONE,
                          .source = source,
                          .sources = 2};
    struct probed probed = {.known = rows[i].so != SO_NOT_PROBED, .good = true, .looked = clock_now()};
    if (rows[i].so == SO_GONE)
        facts.queue_why.kind = ERROR_MISSING;
    if (rows[i].so == SO_NO_ROOM)
        error_set(&facts.no_room, "no room at all");
    if (rows[i].so == SO_QUEUE_FULL)
        facts.room.used = (uint64_t)FULL;
    if (rows[i].so == SO_PROBE_HANGS)
        probed.looked -= 60 * SECOND;
    probed.good = rows[i].so != SO_PROBE_FAILS && rows[i].so != SO_NOT_PROBED;
    probed.written_ms = rows[i].written_ms == NEVER ? 0 : NOW_MS - rows[i].written_ms;
    source[0].counts.last_accepted_ms = rows[i].accepted_ms == NEVER ? 0 : NOW_MS - rows[i].accepted_ms;
    int64_t *refused_ms = source[1].tally.refused_last_ms;
    if (rows[i].refusal != REFUSAL_NONE)
        refused_ms[rows[i].refusal] = NOW_MS - rows[i].refused_ms;
    prober_judge(&facts, rows[i].so != SO_NOT_OPEN && rows[i].so != SO_GONE, &probed, health);
}

static void each_row(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct health health;
        judge(i, &health);
        check(strstr(health.words.text, rows[i].words) != NULL, "%s: %s", rows[i].label, health.words.text);
        check(health.good == (strcmp(rows[i].words, "events are accepted") == 0), "%s: %d", rows[i].label, health.good);
    }
}

void suite_health_rows(void)
{
    static CU_TestInfo tests[] = {
        {"row by row", each_row},
        CU_TEST_INFO_NULL,
    };
    suite_add("health rows", NULL, NULL, tests);
}
