/* What sources accept, as it is now: the keys of the configuration and those that `subscribe` obtained meanwhile. */
#ifndef WEBHOOK_ADMISSION_H
#define WEBHOOK_ADMISSION_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "config/keyring.h"
#include "webhook/auth.h"

/* One state of what is accepted; replaced whole when a key comes or goes. */
struct admitted {
    struct entrances entrances;
    size_t users; /* under the admission's lock; that itself is one */
};

struct admission {
    const struct config *config;
    pthread_mutex_t lock; /* over all that follows but looked */
    struct admitted *current;
    struct keyring_look look;
    bool unread;           /* the keys could not be read when that was tried last */
    _Atomic moment looked; /* when the directory was looked at last */
};

/* config must outlive it. Returns false with the reason; then nothing is to be freed. */
bool admission_init(struct admission *admission, const struct config *config, struct error *why);

/* What is accepted now; looks for new keys at most once a second. Give it back with admission_leave. Any thread. */
struct admitted *admission_enter(struct admission *admission);
void admission_leave(struct admission *admission, struct admitted *admitted);

/* Looks for new keys at once: a request was about to be refused. Returns whether something else is accepted now. */
bool admission_renew(struct admission *admission);

void admission_free(struct admission *admission);

#endif
