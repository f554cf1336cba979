/* The inside of the engine `postgresql`: its parts, each with connections of its own, opened when they are first
 * needed: appending (one for the process's writer), owning (one, and one of the keeper's), inspecting (one). */
#ifndef QUEUE_POSTGRESQL_STORE_H
#define QUEUE_POSTGRESQL_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "queue/engine.h"
#include "queue/postgresql/session.h"

#define ANSWER_MS 3000   /* the longest wait of who appends and who forwards */
#define INSPECT_MS 60000 /* of who counts millions */

struct appends;
struct keeper;

struct pg_queue {
    const struct config *config;
    struct appends *appends;
    _Atomic moment stop_by; /* no thread waits longer for its append */
    struct pg_session look; /* of inspection */

    /* the owner's, of its thread */
    struct pg_session own;
    bool joined;  /* it counts among those over whom sources are spread */
    bool entered; /* the session has the locks of who forwards */
    bool owned;   /* at least one source */
    bool lost;    /* it owned some, and owns none any more */
    struct owned_source {
        int32_t number; /* in the database; 0: not known yet */
        uint64_t tenure;
        bool wanted; /* by another process, to which it is given back */
    } * source;      /* of each that is configured */
    size_t owns;
    uint64_t tenures;      /* given so far */
    int64_t members;       /* processes over which sources are spread, as counted last; 0: not yet */
    moment beaten;         /* when it looked last */
    moment orphans_due;    /* then it takes what nobody has, whatever its share is */
    bool any_letter;       /* there may be dead letters */
    bool asked;            /* there may be requests */
    atomic_bool is_steady; /* this machine's clock and the server's agree */
    int wake_fd;           /* epoll: the owner's connection, and the timer */
    int timer_fd;
    struct gap *gap; /* of each source that was read */
    size_t gaps;
    struct keeper *keeper;
};

/* ---- append.c: events into the database. One writer thread and one connection a process; what comes while a group is
 * being committed is the next group. ---- */

/* Returns NULL when memory is out. */
struct appends *appends_new(const struct config *config);

/* Ends the writer; what it holds is answered first. */
void appends_free(struct appends *appends);

void appends_start(struct appends *appends);

/* As queue_append_start, queue_append_give_up and queue_append_end; without an append with the reason. */
struct waiting_append *appends_begin(struct appends *appends, const char *source, const char *body, size_t length,
                                     append_done *done, void *context, struct error *why);
bool appends_give_up(struct appends *appends, struct waiting_append *append, struct error *why);
void appends_end(struct waiting_append *append);

/* As queue_has_reader, on the writer's connection; false, too, while that is taken up by a group for long. */
bool appends_see_owner(struct appends *appends, const char *source);

/* Wakes the owner: something was appended. asks: a command asks for something. On any session. */
void notify_owner(struct pg_session *session, bool asks);

/* ---- room.c: how full the queue is ---- */

enum pg_outcome room_read(struct pg_session *session, const struct config *config, struct queue_room *room);

/* Whether that is too full for another event, with the words. */
bool room_is_full(const struct queue_room *room, const struct config *config, struct error *why);

/* ---- owner.c: the owner's session, and being woken. What fails because that session ended has lost all sources
 * (queue_is_lost). ---- */

/* Returns false when memory is out. */
bool owner_init(struct pg_queue *queue);
bool pg_claim(void *state, struct error *why);
bool pg_is_lost(void *state);
void pg_release(struct pg_queue *queue);
int pg_wake_fd(void *state);
void pg_clear_wakeup(void *state);
bool pg_is_steady(void *state);

/* Notes what a call on the owner's session came to, and says so to its caller: true for PG_DONE. */
bool pg_owned_done(struct pg_queue *queue, enum pg_outcome result, struct error *why);

/* ---- spread.c: the consumer locks, one for each source, and who has which ---- */

void pg_join(void *state);
uint64_t pg_tenure(void *state, const char *source);
bool pg_should_yield(void *state, const char *source);
void pg_yield(void *state, const char *source);

/* Whether a call about this source may be made; else false with the reason. What is not configured is nobody's, and any
 * owner's. */
