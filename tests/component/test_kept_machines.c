/* Two machines that share one database: two state directories. What one changes the other has within a second, nobody
 * changes what he has not seen, and what is lost, cut off or away does no harm. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "kept/kept.h"
#include "kept/keys.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/queue_rig.h"
#include "tests/support/webhook_rig.h"

#define FIRST "1111111111111111111111111111111111111111111111111111111111111111"
#define SECOND "2222222222222222222222222222222222222222222222222222222222222222"
#define SECOND_MS 1000
#define PATIENCE_MS 30000

static const struct kept_speaker nobody;
static struct queue_rig_engine engine;
static char directory[PATH_SIZE];

/* A machine: a configuration with a state directory of its own. */
struct machine {
    struct webhook_rig rig;
    char source[FILES_PATH]; /* closeapi/acme */
};

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

static void begin_machine(struct machine *machine)
{
    struct error why;
    webhook_rig_begin(&machine->rig, 1);
    machine->rig.config.queue = QUEUE_POSTGRESQL;
    machine->rig.config.queue_url = engine.url;
    CU_ASSERT_TRUE_FATAL(files_make_directory(machine->source, machine->rig.directory, "closeapi/acme", &why));
}

static void begin_machines(struct machine *first, struct machine *second)
{
    CU_ASSERT_TRUE_FATAL(postgresql_database(&engine.postgresql, engine.url));
    begin_machine(first);
    begin_machine(second);
}

static void end_machines(struct machine *first, struct machine *second)
{
    webhook_rig_end(&first->rig);
    webhook_rig_end(&second->rig);
}

static const char *ask(const char *sql)
{
    return postgresql_ask(engine.url, sql);
}

static bool done(bool good, const struct error *why)
{
    return check(good, "it is done: %s", why->text);
}

