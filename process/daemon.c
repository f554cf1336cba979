/* A process that stays: a FastCGI process, or one that only forwards. It starts http and the pipeline, waits for a
 * reason to end, closes everything in order, and stops or executes the program anew. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/last_errors.h"
#include "base/log.h"
#include "config/config.h"
#include "health/rule_look.h"
#include "http/http.h"
#include "process/process.h"
#include "process/process_private.h"

#define ANSWERED_MS 13000 /* after which every request is answered, however slow the data plane is */
#define HURRY_MS 300      /* before the end of shutdown_grace, so that answers still get out */
#define LOOK_MS 1000      /* between checks of the files and the queue */
#define CLOSED_MS 500     /* for closing, beyond the deadline of batches in flight: at a stop */
#define RELOADED_MS 5000  /* likewise, at a reload: no supervisor is about to kill the process, but requests wait */
#define SETTLED_MS 5000   /* how long a changed file must be unchanged: it may be half uploaded */

/* ---- Detects that the configuration or the program's file has changed since the process started, by remembered
 * attributes, which works on network file systems too. A change is reported once the file has stood unchanged for a
 * while: it may be half uploaded. ---- */

struct file_state {
    char *path;
    struct stat before; /* as remembered */
    struct stat last;   /* as seen last */
};

struct file_changes {
    int64_t settle_ms;
    moment since; /* of the last change seen */
    size_t count;
    struct file_state file[];
};

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mode == b->st_mode &&
           a->st_uid == b->st_uid && a->st_gid == b->st_gid && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void file_changes_free(struct file_changes *changes)
{
    if (changes == NULL)
        return;
    for (size_t i = 0; i < changes->count; i++)
        free(changes->file[i].path);
    free(changes);
}

/* Remembers the files as they are now. Paths are copied; NULL ones are skipped. settle_ms: how long a change must have
 * stood. Returns NULL when memory is out. */
static struct file_changes *file_changes_new(const char *const *paths, size_t count, int64_t settle_ms)
{
    struct file_changes *changes = calloc(1, sizeof *changes + count * sizeof(struct file_state));
    if (changes == NULL)
        return NULL;
    changes->settle_ms = settle_ms;
    changes->since = clock_now();
    for (size_t i = 0; i < count; i++) {
        if (paths[i] == NULL)
            continue;
        struct file_state *file = &changes->file[changes->count];
        file->path = strdup(paths[i]);
        if (file->path == NULL) {
            file_changes_free(changes);
            return NULL;
        }
        changes->count++;
        if (stat(file->path, &file->before) != 0)
            memset(&file->before, 0, sizeof file->before); /* differs from any file: its coming is a change */
        file->last = file->before;
    }
    return changes;
}

/* Says that a file is not what it was when the process began to use it. */
static void file_changes_miss(struct file_changes *changes, const char *path)
{
    for (size_t i = 0; i < changes->count; i++) {
        if (strcmp(changes->file[i].path, path) == 0)
            memset(&changes->file[i].before, 0, sizeof changes->file[i].before);
    }
}

/* Looks at the files. Returns true once for each change: when a file differs from its remembered state, and no file has
 * changed for settle_ms; the files are then remembered as they are. A missing file is no change: an upload replaces it.
 */
static bool file_changes_look(struct file_changes *changes, moment now)
{
    bool differs = false;
    for (size_t i = 0; i < changes->count; i++) {
        struct file_state *file = &changes->file[i];
        struct stat seen;
        if (stat(file->path, &seen) != 0)
            memset(&seen, 0, sizeof seen);
        if (!same_file(&seen, &file->last)) {
            file->last = seen;
            changes->since = now;
        }
        differs |= seen.st_nlink > 0 && !same_file(&seen, &file->before);
    }
    if (!differs || now - changes->since < changes->settle_ms)
        return false;
    for (size_t i = 0; i < changes->count; i++)
        changes->file[i].before = changes->file[i].last;
    return true;
}

/* Closing the stages, in a thread of its own: a hung disk, an alert command or a library may block it for ever. */
struct daemon_closing {
    moment deadline; /* for batches in flight */
    bool closed;     /* read after done was posted */
    sem_t done;
};

