/* Connecting: what is set, and what must hold before a connection is used. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "queue/migration.h"
#include "queue/postgresql/session.h"

/* What a role or database has set is not trusted. The planner must have no choice, for a queue's statistics are always
 * wrong. A warning says that a standby did not confirm, so that it must be sent. closecrm.direct is nobody's setting: a
 * pooler that keeps these options to itself shows by it. The server finds out within 10 s
 * that a client's machine is gone, whose locks it holds. */
#define SETTINGS                                                                                                       \
    "-c search_path=closecrm -c synchronous_commit=on -c default_transaction_read_only=off"                            \
    " -c default_transaction_isolation=read\\ committed -c client_min_messages=warning -c row_security=off"            \
    " -c jit=off -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off"                   \
    " -c enable_mergejoin=off -c enable_bitmapscan=off -c enable_indexscan=on -c closecrm.direct=yes"                  \
    " -c idle_in_transaction_session_timeout=10000"                                                                    \
    " -c tcp_keepalives_idle=4 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"

#define POOLER                                                                                                         \
    "queue_url leads to a pooler (PgBouncer), which hands one connection to several: give the address of PostgreSQL "  \
    "itself"

#define OPTIONS_MOST 64

struct options {
    const char *name[OPTIONS_MOST + 1];
    const char *value[OPTIONS_MOST + 1];
    size_t count;
};

static void set_option(struct options *options, const char *name, const char *value)
{
    size_t i = 0;
    while (i < options->count && strcmp(options->name[i], name) != 0)
        i++;
    if (value == NULL || i == OPTIONS_MOST)
        return;
    options->name[i] = name;
    options->value[i] = value;
    options->count += i == options->count;
}

static void set_unless_given(struct options *options, const char *name, const char *value)
{
    for (size_t i = 0; i < options->count; i++) {
        if (strcmp(options->name[i], name) == 0)
            return;
    }
    set_option(options, name, value);
}

/* A warning that a transaction was committed without its standby's word is no error to PostgreSQL. */
static void receive_notice(void *context, const PGresult *notice)
{
    struct pg_session *session = context;
    const char *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *text = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
    if (severity == NULL || strcmp(severity, "WARNING") != 0)
        return;
    session->warned = true;
    pg_session_words(&session->why, "the database warns: ", text == NULL ? "" : text);
}

/* Returns NULL when memory is out. */
static PGconn *connect_to(const struct pg_session *session, const PQconninfoOption *given)
{
    char settings[1200], name[64], host[40] = "";
    struct options options = {.count = 0};
    const struct pg_settings *wanted = session->settings;
    const char *own = "";
    for (const PQconninfoOption *option = given; option->keyword != NULL && options.count < OPTIONS_MOST; option++) {
        if (option->val != NULL && strcmp(option->keyword, "options") == 0)
            own = option->val;
        else
            set_option(&options, option->keyword, option->val);
    }
    gethostname(host, sizeof host - 1);
    snprintf(name, sizeof name, "closecrm %s %ld %s", host, (long)getpid(), wanted->role);
    int length = snprintf(settings, sizeof settings,
                          "%.200s " SETTINGS " -c idle_session_timeout=%lld -c statement_timeout=%lld"
                          " -c lock_timeout=%lld",
                          own, (long long)wanted->idle_ms, (long long)wanted->patience_ms * 2,
                          (long long)wanted->patience_ms - 500);
    if (length >= (int)sizeof settings)
        return NULL;
    set_option(&options, "options", settings);
    set_option(&options, "application_name", name);
    set_option(&options, "client_encoding", "UTF8");
    set_option(&options, "target_session_attrs", "read-write");
    set_unless_given(&options, "connect_timeout", "2");
    set_unless_given(&options, "tcp_user_timeout", "3000");
    set_unless_given(&options, "keepalives_idle", "2");
    set_unless_given(&options, "keepalives_interval", "1");
    set_unless_given(&options, "keepalives_count", "3");
    set_unless_given(&options, "gssencmode", "disable");
    set_unless_given(&options, "passfile", "/dev/null/none");
    set_unless_given(&options, "sslmode", "verify-full");
    set_unless_given(&options, "sslrootcert", config_certificates(session->config));
    return PQconnectdbParams(options.name, options.value, 0);
}

