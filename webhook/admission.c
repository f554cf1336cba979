/* The entrances, renewed when a key comes or goes: see admission.h. */
#include "webhook/admission.h"

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

bool admission_init(struct admission *admission, const struct config *config, struct why *why)
{
    *admission = (struct admission){.config = config};
    keyring_changed(config->state_dir, &admission->look); /* before it is read: what comes after shows */
    admission->current = admit(config, why);
    if (admission->current == NULL)
        return false;
    pthread_mutex_init(&admission->lock, NULL);
    atomic_init(&admission->looked, clock_now());
    return true;
}

bool admission_renew(struct admission *admission)
{
    struct why why;
    bool renewed = false;
    if (admission->config->state_dir == NULL)
        return false;
    pthread_mutex_lock(&admission->lock);
    atomic_store(&admission->looked, clock_now());
    struct keyring_look look = admission->look;
    if (keyring_changed(admission->config->state_dir, &look)) {
        struct admitted *fresh = admit(admission->config, &why);
        if (fresh == NULL) {
            log_write(LEVEL_ERROR, "msg=keys_not_read reason=\"%s\"", why.text);
        } else {
            release(admission->current);
            admission->current = fresh;
            renewed = true;
        }
        admission->look = fresh == NULL ? admission->look : look;
    }
    pthread_mutex_unlock(&admission->lock);
    return renewed;
}

struct admitted *admission_enter(struct admission *admission)
{
    moment now = clock_now();
    moment looked = atomic_load(&admission->looked);
    if (now - looked >= LOOK_MS && atomic_compare_exchange_strong(&admission->looked, &looked, now))
        admission_renew(admission);
    pthread_mutex_lock(&admission->lock);
    struct admitted *admitted = admission->current;
    admitted->users++;
    pthread_mutex_unlock(&admission->lock);
    return admitted;
}

void admission_leave(struct admission *admission, struct admitted *admitted)
{
    pthread_mutex_lock(&admission->lock);
    release(admitted);
    pthread_mutex_unlock(&admission->lock);
}

void admission_free(struct admission *admission)
{
    release(admission->current);
    pthread_mutex_destroy(&admission->lock);
}
