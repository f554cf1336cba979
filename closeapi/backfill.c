/* Backfills: see closeapi.h. The progress of a run stands in a file that is named after a hash of the options, so that
 * a run with the same options goes on there. */
#include "base/clock.h"
#include "base/files.h"
#include "base/text.h"
#include "base/times.h"
#include "closeapi/closeapi.h"
#include "kept/kept.h"
#include "kept/keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECOND_US INT64_C(1000000)
#define BEYOND_US (EVENT_LOG_DAYS * INT64_C(86400) * SECOND_US)
#define CLOCK_OFF_US (INT64_C(86400) * SECOND_US) /* that this machine's clock may differ from Close's */
#define STALE_US (INT64_C(86400) * SECOND_US)
#define NOTE_MS 1000 /* between two writes of the progress file, but for the ends of windows */

struct backfill {
    const struct backfill_order *order;
    struct backfill_report *report;
    char directory[4096];
    struct kept *lock;
    char note[40]; /* name of the progress file */
    char asked[1200];
    struct coverage coverage;
    int64_t noted_us;
    moment noted;
};

/* ---- times ---- */

bool backfill_read_time(const char *text, int64_t now_us, int64_t *us, struct error *why)
{
    if (times_read_point_us(text, now_us, us))
        return true;
    error_set(why, "a time is written like 2026-11-01, 2026-11-01T12:30 (UTC) or 7d, not \"%.60s\"", text);
    return false;
}

static bool backfill_read_times(const struct backfill_order *order, int64_t now_us, int64_t *since_us,
                                int64_t *until_us, struct error *why)
{
    *until_us = now_us;
    return backfill_read_time(order->since, now_us, since_us, why) &&
           (order->until == NULL || backfill_read_time(order->until, now_us, until_us, why));
}

static bool backfill_refuse_times(bool beyond, struct error *why)
{
    error_set(why,
              beyond ? "Close keeps its Event Log for %d days, and all this is older"
                     : "the time that --since names is not before --until (%d days are kept)",
              EVENT_LOG_DAYS);
    return false;
}

bool backfill_check_times(const struct backfill_order *order, int64_t now_us, struct error *why)
{
    int64_t since_us, until_us;
    if (!backfill_read_times(order, now_us, &since_us, &until_us, why))
        return false;
    if (order->until == NULL)
        until_us += CLOCK_OFF_US;
    if (since_us >= until_us || since_us >= now_us + CLOCK_OFF_US)
        return backfill_refuse_times(false, why);
    return until_us > now_us - BEYOND_US - CLOCK_OFF_US || backfill_refuse_times(true, why);
}

/* ---- the progress file ---- */

static const char *text_or_empty(const char *text)
{
    return text == NULL ? "" : text;
}

/* Writes the options as text, and the name of their file. */
static void backfill_name_note(struct backfill *backfill)
{
    const struct backfill_order *order = backfill->order;
    snprintf(backfill->asked, sizeof backfill->asked,
             "since %.60s until %.60s type %.200s action %.200s lead %.200s%s%s", order->since,
             text_or_empty(order->until), text_or_empty(order->filter.object_type), text_or_empty(order->filter.action),
             text_or_empty(order->filter.lead_id), order->all_events ? " all" : "", order->identify ? " identify" : "");
    uint64_t hash = text_hash(TEXT_HASH, backfill->asked, strlen(backfill->asked));
    snprintf(backfill->note, sizeof backfill->note, "backfill-%016llx", (unsigned long long)hash);
}

/* Goes on where an earlier run with the same options stopped, if there was one. */
static void backfill_resume(struct backfill *backfill)
{
    char asked[1200];
    if (backfill->order->again || backfill->order->dry_run)
        return;
    char *text = files_read(backfill->directory, backfill->note, NULL, NULL);
    if (text == NULL)
        return;
    struct backfill_report *report = backfill->report;
    int64_t reached = files_number(text, "reached_us", 0);
    /* "7d" of a run last month is not the range that is meant today ... */
    bool stale = times_read_age(backfill->order->since, &(int64_t){0}) &&
                 files_number(text, "until_us", 0) < report->until_us - STALE_US;
    if (!stale && files_value(text, "asked", asked, sizeof asked) && strcmp(asked, backfill->asked) == 0 &&
        reached > 0) {
        /* ... but that of an hour ago is, though "7d" began earlier then */
        report->until_us = files_number(text, "until_us", report->until_us);
        report->since_us = files_number(text, "since_us", report->since_us);
        report->from_us = reached > report->from_us ? reached : report->from_us;
        report->went_on = true;
    }
    files_free(text);
}

static bool backfill_write_note(struct backfill *backfill, int64_t reached_us, struct error *why)
{
    char text[1500];
    if (backfill->order->dry_run)
        return true;
    snprintf(text, sizeof text, "asked = %s\nsince_us = %lld\nuntil_us = %lld\nreached_us = %lld\n", backfill->asked,
             (long long)backfill->report->since_us, (long long)backfill->report->until_us, (long long)reached_us);
    backfill->noted = clock_now();
    backfill->noted_us = reached_us;
    return kept_put(backfill->lock, backfill->directory, backfill->note, text, why);
}

