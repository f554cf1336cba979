/* What is wrong, judged once: see findings.h. Each judge looks at the facts, and writes the sentence of what it finds;
 * what else there is to say of it stands in the table behind them. */
#include "health/findings.h"
#include "health/findings_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "webhook/webhook.h"

#define MINUTE_MS INT64_C(60000)
#define MIB INT64_C(1048576)

/* ---- the queue, and the room for it ---- */

static enum finding_outcome judge_queue_broken(const struct judged *judged)
{
    const struct facts *facts = judged->facts;
    if (facts->queue_works)
        return FINDING_ABSENT;
    return judged_found(judged, "the queue cannot be used: %.1000s",
                        facts->queue_why.text[0] == '\0' ? "it is being opened" : facts->queue_why.text);
}

/* For some seconds. */
static enum finding_outcome judge_queue_replaced(const struct judged *judged)
{
    if (judged->facts->replaced.text[0] == '\0')
        return FINDING_ABSENT;
    return judged_found(judged, "events are answered 503, and Close sends them again: %.440s",
                        judged->facts->replaced.text);
}

static enum finding_outcome judge_unsettled(const struct judged *judged)
{
    const struct facts *facts = judged->facts;
    if (facts->unsettled.text[0] == '\0' || judged->source->counts.waiting == 0)
        return FINDING_ABSENT;
    return judged_found(judged, "nothing is forwarded, for it could not be noted as delivered: %.400s",
                        facts->unsettled.text);
}

static enum finding_outcome judge_no_room(const struct judged *judged)
{
    const struct facts *facts = judged->facts;
    const char *why = facts->no_room.text[0] != '\0' ? facts->no_room.text : facts->disk_full.text;
    /* A full file system is a guess: the queue's own files may have room inside. */
    bool accepts = facts->no_room.text[0] == '\0' && facts->now_ms - facts->all.last_accepted_ms < judged->threshold;
    if (why[0] == '\0' || accepts)
        return FINDING_ABSENT;
    return judged_found(judged, "nothing new is accepted, and Close keeps its events meanwhile, for 72 hours: %.1000s",
                        why);
}

/* An event was refused lately, for the queue was full, and none was accepted since. */
static enum finding_outcome judge_queue_full(const struct judged *judged)
{
    char room[ROOM_SIZE], span[SPAN_SIZE];
    const struct facts *facts = judged->facts;
    int64_t full_ms = judged->source->tally.refused_last_ms[REFUSED_QUEUE_FULL];
    if (full_ms == 0 || full_ms <= judged->source->counts.last_accepted_ms ||
        facts->now_ms - full_ms >= judged->threshold)
        return FINDING_ABSENT;
    if (facts_counted_bytes(facts) >= (uint64_t)facts->config->queue_max_bytes)
        return judged_found(judged,
                            "the queue is full (%s): nothing is accepted, and Close keeps its events meanwhile; raise "
                            "queue_max_bytes, or see why events wait: `closecrm.fcgi queue status`",
                            facts_room(facts, room));
    return judged_found(
        judged,
        "%s ago an event was refused for want of room, and none was accepted since; Close keeps it, and the "
        "log says why (msg=refused)",
        facts_span(facts->now_ms - full_ms, span));
}

static enum finding_outcome judge_queue_nearly_full(const struct judged *judged)
{
    char room[ROOM_SIZE];
    const struct facts *facts = judged->facts;
    if (facts_counted_bytes(facts) <= (uint64_t)(facts->config->queue_max_bytes / 100 * judged->threshold))
        return FINDING_ABSENT;
    return judged_found(judged, "the queue is nearly full: %s, of %lld MiB", facts_room(facts, room),
                        (long long)(facts->config->queue_max_bytes / MIB));
}

static enum finding_outcome judge_disk_nearly_full(const struct judged *judged)
{
    uint64_t left = judged->facts->disk_free;
    if (left == UINT64_MAX || left >= (uint64_t)judged->threshold)
        return left == UINT64_MAX ? FINDING_UNKNOWN : FINDING_ABSENT;
    return judged_found(judged, "the disk of the queue is nearly full (%llu MiB are left)",
                        (unsigned long long)(left >> 20));
}

/* ---- what comes in ---- */

static enum finding_outcome judge_source_locked(const struct judged *judged)
{
    if (judged->source->signature != SIGNED_LOST)
        return FINDING_ABSENT;
    return judged_found(judged, "nothing is let in, and Close keeps its events meanwhile, for 72 hours: %.440s",
                        judged->source->keys.text);
}