static struct kept *open_kept(const struct machine *machine)
{
    struct error why = {0};
    struct kept *kept = kept_open(&machine->rig.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(kept);
    return kept;
}

static void store(const struct machine *machine, const char *subscription, const char *hex)
{
    webhook_rig_store_key(&machine->rig, "acme", subscription, hex);
}

/* Posts until the status is this one. Returns after how many ms, -1: never. */
static int64_t await_status(struct machine *machine, const char *key, int status)
{
    moment began = clock_now();
    while (clock_now() - began < PATIENCE_MS) {
        if (webhook_rig_post(&machine->rig, key, false, WEBHOOK_RIG_BODY) == status)
            return clock_now() - began;
        usleep(10000);
    }
    return -1;
}

static void check_within_a_second(struct machine *machine, const char *key, int status)
{
    int64_t ms = await_status(machine, key, status);
    check(ms >= 0 && ms <= SECOND_MS, "%d is answered within a second: after %lld ms", status, (long long)ms);
}

/* Whether the machine says that it lacks the key when that is not there. */
static bool is_missed(const struct machine *machine, const char *subscription)
{
    char *list = temporary_read(machine->rig.directory, "signed/acme");
    bool missed = list != NULL && strstr(list, subscription) != NULL;
    free(list);
    return missed;
}

static void a_key_opens_all_doors_within_a_second(void)
{
    struct machine first, second;
    struct error why = {0};
    begin_machines(&first, &second);
    struct kept_watch *watch = kept_watch_start(&second.rig.config, &nobody);
    struct kept_watch *other = kept_watch_start(&second.rig.config, &nobody); /* of another process */
    webhook_rig_start(&second.rig);
    CU_ASSERT_EQUAL(webhook_rig_post(&second.rig, FIRST, false, WEBHOOK_RIG_BODY), 401);
    store(&first, "whsub_1", FIRST);
    check_within_a_second(&second, FIRST, 200);
    CU_ASSERT_TRUE(is_missed(&second, "whsub_1")); /* it would be */
    store(&first, "whsub_2", SECOND);
    check_within_a_second(&second, SECOND, 200);
    done(kept_key_remove(&first.rig.config, "acme", "whsub_1", &why), &why);
    for (moment until = clock_now() + 2 * SECOND_MS; clock_now() < until; usleep(50000))
        webhook_rig_post(&second.rig, SECOND, false, WEBHOOK_RIG_BODY);
    CU_ASSERT_EQUAL(webhook_rig_post(&second.rig, FIRST, false, WEBHOOK_RIG_BODY), 401);
    CU_ASSERT_FALSE(is_missed(&second, "whsub_1")); /* it is not one that was lost */
    CU_ASSERT_TRUE(kept_watch_stop(watch));
    store(&first, "whsub_3", FIRST);
    check_within_a_second(&second, FIRST, 200);
    CU_ASSERT_TRUE(kept_watch_stop(other));
    end_machines(&first, &second);
}

static void that_a_key_was_used_is_known_to_all(void)
{
    struct machine first, second;
    struct error why = {0};
    begin_machines(&first, &second);
    store(&first, "whsub_1", FIRST);
    done(kept_catch_up(&second.rig.config, &why), &why);
    webhook_rig_start(&second.rig);
    CU_ASSERT_EQUAL(webhook_rig_post(&second.rig, FIRST, false, WEBHOOK_RIG_BODY), 200);
    CU_ASSERT_FALSE(keyring_was_used(first.rig.directory, "whsub_1"));
    struct kept *there = open_kept(&second), *here = open_kept(&first);
    done(kept_look(there, &why), &why);
    done(kept_look(here, &why), &why);
    CU_ASSERT_TRUE(keyring_was_used(first.rig.directory, "whsub_1"));
    kept_close(there);
    kept_close(here);
    end_machines(&first, &second);
}

static char *read_state(const struct machine *machine)
{
    static char text[200];
    char *there = files_read(machine->source, "reconcile", NULL, NULL);
    snprintf(text, sizeof text, "%s", there == NULL ? "" : there);
    free(there);
    return text;
}

static void nobody_changes_what_he_has_not_seen(void)
{
    struct machine first, second;
    struct error why = {0};
    begin_machines(&first, &second);
    struct kept *one = open_kept(&first), *two = open_kept(&second);
    done(kept_put(one, first.source, "reconcile", "until_us = 1\n", &why), &why);
    done(kept_look(two, &why), &why);
    CU_ASSERT_STRING_EQUAL(read_state(&second), "until_us = 1\n");
    done(kept_put(one, first.source, "reconcile", "until_us = 9\n", &why), &why);
    CU_ASSERT_FALSE(kept_put(two, second.source, "reconcile", "until_us = 2\n", &why));
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "was changed by another machine"));
    CU_ASSERT_FALSE(kept_remove(two, second.source, "reconcile", &why));
    done(kept_look(two, &why), &why);
    CU_ASSERT_STRING_EQUAL(read_state(&second), "until_us = 9\n");
    done(kept_put(two, second.source, "reconcile", "until_us = 10\n", &why), &why);
    done(kept_look(one, &why), &why);
    done(kept_remove(one, first.source, "reconcile", &why), &why);
    CU_ASSERT_FALSE(kept_put(two, second.source, "reconcile", "until_us = 11\n", &why)); /* nor makes it again */
    CU_ASSERT_STRING_EQUAL(ask("SELECT count(*) FROM closecrm.kept WHERE path <> ''"), "0");
    kept_close(one);
    kept_close(two);
    end_machines(&first, &second);
}

static void cut_connections(void)
{
    ask("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name LIKE '%keeps'");
}

static void who_has_lost_a_lock_changes_nothing(void)
{
    struct machine first, second;
    struct error why = {0};
    begin_machines(&first, &second);
    struct kept *one = open_kept(&first), *two = open_kept(&second);
    done(kept_lock(one, first.source, "reconcile.lock", 0, &why), &why);
    done(kept_put(one, first.source, "reconcile", "until_us = 1\n", &why), &why);
    CU_ASSERT_FALSE(kept_lock(two, second.source, "reconcile.lock", 0, &why));
    check(strstr(why.text, "process ") != NULL && strstr(why.text, " on ") != NULL, "it is said who: %s", why.text);
    cut_connections();
    done(kept_lock(two, second.source, "reconcile.lock", PATIENCE_MS, &why), &why);
    CU_ASSERT_STRING_EQUAL(read_state(&second), "until_us = 1\n");
    for (unsigned i = 0; i < 2; i++) {
        CU_ASSERT_FALSE(kept_put(one, first.source, "reconcile", "until_us = 2\n", &why));
        check(strstr(why.text, "the lock is lost") != NULL, "it is said that it is lost: %s", why.text);
    }
    CU_ASSERT_FALSE(kept_remove(one, first.source, "reconcile", &why));
    CU_ASSERT_FALSE(kept_look(one, &why));
    CU_ASSERT_FALSE(kept_lock(one, first.source, "subscribe.lock", 0, &why));
    done(kept_put(two, second.source, "reconcile", "until_us = 3\n", &why), &why);
    kept_close(one);
    kept_close(two);
    end_machines(&first, &second);
}

