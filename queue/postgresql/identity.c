/* Which database this is, and whether it is the one that this state directory has worked with. What waits in one is
 * forgotten when another one is taken silently, and source numbers, ids and identities of the one mean something else
 * in the other.
 *
 * A queue has a name by chance, made with its tables; a dump has that name, too, but tables that are put back from one
 * have other object ids. A standby has the same of both, and of the cluster's identifier; pg_upgrade changes only that,
 * together with the major version. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "kept/copies.h"
#include "queue/postgresql/store.h"

#define NOTES DATABASE_NOTES
#define NONE "none" /* the queue was moved away from there: any may come next */
#define DECIMAL 24

struct identity_note {
    char origin[ORIGIN], tables[DECIMAL];
    int64_t cluster; /* 0: the role may not see it */
    int major;
    char place[MIGRATION_PLACE];
};

void pg_place(const struct config *config, char out[static MIGRATION_PLACE])
{
    PQconninfoOption *options =
        config->queue_url == NULL || !libpq_load(NULL) ? NULL : PQconninfoParse(config->queue_url, NULL);
    const char *host = "?", *database = "?";
    for (const PQconninfoOption *option = options; option != NULL && option->keyword != NULL; option++) {
        if (option->val != NULL && strcmp(option->keyword, "host") == 0)
            host = option->val;
        if (option->val != NULL && strcmp(option->keyword, "dbname") == 0)
            database = option->val;
    }
    snprintf(out, MIGRATION_PLACE, "in PostgreSQL, database %.60s on %.200s", database, host);
    PQconninfoFree(options);
}

/* ---- notes ---- */

static void name_note(const struct config *config, char name[static NOTE_NAME])
{
    char place[MIGRATION_PLACE];
    pg_place(config, place);
    queue_note_name(config, place, name);
}

/* Returns whether something is expected. A state directory of the release before has only the queue's name. */
static bool read_note(const struct config *config, struct identity_note *note)
{
    char name[NOTE_NAME], value[MIGRATION_PLACE + 200];
    char *text = files_read(config->state_dir, NOTES, NULL, NULL);
    int end = 0;
    *note = (struct identity_note){.cluster = 0};
    name_note(config, name);
    bool noted = text != NULL && files_value(text, name, value, sizeof value);
    free(text);
    if (!noted) {
        pg_place(config, note->place);
        return !config->is_of_route && copies_origin(config->state_dir, note->origin);
    }
    if (sscanf(value, "%39s %23s %n", note->origin, note->tables, &end) < 2 || end == 0)
        return false;
    char *at = value + end;
    note->cluster = strtoll(at, &at, 10);
    note->major = (int)strtol(at, &at, 10);
    snprintf(note->place, sizeof note->place, "%s", at + (*at == ' '));
    return true;
}

static bool replace_line(const struct config *config, const char *name, const char *value, struct error *why)
{
    struct buffer text = {0};
    char *before = files_read(config->state_dir, NOTES, NULL, NULL);
    size_t length = strlen(name);
    for (const char *line = before; line != NULL && *line != '\0';) {
        size_t whole = strcspn(line, "\n");
        if (strncmp(line, name, length) != 0 || line[length] != ' ')
            buffer_append(&text, line, whole + (line[whole] == '\n'));
        line += whole + (line[whole] == '\n');
    }
    buffer_text(&text, name);
    buffer_text(&text, " = ");
    buffer_text(&text, value);
    buffer_append(&text, "\n", 2);
    if (text.failed)
        error_set(why, "out of memory");
    bool good = !text.failed && files_replace(config->state_dir, NOTES, text.data, why);
    buffer_free(&text);
    free(before);
    return good;
}

static bool put_note(const struct config *config, const char *value, struct error *why)
{
    char path[FILES_PATH], name[NOTE_NAME];
    int lock = -1;
    snprintf(path, sizeof path, "%.4000s/" DATABASE_NOTES_LOCK, config->state_dir);
    name_note(config, name);
    int error = lock_take_within(&lock, path, DATABASE_NOTES_WAIT_MS);
    if (error != 0)
        error_set(why, "cannot lock %.300s: %s", path, strerror(error));
    bool good = error == 0 && replace_line(config, name, value, why);
    if (lock >= 0)
        close(lock);
    return good;
}

/* Where it cannot be written it works, and another database would not be noticed: that is logged. */
static void log_not_noted(const struct error *why)
{
    char words[LOG_QUOTED];
    log_write(LEVEL_WARN, "msg=database_not_noted reason=%s", log_quote_reason(words, why->text));
}

