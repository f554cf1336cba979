/* What the tests of the configuration share: a folder of their own, and reading a text as if it were the file. */
#ifndef TESTS_SUPPORT_CONFIG_TEXT_H
#define TESTS_SUPPORT_CONFIG_TEXT_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "config/config.h"

/* 64 digits each. */
#define SIGNATURE_1 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define SIGNATURE_2 "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"

/* Enough for a configuration that is whole: its first three lines. */
#define WHOLE                                                                                                          \
    "data_plane_url = https://rs.example.com\nwrite_key = 2bKeyKeyKeyKeyKey1\nsignature_key = " SIGNATURE_1 "\n"

struct folder {
    char path[PATH_MAX];
    char file[PATH_MAX + 32]; /* path/closecrm.conf */
};

/* Makes a folder, with certificates.pem in it; ends the program when that fails. */
void folder_make(struct folder *folder);

/* Removes it with all that is in it. */
void folder_remove(struct folder *folder);

/* Writes a file into it with these rights (0600). */
void folder_write(const struct folder *folder, const char *name, const char *text, size_t length, unsigned mode);

/* Reads text as closecrm.conf in a folder of its own, and an environment (NULL: empty) that ends with NULL. In the
 * reason the folder's path is "~". */
struct config *read_text(const char *text, char *const environment[], struct error *why);

/* Puts ~ for the folder in a reason. */
void folder_shorten(const struct folder *folder, struct error *why);

/* Whether reading text fails with this very reason; prints the reason when not. */
bool refuses(const char *text, char *const environment[], const char *reason);

#endif
