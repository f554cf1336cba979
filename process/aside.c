/* Jobs aside: see confine_private.h. */
#include "process/confine_private.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>

#define STACK_SIZE ((size_t)256 * 1024)

/* On the stack of the thread that waits for it. */
struct job {
    struct aside *aside;
    void (*run)(void *argument);
    void *argument;
    bool done; /* under the lock, as the next */
    struct job *next;
};

struct aside {
    void (*prepare)(void *context);
    void *context;
    pthread_t thread;     /* starts the others */
    pthread_mutex_t lock; /* over what follows */
    pthread_cond_t come, done;
    struct job *first, *last; /* not started yet */
    size_t running;           /* threads that have not ended */
    bool ending;
};

static void finish_job(struct job *job)
{
    struct aside *aside = job->aside;
    pthread_mutex_lock(&aside->lock);
    job->done = true;
    pthread_cond_broadcast(&aside->done);
    pthread_mutex_unlock(&aside->lock);
}

static void *run_job(void *context)
{
    struct job *job = context;
    struct aside *aside = job->aside;
    aside->prepare(aside->context);
    job->run(job->argument);
    finish_job(job); /* it is gone from here on */
    pthread_mutex_lock(&aside->lock);
    aside->running--;
    pthread_cond_broadcast(&aside->done);
    pthread_mutex_unlock(&aside->lock);
    return NULL;
}

/* Starts a thread that nobody joins. Returns false when there is none. */
static bool start_thread(struct job *job)
{
    pthread_attr_t detached;
    pthread_t thread;
    if (pthread_attr_init(&detached) != 0)
        return false;
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&detached, STACK_SIZE);
    int error = pthread_create(&thread, &detached, run_job, job);
    pthread_attr_destroy(&detached);
    return error == 0;
}

/* Takes the next job; NULL: there will be none. With the lock held. */
static struct job *take_job(struct aside *aside)
{
    while (aside->first == NULL && !aside->ending)
        pthread_cond_wait(&aside->come, &aside->lock);
    struct job *job = aside->first;
    if (job != NULL)
        aside->first = job->next;
    return job;
}

static void *start_jobs(void *context)
{
    struct aside *aside = context;
    struct job *job;
    pthread_mutex_lock(&aside->lock);
    while ((job = take_job(aside)) != NULL) {
        aside->running++;
        pthread_mutex_unlock(&aside->lock);
        bool started = start_thread(job);
        if (!started) {
            job->run(job->argument);
            finish_job(job);
        }
        pthread_mutex_lock(&aside->lock);
        aside->running -= !started;
    }
    pthread_mutex_unlock(&aside->lock);
    return NULL;
}

struct aside *aside_start(void (*prepare)(void *context), void *context)
{
    struct aside *aside = calloc(1, sizeof *aside);
    sigset_t all, before;
    if (aside == NULL)
        return NULL;
    *aside = (struct aside){.prepare = prepare, .context = context};
    pthread_mutex_init(&aside->lock, NULL);
    pthread_cond_init(&aside->come, NULL);
    pthread_cond_init(&aside->done, NULL);
    sigfillset(&all);
    sigdelset(&all, SIGBUS); /* see base/files.h */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&aside->thread, NULL, start_jobs, aside);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0)
        return aside;
    free(aside);
    return NULL;
}

/* With the lock held. */
static void enqueue_job(struct aside *aside, struct job *job)
{
    if (aside->first == NULL)
        aside->first = job;
    else
        aside->last->next = job;
    aside->last = job;
    pthread_cond_signal(&aside->come);
}

void aside_run(struct aside *aside, void (*job)(void *argument), void *argument)
{
    struct job mine = {.aside = aside, .run = job, .argument = argument};
    pthread_mutex_lock(&aside->lock);
    enqueue_job(aside, &mine);
    while (!mine.done)
        pthread_cond_wait(&aside->done, &aside->lock);
    pthread_mutex_unlock(&aside->lock);
}

void aside_stop(struct aside *aside)
{
    pthread_mutex_lock(&aside->lock);
    aside->ending = true;
    pthread_cond_signal(&aside->come);
    pthread_mutex_unlock(&aside->lock);
    pthread_join(aside->thread, NULL);
    pthread_mutex_lock(&aside->lock);
    while (aside->running > 0)
        pthread_cond_wait(&aside->done, &aside->lock);
    pthread_mutex_unlock(&aside->lock);
    pthread_cond_destroy(&aside->come);
    pthread_cond_destroy(&aside->done);
    pthread_mutex_destroy(&aside->lock);
    free(aside);
}
