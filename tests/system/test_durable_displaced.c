/* Files of the state directory are removed, replaced or moved under load, with two processes: everything that was
 * answered 200 is delivered, once. */
#include "tests/suites.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/running.h"

#define PATIENCE_MS 60000
#define LOOKS 8
#define EVENTS 150 /* before the operator does something; afterwards twice as many */

static void remove_in_state(const struct site *site, const char *name)
{
    char path[PATH_SIZE], inside[64];
    snprintf(inside, sizeof inside, "state/%s", name);
    path_join(path, site->directory, inside);
    check(unlink(path) == 0, "%s is removed", name);
}

/* Runs a command of the program, beside those that serve. Returns its exit code. */
static int run_command(const struct site *site, const char *const *words)
{
    char program[PATH_SIZE], log[PATH_SIZE], config[PATH_SIZE * 2];
    const char *arguments[6] = {program};
    const char *environment[] = {config, NULL};
    struct process command = {0};
    int status = -1;
    for (size_t i = 0; i < 4 && words[i] != NULL; i++)
        arguments[i + 1] = words[i];
    site_program(site, program);
    path_join(log, site->directory, "command.log");
    snprintf(config, sizeof config, "CLOSECRM_CONFIG=%s/closecrm.conf", site->directory);
    CU_ASSERT(process_start(&command, &(struct process_options){arguments, environment, site->directory, log}));
    CU_ASSERT(process_wait(&command, durable_patience(PATIENCE_MS), &status));
    return status;
}

/* ---- what the operator does ---- */

static void remove_database(struct site *site)
{
    remove_in_state(site, "queue.db");
    remove_in_state(site, "queue.db-wal");
    remove_in_state(site, "queue.db-shm");
}

/* The copy is of a moment in which events waited that are delivered since. */
static void restore_copy(struct site *site)
{
    char copy[PATH_SIZE], path[PATH_SIZE];
    path_join(copy, site->directory, "state/copy.db");
    path_join(path, site->directory, "state/queue.db");
    check(rename(copy, path) == 0, "the copy is put over the queue");
}

/* Whoever starts then would take a new file for free, and send what is in flight a second time. */
static void remove_forward_lock(struct site *site)
{
    static const char *const forward[] = {"forward", NULL};
    standin_fail(site->standin, &(struct standin_fault){STANDIN_SLOW, STANDIN_ALWAYS, .delay_ms = 200});
    remove_in_state(site, "forward.lock");
    run_command(site, forward);
    standin_heal(site->standin);
}

static void move_state(struct site *site)
{
    char path[PATH_SIZE], away[PATH_SIZE];
    path_join(path, site->directory, "state");
    path_join(away, site->directory, "away");
    check(rename(path, away) == 0, "the state directory is moved away");
    poll(NULL, 0, 200);
    check(rename(away, path) == 0, "and back");
}

/* ---- */

/* All processes get SIGTERM, as from a supervisor, and end; then they are started anew. */
static void restart(struct site *site)
{
    pid_t pids[DURABLE_PROCESSES];
    moment deadline = clock_now() + durable_patience(PATIENCE_MS);
    size_t count = durable_processes(site, pids);
    for (size_t i = 0; i < count; i++)
        durable_signal(pids[i], SIGTERM);
    while (durable_processes(site, pids) > 0 && clock_now() < deadline)
        poll(NULL, 0, 5);
    CU_ASSERT(durable_start_anew(site, durable_many("2")));
}

static void start_two(struct site *site)
{
    CU_ASSERT(durable_start_anew(site, durable_many("2")));
    CU_ASSERT(site_wait_logged(site, "msg=does_not_forward", 1, durable_patience(PATIENCE_MS)));
}

static void make_copy(const struct site *site)
{
    char copy[PATH_SIZE];
    path_join(copy, site->directory, "state/copy.db");
    const char *const words[] = {"queue", "backup", copy, NULL};
    CU_ASSERT_EQUAL(run_command(site, words), 0);
}

