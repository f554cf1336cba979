/* See repair_rig.h. */
#include "tests/support/repair_rig.h"

#include <CUnit/CUnit.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/check.h"

int repair_rig_set_up(struct repair_rig *rig)
{
    return queue_rig_set_up_quiet(&rig->made, rig->directory, rig->state);
}

int repair_rig_tear_down(struct repair_rig *rig)
{
    return queue_rig_tear_down_quiet(rig->directory, &rig->found);
}

void repair_rig_use(struct repair_rig *rig, const char *name)
{
    path_join(rig->state, rig->directory, name);
}

void repair_rig_remove(const struct repair_rig *rig)
{
    temporary_remove(rig->state);
}

struct queue *repair_rig_open(const struct repair_rig *rig)
{
    return queue_rig_open(&rig->made);
}

void repair_rig_mark(const struct repair_rig *rig)
{
    CU_ASSERT_TRUE(temporary_write(rig->state, "damaged", 0600, "", 0));
}

int repair_rig_list(struct repair_rig *rig, struct queue *queue, uint64_t *ids, int most)
{
    struct error why = {0};
    int count = 0, n;
    uint64_t after = 0;
    while ((n = queue_list(queue, "one", after, 500, 1 << 20, &rig->found, &why)) > 0) {
        for (int i = 0; i < n && count < most; i++)
            ids[count++] = after = rig->found.at[i].id;
    }
    check(n == 0, "it can be read: %s", why.text);
    return count;
}

void repair_rig_fill(const char *in, int count, bool checkpoint)
{
    char path[PATH_SIZE], text[200];
    sqlite3 *db = NULL;
    int yes = 1;
    path_join(path, in, "queue.db");
    CU_ASSERT_EQUAL(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_file_control(db, "main", SQLITE_FCNTL_PERSIST_WAL, &yes);
    snprintf(text, sizeof text,
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
             " INSERT INTO event_1 (received, body) SELECT 1790000000000 + i, zeroblob(100) FROM n",
             count);
    CU_ASSERT_EQUAL(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    if (checkpoint)
        CU_ASSERT_EQUAL(sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

long repair_rig_page(const char *in, const char *table, const char *wanted, int beyond)
{
    char path[PATH_SIZE], text[300];
    sqlite3 *db = NULL;
    sqlite3_stmt *find = NULL;
    long page = -1;
    path_join(path, in, "queue.db");
    CU_ASSERT_EQUAL(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    snprintf(
        text, sizeof text,
        "SELECT pageno FROM dbstat WHERE name = '%s' AND (%s) ORDER BY pageno LIMIT 1 OFFSET %d + (SELECT count(*) / 2"
        " FROM dbstat WHERE name = '%s' AND (%s))",
        table, wanted, beyond, table, wanted);
    CU_ASSERT_EQUAL(sqlite3_prepare_v2(db, text, -1, &find, NULL), SQLITE_OK);
    if (sqlite3_step(find) == SQLITE_ROW)
        page = (long)sqlite3_column_int64(find, 0) - 1;
    sqlite3_finalize(find);
    sqlite3_close(db);
    CU_ASSERT_TRUE_FATAL(page > 0);
    return page;
}

int repair_rig_spoil(const char *in, long page, int byte)
{
    char path[PATH_SIZE];
    path_join(path, in, "queue.db");
    FILE *file = fopen(path, "r+e");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fseek(file, page * REPAIR_PAGE + 3, SEEK_SET);
    int rows = fgetc(file) * 256;
    rows += fgetc(file);
    fseek(file, page * REPAIR_PAGE, SEEK_SET);
    for (int i = 0; i < REPAIR_PAGE; i++)
        fputc(byte, file);
    fclose(file);
    return rows;
}
