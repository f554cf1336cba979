/* The configuration: files that may not be used, and secrets in files of their own. */
#include "config/internal.h"
#include "tests/suites.h"
#include "tests/support/config_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define URL "data_plane_url = https://h\n"
#define AT "~/closecrm.conf:"

/* Reads the folder's closecrm.conf and gives the reason, with ~ for the folder, in why. */
static struct config *read_folder(const struct folder *folder, struct error *why)
{
    static char *const nothing[] = {NULL};
    *why = (struct error){0};
    struct config *config = config_read(folder->file, nothing, why);
    folder_shorten(folder, why);
    return config;
}

static void files_that_may_not_be_used(void)
{
    struct folder folder;
    struct error why;
    folder_make(&folder);

    CU_ASSERT_PTR_NULL(read_folder(&folder, &why));
    CU_ASSERT_STRING_EQUAL(why.text, "~/closecrm.conf: cannot be read: No such file or directory");

    folder_write(&folder, "closecrm.conf", WHOLE, strlen(WHOLE), 0604);
    CU_ASSERT_PTR_NULL(read_folder(&folder, &why));
    CU_ASSERT_STRING_EQUAL(why.text,
                           "~/closecrm.conf: others can read it, and there are secrets in it; run: chmod o-rwx "
                           "~/closecrm.conf");

    chmod(folder.file, 0640);
    struct config *config = read_folder(&folder, &why);
    CU_ASSERT_PTR_NOT_NULL(config); /* the group may: a web server's, say */
    config_free(config);

    unlink(folder.file);
    CU_ASSERT_EQUAL(mkdir(folder.file, 0700), 0);
    CU_ASSERT_PTR_NULL(read_folder(&folder, &why));
    CU_ASSERT_STRING_EQUAL(why.text, "~/closecrm.conf: is not a regular file");

    rmdir(folder.file);
    CU_ASSERT_EQUAL(mkfifo(folder.file, 0600), 0);
    CU_ASSERT_PTR_NULL(read_folder(&folder, &why));
    CU_ASSERT_STRING_EQUAL(why.text, "~/closecrm.conf: is not a regular file");
    folder_remove(&folder);
}

/* Whatever becomes of the files: also those that hold secrets. */
static void files_are_read_as_they_were(void)
{
    static const char text[] = "data_plane_url = https://h\nwrite_key_file = secret\n";
    struct folder folder;
    struct error why;
    folder_make(&folder);
    folder_write(&folder, "closecrm.conf", text, strlen(text), 0600);
    folder_write(&folder, "secret", "the-first", 9, 0600);
    int fd = as_read_begin();
    CU_ASSERT_FATAL(fd >= 0);
    config_free(read_folder(&folder, &why));
    CU_ASSERT_TRUE(as_read_is_on_disk(fd, folder.file));
    folder_write(&folder, "secret", "the-second", 10, 0600);
    folder_write(&folder, "closecrm.conf", "wriet_key = x\n", 14, 0600);
    struct config *config = read_folder(&folder, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    CU_ASSERT_STRING_EQUAL(config->source[0].write_key.at[0], "the-first");
    config_free(config);
    CU_ASSERT_FALSE(as_read_is_on_disk(fd, folder.file));
    CU_ASSERT_EQUAL(as_read_begin(), fd); /* as the program executed next does */
    as_read_end();
    CU_ASSERT_PTR_NULL(read_folder(&folder, &why));
    close(fd);
    folder_remove(&folder);
}

/* Neither what is no number nor a descriptor that is no memory is taken for one. */
static void a_wrong_descriptor_is_none(void)
{
    static const char *const values[] = {"", "x", "0", "3x", "-1", "99999999999", "12345"};
    struct folder folder;
    struct error why;
    folder_make(&folder);
    folder_write(&folder, "closecrm.conf", WHOLE, strlen(WHOLE), 0600);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        setenv("AS_READ_CLOSECRM", values[i], 1);
        struct config *config = read_folder(&folder, &why);
        CU_ASSERT_PTR_NOT_NULL(config);
        config_free(config);
    }
    as_read_end();
    folder_remove(&folder);
}

static void chmod_is_quoted_for_the_shell(void)
{
    struct folder folder;
    struct error why = {0};
    size_t length;
    folder_make(&folder);
    folder_write(&folder, "it's mine.conf", "", 0, 0644);
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/it's mine.conf", folder.path);
    CU_ASSERT_PTR_NULL(file_read(path, &length, &why));
    folder_shorten(&folder, &why);
    CU_ASSERT_STRING_EQUAL(why.text,
                           "~/it's mine.conf: others can read it, and there are secrets in it; run: chmod o-rwx "
                           "'~/it'\\''s mine.conf'");
    folder_remove(&folder);
}

