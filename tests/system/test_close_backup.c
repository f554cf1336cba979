/* backup and restore, by the real commands, with Close at the other end: what was lost is back, keys and what was
 * delivered included, nobody gets in who could not before, and killing them anywhere leaves the old or the new. */
#include "tests/suites.h"

#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/check.h"
#include "tests/support/close_site.h"

#define DELIVERED 40
#define WAITING 7
#define KILLS 14

static const struct standin_close_options usual = {.hold_ms = 0};

static void lose(const struct close_site *site, const char *name)
{
    char path[PATH_SIZE];
    path_join(path, site->site.directory, name);
    temporary_remove(path);
}

static bool is_there(const struct close_site *site, const char *name)
{
    char path[PATH_SIZE];
    path_join(path, site->site.directory, name);
    return access(path, F_OK) == 0;
}

/* Posts an event with the right write key and without a signature. Returns the status. */
static int post_unsigned(struct close_site *site, struct client_answer *answer)
{
    char url[300];
    static const char body[] = "{\"event\":{\"id\":\"ev_forged\"}}";
    snprintf(url, sizeof url, "%s?writeKey=" ALPHA_WRITE_KEY, close_site_url(site));
    const struct client_request request = {
        .url = url, .headers = {"Content-Type: application/json"}, .body = {body, sizeof body - 1}};
    return client_send(site->site.client, &request, answer);
}

/* A number of the database, by itself. */
static int64_t ask(const struct close_site *site, const char *name, const char *text)
{
    char path[PATH_SIZE];
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    int64_t number = -1;
    path_join(path, site->site.directory, name);
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, text, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
        number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return number;
}

/* A site that has delivered some events, and more that wait for a data plane which is away. */
static bool open_filled(struct close_site *site)
{
    if (!close_site_open(site, &setup_lighttpd_spawn, &usual, NULL))
        return false;
    CU_ASSERT_EQUAL(CLOSE_RUN(site, "subscribe", "--url", close_site_url(site)), 0);
    close_site_add(site, "ev", 0, DELIVERED);
    CU_ASSERT(standin_wait_messages(site->site.standin, DELIVERED, 60000));
    CU_ASSERT_EQUAL(CLOSE_RUN(site, "reconcile"), 0);
    standin_fail(site->site.standin, &(struct standin_fault){STANDIN_ANSWER, STANDIN_ALWAYS, .status = 503});
    close_site_add(site, "wait", 0, WAITING);
    return check(standin_close_wait_idle(site->close, 60000), "Close has sent all");
}

static void write_backup(struct close_site *site)
{
    char path[PATH_SIZE], shown[PATH_SIZE];
    struct stat status;
    path_join(path, site->site.directory, "copy");
    check(CLOSE_RUN(site, "backup", path) == 0, "a backup is made: %s", site->said);
    CU_ASSERT(strstr(site->said, "holds keys and customer data") != NULL);
    CU_ASSERT(stat(path, &status) == 0 && (status.st_mode & 07777) == 0600);
    CU_ASSERT_FALSE(is_there(site, "copy.part"));
    CU_ASSERT_EQUAL(CLOSE_RUN(site, "queue", "backup", path), 1); /* never over what is there */
    CU_ASSERT(strstr(site->said, "is there already") != NULL);
    CU_ASSERT(temporary_directory(site->site.directory, "public_html"));
    path_join(shown, site->site.directory, "public_html/copy");
    CU_ASSERT_EQUAL(CLOSE_RUN(site, "backup", shown), 1);
    CU_ASSERT(strstr(site->said, "web server") != NULL && !is_there(site, "public_html/copy"));
    CU_ASSERT_EQUAL(CLOSE_RUN(site, "restore", path), 1); /* the program has the queue */
    CU_ASSERT(strstr(site->said, "open") != NULL);
}

static void check_it_is_back(struct close_site *site)
{
    struct client_answer answer;
    standin_heal(site->site.standin);
    CU_ASSERT(standin_wait_messages(site->site.standin, DELIVERED + WAITING, 60000));
    CU_ASSERT_EQUAL(post_unsigned(site, &answer), 401);
    close_site_add(site, "later", 0, 5); /* signed with the key that was lost */
    CU_ASSERT(standin_close_wait_idle(site->close, 60000));
    CU_ASSERT_EQUAL(standin_close_counts(site->close).failed, 0);
    CU_ASSERT(standin_wait_messages(site->site.standin, DELIVERED + WAITING + 5, 60000));
    CU_ASSERT_EQUAL(CLOSE_RUN(site, "backfill", "--since", "1h", "--all-events", "--again"), 0);
    CU_ASSERT_EQUAL(standin_counts(site->site.standin).messages, DELIVERED + WAITING + 5); /* all that came is known */
    CU_ASSERT_EQUAL(standin_counts(site->site.standin).repeated, 0);
    CU_ASSERT_EQUAL(CLOSE_RUN(site, "queue", "status", "--json"), 0);
    char wanted[40];
    snprintf(wanted, sizeof wanted, "\"delivered\": %d", DELIVERED + WAITING + 5);
    check(strstr(site->said, wanted) != NULL || strstr(site->said, "\"delivered\":52") != NULL, "all are counted: %s",
          site->said);
}

