/* SQLite's json_valid is strict about the grammar, in all its versions alike, and does not look at the encoding. */
#include "tests/support/strict_json.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Opening a database takes longer than most texts: one serves all threads, one after the other. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static sqlite3_stmt *statement;

/* The length of the character that begins here; 0: this is no UTF-8, or a NUL. */
static size_t character(const char *at, size_t left)
{
    static const uint32_t smallest[] = {0, 1, 0x80, 0x800, 0x10000};
    unsigned char lead = (unsigned char)*at;
    size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if ((lead >= 0x80 && lead < 0xC0) || lead > 0xF7 || left < length)
        return 0;
    uint32_t code = length == 1 ? lead : lead & (0x7FU >> length);
    for (size_t i = 1; i < length; i++) {
        if (((unsigned char)at[i] & 0xC0) != 0x80)
            return 0;
        code = code << 6 | ((unsigned char)at[i] & 0x3F);
    }
    bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    return code >= smallest[length] && code <= 0x10FFFF && !surrogate ? length : 0;
}

static bool is_utf8(struct slice text)
{
    size_t at = 0;
    size_t length = 1;
    while (at < text.length && length != 0) {
        length = character(text.at + at, text.length - at);
        at += length;
    }
    return length != 0;
}

/* Called under the mutex. */
static void prepare(void)
{
    sqlite3 *database;
    if (sqlite3_open(":memory:", &database) != SQLITE_OK ||
        sqlite3_prepare_v2(database, "SELECT json_valid(?1)", -1, &statement, NULL) != SQLITE_OK) {
        fprintf(stderr, "SQLite does not read JSON: %s\n", sqlite3_errmsg(database));
        abort();
    }
}

bool is_strict_json(struct slice text)
{
    if (!is_utf8(text))
        return false;
    pthread_mutex_lock(&mutex);
    if (statement == NULL)
        prepare();
    sqlite3_bind_text(statement, 1, text.at, (int)text.length, SQLITE_STATIC);
    bool valid = sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_int(statement, 0) != 0;
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    pthread_mutex_unlock(&mutex);
    return valid;
}
