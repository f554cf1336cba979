/* Rows on their way from one queue to another: see migration.h. */
#include <stdlib.h>
#include <string.h>

#include "queue/migration.h"

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