static void a_lost_state_directory_is_put_back(void)
{
    struct close_site site;
    char path[PATH_SIZE], id[80];
    if (open_filled(&site)) {
        path_join(path, site.site.directory, "copy");
        write_backup(&site);
        close_site_stop_program(&site);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "restore", path), 1); /* there are events */
        check(strstr(site.said, "7 events") != NULL && strstr(site.said, "mv ") != NULL, "it says what to do: %s",
              site.said);
        lose(&site, "state");
        check(CLOSE_RUN(&site, "restore", path) == 0, "it is put back: %s", site.said);
        CU_ASSERT(strstr(site.said, "1 signature key") != NULL);
        CU_ASSERT_EQUAL(close_site_keys(&site), 1);
        CU_ASSERT(is_there(&site, "state/closeapi/default/reconcile"));
        CU_ASSERT(is_there(&site, "state/loss/default"));
        CU_ASSERT_EQUAL(ask(&site, "state/queue.db", "SELECT count(*) FROM sqlite_master WHERE name LIKE 'closecrm%'"),
                        0);
        CU_ASSERT(close_site_start_program(&site));
        CU_ASSERT(site_wait_logged(&site.site, "msg=started", site.starts, 60000));
        check_it_is_back(&site);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site), "--probe"), 0);
        standin_close_id(site.close, 0, id);
    }
    close_site_close(&site);
}

/* Without its key a source stays shut, all say so, and rotate mends it. */
static void a_lost_key_is_named_and_rotated(void)
{
    struct close_site site;
    char id[80];
    struct client_answer answer;
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site)), 0);
        standin_close_id(site.close, 0, id);
        close_site_stop_program(&site);
        lose(&site, "state/keys");
        CU_ASSERT(close_site_start_program(&site));
        CU_ASSERT(site_wait_logged(&site.site, "msg=started", site.starts, 60000));
        CU_ASSERT_EQUAL(post_unsigned(&site, &answer), 503);
        check(strstr(answer.body, id) == NULL, "the refusal tells strangers no subscription: %s", answer.body);
        CU_ASSERT(site_wait_logged(&site.site, "msg=source_locked", 1, 60000));
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "check"), 1);
        check(strstr(site.said, id) != NULL && strstr(site.said, "rotate --source default") != NULL,
              "check names it: %s", site.said);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "cron"), 1);
        check(strstr(site.said, id) != NULL, "cron names it: %s", site.said);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site), "--probe"), 1);
        check(strstr(site.said, "rotate") != NULL, "the probe leads out: %s", site.said);
        check(CLOSE_RUN(&site, "rotate", "--source", "default", id) == 0, "rotate mends it: %s", site.said);
        CU_ASSERT_EQUAL(close_site_keys(&site), 1);
        close_site_add(&site, "ev", 0, 3); /* the old subscription's are refused, the new one's arrive */
        CU_ASSERT(standin_wait_messages(site.site.standin, 3, 60000));
        CU_ASSERT_EQUAL(post_unsigned(&site, &answer), 401);
    }
    close_site_close(&site);
}

/* Only keys of subscriptions that Close has are taken on; without its word a person must say so. */
static void keys_are_asked_for(void)
{
    struct close_site site;
    char path[PATH_SIZE], id[80];
    struct client_answer answer;
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        path_join(path, site.site.directory, "copy");
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site)), 0);
        standin_close_id(site.close, 0, id);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "backup", path), 0);
        close_site_stop_program(&site);
        lose(&site, "state");
        close_site_configure(&site, "api_wrong", NULL, NULL);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "restore", path), 1);
        check(strstr(site.said, id) != NULL && strstr(site.said, "--keys") != NULL, "it asks for --keys: %s",
              site.said);
        CU_ASSERT_FALSE(is_there(&site, "state/queue.db"));
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "restore", "--keys", path), 0);
        CU_ASSERT_EQUAL(close_site_keys(&site), 1);

        close_site_configure(&site, NULL, NULL, NULL);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "unsubscribe", id), 0);
        lose(&site, "state");
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "restore", path), 0);
        check(strstr(site.said, "Close has it no more") != NULL, "the key is left out: %s", site.said);
        CU_ASSERT_EQUAL(close_site_keys(&site), 0);
        CU_ASSERT(close_site_start_program(&site));
        CU_ASSERT(site_wait_logged(&site.site, "msg=started", site.starts, 60000));
        CU_ASSERT_EQUAL(post_unsigned(&site, &answer), 503); /* that it had one is in the backup, too */
    }
    close_site_close(&site);
}

