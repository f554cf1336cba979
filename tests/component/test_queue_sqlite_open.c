/* Files of the queue that cannot be opened for a moment, as when descriptors are out: who opens it anew has a queue
 * that works. SQLite would open for reading alone what it cannot open for writing. */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "queue/sqlite/database.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/queue_rig.h"

#define OPENS_MOST 40 /* there are less */

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct events found;
static struct error last;
static atomic_int countdown; /* the open that fails, from 1; 0 and below: none. The housekeeper opens, too */

/* SQLite's open(2). */
static int fail_once(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    int mode = va_arg(more, int);
    va_end(more);
    if ((flags & O_ACCMODE) == O_RDWR && atomic_fetch_sub(&countdown, 1) == 1) {
        errno = EMFILE;
        return -1;
    }
    return open(path, flags, mode);
}

static void put_open(sqlite3_syscall_ptr function)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    CU_ASSERT_EQUAL(vfs->xSetSystemCall(vfs, "open", function), SQLITE_OK);
}

/* Opens and claims it, as the program does: again where it failed. */
static struct queue *open_at_last(void)
{
    struct queue *queue = NULL;
    for (int tries = 0; tries < 5; tries++) {
        if (queue == NULL)
            queue = queue_open(&made.config, &last);
        if (queue != NULL && queue_claim(queue, &last))
            break;
        check(last.text[0] != '\0', "it says why");
    }
    return queue;
}

static bool takes_and_settles(struct queue *queue)
{
    struct error why = {0};
    if (queue_append(queue, "one", "{}", 2, clock_now() + 10000, &why) != QUEUE_STORED)
        return check(false, "open %d: it stores: %s", countdown, why.text);
    if (queue_next(queue, "one", 0, 1, 100, &found, &why) != 1)
        return check(false, "open %d: it reads: %s", countdown, why.text);
    const struct verdict verdict = {.id = found.at[0].id, .kind = VERDICT_DELIVERED, .reason = NULL};
    return check(queue_settle(queue, "one", &verdict, 1, &why), "open %d: it settles: %s", countdown, why.text);
}

static void a_file_that_cannot_be_opened_once(void)
{
    bool failed = true;
    path_join(state, directory, "state");
    put_open((sqlite3_syscall_ptr)fail_once);
    for (int n = 1; failed && n < OPENS_MOST; n++) {
        countdown = n;
        struct queue *queue = open_at_last();
        failed = countdown <= 0;
        countdown = failed ? -n : 0;
        if (!check(queue != NULL, "open %d: it is opened in the end: %s", n, last.text))
            break;
        takes_and_settles(queue);
        queue_close(queue);
    }
    CU_ASSERT_FALSE(failed);
    put_open(NULL);
}

/* A statement's text is a format that gets one number. */
static void a_statement_has_numbers_only(void)
{
    for (size_t i = 0; i < STATEMENTS; i++) {
        for (const char *at = strchr(statement_texts[i], '%'); at != NULL; at = strchr(at + 2, '%')) {
            if (!check(at[1] == 'u' || at[1] == '%', "statement %zu: %%%c in \"%s\"", i, at[1], statement_texts[i]))
                break;
        }
    }
}

static int set_up(void)
{
    return queue_rig_set_up_quiet(&made, directory, state);
}

static int tear_down(void)
{
    return queue_rig_tear_down_quiet(directory, &found);
}

void suite_queue_sqlite_open(void)
{
    static CU_TestInfo tests[] = {
        {"a statement has numbers only", a_statement_has_numbers_only},
        {"a file that cannot be opened once", a_file_that_cannot_be_opened_once},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue sqlite open", set_up, tear_down, tests);
}
