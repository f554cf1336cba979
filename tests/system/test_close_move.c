/* queue move, with Close at the other end: a source that is renamed keeps its key, what it delivered, and its place in
 * the Event Log. */
#include "tests/suites.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/close_site.h"

#define EVENTS 60

static const struct standin_close_options usual = {.hold_ms = 0};

/* The same configuration, with the source under another name. */
static void rename_source(struct close_site *site, const char *name)
{
    char text[2048];
    int length = snprintf(text, sizeof text,
                          "[source %s]\ndata_plane_url = http://127.0.0.1:%u\nwrite_key = " ALPHA_WRITE_KEY "\n"
                          "close_api_key = " CLOSE_API_KEY "\nclose_api_url = %s\nreconcile_interval = 1m\n",
                          name, site->site.standin_port, standin_close_url(site->close));
    CU_ASSERT(temporary_write(site->site.directory, "closecrm.conf", 0600, text, (size_t)length));
}

static bool is_there(const struct close_site *site, const char *name)
{
    char path[PATH_SIZE];
    path_join(path, site->site.directory, name);
    return access(path, F_OK) == 0;
}

static void a_renamed_source_keeps_all(void)
{
    struct close_site site;
    char id[80], name[160];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site)), 0);
        standin_close_id(site.close, 0, id);
        close_site_add(&site, "ev", 0, EVENTS);
        CU_ASSERT(standin_wait_messages(site.site.standin, EVENTS, 60000));
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile"), 0);

        close_site_stop_program(&site);
        rename_source(&site, "acme");
        CU_ASSERT(close_site_start_program(&site));
        CU_ASSERT(site_wait_logged(&site.site, "msg=started", site.starts, 60000));
        /* a first reading of the log under the new name would send all again: it waits for the move, and says so */
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "cron"), 1);
        check(strstr(site.said, "queue move default NEW") != NULL, "cron says what to do: %s", site.said);
        check(CLOSE_RUN(&site, "queue", "move", "default", "acme") == 0, "it moves: %s", site.said);
        check(strstr(site.said, "1 signature key,") != NULL && strstr(site.said, "not moved") == NULL, "all of it: %s",
              site.said);
        snprintf(name, sizeof name, "state/keys/acme-%s.key", id);
        CU_ASSERT(is_there(&site, name));
        CU_ASSERT_EQUAL(close_site_keys(&site), 1);
        CU_ASSERT(is_there(&site, "state/closeapi/acme/reconcile"));
        CU_ASSERT_FALSE(is_there(&site, "state/closeapi/default/reconcile"));

        /* Close sends again what it sent: it is known, by the process that forwards now */
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "backfill", "--since", "1h", "--all-events", "--again"), 0);
        check(strstr(site.said, "0 new") != NULL || standin_counts(site.site.standin).messages == EVENTS,
              "nothing is new: %s", site.said);
        close_site_add(&site, "later", 0, 5); /* signed with the key that was moved */
        CU_ASSERT(standin_wait_messages(site.site.standin, EVENTS + 5, 60000));
        CU_ASSERT_EQUAL(standin_close_counts(site.close).failed, 0);
        CU_ASSERT_EQUAL(standin_counts(site.site.standin).messages, EVENTS + 5);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "queue", "status"), 0);
        CU_ASSERT(strstr(site.said, "default") == NULL);
    }
    close_site_close(&site);
}

/* What the new source has already is its own; the command says what stays, and can be called again. */
static void what_is_there_already_stays(void)
{
    static const char mine[] = "since_us = 7\nuntil_us = 8\n", old[] = "since_us = 1\nuntil_us = 2\n";
    struct close_site site;
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site)), 0);
        close_site_stop_program(&site);
        rename_source(&site, "acme");
        CU_ASSERT(temporary_directory(site.site.directory, "state/closeapi/acme"));
        CU_ASSERT(temporary_write(site.site.directory, "state/closeapi/acme/reconcile", 0600, mine, sizeof mine - 1));
        CU_ASSERT(temporary_write(site.site.directory, "state/closeapi/default/reconcile", 0600, old, sizeof old - 1));
        CU_ASSERT(temporary_write(site.site.directory, "state/closeapi/default/paused-x", 0600, "y", 1));
        for (int i = 0; i < 2; i++) {
            check(CLOSE_RUN(&site, "queue", "move", "default", "acme") == 0, "it moves the rest: %s", site.said);
            CU_ASSERT(strstr(site.said, "not moved: closeapi/default/reconcile") != NULL);
            CU_ASSERT(is_there(&site, "state/closeapi/acme/paused-x"));
            char *text = temporary_read(site.site.directory, "state/closeapi/acme/reconcile");
            CU_ASSERT(text != NULL && strcmp(text, mine) == 0);
            free(text);
        }
        CU_ASSERT(close_site_start_program(&site));
        CU_ASSERT(site_wait_logged(&site.site, "msg=started", site.starts, 60000));
    }
    close_site_close(&site);
}

void suite_close_move(void)
{
    static CU_TestInfo tests[] = {
        {"a renamed source keeps its key, its place and what it delivered", a_renamed_source_keeps_all},
        {"what is there already stays", what_is_there_already_stays},
        CU_TEST_INFO_NULL,
    };
    suite_add("close move", NULL, NULL, tests);
}