static void run_and_kill(struct close_site *site, const char *command, const char *path, int ms)
{
    struct process process = {0};
    int status;
    const char *const arguments[] = {command, path, NULL};
    CU_ASSERT(close_site_start(site, &process, arguments));
    poll(NULL, 0, ms);
    kill(process.pid, SIGKILL);
    CU_ASSERT(process_wait(&process, 60000, &status));
}

static void killed_at_any_moment(void)
{
    struct close_site site;
    char path[PATH_SIZE], other[PATH_SIZE];
    size_t made = 0, restored = 0;
    if (open_filled(&site)) {
        path_join(path, site.site.directory, "copy");
        path_join(other, site.site.directory, "other");
        moment started = clock_now();
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "backup", path), 0);
        int took_ms = (int)(clock_now() - started); /* kills are spread over that, and a little more */
        for (int i = 0; i < KILLS; i++) {
            run_and_kill(&site, "backup", other, took_ms * (i + 3) / KILLS);
            if (is_there(&site, "other")) { /* then it is whole */
                CU_ASSERT_EQUAL(
                    ask(&site, "other", "SELECT count(*) FROM closecrm_backup_file WHERE name LIKE 'keys/%'"), 1);
                made++;
            }
            lose(&site, "other");
            lose(&site, "other.part");
        }
        close_site_stop_program(&site);
        lose(&site, "state");
        started = clock_now();
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "restore", path), 0);
        took_ms = (int)(clock_now() - started);
        for (int i = 0; i < KILLS; i++) {
            lose(&site, "state");
            run_and_kill(&site, "restore", path, took_ms * (i + 3) / KILLS);
            if (is_there(&site, "state/queue.db")) {
                CU_ASSERT_EQUAL(ask(&site, "state/queue.db", "SELECT count(*) FROM event_4"), WAITING);
                CU_ASSERT_EQUAL(close_site_keys(&site), 1);
                CU_ASSERT(is_there(&site, "state/loss/default"));
                restored++;
            } else {
                check(CLOSE_RUN(&site, "restore", path) == 0, "after a kill it goes through: %s", site.said);
                CU_ASSERT_EQUAL(ask(&site, "state/queue.db", "SELECT count(*) FROM event_4"), WAITING);
            }
        }
        printf("(%zu and %zu of %d had got through) ", made, restored, KILLS);
        CU_ASSERT(close_site_start_program(&site));
        CU_ASSERT(site_wait_logged(&site.site, "msg=started", site.starts, 60000));
        standin_heal(site.site.standin);
    }
    close_site_close(&site);
}

/* What the queue that is there delivered since the backup is known afterwards, and its counts go on. */
static void what_was_delivered_since_stays_known(void)
{
    struct close_site site;
    char path[PATH_SIZE];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        path_join(path, site.site.directory, "copy");
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site)), 0);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "backup", path), 0);
        close_site_add(&site, "ev", 0, 9);
        CU_ASSERT(standin_wait_messages(site.site.standin, 9, 60000));
        close_site_stop_program(&site);
        check(CLOSE_RUN(&site, "restore", path) == 0, "nothing waits: %s", site.said);
        CU_ASSERT(close_site_start_program(&site));
        CU_ASSERT(site_wait_logged(&site.site, "msg=started", site.starts, 60000));
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "backfill", "--since", "1h", "--all-events", "--again"), 0);
        close_site_add(&site, "later", 0, 1);
        CU_ASSERT(standin_wait_messages(site.site.standin, 10, 60000));
        CU_ASSERT_EQUAL(standin_counts(site.site.standin).messages, 10);
    }
    close_site_close(&site);
}

void suite_close_backup(void)
{
    static CU_TestInfo tests[] = {
        {"a lost state directory is put back", a_lost_state_directory_is_put_back},
        {"a lost key is named, and rotated", a_lost_key_is_named_and_rotated},
        {"keys are asked for", keys_are_asked_for},
        {"killed at any moment", killed_at_any_moment},
        {"what was delivered since stays known", what_was_delivered_since_stays_known},
        CU_TEST_INFO_NULL,
    };
    suite_add("close backups", NULL, NULL, tests);
}
