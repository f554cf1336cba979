/* See config_text.h. */
#include "tests/support/config_text.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char certificate[] = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n";

void folder_make(struct folder *folder)
{
    const char *temporary = getenv("TMPDIR");
    char pattern[PATH_MAX];
    snprintf(pattern, sizeof pattern, "%s/closecrm-config-XXXXXX", temporary == NULL ? "/tmp" : temporary);
    if (mkdtemp(pattern) == NULL || realpath(pattern, folder->path) == NULL) {
        perror(pattern);
        exit(1);
    }
    snprintf(folder->file, sizeof folder->file, "%s/closecrm.conf", folder->path);
    folder_write(folder, "certificates.pem", certificate, sizeof certificate - 1, 0644);
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

void folder_remove(struct folder *folder)
{
    nftw(folder->path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void folder_write(const struct folder *folder, const char *name, const char *text, size_t length, unsigned mode)
{
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/%s", folder->path, name);
    /* Not O_TRUNC: what is written after it, ext4 brings to the disk at once. */
    int descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (descriptor < 0 || write(descriptor, text, length) != (ssize_t)length ||
        ftruncate(descriptor, (off_t)length) != 0 || fchmod(descriptor, mode) != 0) {
        perror(path);
        exit(1);
    }
    close(descriptor);
}

void folder_shorten(const struct folder *folder, struct error *why)
{
    size_t length = strlen(folder->path);
    for (char *at; (at = strstr(why->text, folder->path)) != NULL;) {
        *at = '~';
        memmove(at + 1, at + length, strlen(at + length) + 1);
    }
}

struct config *read_text(const char *text, char *const environment[], struct error *why)
{
    static char *const nothing[] = {NULL};
    struct folder folder = {.path = ""};
    folder_make(&folder);
    folder_write(&folder, "closecrm.conf", text, strlen(text), 0600);
    struct config *config = config_read(folder.file, environment == NULL ? nothing : environment, why);
    folder_shorten(&folder, why);
    folder_remove(&folder);
    return config;
}

bool refuses(const char *text, char *const environment[], const char *reason)
{
    struct error why = {0};
    struct config *config = read_text(text, environment, &why);
    bool as_expected = config == NULL && strcmp(why.text, reason) == 0;
    if (!as_expected)
        fprintf(stderr, "\nexpected: %s\n   found: %s\n", reason, config == NULL ? why.text : "it was read");
    config_free(config);
    return as_expected;
}
