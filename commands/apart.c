/* Transforming in a child: see apart.h. */
#include "commands/apart.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/files.h"

#define SECONDS_MOST 20
#define MEMORY_MOST ((rlim_t)4 << 30)

/* What the child writes first; the message follows to the end. */
struct told {
    enum apart_result result;
    struct identity identity;
    struct error why;
};

static void limit(int what, rlim_t most)
{
    struct rlimit now;
    if (getrlimit((__rlimit_resource_t)what, &now) != 0 || now.rlim_cur <= most)
        return;
    now.rlim_cur = most;
    setrlimit((__rlimit_resource_t)what, &now);
}

static void limit_all(void)
{
    limit(RLIMIT_CPU, SECONDS_MOST);
    limit(RLIMIT_CORE, 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they reserve terabytes of addresses */
    limit(RLIMIT_AS, MEMORY_MOST);
#endif
}

/* The child's work. Ends the process. */
static _Noreturn void make(int fd, const char *body, size_t length, const struct rules *rules)
{
    struct told told = {.result = APART_MESSAGE};
    struct buffer message = {0};
    bool out_of_memory = false;
    limit_all();
    struct parsed *parsed = transform_parse(body, length, &out_of_memory, &told.why);
    if (parsed == NULL)
        told.result = out_of_memory ? APART_FAILED : APART_UNUSABLE;
    enum transform_result result = TRANSFORM_OK;
    if (parsed != NULL)
        told.identity = *transform_identity(parsed);
    if (parsed != NULL && rules != NULL)
        result = transform_message(parsed, rules, false, &message);
    if (result == TRANSFORM_DROPPED)
        told.result = APART_DROPPED;
    if (result == TRANSFORM_FAILED) {
        told.result = APART_FAILED;
        error_set(&told.why, "out of memory");
    }
    bool written = files_write_all(fd, &told, sizeof told) && files_write_all(fd, message.data, message.length);
    _exit(written ? 0 : 1);
}

static bool read_all(int fd, struct told *told, struct buffer *out)
{
    bool whole = files_read_all(fd, told, sizeof *told) == (ssize_t)sizeof *told;
    for (ssize_t n = 1; whole && n > 0;) {
        char piece[16384];
        n = files_read_all(fd, piece, sizeof piece);
        whole = n >= 0;
        buffer_append(out, piece, n > 0 ? (size_t)n : 0);
    }
    return whole && !out->failed;
}

/* Waits for the child. Returns whether it ended well, else why not. */
static bool ended_well(pid_t child, struct error *why)
{
    int status = 0;
    pid_t waited;
    do
        waited = waitpid(child, &status, 0);
    while (waited < 0 && errno == EINTR);
    if (waited == child && WIFSIGNALED(status))
        error_set(why, "making it crashes the program (signal %d, %s): please report this fault", WTERMSIG(status),
                  strsignal(WTERMSIG(status)));
    else
        error_set(why, "out of memory");
    return waited == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static enum apart_result run(const char *body, size_t length, const struct rules *rules, struct buffer *out,
                             struct told *told)
{
    struct error *why = &told->why;
    size_t before = out->length;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        error_set(why, "no process can be had to make it in: %s", strerror(errno));
        return APART_FAILED;
    }
    pid_t child = fork();
    if (child == 0)
        make(ends[1], body, length, rules);
    int error = errno;
    close(ends[1]);
    bool whole = child > 0 && read_all(ends[0], told, out);
    close(ends[0]);
    struct error ending = {0};
    if (child > 0 && ended_well(child, &ending) && whole)
        return told->result;
    out->length = before;
    if (child < 0)
        error_set(why, "no process can be had to make it in: %s", strerror(error));
    else
        *why = ending;
    return APART_FAILED;
}

enum apart_result apart_message(const char *body, size_t length, const struct rules *rules, struct buffer *out,
                                struct error *why)
{
    struct told told = {.result = APART_FAILED};
    enum apart_result result = run(body, length, rules, out, &told);
    *why = told.why;
    return result;
}

enum apart_result apart_identity(const char *body, size_t length, struct identity *identity, struct error *why)
{
    struct told told = {.result = APART_FAILED};
    struct buffer nothing = {0};
    enum apart_result result = run(body, length, NULL, &nothing, &told);
    *identity = told.identity;
    *why = told.why;
    buffer_free(&nothing);
    return result;
}