/* Without a user or database libpq would take the name as which this runs. */
static bool is_complete(const PQconninfoOption *given)
{
    bool user = false, database = false, host = false;
    for (const PQconninfoOption *option = given; option->keyword != NULL; option++) {
        bool set = option->val != NULL && option->val[0] != '\0';
        user |= set && strcmp(option->keyword, "user") == 0;
        database |= set && strcmp(option->keyword, "dbname") == 0;
        host |= set && (strcmp(option->keyword, "host") == 0 || strcmp(option->keyword, "hostaddr") == 0);
    }
    return user && database && host;
}

static enum pg_outcome wrong(struct pg_session *session, const char *words)
{
    pg_session_close(session);
    error_set(&session->why, "%s", words);
    return PG_WRONG;
}

static bool is_known(const char *name, const void *options)
{
    if (strcmp(name, "ssl") == 0) /* in an address only; libpq makes it sslmode */
        return true;
    for (const PQconninfoOption *option = options; option->keyword != NULL; option++) {
        if (strcmp(option->keyword, name) == 0)
            return true;
    }
    return false;
}

/* libpq has not read queue_url. Its own words may quote a password: they are left out. */
static enum pg_outcome refuse_url(struct pg_session *session)
{
    int version = PQlibVersion();
    PQconninfoOption *known = PQconninfoParse("postgresql://", NULL);
    const char *name = known == NULL ? NULL : config_queue_url_unknown(session->config->queue_url, is_known, known);
    if (name != NULL)
        error_set(
            &session->why,
            "queue_url has the parameter %s, which this machine's libpq %d.%d is too old for: remove it there, or "
            "install a newer libpq (package libpq5 or postgresql-libs)",
            name, version / 10000, version % 10000);
    else
        error_set(&session->why,
                  "queue_url cannot be read by this machine's libpq %d.%d: postgresql://USER:PASSWORD@HOST/DATABASE, "
                  "with %%XX for what has a meaning in addresses",
                  version / 10000, version % 10000);
    PQconninfoFree(known);
    return PG_WRONG;
}

static enum pg_outcome connect_anew(struct pg_session *session)
{
    char *fault = NULL;
    PQconninfoOption *given = PQconninfoParse(session->config->queue_url, &fault);
    if (given == NULL) {
        PQfreemem(fault);
        return refuse_url(session);
    }
    bool complete = is_complete(given);
    if (complete)
        session->connection = connect_to(session, given);
    PQconninfoFree(given);
    if (!complete) {
        error_set(&session->why, "queue_url must name host, user and database: postgresql://USER@HOST/DATABASE");
        return PG_WRONG;
    }
    if (session->connection == NULL)
        return pg_session_lose(session, "out of memory");
    if (PQstatus(session->connection) == CONNECTION_OK && PQsetnonblocking(session->connection, 1) == 0) {
        PQsetNoticeReceiver(session->connection, receive_notice, session);
        return PG_DONE;
    }
    struct error why;
    /* Our options are there so that poolers refuse them; libpq gives the code of such a refusal nowhere. */
    if (strstr(PQerrorMessage(session->connection), "unsupported startup parameter") != NULL)
        return wrong(session, POOLER);
    if (strstr(PQerrorMessage(session->connection), "server does not support SSL") != NULL)
        error_set(&why,
                  "the database of queue_url cannot be used: its server has no TLS, which queue_url asks for unless "
                  "it says otherwise: set `ssl = on` and a certificate there; or, where the way to it is safe, "
                  "?sslmode=disable behind the database's name");
    else
        pg_session_words(&why, "the database of queue_url cannot be used: ", PQerrorMessage(session->connection));
    pg_session_close(session);
    session->why = why;
    return PG_LOST;
}

/* ---- opening ---- */

static enum pg_outcome migrates(struct pg_session *session)
{
    struct migration_mark mark;
    enum pg_outcome result = migration_read(session, &mark);
    if (result != PG_DONE)
        return result;
    pg_session_close(session);
    migration_words(&mark, migration_reader(&mark, session->config), &session->why);
    return PG_WRONG;
}

static enum pg_outcome look_at_setup(struct pg_session *session, const PGresult *setup)
{
    if (PQntuples(setup) == 0)
        return wrong(session, "the database's table closecrm.meta has no row: " PG_RESTORE);
    if (PQntuples(setup) > 1)
        return wrong(session,
                     "a dump was restored while a program ran, for closecrm.meta has several rows: " PG_RESTORE);
    if (strcmp(PQgetvalue(setup, 0, 0), "yes") != 0)
        return wrong(session, POOLER);
    int version = (int)result_int(setup, 0, 1);
    session->is_moved = version == SCHEMA_MIGRATES;
    if (version <= SCHEMA_VERSION)
        return result_int(setup, 0, 2) != 0 ? PG_DONE : PG_MISSING;
    if (version == SCHEMA_MIGRATES)
        return session->migrates ? PG_DONE : migrates(session);
    pg_session_close(session);
    error_set(&session->why,
              "the queue in the database has version %d, made by a newer release; this one knows %d: install the newer "
              "release on this machine, too",
              version, SCHEMA_VERSION);
    return PG_WRONG;
}

