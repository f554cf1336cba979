/* What a database promises and how it stands, for `check`: queue_describe of inspect.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "queue/inspect.h"
#include "queue/postgresql/store.h"

#define CLOCK_MS 60000 /* apart: ages and "last delivered" are told wrongly from here on */
#define FEW 90         /* percent of the connections in use */

enum column {
    VERSION,
    NAMES,
    MAY_SEE,
    STANDBYS,
    CONFIRMING,
    USED,
    MOST,
    CLOCK,
    NO_SYNC,
    PATRONI,
};

enum patroni { PATRONI_NONE, PATRONI_OLD, PATRONI_THERE };

/* Of the connections those of the role count where it has a limit, else all that are no superuser's. */
static const char asked[] =
    "SELECT current_setting('server_version') || coalesce(' on ' || host(inet_server_addr()), ''),"
    " current_setting('synchronous_standby_names'), pg_has_role('pg_read_all_stats', 'USAGE')::int4,"
    " coalesce((SELECT string_agg(application_name || ' (' || coalesce(sync_state, '?') || ', ' || coalesce(state, '?')"
    " || ')', ', ' ORDER BY application_name) FROM pg_stat_replication), ''),"
    " (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum') AND state = 'streaming'),"
    " CASE WHEN r.rolconnlimit >= 0 THEN (SELECT count(*) FROM pg_stat_activity WHERE usesysid = r.oid)"
    " ELSE (SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL) END,"
    " CASE WHEN r.rolconnlimit >= 0 THEN r.rolconnlimit::int8 ELSE current_setting('max_connections')::int8"
    " - current_setting('superuser_reserved_connections')::int8 END,"
    " (extract(epoch FROM clock_timestamp()) * 1000)::int8,"
    " (current_setting('fsync') = 'off' OR current_setting('full_page_writes') = 'off')::int4,"
    /* its one session was called so up to 3.1, and they have a word more since 3.2; patronictl is anybody's */
    " (SELECT CASE WHEN bool_or(application_name IN ('Patroni heartbeat', 'Patroni restapi')) THEN 2"
    " WHEN bool_or(application_name = 'Patroni') THEN 1 ELSE 0 END FROM pg_stat_activity)::int4"
    " FROM pg_roles r WHERE r.rolname = current_user";

/* One worry behind the other; the first is whole. */
static void worry(struct queue_setup *setup, const char *text)
{
    struct error before = setup->worry;
    error_set(&setup->worry, "%s%s%s", before.text, before.text[0] == '\0' ? "" : "; ", text);
}

static void describe_copies(const PGresult *row, struct queue_setup *setup)
{
    const char *names = PQgetvalue(row, 0, NAMES), *standbys = PQgetvalue(row, 0, STANDBYS);
    bool may_see = result_int(row, 0, MAY_SEE) != 0;
    if (names[0] == '\0')
        snprintf(setup->copies, sizeof setup->copies,
                 "no standby is waited for: what is answered 200 is on this server's disk alone, unless its provider "
                 "copies that%s%.200s",
                 standbys[0] == '\0' ? "" : "; connected: ", standbys);
    else if (!may_see)
        snprintf(setup->copies, sizeof setup->copies,
                 "each commit waits for %.100s; whether they are there this role may not see: GRANT pg_read_all_stats "
                 "TO it",
                 names);
    else
        snprintf(setup->copies, sizeof setup->copies, "each commit waits for %.100s; connected: %.240s", names,
                 standbys[0] == '\0' ? "none" : standbys);
    if (names[0] != '\0' && may_see && result_int(row, 0, CONFIRMING) == 0)
        worry(setup, "no standby is there that commits wait for: nothing is accepted until one is");
}

/* What was measured of Patroni, and which mode is needed: docs/many-machines.md. Only 4.0 and newer have a quorum. */
static void describe_patroni(const PGresult *row, struct queue_setup *setup)
{
    enum patroni patroni = (enum patroni)result_int(row, 0, PATRONI);
    if (patroni == PATRONI_OLD)
        worry(setup, "its Patroni is older than 3.2, and loses what it has confirmed when a machine stands still and "
                     "goes on: use 4.0 or newer");
    else if (patroni == PATRONI_THERE && strncasecmp(PQgetvalue(row, 0, NAMES), "ANY ", 4) != 0)
        worry(setup,
              "commits do not wait for a quorum, so that a new primary may confirm what no other server has: use "
              "Patroni 4.0 or newer with synchronous_mode: quorum");
}

static void describe_connections(const PGresult *row, struct queue_setup *setup)
{
    int64_t used = result_int(row, 0, USED), most = result_int(row, 0, MOST);
    snprintf(setup->connections, sizeof setup->connections, "%" PRId64 " of %" PRId64 " are in use", used, most);
    if (used * 100 >= most * FEW)
        worry(setup, "its connections are nearly used up: raise max_connections (or the role's limit), or let fewer "
                     "processes run; each needs up to three, and each machine two more");
}

static void describe_rest(const PGresult *row, struct queue_setup *setup)
{
    char text[160];
    int64_t apart = clock_unix_ms() - result_int(row, 0, CLOCK);
    snprintf(setup->server, sizeof setup->server, "PostgreSQL %.100s", PQgetvalue(row, 0, VERSION));
    if (result_int(row, 0, NO_SYNC) != 0)
        worry(setup, "fsync or full_page_writes is off: a power cut loses what was accepted");
    if (apart > -CLOCK_MS && apart < CLOCK_MS)
        return;
    snprintf(text, sizeof text, "this machine's clock is %lld s %s its own: set both by NTP",
             (long long)llabs(apart) / 1000, apart > 0 ? "ahead of" : "behind");
    worry(setup, text);
}

static enum pg_outcome describe(struct pg_session *session, struct queue_setup *setup)
{
    PGresult *row = NULL;
    enum pg_outcome result = pg_session_ask(session, asked, NULL, &row);
    if (result == PG_DONE && PQntuples(row) > 0) {
        describe_rest(row, setup);
        describe_copies(row, setup);
        describe_patroni(row, setup);
        describe_connections(row, setup);
    }
    PQclear(row);
    return result;
}

bool pg_describe(void *state, struct queue_setup *setup, struct error *why)
{
    struct pg_queue *queue = state;
    bool again = false;
    enum pg_outcome result;
    do
        result = pg_look(queue, NULL) ? describe(&queue->look, setup) : PG_LOST;
    while (pg_look_again(queue, result, &again));
    return pg_looked(queue, result, why);
}

bool pg_try(const struct config *config, struct queue_setup *setup, bool *is_there, struct error *why)
{
    static const struct pg_settings trying = {"tries", ANSWER_MS, 0};
    struct pg_session session;
    if (!libpq_load(why))
        return false;
    pg_session_init(&session, config, &trying);
    session.rehearses = true;
    bool good = pg_session_open(&session) == PG_DONE && describe(&session, setup) == PG_DONE;
    *is_there = !session.is_bare;
    if (!good)
        pg_session_failed(&session, why);
    pg_session_close(&session);
    return good;
}