bool pg_may_own(struct pg_queue *queue, const char *source, struct error *why);

/* Enters the session among those who forward. *may: nobody wants to be alone. */
enum pg_outcome spread_enter(struct pg_queue *queue, bool *may);

/* Claims what is free and its share, tells the server that it lives, and learns what there is to do. */
enum pg_outcome spread_beat(struct pg_queue *queue);

/* All are lost. */
void spread_forget(struct pg_queue *queue);

/* The names of the sources that are owned, and of all that are configured, as arrays of texts. The caller frees their
 * bytes. */
void spread_names(const struct pg_queue *queue, struct array *owned, struct array *configured);

/* ---- reading.c ---- */

void gaps_free(struct pg_queue *queue);
int pg_next(void *state, const char *source, uint64_t after, size_t max_count, size_t max_bytes, struct events *found,
            struct error *why);
int pg_again(void *state, const char *source, const uint64_t *ids, size_t count, size_t max_bytes, struct events *found,
             size_t *asked, struct error *why);
bool pg_known(void *state, const char *source, const struct identity *identities, size_t count, struct known *known,
              struct error *why);

/* Of who owns nothing: on the inspecting session, and without proof that nothing is missing. */
int pg_list(void *state, const char *source, uint64_t after, size_t max_count, size_t max_bytes, struct events *found,
            struct error *why);

/* As the calls without `read_`, of a process that owns nothing. */
enum pg_outcome read_next(struct pg_session *session, int32_t number, uint64_t after, size_t max_count,
                          size_t max_bytes, struct events *found);
enum pg_outcome read_known(struct pg_session *session, const struct config *config, int32_t number, bool letters,
                           const struct identity *identities, size_t count, struct known *known);
enum pg_outcome read_notes(struct pg_session *session, int32_t number, struct notes *notes);

/* ---- settle.c ---- */

bool pg_settle(void *state, const char *source, const struct verdict *verdicts, size_t count, struct error *why);
bool pg_note(void *state, const char *source, struct notes *notes, bool put, struct error *why);

/* ---- keeper.c: the owner's housekeeping, in a thread with a connection of its own: vacuum, the end of dead letters,
 * of identities, and of what appends have noted. ---- */

/* Returns NULL where it cannot be started: the next claim tries again. is_steady is borrowed. */
struct keeper *keeper_start(const struct config *config, const atomic_bool *is_steady);
void keeper_stop(struct keeper *keeper);

/* Events were settled. */
void keeper_call(struct keeper *keeper);

/* How long before its end a dead letter is told of. */
int64_t letters_notice(int64_t dead_retention_ms);

/* ---- requests.c, inspect.c ---- */

bool pg_take_request(void *state, struct queue_request *request);
void pg_answer_request(void *state, int64_t number, bool done, const char *words);
bool pg_ask(void *state, const struct queue_request *request, int64_t *number, struct error *why);
void pg_remind(void *state);
bool pg_answer(void *state, int64_t number, enum queue_answer *answer, struct error *words, struct error *why);
bool pg_withdraw(void *state, int64_t number, bool always, bool *withdrawn, struct error *why);

extern const struct inspection postgresql_inspection;

/* describe.c */
bool pg_describe(void *state, struct queue_setup *setup, struct error *why);
bool pg_try(const struct config *config, struct queue_setup *setup, bool *is_there, struct error *why);

/* Opens the inspecting session. Returns false with the reason. */
bool pg_look(struct pg_queue *queue, struct error *why);

/* Of a call on it: true for PG_DONE, else false with the reason. */
bool pg_looked(struct pg_queue *queue, enum pg_outcome result, struct error *why);

/* Whether what may be done twice is to be tried once more (*again: false at first): its session was ended by the
 * server, or by the guard, as where VACUUM FULL has written a table anew, and nothing is wrong. Not where nobody
 * answered. */
bool pg_look_again(const struct pg_queue *queue, enum pg_outcome result, bool *again);

/* ---- identity.c ---- */

bool pg_adopt(void *state, void (*tell)(void *context, const char *words), void *context, struct error *why);

/* ---- move.c ---- */

bool pg_move(void *state, const char *from, const char *to, struct moved *moved, struct error *why);

#endif