static bool note_it(const struct config *config, const struct identity_note *found, struct error *why)
{
    char value[MIGRATION_PLACE + 200];
    snprintf(value, sizeof value, "%s %s %" PRId64 " %d %s", found->origin, found->tables, found->cluster, found->major,
             found->place);
    return put_note(config, value, why);
}

void pg_identity_forget(const struct config *config)
{
    struct error why = {0};
    if (!put_note(config, NONE, &why))
        log_not_noted(&why);
}

/* ---- what is there ---- */

#define TABLES "'{appended,count,event,kept,known,letter,meta,note,parked,request,source}'::text[]"
#define TABLES_COUNT 11

#define LACKS                                                                                                          \
    "SELECT coalesce(string_agg('closecrm.' || n, ', '), '') AS names, count(*) AS count FROM unnest(" TABLES          \
    ") AS v (n) WHERE to_regclass('closecrm.' || n) IS NULL"

static const char identity_text[] =
    "SELECT l.names, l.count, coalesce((SELECT encode(value, 'hex') FROM kept WHERE path = ''), ''),"
    " (SELECT encode(substr(sha256(convert_to((SELECT oid FROM pg_database WHERE datname = current_database())"
    " || '.' || string_agg(c.oid::text, '.' ORDER BY n), 'UTF8')), 1, 8), 'hex') FROM unnest(" TABLES
    ") AS v (n) JOIN pg_class c ON c.oid = to_regclass('closecrm.' || n)),"
    " to_regclass('closecrm.event')::oid::int8, pg_relation_filenode('source'::regclass)::int8,"
    " (SELECT count(*) FROM source WHERE to_regclass('closecrm.id_' || number) IS NULL),"
    " (SELECT to_char(to_timestamp(made / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI \"UTC\"') FROM meta) FROM "
    "(" LACKS ") l";

static enum pg_outcome wrong(struct pg_session *session, const struct error *why)
{
    pg_session_close(session);
    session->why = *why;
    return PG_WRONG;
}

static enum pg_outcome lacks(struct pg_session *session, const char *names)
{
    struct error why;
    error_set(&why,
              "the database of queue_url lacks %.200s, which was dropped or renamed: put it back as it was; "
              "or " PG_RESTORE,
              names);
    return wrong(session, &why);
}

static enum pg_outcome mismatch(struct pg_session *session, const struct identity_note *expected, const char *found)
{
    struct error why;
    error_set(
        &why,
        "this is not the database that this state directory has worked with: expected the queue %.8s %.120s, found "
        "%.100s. Nothing is accepted or sent until it is decided: bring that one back (queue_url, the host's name, "
        "a renamed schema), or go on with what is there now: `closecrm.fcgi queue adopt`",
        expected->origin, expected->place, found);
    session->is_other = true;
    return wrong(session, &why);
}

enum pg_outcome pg_identity_may_make(struct pg_session *session)
{
    struct identity_note expected;
    PGresult *row = NULL;
    char names[200] = "";
    int64_t count = 0;
    bool expects = read_note(session->config, &expected) && !session->adopts;
    enum pg_outcome result = pg_session_ask(session, LACKS, NULL, &row);
    if (result == PG_DONE) {
        snprintf(names, sizeof names, "%s", PQgetvalue(row, 0, 0));
        count = result_int(row, 0, 1);
    }
    PQclear(row);
    if (result == PG_DONE && expects && count == TABLES_COUNT)
        return mismatch(session, &expected, "no queue");
    bool is_older = count == 0 || (!expects && strcmp(names, "closecrm.kept") == 0);
    if (result != PG_DONE || count == TABLES_COUNT || is_older)
        return result; /* releases before had no `said`, and no `kept` */
    return lacks(session, names);
}

/* ---- comparing ---- */

static bool is_same(const struct identity_note *expected, const struct identity_note *found)
{
    if (strcmp(expected->origin, found->origin) != 0)
        return false;
    if (expected->tables[0] == '\0')
        return true;
    bool same_cluster = expected->cluster == found->cluster || expected->cluster == 0 || found->cluster == 0 ||
                        expected->major < found->major; /* pg_upgrade */
    return strcmp(expected->tables, found->tables) == 0 && same_cluster;
}

static enum pg_outcome read_cluster(struct pg_session *session, int64_t *cluster)
{
    PGresult *row = NULL;
    enum pg_outcome result = pg_session_ask(session, "SELECT system_identifier FROM pg_control_system()", NULL, &row);
    *cluster = result == PG_DONE ? result_int(row, 0, 0) : 0;
    PQclear(row);
    return result == PG_WRONG ? PG_DONE : result; /* some providers keep it to themselves */
}