/* A process that stays. */
struct daemon_process {
    const struct config *config;
    const char *program;    /* its path */
    char *const *arguments; /* argv of the program executed anew */
    bool serves;            /* whether it serves requests; else it only forwards */
    sigset_t signals;       /* to stop or reload */
    struct file_changes *changes;
    int as_read;             /* its configuration; -1: none */
    int checked;             /* the one that END_RELOAD takes on; -1: none */
    struct confine *confine; /* NULL: request threads are not confined */
    struct gate gate;
    struct route routes[GATE_ROUTES];
    struct pipeline *pipeline;
    struct http *http; /* NULL where it only forwards */
    struct daemon_closing closing;
};

enum ending {
    END_STOP,
    END_RELOAD, /* execute the program that has passed the check */
    END_REOPEN, /* start again in this process, with the same configuration, or with the same program and that */
    END_FAILED,
};

static struct http *start_requests(struct daemon_process *self, struct error *why)
{
    struct http_limits limits = process_http_limits(self->config);
    limits.wants_body = gate_wants_body;
    limits.of = &self->gate;
    if (self->confine != NULL) {
        limits.before = confine_thread;
        limits.context = self->confine;
        limits.more_spare = 1;
    }
    return http_start(&limits, self->routes, GATE_ROUTES, why);
}

static bool start_serving(struct daemon_process *self, struct error *why)
{
    /* Requests wait at the gate until the pipeline is up. In this order there is a request thread, however few threads
     * the system allows. */
    if (self->serves) {
        self->http = start_requests(self, why);
        if (self->http == NULL)
            return false;
    }
    self->pipeline = pipeline_start(self->config, self->serves ? &self->gate : NULL, why);
    if (self->pipeline != NULL)
        confine_start(self->confine); /* last: where threads are few, the others are needed more */
    return self->pipeline != NULL;
}

/* Whether what is new is good; then its configuration is in checked. */
static bool is_good(struct daemon_process *self)
{
    int as_read = as_read_new();
    bool good = reexec_is_good(self->program, as_read);
    if (good)
        self->checked = as_read;
    else if (as_read >= 0)
        close(as_read);
    return good;
}

/* The queue must be opened anew: by what is installed now, which may be the release that changed it, if that is good.
 */
static enum ending choose_reopening(struct daemon_process *self)
{
    log_write(LEVEL_WARN, "msg=opens_the_queue_anew");
    return is_good(self) ? END_RELOAD : END_REOPEN;
}

/* Waits for a reason to end: a signal, changed files, a queue that must be reopened. */
static enum ending wait_for_ending(struct daemon_process *self)
{
    const struct timespec look = {.tv_sec = LOOK_MS / 1000, .tv_nsec = (long)(LOOK_MS % 1000) * 1000000};
    for (;;) {
        int signal = sigtimedwait(&self->signals, NULL, &look);
        if (signal > 0 && signal != SIGHUP)
            return END_STOP;
        pipeline_retry(self->pipeline);
        log_syslog_keep();
        if (self->config->queue == QUEUE_NONE)
            last_errors_flush(false); /* else health's thread does, which may hang in the disk */
        status_alert(self->gate.status);
        if (pipeline_must_reopen(self->pipeline))
            return choose_reopening(self);
        if (signal != SIGHUP && !file_changes_look(self->changes, clock_now()))
            continue;
        if (is_good(self))
            return END_RELOAD;
        log_write(LEVEL_ERROR, "msg=not_reloaded reason=\"what is new is faulty: see the lines above; the old stays\"");
    }
}

/* Lets the requests in hand end. A stop ends them within shutdown_grace; a reload gives them all the time they may
 * take, unless a signal to stop comes meanwhile. Returns false when a thread hangs. */
