/* What waits in the queue: see waiting.h. */
#include "closeapi/waiting.h"

#include "queue/inspect.h"

#include <stdlib.h>
#include <string.h>

#define WAITING_PLACES ((size_t)1 << 18)
#define WAITING_MOST (WAITING_PLACES / 2)
#define LIST_EVENTS 500 /* read from the queue at once */
#define LIST_BYTES ((size_t)8 << 20)

struct waiting_place {
    unsigned char key[16];
    int64_t updated_us;
    bool used;
};

bool waiting_init(struct waiting *waiting)
{
    *waiting = (struct waiting){.places = calloc(WAITING_PLACES, sizeof *waiting->places)};
    return waiting->places != NULL;
}

void waiting_free(struct waiting *waiting)
{
    events_free(&waiting->events);
    free(waiting->places);
}

/* Keys are hashes: any of their bytes will do. */
static struct waiting_place *find_place(const struct waiting *waiting, const unsigned char key[16])
{
    size_t at;
    memcpy(&at, key, sizeof at);
    for (at %= WAITING_PLACES; waiting->places[at].used && memcmp(waiting->places[at].key, key, 16) != 0;)
        at = (at + 1) % WAITING_PLACES;
    return &waiting->places[at];
}

static void waiting_add(struct waiting *waiting, const struct identity *identity)
{
    struct waiting_place *place = find_place(waiting, identity->key);
    if (!place->used) {
        if (waiting->used == WAITING_MOST)
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
        int count = queue_list(queue, source, waiting->last_id, LIST_EVENTS, LIST_BYTES, &waiting->events, why);
        if (count <= 0)
            return count == 0;
        for (int i = 0; i < count && waiting->used < WAITING_MOST; i++) {
            struct parsed *parsed =
                transform_parse(waiting->events.at[i].body, waiting->events.at[i].length, NULL, NULL);
            if (parsed != NULL)
                waiting_add(waiting, transform_identity(parsed));
            parsed_free(parsed);
        }
        waiting->last_id = waiting->events.at[count - 1].id;
        if (waiting->used == WAITING_MOST)
            return true;
    }
}

bool waiting_has(const struct waiting *waiting, const struct identity *identity)
{
    const struct waiting_place *place = find_place(waiting, identity->key);
    return place->used && place->updated_us >= identity->updated_us;
}
