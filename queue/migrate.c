/* queue_migrate of inspect.h. Both queues are marked before anything is copied, so whatever moment the process is
 * killed at, the next call finds in the new queue how far it came, and goes on there. At the end the old queue has
 * left, then the new one is open.
 *
 * The state directory is marked first, and is the last to lose its mark: so of a database that is marked with a number
 * the other side is the state directory with that number, and nobody else's, on whichever machine. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "queue/inspect.h"
#include "queue/migration.h"

/* ---- marks ---- */

static const struct migration_mark no_mark = {.state = MIGRATION_NONE};

void migration_words(const struct migration_mark *mark, struct error *why)
{
    switch (mark->state) {
    case MIGRATION_LEFT:
        error_set(why,
                  "this queue was moved: it is %.280s now. Set queue = %s; to bring it back: `closecrm.fcgi queue "
                  "migrate --to %s`",
                  mark->place, mark->command, strcmp(mark->command, "sqlite") == 0 ? "postgresql" : "sqlite");
        break;
    case MIGRATION_LEAVES:
        error_set(why,
                  "this queue is being moved; it will be %.200s. If that was interrupted, call where it was begun "
                  "`closecrm.fcgi queue migrate --to %s` again, which goes on, or `closecrm.fcgi queue migrate "
                  "--give-up`, which undoes it",
                  mark->place, mark->command);
        break;
    case MIGRATION_RECEIVES:
    case MIGRATION_ARRIVED:
        error_set(why,
                  "a queue is being moved to here; it was %.200s. If that was interrupted, call where it was begun "
                  "`closecrm.fcgi queue migrate --to %s` again, which goes on, or `closecrm.fcgi queue migrate "
                  "--give-up`, which undoes it",
                  mark->place, mark->command);
        break;
    case MIGRATION_NONE:
        break;
    }
}

struct side {
    const struct migration *engine;
    void *state;
    struct migration_mark mark;
};

static const struct migration *const sides[] = {
    [QUEUE_SQLITE] = &sqlite_migration,
#ifdef CLOSECRM_POSTGRESQL
    [QUEUE_POSTGRESQL] = &postgresql_migration,
#else
    [QUEUE_POSTGRESQL] = NULL,
#endif
};

static bool open_side(struct side *side, const struct config *config, struct error *why)
{
    side->state = side->engine->open(config, why);
    return side->state != NULL && side->engine->mark(side->state, &side->mark, why);
}

static void close_side(struct side *side)
{
    if (side->state != NULL)
        side->engine->close(side->state);
}

struct course {
    struct side from, to;
    const struct config *config;
    const struct migrating *watch;
    struct migrated *done;
    struct cargo cargo;
    bool has_arrived; /* anything but identities */
    bool gone;        /* the operator says that the other side is */
};

/* After each step. */
static bool tell(const struct course *course, struct error *why)
{
    if (course->watch->step == NULL || course->watch->step(course->watch->context, course->done))
        return true;
    error_set(why, "stopped: call it again, which goes on");
    return false;
}

static bool set_mark(const struct course *course, struct side *side, const struct migration_mark *mark,
                     struct error *why)
{
    if (!side->engine->set_mark(side->state, mark, why))
        return false;
    side->mark = *mark;
    return tell(course, why);
}

/* ---- rows ---- */

static void count_rows(struct migrated *done, enum cargo_part part, size_t count)
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
    return place;
}

static bool move_part(struct course *course, const char *source, enum cargo_part part, struct error *why)
{
    const struct migration *from = course->from.engine, *to = course->to.engine;
    struct cargo *cargo = &course->cargo;
    struct cargo_place place;
    if (!to->arrived(course->to.state, source, part, &place, why))
        return false;
    for (;;) {
        cargo_clear(cargo);
        if (!from->read(course->from.state, source, part, &place, cargo, why))
            return false;
        cargo_finish(cargo);
        if (cargo->count == 0)
            return true;
        place = place_after(cargo, part, &place);
        if (!to->write(course->to.state, source, part, cargo, &place, course->to.mark.letters, why))
            return false;
        count_rows(course->done, part, cargo->count);
        if (!tell(course, why))
            return false;
    }
}

/* Does it with each part of each source. */
static bool each_part(struct course *course,
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
    bool good = to->arrived(course->to.state, source, part, &place, why) &&
                (place.id == 0 || from->count(course->from.state, source, part, &place, &count, why));
    count_rows(course->done, part, (size_t)(part == CARGO_KNOWN ? place.id : count));
    return good;
}

/* ---- all of it ---- */

/* The mark of the side that is at `engine`, whose other side is `other`. */
static struct migration_mark make_mark(const struct course *course, enum migration_state state, int64_t number,
                                       const struct migration *other)
{
    struct migration_mark mark = {.state = state, .number = number};
    other->place(course->config, mark.place);
    snprintf(mark.command, sizeof mark.command, "%s", course->to.engine->value);
    return mark;
}

