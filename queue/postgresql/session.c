/* Statements on a connection: waiting with deadlines, and what became of a transaction. */
#include "queue/postgresql/session.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/sockios.h>

#define STATEMENT_NAME 16
#define LOOK_MS 200     /* how often a wait looks whether it is to stop, and whether what was sent is under way */
#define SENDING_TIMES 4 /* so many times patience_ms are the longest wait while bytes still leave */

void pg_session_init(struct pg_session *session, const struct config *config, const struct pg_settings *settings)
{
    *session = (struct pg_session){.config = config, .settings = settings};
}

void pg_session_forget_sources(struct pg_session *session)
{
    for (size_t i = 0; i < session->numbers; i++)
        free(session->number[i].name);
    free(session->number);
    session->number = NULL;
    session->numbers = 0;
}

void pg_session_close(struct pg_session *session)
{
    if (session->connection != NULL)
        PQfinish(session->connection);
    session->connection = NULL;
    session->prepared = 0;
    session->sents = 0;
    session->warned = false;
    session->event_table = 0;
    pg_session_forget_sources(session);
}

bool pg_session_failed(const struct pg_session *session, struct error *why)
{
    if (why != NULL)
        *why = session->why;
    return false;
}

/* libpq's texts have several lines, each with an end. */
void pg_session_words(struct error *why, const char *before, const char *text)
{
    char line[400];
    size_t length = 0;
    for (; *text != '\0' && length + 1 < sizeof line; text++) {
        bool space = *text == '\n' || *text == '\t' || *text == ' ';
        if (!space || (length > 0 && line[length - 1] != ' '))
            line[length++] = space ? ' ' : *text;
    }
    while (length > 0 && strchr(" ?.", line[length - 1]) != NULL) /* "... on that socket?": more is said behind it */
        length--;
    line[length] = '\0';
    error_set(why, "%s%s", before, line);
}

enum pg_outcome pg_session_lose(struct pg_session *session, const char *format, ...)
{
    char text[300];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    pg_session_close(session);
    error_set(&session->why, "%s", text);
    return PG_LOST;
}

/* ---- waiting ---- */

/* Takes up notifications; one may be in libpq's buffer, and the socket silent. */
static void take_notifications(struct pg_session *session)
{
    PGnotify *one;
    while ((one = PQnotifies(session->connection)) != NULL) {
        session->notified = true;
        session->asked |= one->extra != NULL && one->extra[0] != '\0';
        PQfreemem(one);
    }
}

void pg_session_take_in(struct pg_session *session)
{
    if (session->connection == NULL)
        return;
    if (!PQconsumeInput(session->connection)) {
        struct error why;
        pg_session_words(&why, "the database went away: ", PQerrorMessage(session->connection));
        pg_session_lose(session, "%.290s", why.text);
    } else
        take_notifications(session);
}

static void begin_waiting(struct pg_session *session, int64_t patience_ms)
{
    session->waits = clock_now();
    session->patience_ms = patience_ms;
    session->until = session->waits + patience_ms;
    session->unsent = 0;
    session->warned = false;
}

/* As long as what was sent leaves this machine the server cannot answer: the wait for that begins anew. What a server
 * that is stopped does not take stays here, as soon as its kernel's buffers are full. */
static void note_leaving(struct pg_session *session, bool writable)
{
    int unsent = 0;
    moment most = session->waits + SENDING_TIMES * session->patience_ms;
    if (ioctl(PQsocket(session->connection), SIOCOUTQ, &unsent) != 0)
        unsent = 0;
    if (writable || unsent < session->unsent)
        session->until = clock_now() + session->patience_ms;
    session->until = session->until < most ? session->until : most;
    session->unsent = unsent;
}

/* A wait for the socket, until the deadline, or until somebody has stopped it. */
static int wait_for_socket(struct pg_session *session, struct pollfd *socket)
{
    int ready = 0;
    while (ready == 0 && clock_now() < session->until && (session->stop == NULL || !atomic_load(session->stop))) {
        moment look = clock_now() + LOOK_MS;
        ready = poll(socket, 1, clock_until(look < session->until ? look : session->until));
        if (ready == 0 || (ready > 0 && (socket->revents & POLLOUT) != 0))
            note_leaving(session, ready > 0);
    }
    return ready;
}

/* Until the next result can be taken without waiting. Returns false when the session is lost. */
static bool await_result(struct pg_session *session)
{
    PGconn *connection = session->connection;
    for (;;) {
        int unsent = PQflush(connection);
        if (unsent >= 0 && !PQisBusy(connection))
            break;
        struct pollfd socket = {.fd = PQsocket(connection), .events = (short)(unsent > 0 ? POLLIN | POLLOUT : POLLIN)};
        int ready = unsent < 0 ? 1 : wait_for_socket(session, &socket);
        if (ready == 0) {
            pg_session_lose(session, "the database does not answer within %lld s",
                            (long long)(clock_now() - session->waits + 500) / 1000);
            return false;
        }
        if (unsent < 0 || (ready > 0 && !PQconsumeInput(connection))) {
            struct error why;
            pg_session_words(&why, "the database went away: ", PQerrorMessage(connection));
            pg_session_lose(session, "%.290s", why.text);
            return false;
        }
    }
    session->answered = clock_now();
    return true;
}