/* As a process that reconciles, and is killed. */
static pid_t hold_in_child(const struct machine *machine)
{
    int ends[2];
    char byte;
    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        struct error why;
        struct kept *kept = kept_open(&machine->rig.config, &why);
        bool good = kept != NULL && kept_lock(kept, machine->source, "reconcile.lock", 0, &why) &&
                    kept_put(kept, machine->source, "reconcile", "until_us = 5\n", &why) && write(ends[1], "x", 1) == 1;
        alarm(60);
        while (good && pause() != 0)
            ;
        _exit(1);
    }
    close(ends[1]);
    CU_ASSERT_EQUAL(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    return child;
}

static void another_machine_goes_on_where_one_was_killed(void)
{
    struct machine first, second;
    struct error why = {0};
    begin_machines(&first, &second);
    pid_t child = hold_in_child(&first);
    struct kept *two = open_kept(&second);
    CU_ASSERT_FALSE(kept_lock(two, second.source, "reconcile.lock", 200, &why));
    kill(child, SIGKILL);
    moment began = clock_now();
    done(kept_lock(two, second.source, "reconcile.lock", PATIENCE_MS, &why), &why);
    check(clock_now() - began <= SECOND_MS, "within a second: after %lld ms", (long long)(clock_now() - began));
    CU_ASSERT_STRING_EQUAL(read_state(&second), "until_us = 5\n");
    waitpid(child, NULL, 0);
    kept_close(two);
    end_machines(&first, &second);
}

/* ---- connections that are cut ---- */

static atomic_bool over;

static void *cut_on(void *context)
{
    (void)context;
    while (!atomic_load(&over)) {
        cut_connections();
        usleep(20000);
    }
    return NULL;
}

/* Each change is made, once, wherever its connection is cut. */
static void each_change_is_made_when_connections_are_cut(void)
{
    enum { CHANGES = 60 };
    struct machine first, second;
    struct error why = {0};
    pthread_t thread;
    char text[40];
    unsigned made = 0, failed = 0;
    begin_machines(&first, &second);
    struct kept *one = open_kept(&first), *two = open_kept(&second);
    done(kept_put(one, first.source, "reconcile", "until_us = 0\n", &why), &why);
    atomic_store(&over, false);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, cut_on, NULL), 0);
    for (unsigned i = 1; i <= CHANGES; i++) {
        snprintf(text, sizeof text, "until_us = %u\n", i);
        bool good = kept_put(one, first.source, "reconcile", text, &why);
        made += good;
        failed += !good;
        while (!good && !kept_look(one, &why) && failed < 100 * CHANGES)
            failed++;
    }
    atomic_store(&over, true);
    pthread_join(thread, NULL);
    done(kept_look(two, &why), &why);
    check(made >= CHANGES / 2, "most are made: %u, %u not", made, failed);
    CU_ASSERT_STRING_EQUAL(read_state(&second), text);
    kept_close(one);
    kept_close(two);
    end_machines(&first, &second);
}

/* A trigger ends the connection within the transaction, or behind it: with a standby that does not answer a commit is
 * unknown. */