/* Reports the progress, and writes it down: not too often, but in any case at the end of a window. */
static bool backfill_note_step(struct backfill *backfill, const struct import *import, bool window_ended,
                               struct error *why)
{
    const struct backfill_report *report = backfill->report;
    int64_t reached_us = import_reached(import);
    if (backfill->order->progress != NULL)
        backfill->order->progress(backfill->order->context, import_counted(import), report->from_us, reached_us,
                                  report->until_us);
    if (!window_ended && (reached_us <= backfill->noted_us || clock_now() - backfill->noted < NOTE_MS))
        return true;
    return backfill_write_note(backfill, reached_us, why);
}

/* ---- the run ---- */

/* Computes the time range, by Close's clock. */
static bool backfill_choose_times(struct backfill *backfill, struct close_client *client, struct error *why)
{
    struct backfill_report *report = backfill->report;
    int64_t date_ms = event_log_clock(client, why);
    int64_t now_us = date_ms * 1000 + SECOND_US; /* Date has whole seconds, and this one is not over */
    if (date_ms == 0 || !backfill_read_times(backfill->order, now_us, &report->since_us, &report->until_us, why))
        return false;
    if (report->until_us > now_us)
        report->until_us = now_us;
    report->from_us = report->since_us;
    backfill_resume(backfill);
    report->beyond = report->from_us < now_us - BEYOND_US;
    if (report->beyond)
        report->from_us = now_us - BEYOND_US;
    if (report->from_us < report->until_us || report->went_on)
        return true;
    return backfill_refuse_times(report->beyond, why);
}

static enum import_result backfill_import(struct backfill *backfill, struct import_order *order, struct error *why)
{
    enum import_result result;
    order->from_us = backfill->report->from_us;
    order->to_us = backfill->report->until_us;
    struct import *import = import_new(order, backfill->directory, why);
    if (import == NULL)
        return IMPORT_FAILED;
    do {
        result = import_next(import, why);
        if ((result == IMPORT_STEP || result == IMPORT_WINDOW) &&
            !backfill_note_step(backfill, import, result == IMPORT_WINDOW, why))
            result = IMPORT_FAILED;
    } while (result == IMPORT_STEP || result == IMPORT_WINDOW);
    backfill->report->counts = *import_counted(import);
    import_free(import);
    if (result == IMPORT_DONE && !backfill->order->dry_run &&
        !kept_remove(backfill->lock, backfill->directory, backfill->note, why))
        result = IMPORT_FAILED;
    return result;
}

static enum import_result backfill_with_subscriptions(struct backfill *backfill, struct import_order *order,
                                                      struct error *why)
{
    struct subscriptions list;
    struct keyring held;
    enum close_result listed = subscriptions_list(order->client, &list, why);
    if (listed != CLOSE_DONE)
        return listed == CLOSE_STOPPED ? IMPORT_STOPPED : IMPORT_FAILED;
    enum import_result result = IMPORT_FAILED;
    if (kept_keys_read(order->config, &held, why)) {
        /* with all_events there need be no subscription; events that one covers still get its id */
        bool found = coverage_find(&backfill->coverage, &list, order->source, order->config->sources, &held, why);
        if (found || order->all_events) {
            order->coverage = &backfill->coverage;
            result = backfill_import(backfill, order, why);
        } else {
            struct error none = *why;
            error_set(why, "%.480s, or say --all-events", none.text);
        }
        keyring_free(&held);
    }
    subscriptions_free(&list);
    return result;
}

static enum import_result backfill_run_locked(struct backfill *backfill, struct import_order *order, struct error *why)
{
    const struct close_options options = {.patience_ms = backfill->order->patience_ms,
                                          .stop_fd = backfill->order->stop_fd,
                                          .waits = backfill->order->waits,
                                          .context = backfill->order->context};
    order->client = close_client_new(order->config, order->source, &options, why);
    if (order->client == NULL)
        return IMPORT_FAILED;
    enum import_result result = IMPORT_FAILED;
    backfill_name_note(backfill);
    if (backfill_choose_times(backfill, order->client, why))
        result = backfill_with_subscriptions(backfill, order, why);
    backfill->report->requests = close_client_requests(order->client);
    close_client_free(order->client);
    return result;
}

enum import_result backfill_run(const struct config *config, const struct source *source, struct queue *queue,
                                const struct backfill_order *order, struct backfill_report *report, struct error *why)
{
    struct backfill backfill = {.order = order, .report = report, .noted = clock_now()};
    struct import_order import = {
        .config = config,
        .source = source,
        .queue = queue,
        .filter = order->filter,
        .all_events = order->all_events,
        .dry_run = order->dry_run,
        .identify = order->identify,
        .stop_fd = order->stop_fd,
    };
    *report = (struct backfill_report){0};
    if (!closeapi_directory(config, source, backfill.directory, why))
        return IMPORT_FAILED;
    backfill.lock = closeapi_lock(config, backfill.directory, "backfill.lock", 0, why);
    if (backfill.lock == NULL)
        return IMPORT_FAILED;
    enum import_result result = backfill_run_locked(&backfill, &import, why);
    kept_close(backfill.lock);
    return result;
}
