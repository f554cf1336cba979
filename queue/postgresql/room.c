/* How full the queue is, by estimates. */
#include "queue/postgresql/store.h"

enum pg_outcome room_read(struct pg_session *session, const struct config *config, struct queue_room *room)
{
    PGresult *figures = NULL;
    enum pg_outcome result = pg_session_run(session, STATEMENT_FULLNESS, NULL, &figures);
    *room = (struct queue_room){.share = (uint64_t)config->queue_max_bytes / 4};
    if (result == PG_DONE) {
        room->letters = (uint64_t)result_int(figures, 0, 2);
        room->used = (uint64_t)(result_int(figures, 0, 0) + result_int(figures, 0, 1)) + room->letters;
    }
    PQclear(figures);
    return result;
}

bool room_is_full(const struct queue_room *room, const struct config *config, struct error *why)
{
    uint64_t most = (uint64_t)config->queue_max_bytes;
    if (room->used < most || (room->letters > room->share && room->used - room->letters < most - room->share))
        return false;
    error_set(why,
              "queue_max_bytes (%llu MiB) is reached: about %llu MiB of events that wait or are known, %llu MiB of "
              "dead letters: the data plane must take what waits%s",
              (unsigned long long)most >> 20, (unsigned long long)(room->used - room->letters) >> 20,
              (unsigned long long)room->letters >> 20,
              room->letters >> 20 == 0 ? ""
                                       : "; `closecrm.fcgi dead list` shows the dead letters, and `closecrm.fcgi dead "
                                         "drop` throws away those that you name");
    return true;
}