static enum pg_outcome compare(struct pg_session *session, const struct identity_note *found, const char *made)
{
    char words[100];
    struct identity_note expected;
    bool expects = read_note(session->config, &expected);
    bool same = expects && is_same(&expected, found);
    session->is_new = !same;
    bool is_decided = session->adopts || (session->migrates && session->is_moved); /* the mark says whose it is */
    if (expects && !same && !is_decided) {
        bool is_copy = strcmp(expected.origin, found->origin) == 0;
        snprintf(words, sizeof words,
                 is_copy ? "a copy of it, as from a dump that was restored" : "the queue %.8s, made %s", found->origin,
                 made);
        return mismatch(session, &expected, words);
    }
    bool is_noted = same && expected.major == found->major && expected.cluster == found->cluster &&
                    strcmp(expected.tables, found->tables) == 0 && strcmp(expected.place, found->place) == 0;
    struct error why = {0};
    if (!is_noted && !session->migrates && !session->rehearses && !note_it(session->config, found, &why))
        log_not_noted(&why);
    return PG_DONE;
}

static enum pg_outcome make_sequences(struct pg_session *session)
{
    log_write(LEVEL_WARN,
              "msg=sequences_made advice=\"sequences id_NUMBER were missing in the schema closecrm: see who "
              "drops them\"");
    return pg_schema_make_sequences(session);
}

/* Of identity_text's columns. */
enum column { LACKING, LACKS_COUNT, NAME, TABLES_HASH, EVENT_TABLE, SOURCE_FILE, SEQUENCES, MADE };

static enum pg_outcome take_identity(struct pg_session *session, const PGresult *row, struct identity_note *found)
{
    struct error why;
    if (result_int(row, 0, LACKS_COUNT) > 0)
        return lacks(session, PQgetvalue(row, 0, LACKING));
    snprintf(found->origin, sizeof found->origin, "%s", PQgetvalue(row, 0, NAME));
    snprintf(found->tables, sizeof found->tables, "%s", PQgetvalue(row, 0, TABLES_HASH));
    pg_place(session->config, found->place);
    session->event_table = result_int(row, 0, EVENT_TABLE);
    session->source_file = result_int(row, 0, SOURCE_FILE);
    if (found->origin[0] != '\0')
        return PG_DONE;
    error_set(&why, PG_KEPT_EMPTY);
    return wrong(session, &why);
}

static enum pg_outcome find_identity(struct pg_session *session, struct identity_note *found, PGresult **row)
{
    *found = (struct identity_note){.major = PQserverVersion(session->connection) / 10000};
    enum pg_outcome result = read_cluster(session, &found->cluster);
    if (result == PG_DONE)
        result = pg_session_ask(session, identity_text, NULL, row);
    return result == PG_DONE ? take_identity(session, *row, found) : result;
}

bool pg_identity_note(struct pg_session *session, struct error *why)
{
    struct identity_note found;
    PGresult *row = NULL;
    bool is_found = find_identity(session, &found, &row) == PG_DONE;
    if (!is_found)
        *why = session->why;
    PQclear(row);
    return is_found && note_it(session->config, &found, why);
}

enum pg_outcome pg_identity_check(struct pg_session *session)
{
    struct identity_note found;
    PGresult *row = NULL;
    bool sequences = false;
    enum pg_outcome result = find_identity(session, &found, &row);
    if (result == PG_DONE) {
        sequences = result_int(row, 0, SEQUENCES) > 0;
        result = compare(session, &found, PQgetvalue(row, 0, MADE));
    }
    PQclear(row);
    return result == PG_DONE && sequences && !session->rehearses ? make_sequences(session) : result;
}

/* ---- the operator's word ---- */

bool pg_adopt(void *state, void (*tell)(void *context, const char *words), void *context, struct error *why)
{
    struct pg_queue *queue = state;
    char place[MIGRATION_PLACE], words[MIGRATION_PLACE + 200];
    PGresult *row = NULL;
    pg_session_close(&queue->look);
    queue->look.adopts = true;
    enum pg_outcome result = pg_session_open(&queue->look);
    queue->look.adopts = false;
    if (result == PG_DONE)
        result = pg_session_ask(
            &queue->look, "SELECT (SELECT count(*) FROM event), (SELECT count(*) FROM letter WHERE replayed IS NULL)",
            NULL, &row);
    if (result == PG_DONE) {
        pg_place(queue->config, place);
        snprintf(words, sizeof words,
                 "the queue %s %s from now on: %" PRId64 " events wait in it, and %" PRId64 " dead letters", place,
                 queue->look.is_new ? "is this state directory's" : "was this state directory's before, and is",
                 result_int(row, 0, 0), result_int(row, 0, 1));
        tell(context, words);
    }
    PQclear(row);
    return pg_looked(queue, result, why);
}
