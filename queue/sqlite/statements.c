/* The SQL statements of the queue's database in one table. */
#include "queue/sqlite/database.h"

const char *const statement_texts[STATEMENTS] = {
    [STATEMENT_BEGIN] = "BEGIN IMMEDIATE",
    [STATEMENT_BEGIN_READING] = "BEGIN",
    [STATEMENT_COMMIT] = "COMMIT",
    [STATEMENT_ROLLBACK] = "ROLLBACK",
    [STATEMENT_VERSION] = "PRAGMA user_version",
    [STATEMENT_DATA_VERSION] = "PRAGMA data_version",
    [STATEMENT_PAGES] = "PRAGMA page_count",
    [STATEMENT_FREE_PAGES] = "PRAGMA freelist_count",

    [STATEMENT_ADDITIONS] = "SELECT (SELECT count(*) FROM sqlite_master"
                            " WHERE name IN ('letter_died', 'letter_added', 'letter_removed', 'request')"
                            " AND sql NOT LIKE '%%old.body%%')"
                            " + (SELECT count(*) FROM count WHERE source = 0 AND kind = 14)",

    [STATEMENT_ASK] = "INSERT INTO request (source, event, made, key, updated, state, words)"
                      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [STATEMENT_ANSWER] = "SELECT state, words FROM request WHERE number = ?1",
    [STATEMENT_WITHDRAW] = "DELETE FROM request WHERE number = ?1 AND (state IN (0, 4) OR ?2)",
    [STATEMENT_NEXT_REQUEST] = "SELECT number, source, event, key, updated, words, state FROM request"
                               " WHERE state IN (0, 4) ORDER BY number LIMIT 1",
    [STATEMENT_SET_REQUEST] = "UPDATE request SET state = ?3, words = ?4 WHERE number = ?1 AND state = ?2",
    [STATEMENT_FORGET_REQUESTS] = "DELETE FROM request WHERE made < ?1 OR made > ?2",

    [STATEMENT_ADD_SOURCE] = "INSERT INTO source (name) VALUES (?1)",
    [STATEMENT_SOURCE_NUMBER] = "SELECT number FROM source WHERE name = ?1",
    [STATEMENT_SOURCE_NAME] = "SELECT name FROM source WHERE number = ?1",
    [STATEMENT_SOURCES] = "SELECT name FROM source ORDER BY number",

    [STATEMENT_ADD_COUNT] = "INSERT INTO count (source, kind, n) VALUES (?1, ?2, ?3)"
                            " ON CONFLICT (source, kind) DO UPDATE SET n = n + excluded.n",
    /* ?4: of moments, now: a later one is from before the clock was set back */
    [STATEMENT_SET_COUNT] = "INSERT INTO count (source, kind, n) VALUES (?1, ?2, ?3) ON CONFLICT (source, kind)"
                            " DO UPDATE SET n = CASE WHEN n > ?4 THEN excluded.n ELSE max(n, excluded.n) END",
    [STATEMENT_COUNTS] = "SELECT kind, n FROM count WHERE source = ?1",
    [STATEMENT_SEQUENCE] = "SELECT seq FROM sqlite_sequence WHERE name = 'event_' || ?1",

    [STATEMENT_ADD_JOURNAL] = "INSERT INTO journal (source, key, updated, at) VALUES (?1, ?2, ?3, ?4)",
    [STATEMENT_JOURNAL] = "SELECT n, source, key, updated, at FROM journal ORDER BY n",
    [STATEMENT_JOURNAL_AFTER] = "SELECT n, source, key, updated, at FROM journal WHERE n > ?1 ORDER BY n",
    [STATEMENT_JOURNAL_FIRST] = "SELECT n FROM journal ORDER BY n LIMIT 1",
    [STATEMENT_JOURNAL_LAST] = "SELECT n FROM journal ORDER BY n DESC LIMIT 1",
    [STATEMENT_JOURNAL_ROW] = "SELECT source, key, updated, at FROM journal WHERE n = ?1",
    [STATEMENT_DELETE_JOURNAL] = "DELETE FROM journal WHERE n <= ?1",
    [STATEMENT_ADD_KNOWN] = "INSERT INTO known (source, key, updated, at) VALUES (?1, ?2, ?3, ?4)"
                            " ON CONFLICT (source, key) DO UPDATE"
                            " SET updated = max(updated, excluded.updated), at = max(at, excluded.at)",
    [STATEMENT_FIND_KNOWN] = "SELECT updated FROM known WHERE source = ?1 AND key = ?2 AND at >= ?3",
    [STATEMENT_KNOWN_COUNT] = "SELECT count(*) FROM known",
    [STATEMENT_KNOWN_KEYS] = "SELECT source, key FROM known WHERE (source, key) > (?1, ?2)"
                             " ORDER BY source, key LIMIT ?3",
    [STATEMENT_KNOWN_AFTER] = "SELECT source, key FROM known WHERE (source, key) > (?1, ?2)"
                              " ORDER BY source, key LIMIT 1 OFFSET ?3",
    [STATEMENT_PRUNE_KNOWN] = "DELETE FROM known WHERE (source, key) > (?1, ?2) AND (source, key) <= (?3, ?4)"
                              " AND at < ?5",

    [STATEMENT_SIGNED] = "SELECT n FROM count WHERE source = ?1 AND kind = 21",
    [STATEMENT_DATABASE] = "SELECT n FROM count WHERE source = 0 AND kind = 14", /* COUNT_DATABASE */
    [STATEMENT_MOVES] = "SELECT n FROM count WHERE source = 0 AND kind = 20",
    [STATEMENT_MOVE_KNOWN_UP_TO] = "SELECT max(key) FROM (SELECT key FROM known WHERE source = ?1 ORDER BY key"
                                   " LIMIT ?2)",
    [STATEMENT_MOVE_KNOWN] = "INSERT INTO known (source, key, updated, at) SELECT ?2, key, updated, at FROM known"
                             " WHERE source = ?1 AND key <= ?3 ON CONFLICT (source, key) DO UPDATE"
                             " SET updated = max(updated, excluded.updated), at = max(at, excluded.at)"
                             " WHERE excluded.updated > updated OR excluded.at > at",
    [STATEMENT_MOVE_KNOWN_AWAY] = "DELETE FROM known WHERE source = ?1 AND key <= ?2",
    [STATEMENT_MOVE_JOURNAL] = "INSERT INTO known (source, key, updated, at)"
                               " SELECT ?2, key, max(updated), max(at) FROM journal"
                               " WHERE source = ?1 AND n > ?3 AND n <= ?4 GROUP BY key ON CONFLICT (source, key)"
                               " DO UPDATE SET updated = max(updated, excluded.updated), at = max(at, excluded.at)"
                               " WHERE excluded.updated > updated OR excluded.at > at",

    [STATEMENT_ANY_LETTER] = "SELECT 1 FROM letter LIMIT 1",
    [STATEMENT_FIND_DEAD] = "SELECT max(updated), min(updated) FROM letter WHERE source = ?1 AND key = ?2",
    [STATEMENT_LETTERS] = "SELECT letter.id, source.name, reason, body, received, died, replayed FROM letter"
                          " JOIN source ON source.number = letter.source WHERE letter.id > ?1 ORDER BY letter.id",
    [STATEMENT_LETTERS_OF] = "SELECT letter.id, source.name, reason, body, received, died, replayed FROM letter"
                             " JOIN source ON source.number = letter.source"
                             " WHERE letter.id > ?1 AND source.name = ?2 ORDER BY letter.id",
    [STATEMENT_LETTER] = "SELECT source FROM letter WHERE id = ?1 AND replayed IS NULL",
    [STATEMENT_LETTER_COUNT] = "SELECT count(*) FROM letter WHERE source = ?1 AND replayed IS NULL",
    [STATEMENT_LETTER_BYTES] = "SELECT n FROM count WHERE source = 0 AND kind = 11",  /* COUNT_LETTER_BYTES */
    [STATEMENT_LETTERS_SINCE] = "SELECT n FROM count WHERE source = 0 AND kind = 13", /* COUNT_LETTERS_SINCE */
    [STATEMENT_LETTERS_OLDER] = "SELECT count(*), min(died) FROM letter"
                                " WHERE source = ?1 AND died < ?2 AND replayed IS NULL",
    [STATEMENT_LETTERS_OLDEST] = "SELECT id, source FROM letter WHERE died < ?1 AND replayed IS NULL"
                                 " ORDER BY died LIMIT ?2",
    [STATEMENT_LETTER_ON_ITS_WAY] = "UPDATE letter SET replayed = ?2 WHERE id = ?1",
    [STATEMENT_ADD_LETTER] = "INSERT INTO letter (source, key, updated, received, died, reason, body, id)"
                             " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [STATEMENT_RESOLVE_KEY] = "DELETE FROM letter WHERE source = ?1 AND key = ?2 AND updated <= ?3",
    [STATEMENT_RESOLVE_LETTER] = "DELETE FROM letter WHERE id = ?1",
    [STATEMENT_KEEP_KEY] = "INSERT INTO known (source, key, updated, at) SELECT source, key, updated, died FROM letter"
                           " WHERE id = ?1 AND key IS NOT NULL AND died >= ?2 ON CONFLICT (source, key) DO UPDATE"
                           " SET updated = max(updated, excluded.updated), at = max(at, excluded.at)",
    [STATEMENT_MOVE_LETTERS] = "UPDATE letter SET source = ?2 WHERE id IN (SELECT id FROM letter WHERE source = ?1"
                               " ORDER BY id LIMIT ?3)",

    /* By position: in databases of some builds the column made_with is named config_fingerprint. */
    [STATEMENT_NOTE] = "SELECT * FROM note WHERE source = ?1",
    [STATEMENT_SET_NOTE] = "REPLACE INTO note VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [STATEMENT_PARKED] = "SELECT id, since FROM parked WHERE source = ?1 ORDER BY id",
    [STATEMENT_ADD_PARKED] = "REPLACE INTO parked (source, id, since) VALUES (?1, ?2, ?3)",
    [STATEMENT_CLEAR_PARKED] = "DELETE FROM parked WHERE source = ?1",

    [STATEMENT_APPEND] = "INSERT INTO event_%u (received, body) VALUES (?1, ?2)",
    [STATEMENT_NEXT] = "SELECT id, received, letter, body FROM event_%u WHERE id > ?1 ORDER BY id",
    [STATEMENT_ONE] = "SELECT id, received, letter, body FROM event_%u WHERE id = ?1",
    /* length() reads no body */
    [STATEMENT_RECEIVED] = "SELECT received, length(body) FROM event_%u WHERE id = ?1",
    [STATEMENT_LETTERS_IN] = "SELECT id, letter FROM event_%u WHERE id BETWEEN ?1 AND ?2 AND letter IS NOT NULL",
    [STATEMENT_DELETE] = "DELETE FROM event_%u WHERE id BETWEEN ?1 AND ?2",
    [STATEMENT_OLDEST] = "SELECT received FROM event_%u ORDER BY id LIMIT 1",
    [STATEMENT_NEWEST] = "SELECT received FROM event_%u ORDER BY id DESC LIMIT 1",
    /* length() reads no body */
    [STATEMENT_FIRST_BODIES] = "SELECT received, CASE WHEN length(body) <= ?1 THEN body END FROM event_%u"
                               " ORDER BY id LIMIT ?2",
    [STATEMENT_MOVE_UP_TO] = "SELECT max(id) FROM (SELECT id FROM event_%u ORDER BY id LIMIT ?1)",
    [STATEMENT_REPLAY] = "INSERT INTO event_%u (received, letter, body) SELECT received, id, body FROM letter"
                         " WHERE id = ?1",
};
