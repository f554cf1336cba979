/* Identities of what waits in the queue: a set of bounded size. Beyond it some are not known, and appending them again
 * does no harm: the forwarder knows duplicates. */
#include <stdlib.h>
#include <string.h>

#include "closeapi/import.h"
#include "queue/inspect.h"

#define PLACES ((size_t)1 << 18)
#define MOST (PLACES / 2)
#define PIECE_EVENTS 500
#define PIECE_BYTES ((size_t)8 << 20)

struct place {
    unsigned char key[16];
    int64_t updated_us;
    bool used;
};

struct waiting {
    struct place *places;
    size_t used;
    uint64_t last_id; /* read up to here */
    struct events events;
};

struct waiting *waiting_new(void)
{
    struct waiting *waiting = calloc(1, sizeof *waiting);
    if (waiting != NULL)
        waiting->places = calloc(PLACES, sizeof *waiting->places);
    if (waiting != NULL && waiting->places != NULL)
        return waiting;
    free(waiting);
    return NULL;
}

void waiting_free(struct waiting *waiting)
{
    if (waiting == NULL)
        return;
    events_free(&waiting->events);
    free(waiting->places);
    free(waiting);
}

/* Keys are hashes: any of their bytes will do. */
static struct place *waiting_place(const struct waiting *waiting, const unsigned char key[16])
{
    size_t at;
    memcpy(&at, key, sizeof at);
    for (at %= PLACES; waiting->places[at].used && memcmp(waiting->places[at].key, key, 16) != 0;)
        at = (at + 1) % PLACES;
    return &waiting->places[at];
}

static void waiting_add(struct waiting *waiting, const struct identity *identity)
{
    struct place *place = waiting_place(waiting, identity->key);
    if (!place->used) {
        if (waiting->used == MOST)
            return;
        waiting->used++;
        memcpy(place->key, identity->key, sizeof place->key);
        place->updated_us = identity->updated_us;
        place->used = true;
    } else if (identity->updated_us > place->updated_us) {
        place->updated_us = identity->updated_us;
    }
}

bool waiting_read_on(struct waiting *waiting, struct queue *queue, const char *source, struct error *why)
{
    for (;;) {
        int count = queue_list(queue, source, waiting->last_id, PIECE_EVENTS, PIECE_BYTES, &waiting->events, why);
        if (count <= 0)
            return count == 0;
        for (int i = 0; i < count && waiting->used < MOST; i++) {
            struct parsed *parsed =
                transform_parse(waiting->events.at[i].body, waiting->events.at[i].length, NULL, NULL);
            if (parsed != NULL)
                waiting_add(waiting, transform_identity(parsed));
            parsed_free(parsed);
        }
        waiting->last_id = waiting->events.at[count - 1].id;
        if (waiting->used == MOST)
            return true;
    }
}

bool waiting_has(const struct waiting *waiting, const struct identity *identity)
{
    const struct place *place = waiting_place(waiting, identity->key);
    return place->used && place->updated_us >= identity->updated_us;
}