/* ---- what became of it ---- */

#define GUARD_FAILED "22012" /* division by zero, in STATEMENT_GUARD and STATEMENT_APPEND */

static const struct {
    const char *state; /* or how it begins */
    enum pg_outcome result;
} states[] = {
    {"23505", PG_TWICE}, {"53100", PG_FULL}, {"42P01", PG_MISSING}, {"57P", PG_LOST},
    {"57014", PG_LOST},  {"55P03", PG_LOST}, {"08", PG_LOST},       {"25006", PG_LOST},
    {"40", PG_LOST},     {"25P03", PG_LOST}, {"3F000", PG_MISSING}, {GUARD_FAILED, PG_LOST},
};

static enum pg_outcome judge(struct pg_session *session, const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    enum pg_outcome judged = state == NULL ? PG_LOST : PG_WRONG;
    for (size_t i = 0; state != NULL && i < sizeof states / sizeof *states; i++) {
        if (strncmp(state, states[i].state, strlen(states[i].state)) == 0)
            judged = states[i].result;
    }
    const char *table = PQresultErrorField(result, PG_DIAG_TABLE_NAME);
    if (judged == PG_TWICE && (table == NULL || strcmp(table, "appended") != 0))
        judged = PG_WRONG; /* an event with that id: see STATEMENT_CHECK */
    pg_session_words(&session->why, "the database says: ", text == NULL ? PQerrorMessage(session->connection) : text);
    if (state != NULL && strcmp(state, GUARD_FAILED) == 0)
        error_set(&session->why, "the tables of the queue were exchanged under this connection");
    return judged;
}

/* Tables that were there when the session was opened: the next one looks what became of them. */
static enum pg_outcome of_open_session(const struct pg_session *session, enum pg_outcome judged)
{
    return judged == PG_MISSING && session->event_table != 0 ? PG_LOST : judged;
}

/* ---- statements ---- */

/* Before a statement is sent: fills in that all its parameters are binary. Returns them, or none. */
static const struct params *begin_sending(struct pg_session *session, const struct params *params,
                                          int formats[static PARAMS_MOST])
{
    static const struct params none = {.count = 0};
    if (params == NULL)
        params = &none;
    for (int i = 0; i < params->count; i++)
        formats[i] = 1;
    if (session->sents == 0)
        PQenterPipelineMode(session->connection);
    return params;
}

/* Whether so many more can be sent. */
static bool may_send(const struct pg_session *session, size_t more)
{
    return session->connection != NULL && session->sents + more <= sizeof session->sent / sizeof *session->sent;
}

static void name_statement(enum statement statement, char name[static STATEMENT_NAME])
{
    snprintf(name, STATEMENT_NAME, "s%d", (int)statement);
}

void pg_session_prepare(struct pg_session *session, enum statement statement, const struct params *params)
{
    int formats[PARAMS_MOST];
    char name[STATEMENT_NAME];
    if (!may_send(session, 1) || (session->prepared & UINT64_C(1) << statement) != 0)
        return;
    params = begin_sending(session, params, formats);
    name_statement(statement, name);
    PQsendPrepare(session->connection, name, pg_statement_texts[statement], params->count, params->type);
    session->sent[session->sents].prepares = true;
    session->sent[session->sents++].statement = statement;
    session->prepared |= UINT64_C(1) << statement;
}

/* A session that is closed notes nothing: pg_session_finish says that it is lost. */
void pg_session_send(struct pg_session *session, enum statement statement, const struct params *params)
{
    int formats[PARAMS_MOST];
    char name[STATEMENT_NAME];
    if (!may_send(session, 2))
        return;
    pg_session_prepare(session, statement, params);
    params = begin_sending(session, params, formats);
    name_statement(statement, name);
    PQsendQueryPrepared(session->connection, name, params->count, params->value, params->length, formats, 1);
    session->sent[session->sents].prepares = false;
    session->sent[session->sents++].statement = statement;
}

void pg_session_send_text(struct pg_session *session, const char *text, const struct params *params)
{
    int formats[PARAMS_MOST];
    if (!may_send(session, 1))
        return;
    params = begin_sending(session, params, formats);
    PQsendQueryParams(session->connection, text, params->count, params->type, params->value, params->length, formats,
                      1);
    session->sent[session->sents].statement = STATEMENTS;
    session->sent[session->sents++].prepares = false;
}

enum pg_outcome pg_session_ask(struct pg_session *session, const char *text, const struct params *params,
                               PGresult **result)
{
    pg_session_send_text(session, text, params);
    return pg_session_finish(session, result);
}

