/* queue_migrate of inspect.h. The queue that leaves is marked first, and changes no more; so whatever moment the
 * process is killed at, the next call finds in the other queue how far it came, and goes on there. The marks at the
 * end: the old queue has left, then the new one is open. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "queue/inspect.h"
#include "queue/migration.h"

/* ---- cargo ---- */

bool cargo_add(struct cargo *cargo, const struct cargo_row *row)
{
    if (cargo->count == cargo->capacity) {
        size_t capacity = cargo->capacity == 0 ? 64 : cargo->capacity * 2;
        struct cargo_row *at = realloc(cargo->at, capacity * sizeof *at);
        if (at == NULL)
            return false;
        cargo->at = at;
        cargo->capacity = capacity;
    }
    const char *reason = row->reason == NULL ? "" : row->reason;
    buffer_append(&cargo->texts, reason, strlen(reason) + 1);
    buffer_append(&cargo->texts, row->body, row->length);
    if (cargo->texts.failed)
        return false;
    cargo->at[cargo->count++] = *row;
    return true;
}

void cargo_finish(struct cargo *cargo)
{
    const char *text = cargo->texts.data;
    for (size_t i = 0; i < cargo->count; i++) {
        cargo->at[i].reason = text;
        cargo->at[i].body = text + strlen(text) + 1;
        text = cargo->at[i].body + cargo->at[i].length;
    }
}

void cargo_clear(struct cargo *cargo)
{
    cargo->count = 0;
    buffer_clear(&cargo->texts);
}

void cargo_free(struct cargo *cargo)
{
    free(cargo->at);
    buffer_free(&cargo->texts);
    *cargo = (struct cargo){.count = 0};
}

/* ---- marks ---- */

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
                  "this queue is being moved; it will be %.200s. If that was interrupted, call `closecrm.fcgi queue "
                  "migrate --to %s` again, which goes on, or `closecrm.fcgi queue migrate --give-up`, which undoes it",
                  mark->place, mark->command);
        break;
    case MIGRATION_RECEIVES:
        error_set(why,
                  "a queue is being moved to here; it was %.200s. If that was interrupted, call on that machine "
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

/* Makes the target ready for a new migration, or finds it ready for this one. */
static bool begin_receiving(struct course *course, struct error *why)
{
    struct side *to = &course->to;
    int64_t number = course->from.mark.number;
    if (to->mark.state == MIGRATION_RECEIVES && to->mark.number == number)
        return true;
    if (to->mark.state != MIGRATION_NONE && to->mark.state != MIGRATION_LEFT) {
        migration_words(&to->mark, why);
        return false;
    }
    if (to->mark.state == MIGRATION_LEFT && !to->engine->empty(to->state, why))
        return false;
    struct migration_mark mark = make_mark(course, MIGRATION_RECEIVES, number, course->from.engine);
    return to->engine->last_letter(to->state, &mark.letters, why) && set_mark(course, to, &mark, why);
}

static bool begin_leaving(struct course *course, struct error *why)
{
    struct side *from = &course->from;
    int64_t number = 0;
    enum migration_state other = course->to.mark.state;
    if (from->mark.state == MIGRATION_LEAVES || (from->mark.state == MIGRATION_LEFT && other == MIGRATION_RECEIVES))
        return true;
    if (from->mark.state != MIGRATION_NONE || other == MIGRATION_LEAVES || other == MIGRATION_RECEIVES) {
        migration_words(from->mark.state != MIGRATION_NONE ? &from->mark : &course->to.mark, why);
        return false;
    }
    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number) {
        error_set(why, "the kernel gives no random number");
        return false;
    }
    struct migration_mark mark = make_mark(course, MIGRATION_LEAVES, number & INT64_MAX, course->to.engine);
    return set_mark(course, from, &mark, why);
}

/* After it the new queue may be opened. */
static bool finish(struct course *course, struct error *why)
{
    struct migration_mark left = course->from.mark;
    left.state = MIGRATION_LEFT;
    if (course->from.mark.state != MIGRATION_LEFT && !set_mark(course, &course->from, &left, why))
        return false;
    return set_mark(course, &course->to, &(struct migration_mark){.state = MIGRATION_NONE}, why);
}