static void a_commit_that_is_unknown_is_made_once_more(void)
{
    struct machine first, second;
    struct error why = {0};
    pthread_t thread;
    begin_machines(&first, &second);
    struct kept *one = open_kept(&first);
    done(kept_put(one, first.source, "reconcile", "until_us = 1\n", &why), &why);
    ask("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    ask("SELECT pg_reload_conf()");
    usleep(300000);
    atomic_store(&over, false);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, cut_on, NULL), 0);
    moment began = clock_now();
    CU_ASSERT_FALSE(kept_put(one, first.source, "reconcile", "until_us = 2\n", &why)); /* nobody confirms it */
    check(clock_now() - began < 20000, "that takes no longer than it may: %lld ms", (long long)(clock_now() - began));
    atomic_store(&over, true);
    pthread_join(thread, NULL);
    ask("ALTER SYSTEM RESET synchronous_standby_names");
    ask("SELECT pg_reload_conf()");
    usleep(300000);
    done(kept_put(one, first.source, "reconcile", "until_us = 2\n", &why), &why); /* made already, or not */
    CU_ASSERT_STRING_EQUAL(
        ask("SELECT rtrim(convert_from(value, 'UTF8'), chr(10)) FROM closecrm.kept WHERE path LIKE 'close%'"),
        "until_us = 2");
    kept_close(one);
    end_machines(&first, &second);
}

/* ---- the database is away ---- */

static void what_is_known_goes_on_being_used(void)
{
    struct machine first, second, third;
    struct error why = {0};
    begin_machines(&first, &second);
    store(&first, "whsub_1", FIRST);
    struct kept_watch *watch = kept_watch_start(&second.rig.config, &nobody);
    webhook_rig_start(&second.rig);
    CU_ASSERT_EQUAL(webhook_rig_post(&second.rig, FIRST, false, WEBHOOK_RIG_BODY), 200);
    process_stop(&engine.postgresql.server, PATIENCE_MS);
    usleep(1200000); /* two looks */
    CU_ASSERT_EQUAL(webhook_rig_post(&second.rig, FIRST, false, WEBHOOK_RIG_BODY), 200);
    CU_ASSERT_TRUE(kept_watch_stop(watch));
    watch = kept_watch_start(&second.rig.config, &nobody); /* another start */
    webhook_rig_start(&second.rig);
    CU_ASSERT_EQUAL(webhook_rig_post(&second.rig, FIRST, false, WEBHOOK_RIG_BODY), 200);
    begin_machine(&third); /* one that has seen nothing yet is no open door */
    struct kept_watch *new_one = kept_watch_start(&third.rig.config, &nobody);
    webhook_rig_start(&third.rig);
    CU_ASSERT_FALSE(kept_is_known(&third.rig.config, &why));
    CU_ASSERT_NOT_EQUAL(webhook_rig_post(&third.rig, NULL, true, WEBHOOK_RIG_BODY), 200);
    CU_ASSERT_NOT_EQUAL(webhook_rig_post(&third.rig, FIRST, false, WEBHOOK_RIG_BODY), 200);
    CU_ASSERT_FALSE(kept_key_remove(&first.rig.config, "acme", "whsub_1", &why));
    CU_ASSERT_TRUE_FATAL(postgresql_begin(&engine.postgresql));
    CU_ASSERT_TRUE(await_status(&third, FIRST, 200) >= 0);
    store(&first, "whsub_2", SECOND);
    CU_ASSERT_TRUE(await_status(&second, SECOND, 200) >= 0);
    kept_watch_stop(watch);
    kept_watch_stop(new_one);
    webhook_rig_end(&third.rig);
    end_machines(&first, &second);
}

/* ---- other states of the database ---- */

static void tables_of_the_release_before_are_added_to(void)
{
    struct machine first, second;
    struct error why = {0};
    begin_machines(&first, &second);
    done(kept_catch_up(&first.rig.config, &why), &why);
    CU_ASSERT_STRING_EQUAL(ask("SELECT version FROM closecrm.meta"), "1"); /* the other one goes on with it */
    ask("DROP TABLE closecrm.kept");
    store(&second, "whsub_1", FIRST);
    CU_ASSERT_STRING_EQUAL(ask("SELECT count(*) FROM closecrm.kept"), "2");
    ask("DROP TABLE closecrm.said");
    done(kept_catch_up(&second.rig.config, &why), &why);
    store(&second, "whsub_2", SECOND);
    CU_ASSERT_STRING_EQUAL(ask("SELECT count(*) FROM closecrm.said"), "1");
    CU_ASSERT_STRING_EQUAL(ask("SELECT count(*) FROM closecrm.kept"), "3");
    ask("UPDATE closecrm.meta SET version = 99");
    struct kept *one = open_kept(&first);
    CU_ASSERT_FALSE(kept_look(one, &why));
    check(strstr(why.text, "version 99, made by a newer release") != NULL, "it is said: %s", why.text);
    kept_close(one);
    end_machines(&first, &second);
}