static enum finding_outcome judge_key_missing(const struct judged *judged)
{
    if (judged->source->signature != SIGNED_PART)
        return FINDING_ABSENT;
    return judged_found(judged, "%.511s", judged->source->keys.text);
}

static enum finding_outcome judge_subscription_paused(const struct judged *judged)
{
    if (!judged->source->close.paused)
        return FINDING_ABSENT;
    return judged_found(judged,
                        "Close has paused the subscription, and sends nothing until it is activated again: %.420s",
                        judged->source->close.trouble);
}

/* Before anything was accepted, it is silent as long as this process has looked. */
static enum finding_outcome judge_silence(const struct judged *judged)
{
    char span[SPAN_SIZE];
    int64_t limit_ms = judged->facts->config->alert_silence_ms, last_ms = judged->source->counts.last_accepted_ms;
    int64_t since_ms = last_ms > 0 ? last_ms : judged->facts->watching_since_ms;
    int64_t silent_ms = judged->facts->now_ms - since_ms;
    if (limit_ms == 0)
        return FINDING_ABSENT;
    if (since_ms > 0 && silent_ms > limit_ms)
        return judged_found(judged, "nothing was accepted for %s", facts_span(silent_ms, span));
    return last_ms == 0 ? FINDING_UNKNOWN : FINDING_ABSENT;
}

/* ---- what Close has ---- */

static enum finding_outcome judge_events_lost(const struct judged *judged)
{
    if (!judged->source->close.lost)
        return FINDING_ABSENT;
    return judged_found(judged, "%.511s", judged->source->close.trouble);
}

static enum finding_outcome judge_close_unreadable(const struct judged *judged)
{
    if (judged->source->close_why.text[0] == '\0')
        return FINDING_ABSENT;
    return judged_found(judged, "what is known of Close's Event Log cannot be read: %.400s",
                        judged->source->close_why.text);
}

static enum finding_outcome judge_close_trouble(const struct judged *judged)
{
    if (judged->source->close.trouble[0] == '\0')
        return FINDING_ABSENT;
    return judged_found(judged, "look at Close: %.511s", judged->source->close.trouble);
}

static enum finding_outcome judge_event_types_lacking(const struct judged *judged)
{
    const char *lacks = judged->source->close.lacks;
    if (lacks[0] == '\0')
        return FINDING_ABSENT;
    return judged_found(
        judged, "Close has events of types that the subscription lacks, so that they do not come: %.440s", lacks);
}

static enum finding_outcome judge_left_over(const struct judged *judged)
{
    const struct facts *facts = judged->facts;
    if (facts->left_over[0] == '\0')
        return FINDING_ABSENT;
    return judged_found(
        judged,
        "source %s is not in the configuration any more, and it is kept how far Close's Event Log was read for "
        "it: until that is settled, a new source is not reconciled by itself",
        facts->left_over);
}

static enum finding_outcome judge_backup_unfinished(const struct judged *judged)
{
    const char *part = judged->facts->backup;
    return part[0] == '\0' ? FINDING_ABSENT
                           : judged_found(judged, "a backup was killed, and has left %.400s unfinished", part);
}

/* ---- delivery ---- */

/* The queue `none` keeps no notes: there the last answer tells. */
static enum finding_outcome judge_data_plane_refuses(const struct judged *judged)
{
    const struct source_facts *source = judged->source;
    uint64_t waiting = source->counts.waiting;
    int status = source->tally.answered_last_status;
    if (!judged->facts->is_durable) {
        if (!source->tally.answered_last_refused)
            return FINDING_ABSENT;
        return judged_found(
            judged,
            "the data plane refuses what is sent: it answered %d%s; Close keeps the events and sends them "
            "again",
            status, status == 200 ? ", but not \"ok\"" : "");
    }
    if (!source->notes.operator_must_act || waiting == 0 || source->takes_key)
        return FINDING_ABSENT;
    return judged_found(judged, "%llu event%s wait%s until you act, for the data plane refuses what is sent: %.255s",
                        (unsigned long long)waiting, text_plural(waiting), text_singular(waiting),
                        source->notes.reason);
}