static bool note_number(struct pg_session *session, const char *name, int32_t number)
{
    struct source_number *at = realloc(session->number, (session->numbers + 1) * sizeof *at);
    char *copy = strdup(name);
    if (at != NULL)
        session->number = at;
    if (at == NULL || copy == NULL) {
        free(copy);
        return false;
    }
    at += session->numbers++;
    at->name = copy;
    at->number = number;
    return true;
}

static enum pg_outcome note_numbers(struct pg_session *session, const PGresult *sources)
{
    pg_session_forget_sources(session);
    for (int i = 0; i < PQntuples(sources); i++) {
        if (!note_number(session, PQgetvalue(sources, i, 1), (int32_t)result_int(sources, i, 0)))
            return pg_session_lose(session, "out of memory");
    }
    return PG_DONE;
}

static enum pg_outcome set_up(struct pg_session *session)
{
    PGresult *results[2] = {NULL, NULL};
    /* unprepared: names of prepared statements are mixed up by a pooler, which is not known to be none yet */
    pg_session_send_text(session, pg_statement_texts[STATEMENT_SETUP], NULL);
    pg_session_send_text(session, pg_statement_texts[STATEMENT_SOURCES], NULL);
    enum pg_outcome result = pg_session_finish(session, results);
    if (result == PG_DONE)
        result = look_at_setup(session, results[0]);
    if (result == PG_DONE)
        result = note_numbers(session, results[1]);
    PQclear(results[0]);
    PQclear(results[1]);
    return result;
}

/* Through a pooler without our options the tables would be made in another schema. */
static enum pg_outcome make_tables(struct pg_session *session)
{
    PGresult *direct = NULL;
    enum pg_outcome result =
        pg_session_ask(session, "SELECT coalesce(current_setting('closecrm.direct', true), '')", NULL, &direct);
    bool is_direct = result == PG_DONE && strcmp(PQgetvalue(direct, 0, 0), "yes") == 0;
    PQclear(direct);
    if (result == PG_DONE && !is_direct)
        return wrong(session, POOLER);
    return result == PG_DONE ? pg_schema_make(session) : result;
}

enum pg_outcome pg_session_open(struct pg_session *session)
{
    if (session->connection != NULL)
        return PG_DONE;
    enum pg_outcome result = connect_anew(session);
    if (result != PG_DONE)
        return result;
    if (PQserverVersion(session->connection) < 140000)
        return wrong(session, "queue = postgresql needs PostgreSQL 14 or newer");
    result = set_up(session);
    session->is_bare = result == PG_MISSING && session->rehearses;
    if (result == PG_MISSING) {
        result = pg_identity_may_make(session);
        result = result == PG_DONE ? make_tables(session) : result;
        result = result == PG_DONE && !session->is_bare ? set_up(session) : result;
    }
    if (result == PG_DONE && !session->is_bare)
        result = pg_identity_check(session);
    if (result != PG_DONE && session->connection != NULL) {
        struct error why = session->why;
        pg_session_close(session);
        session->why = why;
    }
    return result == PG_DONE || result == PG_LOST ? result : PG_WRONG;
}

enum pg_outcome pg_session_number(struct pg_session *session, const char *source, bool add, int32_t *number)
{
    *number = 0;
    for (int tries = 0; tries < 3; tries++) {
        PGresult *sources = NULL;
        for (size_t i = 0; i < session->numbers && *number == 0; i++)
            *number = strcmp(session->number[i].name, source) == 0 ? session->number[i].number : 0;
        if (*number != 0 || tries == 2 || (tries == 1 && !add))
            break;
        enum pg_outcome result = tries == 1 ? pg_schema_add_source(session, source) : PG_DONE;
        if (result == PG_DONE)
            result = pg_session_run(session, STATEMENT_SOURCES, NULL, &sources);
        if (result == PG_DONE)
            result = note_numbers(session, sources);
        PQclear(sources);
        if (result != PG_DONE)
            return result;
    }
    return PG_DONE;
}
