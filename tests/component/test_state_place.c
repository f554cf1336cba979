/* A state directory that is away is not made anew. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/inspect.h"
#include "tests/suites.h"
#include "tests/support/commands_made.h"
#include "tests/support/commands_run.h"
#include "tests/support/temporary.h"

static struct ran ran;

/* Its disk is not mounted, or it was renamed: an empty one in its place would take events and know no key. */
static void one_that_was_there_is_not_made_anew(void)
{
    char known[PATH_SIZE], away[PATH_SIZE];
    struct stat status;
    struct error why = {0};
    static char *nothing[] = {NULL};
    made_begin();
    struct config *config = config_read(getenv("CLOSECRM_CONFIG"), nothing, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    path_join(away, made_state(), "..");
    CU_ASSERT_EQUAL(chown(away, geteuid(), getegid()), 0); /* of this user, as the configuration's folder is */
    struct queue *queue = queue_open(config, &why);
    CU_ASSERT_PTR_NOT_NULL(queue);
    queue_close(queue);
    snprintf(away, sizeof away, "%.*s.away", PATH_SIZE - 10, made_state());
    CU_ASSERT_EQUAL(rename(made_state(), away), 0);
    CU_ASSERT_PTR_NULL(queue_open(config, &why)); /* as cron and the web server's program do */
    CU_ASSERT_EQUAL(why.kind, ERROR_MISSING);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, " is gone: put it back"));
    RUN(&ran, NULL, "cron");
    CU_ASSERT_TRUE(ran.code != 0 && strstr(ran.err, " is gone: put it back") != NULL);
    RUN(&ran, NULL, "check");
    CU_ASSERT_TRUE(ran.code == 1 && strstr(ran.out, "  WRONG: the state directory ") != NULL);
    RUN(&ran, NULL, "check", "--offline");
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, " is gone: put it back"));
    if (geteuid() == 0) { /* who cannot put one there, and is not told to put back what was moved aside for this */
        RUN(&ran, NULL, "restore", "/no/backup");
        CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "install -d -m 700 -o USER"));
    }
    CU_ASSERT_EQUAL(stat(made_state(), &status), -1);

    CU_ASSERT_EQUAL(rename(away, made_state()), 0);
    queue = queue_open(config, &why);
    CU_ASSERT_PTR_NOT_NULL(queue);
    queue_close(queue);

    CU_ASSERT_EQUAL(rename(made_state(), away), 0);
    snprintf(known, sizeof known, "%s.state_dir", config->path);
    const char *advised = strstr(why.text, known);
    CU_ASSERT_PTR_NOT_NULL(advised);
    CU_ASSERT_EQUAL(unlink(known), 0); /* what is advised to give it up */
    queue = queue_open(config, &why);
    CU_ASSERT_PTR_NOT_NULL(queue);
    queue_close(queue);
    config_free(config);
    made_end();
}

/* A folder on another file system than this one. */
static void make_elsewhere(const char *place, char path[static PATH_SIZE])
{
    static const char *const roots[] = {"/dev/shm", "/var/tmp", "/tmp", "/run"};
    struct stat here, there;
    CU_ASSERT_EQUAL_FATAL(stat(place, &here), 0);
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
        if (stat(roots[i], &there) != 0 || there.st_dev == here.st_dev)
            continue;
        snprintf(path, PATH_SIZE, "%s/closecrm-test-XXXXXX", roots[i]);
        if (mkdtemp(path) != NULL)
            return;
    }
    CU_FAIL_FATAL("there is no second file system");
}

static bool opens(const struct config *config, struct error *why)
{
    struct queue *queue = queue_open(config, why);
    if (queue == NULL)
        return false;
    queue_close(queue);
    return true;
}