static enum finding_outcome judge_data_plane_away(const struct judged *judged)
{
    char span[SPAN_SIZE];
    const struct notes *notes = &judged->source->notes;
    bool is_dated = notes->since_ms > 0;
    if (notes->tries == 0 || judged->source->counts.waiting == 0)
        return FINDING_ABSENT;
    return judged_found(
        judged,
        "the data plane takes nothing: %u attempt%s failed%s%s, and it is tried again by itself; the last: "
        "%.255s",
        (unsigned)notes->tries, text_plural(notes->tries), is_dated ? " within " : "",
        is_dated ? facts_span(judged->facts->now_ms - notes->since_ms, span) : "", notes->reason);
}

/* What is due, and was not tried for so long; nobody would forward what waits for no source. */
static enum finding_outcome judge_nothing_forwards(const struct judged *judged)
{
    char span[SPAN_SIZE];
    const struct source_facts *source = judged->source;
    int64_t due_ms = source->counts.oldest_received_ms;
    if (source->notes.next_ms > due_ms)
        due_ms = source->notes.next_ms;
    if (source->source == NULL || judged->facts->is_owned || source->counts.waiting == 0 ||
        judged->facts->now_ms - due_ms <= judged->threshold)
        return FINDING_ABSENT;
    return judged_found(judged, "events wait and nothing forwards them, the oldest for %s",
                        facts_span(source->oldest_seconds * 1000, span));
}

static enum finding_outcome judge_not_forwarded_now(const struct judged *judged)
{
    if (judged->source->source == NULL || judged->facts->is_owned || judged->source->counts.waiting == 0)
        return FINDING_ABSENT;
    return judged_found(judged, "what waits is not forwarded now");
}

static enum finding_outcome judge_events_of_no_source(const struct judged *judged)
{
    uint64_t waiting = judged->source->counts.waiting;
    if (judged->source->source != NULL || waiting == 0)
        return FINDING_ABSENT;
    return judged_found(judged, "%llu event%s wait%s for a source that is not in the configuration",
                        (unsigned long long)waiting, text_plural(waiting), text_singular(waiting));
}

static enum finding_outcome judge_state_dir_shared(const struct judged *judged)
{
    if (judged->facts->other[0] == '\0')
        return FINDING_ABSENT;
    return judged_found(judged,
                        "the configuration %.300s uses this state directory, too: what waits goes to the data plane of "
                        "the one whose process forwards",
                        judged->facts->other);
}

static enum finding_outcome judge_events_wait(const struct judged *judged)
{
    char span[SPAN_SIZE];
    const struct source_facts *source = judged->source;
    uint64_t waiting = source->counts.waiting;
    if (source->oldest_seconds * 1000 <= judged->facts->config->alert_waiting_ms)
        return FINDING_ABSENT;
    /* without a reason, who could say more */
    bool why = source->notes.reason[0] != '\0', by = !why && judged->facts->is_durable && judged->facts->is_owned;
    return judged_found(judged, "%llu event%s wait%s, the oldest for %s%s%.255s", (unsigned long long)waiting,
                        text_plural(waiting), text_singular(waiting), facts_span(source->oldest_seconds * 1000, span),
                        why  ? ": "
                        : by ? "; it is forwarded by "
                             : "",
                        by ? judged->facts->owner.text : source->notes.reason);
}

static enum finding_outcome judge_cron_missing(const struct judged *judged)
{
    char span[SPAN_SIZE];
    const struct facts *facts = judged->facts;
    bool never = facts->cron_ms == 0; /* then it is as old as can be */
    if (facts->launcher == NULL || !facts->is_durable || facts->now_ms - facts->cron_ms <= judged->threshold)
        return FINDING_ABSENT;
    return judged_found(judged, "cron has %s%s: events that could not be delivered at once wait for it",
                        never ? "never been here" : "not been here for ",
                        never ? "" : facts_span(facts->now_ms - facts->cron_ms, span));
}

static enum finding_outcome judge_cron_overdue(const struct judged *judged)
{
    char span[SPAN_SIZE];
    if (judged->facts->cron_ms == 0)
        return FINDING_UNKNOWN;
    if (judged->facts->now_ms - judged->facts->cron_ms <= judged->threshold)
        return FINDING_ABSENT;
    return judged_found(judged, "cron has not run for %s: its crontab line is gone or fails",
                        facts_span(judged->facts->now_ms - judged->facts->cron_ms, span));
}

/* ---- the table ---- */

#define EVERYWHERE (VIEW_PAGE | VIEW_CHECK | VIEW_CRON)
#define PAGE_CHECK (VIEW_PAGE | VIEW_CHECK)

