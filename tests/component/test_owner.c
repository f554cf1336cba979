/* What is said of what belongs to another user: commands that can be typed, and sensible for root, too. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/program_name.h"
#include "config/config.h"
#include "tests/suites.h"
#include "tests/support/temporary.h"

#define NOBODY_KNOWS 54321 /* a user without a name */

static bool says(uid_t owner, const char *path, const char *words)
{
    struct error why = {0};
    owner_error("the state directory", path, owner, NULL, &why);
    return strstr(why.text, words) != NULL;
}

static int as_a_user_without_a_name(void)
{
    char folder[300] = "/";
    memset(folder + 1, 'f', sizeof folder - 2);
    if (setgid(NOBODY_KNOWS) != 0 || setuid(NOBODY_KNOWS) != 0)
        return 1;
    if (!says(0, "/s",
              "if the program runs as 54321, let root say chown -R 54321 '/s'; if it runs as root, run this as "
              "root") ||
        says(0, "/s", "sudo"))
        return 2;
    if (!says(1, "/s",
              "run it as daemon (sudo -u daemon closecrm.fcgi ...); if the program is to run as 54321, let "
              "root say chown -R 54321 '/s'"))
        return 3;
    if (!says(NOBODY_KNOWS + 1, "/s", "sudo -u '#54322' closecrm.fcgi"))
        return 4;
    if (says(1, folder, "'/fff") || says(1, "/it's", "'/it")) /* half a path must not be typed */
        return 5;
    return 0;
}

static void says_whose_it_is_and_what_to_do(void)
{
    int status = -1;
    if (geteuid() != 0)
        return; /* only root can be somebody else */
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(as_a_user_without_a_name());
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT_TRUE(WIFEXITED(status));
    CU_ASSERT_EQUAL(WEXITSTATUS(status), 0);
    CU_ASSERT_TRUE(says(1, "/s", "and this runs as user root: run it as daemon (sudo -u daemon closecrm.fcgi ...)"));
}

static bool is_harmless(const char *path, const char *words)
{
    struct error owner = {0}, open = {0};
    state_folder_owner_error(path, geteuid() + 1, &owner);
    state_folder_open_error(path, &open);
    return strstr(owner.text, "chown") == NULL && strstr(open.text, "chmod") == NULL &&
           strstr(owner.text, words) != NULL && strstr(open.text, words) != NULL;
}

/* A folder with other things in it is not to be given away or closed: everything else there would stop. */
static void another_folder_is_advised(void)
{
    struct error why = {0};
    char directory[PATH_SIZE];
    CU_ASSERT(is_harmless("/", "name a folder of its own, such as state_dir = /var/lib/closecrm-state"));
    CU_ASSERT(is_harmless("/var/lib", "name a folder of its own, such as state_dir = /var/lib/closecrm-state"));
    CU_ASSERT(is_harmless("/var/lib/", "state_dir = /var/lib/closecrm-state"));
    CU_ASSERT(is_harmless("/no-such-folder", "name a folder of its own"));
    CU_ASSERT_FATAL(temporary_make(directory));
    CU_ASSERT(state_folder_is_own(directory));
    /* An empty folder in the place of a state directory that was moved: the running program notes what is wrong. */
    CU_ASSERT(temporary_write(directory, "last-errors.txt", 0600, "", 0));
    CU_ASSERT(temporary_write(directory, "recent.2", 0600, "", 0));
    CU_ASSERT(temporary_write(directory, "child.lock", 0600, "", 0));
    CU_ASSERT(state_folder_is_own(directory));
    CU_ASSERT(temporary_write(directory, "letter.txt", 0600, "", 0));
    CU_ASSERT_FALSE(state_folder_is_own(directory));
    CU_ASSERT(temporary_write(directory, "queue.db", 0600, "", 0));
    CU_ASSERT(state_folder_is_own(directory));
    state_folder_open_error(directory, &why);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "chmod 700 '"));
    temporary_remove(directory);
}

