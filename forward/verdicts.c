/* Verdicts on their way to the queue: see verdicts.h. */
#include "forward/verdicts.h"

#include <stdlib.h>
#include <string.h>

bool verdicts_reserve(struct verdicts *verdicts, size_t count)
{
    size_t needed = verdicts->count + count;
    if (needed <= verdicts->capacity)
        return true;
    size_t capacity = verdicts->capacity == 0 ? 64 : verdicts->capacity;
    while (capacity < needed)
        capacity *= 2;
    struct verdict *at = realloc(verdicts->at, capacity * sizeof *at);
    if (at == NULL)
        return false;
    verdicts->at = at;
    verdicts->capacity = capacity;
    return true;
}

const char *verdicts_reason(struct verdicts *verdicts, const char *reason)
{
    if (verdicts->reason_count == verdicts->reason_capacity) {
        size_t capacity = verdicts->reason_capacity == 0 ? 16 : verdicts->reason_capacity * 2;
        char **reasons = realloc(verdicts->reasons, capacity * sizeof *reasons);
        if (reasons == NULL)
            return NULL;
        verdicts->reasons = reasons;
        verdicts->reason_capacity = capacity;
    }
    char *copy = strdup(reason);
    if (copy != NULL)
        verdicts->reasons[verdicts->reason_count++] = copy;
    return copy;
}

void verdicts_add(struct verdicts *verdicts, const struct verdict *verdict)
{
    verdicts->at[verdicts->count++] = *verdict;
}

static void clear(struct verdicts *verdicts)
{
    verdicts->count = 0;
    while (verdicts->reason_count > 0)
        free(verdicts->reasons[--verdicts->reason_count]);
}

bool verdicts_tell(struct verdicts *verdicts, struct queue *queue, const char *source, struct error *why)
{
    if (verdicts->count == 0)
        return true;
    if (!queue_settle(queue, source, verdicts->at, verdicts->count, why))
        return false;
    clear(verdicts);
    return true;
}

void verdicts_free(struct verdicts *verdicts)
{
    clear(verdicts);
    free(verdicts->at);
    free(verdicts->reasons);
    *verdicts = (struct verdicts){0};
}
