/* What processes remember and agree on besides events (kept/kept.h), with each of its engines. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "kept/kept.h"
#include "kept/keys.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/queue_rig.h"

#define FIRST "1111111111111111111111111111111111111111111111111111111111111111"
#define SECOND "2222222222222222222222222222222222222222222222222222222222222222"

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE], source[FILES_PATH];
static struct queue_rig_engine engine;
static struct events none;

static int begin_files(void)
{
    return queue_rig_set_up(&made, directory, state);
}

static int end(void)
{
    queue_rig_engine_end(&engine);
    return queue_rig_tear_down(directory, &none);
}

/* A state directory of its own, with the folder of a source. */
static void begin_case(const char *name)
{
    struct error why;
    path_join(state, directory, name);
    CU_ASSERT_TRUE_FATAL(temporary_directory(directory, name));
    CU_ASSERT_TRUE_FATAL(files_make_directory(source, state, "closeapi/one", &why));
    queue_rig_new(&engine, &made);
}

static struct kept *open_kept(void)
{
    struct error why = {0};
    struct kept *kept = kept_open(&made.config, &why);
    CU_ASSERT_STRING_EQUAL(why.text, "");
    CU_ASSERT_PTR_NOT_NULL_FATAL(kept);
    return kept;
}

static bool done(bool good, const struct error *why)
{
    return check(good, "it is done: %s", why->text);
}

static void put(struct kept *kept, const char *name, const char *text)
{
    struct error why = {0};
    done(kept_put(kept, source, name, text, &why), &why);
}

/* text NULL: there is no file. */
static void check_file(const char *name, const char *text)
{
    bool missing;
    char *there = files_read(source, name, &missing, NULL);
    check(text == NULL ? missing : there != NULL && strcmp(there, text) == 0, "%s is \"%s\": \"%s\"", name,
          text == NULL ? "gone" : text, there == NULL ? "gone" : there);
    free(there);
}

static void what_is_changed_is_a_file(void)
{
    struct error why = {0};
    struct stat status;
    char path[PATH_SIZE];
    begin_case("changes");
    struct kept *kept = open_kept();
    put(kept, "reconcile", "since_us = 1\n");
    check_file("reconcile", "since_us = 1\n");
    put(kept, "reconcile", "since_us = 2\n");
    check_file("reconcile", "since_us = 2\n");
    put(kept, "reconcile", "since_us = 2\n");
    put(kept, "paused-whsub_1", "");
    check_file("paused-whsub_1", "");
    path_join(path, source, "reconcile");
    CU_ASSERT_EQUAL(stat(path, &status), 0);
    CU_ASSERT_EQUAL(status.st_mode & 07777, 0600);
    for (unsigned i = 0; i < 2; i++)
        done(kept_remove(kept, source, "reconcile", &why), &why);
    check_file("reconcile", NULL);
    put(kept, "reconcile", "since_us = 3\n");
    check_file("reconcile", "since_us = 3\n");
    kept_close(kept);
    kept = open_kept(); /* another process */
    check_file("reconcile", "since_us = 3\n");
    put(kept, "reconcile", "since_us = 4\n");
    check_file("reconcile", "since_us = 4\n");
    kept_close(kept);
    kept_close(NULL);
}

static void a_lock_is_one_process_s(void)
{
    struct error why = {0};
    begin_case("locks");
    struct kept *first = open_kept(), *second = open_kept();
    done(kept_lock(first, source, "reconcile.lock", 0, &why), &why);
    done(kept_lock(first, source, "subscribe.lock", 0, &why), &why);
    moment began = clock_now();
    CU_ASSERT_FALSE(kept_lock(second, source, "reconcile.lock", 300, &why));
    CU_ASSERT_TRUE(clock_now() - began >= 300);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "is at it now: try again when it has ended"));
    put(first, "reconcile", "a = 1\n");
    kept_close(first);
    done(kept_lock(second, source, "reconcile.lock", 2000, &why), &why);
    done(kept_lock(second, source, "subscribe.lock", 2000, &why), &why);
    check_file("reconcile", "a = 1\n");
    put(second, "reconcile", "a = 2\n");
    kept_close(second);
}