/* The worst come first, as in enum finding_id. In remedies and commands @ stands for the name of the source. */
static const struct kind {
    const char *name;
    enum severity severity;
    bool of_source;
    enum finding_topic topic;
    unsigned views;
    enum finding_outcome (*judge)(const struct judged *);
    int64_t threshold; /* in milliseconds, bytes or percent; 0: it has none, or the configuration has it */
    const char *remedy;
    const char *command;
} kinds[FINDINGS] = {
    {"queue_broken", SEVERITY_BAD, false, TOPIC_OWN, EVERYWHERE, judge_queue_broken, 0, "", ""},
    {"queue_partly_broken", SEVERITY_BAD, false, TOPIC_OWN, EVERYWHERE, judge_queue_partly_broken, 0,
     "its events are answered 503, and Close sends them again for 72 hours", ""},
    {"queue_replaced", SEVERITY_BAD, false, TOPIC_OWN, EVERYWHERE, judge_queue_replaced, 0,
     "stop the program before you remove, restore or move files of its state directory", ""},
    {"unsettled", SEVERITY_BAD, true, TOPIC_DELIVERY, EVERYWHERE, judge_unsettled, 0, "", ""},
    {"no_room", SEVERITY_BAD, false, TOPIC_ROOM, EVERYWHERE, judge_no_room, 60 * MINUTE_MS, "", ""},
    {"queue_full", SEVERITY_BAD, true, TOPIC_ROOM, EVERYWHERE, judge_queue_full, 10 * MINUTE_MS, "", ""},
    {"disk_nearly_full", SEVERITY_BAD, false, TOPIC_ROOM, EVERYWHERE, judge_disk_nearly_full, 64 * MIB,
     "make room; once it is full, new events are refused, and Close sends them again for 72 hours", ""},
    {"source_locked", SEVERITY_BAD, true, TOPIC_OWN, EVERYWHERE | VIEW_OFFLINE, judge_source_locked, 0, "", ""},
    {"key_missing", SEVERITY_BAD, true, TOPIC_OWN, EVERYWHERE | VIEW_OFFLINE, judge_key_missing, 0, "", ""},
    {"data_plane_refuses", SEVERITY_BAD, true, TOPIC_DELIVERY, EVERYWHERE | VIEW_QUEUE_STATUS, judge_data_plane_refuses,
     0,
     "mend write_key, data_plane_url or the data plane; it is tried again every 5 minutes (with queue = none every 5 "
     "seconds), once a changed configuration is taken on, and when this finds it mended",
     "closecrm.fcgi check"},
    /* Of what Close says, cron tells where it asks: when it reconciles. */
    {"subscription_paused", SEVERITY_BAD, true, TOPIC_CLOSE, PAGE_CHECK, judge_subscription_paused, 0, "", ""},
    {"events_lost", SEVERITY_BAD, true, TOPIC_CLOSE, PAGE_CHECK, judge_events_lost, 0, "", ""},
    {"close_unreadable", SEVERITY_BAD, true, TOPIC_CLOSE, PAGE_CHECK, judge_close_unreadable, 0, "", ""},
    {"state_dir_left", SEVERITY_BAD, false, TOPIC_OWN, EVERYWHERE | VIEW_OFFLINE | VIEW_QUEUE_STATUS,
     judge_state_dir_left, 0,
     "set state_dir = @ again until nothing is left there (to move a state directory: stop the program, move the "
     "directory, then change the key), or deliver from there what waits (dead letters before: "
     "`CLOSECRM_STATE_DIR='@' closecrm.fcgi dead replay --all`)",
     "CLOSECRM_STATE_DIR='@' closecrm.fcgi forward"},
    {"queue_not_used", SEVERITY_BAD, false, TOPIC_OWN, EVERYWHERE | VIEW_OFFLINE | VIEW_QUEUE_STATUS,
     judge_queue_not_used, 0, "@", ""},
    {"events_of_no_source", SEVERITY_BAD, true, TOPIC_DELIVERY, EVERYWHERE | VIEW_QUEUE_STATUS,
     judge_events_of_no_source, 0, "configure it again, or give what waits to another source",
     "closecrm.fcgi queue move @ NEW"},
    /* cron forwards itself: it has no need to say that nothing does. It comes every minute, and may come late once. */
    {"nothing_forwards", SEVERITY_BAD, true, TOPIC_DELIVERY, PAGE_CHECK | VIEW_QUEUE_STATUS, judge_nothing_forwards,
     3 * MINUTE_MS,
     "start the program (the web server does at the next event), or let the crontab of its user run every minute",
     "closecrm.fcgi cron"},
    /* Only where cron must run; the longest that hosts allow is 5 or 15 minutes. */
    {"cron_missing", SEVERITY_BAD, false, TOPIC_CRON, PAGE_CHECK, judge_cron_missing, 15 * MINUTE_MS,
     "add this line to the crontab (control panel: Cron jobs)", "@"},
    /* `check` has just found out: what it was before is over, and what waits is about to be sent. */
    {"data_plane_mended", SEVERITY_GOOD, true, TOPIC_DELIVERY, VIEW_CHECK, judge_data_plane_mended, 0, "", ""},
    /* Nothing fails yet from here on. cron mails what lasts for days once a day. */
    {"queue_nearly_full", SEVERITY_WORRY, false, TOPIC_ROOM, PAGE_CHECK | VIEW_CRON_DAILY, judge_queue_nearly_full, 80,
     "raise queue_max_bytes, or see why events wait", "closecrm.fcgi queue status"},
    {"queue_setup", SEVERITY_WORRY, false, TOPIC_ROOM, PAGE_CHECK, judge_queue_setup, 0, "", ""},
    {"machines_differ", SEVERITY_WORRY, false, TOPIC_OWN, VIEW_CHECK, judge_machines_differ, 0, "make them alike", ""},
    {"state_dir_shared", SEVERITY_WORRY, false, TOPIC_OWN, PAGE_CHECK | VIEW_CRON_DAILY | VIEW_QUEUE_STATUS,
     judge_state_dir_shared, 0, "give each configuration a state_dir of its own", ""},
    {"database_not_used", SEVERITY_WORRY, false, TOPIC_OWN, EVERYWHERE | VIEW_OFFLINE | VIEW_QUEUE_STATUS,
     judge_database_not_used, 0,
     "set queue and queue_url as they were, or, with queue = sqlite, stop the program on all machines and bring it "
     "here: "
     "`closecrm.fcgi queue migrate --to sqlite` (queue_url must be set); where other machines forward it, or it is "
     "given up",
     "closecrm.fcgi queue adopt"},
    {"data_plane_away", SEVERITY_WORRY, true, TOPIC_DELIVERY, PAGE_CHECK, judge_data_plane_away, 0, "", ""},
    {"events_wait", SEVERITY_WORRY, true, TOPIC_DELIVERY, PAGE_CHECK | VIEW_CRON, judge_events_wait, 0, "", ""},
    {"cron_overdue", SEVERITY_WORRY, false, TOPIC_CRON, PAGE_CHECK, judge_cron_overdue, 15 * MINUTE_MS, "", ""},
    {"close_trouble", SEVERITY_WORRY, true, TOPIC_CLOSE, PAGE_CHECK, judge_close_trouble, 0, "", ""},
    {"dead_letters_end", SEVERITY_WORRY, true, TOPIC_OWN, PAGE_CHECK | VIEW_CRON_DAILY, judge_dead_letters_end, 0,
     "replay them, or keep a copy", "closecrm.fcgi backup FILE"},
    {"letters_of_no_source", SEVERITY_WORRY, true, TOPIC_OWN, PAGE_CHECK | VIEW_QUEUE_STATUS,
     judge_letters_of_no_source, 0, "configure it again and replay them, or give them to another source",
     "closecrm.fcgi queue move @ NEW && closecrm.fcgi dead replay --source NEW"},
    {"dead_letters", SEVERITY_WORRY, true, TOPIC_OWN, PAGE_CHECK, judge_dead_letters, 0,
     "see why, mend that, and replay them", "closecrm.fcgi dead list --source @"},
    /* cron alone remembers which ones it has mailed. */
    {"dead_letters_new", SEVERITY_WORRY, false, TOPIC_OWN, VIEW_CRON, judge_dead_letters_new, 0, "see them",
     "closecrm.fcgi dead list"},
    {"dead_letters_large", SEVERITY_WORRY, false, TOPIC_OWN, PAGE_CHECK, judge_dead_letters_large, 0,
     "see which nobody needs, and drop these", "closecrm.fcgi dead list"},
    {"silence", SEVERITY_WORRY, true, TOPIC_OWN, PAGE_CHECK, judge_silence, 0, "", ""},
    {"machine_unread", SEVERITY_WORRY, false, TOPIC_OWN, PAGE_CHECK, judge_machine_unread, 0,
     "install the same release on all machines", ""},
    /* Where cron alone hears them it may be as old as its interval; without the database it stays as it was. */
    {"machines_unheard", SEVERITY_WORRY, false, TOPIC_OWN, PAGE_CHECK, judge_machines_unheard, 10 * MINUTE_MS, "", ""},
    {"left_over", SEVERITY_BAD, false, TOPIC_OWN, EVERYWHERE | VIEW_OFFLINE, judge_left_over, 0,
     "if it was renamed, closecrm.fcgi queue move @ NEW; if it is gone", "rm -r '$/closeapi/@'"},
    {"backup_unfinished", SEVERITY_WORRY, false, TOPIC_OWN, EVERYWHERE, judge_backup_unfinished, 0,
     "make it again, which removes that file, or remove it", "rm -f '@' '@-journal'"},
    /* A moment after the program was stopped nothing is late yet. */
    {"not_forwarded_now", SEVERITY_GOOD, true, TOPIC_DELIVERY, VIEW_CHECK | VIEW_QUEUE_STATUS, judge_not_forwarded_now,
     0, "start the program, or let the crontab of its user run every minute", "closecrm.fcgi cron"},
    {"event_types_lacking", SEVERITY_GOOD, true, TOPIC_OWN, PAGE_CHECK, judge_event_types_lacking, 0,
     "if you want them", "closecrm.fcgi subscribe --update --source @"},
};

