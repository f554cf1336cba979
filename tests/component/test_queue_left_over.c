/* What a backup and a restore that were killed leave behind: the next run removes it, and nothing else. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/files.h"
#include "queue/inspect.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/made_config.h"
#include "tests/support/temporary.h"

#define LARGE ((size_t)64 * 1024 * 1024)

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];

static int make_directory(void)
{
    static char url[] = "http://127.0.0.1:9";
    made_config_init(&made, url, url);
    made.config.queue = QUEUE_SQLITE;
    made.config.queue_max_bytes = (int64_t)1 << 40;
    made.config.state_dir = state;
    if (!temporary_make(directory))
        return 1;
    path_join(state, directory, "state");
    return 0;
}

static int remove_directory(void)
{
    temporary_remove(directory);
    return 0;
}

static bool exists(const char *name)
{
    char path[PATH_SIZE];
    path_join(path, directory, name);
    return access(path, F_OK) == 0;
}

static void make_old(const char *name, const char *bytes, int seconds)
{
    char path[PATH_SIZE];
    struct timespec then[2] = {{.tv_sec = time(NULL) - seconds}, {.tv_sec = time(NULL) - seconds}};
    path_join(path, directory, name);
    CU_ASSERT_TRUE(temporary_write(directory, name, 0600, bytes, strlen(bytes)));
    CU_ASSERT_EQUAL(chown(path, geteuid(), getegid()), 0); /* temporary_write may have given it away */
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, path, then, 0), 0);
}