/* Marks a side, and empties one that had left before. */
static bool begin_side(struct course *course, struct side *side, int64_t number, struct error *why)
{
    bool receives = side == &course->to;
    if (receives && side->mark.state == MIGRATION_LEFT && !side->engine->empty(side->state, why))
        return false;
    struct migration_mark mark = make_mark(course, receives ? MIGRATION_RECEIVES : MIGRATION_LEAVES, number,
                                           receives ? course->from.engine : course->to.engine);
    return (!receives || side->engine->last_letter(side->state, &mark.letters, why)) &&
           set_mark(course, side, &mark, why);
}

static bool is_marked(const struct side *side)
{
    return side->mark.state == MIGRATION_LEAVES || side->mark.state == MIGRATION_RECEIVES;
}

/* Whether both sides have the marks of one migration. */
static bool is_begun(const struct course *course)
{
    const struct migration_mark *from = &course->from.mark, *to = &course->to.mark;
    return (from->state == MIGRATION_LEAVES || from->state == MIGRATION_LEFT) &&
           (to->state == MIGRATION_RECEIVES || to->state == MIGRATION_ARRIVED) && from->number == to->number;
}

static bool note_arrived(struct course *course, const char *source, enum cargo_part part, struct error *why)
{
    struct cargo_place place;
    bool good = course->to.engine->arrived(course->to.state, source, part, &place, why);
    course->has_arrived = course->has_arrived || (good && place.id != 0 && part >= CARGO_LETTERS);
    return good;
}

/* Whether nothing but identities is in the state directory, which receives. So it is while the database is not marked:
 * the migration was killed between the two marks, or between the two ends of giving it up. */
static bool has_nothing(struct course *course, struct error *why)
{
    course->has_arrived = false;
    if (!each_part(course, note_arrived, why))
        return false;
    if (course->has_arrived)
        error_set(why,
                  "the queue was being moved to here, and that was given up on another machine, or the database is "
                  "another one now: what is in the database counts. If it is the right one, move queue.db and what "
                  "begins with queue.db- out of %.200s, and keep it: what waited there before is in it, too",
                  course->config->state_dir);
    return !course->has_arrived;
}

static bool may_begin(struct course *course, const struct side *local, const struct side *shared, struct error *why)
{
    enum migration_state role = local == &course->to ? MIGRATION_RECEIVES : MIGRATION_LEAVES;
    const struct side *marked = is_marked(shared)                               ? shared
                                : is_marked(local) && local->mark.state != role ? local
                                                                                : NULL;
    if (marked == NULL && course->from.mark.state == MIGRATION_LEFT)
        marked = &course->from;
    if (marked == NULL)
        return local->mark.state != MIGRATION_RECEIVES || has_nothing(course, why);
    migration_words(&marked->mark, why);
    return false;
}

static bool begin(struct course *course, struct error *why)
{
    bool to_local = course->to.engine == &sqlite_migration;
    struct side *local = to_local ? &course->to : &course->from, *shared = to_local ? &course->from : &course->to;
    int64_t number = local->mark.number;
    if (is_begun(course))
        return true;
    if (!may_begin(course, local, shared, why))
        return false;
    if (!is_marked(local) && getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number) {
        error_set(why, "the kernel gives no random number");
        return false;
    }
    number &= INT64_MAX;
    return (is_marked(local) || begin_side(course, local, number, why)) && begin_side(course, shared, number, why);
}

/* After it the new queue may be opened. A database that has left may be emptied by another machine's migration at once:
 * so a state directory knows before that it has all. */
static bool finish(struct course *course, struct error *why)
{
    struct migration_mark left = course->from.mark, arrived = course->to.mark;
    left.state = MIGRATION_LEFT;
    arrived.state = MIGRATION_ARRIVED;
    if (course->to.engine == &sqlite_migration && course->to.mark.state != MIGRATION_ARRIVED &&
        !set_mark(course, &course->to, &arrived, why))
        return false;
    if (course->from.mark.state != MIGRATION_LEFT && !set_mark(course, &course->from, &left, why))
        return false;
    return set_mark(course, &course->to, &no_mark, why);
}

static bool migrate(struct course *course, struct error *why)
{
    if (!open_side(&course->from, course->config, why) || !open_side(&course->to, course->config, why))
        return false;
    bool left = course->from.mark.state == MIGRATION_LEFT, arrived = course->to.mark.state == MIGRATION_ARRIVED;
    if (left && course->to.mark.state == MIGRATION_NONE) {
        course->done->was_done = true;
        snprintf(course->done->to, sizeof course->done->to, "%s", course->from.mark.place);
        return true;
    }
    if (arrived && !is_begun(course)) { /* the database has another queue by now */
        course->done->was_done = true;
        return set_mark(course, &course->to, &no_mark, why);
    }
    return begin(course, why) && each_part(course, count_arrived, why) &&
           (left || arrived || each_part(course, move_part, why)) && finish(course, why);
}

