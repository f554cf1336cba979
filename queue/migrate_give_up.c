/* Undoing a migration that is not done: queue_migrate_give_up of inspect.h. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/program_name.h"
#include "queue/migrate_private.h"

/* What was counted is less again by as much; times stay, for they were true. */
static bool take_counts_back(struct course *course, const char *source, const struct cargo_place *last,
                             struct error *why)
{
    const struct migration *from = course->from.engine, *to = course->to.engine;
    const struct cargo_place none = {.id = 0};
    struct cargo *cargo = &course->cargo;
    size_t kept = 0;
    cargo_clear(cargo);
    if (!from->read(course->from.state, source, CARGO_COUNTS, &none, cargo, why))
        return false;
    cargo_finish(cargo);
    for (size_t i = 0; i < cargo->count; i++) {
        struct cargo_row row = cargo->at[i];
        bool is_time = row.id == CARGO_KIND_DELIVERED || row.id == CARGO_KIND_ACCEPTED;
        row.n = -row.n;
        if (row.id <= last->id && !is_time)
            cargo->at[kept++] = row;
    }
    cargo->count = kept;
    return to->write(course->to.state, &course->to.mark, source, CARGO_COUNTS, cargo, &none, why);
}

/* Identities stay: what was delivered was delivered. */
static bool take_part_back(struct course *course, const char *source, enum cargo_part part, struct error *why)
{
    const struct migration *from = course->from.engine, *to = course->to.engine;
    struct cargo_place place;
    int64_t count = 0;
    if (part != CARGO_COUNTS && part != CARGO_EVENTS && part != CARGO_LETTERS)
        return true;
    if (!to->arrived(course->to.state, &course->to.mark, source, part, &place, why))
        return false;
    if (place.id == 0)
        return true;
    if (!from->count(course->from.state, source, part, &place, &count, why))
        return false;
    bool good = part == CARGO_COUNTS ? take_counts_back(course, source, &place, why)
                                     : to->take_back(course->to.state, &course->to.mark, source, part, count, why);
    migrate_count_rows(course->done, part, (size_t)count);
    return good && migrate_tell(course, why);
}

static void turn(struct course *course)
{
    struct side other = course->from;
    course->from = course->to;
    course->to = other;
}

/* It may have been noted already. */
static bool forget_database(struct course *course)
{
    shared_side(course)->engine->forget(course->config);
    return true;
}

/* The queue that leaves has not changed. It may not be taken for one that has left while the other one is emptied. */
static bool undo(struct course *course, struct error *why)
{
    struct side *from = &course->from, *local = local_side(course), *shared = shared_side(course);
    const struct migration_mark none = {.state = MIGRATION_NONE};
    struct migration_mark leaves = from->mark, receives = course->to.mark;
    leaves.state = MIGRATION_LEAVES;
    receives.state = MIGRATION_RECEIVES;
    return (from->mark.state == MIGRATION_LEAVES || migrate_set_mark(course, from, &leaves, why)) &&
           (course->to.mark.state == MIGRATION_RECEIVES || migrate_set_mark(course, &course->to, &receives, why)) &&
           migrate_each_part(course, take_part_back, why) && migrate_set_mark(course, shared, &none, why) &&
           migrate_set_mark(course, local, &none, why) && (from != local || forget_database(course));
}

/* Says which queue stays, and which one was to get it. */
static void name_places(const struct course *course, const struct side *stays, const struct side *other)
{
    stays->engine->place(course->config, course->done->from);
    other->engine->place(course->config, course->done->to);
    course->done->holds = stays->engine == &sqlite_migration ? QUEUE_SQLITE : QUEUE_POSTGRESQL;
}

static bool count_there(struct course *course, const char *source, enum cargo_part part, struct error *why)
{
    const struct cargo_place all = {.id = INT64_MAX};
    int64_t count;
    if (!course->from.engine->count(course->from.state, source, part, &all, &count, why))
        return false;
    migrate_count_rows(course->done, part, (size_t)count);
    return true;
}

/* Opens the side `from` as it is, for the other one is gone for good; a database keeps whose it was. */
static bool open_as_it_is(struct course *course, struct error *why)
{
    struct side *side = &course->from;
    struct migration_mark open = {.state = MIGRATION_NONE};
    if (side == shared_side(course)) {
        open = side->mark;
        open.state = MIGRATION_NONE;
    }
    name_places(course, side, &course->to);
    snprintf(course->done->to, sizeof course->done->to, "%s", side->mark.place);
    course->done->is_opened = true;
    if (!migrate_set_mark(course, side, &open, why))
        return false;
    return (side != local_side(course) || forget_database(course)) && migrate_each_part(course, count_there, why);
}

/* What had arrived in the database stays there: also dead letters, and what was counted. */
static bool let_part_go(struct course *course, const char *source, enum cargo_part part, struct error *why)
{
    const struct side *local = local_side(course), *shared = shared_side(course);
    struct cargo_place place;
    int64_t count = 0;
    if (!shared->engine->arrived(shared->state, &course->opened, source, part, &place, why))
        return false;
    if (place.id == 0 || part < CARGO_LETTERS)
        return true;
    if (!local->engine->count(local->state, source, part, &place, &count, why))
        return false;
    migrate_count_rows(course->done, part, (size_t)count);
    return local->engine->let_go(local->state, source, part, &place, why) && migrate_tell(course, why);
}

