/* Children that live through lists of steps: see model_life.h. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/model_life.h"

#define HANGS_S 120

static void *must_have(void *memory)
{
    if (memory != NULL)
        return memory;
    fputs("out of memory\n", stderr);
    exit(1);
}

/* ---- lists ---- */

void model_list_draw(struct model_list *list, uint64_t seed, size_t count, uint32_t keys)
{
    *list = (struct model_list){.keys = keys, .at = must_have(malloc(count * sizeof *list->at)), .count = count};
    for (size_t i = 0; i < count; i++)
        list->at[i] = model_step_draw((seed << 20) + i);
}

void model_list_free(struct model_list *list)
{
    free(list->at);
    *list = (struct model_list){.keys = 0};
}

void model_list_print(const struct model_list *list, FILE *file)
{
    fprintf(file, "keys %u\n", list->keys);
    for (size_t i = 0; i < list->count; i++) {
        const struct model_step *step = &list->at[i];
        fprintf(file, "%s %u %u %u\n", model_step_name(step->kind), step->a, step->b, step->c);
    }
}

static bool read_step(const char *line, struct model_step *step)
{
    char name[16];
    if (sscanf(line, "%15s %u %u %u", name, &step->a, &step->b, &step->c) != 4) /* NOLINT(cert-err34-c): our own */
        return false;
    step->kind = 0;
    while (step->kind < MODEL_KINDS && strcmp(model_step_name(step->kind), name) != 0)
        step->kind++;
    return step->kind < MODEL_KINDS;
}

bool model_list_read(struct model_list *list, FILE *file)
{
    char line[128];
    *list = (struct model_list){.keys = 0};
    if (fgets(line, sizeof line, file) == NULL ||
        sscanf(line, "keys %u", &list->keys) != 1 || /* NOLINT(cert-err34-c) */
        list->keys == 0 || list->keys > MODEL_KEYS)
        return false;
    while (fgets(line, sizeof line, file) != NULL) {
        list->at = must_have(realloc(list->at, (list->count + 1) * sizeof *list->at));
        if (!read_step(line, &list->at[list->count++]))
            return false;
    }
    return list->count > 0;
}

/* ---- lives ---- */

struct model_ground *model_ground_new(const char *directory)
{
    struct model_ground *ground = mmap(NULL, sizeof *ground, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (ground == MAP_FAILED)
        return NULL;
    snprintf(ground->directory, sizeof ground->directory, "%s", directory);
    return ground;
}

void model_ground_free(struct model_ground *ground)
{
    munmap(ground, sizeof *ground);
}

/* What a queue logs when it is killed and repaired is no news here. */
static _Noreturn void run_child(struct model_ground *ground, const struct model_engine *engine,
                                const struct model_list *list)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(HANGS_S + (unsigned)(list->count / 1000));
    int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nothing >= 0)
        dup2(nothing, STDERR_FILENO);
    _exit(model_drive(ground, engine, list->at, list->count) ? 0 : 1);
}

static void begin_life(struct model_ground *ground, uint32_t keys)
{
    model_begin(&ground->now, keys);
    ground->has_saved = ground->has_tried = ground->running = ground->killed = ground->moving = false;
    ground->at = 0;
    ground->failure[0] = '\0';
}

static void end_life(const struct model_ground *ground)
{
    char path[PATH_SIZE], name[32];
    path_join(path, ground->directory, "state");
    temporary_remove(path);
    snprintf(name, sizeof name, "backup-%u", ground->backups);
    path_join(path, ground->directory, name);
    unlink(path);
}

bool model_live(struct model_ground *ground, const struct model_engine *engine, const struct model_list *list)
{
    int status = 0;
    begin_life(ground, list->keys);
    if (engine->begin_life != NULL && !engine->begin_life()) {
        snprintf(ground->failure, sizeof ground->failure, "a life cannot begin");
        return false;
    }
    do {
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0)
            run_child(ground, engine, list);
        if (pid < 0 || waitpid(pid, &status, 0) != pid) {
            snprintf(ground->failure, sizeof ground->failure, "no process can be started");
            return false;
        }
    } while (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && ground->killed);
    end_life(ground);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (ground->failure[0] == '\0')
        snprintf(ground->failure, sizeof ground->failure, "%s %d",
                 WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? "it hangs: signal"
                 : WIFSIGNALED(status)                              ? "it was ended by signal"
                                                                    : "it ended itself with",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return false;
}

/* ---- shrinking ---- */

/* Whether two failures are the same but for numbers: a shorter list that fails in another way is no shorter one. */
static bool is_same_failure(const char *a, const char *b)
{
    do {
        a += strspn(a, "0123456789-");
        b += strspn(b, "0123456789-");
    } while (*a == *b && *a++ != '\0' && *b++ != '\0');
    return *a == '\0' && *b == '\0';
}

/* Leaves out `count` steps from `first`. Returns whether the rest fails likewise; then it is the list. */
static bool fails_without(struct model_ground *ground, const struct model_engine *engine, struct model_list *list,
                          size_t first, size_t count, const char *failure)
{
    struct model_list rest = {.keys = list->keys, .count = list->count - count};
    if (rest.count == 0)
        return false;
    rest.at = must_have(malloc(rest.count * sizeof *rest.at));
    memcpy(rest.at, list->at, first * sizeof *rest.at);
    memcpy(rest.at + first, list->at + first + count, (rest.count - first) * sizeof *rest.at);
    bool fails = !model_live(ground, engine, &rest) && is_same_failure(ground->failure, failure);
    if (fails) {
        list->count = ground->at + 1 < rest.count ? ground->at + 1 : rest.count;
        memcpy(list->at, rest.at, list->count * sizeof *list->at);
    }
    free(rest.at);
    return fails;
}

/* Halves, quarters and so on, as long as any can be left out. */
void model_shrink(struct model_ground *ground, const struct model_engine *engine, struct model_list *list, int64_t ms)
{
    moment until = clock_now() + ms;
    char failure[sizeof ground->failure];
    memcpy(failure, ground->failure, sizeof failure);
    if (ground->at + 1 < list->count)
        list->count = ground->at + 1;
    for (size_t size = (list->count + 1) / 2; size > 0 && clock_now() < until;) {
        bool any = false;
        for (size_t end = list->count; end > 0 && clock_now() < until;) {
            size_t first = end > size ? end - size : 0;
            any = fails_without(ground, engine, list, first, end - first, failure) || any;
            end = first < list->count ? first : list->count;
        }
        if (size == 1 && !any)
            break;
        size = size == 1 ? 1 : size / 2;
    }
    memcpy(ground->failure, failure, sizeof failure);
}
