/* Between disk_vfs.c, which calls these as SQLite calls its file system, and the record of them. Nothing is recorded
 * but between disk_record and disk_recorded, and of no other files than these. Any thread. */
#ifndef TESTS_SUPPORT_DISK_RECORD_H
#define TESTS_SUPPORT_DISK_RECORD_H

#include <stddef.h>

/* The files of the database that survive, by their numbers; others are SQLite's own temporary ones. */
#define DISK_FILES 2
#define DISK_LOG 1
extern const char *const disk_names[DISK_FILES];

void disk_record_write(size_t number, const void *bytes, size_t length, size_t at);
void disk_record_truncate(size_t number, size_t size);

/* A sync that has ended. covered: disk_record_length when it began. */
void disk_record_sync(size_t number, size_t covered);
size_t disk_record_length(void);

#endif
