/* Queues whose files are removed under them: see displaced.h. */
#include "tests/support/displaced.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <CUnit/CUnit.h>

#include "tests/support/check.h"

struct displaced displaced;

int displaced_set_up(void)
{
    int failed = queue_rig_set_up_quiet(&displaced.made, displaced.directory, displaced.state);
    displaced.made.config.dedupe_window_ms = (int64_t)86400 * 1000;
    return failed;
}

int displaced_tear_down(void)
{
    return queue_rig_tear_down_quiet(displaced.directory, &displaced.found);
}

struct queue *displaced_open_well(const char *name)
{
    path_join(displaced.state, displaced.directory, name);
    return queue_rig_open(&displaced.made);
}

/* Bodies are numbers, two digits. */
enum queue_result displaced_append_saying(struct queue *queue, unsigned number, struct error *why)
{
    char body[16];
    int length = snprintf(body, sizeof body, "%02u", number);
    return queue_append(queue, "one", body, (size_t)length, clock_now() + PATIENCE_MS, why);
}

void displaced_append(struct queue *queue, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        struct error why = {0};
        check(displaced_append_saying(queue, i, &why) == QUEUE_STORED, "number %u is stored: %s", i, why.text);
    }
}

void displaced_check_refused(struct queue *queue, unsigned number, const char *words)
{
    struct error why = {0};
    enum queue_result result = displaced_append_saying(queue, number, &why);
    check(result == QUEUE_BROKEN && strstr(why.text, words) != NULL, "%d: %s", result, why.text);
}

struct identity displaced_identity_of(unsigned number)
{
    struct identity identity = {.updated_us = 1};
    memset(identity.key, (int)number + 1, sizeof identity.key);
    return identity;
}

size_t displaced_look(struct queue *queue, uint64_t id[NUMBERS], unsigned times[NUMBERS])
{
    struct error why = {0};
    memset(times, 0, NUMBERS * sizeof *times);
    int count = queue_next(queue, "one", 0, 1000, 1 << 20, &displaced.found, &why);
    check(count >= 0, "it can be read: %s", why.text);
    for (size_t i = 0; i < displaced.found.count; i++) {
        unsigned number =
            (unsigned)((displaced.found.at[i].body[0] - '0') * 10 + displaced.found.at[i].body[1] - '0') % NUMBERS;
        times[number]++;
        id[number] = displaced.found.at[i].id;
    }
    return displaced.found.count;
}

/* All of these wait, each once; and whatever else waits was not answered 200. */
void displaced_check_waiting(struct queue *queue, unsigned first, unsigned count)
{
    uint64_t id[NUMBERS];
    unsigned times[NUMBERS];
    displaced_look(queue, id, times);
    for (unsigned i = first; i < first + count; i++)
        check(times[i] == 1, "number %u is there %u times", i, times[i]);
}

void displaced_settle(struct queue *queue, unsigned number, enum verdict_kind kind)
{
    uint64_t id[NUMBERS] = {0};
    unsigned times[NUMBERS];
    struct error why = {0};
    displaced_look(queue, id, times);
    struct verdict verdict = {.id = id[number],
                              .kind = kind,
                              .identity = displaced_identity_of(number),
                              .remember = true,
                              .reason = "of the test"};
    check(queue_settle(queue, "one", &verdict, 1, &why), "number %u is settled: %s", number, why.text);
}

bool displaced_is_delivered(struct queue *queue, unsigned number)
{
    struct identity identity = displaced_identity_of(number);
    struct known known = {.delivered = false};
    struct error why = {0};
    check(queue_known(queue, "one", &identity, 1, &known, &why), "it can be asked: %s", why.text);
    return known.delivered;
}

void displaced_own(struct queue *queue)
{
    struct error why = {0};
    check(queue_claim(queue, &why), "it can be owned: %s", why.text);
}

void displaced_remove_files(const char *const *names)
{
    for (; *names != NULL; names++) {
        char path[PATH_SIZE];
        path_join(path, displaced.state, *names);
        check(unlink(path) == 0, "%s is removed", *names);
    }
}

void displaced_check_nothing_left(void)
{
    char path[PATH_SIZE];
    path_join(path, displaced.state, "displaced");
    CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0);
    path_join(path, displaced.state, "damaged");
    CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0);
}

/* Waits until what the old files hold is saved, as the process does that looks once a second. */
void displaced_wait_until_saved(struct queue *queue)
{
    moment deadline = clock_now() + PATIENCE_MS;
    while (!queue_must_reopen(queue) && clock_now() < deadline)
        usleep(1000);
    CU_ASSERT(queue_must_reopen(queue));
}
