/* queue_migrate of inspect.h. Both queues are marked before anything is copied, so whatever moment the process is
 * killed at, the next call finds in the new queue how far it came, and goes on there. At the end the old queue has
 * left, then the new one is open.
 *
 * The state directory is marked first, and is the last to lose its mark: so of a database that is marked with a number
 * the other side is the state directory with that number, and nobody else's, on whichever machine. A database that is
 * opened meanwhile, for that machine is called gone, keeps the number for good: that machine finds it, whatever was
 * done with the database since, and what had arrived stays on the side that was opened. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "queue/migrate_private.h"

/* ---- marks ---- */

static const struct migration_mark no_mark = {.state = MIGRATION_NONE};

static const struct migration *const sides[] = {
    [QUEUE_SQLITE] = &sqlite_migration,
#ifdef CLOSECRM_POSTGRESQL
    [QUEUE_POSTGRESQL] = &postgresql_migration,
#else
    [QUEUE_POSTGRESQL] = NULL,
#endif
};

bool migrate_open_side(struct side *side, const struct config *config, bool any, struct error *why)
{
    side->state = side->engine->open(config, any, why);
    return side->state != NULL && side->engine->mark(side->state, &side->mark, why);
}

static void close_side(struct side *side)
{
    if (side->state != NULL)
        side->engine->close(side->state);
}

/* After each step. */
bool migrate_tell(const struct course *course, struct error *why)
{
    if (course->watch->step == NULL || course->watch->step(course->watch->context, course->done))
        return true;
    error_set(why, "stopped: call it again, which goes on");
    return false;
}

bool migrate_set_mark(const struct course *course, struct side *side, const struct migration_mark *mark,
                      struct error *why)
{
    if (!side->engine->set_mark(side->state, mark, why))
        return false;
    side->mark = *mark;
    return migrate_tell(course, why);
}

/* ---- rows ---- */

void migrate_count_rows(struct migrated *done, enum cargo_part part, size_t count)
{
    done->identities += part == CARGO_KNOWN || part == CARGO_LATEST ? count : 0;
    done->letters += part == CARGO_LETTERS ? count : 0;
    done->events += part == CARGO_EVENTS ? count : 0;
}

static struct cargo_place place_after(const struct cargo *cargo, enum cargo_part part, const struct cargo_place *before)
{
    const struct cargo_row *last = &cargo->at[cargo->count - 1];
    struct cargo_place place = {.id = last->id};
    if (part == CARGO_KNOWN)
        place.id = before->id + (int64_t)cargo->count;
    memcpy(place.key, last->key, sizeof place.key);
    if (part == CARGO_EVENTS) {
        int64_t count;
        memcpy(&count, before->key, sizeof count);
        count += (int64_t)cargo->count;
        memcpy(place.key, &count, sizeof count);
    }
    return place;
}

static bool move_part(struct course *course, const char *source, enum cargo_part part, struct error *why)
{
    const struct migration *from = course->from.engine, *to = course->to.engine;
    struct cargo *cargo = &course->cargo;
    struct cargo_place place;
    if (!to->arrived(course->to.state, &course->to.mark, source, part, &place, why))
        return false;
    for (;;) {
        cargo_clear(cargo);
        if (!from->read(course->from.state, source, part, &place, cargo, why))
            return false;
        cargo_finish(cargo);
        if (cargo->count == 0)
            return true;
        place = place_after(cargo, part, &place);
        if (!to->write(course->to.state, &course->to.mark, source, part, cargo, &place, why))
            return false;
        migrate_count_rows(course->done, part, cargo->count);
        if (!migrate_tell(course, why))
            return false;
    }
}

/* Does it with each part of each source. */
bool migrate_each_part(struct course *course,
                       bool (*act)(struct course *course, const char *source, enum cargo_part part, struct error *why),
                       struct error *why)
{
    struct strings names = {NULL, 0};
    bool good = course->from.engine->names(course->from.state, &names, why);
    for (size_t i = 0; i < names.count && good; i++) {
        for (enum cargo_part part = CARGO_KNOWN; part < CARGO_PARTS && good; part++)
            good = act(course, names.at[i], part, why);
    }
    queue_names_free(&names);
    return good;
}

