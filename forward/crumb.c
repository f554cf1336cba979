/* The trace of what is being transformed: see crumb.h. */
#include "forward/crumb.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "watch/log.h"

#define DEATHS_MOST 2

struct place {
    char source[72];
    uint64_t id; /* 0: none */
};

/* The file, mapped. Its name has the layout's version. */
struct crumb {
    struct place current;
    struct place suspect;
    uint32_t deaths; /* in a row, of the suspect */
};

static bool same(const struct place *a, const struct place *b)
{
    return a->id == b->id && strncmp(a->source, b->source, sizeof a->source) == 0;
}

/* What still stands there was being transformed when the last process died. */
static void judge_last(struct crumb *crumb)
{
    if (crumb->current.id == 0)
        return;
    crumb->deaths = same(&crumb->current, &crumb->suspect) ? crumb->deaths + 1 : 1;
    crumb->suspect = crumb->current;
    crumb->current.id = 0;
    log_write(LEVEL_WARN, "msg=died_while_transforming source=%.64s id=%llu times=%u", crumb->suspect.source,
              (unsigned long long)crumb->suspect.id, (unsigned)crumb->deaths);
}

struct crumb *crumb_open(const char *directory)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/transforming.1", directory);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return NULL;
    struct crumb *crumb = MAP_FAILED;
    if (posix_fallocate(fd, 0, sizeof *crumb) == 0) /* a hole would be a SIGBUS on a full disk */
        crumb = mmap(NULL, sizeof *crumb, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (crumb == MAP_FAILED)
        return NULL;
    judge_last(crumb);
    return crumb;
}

void crumb_begin(struct crumb *crumb, const char *source, uint64_t id)
{
    if (crumb == NULL)
        return;
    if (strcmp(crumb->current.source, source) != 0)
        snprintf(crumb->current.source, sizeof crumb->current.source, "%s", source);
    *(volatile uint64_t *)&crumb->current.id = id;
}

void crumb_end(struct crumb *crumb)
{
    if (crumb != NULL)
        *(volatile uint64_t *)&crumb->current.id = 0;
}

bool crumb_suspects(const struct crumb *crumb, const char *source, uint64_t id)
{
    return crumb != NULL && crumb->deaths >= DEATHS_MOST && crumb->suspect.id == id &&
           strcmp(crumb->suspect.source, source) == 0;
}

void crumb_acquit(struct crumb *crumb)
{
    crumb->suspect.id = 0;
    crumb->deaths = 0;
}

static bool is_own_fault(int signal)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        if (signal == faults[i])
            return true;
    }
    return false;
}

bool crumb_survives(void (*act)(void *context), void *context)
{
    int status;
    pid_t waited, child = fork();
    if (child < 0)
        return true;
    if (child == 0) {
        act(context);
        _exit(0);
    }
    do {
        waited = waitpid(child, &status, 0);
    } while (waited < 0 && errno == EINTR);
    return waited != child || !WIFSIGNALED(status) || !is_own_fault(WTERMSIG(status));
}

void crumb_close(struct crumb *crumb)
{
    if (crumb != NULL)
        munmap(crumb, sizeof *crumb);
}
