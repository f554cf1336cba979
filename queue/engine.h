/* The interface of queue engines: one table of functions each. The contract of a member is that of the queue_ function
 * of the same name. */
#ifndef QUEUE_ENGINE_H
#define QUEUE_ENGINE_H

#include "queue/inspect.h"
#include "queue/queue.h"

struct engine {
    void *(*open)(const struct config *config, struct error *why);
    bool (*try)(const struct config *config, struct queue_setup *setup, bool *is_there,
                struct error *why); /* NULL: nothing to try */
    enum queue_result (*append)(void *state, const char *source, const char *body, size_t length, moment deadline,
                                struct error *why);
    struct waiting_append *(*append_start)(void *state, const char *source, const char *body, size_t length,
                                           append_done *done, void *context); /* NULL, as the next two: never */
    bool (*append_give_up)(void *state, struct waiting_append *append, struct error *why);
    void (*append_end)(struct waiting_append *append);
    void (*start_writer)(void *state); /* NULL: nothing to start */
    void (*set_stop_deadline)(void *state, moment deadline);
    void (*join)(void *state); /* NULL, as the next four: one process has all sources, until it ends */
    bool (*is_lost)(void *state);
    uint64_t (*tenure)(void *state, const char *source);
    bool (*should_yield)(void *state, const char *source);
    void (*yield)(void *state, const char *source);
    bool (*claim)(void *state, struct error *why);
    int (*next)(void *state, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
                struct events *found, struct error *why);
    int (*again)(void *state, const char *source, const uint64_t *ids, size_t count, size_t max_bytes,
                 struct events *found, size_t *asked, struct error *why);
    bool (*known)(void *state, const char *source, const struct identity *identities, size_t count, struct known *known,
                  struct error *why);
    bool (*settle)(void *state, const char *source, const struct verdict *verdicts, size_t count, struct error *why);
    bool (*can_settle)(void *state, const char *source, const struct verdict *verdicts, size_t count,
                       struct error *why); /* NULL: always true */
    bool (*note)(void *state, const char *source, struct notes *notes, bool put, struct error *why);
    bool (*take_request)(void *state, struct queue_request *request); /* NULL, as the next: no requests */
    void (*answer_request)(void *state, int64_t number, bool done, const char *words);
    int (*wake_fd)(void *state);
    void (*clear_wakeup)(void *state);
    bool (*has_reader)(void *state, const char *source); /* NULL: always false */
    bool (*is_steady)(void *state);
    bool (*must_reopen)(void *state);
    void (*close)(void *state);
    void (*library)(char out[static QUEUE_LIBRARY]); /* NULL: none */
    bool (*settles_in_bulk)(void *state);            /* NULL: never */
    size_t reads;                                    /* see queue_reads_at_once */
    const struct inspection *inspection;             /* NULL: nothing is stored that could be inspected */
};

