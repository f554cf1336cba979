/* What the marks of two queues say of a migration: whether it was begun, whose it is, and whether it is this machine's
 * and this database's. See migrate.c. */
#include <string.h>

#include "base/program_name.h"
#include "queue/migrate_private.h"

bool migrate_is_marked(const struct side *side)
{
    return side->mark.state == MIGRATION_LEAVES || side->mark.state == MIGRATION_RECEIVES;
}

/* Whether both sides have the marks of one migration. */
bool migrate_is_begun(const struct course *course)
{
    const struct migration_mark *from = &course->from.mark, *to = &course->to.mark;
    return (from->state == MIGRATION_LEAVES || from->state == MIGRATION_LEFT) &&
           (to->state == MIGRATION_RECEIVES || to->state == MIGRATION_ARRIVED) && from->number == to->number;
}

bool migrate_is_stale(struct course *course)
{
    const struct migration_mark *local = &local_side(course)->mark, *mark = &shared_side(course)->mark;
    bool knows = local->state != MIGRATION_NONE && local->number == mark->number;
    return migrate_is_marked(shared_side(course)) && !knows && migration_reader(mark, course->config) == MIGRATION_HERE;
}

bool migrate_refuse_shared(struct course *course, struct error *why)
{
    const struct migration_mark *mark = &shared_side(course)->mark;
    migration_words(mark, migrate_is_stale(course) ? MIGRATION_STALE : migration_reader(mark, course->config), why);
    return false;
}

bool migrate_tell_missing(struct course *course, struct error *why)
{
    if (why->kind == ERROR_MISSING && local_side(course)->mark.state == MIGRATION_LEFT)
        error_prefix(
            why,
            "this queue was moved to a database. Where that is gone for good, `%s queue migrate --give-up --gone` "
            "opens the copy that is here, as it was then: what was delivered since is delivered again, with the "
            "same messageId. The database of queue_url: ",
            program_name());
    return false;
}

bool migrate_is_half(const struct side *local)
{
    return migrate_is_marked(local) || local->mark.state == MIGRATION_ARRIVED;
}

bool migrate_ask_database(struct course *course, struct error *why)
{
    const struct side *local = local_side(course), *shared = shared_side(course);
    course->opened = (struct migration_mark){.state = MIGRATION_NONE};
    return shared->engine->origin(shared->state, &course->origin, why) &&
           (local->mark.number == 0 || shared->engine->opened(shared->state, local->mark.number, &course->opened, why));
}

bool migrate_was_opened(const struct course *course)
{
    return course->opened.number != 0;
}

/* Whether it knows the state directory's migration. */
static bool is_known_there(const struct course *course)
{
    const int64_t number = local_mark(course)->number;
    return number != 0 && (migrate_was_opened(course) || shared_mark(course)->number == number);
}

bool migrate_is_its_database(const struct course *course)
{
    const struct migration_mark *mark = local_mark(course);
    bool has_all = mark->state == MIGRATION_ARRIVED; /* whatever has become of the database */
    return has_all || mark->origin == 0 || mark->origin == course->origin || is_known_there(course);
}

bool migrate_is_same_place(struct course *course, struct error *why)
{
    char place[MIGRATION_PLACE];
    const struct migration_mark *mark = local_mark(course);
    if (!migrate_is_half(local_side(course)) || is_known_there(course)) /* it may have another name now */
        return true;
    shared_side(course)->engine->mark_place(course->config, place);
    bool is_named = strcmp(mark->place, place) == 0;
    if (is_named && migrate_is_its_database(course))
        return true;
    if (is_named)
        error_set(why, "a migration was begun, and the database of queue_url is another one now, which knows nothing "
                       "of it: bring that one back. Where it is gone for good: `closecrm.fcgi queue migrate --give-up "
                       "--gone` opens what is in this state directory");
    else
        error_set(
            why,
            "a migration was begun, with the queue %.150s, and queue_url names the one %.150s: set it back. Where the "
            "first is gone for good: `closecrm.fcgi queue migrate --give-up --gone` opens what is in this state "
            "directory",
            mark->place, place);
    return false;
}

bool migrate_is_where_it_left(struct course *course, const struct side *local, struct error *why)
{
    char place[MIGRATION_PLACE];
    shared_side(course)->engine->mark_place(course->config, place);
    if (strcmp(local->mark.place, place) == 0)
        return local != local_side(course) || migrate_may_empty(course, why);
    error_set(
        why,
        "this queue was moved: it is %.150s now, and queue_url names the one %.150s: set it back. To use that one "
        "instead nothing is to be moved: set queue = postgresql",
        local->mark.place, place);
    return false;
}

bool migrate_may_empty(const struct course *course, struct error *why)
{
    if (migrate_is_its_database(course))
        return true;
    error_set(why,
              "this queue was moved to a database, and that of queue_url is another one, or was made anew since: the "
              "copy that is here would be lost. Bring that one back; where it is gone for good, `closecrm.fcgi queue "
              "migrate --give-up --gone` opens the copy, as it was then: what was delivered since is delivered again, "
              "with the same messageId. Where nobody needs the copy: remove %.300s/queue.db",
              course->config->state_dir);
    return false;
}
