/* The folder, the stand-ins and the program's processes: see scene.h. */
#include "tests/faults/scene.h"

#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/check.h"
#include "tests/support/event.h"
#include "tests/support/fastcgi_client.h"
#include "tests/support/signature.h"
#include "tests/support/trace.h"

#define LOSE "rm -rf state closecrm.conf.state_dir last-errors.txt copy copy.part copy2 copy2.part"
#define COMMAND_MS 60000 /* no command has a reason to take longer */
#define START_MS 60000
#define END_MS 60000
#define ANSWER_MS 15000 /* Close waits no longer */

/* ---- the folder ---- */

/* The library lies beside the test program. */
static bool copy_library(struct scene *scene)
{
    char path[PATH_SIZE], library[PATH_SIZE];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    path[length < 0 ? 0 : length] = '\0';
    path_join(library, dirname(path), "faults.so");
    return check(temporary_copy(scene->directory, "faults.so", 0755, library), "%s is there", library);
}

static bool map_plan(struct scene *scene)
{
    char path[PATH_SIZE];
    static const struct fault_plan none = {.nth = 0};
    path_join(path, scene->directory, "plan");
    if (!temporary_write(scene->directory, "plan", 0600, (const char *)&none, sizeof none))
        return false;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *mapped = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof none, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    scene->plan = mapped == MAP_FAILED ? NULL : mapped;
    return scene->plan != NULL;
}

bool scene_open(struct scene *scene)
{
    static const struct standin_close_options usual = {.hold_ms = 0};
    const struct standin_options options = {.port = port_free(), .write_keys = {ALPHA_WRITE_KEY}};
    *scene = (struct scene){.standin = standin_start(&options), .close = standin_close_start(&usual)};
    if (!check(scene->standin != NULL && scene->close != NULL, "the stand-ins start") ||
        !check(temporary_make(scene->directory), "a temporary directory can be made"))
        return false;
    bool made = temporary_copy(scene->directory, "closecrm.fcgi", 0755, program_under_test()) && copy_library(scene) &&
                map_plan(scene);
    scene_configure(scene, "");
    return check(made, "%s is there", program_under_test());
}

void scene_close(struct scene *scene)
{
    const char *keep = getenv("CLOSECRM_TEST_KEEP");
    process_stop(&scene->server, END_MS);
    if (scene->plan != NULL)
        munmap(scene->plan, sizeof *scene->plan);
    if (scene->standin != NULL)
        standin_stop(scene->standin);
    if (scene->close != NULL)
        standin_close_stop(scene->close);
    if (scene->directory[0] != '\0' && (keep == NULL || *keep == '\0'))
        temporary_remove(scene->directory);
}

void scene_configure(struct scene *scene, const char *more)
{
    char text[2048];
    int length =
        snprintf(text, sizeof text,
                 "data_plane_url = http://127.0.0.1:%u\nwrite_key = " ALPHA_WRITE_KEY
                 "\n%sclose_api_key = " CLOSE_API_KEY "\nclose_api_url = %s\nreconcile_interval = 0s\n%s",
                 standin_port(scene->standin), scene->without_key ? "" : "signature_key = " ALPHA_SIGNATURE_KEY "\n",
                 standin_close_url(scene->close), more);
    CU_ASSERT(temporary_write(scene->directory, "closecrm.conf", 0600, text, (size_t)length));
}

bool scene_shell(struct scene *scene, const char *script)
{
    char log[PATH_SIZE];
    const char *const words[] = {"sh", "-c", script, NULL};
    struct process process = {0};
    int status = -1;
    path_join(log, scene->directory, "shell.log");
    const struct process_options options = {words, NULL, scene->directory, log};
    bool done = process_start(&process, &options) && process_wait(&process, COMMAND_MS, &status) && status == 0;
    return check(done, "%s: status %d", script, status);
}

void scene_lose_state(struct scene *scene)
{
    scene_shell(scene, LOSE);
}

void scene_keep_state(struct scene *scene)
{
    scene_shell(scene, "rm -rf kept && cp -a state kept");
}

void scene_restore_state(struct scene *scene)
{
    scene_shell(scene, LOSE "; if [ -d kept ]; then cp -a kept state; fi; rm -f program.log command.log");
    standin_heal(scene->standin);
    standin_forget(scene->standin);
    memset(scene->event, 0, sizeof scene->event);
    scene->events = 0;
    scene->failed = false;
    scene->found[0] = '\0';
}

/* ---- the program ---- */