static void a_file_is_moved_and_takes_nobody_s_place(void)
{
    struct error why = {0};
    char to[FILES_PATH];
    bool taken;
    begin_case("moves");
    CU_ASSERT_TRUE(files_make_directory(to, state, "closeapi/two", &why));
    struct kept *kept = open_kept();
    put(kept, "reconcile", "a = 1\n");
    done(kept_lock(kept, source, "reconcile.lock", 0, &why), &why);
    done(kept_move(kept, source, to, "reconcile", &taken, &why), &why);
    CU_ASSERT_FALSE(taken);
    check_file("reconcile", NULL);
    put(kept, "reconcile", "a = 2\n");
    done(kept_move(kept, source, to, "reconcile", &taken, &why), &why);
    CU_ASSERT_TRUE(taken);
    check_file("reconcile", "a = 2\n");
    memcpy(source, to, sizeof source);
    check_file("reconcile", "a = 1\n");
    kept_close(kept);
}

static void store(const char *subscription, const char *hex)
{
    struct error why = {0};
    struct held_key key = {.source = "one", .created_ms = 1};
    snprintf(key.subscription, sizeof key.subscription, "%s", subscription);
    done(kept_key_store(&made.config, &key, hex, "https://x", &why), &why);
}

static struct keyring held(size_t count)
{
    struct error why = {0};
    struct keyring keyring;
    done(kept_keys_read(&made.config, &keyring, &why), &why);
    check(keyring.count == count, "there are %zu keys: %zu", count, keyring.count);
    return keyring;
}

static void keys_come_move_and_go(void)
{
    struct error why = {0};
    bool taken;
    begin_case("keys");
    store("whsub_1", FIRST);
    store("whsub_1", FIRST);
    store("whsub_2", SECOND);
    struct keyring keyring = held(2);
    for (size_t i = 0; i < keyring.count; i++)
        done(kept_key_rename(&made.config, &keyring.at[i], "two", &taken, &why), &why);
    keyring_free(&keyring);
    keyring = held(2);
    for (size_t i = 0; i < keyring.count; i++)
        CU_ASSERT_STRING_EQUAL(keyring.at[i].source, "two");
    keyring_free(&keyring);
    for (unsigned i = 0; i < 2; i++)
        done(kept_key_remove(&made.config, "two", "whsub_1", &why), &why);
    keyring = held(1);
    CU_ASSERT_STRING_EQUAL(keyring.at[0].subscription, "whsub_2");
    keyring_free(&keyring);
}

/* Of a release, or of a queue, that had files only. */
static void what_was_there_before_is_taken_on(void)
{
    struct error why = {0};
    char keys[FILES_PATH], used[FILES_PATH];
    begin_case("before");
    CU_ASSERT_TRUE(files_make_directory(keys, state, "keys", &why) && files_make_directory(used, state, "used", &why));
    CU_ASSERT_TRUE(files_replace(keys, "one-whsub_1.key",
                                 "source = one\nsubscription = whsub_1\ncreated_ms = 1\nsignature_key = " FIRST "\n",
                                 &why));
    CU_ASSERT_TRUE(files_replace(used, "whsub_1", "", &why));
    CU_ASSERT_TRUE(files_replace(source, "reconcile", "until_us = 7\n", &why));
    done(kept_catch_up(&made.config, &why), &why);
    CU_ASSERT_TRUE(kept_is_known(&made.config, &why));
    struct keyring keyring = held(1);
    keyring_free(&keyring);
    CU_ASSERT_TRUE(keyring_was_used(state, "whsub_1"));
    check_file("reconcile", "until_us = 7\n");
    struct kept *kept = open_kept();
    done(kept_lock(kept, source, "reconcile.lock", 0, &why), &why);
    put(kept, "reconcile", "until_us = 8\n");
    kept_close(kept);
    check_file("reconcile", "until_us = 8\n");
}

static CU_TestInfo tests[] = {
    {"what is changed is a file", what_is_changed_is_a_file},
    {"a lock is one process's", a_lock_is_one_process_s},
    {"a file is moved, and takes nobody's place", a_file_is_moved_and_takes_nobody_s_place},
    {"keys come, move and go", keys_come_move_and_go},
    {"what was there before is taken on", what_was_there_before_is_taken_on},
    CU_TEST_INFO_NULL,
};

void suite_kept_files(void)
{
    suite_add("kept files", begin_files, end, tests);
}

static int begin_postgresql(void)
{
    return begin_files() != 0 || !queue_rig_postgresql(&engine, &made);
}

void suite_kept_postgresql(void)
{
    suite_add("kept postgresql", begin_postgresql, end, tests);
}