/* What earlier calls have moved. */
static bool count_arrived(struct course *course, const char *source, enum cargo_part part, struct error *why)
{
    const struct migration *from = course->from.engine, *to = course->to.engine;
    struct cargo_place place;
    int64_t count = 0;
    bool good = to->arrived(course->to.state, &course->to.mark, source, part, &place, why) &&
                (place.id == 0 || from->count(course->from.state, source, part, &place, &count, why));
    migrate_count_rows(course->done, part, (size_t)(part == CARGO_KNOWN ? place.id : count));
    return good;
}

/* ---- all of it ---- */

/* The mark of the side that is at `engine`, whose other side is `other`. */
static struct migration_mark make_mark(const struct course *course, enum migration_state state, int64_t number,
                                       const struct migration *other)
{
    struct migration_mark mark = {.state = state, .number = number};
    other->mark_place(course->config, mark.place);
    snprintf(mark.command, sizeof mark.command, "%s", course->to.engine->value);
    return mark;
}

/* Where the numbers of dead letters begin that are to arrive: those are not given to any other. */
static bool number_letters(struct course *course, int64_t *letters, struct error *why)
{
    int64_t count = 0;
    const struct side *from = &course->from, *to = &course->to;
    return to->engine->last_letter(to->state, letters, why) && from->engine->last_letter(from->state, &count, why) &&
           (to->engine->reserve_letters == NULL || to->engine->reserve_letters(to->state, *letters + count, why));
}

/* Marks a side, and empties one that had left before. */
static bool begin_side(struct course *course, struct side *side, int64_t number, struct error *why)
{
    bool receives = side == &course->to;
    if (receives && side->mark.state == MIGRATION_LEFT && !side->engine->empty(side->state, why))
        return false;
    struct migration_mark mark = make_mark(course, receives ? MIGRATION_RECEIVES : MIGRATION_LEAVES, number,
                                           receives ? course->from.engine : course->to.engine);
    bool goes_on = receives && migrate_was_opened(course); /* only the rest follows */
    mark.letters = goes_on ? course->opened.letters : 0;
    mark.origin = side == local_side(course) ? course->origin : 0;
    return (!receives || goes_on || number_letters(course, &mark.letters, why)) &&
           migrate_set_mark(course, side, &mark, why);
}

/* ---- beginning ---- */

static bool note_arrived(struct course *course, const char *source, enum cargo_part part, struct error *why)
{
    struct cargo_place place;
    bool good = course->to.engine->arrived(course->to.state, &course->to.mark, source, part, &place, why);
    course->has_arrived = course->has_arrived || (good && place.id != 0 && part >= CARGO_LETTERS);
    return good;
}

/* How many dead letters have arrived: their numbers are beyond the mark's. */
static bool count_letters(const struct side *side, const char *source, int64_t *count, struct error *why)
{
    const struct cargo_place own = {.id = side->mark.letters}, all = {.id = INT64_MAX};
    int64_t owned = 0;
    bool good = side->engine->count(side->state, source, CARGO_LETTERS, &all, count, why) &&
                side->engine->count(side->state, source, CARGO_LETTERS, &own, &owned, why);
    *count -= owned;
    return good;
}

static bool take_arrived(struct course *course, const char *source, enum cargo_part part, struct error *why)
{
    const struct side *side = &course->to;
    struct cargo_place place;
    int64_t count = 0;
    if (part != CARGO_LETTERS && part != CARGO_EVENTS && part != CARGO_COUNTS)
        return true;
    if (!side->engine->arrived(side->state, &side->mark, source, part, &place, why))
        return false;
    if (part == CARGO_EVENTS)
        memcpy(&count, place.key, sizeof count);
    if (part == CARGO_LETTERS && !count_letters(side, source, &count, why))
        return false;
    if (place.id == 0)
        return true;
    migrate_count_rows(course->done, part, (size_t)count);
    return side->engine->take_back(side->state, &side->mark, source, part, count, why) && migrate_tell(course, why);
}

bool migrate_take_arrived(struct course *course, struct error *why)
{
    struct side *local = local_side(course);
    struct migration_mark receives = local->mark;
    struct course alone = *course;
    receives.state = MIGRATION_RECEIVES;
    if (local->mark.state != MIGRATION_RECEIVES && !migrate_set_mark(course, local, &receives, why))
        return false;
    alone.from = alone.to = *local;
    return migrate_each_part(&alone, take_arrived, why) && migrate_set_mark(course, local, &no_mark, why);
}

/* So it is while the database is not marked: the migration was killed between the two marks, or between the two ends of
 * giving it up. */