static bool migrate(struct course *course, struct error *why)
{
    if (!open_side(&course->from, course->config, why) || !open_side(&course->to, course->config, why))
        return false;
    bool left = course->from.mark.state == MIGRATION_LEFT;
    if (left && course->to.mark.state == MIGRATION_NONE) {
        course->done->was_done = true;
        return true;
    }
    return begin_leaving(course, why) && begin_receiving(course, why) && each_part(course, count_arrived, why) &&
           (left || each_part(course, move_part, why)) && finish(course, why);
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

/* Whether the queue at `from` is the one that was to be moved to `to`. */
static bool is_leaving(const struct side *from, const struct side *to)
{
    return from->mark.state == MIGRATION_LEAVES ||
           (from->mark.state == MIGRATION_LEFT && to->mark.state == MIGRATION_RECEIVES &&
            from->mark.number == to->mark.number);
}

static bool find_leaving(struct course *course, struct error *why)
{
    struct side other = course->from;
    if (!is_leaving(&course->from, &course->to)) {
        course->from = course->to;
        course->to = other;
    }
    if (is_leaving(&course->from, &course->to))
        return true;
    const struct side *receives = course->from.mark.state == MIGRATION_RECEIVES ? &course->from : &course->to;
    if (receives->mark.state == MIGRATION_RECEIVES)
        migration_words(&receives->mark, why); /* another machine's */
    else
        error_set(why, "no queue is being moved: there is nothing to give up");
    return false;
}

/* The queue that leaves has not changed. It may not be taken for one that has left while the other one is emptied, and
 * is opened last. */
static bool give_up(struct course *course, struct error *why)
{
    const struct migration_mark none = {.state = MIGRATION_NONE};
    if (!open_side(&course->from, course->config, why) || !open_side(&course->to, course->config, why)) {
        error_prefix(why, "both queues are needed for that; where a database is gone for good name an empty one in "
                          "queue_url: ");
        return false;
    }
    if (!find_leaving(course, why))
        return false;
    struct side *from = &course->from, *to = &course->to;
    struct migration_mark leaves = from->mark;
    leaves.state = MIGRATION_LEAVES;
    from->engine->place(course->config, course->done->from);
    to->engine->place(course->config, course->done->to);
    if (from->mark.state != MIGRATION_LEAVES && !set_mark(course, from, &leaves, why))
        return false;
    if (to->mark.state == MIGRATION_RECEIVES && to->mark.number == from->mark.number &&
        (!each_part(course, take_part_back, why) || !set_mark(course, to, &none, why)))
        return false;
    return set_mark(course, from, &none, why);
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

static bool with_both(const struct config *config, enum queue_kind to, bool (*act)(struct course *, struct error *),
                      const struct migrating *watch, struct migrated *done, struct error *why)
{
    struct course course = {.config = config, .watch = watch, .done = done};
    *done = (struct migrated){.events = 0};
    course.to.engine = sides[to];
    course.from.engine = sides[to == QUEUE_SQLITE ? QUEUE_POSTGRESQL : QUEUE_SQLITE];
    if (course.to.engine == NULL || course.from.engine == NULL) {
        error_set(why, "this program was built without queue = postgresql: Debian's package and the bundle have it");
        return false;
    }
    if (!is_one_database(config, why))
        return false;
    course.from.engine->place(config, done->from);
    course.to.engine->place(config, done->to);
    bool good = act(&course, why);
    cargo_free(&course.cargo);
    close_side(&course.to);
    close_side(&course.from);
    return good;
}

bool queue_migrate(const struct config *config, enum queue_kind to, const struct migrating *watch,
                   struct migrated *done, struct error *why)
{
    return with_both(config, to, migrate, watch, done, why);
}

bool queue_migrate_give_up(const struct config *config, const struct migrating *watch, struct migrated *done,
                           struct error *why)
{
    return with_both(config, QUEUE_POSTGRESQL, give_up, watch, done, why);
}
