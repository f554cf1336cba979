/* Who reads: one process at a time, on one machine. The kernel frees the lock when its owner dies; a beat says which
 * host it is on, for two machines on one network file system may not see each other's locks. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/sqlite/store.h"

#define FRESH_MS 60000 /* a beat is written every 10 s */

/* This machine, since it was started: "HOST BOOT". */
static void this_machine(char out[static 128])
{
    char host[64] = "?", boot[40] = "?";
    gethostname(host, sizeof host - 1);
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t n = read(fd, boot, sizeof boot - 1);
        boot[n > 0 ? n : 0] = '\0';
        boot[strcspn(boot, "\n")] = '\0';
        close(fd);
    }
    snprintf(out, 128, "%s %s", host, boot);
}

/* The beat: "HOST BOOT PID", and when it was written. */
static bool read_beat(const char *directory, char out[static 160], int64_t *age_ms)
{
    char path[STATE_PATH];
    struct stat status;
    directory_path(path, directory, "forward.beat");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, out, 159);
    bool good = n > 0 && fstat(fd, &status) == 0;
    close(fd);
    if (!good)
        return false;
    out[n] = '\0';
    out[strcspn(out, "\n")] = '\0';
    *age_ms = clock_unix_ms() - (status.st_mtim.tv_sec * 1000 + status.st_mtim.tv_nsec / 1000000);
    return true;
}

void beat_write(struct store *store)
{
    char machine[128], text[160];
    int fd = directory_open(store->directory, "forward.beat", NULL);
    if (fd < 0)
        return;
    this_machine(machine);
    int length = snprintf(text, sizeof text, "%s %ld\n", machine, (long)getpid());
    if (pwrite(fd, text, (size_t)length, 0) == length && ftruncate(fd, length) == 0)
        futimens(fd, NULL);
    close(fd);
}

/* Fresh, and of another machine: that one forwards. */
static bool another_machine_forwards(const struct store *store, struct why *why)
{
    char machine[128], beat[160];
    int64_t age_ms;
    if (!read_beat(store->directory, beat, &age_ms))
        return false;
    this_machine(machine);
    size_t length = strlen(machine);
    if (strncmp(beat, machine, length) == 0 && beat[length] == ' ')
        return false;
    if (age_ms < -FRESH_MS || age_ms > FRESH_MS)
        return false;
    why_set(why,
            "another machine forwards from this state directory (%.100s, %lld s ago): one state directory is for "
            "one machine",
            beat, (long long)(age_ms / 1000));
    return true;
}

/* What was settled and is not in the index yet. */
static enum database_result load_mirror(struct store *store)
{
    enum database_result result;
    sqlite3_stmt *journal = database_statement(&store->reader, STATEMENT_JOURNAL, 0);
    pthread_mutex_lock(&store->mirror_lock);
    mirror_free(&store->mirror);
    while (database_step(&store->reader, journal, &result) == SQLITE_ROW) {
        struct mirrored one = {.source = (uint32_t)sqlite3_column_int64(journal, 1),
                               .updated = sqlite3_column_int64(journal, 3),
                               .at = sqlite3_column_int64(journal, 4)};
        const void *key = sqlite3_column_blob(journal, 2);
        if (key != NULL && sqlite3_column_bytes(journal, 2) == (int)sizeof one.key) {
            memcpy(one.key, key, sizeof one.key);
            if (!mirror_add(&store->mirror, &one)) {
                why_set(&store->reader.why, "out of memory");
                result = DATABASE_FAILED;
                break;
            }
        }
    }
    pthread_mutex_unlock(&store->mirror_lock);
    sqlite3_reset(journal);
    return result;
}

static bool take_over(struct store *store, struct why *why)
{
    store->wake_fd = wake_open(store->directory, why);
    if (store->wake_fd < 0 || !store_reader(store, why))
        return false;
    enum database_result result = load_mirror(store);
    if (result != DATABASE_DONE) {
        *why = store->reader.why;
        store_failed(store, result, why);
        return false;
    }
    beat_write(store);
    steady_look(store);
    return housekeeper_start(store, why);
}

bool store_own(void *state, struct why *why)
{
    struct store *store = state;
    if (store->owned)
        return true;
    if (store->forward_lock < 0)
        store->forward_lock = directory_open(store->directory, "forward.lock", why);
    if (store->forward_lock < 0)
        return false;
    if (flock(store->forward_lock, LOCK_EX | LOCK_NB) != 0) {
        why_set(why, "another process forwards");
        return false;
    }
    store->owned = !another_machine_forwards(store, why) && take_over(store, why);
    if (!store->owned) {
        if (store->wake_fd >= 0)
            close(store->wake_fd);
        store->wake_fd = -1;
        flock(store->forward_lock, LOCK_UN);
    }
    return store->owned;
}

void store_disown(struct store *store)
{
    if (store->owned) {
        char path[STATE_PATH];
        housekeeper_stop(store);
        directory_path(path, store->directory, "forward.beat");
        unlink(path); /* an orderly end: another machine may go on at once */
        store->owned = false;
    }
    if (store->wake_fd >= 0)
        close(store->wake_fd);
    if (store->forward_lock >= 0)
        close(store->forward_lock);
    store->wake_fd = store->forward_lock = -1;
}

bool store_is_owned(void *state, bool *owned, struct why *words, struct why *why)
{
    struct store *store = state;
    char beat[160];
    int64_t age_ms;
    int fd = directory_open(store->directory, "forward.lock", why);
    if (fd < 0)
        return false;
    *owned = store->owned || (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK);
    close(fd);
    if (*owned && read_beat(store->directory, beat, &age_ms))
        why_set(words, "%s", beat);
    else
        why_set(words, *owned ? "a process forwards" : "no process forwards now");
    return true;
}