static bool finish_requests(struct daemon_process *self, enum ending *ending)
{
    const struct timespec look = {.tv_nsec = 10000000};
    moment patience = clock_now() + ANSWERED_MS;
    if (self->http == NULL)
        return true;
    http_stop(self->http);
    while (*ending != END_STOP && !http_is_idle(self->http) && clock_now() < patience) {
        int signal = sigtimedwait(&self->signals, NULL, &look);
        if (signal > 0 && signal != SIGHUP)
            *ending = END_STOP;
    }
    moment deadline = clock_now() + self->config->shutdown_grace_ms;
    pipeline_begin_shutdown(self->pipeline, deadline - HURRY_MS);
    return http_join(self->http, deadline - HURRY_MS / 2);
}

/* Ends the process, or executes a program anew, although threads still run: they end with this process image, as by
 * SIGKILL, which every stage is built to survive. Where what is new is not good, or cannot be executed, it is the same
 * program with the same configuration. */
static _Noreturn void leave_threads_behind(const struct daemon_process *self, enum ending ending)
{
    if (ending == END_STOP)
        _exit(CODE_OK);
    if (ending == END_RELOAD)
        reexec_execute(self->program, self->arguments, self->checked);
    reexec_execute_same(self->program, self->arguments, self->as_read);
    _exit(CODE_FAILED); /* the web server, or systemd, starts it again */
}

static void *close_stages(void *context)
{
    struct daemon_process *self = context;
    bool quiet = status_quiet(self->gate.status);
    self->closing.closed = pipeline_stop(self->pipeline, self->closing.deadline) && quiet;
    last_errors_flush(true);
    sem_post(&self->closing.done);
    return NULL;
}

/* Waits for the thread that closes the stages. Returns whether it has ended. */
static bool wait_closed(struct daemon_process *self, moment until)
{
    const struct timespec t = clock_timespec(until);
    while (sem_clockwait(&self->closing.done, CLOCK_MONOTONIC, &t) != 0) {
        if (errno != EINTR)
            return false;
    }
    return true;
}

/* Closes the stages. Returns false when that has not ended patience_ms after the deadline; nothing may be freed then.
 */
static bool close_in_time(struct daemon_process *self, moment deadline, int64_t patience_ms)
{
    pthread_t thread;
    self->closing = (struct daemon_closing){.deadline = deadline};
    sem_init(&self->closing.done, 0, 0);
    if (pthread_create(&thread, NULL, close_stages, self) != 0) {
        close_stages(self); /* no thread can be had: closes without a time limit */
        return self->closing.closed;
    }
    if (!wait_closed(self, deadline + patience_ms)) {
        pthread_detach(thread); /* it ends with the process */
        return false;
    }
    pthread_join(thread, NULL);
    return self->closing.closed;
}

/* Closes everything. Does not return when a thread hangs: see leave_threads_behind. */
static void finish_daemon(struct daemon_process *self, enum ending *ending)
{
    moment grace = self->config->shutdown_grace_ms - HURRY_MS / 2, deadline = clock_now() + grace;
    if (!finish_requests(self, ending)) {
        log_write(LEVEL_WARN, "msg=stopped_with_requests_in_hand");
        reexec_seal();
        leave_threads_behind(self, *ending); /* their threads still use everything */
    }
    if (*ending != END_STOP)
        deadline = clock_now() + grace; /* no supervisor is about to kill it */
    bool closed = close_in_time(self, deadline, *ending == END_STOP ? CLOSED_MS : RELOADED_MS);
    if (!closed)
        log_write(LEVEL_WARN, "msg=left_behind what=\"a thread that hangs\"");
    if (*ending != END_STOP)
        reexec_seal();
    if (self->http != NULL && *ending != END_STOP)
        http_hand_over(self->http);
    if (!closed)
        leave_threads_behind(self, *ending);
    if (self->http != NULL)
        http_free(self->http);
}

/* The process must end without having served: its threads end with it. */
static enum ending report_failed_start(const struct error *why)
{
    log_write(LEVEL_ERROR, "msg=cannot_start reason=\"%s\"", why->text);
    last_errors_flush(true);
    return END_FAILED;
}