/* Takes the result of one that was sent, and the end after it. */
static PGresult *take_result(struct pg_session *session)
{
    PGresult *first = NULL, *next;
    for (;;) {
        if (!await_result(session)) {
            PQclear(first);
            return NULL;
        }
        next = PQgetResult(session->connection);
        if (next == NULL)
            return first;
        if (PQresultStatus(next) == PGRES_PIPELINE_SYNC)
            return next; /* no end follows it */
        PQclear(first);
        first = next;
    }
}

static void clear_results(PGresult **results, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        PQclear(results[i]);
        results[i] = NULL;
    }
}

/* No result came: unless the server said why before, libpq does, or whoever gave up waiting did. Returns false. */
static bool note_end(struct pg_session *session, enum pg_outcome judged)
{
    if (session->connection != NULL && judged == PG_DONE)
        pg_session_words(&session->why, "the database went away: ", PQerrorMessage(session->connection));
    return false;
}

/* Takes the results of all that was sent, and notes the first fault. Returns false when the session is lost. */
static bool take_results(struct pg_session *session, PGresult **results, size_t *taken, enum pg_outcome *judged)
{
    for (size_t i = 0; i < session->sents; i++) {
        PGresult *result = take_result(session);
        if (result == NULL)
            return note_end(session, *judged);
        ExecStatusType status = PQresultStatus(result);
        bool good = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
        if (!good && session->sent[i].prepares)
            session->prepared &= ~(UINT64_C(1) << session->sent[i].statement);
        if (!good && status != PGRES_PIPELINE_ABORTED && *judged == PG_DONE)
            *judged = judge(session, result);
        if (good && results != NULL && !session->sent[i].prepares && session->sent[i].statement != STATEMENT_GUARD)
            results[(*taken)++] = result;
        else
            PQclear(result);
    }
    PGresult *end = take_result(session); /* only now it is committed */
    bool is_end = end != NULL && PQresultStatus(end) == PGRES_PIPELINE_SYNC;
    if (end != NULL && !is_end && *judged == PG_DONE)
        *judged = judge(session, end);
    PQclear(end);
    if (end != NULL && !is_end)
        pg_session_lose(session, "%.290s", session->why.text);
    return is_end;
}

/* In each transaction, for names of tables may lead elsewhere from one statement to the next: a schema was renamed and
 * another one put into its place, where numbers and ids mean something else. */
static void send_guard(struct pg_session *session)
{
    struct params params = {.count = 0};
    if (session->event_table == 0)
        return;
    params_int8(&params, session->event_table);
    params_int8(&params, session->source_file);
    pg_session_send(session, STATEMENT_GUARD, &params);
}

enum pg_outcome pg_session_finish(struct pg_session *session, PGresult **results)
{
    size_t taken = 0;
    enum pg_outcome judged = PG_DONE;
    if (session->connection == NULL)
        return PG_LOST;
    send_guard(session);
    begin_waiting(session, session->settings->patience_ms);
    bool sent = PQpipelineSync(session->connection) == 1;
    if (!sent)
        pg_session_lose(session, "out of memory");
    if (!sent || !take_results(session, results, &taken, &judged))
        judged = PG_LOST;
    session->sents = 0;
    judged = of_open_session(session, judged);
    if (judged == PG_DONE && session->warned)
        judged = PG_LOST;
    if (session->connection != NULL) {
        take_notifications(session);
        PQexitPipelineMode(session->connection);
    }
    if (judged == PG_LOST && session->connection != NULL) {
        struct error why = session->why;
        pg_session_lose(session, "%.290s", why.text);
    }
    if (judged != PG_DONE && results != NULL)
        clear_results(results, taken);
    return judged;
}

enum pg_outcome pg_session_run(struct pg_session *session, enum statement statement, const struct params *params,
                               PGresult **result)
{
    pg_session_send(session, statement, params);
    return pg_session_finish(session, result);
}

enum pg_outcome pg_session_text(struct pg_session *session, const char *text, int64_t patience_ms)
{
    enum pg_outcome judged = PG_DONE;
    if (session->connection == NULL)
        return PG_LOST;
    begin_waiting(session, patience_ms);
    if (!PQsendQuery(session->connection, text))
        return pg_session_lose(session, "out of memory");
    for (;;) {
        if (!await_result(session))
            return PG_LOST;
        PGresult *result = PQgetResult(session->connection);
        if (result == NULL)
            break;
        ExecStatusType status = PQresultStatus(result);
        if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && judged == PG_DONE)
            judged = judge(session, result);
        PQclear(result);
    }
    take_notifications(session);
    judged = of_open_session(session, judged);
    if (judged == PG_DONE && session->warned)
        judged = PG_LOST;
    if (judged != PG_LOST)
        return judged;
    struct error why = session->why;
    return pg_session_lose(session, "%.290s", why.text);
}
