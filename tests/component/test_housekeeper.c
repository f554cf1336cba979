/* The housekeeper lives as long as the process: a database that cannot be opened is tried again. */
#include "tests/suites.h"

#include <poll.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "queue/inspect.h"
#include "tests/support/made_config.h"
#include "tests/support/temporary.h"

#define PATIENCE_MS 60000

/* SQLite's own file system, in which the first so many openings of queue.db by other threads than the test's fail. */
static sqlite3_vfs refusing;
static sqlite3_vfs *whole;
static pthread_t test_thread;
static atomic_int to_refuse, refused, opened;

static int refuse_some(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *given)
{
    (void)vfs;
    if ((flags & SQLITE_OPEN_MAIN_DB) == 0 || pthread_equal(pthread_self(), test_thread))
        return whole->xOpen(whole, name, file, flags, given);
    if (atomic_load(&refused) < atomic_load(&to_refuse)) {
        atomic_fetch_add(&refused, 1);
        file->pMethods = NULL;
        return SQLITE_CANTOPEN;
    }
    atomic_fetch_add(&opened, 1);
    return whole->xOpen(whole, name, file, flags, given);
}

static void a_database_that_cannot_be_opened_is_tried_again(void)
{
    static char url[] = "http://127.0.0.1:9";
    static struct made_config made;
    static char directory[PATH_SIZE], state[PATH_SIZE];
    struct error why = {0};
    whole = sqlite3_vfs_find(NULL);
    refusing = *whole;
    refusing.zName = "refusing";
    refusing.xOpen = refuse_some;
    test_thread = pthread_self();
    atomic_store(&to_refuse, 1);
    CU_ASSERT_EQUAL_FATAL(sqlite3_vfs_register(&refusing, 1), SQLITE_OK);
    CU_ASSERT_TRUE_FATAL(temporary_make(directory));
    path_join(state, directory, "state");
    made_config_init(&made, url, url);
    made.config.queue = QUEUE_SQLITE;
    made.config.state_dir = state;
    struct queue *queue = queue_open(&made.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    for (moment deadline = clock_now() + PATIENCE_MS; atomic_load(&opened) == 0 && clock_now() < deadline;)
        poll(NULL, 0, 10);
    CU_ASSERT_EQUAL(atomic_load(&refused), 1);
    CU_ASSERT(atomic_load(&opened) > 0);
    queue_close(queue);
    sqlite3_vfs_unregister(&refusing);
    temporary_remove(directory);
}

void suite_housekeeper(void)
{
    static CU_TestInfo tests[] = {
        {"a database that cannot be opened is tried again", a_database_that_cannot_be_opened_is_tried_again},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue housekeeper", NULL, NULL, tests);
}