static void unreadable_file_names_the_user(void)
{
    struct folder folder;
    struct error why;
    folder_make(&folder);
    folder_write(&folder, "closecrm.conf", WHOLE, strlen(WHOLE), 0000);
    uid_t user = geteuid();
    if (user == 0)
        CU_ASSERT_EQUAL_FATAL(seteuid(65534), 0); /* root may read everything */
    struct config *config = read_folder(&folder, &why);
    if (user == 0)
        CU_ASSERT_EQUAL_FATAL(seteuid(0), 0);
    CU_ASSERT_PTR_NULL(config);
    CU_ASSERT_PTR_EQUAL(strstr(why.text, "~/closecrm.conf: user "), why.text);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, ", as which this runs, may not read it"));
    if (user == 0)
        CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "user nobody,"));
    folder_remove(&folder);
}

static void too_large_a_file(void)
{
    struct folder folder;
    struct error why;
    folder_make(&folder);
    char *text = malloc(FILE_LIMIT + 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    memset(text, '\n', FILE_LIMIT + 1);
    folder_write(&folder, "closecrm.conf", text, FILE_LIMIT + 1, 0600);
    free(text);
    CU_ASSERT_PTR_NULL(read_folder(&folder, &why));
    CU_ASSERT_STRING_EQUAL(why.text, "~/closecrm.conf: is larger than 256 KiB; is it the right file?");
    folder_remove(&folder);
}

#define WITH_FILE URL "write_key = first\nwrite_key_file = keys\n"

static void secrets_in_files_of_their_own(void)
{
    static const char keys[] = "\xef\xbb\xbf  second\r\n\n\tthird  \n\n";
    struct folder folder;
    struct error why;
    folder_make(&folder);
    folder_write(&folder, "closecrm.conf", WITH_FILE, strlen(WITH_FILE), 0600);
    folder_write(&folder, "keys", keys, strlen(keys), 0600);
    struct config *config = read_folder(&folder, &why);
    CU_ASSERT_STRING_EQUAL(why.text, "");
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    const struct strings *read = &config->source[0].write_key;
    CU_ASSERT_EQUAL_FATAL(read->count, 3);
    CU_ASSERT_STRING_EQUAL(read->at[0], "first");
    CU_ASSERT_STRING_EQUAL(read->at[1], "second");
    CU_ASSERT_STRING_EQUAL(read->at[2], "third");
    config_free(config);
    folder_remove(&folder);
}

static void mistakes_in_secret_files(void)
{
    static const struct {
        const char *keys;
        unsigned mode;
        const char *reason;
    } mistakes[] = {
        {"ok\n\ntwo keys\n", 0600, "~/keys:3: write_key must be alone in its line"},
        {"a:b\n", 0600,
         "~/keys:1: write_key must be the bare key as RudderStack shows it: no quotes, no comment, none of : ; # < >"},
        {"a\x02\n", 0600, "~/keys:1: write_key has a control character at place 2"},
        {"\n \n", 0600, "~/keys: is empty: write the write_key into it"},
        {"a\n", 0644, "~/keys: others can read it, and there are secrets in it; run: chmod o-rwx ~/keys"},
    };
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        struct folder folder;
        struct error why;
        char expected[600];
        folder_make(&folder);
        folder_write(&folder, "closecrm.conf", WITH_FILE, strlen(WITH_FILE), 0600);
        folder_write(&folder, "keys", mistakes[i].keys, strlen(mistakes[i].keys), mistakes[i].mode);
        CU_ASSERT_PTR_NULL(read_folder(&folder, &why));
        snprintf(expected, sizeof expected, AT "3: write_key_file: %s", mistakes[i].reason);
        CU_ASSERT_STRING_EQUAL(why.text, expected);
        folder_remove(&folder);
    }
    CU_ASSERT_TRUE(refuses(WITH_FILE "write_key_file = more\n", NULL,
                           AT "3: write_key_file names a file that is not there; its name is not shown, for it may be "
                              "a secret itself, which goes into that file"));
    CU_ASSERT_TRUE(refuses(URL "write_key_file = ./keys\n", NULL,
                           AT "2: write_key_file: ~/./keys: cannot be read: No such file or directory"));
}

void suite_config_files(void)
{
    static CU_TestInfo tests[] = {
        {"files that may not be used", files_that_may_not_be_used},
        {"files are read as they were", files_are_read_as_they_were},
        {"a wrong descriptor is none", a_wrong_descriptor_is_none},
        {"the chmod line is quoted for the shell", chmod_is_quoted_for_the_shell},
        {"an unreadable file names the user", unreadable_file_names_the_user},
        {"a file that is too large", too_large_a_file},
        {"secrets in files of their own", secrets_in_files_of_their_own},
        {"mistakes in files of secrets", mistakes_in_secret_files},
        CU_TEST_INFO_NULL,
    };
    suite_add("config files", NULL, NULL, tests);
}