/* The database was opened while this machine was called gone, and what had arrived on either side is delivered from
 * there: the rest of this one's is its own. */
static bool let_go(struct course *course, struct error *why)
{
    const struct migration_mark none = {.state = MIGRATION_NONE};
    struct side *local = local_side(course), *shared = shared_side(course);
    struct migration_mark leaves = local->mark;
    bool goes_on = migrate_is_begun(course); /* more of it was being brought there */
    leaves.state = MIGRATION_LEAVES;
    leaves.letters = MIGRATION_LETS_GO; /* only part of it could be brought from now on */
    name_places(course, local, shared);
    if (local->mark.state == MIGRATION_RECEIVES || local->mark.state == MIGRATION_ARRIVED)
        return migrate_take_arrived(course, why);
    course->done->stays_there = true;
    return (local->mark.letters == MIGRATION_LETS_GO || migrate_set_mark(course, local, &leaves, why)) &&
           (!goes_on || migrate_set_mark(course, shared, &course->opened, why)) &&
           migrate_each_part(course, let_part_go, why) && migrate_set_mark(course, local, &none, why);
}

/* The state directory's half of one that has not begun in the database, or was given up there. */
static bool end_local(struct course *course, struct side *local, struct error *why)
{
    struct side *shared = shared_side(course);
    bool local_stays = local->mark.state == MIGRATION_LEAVES || shared->mark.state != MIGRATION_NONE;
    name_places(course, local_stays ? local : shared, local_stays ? shared : local);
    bool has_nothing = local->mark.state != MIGRATION_RECEIVES || migrate_has_nothing(course, why);
    if (!has_nothing && course->gone) {
        turn(course);
        return open_as_it_is(course, why);
    }
    return has_nothing && migrate_set_mark(course, local, &(struct migration_mark){.state = MIGRATION_NONE}, why);
}

/* Of a database whose other side is on another machine, or was. */
static bool end_shared(struct course *course, struct side *shared, struct error *why)
{
    bool has_left = shared->mark.state == MIGRATION_LEFT;
    bool may_open = course->gone && !has_left && !migrate_is_stale(course);
    return may_open ? open_as_it_is(course, why) : migrate_refuse_shared(course, why);
}

static bool is_nothing(const struct course *course, const struct side *local, struct error *why)
{
    if (local->mark.state == MIGRATION_LEFT && !migrate_may_empty(course, why))
        return false;
    if (local->mark.state == MIGRATION_LEFT)
        migration_words(&local->mark, MIGRATION_OWN, why);
    else
        error_set(why, local->mark.state == MIGRATION_ARRIVED
                           ? "all of it has arrived here, and the database has another queue by now: `closecrm.fcgi "
                             "queue migrate --to sqlite` ends it"
                           : "no queue is being moved: there is nothing to give up");
    return false;
}

/* Of one that has not begun on both sides, or was given up on one. */
static bool give_up_half(struct course *course, struct error *why)
{
    if (course->to.engine != &sqlite_migration)
        turn(course);
    struct side *local = &course->to, *shared = &course->from;
    if (migrate_is_marked(local))
        return end_local(course, local, why);
    bool uses_own = course->config->queue == QUEUE_SQLITE && local->mark.state == MIGRATION_NONE &&
                    migration_reader(&shared->mark, course->config) == MIGRATION_HERE;
    if (migrate_is_marked(shared) || (shared->mark.state == MIGRATION_LEFT && !uses_own))
        return end_shared(course, shared, why);
    return is_nothing(course, local, why);
}

/* The database is not there. */
static bool give_up_alone(struct course *course, struct side *local, struct error *why)
{
    if (course->gone && local->mark.state != MIGRATION_NONE)
        return open_as_it_is(course, why);
    if (!migrate_is_half(local))
        return migrate_tell_missing(course, why);
    error_prefix(why,
                 "both queues are needed for that, unless the database is gone for good: then `%s queue migrate "
                 "--give-up --gone` opens what is in %.100s: ",
                 program_name(), course->config->state_dir);
    return false;
}

/* The side `from` is the state directory at first. */
bool migrate_give_up(struct course *course, struct error *why)
{
    struct side *local = local_side(course);
    if (!migrate_open_side(local, course->config, false, why))
        return false;
    if (!migrate_open_side(shared_side(course), course->config, migrate_is_half(local), why))
        return why->kind == ERROR_MISSING ? give_up_alone(course, local, why) : false;
    if (!migrate_ask_database(course, why))
        return false;
    if (!migrate_is_same_place(course, why) || (course->gone && !migrate_is_its_database(course)))
        return course->gone && open_as_it_is(course, why);
    if (migrate_was_opened(course) && (local->mark.state != MIGRATION_LEFT || migrate_is_begun(course)))
        return let_go(course, why);
    if (!migrate_is_begun(course))
        turn(course);
    if (!migrate_is_begun(course))
        return give_up_half(course, why);
    name_places(course, &course->from, &course->to);
    return undo(course, why);
}
