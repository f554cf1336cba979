/* A connection to the database, and statements on it: each wait has a deadline of its own, for the kernel of a server
 * that is stopped goes on acknowledging what is sent. One thread at a time. */
#ifndef QUEUE_POSTGRESQL_SESSION_H
#define QUEUE_POSTGRESQL_SESSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "config/config.h"
#include "queue/migration.h"
#include "queue/postgresql/libpq.h"
#include "queue/postgresql/statements.h"

#define SCHEMA_VERSION 1

/* The version of a queue that is moved to another engine, or was (queue/migration.h). */
#define SCHEMA_MIGRATES 1000

/* Advisory locks count per database, which is the queue's own. */
#define LOCK_CLASS 0x436c7363 /* the first key of all of them */
#define LOCK_CONSUMER 0       /* shared by all who forward; alone: by who lets nobody forward */
#define LOCK_SCHEMA 1
#define LOCK_MEMBER 2  /* shared by those among whom sources are spread */
#define LOCK_KEEPER 3  /* who keeps house at this moment */
#define LOCK_SOURCE 16 /* and its number: its consumer lock */

/* Advice where rows are missing, or twice: what was accepted since the dump is nowhere else. */
#define PG_RESTORE                                                                                                     \
    "stop the program on all machines, and keep a dump of the database as it is, for what was accepted meanwhile is "  \
    "only there; then restore the older dump into an empty database"
#define PG_KEPT_EMPTY "the database's table closecrm.kept has no row without a path: " PG_RESTORE

/* What became of a transaction. */
enum pg_outcome {
    PG_DONE,    /* committed, on every standby that synchronous_standby_names asks for */
    PG_TWICE,   /* rolled back: the group of appends has been stored before (23505 of `appended`) */
    PG_LOST,    /* unknown: the session ended, or a standby did not confirm; the session is closed */
    PG_FULL,    /* rolled back: the server's disk is full */
    PG_MISSING, /* rolled back: a table does not exist; of a session that is open, PG_LOST */
    PG_WRONG,   /* rolled back, for the reason in session->why */
};

struct pg_settings {
    const char *role;    /* in application_name: "appends" */
    int64_t patience_ms; /* the longest wait for an answer, once all that was sent has left; four times as long else */
    int64_t idle_ms;     /* the server ends a session that says nothing for so long; 0: never */
};

struct pg_session {
    const struct config *config;
    const struct pg_settings *settings;
    PGconn *connection;      /* NULL: closed */
    const atomic_bool *stop; /* set: waits end soon; NULL: nobody sets it */
    struct error why;        /* of the last result but PG_DONE */
    bool migrates;           /* opens a queue that is being moved, too */
    bool is_moved;           /* it is such a one */
    bool rehearses;          /* makes no tables: making them is tried, and rolled back */
    bool is_bare;            /* of one that rehearses: there are no tables */
    bool is_other;       /* it is not the one that this state directory has worked with: why it could not be opened */
    bool adopts;         /* opens one that this state directory has not worked with, which is noted then */
    bool is_new;         /* it had not, when it was opened */
    bool warned;         /* a WARNING came since the last result */
    bool notified;       /* a notification came; the caller clears it */
    bool asked;          /* one came that says that a command asks for something; likewise */
    uint64_t prepared;   /* one bit for each statement */
    int64_t event_table; /* its object id; 0: not known yet */
    int64_t source_file; /* of the table source: another one once it was emptied and filled anew */
    moment answered;     /* when the server answered last */
    moment waits;        /* since when it is waited for */
    moment until;        /* so long, unless what was sent is still leaving */
    int64_t patience_ms; /* of this wait */
    int unsent;          /* bytes that had not left this machine at the last look */
    struct {
        enum statement statement;
        bool prepares;
    } sent[20];
    size_t sents;
    struct source_number *number; /* the sources, as far as this session has met them */
    size_t numbers;
};

struct source_number {
    char *name;
    int32_t number;
};

/* migrate.c: the mark of a queue that is moved. */
enum pg_outcome migration_read(struct pg_session *session, struct migration_mark *mark);

