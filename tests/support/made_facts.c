/* Made facts and situations: see made_facts.h. */
#include "tests/support/made_facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/suites.h"
#include "webhook/webhook.h"

#define NOW MADE_FACTS_NOW

void made_facts_well(struct made_facts *made)
{
    static char url[] = "http://127.0.0.1:9", state_dir[] = "/var/lib/closecrm";
    made_config_init(&made->configured, url, url);
    made->configured.config.queue = QUEUE_SQLITE;
    made->configured.config.queue_max_bytes = 100 << 20;
    made->configured.config.alert_waiting_ms = 600000;
    made->configured.config.alert_silence_ms = 3600000;
    made->configured.config.state_dir = state_dir;
    memset(&made->one, 0, sizeof made->one);
    made->one.source = &made->configured.source[0];
    memcpy(made->one.name, "one", 4);
    made->one.counts = (struct counts){
        .accepted = 5, .delivered = 5, .last_accepted_ms = NOW - 60000, .last_delivered_ms = NOW - 60000};
    free(made->facts.found);
    made->facts = (struct facts){.config = &made->configured.config,
                                 .now_ms = NOW,
                                 .queue_works = true,
                                 .is_durable = true,
                                 .is_owned = true,
                                 .owner = {.text = "process 4711 on web1"},
                                 .watching_since_ms = NOW - 60000,
                                 .disk_free = UINT64_MAX,
                                 .source = &made->one,
                                 .sources = 1};
}

static void be_refused(struct made_facts *made)
{
    made->one.notes.operator_must_act = true;
    memcpy(made->one.notes.reason, "it answered 401", 16);
    made->one.counts.waiting = 1;
}

static void fail(struct made_facts *made)
{
    made->one.notes.tries = 3;
    made->one.notes.since_ms = NOW - 7200000;
    memcpy(made->one.notes.reason, "no answer", 10);
    made->one.counts.waiting = 1;
}

static void wait_long(struct made_facts *made)
{
    made->one.counts.waiting = 2;
    made->one.counts.oldest_received_ms = NOW - 700000;
    made->one.oldest_seconds = 700;
}

static void wait_very_long(struct made_facts *made)
{
    wait_long(made);
    made->one.oldest_seconds = 2 * 3600;
}

static void nobody_forwards(struct made_facts *made)
{
    wait_long(made);
    made->facts.is_owned = false;
    error_set(&made->facts.owner, "none since then");
}

static void lose_key(struct made_facts *made)
{
    made->one.signature = SIGNED_LOST;
    error_set(&made->one.keys, "the key of whsub_1 is not held");
}

static void pause_subscription(struct made_facts *made)
{
    made->one.close.paused = true;
    memcpy(made->one.close.trouble, "permission_revoked", 19);
}

static void refuse_for_want_of_room(struct made_facts *made)
{
    made->one.tally.refused_last_ms[REFUSED_QUEUE_FULL] = NOW - 1000;
}

static void have_no_room(struct made_facts *made)
{
    error_set(&made->facts.no_room, "the disk is full: make room on the disk");
}

/* The file system's figures say so, and nothing came since. */
static void have_a_full_disk(struct made_facts *made)
{
    error_set(&made->facts.disk_full, "the disk is full: make room on the disk");
    made->facts.all.last_accepted_ms = NOW - 2 * 60 * 60000;
}

/* It is full of the queue's own files, which have room. */
static void accept_on_a_full_disk(struct made_facts *made)
{
    have_a_full_disk(made);
    made->facts.all.last_accepted_ms = NOW - 60000;
}

static void replace_files(struct made_facts *made)
{
    error_set(&made->facts.replaced, "files were removed, and what they held is being brought over");
}

static void be_unsettled(struct made_facts *made)
{
    made->one.counts.waiting = 1;
    error_set(&made->facts.unsettled, "the disk is full: make room on the disk");
}

static void fill_queue(struct made_facts *made)
{
    made->facts.room = (struct queue_room){.used = (uint64_t)made->configured.config.queue_max_bytes, .share = 1 << 18};
    made->one.tally.refused_last_ms[REFUSED_QUEUE_FULL] = NOW - 1000;
}

static void have_no_standby(struct made_facts *made)
{
    error_set(&made->facts.setup.worry, "no standby is there that commits wait for");
}

static void have_another_configuration(struct made_facts *made)
{
    error_set(&made->facts.configs, "machine web2 has another configuration than this one: one: keep");
}