bool migrate_has_nothing(struct course *course, struct error *why)
{
    struct course alone = *course;
    alone.has_arrived = false;
    alone.from = alone.to = *local_side(course);
    if (!migrate_each_part(&alone, note_arrived, why))
        return false;
    if (alone.has_arrived)
        error_set(
            why,
            "a queue was being moved to here, and the database of queue_url is another one now, which knows nothing "
            "of it: bring that one back. Where it is gone for good: `closecrm.fcgi queue migrate --give-up --gone` "
            "opens what is in this state directory, with what had arrived");
    return !alone.has_arrived;
}

static bool may_begin(struct course *course, struct side *local, struct side *shared, struct error *why)
{
    bool receives = local == &course->to, has_left = local->mark.state == MIGRATION_LEFT && !receives;
    enum migration_state role = receives ? MIGRATION_RECEIVES : MIGRATION_LEAVES;
    /* what is in both is known where it goes, unless that has moved on */
    bool brings = receives && migrate_is_stale(course);
    if (brings && local->mark.state == MIGRATION_LEFT && !migrate_is_where_it_left(course, local, why))
        return false;
    if (receives && local->mark.state == MIGRATION_LEFT && !migrate_may_empty(course, why))
        return false;
    if ((migrate_is_marked(shared) && !brings) || has_left)
        return migrate_refuse_shared(course, why);
    if (migrate_is_marked(local) && local->mark.state != role) {
        migration_words(&local->mark, MIGRATION_OWN, why);
        return false;
    }
    if (local->mark.state == MIGRATION_LEAVES && local->mark.letters == MIGRATION_LETS_GO) {
        error_set(why, "it was begun to give that up: `closecrm.fcgi queue migrate --give-up` goes on");
        return false;
    }
    if (receives && local->mark.state == MIGRATION_RECEIVES)
        return migrate_has_nothing(course, why);
    if (local->mark.state == MIGRATION_ARRIVED && migrate_was_opened(course)) {
        error_set(why, "the database was opened on another machine, and what came from there is delivered from there: "
                       "`closecrm.fcgi queue migrate --give-up` removes it here again");
        return false;
    }
    return true;
}

static bool begin(struct course *course, struct error *why)
{
    struct side *local = local_side(course), *shared = shared_side(course);
    if (migrate_is_begun(course))
        return true;
    if (!may_begin(course, local, shared, why))
        return false;
    int64_t number = local->mark.number;
    if (!migrate_is_marked(local) && getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number) {
        error_set(why, "the kernel gives no random number");
        return false;
    }
    number &= INT64_MAX;
    return (migrate_is_marked(local) || begin_side(course, local, number, why)) &&
           begin_side(course, shared, number, why);
}

/* ---- ending ---- */

/* After it the new queue may be opened. */
static bool finish(struct course *course, struct error *why)
{
    struct migration_mark left = course->from.mark, arrived = course->to.mark;
    bool to_local = course->to.engine == &sqlite_migration;
    left.state = MIGRATION_LEFT;
    left.letters = 0;
    arrived.state = MIGRATION_ARRIVED;
    if (to_local && course->to.mark.state != MIGRATION_ARRIVED && !migrate_set_mark(course, &course->to, &arrived, why))
        return false;
    if (!to_local && !course->to.engine->note(course->to.state, why))
        return false;
    if (course->from.mark.state != MIGRATION_LEFT && !migrate_set_mark(course, &course->from, &left, why))
        return false;
    return migrate_set_mark(course, &course->to, &no_mark, why);
}

/* The database's queue has left, to another machine or with a migration that is over: this machine's own is open, an
 * empty one where that had left before. */
static bool open_own(struct course *course, struct error *why)
{
    struct side *local = &course->to, *shared = &course->from;
    enum migration_state state = local->mark.state;
    if (state == MIGRATION_RECEIVES && !migrate_has_nothing(course, why))
        return false;
    if (state == MIGRATION_LEFT && !(migrate_may_empty(course, why) && local->engine->empty(local->state, why)))
        return false;
    if (state != MIGRATION_NONE && !migrate_set_mark(course, local, &no_mark, why))
        return false;
    course->done->is_elsewhere =
        state != MIGRATION_NONE || migration_reader(&shared->mark, course->config) != MIGRATION_HERE;
    course->done->was_done = true;
    snprintf(course->done->to, sizeof course->done->to, "%s", shared->mark.place);
    return true;
}