static void check_operator(void (*act)(struct site *), bool backup, bool ends, const char *logged)
{
    struct site site;
    if (durable_open(&site, &setup_lighttpd_spawn, NULL)) {
        struct load_options options = durable_load(&site);
        start_two(&site);
        size_t events = durable_share(EVENTS), done = events;
        options.connections = 8;
        options.pause_ms = 2;
        struct load *load = load_start(&options);
        CU_ASSERT(load_wait(load, done, durable_patience(PATIENCE_MS)));
        if (backup) {
            make_copy(&site);
            CU_ASSERT(load_wait(load, done += events, durable_patience(PATIENCE_MS)));
        }
        act(&site);
        CU_ASSERT(load_wait(load, done += events, durable_patience(PATIENCE_MS)));
        if (logged != NULL)
            check(site_wait_logged(&site, logged, 1, durable_patience(PATIENCE_MS)), "it is said: %s", logged);
        if (ends)
            restart(&site);
        CU_ASSERT(load_wait(load, done + events, durable_patience(PATIENCE_MS)));
        load_stop(load);
        struct load_result result = load_finish(load);
        CU_ASSERT(durable_wait_empty(&site, durable_patience(PATIENCE_MS)));
        durable_check_delivered(&site, load, result);
        CU_ASSERT_EQUAL(standin_counts(site.standin).repeated, 0);
        load_free(load);
    }
    site_close(&site);
}

static void the_database_is_removed(void)
{
    check_operator(remove_database, false, true, "msg=queue_replaced");
}

static void a_copy_is_restored(void)
{
    check_operator(restore_copy, true, true, "msg=queue_replaced");
}

static void forward_lock_is_removed(void)
{
    check_operator(remove_forward_lock, false, false, NULL);
}

static void the_state_directory_is_moved(void)
{
    check_operator(move_state, false, false, "msg=state_dir_gone");
}

static void remove_all_files(const struct site *site)
{
    char state[PATH_SIZE], path[PATH_SIZE];
    path_join(state, site->directory, "state");
    DIR *files = opendir(state);
    for (struct dirent *file; files != NULL && (file = readdir(files)) != NULL;) {
        path_join(path, state, file->d_name);
        if (file->d_type == DT_REG)
            unlink(path);
    }
    if (files != NULL)
        closedir(files);
}

/* Asks commands, which end each time: as long as somebody has the queue open nothing is brought over. */
static bool wait_nothing_waits(const struct site *site)
{
    for (moment deadline = clock_now() + durable_patience(PATIENCE_MS); clock_now() < deadline; poll(NULL, 0, 50)) {
        struct output output = command_output(site, "queue", "status");
        if (output.code == 0 && strstr(output.text, "waiting") != NULL && strstr(output.text, "the oldest") == NULL)
            return true;
    }
    return false;
}

/* With open.lock gone a command brings over what was saved while the program still delivers, and saves that. */
static void all_is_removed_and_commands_look(void)
{
    static const char *const status[] = {"queue", "status", NULL};
    struct site site;
    if (durable_open(&site, &setup_lighttpd_spawn, NULL)) {
        struct load_options options = durable_load(&site);
        options.count = durable_share(EVENTS);
        options.connections = 8;
        standin_fail(site.standin, &(struct standin_fault){STANDIN_ANSWER, STANDIN_ALWAYS, .status = 503});
        struct load *load = load_start(&options);
        struct load_result result = load_finish(load);
        remove_all_files(&site);
        site_send_body(&site, slice_of("{\"event\":")); /* so that it is noticed at once; never a message */
        run_command(&site, status);
        standin_heal(site.standin);
        for (int i = 0; i < LOOKS; i++)
            run_command(&site, status);
        CU_ASSERT(wait_nothing_waits(&site));
        CU_ASSERT_EQUAL(site_count_logged(&site, "msg=disk_full"), 0);
        CU_ASSERT(durable_start_anew(&site, NULL)); /* and whatever it saved last is taken up */
        CU_ASSERT(wait_nothing_waits(&site));
        durable_check_delivered(&site, load, result);
        CU_ASSERT_EQUAL(standin_counts(site.standin).repeated, 0);
        load_free(load);
    }
    site_close(&site);
}

/* What is said when a file is removed under load; NULL: nothing is, for nothing that matters is lost with it: it is
 * written anew, or where it is only open it is made by the next start. In this order: what makes the program open its
 * queue anew comes last, since all files are made then. */
static const struct removal {
    const char *name; /* or its beginning, with a dot at the end */
    const char *said;
} removals[] = {
    {"attempts.", NULL},
    {"clock", NULL},
    {"counters.", NULL},
    {"delivered", NULL},
    {"forward.beat", NULL},
    {"forward.config", NULL},
    {"health.", NULL},
    {"identities.filter", NULL},
    {"last-errors.", NULL},
    {"no_room", NULL},
    {"recent.", NULL},
    {"replaced", NULL},
    {"signed", NULL}, /* a folder */
    {"transforming.", NULL},
    {"open.lock", NULL},
    {"write.lock", NULL},
    {"displaced", NULL},
    {"reserve", "warn msg=reserve_replaced "},
    {"forward.lock", " reason=\"forward.lock was removed or replaced\""},
    {"wake", " reason=\"wake was removed or replaced\""},
    {"queue.db-shm", " reason=\"the index of the log of the queue's database was removed"},
    {"queue.db-wal", " reason=\"the log of the queue's database was removed"},
    {"queue.db", " reason=\"the queue's database was removed"},
};

