/* See queue_rig.h. */
#include "tests/support/queue_rig.h"

#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/check.h"

#define APPEND_MS 60000
#define CLAIM_MS 20000 /* a server on a busy machine ends the session of before late */
#define REFUSED_MS 1000

static int stderr_before = -1; /* while it is quiet */

int queue_rig_set_up(struct made_config *made, char *directory, char *state)
{
    static char url[] = "http://127.0.0.1:9";
    made_config_init(made, url, url);
    made->config.queue = QUEUE_SQLITE;
    made->config.queue_max_bytes = (int64_t)1 << 40;
    made->config.state_dir = state;
    return !temporary_make(directory);
}

int queue_rig_tear_down(const char *directory, struct events *found)
{
    events_free(found);
    temporary_remove(directory);
    return 0;
}

int queue_rig_set_up_quiet(struct made_config *made, char *directory, char *state)
{
    int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
    stderr_before = dup(STDERR_FILENO);
    if (nothing < 0 || dup2(nothing, STDERR_FILENO) < 0)
        return 1;
    close(nothing);
    return queue_rig_set_up(made, directory, state);
}

int queue_rig_tear_down_quiet(const char *directory, struct events *found)
{
    dup2(stderr_before, STDERR_FILENO);
    close(stderr_before);
    return queue_rig_tear_down(directory, found);
}

bool queue_rig_postgresql(struct queue_rig_engine *engine, struct made_config *made)
{
    made->config.queue = QUEUE_POSTGRESQL;
    made->config.queue_url = engine->url;
    return postgresql_start(&engine->postgresql, "");
}

void queue_rig_engine_end(struct queue_rig_engine *engine)
{
    postgresql_stop(&engine->postgresql);
}

void queue_rig_new(struct queue_rig_engine *engine, struct made_config *made)
{
    char note[PATH_SIZE];
    if (!queue_rig_is_postgresql(made))
        return;
    CU_ASSERT_TRUE_FATAL(postgresql_database(&engine->postgresql, engine->url));
    path_join(note, made->config.state_dir, "queue.databases"); /* else it would notice */
    unlink(note);
}

bool queue_rig_is_postgresql(const struct made_config *made)
{
    return made->config.queue == QUEUE_POSTGRESQL;
}

static void change_file(const char *state, const char *sql)
{
    sqlite3 *db = NULL;
    char path[PATH_SIZE];
    path_join(path, state, "queue.db");
    CU_ASSERT_EQUAL(sqlite3_open(path, &db), SQLITE_OK);
    check(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_close(db);
}

void queue_rig_change(const struct queue_rig_engine *engine, const struct made_config *made, const char *for_sqlite,
                      const char *for_postgresql)
{
    char *sql = NULL, *answer = NULL;
    if (!queue_rig_is_postgresql(made)) {
        change_file(made->config.state_dir, for_sqlite);
        return;
    }
    if (asprintf(&sql, "SET search_path = closecrm; %s", for_postgresql) > 0)
        answer = postgresql_run(engine->url, sql);
    check(answer != NULL, "it can be run: %s", for_postgresql);
    free(answer);
    free(sql);
}

struct queue *queue_rig_open(const struct made_config *made)
{
    struct error why = {0};
    struct queue *queue = queue_open(&made->config, &why);
    check(queue != NULL, "it can be opened: %s", why.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    return queue;
}

/* Whether to ask once more: on a busy machine a connection takes longer than is waited for it, and that is what is said
 * then. */
static bool says_late(const struct error *why, const char *words, moment until)
{
    return strstr(why->text, words) == NULL && clock_now() < until;
}

void queue_rig_refused(const struct made_config *made, enum queue_result expected, const char *words)
{
    struct error why = {0};
    struct queue *queue = queue_rig_open(made);
    enum queue_result result = QUEUE_UNKNOWN;
    for (int64_t ms = REFUSED_MS; ms < APPEND_MS; ms *= 2) { /* on a busy machine the answer comes late */
        result = queue_append(queue, "one", "x", 1, clock_now() + ms, &why);
        if (result == expected && strstr(why.text, words) != NULL)
            break;
    }
    check(result == expected, "it is refused as %d: %d", (int)expected, (int)result);
    check(strstr(why.text, words) != NULL, "\"%s\" is said: %s", words, why.text);
    struct counts counts;
    moment until = clock_now() + APPEND_MS;
    bool claimed = queue_claim(queue, &why), counted = false;
    while (!claimed && says_late(&why, words, until))
        claimed = queue_claim(queue, &why);
    CU_ASSERT_FALSE(claimed);
    check(strstr(why.text, words) != NULL, "\"%s\" is said by the forwarder: %s", words, why.text);
    do
        counted = queue_count(queue, "one", &counts, &why);
    while (!counted && says_late(&why, words, until));
    CU_ASSERT_FALSE(counted);
    check(strstr(why.text, words) != NULL, "\"%s\" is said by who counts: %s", words, why.text);
    queue_close(queue);
}

void queue_rig_claim(struct queue *queue)
{
    struct error why = {0};
    bool owns = queue_claim(queue, &why);
    for (moment until = clock_now() + CLAIM_MS; !owns && clock_now() < until; owns = queue_claim(queue, &why)) {
        why.text[0] = '\0';
        usleep(10000);
    }
    check(owns && why.text[0] == '\0', "it is claimed: %s", why.text);
}

void queue_rig_go_on_owning(struct queue *queue)
{
    struct error why = {0};
    queue_clear_wakeup(queue);
    for (moment until = clock_now() + APPEND_MS; queue_is_lost(queue) && clock_now() < until; usleep(1000))
        queue_claim(queue, &why);
    check(!queue_is_lost(queue), "it is owned: %s", why.text);
}

void queue_rig_append(struct queue *queue, const char *source, const char *body)
{
    struct error why = {0};
    CU_ASSERT_EQUAL(queue_append(queue, source, body, strlen(body), clock_now() + APPEND_MS, &why), QUEUE_STORED);
    CU_ASSERT_STRING_EQUAL(why.text, "");
}

struct counts queue_rig_counts(struct queue *queue, const char *source)
{
    struct counts counts = {0};
    struct error why = {0};
    CU_ASSERT_TRUE(queue_count(queue, source, &counts, &why));
    return counts;
}

static void note_place(void *context, const char *words)
{
    ++*(unsigned *)context;
    check(strstr(words, "is this state directory's from now on: ") != NULL, "%s", words);
}

void queue_rig_adopt(const struct config *config)
{
    struct error why = {0};
    unsigned places = 0;
    CU_ASSERT_EQUAL(chown(config->state_dir, geteuid(), (gid_t)-1) + chmod(config->state_dir, 0700), 0);
    struct queue *queue = queue_open(config, &why);
    bool adopted = queue != NULL && queue_adopt(queue, note_place, &places, &why);
    check(adopted && places == 1, "the database is taken on: %s", why.text);
    queue_close(queue);
}