/* What came from the database is delivered from there: all of it comes again, with what followed. */
static bool take_opened(struct course *course, struct error *why)
{
    bool good = migrate_take_arrived(course, why);
    *course->done = (struct migrated){.holds = course->done->holds};
    course->from.engine->place(course->config, course->done->from);
    course->to.engine->place(course->config, course->done->to);
    course->opened = no_mark;
    return good;
}

static bool migrate(struct course *course, struct error *why)
{
    struct side *from = &course->from, *to = &course->to;
    if (!migrate_open_side(local_side(course), course->config, false, why))
        return false;
    if (!migrate_open_side(shared_side(course), course->config, migrate_is_half(local_side(course)), why))
        return migrate_tell_missing(course, why);
    if (!migrate_ask_database(course, why) || !migrate_is_same_place(course, why))
        return false;
    bool came = to->mark.state == MIGRATION_RECEIVES || to->mark.state == MIGRATION_ARRIVED;
    if (to == local_side(course) && came && migrate_was_opened(course) && !take_opened(course, why))
        return false;
    bool left = from->mark.state == MIGRATION_LEFT, arrived = to->mark.state == MIGRATION_ARRIVED;
    if (arrived && !migrate_is_begun(course)) { /* the database has another queue by now */
        course->done->was_done = true;
        return migrate_set_mark(course, to, &no_mark, why);
    }
    if (left && from->engine != &sqlite_migration && !migrate_is_begun(course) && to->mark.state != MIGRATION_LEAVES)
        return open_own(course, why);
    if (left && to->mark.state == MIGRATION_NONE) {
        if (!migrate_is_where_it_left(course, from, why))
            return false;
        course->done->was_done = true;
        snprintf(course->done->to, sizeof course->done->to, "%s", from->mark.place);
        return true;
    }
    return begin(course, why) && migrate_each_part(course, count_arrived, why) &&
           (left || arrived || migrate_each_part(course, move_part, why)) && finish(course, why);
}

/* One queue is moved to one other: what waits in a source's own database would be left behind. */
static bool is_one_database(const struct config *config, struct error *why)
{
    for (size_t i = 0; i < config->sources; i++) {
        const struct source *source = &config->source[i];
        if (!config_has_own_queue(config, source))
            continue;
        error_set(
            why,
            "source %.64s has a database of its own, and a queue moves to one, or from one: take queue_url out of "
            "its section until the queue is moved; what waits in that database stays there until it is set again",
            source->name);
        return false;
    }
    return true;
}

static bool note_database(const struct side *shared, struct error *why)
{
    if (shared->engine->note(shared->state, why))
        return true;
    error_prefix(why,
                 "the queue is in the database of queue_url, but another one in its place would not be noticed: call "
                 "this again: ");
    return false;
}

static bool with_both(struct course *course, const struct config *config, enum queue_kind to,
                      bool (*act)(struct course *, struct error *), struct migrated *done, struct error *why)
{
    *done = (struct migrated){.events = 0};
    course->config = config;
    course->done = done;
    course->to.engine = sides[to];
    course->from.engine = sides[to == QUEUE_SQLITE ? QUEUE_POSTGRESQL : QUEUE_SQLITE];
    if (course->to.engine == NULL || course->from.engine == NULL) {
        error_set(why, "this program was built without queue = postgresql: Debian's package and the bundle have it");
        return false;
    }
    if (!is_one_database(config, why))
        return false;
    course->from.engine->place(config, done->from);
    course->to.engine->place(config, done->to);
    done->holds = to;
    bool good = act(course, why);
    const struct side *shared = shared_side(course);
    if (good && done->holds == QUEUE_POSTGRESQL && shared->state != NULL)
        good = note_database(shared, why);
    cargo_free(&course->cargo);
    close_side(&course->to);
    close_side(&course->from);
    return good;
}

bool queue_migrate(const struct config *config, enum queue_kind to, const struct migrating *watch,
                   struct migrated *done, struct error *why)
{
    struct course course = {.watch = watch};
    return with_both(&course, config, to, migrate, done, why);
}

bool queue_migrate_give_up(const struct config *config, bool gone, const struct migrating *watch, struct migrated *done,
                           struct error *why)
{
    struct course course = {.watch = watch, .gone = gone};
    return with_both(&course, config, QUEUE_POSTGRESQL, migrate_give_up, done, why);
}