static void nearly_fill_queue(struct made_facts *made)
{
    made->facts.room =
        (struct queue_room){.used = (uint64_t)made->configured.config.queue_max_bytes / 10 * 9, .share = 1 << 18};
}

static void have_many_letters(struct made_facts *made)
{
    made->facts.room = (struct queue_room){.used = 9 << 20, .letters = (9 << 20) - 4096, .share = 1 << 18};
}

static void have_letters_that_end(struct made_facts *made)
{
    made->one.counts.ending = 2;
    made->one.counts.ending_ms = NOW + 86400000;
}

static void break_queue(struct made_facts *made)
{
    made->facts.queue_works = false;
    error_set(&made->facts.queue_why, "it is gone");
}

static void break_part_of_queue(struct made_facts *made)
{
    error_set(&made->one.away, "the database does not answer within 3 s");
}

static void forget_cron(struct made_facts *made)
{
    made->facts.cron_ms = NOW - 3600000;
}

static void keep_letters(struct made_facts *made)
{
    made->one.counts.dead = 2;
}

static void be_silent(struct made_facts *made)
{
    made->one.counts.last_accepted_ms = made->one.counts.last_delivered_ms = NOW - 7200000;
}

static void fill_disk(struct made_facts *made)
{
    made->facts.disk_free = 10 << 20;
}

static void be_complete(struct made_facts *made)
{
    made->one.close.until_ms = NOW - 60000;
}

static void be_new(struct made_facts *made)
{
    made->one.counts = (struct counts){0};
}

static void nothing(struct made_facts *made)
{
    (void)made;
}

static void lose_one_key(struct made_facts *made)
{
    made->one.signature = SIGNED_PART;
    error_set(&made->one.keys, "the key of whsub_2 is not held");
}

static void be_found_mended(struct made_facts *made)
{
    be_refused(made);
    made->one.takes_key = true;
}

static void be_refused_without_queue(struct made_facts *made)
{
    made->facts.is_durable = false;
    made->one.tally.answered_last_ms = NOW - 1000;
    made->one.tally.answered_last_status = 403;
    made->one.tally.answered_last_refused = true;
}

static void be_answered_otherwise_without_queue(struct made_facts *made)
{
    be_refused_without_queue(made);
    made->one.tally.answered_last_status = 200;
}

static void lose_events(struct made_facts *made)
{
    made->one.close.lost = true;
    snprintf(made->one.close.trouble, sizeof made->one.close.trouble, "%s",
             "the queue was damaged: closecrm.fcgi reconcile --source one");
}

static void lack_types(struct made_facts *made)
{
    snprintf(made->one.close.lacks, sizeof made->one.close.lacks, "lead.merged opportunity.created");
}

static void have_trouble_at_close(struct made_facts *made)
{
    memcpy(made->one.close.trouble, "42 events are hidden", 21);
}

static void not_know_close(struct made_facts *made)
{
    error_set(&made->one.close_why, "state/closeapi/one/reconcile: Permission denied");
}

static void remove_source(struct made_facts *made)
{
    made->one.source = NULL;
    made->one.counts.waiting = 1;
}

static void remove_source_with_letters(struct made_facts *made)
{
    made->one.source = NULL;
    made->one.counts.dead = 3;
}

static void leave_something_over(struct made_facts *made)
{
    memcpy(made->facts.left_over, "old", 4);
}

static void kill_backup(struct made_facts *made)
{
    memcpy(made->facts.backup, "/backup/today.part", 19);
}

static void leave_state_behind(struct made_facts *made)
{
    memcpy(made->facts.elsewhere.directory, "/srv/old", 9);
    made->facts.elsewhere.waiting = 50;
    made->facts.elsewhere.dead = 1;
}

static void leave_state_with_keys_behind(struct made_facts *made)
{
    memcpy(made->facts.elsewhere.directory, "/srv/old", 9);
    made->facts.elsewhere.dead = 2;
    made->facts.elsewhere.keys = true;
}

static void not_know_what_is_left_behind(struct made_facts *made)
{
    memcpy(made->facts.elsewhere.directory, "/srv/old", 9);
    error_set(&made->facts.elsewhere.why, "cannot lock /srv/old/open.lock: Permission denied");
}

static void leave_queue_behind(struct made_facts *made)
{
    made->configured.config.queue = QUEUE_POSTGRESQL;
    made->facts.behind.waiting = 5;
    made->facts.behind.dead = 4;
}

static void leave_letters_behind(struct made_facts *made)
{
    made->configured.config.queue = QUEUE_NONE;
    made->facts.behind.dead = 14;
}

