/* What migrate.c, migrate_marks.c and migrate_give_up.c share: a migration in this process, and its steps. */
#ifndef QUEUE_MIGRATE_PRIVATE_H
#define QUEUE_MIGRATE_PRIVATE_H

#include "queue/inspect.h"
#include "queue/migration.h"

struct side {
    const struct migration *engine;
    void *state;
    struct migration_mark mark;
};

struct course {
    struct side from, to;
    struct migration_mark opened; /* what the database keeps of the state directory's migration */
    int64_t origin;               /* the database's */
    const struct config *config;
    const struct migrating *watch;
    struct migrated *done;
    struct cargo cargo;
    bool has_arrived; /* anything but identities; of migrate_has_nothing */
    bool gone;        /* the operator says that the other side is */
};

static inline struct side *local_side(struct course *course)
{
    return course->to.engine == &sqlite_migration ? &course->to : &course->from;
}

static inline struct side *shared_side(struct course *course)
{
    return course->to.engine == &sqlite_migration ? &course->from : &course->to;
}

static inline const struct migration_mark *local_mark(const struct course *course)
{
    return course->to.engine == &sqlite_migration ? &course->to.mark : &course->from.mark;
}

static inline const struct migration_mark *shared_mark(const struct course *course)
{
    return course->to.engine == &sqlite_migration ? &course->from.mark : &course->to.mark;
}

/* ---- migrate.c: each returns false with the reason ---- */

/* any: as the engine's. */
bool migrate_open_side(struct side *side, const struct config *config, bool any, struct error *why);

/* As the engine's; and tells of the step. */
bool migrate_set_mark(const struct course *course, struct side *side, const struct migration_mark *mark,
                      struct error *why);

/* After each step. */
bool migrate_tell(const struct course *course, struct error *why);

void migrate_count_rows(struct migrated *done, enum cargo_part part, size_t count);

/* Does it with each part of each source of the side `from`. */
bool migrate_each_part(struct course *course,
                       bool (*act)(struct course *course, const char *source, enum cargo_part part, struct error *why),
                       struct error *why);

/* Of a state directory that receives, or has received, from a database that was opened then: removes what came from
 * there, but for identities, and the mark. */
bool migrate_take_arrived(struct course *course, struct error *why);

/* Whether nothing but identities has arrived in the state directory, which receives. */
bool migrate_has_nothing(struct course *course, struct error *why);

/* ---- migrate_marks.c ---- */

/* Whether a side is half of a migration, and whether both sides have the marks of one. */
bool migrate_is_marked(const struct side *side);

/* Whether a state directory may not be opened, but for one that has left. */
bool migrate_is_half(const struct side *local);
bool migrate_is_begun(const struct course *course);

/* Whether the database has half of a migration whose other one, in this state directory, was opened as it is, or is
 * gone: what may be in both is known there. */
bool migrate_is_stale(struct course *course);

/* Says what the database's mark says to this machine. Returns false. */
bool migrate_refuse_shared(struct course *course, struct error *why);

/* The database cannot be opened, for why: adds what to do where the queue was moved to it. Returns false. */
bool migrate_tell_missing(struct course *course, struct error *why);

/* Asks the database for its origin, and what it keeps of the state directory's migration. */
bool migrate_ask_database(struct course *course, struct error *why);

/* Whether another machine has opened the database, which the state directory's mark is about. */
bool migrate_was_opened(const struct course *course);

/* Whether the database is the one that the state directory's mark is about, and not one that was made anew since, as
 * far as it can be told. */
bool migrate_is_its_database(const struct course *course);

/* Whether queue_url names the database that the state directory's mark is about, as far as it can be told; also where
 * there is no mark that is about one. */
bool migrate_is_same_place(struct course *course, struct error *why);

/* Whether the state directory's queue, which has left, is in the database of queue_url, as far as it can be told. */
bool migrate_is_where_it_left(struct course *course, const struct side *local, struct error *why);

/* The same, where the copy in the state directory is about to be emptied: under whatever address. */
bool migrate_may_empty(const struct course *course, struct error *why);

/* ---- migrate_give_up.c ---- */

bool migrate_give_up(struct course *course, struct error *why);

#endif