const char *finding_name(enum finding_id id)
{
    return kinds[id].name;
}

static void complete_finding(struct finding *finding, enum finding_id id, const struct facts *facts,
                             const struct source_facts *source)
{
    const struct kind *kind = &kinds[id];
    const char *name = facts->crontab; /* where there is an @ */
    if (id == FINDING_LEFT_OVER)
        name = facts->left_over;
    else if (id == FINDING_BACKUP_UNFINISHED)
        name = facts->backup;
    else if (id == FINDING_STATE_DIR_LEFT)
        name = facts->elsewhere.directory;
    else if (id == FINDING_QUEUE_NOT_USED)
        name = facts->behind.why.text[0] != '\0' ? "see to that first"
               : facts->config->queue == QUEUE_NONE
                   ? "set queue = sqlite until nothing is left there, which `closecrm.fcgi queue status` shows"
                   : "stop the program, then `closecrm.fcgi queue migrate --to postgresql`";
    finding->id = id;
    finding->severity = kind->severity;
    finding->topic = kind->topic;
    finding->views = kind->views;
    finding->source = kind->of_source ? source : NULL;
    if (finding->source != NULL)
        name = source->name;
    const char *state_dir = facts->config->state_dir;
    finding_text_put_name(finding->sentence, sizeof finding->sentence);
    finding_text_expand(kind->remedy, name, state_dir, finding->remedy, sizeof finding->remedy);
    finding_text_expand(kind->command, name, state_dir, finding->command, sizeof finding->command);
}