static void not_know_what_the_queue_has(struct made_facts *made)
{
    made->configured.config.queue = QUEUE_POSTGRESQL;
    error_set(&made->facts.behind.why, "cannot lock /var/lib/closecrm/open.lock: Permission denied");
}

static void leave_database_behind(struct made_facts *made)
{
    made->facts.behind.databases = 1;
    memcpy(made->facts.behind.database, "in PostgreSQL, database events on db.example.com", 49);
}

static void leave_databases_behind(struct made_facts *made)
{
    leave_database_behind(made);
    made->facts.behind.databases = 3;
}

static void share_state(struct made_facts *made)
{
    memcpy(made->facts.other, "/srv/second.conf", 17);
}

static void miss_cron(struct made_facts *made)
{
    static char line[] = "* * * * * /home/shop/cgi-bin/closecrm.cgi cron";
    made->facts.launcher = "/home/shop/cgi-bin/closecrm.cgi";
    made->facts.crontab = line;
}

static void run_cron_late(struct made_facts *made)
{
    miss_cron(made);
    forget_cron(made);
}

static void just_stop(struct made_facts *made)
{
    made->one.counts.waiting = 1;
    made->one.counts.oldest_received_ms = NOW - 1000;
    made->facts.is_owned = false;
}

static void bring_letters(struct made_facts *made)
{
    keep_letters(made);
    made->facts.new_letters = 2;
    error_set(&made->facts.newest_letter, "source one: the data plane answered 400");
}

static void not_read_machines(struct made_facts *made)
{
    made->facts.machines = 3;
    made->facts.machines_unread = 2;
    memcpy(made->facts.machine_unread, "web2-01234567", 14);
    made->facts.heard_ms = NOW - 3000;
}

static void not_hear_machines(struct made_facts *made)
{
    made->facts.machines = 1;
    made->facts.heard_ms = NOW - 1800000;
}

static void not_hear_machines_without_database(struct made_facts *made)
{
    made->facts.machines = 2;
    made->facts.heard_ms = NOW - 120000;
    made->facts.queue_works = false;
    memcpy(made->facts.queue_why.text, "the database went away", 23);
}

static const struct situation situations[] = {
    {"all is well", nothing},
    {"nothing came yet", be_new},
    {"it is complete", be_complete},
    {"nothing comes", be_silent},
    {"the queue is broken", break_queue},
    {"a part of the queue is broken", break_part_of_queue},
    {"files of the queue were replaced", replace_files},
    {"no room", have_no_room},
    {"the disk is full", have_a_full_disk},
    {"the disk is full, and events are accepted", accept_on_a_full_disk},
    {"what is delivered could not be noted", be_unsettled},
    {"the queue is full", fill_queue},
    {"there was no room a moment ago", refuse_for_want_of_room},
    {"the database has no standby", have_no_standby},
    {"machines have different configurations", have_another_configuration},
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
    {"a backup was killed", kill_backup},
    {"events wait in an earlier state directory", leave_state_behind},
    {"dead letters and keys are in an earlier state directory", leave_state_with_keys_behind},
    {"what is in an earlier state directory cannot be told", not_know_what_is_left_behind},
    {"the queue was sqlite before", leave_queue_behind},
    {"the queue was sqlite before, and dead letters are kept", leave_letters_behind},
    {"the queue was sqlite before, and cannot be looked into", not_know_what_the_queue_has},
    {"the queue was postgresql before", leave_database_behind},
    {"several databases were used before", leave_databases_behind},
    {"another configuration uses the state directory, too", share_state},
    {"cron stopped", forget_cron},
    {"cron never ran, and must", miss_cron},
    {"cron stopped, and must run", run_cron_late},
    {"dead letters are kept", keep_letters},
    {"new dead letters, for cron", bring_letters},
    {"dead letters end", have_letters_that_end},
    {"dead letters take much room", have_many_letters},
    {"other machines are of another release", not_read_machines},
    {"other machines were heard a while ago", not_hear_machines},
    {"other machines were heard when there was a database", not_hear_machines_without_database},
};

const struct situation *situations_all(size_t *count)
{
    *count = sizeof situations / sizeof *situations;
    return situations;
}

void situation_happens(struct made_facts *made, const char *label)
{
    const struct situation *found = NULL;
    for (size_t i = 0; i < sizeof situations / sizeof *situations && found == NULL; i++) {
        if (strcmp(situations[i].label, label) == 0)
            found = &situations[i];
    }
    CU_ASSERT_PTR_NOT_NULL_FATAL(found);
    found->happen(made);
}
