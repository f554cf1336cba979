/* An engine behind kept.h. Its functions are called as those of the same names there. */
#ifndef KEPT_ENGINE_H
#define KEPT_ENGINE_H

#include "kept/kept.h"

struct kept_engine {
    void *(*open)(const struct config *config, struct error *why);
    void (*close)(void *state);
    bool (*lock)(void *state, const char *path, int64_t wait_ms,
                 struct error *why); /* path: below the state directory */
    bool (*put)(void *state, const char *directory, const char *name, const char *text, struct error *why);
    bool (*remove)(void *state, const char *directory, const char *name, struct error *why);
    bool (*move)(void *state, const char *from, const char *to, const char *name, bool *taken, struct error *why);
    bool (*look)(void *state, struct error *why);
    bool (*is_fresh)(const struct config *config);
    bool (*is_known)(const struct config *config, struct error *why);
    bool is_shared;
    bool (*secret)(const struct config *config, unsigned char secret[static KEPT_SECRET]); /* NULL: it has none */
    bool (*exchange)(void *state, const struct kept_speaker *speaker,
                     struct error *why); /* NULL: there is nobody else */
    bool (*say)(void *state, const struct kept_record *records, size_t count, struct error *why); /* likewise */
    void *(*watch_start)(const struct config *config, const struct kept_speaker *speaker); /* closes it if NULL */
    bool (*watch_stop)(void *watch);
};

extern const struct kept_engine kept_engine_files;
extern const struct kept_engine kept_engine_postgresql; /* queue/postgresql */

#endif
