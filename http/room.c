/* Threads that do nothing but count towards the system's limit: see room.h. */
#include "http/room.h"

static void *wait_for_end(void *context)
{
    struct room *room = context;
    pthread_mutex_lock(&room->lock);
    pthread_mutex_unlock(&room->lock);
    return NULL;
}

void room_take(struct room *room)
{
    pthread_attr_t small;
    room->count = 0;
    pthread_mutex_init(&room->lock, NULL);
    pthread_mutex_lock(&room->lock);
    if (pthread_attr_init(&small) != 0)
        return;
    pthread_attr_setstacksize(&small, (size_t)64 * 1024);
    while (room->count < ROOM && pthread_create(&room->threads[room->count], &small, wait_for_end, room) == 0)
        room->count++;
    pthread_attr_destroy(&small);
}

void room_leave(struct room *room)
{
    pthread_mutex_unlock(&room->lock);
    for (size_t i = 0; i < room->count; i++)
        pthread_join(room->threads[i], NULL);
    pthread_mutex_destroy(&room->lock);
}