/* Nothing of a machine's is lost when the database is another one, or one of before. */
static void another_database_gets_what_the_machine_has(void)
{
    struct machine first, second;
    struct error why = {0};
    begin_machines(&first, &second);
    store(&first, "whsub_1", FIRST);
    CU_ASSERT_TRUE_FATAL(postgresql_database(&engine.postgresql, engine.url));
    struct kept *one = open_kept(&first), *two = open_kept(&second);
    CU_ASSERT_FALSE(kept_look(one, &why));
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "found no queue"));
    queue_rig_adopt(&first.rig.config);
    queue_rig_adopt(&second.rig.config);
    done(kept_look(one, &why), &why);
    done(kept_look(two, &why), &why);
    struct keyring keyring;
    CU_ASSERT_TRUE(kept_keys_read(&second.rig.config, &keyring, &why) && keyring.count == 1);
    keyring_free(&keyring);
    ask("DELETE FROM closecrm.kept WHERE path <> ''"); /* a dump of before was restored */
    ask("UPDATE closecrm.kept SET version = 1");
    done(kept_look(two, &why), &why);
    CU_ASSERT_TRUE(kept_keys_read(&second.rig.config, &keyring, &why) && keyring.count == 1);
    keyring_free(&keyring);
    kept_close(one);
    kept_close(two);
    end_machines(&first, &second);
}

/* Whoever may write into the database writes no other files. */
static void a_path_leads_nowhere_else(void)
{
    struct machine first, second;
    struct error why = {0};
    begin_machines(&first, &second);
    done(kept_catch_up(&first.rig.config, &why), &why);
    ask("INSERT INTO closecrm.kept VALUES ('keys/../escaped', 'x', 2), ('escaped', 'x', 2), ('closeapi/../x', 'x', 2),"
        " ('closeapi/acme/../../escaped', 'x', 2), ('keys/.hidden', 'x', 2), ('/tmp/escaped', 'x', 2)");
    ask("UPDATE closecrm.kept SET version = version + 1 WHERE path = ''");
    struct kept *one = open_kept(&first);
    done(kept_look(one, &why), &why);
    char path[PATH_SIZE];
    path_join(path, first.rig.directory, "escaped");
    CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0);
    path_join(path, first.rig.directory, "keys/.hidden");
    CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0);
    CU_ASSERT_FALSE(kept_put(one, first.rig.directory, "escaped", "x", &why));
    CU_ASSERT_FALSE(kept_put(one, directory, "escaped", "x", &why));
    kept_close(one);
    end_machines(&first, &second);
}

void suite_kept_machines(void)
{
    static CU_TestInfo tests[] = {
        {"a key opens all doors within a second", a_key_opens_all_doors_within_a_second},
        {"that a key was used is known to all", that_a_key_was_used_is_known_to_all},
        {"nobody changes what he has not seen", nobody_changes_what_he_has_not_seen},
        {"who has lost a lock changes nothing", who_has_lost_a_lock_changes_nothing},
        {"another machine goes on where one was killed", another_machine_goes_on_where_one_was_killed},
        {"each change is made when connections are cut", each_change_is_made_when_connections_are_cut},
        {"a commit that is unknown is made once more", a_commit_that_is_unknown_is_made_once_more},
        {"what is known goes on being used", what_is_known_goes_on_being_used},
        {"tables of the release before are added to", tables_of_the_release_before_are_added_to},
        {"another database gets what the machine has", another_database_gets_what_the_machine_has},
        {"a path leads nowhere else", a_path_leads_nowhere_else},
        CU_TEST_INFO_NULL,
    };
    suite_add("kept machines", begin, end, tests);
}