static void is_called(const char *path, const char *name)
{
    char out[PROGRAM_NAME_SIZE];
    program_name_of(path, "/no-such-folder:/bin", out);
    CU_ASSERT_STRING_EQUAL(out, name);
}

/* As it can be typed: the name where a shell finds it, else its path. */
static void the_program_is_called_by_its_name(void)
{
    char directory[PATH_SIZE], path[PATH_SIZE], folders[PATH_SIZE + 32], out[PROGRAM_NAME_SIZE];
    is_called("/home/shop/public_html/cgi-bin/closecrm.cgi", "/home/shop/public_html/cgi-bin/closecrm.cgi");
    is_called("/srv/my shop/closecrm.cgi", "'/srv/my shop/closecrm.cgi'");
    is_called("/srv/it's/closecrm.cgi", "closecrm.cgi");
    is_called("/usr/lib/ld-linux.so.2", "closecrm.fcgi");
    CU_ASSERT_FATAL(temporary_make(directory));
    CU_ASSERT(temporary_write(directory, "closecrm.fcgi", 0700, "", 0));
    path_join(path, directory, "closecrm.fcgi");
    snprintf(folders, sizeof folders, "/no-such-folder:%s:/bin", directory);
    program_name_of(path, folders, out);
    CU_ASSERT_STRING_EQUAL(out, "closecrm.fcgi");
    temporary_remove(directory);
}

/* An installation has put another file in its place, which is what is to be executed and typed. */
static void a_replaced_program_has_its_path(void)
{
    char directory[PATH_SIZE], path[PATH_SIZE], said[] = "/no-such-folder/closecrm.fcgi (deleted)";
    program_path_of(said);
    CU_ASSERT_STRING_EQUAL(said, "/no-such-folder/closecrm.fcgi");
    CU_ASSERT_FATAL(temporary_make(directory));
    CU_ASSERT(temporary_write(directory, "it (deleted)", 0700, "", 0));
    path_join(path, directory, "it (deleted)");
    program_path_of(path);
    CU_ASSERT(strcmp(path + strlen(path) - strlen("it (deleted)"), "it (deleted)") == 0); /* it is called so */
    temporary_remove(directory);
}

/* It must run there as it stands, and with the same configuration. */
static void a_crontab_line_can_be_copied(void)
{
    static const struct {
        const char *program, *configuration, *line;
    } rows[] = {
        {"/usr/lib/closecrm/closecrm.fcgi", NULL, "* * * * * /usr/lib/closecrm/closecrm.fcgi cron"},
        {"/srv/my shop/closecrm.cgi", "/no where/100%.conf",
         "* * * * * '/srv/my shop/closecrm.cgi' --config '/no where/100\\%.conf' cron"},
        {"/srv/it's/closecrm.cgi", "", "* * * * * '/srv/it'\\''s/closecrm.cgi' cron"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        setenv("CLOSECRM_LAUNCHER", rows[i].program, 1);
        if (rows[i].configuration != NULL)
            setenv("CLOSECRM_CONFIG", rows[i].configuration, 1);
        char *line = program_name_crontab();
        CU_ASSERT_STRING_EQUAL(line, rows[i].line);
        free(line);
        unsetenv("CLOSECRM_CONFIG");
        unsetenv("CLOSECRM_LAUNCHER");
    }
}

void suite_owner(void)
{
    static CU_TestInfo tests[] = {
        {"another folder is advised", another_folder_is_advised},
        {"the program is called by its name", the_program_is_called_by_its_name},
        {"a replaced program has its path", a_replaced_program_has_its_path},
        {"a crontab's line can be copied", a_crontab_line_can_be_copied},
        {"says whose it is and what to do", says_whose_it_is_and_what_to_do},
        CU_TEST_INFO_NULL,
    };
    suite_add("owner", NULL, NULL, tests);
}
