/* The document roots that requests name: see roots.h. */
#include "process/roots.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define LOG_AGAIN_MS 60000

struct root_verdict {
    bool good;
    char root[];
};

void roots_init(struct roots *roots, const struct config *config)
{
    roots->config = config;
    roots->logged = INT64_MIN / 2;
    for (size_t i = 0; i < ROOTS_KEPT; i++)
        atomic_init(&roots->at[i], NULL);
    pthread_mutex_init(&roots->lock, NULL);
}

static const struct root_verdict *find(const struct roots *roots, const char *root)
{
    for (size_t i = 0; i < ROOTS_KEPT; i++) {
        const struct root_verdict *verdict = atomic_load_explicit(&roots->at[i], memory_order_acquire);
        if (verdict == NULL || strcmp(verdict->root, root) == 0)
            return verdict;
    }
    return NULL;
}

/* Under the lock. Returns false when there is no place or no memory. */
static bool keep(struct roots *roots, const char *root, bool good)
{
    size_t i = 0, size = strlen(root) + 1;
    while (i < ROOTS_KEPT && atomic_load_explicit(&roots->at[i], memory_order_relaxed) != NULL)
        i++;
    struct root_verdict *verdict = i == ROOTS_KEPT ? NULL : malloc(sizeof *verdict + size);
    if (verdict == NULL)
        return false;
    verdict->good = good;
    memcpy(verdict->root, root, size);
    atomic_store_explicit(&roots->at[i], verdict, memory_order_release);
    return true;
}

/* Under the lock, so that it is said once. */
static bool judge(struct roots *roots, const char *root)
{
    struct error why = {0};
    moment now = clock_now();
    bool good = config_outside(roots->config, root, &why);
    bool kept = keep(roots, root, good);
    if (!good && (kept || now - roots->logged >= LOG_AGAIN_MS)) {
        log_write(LEVEL_ERROR, "msg=configuration_refused %s", why.text);
        roots->logged = now;
    }
    return good;
}

bool roots_are_good(struct roots *roots, const char *document_root)
{
    if (document_root == NULL || document_root[0] == '\0')
        return true;
    const struct root_verdict *verdict = find(roots, document_root);
    if (verdict != NULL)
        return verdict->good;
    pthread_mutex_lock(&roots->lock);
    verdict = find(roots, document_root); /* another thread may have been faster */
    bool good = verdict != NULL ? verdict->good : judge(roots, document_root);
    pthread_mutex_unlock(&roots->lock);
    return good;
}

void roots_free(struct roots *roots)
{
    for (size_t i = 0; i < ROOTS_KEPT; i++)
        free(atomic_load(&roots->at[i]));
    pthread_mutex_destroy(&roots->lock);
}
