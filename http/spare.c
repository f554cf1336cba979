/* Threads that do nothing but count towards the system's limit: see spare.h. */
#include "http/spare.h"

static void *wait_for_end(void *context)
{
    struct spare *spare = context;
    pthread_mutex_lock(&spare->lock);
    pthread_mutex_unlock(&spare->lock);
    return NULL;
}

void spare_take(struct spare *spare)
{
    pthread_attr_t small;
    spare->count = 0;
    pthread_mutex_init(&spare->lock, NULL);
    pthread_mutex_lock(&spare->lock);
    if (pthread_attr_init(&small) != 0)
        return;
    pthread_attr_setstacksize(&small, (size_t)64 * 1024);
    while (spare->count < SPARE_THREADS &&
           pthread_create(&spare->threads[spare->count], &small, wait_for_end, spare) == 0)
        spare->count++;
    pthread_attr_destroy(&small);
}

void spare_leave(struct spare *spare)
{
    pthread_mutex_unlock(&spare->lock);
    for (size_t i = 0; i < spare->count; i++)
        pthread_join(spare->threads[i], NULL);
    pthread_mutex_destroy(&spare->lock);
}