static enum ending run_once(struct daemon_process *self)
{
    struct error why;
    self->confine = self->serves ? confine_open(self->config) : NULL;
    gate_init(&self->gate, self->config, self->confine);
    gate_routes(&self->gate, self->routes);
    if (!start_serving(self, &why))
        return report_failed_start(&why);
    status_alert(self->gate.status);
    log_write(LEVEL_INFO, "msg=started version=%s sources=%zu threads=%zu", CLOSECRM_VERSION, self->config->sources,
              self->serves ? (size_t)self->config->request_threads : (size_t)0);
    enum ending ending = wait_for_ending(self);
    log_write(LEVEL_INFO, "msg=%s", ending == END_STOP ? "stopping" : "reloading");
    finish_daemon(self, &ending);
    gate_free(&self->gate);
    confine_close(self->confine);
    return ending;
}

/* Reads the configuration, and logs all that is wrong with it (NULL: it cannot be used), or looks wrong. */
static struct config *load_configuration(void)
{
    struct error why = {0};
    struct strings faults;
    struct config *config = config_load_all(&faults, &why);
    errors_keep(config);
    for (size_t i = 0; i < faults.count; i++)
        log_write(LEVEL_ERROR, "msg=cannot_start %s", faults.at[i]);
    if (config == NULL && faults.count == 0)
        log_write(LEVEL_ERROR, "msg=cannot_start %s", why.text);
    for (size_t i = 0; config != NULL && i < config->warnings.count; i++)
        log_write(LEVEL_WARN, "msg=configuration_warning %s", config->warnings.at[i]);
    strings_free(&faults);
    return config;
}

static void warn_of_rule(void *context, const struct source *source, const char *words)
{
    (void)context;
    log_write(LEVEL_WARN, "msg=configuration_warning source=%s %s", source->name, words);
}

/* Runs until there is nothing to run again in this image. Returns the exit code. */
static int run_until_over(struct daemon_process *self)
{
    enum ending ending;
    do {
        ending = run_once(self);
        /* A signal that comes from here on stays pending, and is the new program's. */
        if (ending == END_RELOAD)
            reexec_execute(self->program, self->arguments, self->checked); /* returned: this image goes on */
        if (self->checked >= 0)
            close(self->checked);
        self->checked = -1;
    } while (ending == END_RELOAD || ending == END_REOPEN);
    if (ending == END_FAILED)
        _exit(CODE_FAILED); /* threads may have been started */
    return CODE_OK;
}

/* Remembers what the process was made of. What has changed before is found by the file's text: since it was read, or,
 * after a reload, since it was checked. */
static bool remember_files(struct daemon_process *self)
{
    const char *const files[] = {self->config->path, self->program};
    self->changes = file_changes_new(files, sizeof files / sizeof *files, SETTLED_MS);
    if (self->changes == NULL) {
        struct error why = {.text = "out of memory"};
        report_failed_start(&why);
    } else if (self->config->path != NULL && !as_read_is_on_disk(self->as_read, self->config->path)) {
        file_changes_miss(self->changes, self->config->path);
    }
    return self->changes != NULL;
}

static int run_daemon(bool serves, char *const arguments[])
{
    struct daemon_process self = {
        .serves = serves, .arguments = arguments, .signals = process_block_signals(), .checked = -1};
    int code = CODE_CONFIGURATION;
    process_spare_memory();
    log_open(LEVEL_INFO);
    char *program = reexec_path();
    self.as_read = as_read_begin();
    struct config *config = load_configuration();
    as_read_end();
    if (config == NULL) {
        last_errors_flush(true);
        goto out;
    }
    self.config = config;
    self.program = program;
    log_open(config->log_level);
    rule_look_all(config, true, warn_of_rule, NULL);
    code = remember_files(&self) ? run_until_over(&self) : CODE_FAILED;
    file_changes_free(self.changes);
    config_free(config);
out:
    if (self.as_read >= 0)
        close(self.as_read);
    free(program);
    return code;
}

int daemon_serve(void)
{
    char *const arguments[] = {NULL, NULL};
    return run_daemon(true, arguments);
}

int daemon_follow(char *const arguments[])
{
    return run_daemon(false, arguments);
}
