/* The document roots that requests name. The web server tells it with each request, and several sites, of which one may
 * show our files to everybody, can lead to one process: each is judged once, whatever came before it. Any thread. */
#ifndef PROCESS_ROOTS_H
#define PROCESS_ROOTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/clock.h"
#include "config/config.h"

#define ROOTS_KEPT 64 /* verdicts; those beyond are found anew each time */

struct root_verdict;

struct roots {
    const struct config *config;
    _Atomic(struct root_verdict *) at[ROOTS_KEPT]; /* never changed once it is there; NULL: from here on none is */
    pthread_mutex_t lock;                          /* over adding, and what follows */
    moment logged; /* when it was last said of one that is not kept; INT64_MIN / 2: never */
};

/* config is borrowed and must outlive it. */
void roots_init(struct roots *roots, const struct config *config);

/* Whether configuration, keys and events all lie outside this document root (NULL or "": none is named). The log says
 * once what does not, and how to mend it. */
bool roots_are_good(struct roots *roots, const char *document_root);

/* Nobody may be in roots_are_good any more. */
void roots_free(struct roots *roots);

#endif
