/* What is said of what belongs to another user: commands that can be typed, and sensible for root, too. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/owner.h"
#include "tests/suites.h"

#define NOBODY_KNOWS 54321 /* a user without a name */

static bool says(uid_t owner, const char *path, const char *words)
{
    struct error why = {0};
    owner_error("the state directory", path, owner, &why);
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

void suite_owner(void)
{
    static CU_TestInfo tests[] = {
        {"says whose it is and what to do", says_whose_it_is_and_what_to_do},
        CU_TEST_INFO_NULL,
    };
    suite_add("owner", NULL, NULL, tests);
}
