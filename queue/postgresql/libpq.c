/* Loading libpq: see libpq.h. The program is not linked with it: a function that is missing here is found by the
 * linker. */
#include "queue/postgresql/libpq.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY "libpq.so.5" /* its interface since 2006 */
#define ADVICE "it comes with the package libpq5 (Debian, Ubuntu) or postgresql-libs"

/* result, name, parameters, arguments */
#define FUNCTIONS(F)                                                                                                   \
    F(PGconn *, PQconnectdbParams, (const char *const *names, const char *const *values, int expand),                  \
      (names, values, expand))                                                                                         \
    F(PQconninfoOption *, PQconninfoParse, (const char *text, char **why), (text, why))                                \
    F(ConnStatusType, PQstatus, (const PGconn *connection), (connection))                                              \
    F(char *, PQerrorMessage, (const PGconn *connection), (connection))                                                \
    F(int, PQserverVersion, (const PGconn *connection), (connection))                                                  \
    F(int, PQlibVersion, (void), ())                                                                                   \
    F(int, PQsocket, (const PGconn *connection), (connection))                                                         \
    F(int, PQsetnonblocking, (PGconn * connection, int on), (connection, on))                                          \
    F(int, PQflush, (PGconn * connection), (connection))                                                               \
    F(int, PQconsumeInput, (PGconn * connection), (connection))                                                        \
    F(int, PQisBusy, (PGconn * connection), (connection))                                                              \
    F(PGnotify *, PQnotifies, (PGconn * connection), (connection))                                                     \
    F(int, PQenterPipelineMode, (PGconn * connection), (connection))                                                   \
    F(int, PQexitPipelineMode, (PGconn * connection), (connection))                                                    \
    F(int, PQpipelineSync, (PGconn * connection), (connection))                                                        \
    F(int, PQsendQuery, (PGconn * connection, const char *text), (connection, text))                                   \
    F(int, PQsendPrepare, (PGconn * connection, const char *name, const char *text, int count, const Oid *types),      \
      (connection, name, text, count, types))                                                                          \
    F(int, PQsendQueryParams,                                                                                          \
      (PGconn * connection, const char *text, int count, const Oid *types, const char *const *values,                  \
       const int *lengths, const int *formats, int format),                                                            \
      (connection, text, count, types, values, lengths, formats, format))                                              \
    F(int, PQsendQueryPrepared,                                                                                        \
      (PGconn * connection, const char *name, int count, const char *const *values, const int *lengths,                \
       const int *formats, int format),                                                                                \
      (connection, name, count, values, lengths, formats, format))                                                     \
    F(PGresult *, PQgetResult, (PGconn * connection), (connection))                                                    \
    F(ExecStatusType, PQresultStatus, (const PGresult *result), (result))                                              \
    F(char *, PQresultErrorField, (const PGresult *result, int field), (result, field))                                \
    F(int, PQntuples, (const PGresult *result), (result))                                                              \
    F(int, PQgetisnull, (const PGresult *result, int row, int column), (result, row, column))                          \
    F(int, PQgetlength, (const PGresult *result, int row, int column), (result, row, column))                          \
    F(char *, PQgetvalue, (const PGresult *result, int row, int column), (result, row, column))                        \
    F(char *, PQcmdTuples, (PGresult * result), (result))                                                              \
    F(PQnoticeReceiver, PQsetNoticeReceiver, (PGconn * connection, PQnoticeReceiver receive, void *context),           \
      (connection, receive, context))

#define PROCEDURES(F)                                                                                                  \
    F(PQconninfoFree, (PQconninfoOption * options), (options))                                                         \
    F(PQfinish, (PGconn * connection), (connection))                                                                   \
    F(PQclear, (PGresult * result), (result))                                                                          \
    F(PQfreemem, (void *memory), (memory))

#define MEMBER(result, name, parameters, arguments) __typeof__(name) *(name);
#define MEMBER_OF_PROCEDURE(name, parameters, arguments) __typeof__(name) *(name);

/* libpq's own functions; written once, before any of them is called. */
static struct calls {
    FUNCTIONS(MEMBER)
    PROCEDURES(MEMBER_OF_PROCEDURE)
} calls;

static bool find(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);
    memcpy(function, &found, sizeof found); /* C has no conversion from an object's pointer to a function's */
    return found != NULL;
}

#define FIND(result, name, parameters, arguments) &&find(library, #name, &calls.name)
#define FIND_PROCEDURE(name, parameters, arguments) &&find(library, #name, &calls.name)

static bool find_all(void *library)
{
    return library != NULL FUNCTIONS(FIND) PROCEDURES(FIND_PROCEDURE);
}

/* libpq looks them up for whatever is not given, and for some settings without a parameter. */
static void leave_environment(void)
{
    static const char *const others[] = {"PGSERVICEFILE", "PGSYSCONFDIR", "PGTZ", "PGDATESTYLE", "PGGEQO"};
    PQconninfoOption *options = PQconninfoParse("postgresql://", NULL);
    for (PQconninfoOption *option = options; option != NULL && option->keyword != NULL; option++) {
        if (option->envvar != NULL)
            unsetenv(option->envvar);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        unsetenv(others[i]);
    PQconninfoFree(options);
}

bool libpq_load(struct error *why)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static bool loaded;
    pthread_mutex_lock(&lock);
    if (!loaded) {
        void *library = dlopen(LIBRARY, RTLD_LAZY | RTLD_LOCAL);
        loaded = find_all(library);
        const char *reason = loaded ? NULL : dlerror();
        if (loaded)
            leave_environment();
        else
            error_set(why, "queue = postgresql needs libpq, which cannot be loaded (%.200s): " ADVICE,
                      reason == NULL ? "memory is out" : reason);
        if (!loaded && library != NULL)
            dlclose(library);
    }
    bool good = loaded;
    pthread_mutex_unlock(&lock);
    return good;
}

/* ---- the functions ---- */

#define DEFINE(result, name, parameters, arguments)                                                                    \
    result name parameters                                                                                             \
    {                                                                                                                  \
        return calls.name arguments;                                                                                   \
    }
#define DEFINE_PROCEDURE(name, parameters, arguments)                                                                  \
    void name parameters                                                                                               \
    {                                                                                                                  \
        calls.name arguments;                                                                                          \
    }

FUNCTIONS(DEFINE)
PROCEDURES(DEFINE_PROCEDURE)