static bool is_meant(const struct removal *removal, const char *name)
{
    size_t length = strlen(removal->name);
    return removal->name[length - 1] == '.' ? strncmp(removal->name, name, length) == 0
                                            : strcmp(removal->name, name) == 0;
}

/* Each file that there is has its row. */
static void check_table(const struct site *site)
{
    char state[PATH_SIZE];
    path_join(state, site->directory, "state");
    DIR *files = opendir(state);
    for (struct dirent *file; files != NULL && (file = readdir(files)) != NULL;) {
        bool known = file->d_name[0] == '.' || strstr(file->d_name, ".new") != NULL; /* on its way to its name */
        for (size_t i = 0; i < sizeof removals / sizeof *removals && !known; i++)
            known = is_meant(&removals[i], file->d_name);
        check(known, "it is in the table what happens when %s is removed", file->d_name);
    }
    if (files != NULL)
        closedir(files);
}

/* Removes the files of a row. Returns how many. */
static size_t remove_meant(const struct site *site, const struct removal *removal)
{
    char state[PATH_SIZE], path[PATH_SIZE];
    size_t count = 0;
    path_join(state, site->directory, "state");
    DIR *files = opendir(state);
    for (struct dirent *file; files != NULL && (file = readdir(files)) != NULL;) {
        path_join(path, state, file->d_name);
        if (is_meant(removal, file->d_name) && unlink(path) == 0)
            count++;
    }
    if (files != NULL)
        closedir(files);
    return count;
}

/* What has been said so far is no full disk, nor that the program cannot start. */
static void check_truth(const struct site *site, const char *name)
{
    static const char *const lies[] = {"msg=disk_full", "the disk is full", "msg=cannot_start", "msg=queue_damaged",
                                       "msg=cannot_open_queue"};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++)
        check(site_count_logged(site, lies[i]) == 0, "of %s it is not said: %s", name, lies[i]);
}

/* Under load, one after the other. */
static void each_file_is_removed(void)
{
    struct site site;
    if (durable_open(&site, &setup_lighttpd_spawn, NULL)) {
        struct load_options options = durable_load(&site);
        size_t events = durable_share(EVENTS);
        start_two(&site);
        options.connections = 8;
        options.pause_ms = 2;
        struct load *load = load_start(&options);
        CU_ASSERT(load_wait_ok(load, events, durable_patience(PATIENCE_MS)));
        check_table(&site);
        for (size_t i = 0; i < sizeof removals / sizeof *removals; i++) {
            const struct removal *one = &removals[i];
            size_t before = one->said == NULL ? 0 : site_count_logged(&site, one->said);
            size_t removed = remove_meant(&site, one);
            check(load_wait_ok(load, events, durable_patience(PATIENCE_MS)), "events are taken without %s", one->name);
            if (one->said != NULL)
                check(removed > 0 && site_wait_logged(&site, one->said, before + 1, durable_patience(PATIENCE_MS)),
                      "it is said of %s", one->name);
            check_truth(&site, one->name);
        }
        load_stop(load);
        struct load_result result = load_finish(load);
        CU_ASSERT(durable_wait_empty(&site, durable_patience(PATIENCE_MS)));
        durable_check_delivered(&site, load, result);
        CU_ASSERT_EQUAL(standin_counts(site.standin).repeated, 0);
        load_free(load);
    }
    site_close(&site);
}

void suite_durable_displaced(void)
{
    static CU_TestInfo tests[] = {
        {"rm queue.db* under load", the_database_is_removed},
        {"a copy is put over queue.db", a_copy_is_restored},
        {"rm * under a program at work, and commands that look", all_is_removed_and_commands_look},
        {"rm of each file under load", each_file_is_removed},
        {"rm forward.lock", forward_lock_is_removed},
        {"the state directory is moved away and back", the_state_directory_is_moved},
        CU_TEST_INFO_NULL,
    };
    suite_add("durable displaced", NULL, NULL, tests);
}
