/* What sources accept, as it is now: the keys of the configuration and those that `subscribe` obtained meanwhile. */
#ifndef WEBHOOK_GATE_H
#define WEBHOOK_GATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "config/keyring.h"
#include "watch/clock.h"
#include "webhook/choose.h"

/* One state of what is accepted; replaced whole when a key comes or goes. */
struct admitted {
    struct entrances entrances;
    size_t users; /* under the gate's lock; the gate itself is one */
};

struct gate {
    const struct config *config;
    pthread_mutex_t lock; /* over all that follows but looked */
    struct admitted *current;
    struct keyring_look look;
    _Atomic moment looked; /* when the directory was looked at last */
};

/* config must outlive it. Returns false with the reason; then nothing is to be freed. */
bool gate_init(struct gate *gate, const struct config *config, struct why *why);

/* What is accepted now; looks for new keys at most once a second. Give it back with gate_leave. Any thread. */
struct admitted *gate_enter(struct gate *gate);
void gate_leave(struct gate *gate, struct admitted *admitted);

/* Looks for new keys at once: a request was about to be refused. Returns whether something else is accepted now. */
bool gate_renew(struct gate *gate);

void gate_free(struct gate *gate);

#endif
