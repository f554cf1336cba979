/* Where counters lie: a place for each source in a file that all processes map, or in memory. Room on the disk is taken
 * before the file is mapped; where that promises nothing, a page without room goes on in memory (base/mapping.h). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mapping.h"
#include "telemetry/counters_layout.h"

#define LOCK_PATIENCE_MS 500 /* others hold it for a moment only */
#define PLACES_MOST 1024

struct counters {
    struct counted *at; /* the first is of no source */
    size_t count;
    size_t mapped; /* bytes; 0: in memory */
};

static int open_locked(const char *state_dir, struct error *why)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/" COUNTERS_FILE, state_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    moment deadline = clock_now() + LOCK_PATIENCE_MS;
    while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK || clock_now() > deadline) {
            error_set(why, "%s cannot be locked: %s", path, strerror(errno));
            close(fd);
            return -1;
        }
        usleep(2000);
    }
    if (fd < 0)
        error_set(why, "%s: %s", path, strerror(errno));
    return fd;
}

static bool read_name(int fd, size_t place, char name[static COUNTERS_NAME])
{
    ssize_t n = pread(fd, name, COUNTERS_NAME, (off_t)(place * sizeof(struct counted)));
    name[COUNTERS_NAME - 1] = '\0';
    return n == COUNTERS_NAME;
}

static bool is_there(int fd, size_t places, const char *name)
{
    char other[COUNTERS_NAME];
    for (size_t i = 1; i < places; i++) {
        if (read_name(fd, i, other) && strncmp(other, name, COUNTERS_NAME - 1) == 0)
            return true;
    }
    return false;
}

/* Adds a place at the end. Returns false when there is no room. */
static bool add_place(int fd, size_t *places, const char *name, struct error *why)
{
    char text[COUNTERS_NAME] = "";
    off_t at = (off_t)(*places * sizeof(struct counted));
    int error = *places < PLACES_MOST ? posix_fallocate(fd, at, sizeof(struct counted)) : ENOSPC;
    snprintf(text, sizeof text, "%s", name);
    if (error == 0 && pwrite(fd, text, sizeof text, at) == (ssize_t)sizeof text) {
        ++*places;
        return true;
    }
    error_set(why, COUNTERS_FILE ": no room for it: %s", strerror(error != 0 ? error : errno));
    return false;
}

/* Finds or makes the places. Returns how many there are; 0: not all can be had. */
static size_t make_places(int fd, const char *const *names, size_t count, struct error *why)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return 0;
    size_t places = (size_t)status.st_size / sizeof(struct counted);
    if (places == 0 && !add_place(fd, &places, "", why))
        return 0;
    for (size_t i = 0; i < count; i++) {
        if (!is_there(fd, places, names[i]) && !add_place(fd, &places, names[i], why))
            return 0;
    }
    return places;
}

static bool map_file(struct counters *counters, const char *state_dir, const char *const *names, size_t count,
                     struct error *why)
{
    int fd = open_locked(state_dir, why);
    if (fd < 0)
        return false;
    size_t places = make_places(fd, names, count, why), bytes = places * sizeof(struct counted);
    flock(fd, LOCK_UN); /* the mapping keeps the file open, and with it the lock */
    if (places == 0) {
        close(fd);
        return false;
    }
    void *at = mapping_open(fd, bytes);
    if (at == NULL) {
        error_set(why, COUNTERS_FILE " cannot be mapped: %s", strerror(errno));
        return false;
    }
    *counters = (struct counters){at, places, bytes};
    return true;
}

static bool take_memory(struct counters *counters, const char *const *names, size_t count)
{
    *counters = (struct counters){calloc(count + 1, sizeof(struct counted)), count + 1, 0};
    for (size_t i = 0; counters->at != NULL && i < count; i++)
        snprintf(counters->at[i + 1].name, COUNTERS_NAME, "%s", names[i]);
    return counters->at != NULL;
}

struct counters *counters_open(const char *state_dir, const char *const *names, size_t count, struct error *why)
{
    struct counters *counters = calloc(1, sizeof *counters);
    error_set(why, "%s", "");
    if (counters == NULL)
        return NULL;
    if ((state_dir != NULL && map_file(counters, state_dir, names, count, why)) || take_memory(counters, names, count))
        return counters;
    free(counters);
    return NULL;
}

bool counters_are_shared(const struct counters *counters)
{
    return counters != NULL && counters->mapped > 0 && !mapping_is_lost(counters->at);
}

struct counted *counters_of(struct counters *counters, const char *name)
{
    if (counters == NULL)
        return NULL;
    for (size_t i = 1; name != NULL && i < counters->count; i++) {
        if (strncmp(counters->at[i].name, name, COUNTERS_NAME - 1) == 0)
            return &counters->at[i];
    }
    return &counters->at[0];
}

void counters_close(struct counters *counters)
{
    if (counters == NULL)
        return;
    if (counters->mapped > 0)
        mapping_close(counters->at);
    else
        free(counters->at);
    free(counters);
}