/* ---- giving it up ---- */

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
    return to->write(course->to.state, source, CARGO_COUNTS, cargo, &none, 0, why);
}

/* Identities stay: what was delivered was delivered. */
static bool take_part_back(struct course *course, const char *source, enum cargo_part part, struct error *why)
{
    const struct migration *from = course->from.engine, *to = course->to.engine;
    struct cargo_place place;
    int64_t count = 0;
    if (part != CARGO_COUNTS && part != CARGO_EVENTS && part != CARGO_LETTERS)
        return true;
    if (!to->arrived(course->to.state, source, part, &place, why))
        return false;
    if (place.id == 0)
        return true;
    if (!from->count(course->from.state, source, part, &place, &count, why))
        return false;
    bool good = part == CARGO_COUNTS
                    ? take_counts_back(course, source, &place, why)
                    : to->take_back(course->to.state, source, part, count, course->to.mark.letters, why);
    count_rows(course->done, part, (size_t)count);
    return good && tell(course, why);
}

static void turn(struct course *course)
{
    struct side other = course->from;
    course->from = course->to;
    course->to = other;
}

/* The queue that leaves has not changed. It may not be taken for one that has left while the other one is emptied. */
static bool undo(struct course *course, struct error *why)
{
    bool to_local = course->to.engine == &sqlite_migration;
    struct side *from = &course->from, *local = to_local ? &course->to : from, *shared = to_local ? from : &course->to;
    struct migration_mark leaves = from->mark, receives = course->to.mark;
    leaves.state = MIGRATION_LEAVES;
    receives.state = MIGRATION_RECEIVES;
    return (from->mark.state == MIGRATION_LEAVES || set_mark(course, from, &leaves, why)) &&
           (course->to.mark.state == MIGRATION_RECEIVES || set_mark(course, &course->to, &receives, why)) &&
           each_part(course, take_part_back, why) && set_mark(course, shared, &no_mark, why) &&
           set_mark(course, local, &no_mark, why);
}

/* Says which queue stays, and which one was to get it. */
static void name_places(const struct course *course, const struct side *stays, const struct side *other)
{
    stays->engine->place(course->config, course->done->from);
    other->engine->place(course->config, course->done->to);
}

/* Of a database whose other side is on another machine, or was. */
static bool end_other(struct course *course, struct side *shared, struct error *why)
{
    struct error words;
    if (course->gone)
        return set_mark(course, shared, &no_mark, why);
    migration_words(&shared->mark, &words);
    error_set(why, "%.400s; where that machine is gone for good: `closecrm.fcgi queue migrate --give-up --gone`",
              words.text);
    return false;
}

/* Of one that has not begun on both sides, or was given up on one. */
static bool give_up_half(struct course *course, struct error *why)
{
    if (course->to.engine != &sqlite_migration)
        turn(course);
    struct side *local = &course->to, *shared = &course->from;
    bool local_stays = local->mark.state == MIGRATION_LEAVES && !is_marked(shared);
    name_places(course, local_stays ? local : shared, local_stays ? shared : local);
    if (is_marked(shared))
        return end_other(course, shared, why);
    if (!is_marked(local)) {
        error_set(why, local->mark.state == MIGRATION_ARRIVED
                           ? "all of it has arrived here, and the database has another queue by now: `closecrm.fcgi "
                             "queue migrate --to sqlite` ends it"
                           : "no queue is being moved: there is nothing to give up");
        return false;
    }
    return (local->mark.state != MIGRATION_RECEIVES || has_nothing(course, why)) &&
           set_mark(course, local, &no_mark, why);
}

static bool give_up(struct course *course, struct error *why)
{
    if (!open_side(&course->from, course->config, why) || !open_side(&course->to, course->config, why)) {
        error_prefix(why, "both queues are needed for that; where a database is gone for good name an empty one in "
                          "queue_url: ");
        return false;
    }
    if (!is_begun(course))
        turn(course);
    if (!is_begun(course))
        return give_up_half(course, why);
    name_places(course, &course->from, &course->to);
    return undo(course, why);
}

/* One queue is moved to one other: what waits in a source's own database would be left behind. */
static bool is_one_database(const struct config *config, struct error *why)
{
    for (size_t i = 0; i < config->sources; i++) {
        const struct source *source = &config->source[i];
        if (source->queue_url == NULL || strcmp(source->queue_url, config->queue_url) == 0)
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
    bool good = act(course, why);
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
    return with_both(&course, config, QUEUE_POSTGRESQL, give_up, done, why);
}
