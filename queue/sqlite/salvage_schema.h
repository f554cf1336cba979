/* A damaged database whose first page is lost, and with it the header and the places of all tables: a copy of it is
 * given a first page again, made from what is known of how this program lays out its databases. */
#ifndef QUEUE_SQLITE_SALVAGE_SCHEMA_H
#define QUEUE_SQLITE_SALVAGE_SCHEMA_H

#include <stdbool.h>

#include "queue/sqlite/directory.h"

/* Whether the database says which tables it has. True, too, where something other than damage is in the way. */
bool salvage_has_schema(const char *path);

/* Copies the database at old_path, with its log, into the directory and gives the copy a first page. new_path: an empty
 * database of this release, closed. *copied: the copy can be used, and its path is in copy_path; else the first page is
 * not what is wrong, or the database was not laid out by this program, and nothing is left. Returns false with the
 * reason when anything but the damage stands in the way; then salvage_remove_copy is still to be called. */
bool salvage_make_schema(const char *old_path, const char *new_path, const char *directory, char copy_path[STATE_PATH],
                         bool *copied, struct error *why);

/* Removes the copy and what SQLite made beside it. None there is fine. */
void salvage_remove_copy(const char *directory);

#endif
