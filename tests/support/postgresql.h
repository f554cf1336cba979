/* A PostgreSQL of the test process's own: in a temporary folder, on a Unix socket only, without syncs, for what
 * survives a power cut is PostgreSQL's matter. It ends with the process. Needs Debian's package postgresql. */
#ifndef TESTS_SUPPORT_POSTGRESQL_H
#define TESTS_SUPPORT_POSTGRESQL_H

#include <stdbool.h>
#include <stddef.h>

#include "tests/support/process.h"
#include "tests/support/temporary.h"

#define POSTGRESQL_URL (PATH_SIZE + 160)

/* All zero is none. */
struct postgresql {
    struct process server;
    char directory[PATH_SIZE];
    unsigned databases; /* made so far */
};

/* Whether PostgreSQL is installed. */
bool postgresql_is_there(void);

/* Starts one; settings are further ones for postgresql.conf, "" for none. Returns false with the log on stderr. */
bool postgresql_start(struct postgresql *postgresql, const char *settings);

/* Stops it at once, and removes what it left. Of none: does nothing. */
void postgresql_stop(struct postgresql *postgresql);

/* Sends the signal to all of its processes. */
void postgresql_signal(const struct postgresql *postgresql, int signal);

/* SIGKILLs it, as a crash, and starts it again. */
bool postgresql_crash(struct postgresql *postgresql);

/* Starts it again after process_stop. */
bool postgresql_begin(struct postgresql *postgresql);

/* Starts a PgBouncer in transaction mode before it, whose socket is in the folder place, on port 6432; more: further
 * lines of its configuration. Returns false where there is none. */
bool postgresql_pooler(const struct postgresql *postgresql, const char *place, const char *more,
                       struct process *pooler);

/* Makes an empty database, and writes its address. Returns false when that failed. */
bool postgresql_database(struct postgresql *postgresql, char url[static POSTGRESQL_URL]);

/* Runs SQL in a database by psql, as its superuser. Returns what it printed, unaligned, without the last line's end; to
 * be freed. NULL: it failed. */
char *postgresql_run(const char *url, const char *sql);

/* The same, for short answers: static, until the next call; "" when it failed. */
const char *postgresql_ask(const char *url, const char *sql);

#endif