/* Whether a backup to `copy` is made, with what has been left in the directory before. */
static bool makes_backup(void)
{
    char path[PATH_SIZE];
    struct error why = {0};
    struct queue *queue = queue_open(&made.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    path_join(path, directory, "copy");
    bool good = queue_backup(queue, path, NULL, 1, &why);
    queue_close(queue);
    check(good || strstr(why.text, "copy.part is there") != NULL, "it says what is in the way: %s", why.text);
    unlink(path);
    return good;
}

/* However long ago it was: nobody has locked it. */
static void a_killed_backup_is_not_in_the_way(void)
{
    make_old("copy.part", "SQLite format 3", 0);
    make_old("copy.part-journal", "x", 0);
    make_old("other.part", "SQLite format 3", 120);
    CU_ASSERT_TRUE(makes_backup());
    CU_ASSERT_FALSE(exists("copy.part"));
    CU_ASSERT_FALSE(exists("copy.part-journal"));
    CU_ASSERT_TRUE(exists("other.part"));
    make_old("copy.part", "", 0); /* killed before it wrote anything */
    CU_ASSERT_TRUE(makes_backup());
}

static void what_may_be_anothers_stays(void)
{
    char path[PATH_SIZE];
    path_join(path, directory, "copy.part");
    make_old("copy.part", "my own text, not a database", 120);
    CU_ASSERT_FALSE(makes_backup());
    make_old("copy.part", "SQLite format 3", 120);
    int lock = open(path, O_RDONLY | O_CLOEXEC);
    CU_ASSERT_EQUAL(flock(lock, LOCK_EX), 0); /* another one is at it */
    CU_ASSERT_FALSE(makes_backup());
    close(lock);
    CU_ASSERT_TRUE(exists("copy.part"));
    CU_ASSERT_EQUAL(unlink(path), 0);
    CU_ASSERT_EQUAL(symlink("other.part", path), 0);
    CU_ASSERT_FALSE(makes_backup());
    CU_ASSERT_TRUE(exists("other.part"));
    unlink(path);
}

/* Kills a backup to that file while it writes: the small files are as large as it takes. */
static void kill_backup(const char *name)
{
    char path[PATH_SIZE], part[PATH_SIZE + 8];
    int status = -1;
    path_join(path, directory, name);
    snprintf(part, sizeof part, "%s.part", name);
    fflush(NULL);
    pid_t writer = fork();
    if (writer == 0) {
        struct error why = {0};
        struct backup_file file = {.name = (char[]){"keys/large"}, .bytes = calloc(1, LARGE), .length = LARGE};
        struct queue *queue = queue_open(&made.config, &why);
        if (queue != NULL)
            queue_backup(queue, path, &(struct backup_files){&file, 1}, 1, &why);
        _exit(1);
    }
    for (int i = 0; i < 60000 && !(exists(part) && exists("state/backup.unfinished")); i++)
        usleep(1000);
    kill(writer, SIGKILL);
    CU_ASSERT_EQUAL(waitpid(writer, &status, 0), writer);
    check(WIFSIGNALED(status), "it was killed while it wrote");
}

/* What a killed backup leaves is known, and the next one, whatever its file, removes it. */
static void what_a_killed_backup_leaves_is_found(void)
{
    char noted[BACKUP_PATH] = "", path[PATH_SIZE];
    path_join(path, directory, "of-today.part");
    CU_ASSERT_FALSE(backup_unfinished(state, noted));
    kill_backup("of-today");
    CU_ASSERT_TRUE(backup_unfinished(state, noted));
    CU_ASSERT_STRING_EQUAL(noted, path);
    int lock = open(path, O_RDONLY | O_CLOEXEC);
    CU_ASSERT_EQUAL(flock(lock, LOCK_EX), 0); /* as if it lived */
    CU_ASSERT_FALSE(backup_unfinished(state, noted));
    CU_ASSERT_TRUE(makes_backup());
    CU_ASSERT_TRUE(exists("of-today.part"));
    close(lock);
    CU_ASSERT_TRUE(backup_unfinished(state, noted));
    CU_ASSERT_TRUE(makes_backup());
    CU_ASSERT_FALSE(exists("of-today.part") || exists("of-today.part-journal") || exists("state/backup.unfinished"));
    CU_ASSERT_FALSE(backup_unfinished(state, noted));
}

static void what_a_killed_restore_built_is_removed(void)
{
    struct error why = {0};
    queue_close(queue_open(&made.config, &why));
    make_old("state/queue.db.restored", "SQLite format 3", 0);
    make_old("state/queue.db.restored-journal", "x", 0);
    make_old("state/queue.db.mine", "x", 0);
    queue_close(queue_open(&made.config, &why));
    CU_ASSERT_FALSE(exists("state/queue.db.restored"));
    CU_ASSERT_FALSE(exists("state/queue.db.restored-journal"));
    CU_ASSERT_TRUE(exists("state/queue.db.mine"));
    CU_ASSERT_TRUE(exists("state/queue.db"));
}

/* Until it has ended the opening of the queue waits, and takes nothing away: neither what a process is saving out of a
 * database that was removed, nor its journal. */
static void what_a_living_process_saves_stays(void)
{
    static const char copy[] = "state/rescuing-4711-0x1", journal[] = "state/rescuing-4711-0x1-journal";
    struct error why = {0};
    char path[PATH_SIZE];
    int lock = -1, status = -1;
    path_join(path, state, "displaced");
    queue_close(queue_open(&made.config, &why));
    make_old(copy, "SQLite format 3", 0);
    make_old(journal, "x", 0);
    CU_ASSERT_EQUAL(lock_take(&lock, path, LOCK_EX), 0); /* as who saves does */
    fflush(NULL);
    pid_t opener = fork();
    if (opener == 0) {
        close(lock);
        struct queue *queue = queue_open(&made.config, &why);
        if (queue != NULL)
            queue_close(queue);
        _exit(queue != NULL ? 0 : 1);
    }
    usleep(100000);
    CU_ASSERT_EQUAL(waitpid(opener, &status, WNOHANG), 0);
    CU_ASSERT_TRUE(exists(copy) && exists(journal));
    close(lock);
    CU_ASSERT_EQUAL(waitpid(opener, &status, 0), opener);
    CU_ASSERT_EQUAL(status, 0);
    CU_ASSERT_FALSE(exists(copy) || exists(journal));
}

void suite_queue_left_over(void)
{
    static CU_TestInfo tests[] = {
        {"a killed backup is not in the way", a_killed_backup_is_not_in_the_way},
        {"what may be another's stays", what_may_be_anothers_stays},
        {"what a killed backup leaves is found", what_a_killed_backup_leaves_is_found},
        {"what a killed restore built is removed", what_a_killed_restore_built_is_removed},
        {"what a living process saves stays", what_a_living_process_saves_stays},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue left over", make_directory, remove_directory, tests);
}
