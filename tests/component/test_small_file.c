/* Small files that are replaced whole: by several processes at once, and after one was killed. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/files.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/temporary.h"

#define WRITERS 4
#define ROUNDS 40

static char directory[PATH_SIZE];

static int make_directory(void)
{
    return !temporary_make(directory);
}

static int remove_directory(void)
{
    temporary_remove(directory);
    return 0;
}

static int write_often(int writer)
{
    char text[64];
    struct error why = {0};
    snprintf(text, sizeof text, "writer = %d\nend = %d\n", writer, writer);
    for (int i = 0; i < ROUNDS; i++) {
        if (!files_replace(directory, "noted", text, &why))
            return 1;
    }
    return 0;
}

/* As when they start at once on a new state directory. */
static void several_processes_may_write_the_same_one(void)
{
    pid_t writers[WRITERS];
    struct error why = {0};
    fflush(NULL);
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = fork();
        if (writers[i] == 0)
            _exit(write_often(i));
    }
    for (int i = 0; i < WRITERS; i++) {
        int status = -1;
        CU_ASSERT_EQUAL(waitpid(writers[i], &status, 0), writers[i]);
        check(status == 0, "writer %d has written each time", i);
    }
    char *text = files_read(directory, "noted", NULL, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    CU_ASSERT_EQUAL(files_number(text, "writer", -1), files_number(text, "end", -2));
    files_free(text);
}

static bool exists(const char *name)
{
    char path[PATH_SIZE];
    path_join(path, directory, name);
    return access(path, F_OK) == 0;
}

static void make_old(const char *name, int seconds)
{
    char path[PATH_SIZE];
    struct timespec then[2] = {{.tv_sec = time(NULL) - seconds}, {.tv_sec = time(NULL) - seconds}};
    path_join(path, directory, name);
    CU_ASSERT_TRUE(temporary_write(directory, name, 0600, "x", 1));
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, path, then, 0), 0);
}

static void what_a_killed_one_left_is_removed(void)
{
    struct error why = {0};
    make_old(".a1b2c3.kept.new", 7200);
    make_old("kept.new", 7200);
    make_old(".d4e5f6.kept.new", 60);
    make_old(".a1b2c3.other.new", 7200);
    make_old("more-kept.new", 7200);
    CU_ASSERT_TRUE(files_replace(directory, "kept", "a = 1\n", &why));
    CU_ASSERT_FALSE(exists(".a1b2c3.kept.new"));
    CU_ASSERT_FALSE(exists("kept.new"));
    CU_ASSERT_TRUE(exists(".d4e5f6.kept.new")); /* may be another's that is at it */
    CU_ASSERT_TRUE(exists(".a1b2c3.other.new"));
    CU_ASSERT_TRUE(exists("more-kept.new"));
}

static void a_name_may_have_a_folder(void)
{
    struct error why = {0};
    char path[FILES_PATH];
    CU_ASSERT_TRUE(files_make_directory(path, directory, "folder", &why));
    CU_ASSERT_TRUE(files_replace(directory, "folder/inside", "a = 1\n", &why));
    CU_ASSERT_TRUE(exists("folder/inside"));
}

void suite_small_file(void)
{
    static CU_TestInfo tests[] = {
        {"several processes may write the same one", several_processes_may_write_the_same_one},
        {"what a killed one left is removed", what_a_killed_one_left_is_removed},
        {"a name may have a folder", a_name_may_have_a_folder},
        CU_TEST_INFO_NULL,
    };
    suite_add("small file", make_directory, remove_directory, tests);
}
