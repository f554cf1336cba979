/* The entrances, renewed when a key comes or goes: see gate.h. */
#include "webhook/gate.h"

#include <stdlib.h>

#include "watch/log.h"

#define LOOK_MS 1000

static void release(struct admitted *admitted)
{
    if (admitted == NULL || --admitted->users > 0)
        return;
    entrances_free(&admitted->entrances);
    free(admitted);
}

/* Reads the keys as they are now. NULL with the reason. */
static struct admitted *admit(const struct config *config, struct why *why)
{
    struct keyring held;
    if (!keyring_read(config->state_dir, &held, why))
        return NULL;
    struct admitted *admitted = calloc(1, sizeof *admitted);
    if (admitted == NULL || !entrances_init_with(&admitted->entrances, config, &held)) {
        why_set(why, "out of memory, or libcrypto offers no HMAC-SHA256");
        free(admitted);
        admitted = NULL;
    } else {
        admitted->users = 1;
    }
    keyring_free(&held);
    return admitted;
}

bool gate_init(struct gate *gate, const struct config *config, struct why *why)
{
    *gate = (struct gate){.config = config};
    keyring_changed(config->state_dir, &gate->look); /* before it is read: what comes after shows */
    gate->current = admit(config, why);
    if (gate->current == NULL)
        return false;
    pthread_mutex_init(&gate->lock, NULL);
    atomic_init(&gate->looked, clock_now());
    return true;
}

bool gate_renew(struct gate *gate)
{
    struct why why;
    bool renewed = false;
    if (gate->config->state_dir == NULL)
        return false;
    pthread_mutex_lock(&gate->lock);
    atomic_store(&gate->looked, clock_now());
    struct keyring_look look = gate->look;
    if (keyring_changed(gate->config->state_dir, &look)) {
        struct admitted *fresh = admit(gate->config, &why);
        if (fresh == NULL) {
            log_write(LEVEL_ERROR, "msg=keys_not_read reason=\"%s\"", why.text);
        } else {
            release(gate->current);
            gate->current = fresh;
            renewed = true;
        }
        gate->look = fresh == NULL ? gate->look : look;
    }
    pthread_mutex_unlock(&gate->lock);
    return renewed;
}

struct admitted *gate_enter(struct gate *gate)
{
    moment now = clock_now();
    moment looked = atomic_load(&gate->looked);
    if (now - looked >= LOOK_MS && atomic_compare_exchange_strong(&gate->looked, &looked, now))
        gate_renew(gate);
    pthread_mutex_lock(&gate->lock);
    struct admitted *admitted = gate->current;
    admitted->users++;
    pthread_mutex_unlock(&gate->lock);
    return admitted;
}

void gate_leave(struct gate *gate, struct admitted *admitted)
{
    pthread_mutex_lock(&gate->lock);
    release(admitted);
    pthread_mutex_unlock(&gate->lock);
}

void gate_free(struct gate *gate)
{
    release(gate->current);
    pthread_mutex_destroy(&gate->lock);
}