/* The empty folder on which a disk was mounted would take events, and hide them as soon as that is mounted again. */
static void one_whose_disk_is_not_mounted_is_not_used(void)
{
    char known[PATH_SIZE], disk[PATH_SIZE], folder[PATH_SIZE];
    struct error why = {0};
    static char *nothing[] = {NULL};
    made_begin();
    struct config *config = config_read(getenv("CLOSECRM_CONFIG"), nothing, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    path_join(folder, made_state(), "..");
    CU_ASSERT_EQUAL(chown(folder, geteuid(), getegid()), 0);
    make_elsewhere(folder, disk);
    temporary_remove(made_state());
    CU_ASSERT_EQUAL(symlink(disk, made_state()), 0); /* for what mount(2) does */
    CU_ASSERT_TRUE(opens(config, &why));

    CU_ASSERT_EQUAL(unlink(made_state()), 0);
    CU_ASSERT_EQUAL(mkdir(made_state(), 0700), 0);
    CU_ASSERT_FALSE(opens(config, &why));
    CU_ASSERT_EQUAL(why.kind, ERROR_MISSING);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, " is not mounted: mount it"));
    RUN(&ran, NULL, "check", "--offline");
    CU_ASSERT_TRUE(ran.code == 1 && strstr(ran.out, " is not mounted: mount it") != NULL);
    RUN(&ran, NULL, "cron");
    CU_ASSERT_TRUE(ran.code != 0 && strstr(ran.err, " is not mounted: mount it") != NULL);

    temporary_remove(made_state());
    CU_ASSERT_EQUAL(symlink(disk, made_state()), 0);
    CU_ASSERT_TRUE(opens(config, &why));

    CU_ASSERT_EQUAL(unlink(made_state()), 0);
    CU_ASSERT_EQUAL(mkdir(made_state(), 0700), 0);
    snprintf(known, sizeof known, "%s.state_dir", config->path);
    CU_ASSERT_EQUAL(unlink(known), 0); /* what is advised to give it up */
    CU_ASSERT_TRUE(opens(config, &why));
    config_free(config);
    temporary_remove(disk);
    made_end();
}

static bool check_tells(const char *words)
{
    RUN(&ran, NULL, "check");
    return strstr(ran.out, words) != NULL;
}

static void use_queue(void)
{
    made_close(made_open());
}

#define WAITS "1 event waits in /"
#define LEFT "which was the state directory until state_dir was changed"

