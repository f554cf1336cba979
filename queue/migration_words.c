/* What a queue that is moved says to whoever would open it (queue/migration.h). */
#include <stdio.h>
#include <string.h>

#include "queue/migration.h"

#define PLACE_TOLD 90 /* with it, two commands and a source's name fit into an error, whatever their lengths */

enum migration_reader migration_reader(const struct migration_mark *mark, const struct config *config)
{
    char own[MIGRATION_PLACE] = "";
    if (config->state_dir != NULL)
        sqlite_migration.place(config, own);
    return strcmp(own, mark->place) == 0 ? MIGRATION_HERE : MIGRATION_ELSEWHERE;
}

/* Of a long one the middle is left out: its end names the machine. */
static const char *shorten(const char *place, char out[static PLACE_TOLD + 1])
{
    size_t length = strlen(place), half = (PLACE_TOLD - 3) / 2;
    if (length <= PLACE_TOLD)
        snprintf(out, PLACE_TOLD + 1, "%.*s", PLACE_TOLD, place);
    else
        snprintf(out, PLACE_TOLD + 1, "%.*s...%s", (int)half, place, place + length - half);
    return out;
}

static void left_words(enum migration_reader reader, const char *place, struct error *why)
{
    if (reader == MIGRATION_OWN)
        error_set(why,
                  "this queue was moved: it is %s now. Set queue = postgresql; to bring it back: `closecrm.fcgi queue "
                  "migrate --to sqlite`",
                  place);
    else if (reader != MIGRATION_ELSEWHERE)
        error_set(why,
                  "this queue was moved: it is %s now, which is here. Set queue = sqlite; to bring it back: "
                  "`closecrm.fcgi queue migrate --to postgresql`",
                  place);
    else
        error_set(why,
                  "this queue was moved: it is %s now, and no other machine can use it there: let Close's address lead "
                  "to that one. To bring it back: on that machine `queue migrate --to postgresql`. To have a queue of "
                  "this machine's own beside it: `closecrm.fcgi queue migrate --to sqlite`",
                  place);
}

static void begun_words(const struct migration_mark *mark, enum migration_reader reader, const char *place,
                        struct error *why)
{
    const char *leaves = mark->state == MIGRATION_LEAVES ? "this queue is being moved; it will be "
                                                         : "a queue is being moved to here; it was ";
    if (reader == MIGRATION_ELSEWHERE)
        error_set(why,
                  "%s%s. If that was interrupted, call where it was begun, on that machine, `queue migrate --to %.16s` "
                  "again, which goes on, or `queue migrate --give-up`, which undoes it; where that machine is gone for "
                  "good: `closecrm.fcgi queue migrate --give-up --gone` opens what is here",
                  leaves, place, mark->command);
    else if (reader == MIGRATION_STALE)
        error_set(why,
                  "%s%s, whose queue.db knows nothing of it any more: `closecrm.fcgi queue migrate --to sqlite` brings "
                  "what is in the database to there, where what was delivered meanwhile is known",
                  leaves, place);
    else if (mark->state == MIGRATION_LEAVES && mark->letters == MIGRATION_LETS_GO)
        error_set(why, "%s%s. Giving that up was interrupted: `closecrm.fcgi queue migrate --give-up` goes on", leaves,
                  place);
    else
        error_set(why,
                  "%s%s. If that was interrupted, `closecrm.fcgi queue migrate --to %.16s` goes on, "
                  "`closecrm.fcgi queue migrate --give-up` undoes it%s",
                  leaves, place, mark->command,
                  reader != MIGRATION_HERE ? ""
                                           : "; where this machine's own was opened meanwhile, the same with --to "
                                             "sqlite brings what is here to there");
}

void migration_words(const struct migration_mark *mark, enum migration_reader reader, struct error *why)
{
    char place[PLACE_TOLD + 1];
    shorten(mark->place, place);
    if (mark->state == MIGRATION_LEFT)
        left_words(reader, place, why);
    else if (mark->state != MIGRATION_NONE)
        begun_words(mark, reader, place, why);
}
