/* What a loss of events means: how it is noted, how far the claim of completeness falls, where reading begins. */
#include "base/times.h"
#include "closeapi/closeapi.h"
#include "queue/inspect.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/made_config.h"
#include "tests/support/temporary.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOUR INT64_C(3600000) /* ms */
#define NOW (1000000 * HOUR)  /* in the tables below all is in hours before it */
#define REMEMBERED (31 * 24)

/* ---- notes ---- */

static void losses_are_merged(void)
{
    static const struct {
        struct loss first, second, wanted;
    } rows[] = {
        {{10, 20, true, 5, "a"}, {12, 30, true, 6, "b"}, {10, 30, true, 5, "b; before: a"}},
        {{10, 20, true, 5, "a"}, {0, 30, false, 6, "a"}, {0, 30, false, 5, "a"}},
        {{10, 20, false, 5, "a"}, {9, 15, true, 4, "b"}, {9, 20, false, 4, "b; before: a"}},
        {{10, 20, false, 0, "a\nb"}, {10, 20, true, 9, "a b"}, {10, 20, false, 0, "a b"}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool any;
        struct loss loss;
        struct error why = {0};
        char directory[PATH_SIZE];
        CU_ASSERT_TRUE_FATAL(temporary_make(directory));
        CU_ASSERT_TRUE(loss_read(directory, "one", &loss, &any, &why));
        CU_ASSERT_FALSE(any);
        CU_ASSERT_TRUE(loss_note(directory, "one", &rows[i].first, &why));
        CU_ASSERT_TRUE(loss_note(directory, "one", &rows[i].second, &why));
        CU_ASSERT_TRUE(loss_read(directory, "one", &loss, &any, &why));
        const struct loss *wanted = &rows[i].wanted;
        check(any && loss.from_ms == wanted->from_ms && loss.until_ms == wanted->until_ms &&
                  loss.identities_kept == wanted->identities_kept && loss.mark_ms == wanted->mark_ms &&
                  strcmp(loss.words, wanted->words) == 0,
              "row %zu: %lld to %lld, kept %d, mark %lld: %s", i, (long long)loss.from_ms, (long long)loss.until_ms,
              loss.identities_kept, (long long)loss.mark_ms, loss.words);
        CU_ASSERT_TRUE(loss_clear(directory, "one", &why));
        CU_ASSERT_TRUE(loss_clear(directory, "one", &why));
        CU_ASSERT_TRUE(loss_read(directory, "one", &loss, &any, &why));
        CU_ASSERT_FALSE(any);
        CU_ASSERT_FALSE(loss_note(directory, "../one", &rows[i].first, &why));
        temporary_remove(directory);
    }
}

/* A file that cannot be understood is no mark, and as a loss it is the whole. */
static void broken_files_claim_nothing(void)
{
    bool any;
    struct loss loss;
    struct error why = {0};
    char directory[PATH_SIZE];
    const struct delivered marks[] = {{"one", 17}, {"two", 18}};
    CU_ASSERT_TRUE_FATAL(temporary_make(directory));
    CU_ASSERT_EQUAL(delivered_mark(directory, "one"), 0);
    CU_ASSERT_TRUE(delivered_write(directory, marks, 2, &why));
    CU_ASSERT_EQUAL(delivered_mark(directory, "one"), 17);
    CU_ASSERT_EQUAL(delivered_mark(directory, "two"), 18);
    CU_ASSERT_EQUAL(delivered_mark(directory, "tw"), 0);
    CU_ASSERT_TRUE(loss_note(directory, "two", &(struct loss){.from_ms = 1, .until_ms = 2}, &why));
    CU_ASSERT_TRUE(loss_read(directory, "two", &loss, &any, &why));
    CU_ASSERT_EQUAL(loss.mark_ms, 18); /* the mark as it stands */
    CU_ASSERT_TRUE(temporary_write(directory, "delivered", 0600, "one = 1x", 8));
    CU_ASSERT_EQUAL(delivered_mark(directory, "one"), 0);
    CU_ASSERT_TRUE(temporary_write(directory, "delivered", 0600, "", 0));
    CU_ASSERT_EQUAL(delivered_mark(directory, "one"), 0);
    CU_ASSERT_TRUE(temporary_write(directory, "loss/two", 0600, "", 0));
    CU_ASSERT_TRUE(loss_read(directory, "two", &loss, &any, &why));
    CU_ASSERT_TRUE(any && loss.from_ms == 0 && !loss.identities_kept && loss.mark_ms == 0);
    temporary_remove(directory);
}

static void dates_are_found_in_bodies(void)
{
    static const struct {
        const char *body, *date;
    } rows[] = {
        {"{\"event\":{\"id\":\"a\",\"date_updated\":\"2026-11-01T10:00:00.5+00:00\"}}", "2026-11-01T10:00:00.5Z"},
        {"{\"event\": {\"data\": {\"date_updated\": \"2020-01-01\"}, \"date_updated\" : \"2026-11-01T10:00:00\"}}",
         "2026-11-01T10:00:00Z"},
        {"{\"event\":{\"text\":\"date_updated\",\"x\":\"\\\"date_updated\\\":\\\"2020-01-01T00:00:00\\\"\"}}", NULL},
        {"{\"event\":{\"date_updated\":null}}", NULL},
        {"{\"date_updated\":\"2026-11-01T10:00:00\"}", NULL},
        {"{\"event\":{\"date_updated\":\"2026-11", NULL},
        {"{\"event\":{\"date_updated\"", NULL},
        {"{\"event\":{\"date_updated\\", NULL},
        {"}}}{{\"", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t length = strlen(rows[i].body);
        char *exactly = malloc(length + 1); /* that a read beyond is seen */
        CU_ASSERT_PTR_NOT_NULL_FATAL(exactly);
        memcpy(exactly, rows[i].body, length);
        int64_t wanted = rows[i].date == NULL ? DATE_UNREADABLE : times_read(rows[i].date, strlen(rows[i].date));
        check(delivered_date_of(exactly, length) == wanted, "row %zu", i);
        free(exactly);
    }
}

/* ---- the claim ---- */

static int64_t ms_of(int hours)
{
    return hours == 0 ? 0 : NOW - hours * HOUR;
}

/* All in hours before now; 0: none. */
static void claims_are_set_back(void)
{
    static const struct {
        const char *what;
        int since, until, from, mark;
        bool kept, fetched;
        int new_since, new_until, floor, again, ahead;
    } rows[] = {
        {"events gone, identities kept", 200, 1, 10, 0, true, true, 200, 83, 0, 0, 0},
        {"the same with a mark, which is not needed", 200, 1, 10, 11, true, true, 200, 83, 0, 0, 0},
        {"all gone, identities kept", 200, 1, 0, 0, true, true, 200, 200, 0, 0, 0},
        {"gone before the claim began", 50, 1, 10, 0, true, true, 50, 50, 0, 83, 0},
        {"longer ago than identities are kept", 2000, 900, 800, 0, true, true, REMEMBERED, REMEMBERED, 0, 0, 0},
        {"identities lost, a mark", 200, 1, 10, 3, false, true, 3, 3, 3, 0, 0},
        {"a mark older than what is gone", 200, 1, 10, 90, false, true, 200, 83, 90, 0, 0},
        {"only identities lost, a mark", 200, 81, 2, 80, false, true, 80, 80, 80, 0, 0},
        {"the same, and the claim reaches beyond it", 200, 1, 2, 80, false, true, 200, 1, 80, 0, 0},
        {"only identities lost, no mark", 200, 81, 2, 0, false, true, 2, 2, 2, 0, 0},
        {"never claimed, a mark", 0, 0, 0, 5, false, true, 5, 5, 5, 0, 0},
        {"never claimed, identities kept", 0, 0, 10, 0, true, true, 0, 0, 0, 0, 0},
        {"neither identities nor mark", 200, 1, 10, 0, false, false, 200, 83, 2, 0, 2},
        {"the same, all gone", 200, 1, 0, 0, false, false, 200, 200, 2, 0, 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct completeness state = {
            .since_ms = ms_of(rows[i].since), .until_ms = ms_of(rows[i].until), .verified_ms = ms_of(rows[i].until)};
        const struct loss loss = {.from_ms = ms_of(rows[i].from),
                                  .until_ms = ms_of(2),
                                  .identities_kept = rows[i].kept,
                                  .mark_ms = ms_of(rows[i].mark)};
        const struct setback_clock clock = {.now_ms = NOW, .remembered_ms = REMEMBERED * HOUR};
        CU_ASSERT_TRUE(setback_apply(&state, &loss, &clock));
        check(setback_is_fetched(&loss) == rows[i].fetched, "%s: fetched by itself or not", rows[i].what);
        check(state.since_ms == ms_of(rows[i].new_since) && state.until_ms == ms_of(rows[i].new_until),
              "%s: complete from %lld until %lld hours before", rows[i].what, (long long)(NOW - state.since_ms) / HOUR,
              (long long)(NOW - state.until_ms) / HOUR);
        check(state.floor_ms == ms_of(rows[i].floor) && state.again_ms == ms_of(rows[i].again) &&
                  state.ahead_ms == ms_of(rows[i].ahead) && state.verified_ms <= state.until_ms,
              "%s: floor %lld, again %lld, ahead %lld", rows[i].what, (long long)state.floor_ms,
              (long long)state.again_ms, (long long)state.ahead_ms);
        const struct completeness before = state;
        CU_ASSERT_FALSE(setback_apply(&state, &loss, &clock)); /* once */
        CU_ASSERT_EQUAL(state.until_ms, before.until_ms);
    }
}

/* A loss is noted by this machine's clock, and the log read by Close's. */
static void clocks_differ(void)
{
    struct completeness state = {.since_ms = ms_of(200), .until_ms = ms_of(1)};
    const struct loss loss = {.from_ms = ms_of(10), .until_ms = ms_of(2)};
    const struct setback_clock clock = {.now_ms = NOW, .ahead_ms = HOUR, .remembered_ms = 999 * HOUR};
    CU_ASSERT_TRUE(setback_apply(&state, &loss, &clock));
    CU_ASSERT_EQUAL(state.until_ms, ms_of(82));
    CU_ASSERT_EQUAL(state.floor_ms, ms_of(1));
}

static void an_operator_names_a_time(void)
{
    static const struct {
        const char *what;
        int since, until, from, new_since, new_until;
    } rows[] = {
        {"within the claim", 200, 100, 150, 200, 150},
        {"before the claim", 200, 100, 250, 250, 250},
        {"behind it: it begins anew", 200, 100, 5, 5, 5},
        {"there was none", 0, 0, 7, 7, 7},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct completeness state = {.since_ms = ms_of(rows[i].since), .until_ms = ms_of(rows[i].until)};
        setback_from(&state, ms_of(rows[i].from));
        check(state.since_ms == ms_of(rows[i].new_since) && state.until_ms == ms_of(rows[i].new_until), "%s",
              rows[i].what);
    }
}

static void the_advice_fits_where_it_is_shown(void)
{
    char words[512], name[80];
    const struct loss loss = {.from_ms = NOW, .until_ms = NOW + HOUR};
    memset(name, 'n', sizeof name);
    name[32] = '\0';
    setback_advise(&loss, name, words, sizeof words);
    check(strlen(words) <= 255 && strstr(words, "--from 2084-01-29T16:00:00Z` fetches") != NULL, "%zu characters: %s",
          strlen(words), words);
}

/* ---- the mark, by a queue's owner ---- */

static void append(struct queue *queue, const char *date)
{
    struct error why = {0};
    char body[200];
    int length = snprintf(body, sizeof body, "{\"event\":{\"id\":\"%s\",\"date_updated\":\"%s\"}}", date, date);
    CU_ASSERT_EQUAL(queue_append(queue, "one", body, (size_t)length, clock_now() + 20000, &why), QUEUE_STORED);
}

static void settle(struct queue *queue, uint64_t id, const char *date)
{
    struct error why = {0};
    const struct verdict verdict = {
        .id = id,
        .kind = VERDICT_DELIVERED,
        .remember = true,
        .identity = {.key = {(unsigned char)id}, .updated_us = times_read(date, strlen(date))}};
    check(queue_settle(queue, "one", &verdict, 1, &why), "settled: %s", why.text);
}

static int64_t ms_in(const char *date)
{
    return times_read(date, strlen(date)) / 1000;
}

static void the_mark_follows_what_is_settled(void)
{
    static char url[] = "http://127.0.0.1:9", path[PATH_SIZE];
    static const char *const dates[] = {"2026-11-01T10:00:00Z", "2026-11-01T10:00:07Z", "2026-11-01T10:00:03Z"};
    static struct made_config made;
    struct error why = {0};
    char directory[PATH_SIZE];
    CU_ASSERT_TRUE_FATAL(temporary_make(directory));
    made_config_init(&made, url, url);
    made.config.queue = QUEUE_SQLITE;
    made.config.queue_max_bytes = (int64_t)1 << 40;
    path_join(path, directory, "state");
    made.config.state_dir = path;
    for (unsigned step = 0; step < 5; step++) {
        struct queue *queue = queue_open(&made.config, &why);
        CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
        CU_ASSERT_TRUE(queue_claim(queue, &why));
        for (unsigned i = 0; step == 0 && i < 3; i++)
            append(queue, dates[i]);
        if (step == 1)
            settle(queue, 1, dates[0]);
        if (step == 2)
            settle(queue, 2, dates[1]); /* the third still waits, and is older */
        if (step == 3)
            settle(queue, 3, dates[2]);
        if (step == 4)
            append(queue, "2026-10-01T10:00:00Z"); /* a backfill */
        queue_close(queue);
        const int64_t wanted[] = {ms_in(dates[0]), ms_in(dates[0]) + 1, ms_in(dates[2]), ms_in(dates[1]) + 1,
                                  ms_in(dates[1]) + 1};
        check(delivered_mark(path, "one") == wanted[step], "step %u: the mark is %lld, not %lld", step,
              (long long)delivered_mark(path, "one"), (long long)wanted[step]);
    }
    CU_ASSERT_EQUAL(delivered_mark(path, "two"), 0);
    temporary_remove(directory);
}

void suite_close_loss(void)
{
    static CU_TestInfo tests[] = {
        {"losses are merged", losses_are_merged},
        {"broken files claim nothing", broken_files_claim_nothing},
        {"dates are found in bodies", dates_are_found_in_bodies},
        {"claims are set back", claims_are_set_back},
        {"clocks differ", clocks_differ},
        {"an operator names a time", an_operator_names_a_time},
        {"the advice fits where it is shown", the_advice_fits_where_it_is_shown},
        {"the mark follows what is settled", the_mark_follows_what_is_settled},
        CU_TEST_INFO_NULL,
    };
    suite_add("close loss", NULL, NULL, tests);
}
