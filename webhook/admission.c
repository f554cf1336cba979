/* The entrances, renewed when a key comes or goes: see admission.h. */
#include "webhook/admission.h"

#include <stdlib.h>

#include "base/log.h"
#include "config/signed.h"

#define LOOK_MS 1000

static void release(struct admitted *admitted)
{
    if (admitted == NULL || --admitted->users > 0)
        return;
    entrances_free(&admitted->entrances);
    free(admitted);
}

/* That a source has a key outlives the key: noted before anything comes in by it. */
static void note_keys(const struct config *config, const struct entrance *entrance)
{
    const char *source = entrance->source->name;
    struct error why = {0};
    bool noted = signed_note(config->state_dir, source, NULL, &why);
    for (size_t i = 0; noted && i < entrance->held_count; i++)
        noted = signed_note(config->state_dir, source, entrance->held[i], &why);
    if (!noted)
        log_write(LEVEL_WARN, "msg=not_noted source=%s reason=\"%s\"", source, why.text);
}

/* Says whose keys are missing. A source that had one a moment ago has had one, whatever is noted. */
static void judge(struct admitted *admitted, const struct admitted *before, const struct config *config,
                  const struct keyring *held, const struct error *unread)
{
    for (size_t i = 0; i < admitted->entrances.count; i++) {
        struct entrance *entrance = &admitted->entrances.at[i];
        const struct entrance *old = before == NULL ? NULL : &before->entrances.at[i];
        struct error words = {0};
        if (old != NULL && (old->signers.count > 0 || old->locked))
            signed_note(config->state_dir, entrance->source->name, NULL, NULL);
        bool unnoted;
        enum signed_state state = signed_judge(config, entrance->source, held, unread, &unnoted, &words);
        if (unnoted)
            note_keys(config, entrance);
        if (state == SIGNED_NEVER && old != NULL && !entrance->source->signature_none &&
            (old->signers.count > 0 || old->locked)) {
            error_set(&words, "source %s had a signature key, and the state directory is gone", entrance->source->name);
            state = SIGNED_LOST;
        }
        if (state == SIGNED_PART || state == SIGNED_LOST)
            entrances_judge(&admitted->entrances, i, state == SIGNED_LOST, &words);
        if (state == SIGNED_LOST)
            log_write(LEVEL_ERROR, "msg=source_locked source=%s reason=\"%s\"", entrance->source->name, words.text);
    }
}

/* Reads the keys as they are now. *whole: they could be read; if not, nothing is let in by them. NULL with the reason
 * when memory is out. */
static struct admitted *admit(const struct config *config, const struct admitted *before, bool *whole,
                              struct error *why)
{
    struct keyring held;
    struct error unread = {0};
    *whole = keyring_read(config->state_dir, &held, &unread);
    struct admitted *admitted = calloc(1, sizeof *admitted);
    if (admitted == NULL || !entrances_init_with(&admitted->entrances, config, *whole ? &held : NULL)) {
        error_set(why, "out of memory, or libcrypto offers no HMAC-SHA256");
        free(admitted);
        admitted = NULL;
    } else {
        admitted->users = 1;
        judge(admitted, before, config, *whole ? &held : NULL, &unread);
    }
    keyring_free(&held);
    return admitted;
}

bool admission_init(struct admission *admission, const struct config *config, struct error *why)
{
    *admission = (struct admission){.config = config};
    keyring_changed(config->state_dir, &admission->look); /* before it is read: what comes after shows */
    bool whole;
    admission->current = admit(config, NULL, &whole, why);
    if (admission->current == NULL)
        return false;
    if (!whole)
        admission->look = (struct keyring_look){.there = false}; /* they are tried again, though nothing changes */
    pthread_mutex_init(&admission->lock, NULL);
    atomic_init(&admission->looked, clock_now());
    return true;
}

/* What cannot be read now changes nothing where keys were read before. With the lock held. */
static bool replace(struct admission *admission)
{
    struct error why;
    bool whole;
    struct admitted *fresh = admit(admission->config, admission->current, &whole, &why);
    if (fresh != NULL && whole) {
        release(admission->current);
        admission->current = fresh;
        admission->unread = false;
        return true;
    }
    if (!admission->unread)
        log_write(LEVEL_ERROR, "msg=keys_not_read state_dir=\"%s\" advice=\"those that are known stay in use\"",
                  admission->config->state_dir);
    admission->unread = true;
    release(fresh);
    return false;
}

bool admission_renew(struct admission *admission)
{
    bool renewed = false;
    if (admission->config->state_dir == NULL)
        return false;
    pthread_mutex_lock(&admission->lock);
    atomic_store(&admission->looked, clock_now());
    struct keyring_look look = admission->look;
    if (keyring_changed(admission->config->state_dir, &look)) {
        renewed = replace(admission);
        if (renewed)
            admission->look = look;
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