/* While the queue, or a source's own, does not work nothing is known of what is in it. */
static bool lacks_queue(enum finding_id id, const struct facts *facts, const struct source_facts *source)
{
    bool away = !facts->queue_works || (source != NULL && source->away.text[0] != '\0');
    return away && kinds[id].of_source && id != FINDING_SOURCE_LOCKED && id != FINDING_KEY_MISSING;
}

enum finding_outcome finding_judge(enum finding_id id, const struct facts *facts, const struct source_facts *source,
                                   struct finding *out)
{
    struct finding unread;
    const struct judged judged = {facts, source, kinds[id].threshold, out == NULL ? &unread : out};
    if (lacks_queue(id, facts, source))
        return FINDING_UNKNOWN;
    enum finding_outcome outcome = kinds[id].judge(&judged);
    if (outcome == FINDING_FOUND && out != NULL)
        complete_finding(out, id, facts, source);
    return outcome;
}

static bool add_finding(struct facts *facts, enum finding_id id, const struct source_facts *source)
{
    struct finding *more = realloc(facts->found, (facts->found_count + 1) * sizeof *more);
    if (more == NULL)
        return false;
    facts->found = more;
    memset(&more[facts->found_count], 0, sizeof *more);
    if (finding_judge(id, facts, source, &more[facts->found_count]) == FINDING_FOUND)
        facts->found_count++;
    return true;
}

bool findings_judge(struct facts *facts)
{
    bool good = true;
    facts->found_count = 0;
    for (enum finding_id id = 0; id < FINDINGS; id++) {
        if (!kinds[id].of_source)
            good = good && add_finding(facts, id, NULL);
        for (size_t i = 0; kinds[id].of_source && i < facts->sources; i++)
            good = good && add_finding(facts, id, &facts->source[i]);
    }
    return good;
}