void scene_arm(struct scene *scene)
{
    struct fault_plan *plan = scene->plan;
    for (size_t i = 0; i < FAULT_CALLS; i++) {
        atomic_store(&plan->seen[i], 0);
        atomic_store(&plan->by_library[i], 0);
        atomic_store(&plan->by_sqlite[i], 0);
    }
    memset(plan->function, 0, sizeof plan->function);
    memset(plan->caller, 0, sizeof plan->caller);
    memset(plan->frames, 0, sizeof plan->frames);
    atomic_store(&plan->met, 0);
    atomic_store(&plan->armed, 1);
}

void scene_disarm(struct scene *scene)
{
    atomic_store(&scene->plan->armed, 0);
}

void scene_found(struct scene *scene, const char *format, ...)
{
    size_t at = strlen(scene->found);
    va_list values;
    va_start(values, format);
    at += (size_t)snprintf(scene->found + at, sizeof scene->found - at, "%s", at > 0 ? "; " : "");
    if (at < sizeof scene->found)
        vsnprintf(scene->found + at, sizeof scene->found - at, format, values);
    va_end(values);
    scene->failed = true;
}

/* LD_PRELOAD and what it needs; AddressSanitizer must be told that it does not come first, and that what it finds
 * is no code that the program has. */
struct environment {
    char text[4][PATH_SIZE + 64];
    const char *list[5];
};

static void fill_environment(const struct scene *scene, bool with_faults, struct environment *environment)
{
    size_t size = sizeof environment->text[0];
    snprintf(environment->text[0], size, "CLOSECRM_CONFIG=%s/closecrm.conf", scene->directory);
    snprintf(environment->text[1], size,
             "ASAN_OPTIONS=verify_asan_link_order=0:allocator_may_return_null=1:exitcode=99");
    snprintf(environment->text[2], size, "LD_PRELOAD=%s/faults.so", scene->directory);
    snprintf(environment->text[3], size, FAULT_PLAN "=%s/plan", scene->directory);
    for (size_t i = 0; i < 4; i++)
        environment->list[i] = i < 2 || with_faults ? environment->text[i] : NULL;
    environment->list[4] = NULL;
}

static bool start(struct scene *scene, struct process *process, bool with_faults, const char *const *words,
                  const char *log_name)
{
    char log[PATH_SIZE];
    struct environment environment;
    fill_environment(scene, with_faults, &environment);
    path_join(log, scene->directory, log_name);
    const struct process_options options = {words, environment.list, scene->directory, log};
    return check(process_start(process, &options), "%s starts", words[0]);
}

/* libfcgi aborts the process itself where it gets no memory, and the loader exits with 127: to the program it is as if
 * it was killed. */
static bool is_library_abort(const struct scene *scene, int status)
{
    const struct fault_plan *plan = scene->plan;
    bool by_libfcgi = strncmp(plan->caller, "libfcgi", 7) == 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
    bool by_loader = strncmp(plan->caller, "ld-linux", 8) == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 127;
    return plan->call == FAULT_MEMORY && atomic_load(&plan->met) != 0 && (by_libfcgi || by_loader);
}

/* Whether the process ended as it should; the trial's own killing is no finding. */
static int judge_end(struct scene *scene, const char *what, bool ended, int status)
{
    bool killed = scene->plan->error == FAULT_KILL && atomic_load(&scene->plan->met) != 0;
    if (is_library_abort(scene, status))
        return 137;
    if (!ended) {
        scene_found(scene, "%s does not end", what);
        return -2;
    }
    if (!WIFEXITED(status)) {
        scene_found(scene, "%s was ended by signal %d", what, WTERMSIG(status));
        return -1;
    }
    if (WEXITSTATUS(status) > 4 && !(killed && WEXITSTATUS(status) == 137))
        scene_found(scene, "%s ended with %d: %.600s", what, WEXITSTATUS(status), scene->said);
    return WEXITSTATUS(status);
}

int scene_run(struct scene *scene, bool with_faults, const char *const *words)
{
    char program[PATH_SIZE], log[PATH_SIZE], record[PATH_SIZE];
    const char *all[40] = {NULL};
    struct process process = {0};
    int status = 0;
    size_t count = 0;
    path_join(program, scene->directory, "closecrm.fcgi");
    path_join(log, scene->directory, "command.log");
    path_join(record, scene->directory, scene->record == NULL ? "" : scene->record);
    for (const char *const *word = trace_wrapper(record); scene->record != NULL && *word != NULL; word++)
        all[count++] = *word;
    all[count++] = program;
    for (size_t i = 0; i < 22 && words[i] != NULL; i++)
        all[count++] = words[i];
    unlink(log);
    if (!start(scene, &process, with_faults && scene->record == NULL, all, "command.log"))
        return scene->code = -2;
    bool ended = process_wait(&process, COMMAND_MS, &status);
    if (!ended)
        process_stop(&process, 1000);
    char *text = temporary_read(scene->directory, "command.log");
    snprintf(scene->said, sizeof scene->said, "%s", text == NULL ? "" : text);
    free(text);
    return scene->code = judge_end(scene, words[0], ended, status);
}

