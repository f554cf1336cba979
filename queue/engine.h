/* What stands behind queue.h: one table of functions an engine. Their contracts are those of the queue_ functions of
 * the same names. */
#ifndef QUEUE_ENGINE_H
#define QUEUE_ENGINE_H

#include "queue/queue.h"

struct engine {
    void *(*open)(const struct config *config, struct why *why);
    enum queue_result (*append)(void *state, const char *source, const char *body, size_t length, moment deadline,
                                struct why *why);
    void (*hurry)(void *state, moment deadline);
    bool (*own)(void *state);
    int (*next)(void *state, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
                struct events *found, struct why *why);
    int (*again)(void *state, const char *source, const uint64_t *ids, size_t count, size_t max_bytes,
                 struct events *found, size_t *asked, struct why *why);
    bool (*known)(void *state, const char *source, const struct identity *identities, size_t count, struct known *known,
                  struct why *why);
    bool (*settle)(void *state, const char *source, const struct verdict *verdicts, size_t count, struct why *why);
    int (*wake_fd)(void *state);
    void (*woken)(void *state);
    void (*close)(void *state);
};

extern const struct engine queue_engine_none;

/* For engines: empties found, keeping its memory. */
void events_clear(struct events *found);

/* For engines: adds a copy of an event. Returns false when memory is out. */
bool events_add(struct events *found, uint64_t id, const char *body, size_t length);

/* For engines: call when all are added, before found is read: sets the bodies' addresses. */
void events_finish(struct events *found);

#endif
