/* Transforming in a child: see child_transform.h. */
#include "commands/child_transform.h"

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

/* What the child writes first; the message follows, up to the end of the pipe. */
struct child_answer {
    enum child_result result;
    struct identity identity;
    struct error why;
};

static void limit_resource(int what, rlim_t most)
{
    struct rlimit now;
    if (getrlimit((__rlimit_resource_t)what, &now) != 0 || now.rlim_cur <= most)
        return;
    now.rlim_cur = most;
    setrlimit((__rlimit_resource_t)what, &now);
}

static void limit_child(void)
{
    limit_resource(RLIMIT_CPU, SECONDS_MOST);
    limit_resource(RLIMIT_CORE, 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they reserve terabytes of addresses */
    limit_resource(RLIMIT_AS, MEMORY_MOST);
#endif
}

/* What the child does. Ends its process. */
static _Noreturn void run_child(int fd, const char *body, size_t length, const struct rules *rules)
{
    struct child_answer answer = {.result = CHILD_MESSAGE};
    struct buffer message = {0};
    bool out_of_memory = false;
    limit_child();
    struct parsed *parsed = transform_parse_for(body, length, rules, &out_of_memory, &answer.why);
    if (parsed == NULL)
        answer.result = out_of_memory ? CHILD_FAILED : CHILD_UNUSABLE;
    enum transform_result result = TRANSFORM_OK;
    if (parsed != NULL)
        answer.identity = *transform_identity(parsed);
    if (parsed != NULL && rules != NULL)
        result = transform_message(parsed, rules, false, &message);
    if (result == TRANSFORM_DROPPED)
        answer.result = CHILD_DROPPED;
    if (result == TRANSFORM_FAILED) {
        answer.result = CHILD_FAILED;
        error_set(&answer.why, "out of memory");
    }
    bool written = files_write_all(fd, &answer, sizeof answer) && files_write_all(fd, message.data, message.length);
    _exit(written ? 0 : 1);
}

static bool read_answer(int fd, struct child_answer *answer, struct buffer *out)
{
    bool whole = files_read_all(fd, answer, sizeof *answer) == (ssize_t)sizeof *answer;
    for (ssize_t n = 1; whole && n > 0;) {
        char piece[16384];
        n = files_read_all(fd, piece, sizeof piece);
        whole = n >= 0;
        buffer_append(out, piece, n > 0 ? (size_t)n : 0);
    }
    return whole && !out->failed;
}

/* Waits for the child. Returns whether it ended well, else why not. */
static bool wait_for_child(pid_t child, struct error *why)
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

static enum child_result transform_in_child(const char *body, size_t length, const struct rules *rules,
                                            struct buffer *out, struct child_answer *answer)
{
    struct error *why = &answer->why;
    size_t before = out->length;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        error_set(why, "no process can be had to make it in: %s", strerror(errno));
        return CHILD_FAILED;
    }
    pid_t child = fork();
    if (child == 0)
        run_child(ends[1], body, length, rules);
    int error = errno;
    close(ends[1]);
    bool whole = child > 0 && read_answer(ends[0], answer, out);
    close(ends[0]);
    struct error ending = {0};
    if (child > 0 && wait_for_child(child, &ending) && whole)
        return answer->result;
    out->length = before;
    if (child < 0)
        error_set(why, "no process can be had to make it in: %s", strerror(error));
    else
        *why = ending;
    return CHILD_FAILED;
}

enum child_result child_transform_message(const char *body, size_t length, const struct rules *rules,
                                          struct buffer *out, struct error *why)
{
    struct child_answer answer = {.result = CHILD_FAILED};
    enum child_result result = transform_in_child(body, length, rules, out, &answer);
    *why = answer.why;
    return result;
}

enum child_result child_transform_identity(const char *body, size_t length, struct identity *identity,
                                           struct error *why)
{
    struct child_answer answer = {.result = CHILD_FAILED};
    struct buffer nothing = {0};
    enum child_result result = transform_in_child(body, length, NULL, &nothing, &answer);
    *identity = answer.identity;
    *why = answer.why;
    buffer_free(&nothing);
    return result;
}