struct inspection {
    bool (*names)(void *state, struct strings *names, struct error *why);
    bool (*missed)(void *state, struct error *words); /* NULL: all or nothing can be looked into */
    bool (*count)(void *state, const char *source, struct counts *counts, struct error *why);
    bool (*room)(void *state, struct queue_room *room, struct error *why);
    bool (*look_known)(void *state, const char *source, const struct identity *identities, size_t count,
                       struct known *known, struct error *why);
    bool (*notes)(void *state, const char *source, struct notes *notes, struct error *why);
    bool (*is_owned)(void *state, bool *owned, struct error *words, struct error *why);
    bool (*describe)(void *state, struct queue_setup *setup, struct error *why); /* NULL: there is nothing to say */
    bool (*stands)(void *state, struct error *words);
    bool (*has_room)(void *state, struct error *words);
    bool (*can_be_settled)(void *state, struct error *words);
    int (*list)(void *state, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
                struct events *found, struct error *why);
    int (*letters)(void *state, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
                   struct letters *found, struct error *why);
    bool (*replay)(void *state, const uint64_t *ids, size_t count, size_t *done, struct error *why);
    bool (*discard)(void *state, const uint64_t *ids, size_t count, size_t *done, struct error *why);
    bool (*ask)(void *state, const struct queue_request *request, int64_t *number, struct error *why);
    void (*remind)(void *state);
    bool (*answer)(void *state, int64_t number, enum queue_answer *answer, struct error *words, struct error *why);
    bool (*withdraw)(void *state, int64_t number, bool always, bool *withdrawn, struct error *why);
    /* NULL: there is only one that it could be */
    bool (*adopt)(void *state, void (*tell)(void *context, const char *words), void *context, struct error *why);
    bool (*move)(void *state, const char *from, const char *to, struct moved *moved, struct error *why);
    bool (*check)(void *state, void (*report)(void *context, const char *fault), void *context, size_t *faults,
                  struct error *why);
    bool (*backup)(void *state, const char *path, const struct backup_files *files, int64_t made_ms, struct error *why);
    bool (*scrub)(void *state, struct error *why);
    void (*wake)(void *state);
    bool (*probe)(void *state, bool serves, struct error *why);
};

struct queue {
    const struct engine *engine;
    void *state;                 /* NULL: closed by queue_rest */
    const struct config *config; /* borrowed; used to open it again */
    struct error missed;         /* before queue_rest; "": nothing */
};

/* The engine behind a value of the key `queue`; NULL: the program was built without it. */
const struct engine *queue_engine_of(enum queue_kind kind);

/* Passes each call to one of several queues, each of another engine's: see routes.h. */
extern const struct engine queue_engine_routes;

extern const struct engine queue_engine_none;
extern const struct engine queue_engine_sqlite;
extern const struct engine queue_engine_postgresql; /* where the program was built with it */

/* left.c: in the state directory, the databases that it has worked with, a line each: NAME = ORIGIN TABLES CLUSTER
 * MAJOR PLACE, or NAME = none: the queue was moved away from there. */
#define DATABASE_NOTES "queue.databases"
#define DATABASE_NOTES_LOCK DATABASE_NOTES ".lock"
#define DATABASE_NOTES_WAIT_MS 2000
#define NOTE_NAME 24

/* The name under which a database is noted. config: of the whole, or of a route. place: as migration.h's. */
void queue_note_name(const struct config *config, const char *place, char name[static NOTE_NAME]);

/* For engines: empties found, keeping its memory. */
void events_clear(struct events *found);

/* For engines: adds a copy of an event; *event's fields are copied, its body into found's buffer. Returns false when
 * memory is out. */
bool events_add(struct events *found, const struct event *event);

/* For engines: sets the addresses of the bodies; call after the last events_add, before found is read. */
void events_finish(struct events *found);

/* For engines: the same for dead letters. */
void letters_clear(struct letters *found);
bool letters_add(struct letters *found, const struct letter *letter);
void letters_finish(struct letters *found);

/* ---- request.c: What a request is to erase, as one text, for a row's column; "": nothing is. ---- */

#define REQUEST_TEXT (QUEUE_ERASES * 65 + 1)

void request_pack(const struct queue_request *request, char text[static REQUEST_TEXT]);
void request_unpack(struct queue_request *request, const char *text);

/* ---- identities.c: A cache of the identities of settled events, in memory: bounded in count and age, the oldest
 * evicted first. The caller locks. ---- */

struct identities;

/* Makes a cache of at most capacity identities (at least 1), each valid for window_ms. Returns NULL when memory is out.
 */
struct identities *identities_new(size_t capacity, int64_t window_ms);

/* Adds an identity of a source (its number). A newer version replaces an older one; an older one only renews its age.
 */
void identities_add(struct identities *identities, uint32_t source, const struct identity *identity, moment now);

struct known identities_find(const struct identities *identities, uint32_t source, const struct identity *identity,
                             moment now);

void identities_free(struct identities *identities);

#endif