size_t scene_count_log(const struct scene *scene, const char *text)
{
    char *log = temporary_read(scene->directory, "program.log");
    size_t count = 0;
    for (const char *at = log; at != NULL && (at = strstr(at, text)) != NULL; at++)
        count++;
    free(log);
    return count;
}

bool scene_wait_log(struct scene *scene, const char *text, size_t times, int64_t ms)
{
    moment deadline = clock_now() + ms;
    while (scene_count_log(scene, text) < times) {
        if (clock_now() >= deadline || !process_alive(&scene->server))
            return scene_count_log(scene, text) >= times;
        poll(NULL, 0, 3);
    }
    return true;
}

void scene_start_server(struct scene *scene, bool with_faults)
{
    char socket[PATH_SIZE], program[PATH_SIZE];
    const char *const words[] = {"spawn-fcgi", "-n", "-s", socket, "-M", "0660", "--", program, NULL};
    path_join(socket, scene->directory, "closecrm.sock");
    path_join(program, scene->directory, "closecrm.fcgi");
    remove(socket);
    size_t opened = scene_count_log(scene, "msg=forwards");
    if (!start(scene, &scene->server, with_faults, words, "program.log"))
        return;
    if (!scene_wait_log(scene, "msg=forwards", opened + 1, with_faults ? 4000 : START_MS) && !with_faults)
        scene_found(scene, "the server does not start again");
}

void scene_stop_server(struct scene *scene)
{
    int status = 0;
    if (scene->server.pid == 0)
        return;
    kill(scene->server.pid, SIGTERM);
    bool ended = process_wait(&scene->server, END_MS, &status);
    if (!ended)
        process_stop(&scene->server, 10);
    judge_end(scene, "the server", ended, status);
}

/* ---- events ---- */

struct scene_event *scene_add(struct scene *scene, const char *id, size_t filler)
{
    struct scene_event *event = &scene->event[scene->events++ % SCENE_EVENTS];
    *event = (struct scene_event){.filler = filler};
    snprintf(event->id, sizeof event->id, "%s", id);
    return event;
}

static int exchange(struct scene *scene, struct slice body)
{
    char socket[PATH_SIZE], length[24];
    struct signature signature = signature_make(ALPHA_SIGNATURE_KEY, body, 0);
    struct fastcgi_answer answer = {.text = NULL};
    path_join(socket, scene->directory, "closecrm.sock");
    snprintf(length, sizeof length, "%zu", body.length);
    const struct fastcgi_parameter parameters[] = {
        {"REQUEST_METHOD", "POST"},
        {"PATH_INFO", ""},
        {"REMOTE_ADDR", "127.0.0.1"},
        {"CONTENT_LENGTH", length},
        {"HTTP_CLOSE_SIG_HASH", signature.hash + strlen("close-sig-hash: ")},
        {"HTTP_CLOSE_SIG_TIMESTAMP", signature.timestamp + strlen("close-sig-timestamp: ")},
        {NULL, NULL},
    };
    int fd = fastcgi_connect(socket), status = 0;
    if (fd < 0)
        return 0;
    if (fastcgi_begin(fd, false, parameters) && fastcgi_body(fd, body.at, body.length) && fastcgi_body(fd, "", 0)) {
        if (fastcgi_read(fd, &answer, ANSWER_MS))
            status = answer.status == 0 ? 200 : answer.status;
        else if (!answer.closed && process_alive(&scene->server))
            scene_found(scene, "a request is not answered in %d s", ANSWER_MS / 1000);
    }
    fastcgi_answer_free(&answer);
    close(fd);
    return status;
}

int scene_send(struct scene *scene, struct scene_event *event)
{
    struct event_text text = {.body = {.data = NULL}};
    event_make(&text, &(struct event_options){.id = event->id, .lead = "lead_1", .filler = event->filler});
    unsigned synced = atomic_load(&scene->plan->seen[FAULT_SYNC]);
    event->status = exchange(scene, event_body(&text));
    bool is_counted = atomic_load(&scene->plan->armed) != 0;
    if (event->status == 200 && is_counted && atomic_load(&scene->plan->seen[FAULT_SYNC]) == synced)
        scene_found(scene, "%s is answered 200 and nothing was synced", event->id);
    event->kept = event->kept || event->status == 200;
    event_free(&text);
    return event->status;
}
