/* Keeping a machine's copies up to date, in a thread with a connection of its own: one process of each machine does. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/files.h"
#include "base/log.h"
#include "queue/postgresql/kept.h"

#define WATCH_MS 500
#define WHOLE_MS 30000 /* between looks at all of it, for somebody may have removed a copy */
#define EXCHANGE_MS 3000
#define EXCHANGE_AGAIN_MS 10000 /* after one that failed */
#define SAY_AGAIN_MS 60000
#define STOP_MS 500
#define STACK_SIZE ((size_t)256 * 1024)

struct pg_watch {
    struct pg_kept *kept;
    pthread_t thread;
    pthread_mutex_t lock; /* protects what follows */
    pthread_cond_t changed;
    atomic_bool ending;
    bool ended;
    int turn; /* a lock: one process of each machine looks */
    moment whole_at;
    struct kept_speaker speaker;
    moment exchange_at;
    struct error said;
    moment said_at;
};

static void complain(struct pg_watch *watch, bool good, const struct error *why)
{
    char words[LOG_QUOTED];
    moment now = clock_now();
    if (good && watch->said.text[0] != '\0')
        log_write(LEVEL_INFO, "msg=keys_read_again");
    if (good || atomic_load(&watch->ending)) {
        watch->said.text[0] = '\0';
        return;
    }
    if (strcmp(watch->said.text, why->text) == 0 && now - watch->said_at < SAY_AGAIN_MS)
        return;
    watch->said = *why;
    watch->said_at = now;
    log_write(LEVEL_WARN,
              "msg=keys_not_read advice=\"what this machine knows of keys and Close goes on being used\" "
              "reason=%s",
              log_quote_reason(words, why->text));
}

static void look_in_turn(struct pg_watch *watch)
{
    char path[FILES_PATH], words[LOG_QUOTED];
    struct error why = {0};
    snprintf(path, sizeof path, "%.4000s/kept.watch.lock", watch->kept->config->state_dir);
    if (lock_take(&watch->turn, path, LOCK_EX | LOCK_NB) != 0) {
        pg_session_close(&watch->kept->session);
        return;
    }
    bool whole = clock_now() >= watch->whole_at;
    bool good = pg_kept_look_at(watch->kept, whole, &why);
    if (whole)
        watch->whole_at = clock_now() + WHOLE_MS;
    complain(watch, good, &why);
    if (good && watch->speaker.say != NULL && clock_now() >= watch->exchange_at) {
        good = pg_kept_exchange(watch->kept, &watch->speaker, &why);
        if (!good && !atomic_load(&watch->ending))
            log_write(LEVEL_WARN, "msg=machines_not_heard reason=%s", log_quote_reason(words, why.text));
        watch->exchange_at = clock_now() + (good ? EXCHANGE_MS : EXCHANGE_AGAIN_MS);
    }
}

static void *run_watch(void *context)
{
    struct pg_watch *watch = context;
    pthread_mutex_lock(&watch->lock);
    while (!atomic_load(&watch->ending)) {
        clock_condition_wait(&watch->changed, &watch->lock, clock_now() + WATCH_MS);
        if (atomic_load(&watch->ending))
            break;
        pthread_mutex_unlock(&watch->lock);
        look_in_turn(watch);
        pthread_mutex_lock(&watch->lock);
    }
    watch->ended = true;
    pthread_cond_broadcast(&watch->changed);
    pthread_mutex_unlock(&watch->lock);
    return NULL;
}

static void close_speaker(const struct kept_speaker *speaker)
{
    if (speaker->close != NULL)
        speaker->close(speaker->context);
}

static void watch_free(struct pg_watch *watch)
{
    if (watch->turn >= 0)
        close(watch->turn);
    pg_kept_close(watch->kept);
    close_speaker(&watch->speaker);
    pthread_cond_destroy(&watch->changed);
    pthread_mutex_destroy(&watch->lock);
    free(watch);
}

static bool start_thread(struct pg_watch *watch)
{
    pthread_attr_t small;
    sigset_t all, before;
    if (pthread_attr_init(&small) != 0)
        return false;
    sigfillset(&all);
    sigdelset(&all, SIGBUS); /* see base/files.h */
    pthread_attr_setstacksize(&small, STACK_SIZE);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&watch->thread, &small, run_watch, watch) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&small);
    return started;
}

void *pg_watch_start(const struct config *config, const struct kept_speaker *speaker)
{
    struct error why = {0};
    char words[LOG_QUOTED];
    struct pg_watch *watch = calloc(1, sizeof *watch);
    struct pg_kept *kept = watch == NULL ? NULL : pg_kept_open(config, &why);
    if (kept == NULL) {
        log_write(LEVEL_ERROR, "msg=keys_not_read reason=%s",
                  log_quote_reason(words, why.text[0] == '\0' ? "out of memory" : why.text));
        free(watch);
        close_speaker(speaker);
        return NULL;
    }
    watch->speaker = *speaker;
    watch->kept = kept;
    watch->turn = -1;
    pthread_mutex_init(&watch->lock, NULL);
    clock_condition_init(&watch->changed);
    bool good = pg_kept_is_fresh(config) || pg_kept_look_at(kept, false, &why);
    kept->session.stop = &watch->ending;
    complain(watch, good, &why);
    if (start_thread(watch))
        return watch;
    log_write(LEVEL_ERROR, "msg=keys_not_read reason=\"no thread can be started\"");
    watch_free(watch);
    return NULL;
}

bool pg_watch_stop(void *state)
{
    struct pg_watch *watch = state;
    moment until = clock_now() + STOP_MS;
    pthread_mutex_lock(&watch->lock);
    atomic_store(&watch->ending, true);
    pthread_cond_broadcast(&watch->changed);
    while (!watch->ended && clock_condition_wait(&watch->changed, &watch->lock, until))
        ;
    bool ended = watch->ended;
    pthread_mutex_unlock(&watch->lock);
    if (!ended) { /* it is connecting; it is left behind, with what it uses */
        pthread_detach(watch->thread);
        return false;
    }
    pthread_join(watch->thread, NULL);
    watch_free(watch);
    return true;
}