/* The environment takes the one before for a command: what is advised. */
static void what_waits_where_it_was_is_found_until_it_is_settled(void)
{
    char folder[PATH_SIZE], body[512], variable[PATH_SIZE + 32];
    made_begin();
    path_join(folder, made_state(), "..");
    CU_ASSERT_EQUAL(chown(folder, geteuid(), getegid()), 0);
    made_append("one", made_event(body, "lead", "updated", "ev_1", "lead_1"));
    made_configure("state_dir = state2\n" MADE_TEXT);
    use_queue();
    use_queue(); /* noting it twice forgets nothing */
    CU_ASSERT_TRUE(check_tells(WAITS) && check_tells("deliver from there") && ran.code == 1);
    made_configure("state_dir = state3\n" MADE_TEXT);
    use_queue();
    CU_ASSERT_TRUE(check_tells(WAITS) && check_tells("/state, " LEFT)); /* nor does another change */

    struct error why = {0};
    CU_ASSERT_EQUAL(setenv("CLOSECRM_STATE_DIR", made_state(), 1), 0);
    RUN(&ran, NULL, "queue", "status");
    CU_ASSERT_PTR_NULL(strstr(ran.out, LEFT));
    CU_ASSERT_EQUAL(unsetenv("CLOSECRM_STATE_DIR"), 0);
    snprintf(variable, sizeof variable, "CLOSECRM_STATE_DIR=%s", made_state());
    struct config *there = config_read(getenv("CLOSECRM_CONFIG"), (char *[]){variable, NULL}, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(there);
    struct queue *forwards = queue_open(there, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(forwards);
    CU_ASSERT_TRUE(queue_claim(forwards, &why));
    CU_ASSERT_FALSE(check_tells(LEFT)); /* while a process forwards there, as it is told to */
    queue_close(forwards);
    config_free(there);
    CU_ASSERT_TRUE(check_tells(WAITS));
    CU_ASSERT_EQUAL(setenv("CLOSECRM_STATE_DIR", made_state(), 1), 0);
    RUN(&ran, NULL, "queue", "set-aside", "1");
    CU_ASSERT_EQUAL(unsetenv("CLOSECRM_STATE_DIR"), 0);
    CU_ASSERT_TRUE(check_tells("1 dead letter is kept in /") && check_tells(LEFT) && ran.code == 1);
    CU_ASSERT_EQUAL(setenv("CLOSECRM_STATE_DIR", made_state(), 1), 0);
    RUN(&ran, NULL, "dead", "drop", "--all", "--yes");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_EQUAL(unsetenv("CLOSECRM_STATE_DIR"), 0);
    CU_ASSERT_FALSE(check_tells(LEFT));
    made_end();
}

/* The directory was moved with what is in it, or has a second name. */
static void one_that_was_moved_is_not_left(void)
{
    char folder[PATH_SIZE], moved[PATH_SIZE], body[512];
    made_begin();
    path_join(folder, made_state(), "..");
    CU_ASSERT_EQUAL(chown(folder, geteuid(), getegid()), 0);
    made_append("one", made_event(body, "lead", "updated", "ev_1", "lead_1"));
    path_join(moved, folder, "state2");
    CU_ASSERT_EQUAL(rename(made_state(), moved), 0);
    made_configure("state_dir = state2\n" MADE_TEXT);
    use_queue();
    CU_ASSERT_TRUE(check_tells("waiting: 1") && !check_tells(LEFT));
    CU_ASSERT_EQUAL(symlink("state2", made_state()), 0);
    CU_ASSERT_FALSE(check_tells(LEFT));
    made_end();
}

/* Events of one would go to the data plane of the other; the same file by another name is the same configuration. */
static void a_second_configuration_is_told(void)
{
    char first[PATH_SIZE], folder[PATH_SIZE], second[PATH_SIZE];
    struct error why = {0};
    made_begin();
    path_join(folder, made_state(), "..");
    CU_ASSERT_EQUAL(chown(folder, geteuid(), getegid()), 0);
    snprintf(first, sizeof first, "%s", getenv("CLOSECRM_CONFIG"));
    struct queue *forwards = made_open();
    CU_ASSERT_TRUE(queue_claim(forwards, &why));
    made_close(forwards);
    CU_ASSERT_FALSE(check_tells("uses this state directory, too"));
    path_join(second, folder, "same.conf");
    CU_ASSERT_EQUAL(symlink(first, second), 0);
    CU_ASSERT_EQUAL(setenv("CLOSECRM_CONFIG", second, 1), 0);
    CU_ASSERT_FALSE(check_tells("uses this state directory, too"));
    CU_ASSERT_EQUAL(unlink(second), 0);
    CU_ASSERT_TRUE(temporary_write(folder, "same.conf", 0600, MADE_TEXT, sizeof MADE_TEXT - 1));
    CU_ASSERT_TRUE(check_tells("uses this state directory, too") && strstr(ran.out, first) != NULL);
    RUN(&ran, NULL, "cron"); /* it forwards itself, as each under CGI does in turn */
    CU_ASSERT_TRUE(check_tells("uses this state directory, too") && strstr(ran.out, first) != NULL);
    CU_ASSERT_EQUAL(setenv("CLOSECRM_CONFIG", first, 1), 0);
    CU_ASSERT_TRUE(check_tells("uses this state directory, too") && strstr(ran.out, "/same.conf") != NULL);
    CU_ASSERT_EQUAL(setenv("CLOSECRM_CONFIG", second, 1), 0);
    CU_ASSERT_EQUAL(unlink(first), 0); /* it was renamed */
    CU_ASSERT_FALSE(check_tells("uses this state directory, too"));
    made_end();
}

void suite_state_place(void)
{
    static CU_TestInfo tests[] = {
        {"one that was there is not made anew", one_that_was_there_is_not_made_anew},
        {"one whose disk is not mounted is not used", one_whose_disk_is_not_mounted_is_not_used},
        {"what waits where it was is found until it is settled", what_waits_where_it_was_is_found_until_it_is_settled},
        {"a second configuration is told", a_second_configuration_is_told},
        {"one that was moved is not left", one_that_was_moved_is_not_left},
        CU_TEST_INFO_NULL,
    };
    suite_add("state place", NULL, NULL, tests);
}
