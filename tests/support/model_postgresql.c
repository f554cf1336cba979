/* See model_postgresql.h. */
#include "tests/support/model_postgresql.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/postgresql.h"

#define STEP_NS 150000 /* of the wait before a kill, for each "write" */

static struct postgresql server;
static char url[POSTGRESQL_URL];
static void (*kills)(void);
static bool cut; /* connections, in the step in hand */

bool model_postgresql_begin(void)
{
    return postgresql_start(&server, "fsync = on\n") && postgresql_database(&server, url);
}

void model_postgresql_end(void)
{
    postgresql_stop(&server);
}

static void configure(struct config *config)
{
    config->queue = QUEUE_POSTGRESQL;
    config->queue_url = url;
}

static bool run(const char *sql)
{
    char *answer = postgresql_run(url, sql);
    free(answer);
    return answer != NULL;
}

static bool begin_life(void)
{
    return run("SET client_min_messages = warning; DROP SCHEMA IF EXISTS closecrm CASCADE");
}

/* What a process that was killed had sent is done, or given up, before the next one looks. */
static bool begin(void)
{
    return run("SET statement_timeout = '30s'; DO $$BEGIN LOOP PERFORM pg_stat_clear_snapshot(); EXIT WHEN NOT EXISTS"
               " (SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
               " AND backend_type = 'client backend'); PERFORM pg_sleep(0.001); END LOOP; END$$");
}

static void on_time(int signal)
{
    (void)signal;
    if (kills != NULL)
        kills();
}

static void kill_at(unsigned n, void (*act)(void))
{
    static timer_t timer;
    static bool made;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct itimerspec after = {.it_value = {.tv_nsec = (long)n * STEP_NS}};
    if (!made) {
        signal(SIGUSR1, on_time);
        made = timer_create(CLOCK_MONOTONIC, &event, &timer) == 0;
    }
    kills = act;
    if (made)
        timer_settime(timer, 0, &after, NULL);
}

static void cut_connections(unsigned n)
{
    char sql[256];
    snprintf(sql, sizeof sql,
             "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity WHERE datname = current_database()"
             " AND application_name LIKE 'closecrm %% %ld %%'",
             (long)getpid());
    cut = n > 0 && run(sql);
}

static bool were_cut(void)
{
    return cut;
}

/* What is the file's own matter; and the clock, for the server's is not shifted. */
static bool leaves_out(enum model_kind kind)
{
    return kind == MODEL_BACKUP || kind == MODEL_RESTORE || kind == MODEL_REPAIR || kind == MODEL_PASS ||
           kind == MODEL_SCRUB;
}

const struct model_engine model_postgresql = {.name = "postgresql",
                                              .begin = begin,
                                              .at_write = kill_at,
                                              .fail_at = cut_connections,
                                              .has_failed = were_cut,
                                              .configure = configure,
                                              .begin_life = begin_life,
                                              .leaves_out = leaves_out,
                                              .is_a_server = true};