/* Sets up a closed session; settings are borrowed. */
void pg_session_init(struct pg_session *session, const struct config *config, const struct pg_settings *settings);

/* Closes it, and frees what it holds; it may be opened again. */
void pg_session_close(struct pg_session *session);

/* ---- connect.c ---- */

/* Connects, unless that was done, and makes the schema where there is none. Blocks for 2 seconds for each host. Returns
 * PG_DONE, PG_LOST (nothing was reached) or PG_WRONG. */
enum pg_outcome pg_session_open(struct pg_session *session);

/* ---- session.c ---- */

/* Ends the connection, for the reason; returns PG_LOST. */
enum pg_outcome pg_session_lose(struct pg_session *session, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Sends a statement; those of one pg_session_finish are one transaction. Failures show there. */
void pg_session_send(struct pg_session *session, enum statement statement, const struct params *params);

/* Has the server prepare a statement that is sent later in this transaction, behind another one; of params the types
 * are used. statement_timeout counts from the first message after a statement's end, which the parsing is else: what
 * takes long to arrive must not come behind that. */
void pg_session_prepare(struct pg_session *session, enum statement statement, const struct params *params);

/* Commits what was sent, and waits. results (NULL: nobody wants them) has room for one of each statement, in their
 * order; after PG_DONE the caller frees them with PQclear. */
enum pg_outcome pg_session_finish(struct pg_session *session, PGresult **results);

/* The same with SQL that is not in the table of statements, for what is done rarely. text is a constant. */
void pg_session_send_text(struct pg_session *session, const char *text, const struct params *params);
enum pg_outcome pg_session_ask(struct pg_session *session, const char *text, const struct params *params,
                               PGresult **result);

/* One statement as a transaction. */
enum pg_outcome pg_session_run(struct pg_session *session, enum statement statement, const struct params *params,
                               PGresult **result);

/* Runs SQL without parameters, such as LISTEN or several statements; ends the wait after patience_ms. */
enum pg_outcome pg_session_text(struct pg_session *session, const char *text, int64_t patience_ms);

/* Takes up what the server says unasked. */
void pg_session_take_in(struct pg_session *session);

/* The number of a source; 0: there is none. add: makes one. */
enum pg_outcome pg_session_number(struct pg_session *session, const char *source, bool add, int32_t *number);

/* Sets an error to text of libpq's in one line. */
void pg_session_words(struct error *why, const char *before, const char *text);

/* Forgets the numbers of sources that it has met. */
void pg_session_forget_sources(struct pg_session *session);

/* Sets why to the session's. Returns false. */
bool pg_session_failed(const struct pg_session *session, struct error *why);

/* ---- identity.c: whether it is the database that this state directory has worked with ---- */

/* Of a session with tables: notes which database it is, the first time; then compares. Returns PG_DONE, PG_LOST or
 * PG_WRONG, with the words. */
enum pg_outcome pg_identity_check(struct pg_session *session);

/* Of a session with tables: notes that this is the database that the state directory works with, whichever it worked
 * with before. Returns false with the reason. */
bool pg_identity_note(struct pg_session *session, struct error *why);

/* Of one without: PG_DONE where they may be made. */
enum pg_outcome pg_identity_may_make(struct pg_session *session);

/* The queue has left: whichever database comes next is the right one. */
void pg_identity_forget(const struct config *config);

/* Where the database is, for people, without a secret. */
void pg_place(const struct config *config, char out[static MIGRATION_PLACE]);

/* ---- schema.c ---- */

/* Makes the tables where there are none. Under a lock, for many processes may start at once. A session that rehearses
 * takes it all back. */
enum pg_outcome pg_schema_make(struct pg_session *session);

/* Makes the sequences of sources that lack theirs; ids from there on are larger than any before. */
enum pg_outcome pg_schema_make_sequences(struct pg_session *session);

/* Makes a source, in the same way. */
enum pg_outcome pg_schema_add_source(struct pg_session *session, const char *source);

#endif
