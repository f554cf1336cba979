/* The engine `postgresql` before what is not as it shall be: poolers, TLS that does not verify, full disks of the
 * server, standbys that are away, slow lines. Each is a sentence, and nothing is lost. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/queue_rig.h"
#include "tests/support/slow_line.h"
#include "tests/support/small_disk.h"

#define PATIENCE_MS 60000
#define LARGE ((size_t)1 << 20)

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct queue_rig_engine engine;
static struct events found;

static int begin(void)
{
    bool good = queue_rig_set_up(&made, directory, state) == 0;
    path_join(state, directory, "state");
    return !(good && queue_rig_postgresql(&engine, &made));
}

static int end(void)
{
    queue_rig_engine_end(&engine);
    return queue_rig_tear_down(directory, &found);
}

static void ask(const char *sql)
{
    char *text = postgresql_run(engine.url, sql);
    check(text != NULL, "%s", sql);
    free(text);
}

/* Adds a line to a file of the server's. */
static void add_line(const char *name, const char *line)
{
    char data[PATH_SIZE], path[PATH_SIZE];
    path_join(data, engine.postgresql.directory, "data");
    path_join(path, data, name);
    FILE *file = fopen(path, "ae");
    check(file != NULL && fprintf(file, "%s\n", line) > 0 && fclose(file) == 0, "%s can be changed", path);
}

static bool run_tool(const char *const *arguments)
{
    struct process tool;
    int status = -1;
    const struct process_options options = {
        .arguments = arguments, .directory = engine.postgresql.directory, .log = "/dev/null"};
    return process_start(&tool, &options) && process_wait(&tool, PATIENCE_MS, &status) && status == 0;
}

static const char *database_name(void)
{
    static char name[40];
    const char *at = strstr(engine.url, "/queue_");
    snprintf(name, sizeof name, "%.*s", at == NULL ? 0 : (int)strcspn(at + 1, "?"), at == NULL ? "" : at + 1);
    return name;
}

/* ---- poolers ---- */

/* One connection of its hands the same lock to everybody. With options, and where somebody told it to ignore them. */
static void a_pooler_is_refused(void)
{
    static const char *const ways[] = {"", "ignore_startup_parameters = options, extra_float_digits"};
    queue_rig_new(&engine, &made);
    char url[POSTGRESQL_URL], name[40];
    snprintf(url, sizeof url, "%s", engine.url);
    snprintf(name, sizeof name, "%s", database_name());
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct process pooler;
        char place[PATH_SIZE];
        CU_ASSERT_TRUE_FATAL(temporary_make(place));
        if (postgresql_pooler(&engine.postgresql, place, ways[i], &pooler)) {
            snprintf(engine.url, sizeof engine.url, "postgresql://tests@/%s?host=%s&port=6432", name, place);
            queue_rig_refused(&made, QUEUE_BROKEN, "queue_url leads to a pooler (PgBouncer)");
            process_stop(&pooler, PATIENCE_MS);
        } else
            printf("(skipped: no PgBouncer) ");
        temporary_remove(place);
    }
    snprintf(engine.url, sizeof engine.url, "%s", url);
    ask("DO $$BEGIN ASSERT to_regclass('public.event') IS NULL; END$$"); /* where tables land without a search_path */
}

/* ---- TLS ---- */

static char address[32]; /* of the loopback network, and nobody else's */

static void make_certificate(const char *name)
{
    char subject[64], alternative[64], key[PATH_SIZE], certificate[PATH_SIZE];
    snprintf(subject, sizeof subject, "/CN=%s", name);
    snprintf(alternative, sizeof alternative, "subjectAltName=IP:%s", name);
    path_join(key, engine.postgresql.directory, "server.key");
    path_join(certificate, engine.postgresql.directory, "server.crt");
    const char *const arguments[] = {"openssl", "req", "-x509", "-newkey",   "rsa:2048", "-nodes",
                                     "-days",   "2",   "-subj", subject,     "-addext",  alternative,
                                     "-keyout", key,   "-out",  certificate, NULL};
    CU_ASSERT_TRUE_FATAL(run_tool(arguments));
}

static void listen_with_tls(void)
{
    char line[PATH_SIZE + 40];
    snprintf(address, sizeof address, "127.93.%d.%d", (int)getpid() / 250 % 250 + 1, (int)getpid() % 250 + 1);
    make_certificate("127.0.0.9");
    process_stop(&engine.postgresql.server, PATIENCE_MS);
    snprintf(line, sizeof line, "listen_addresses = '%s'", address);
    add_line("postgresql.conf", line);
    snprintf(line, sizeof line, "ssl_cert_file = '%s/server.crt'", engine.postgresql.directory);
    add_line("postgresql.conf", line);
    snprintf(line, sizeof line, "ssl_key_file = '%s/server.key'", engine.postgresql.directory);
    add_line("postgresql.conf", line);
    add_line("pg_hba.conf", "host all all 127.0.0.0/8 trust");
    CU_ASSERT_TRUE_FATAL(postgresql_begin(&engine.postgresql));
}

static void begin_anew(void)
{
    process_stop(&engine.postgresql.server, PATIENCE_MS);
    CU_ASSERT_TRUE_FATAL(postgresql_begin(&engine.postgresql));
}

static void a_server_that_cannot_be_verified_is_refused(void)
{
    static char authority[PATH_SIZE];
    char name[40];
    queue_rig_new(&engine, &made);
    snprintf(name, sizeof name, "%s", database_name());
    listen_with_tls();
    /* a handshake on a busy machine takes longer than the usual 2 s */
    snprintf(engine.url, sizeof engine.url, "postgresql://tests@%s/%s?connect_timeout=50", address, name);
    queue_rig_refused(&made, QUEUE_UNKNOWN, "its server has no TLS, which queue_url asks for");
    add_line("postgresql.conf", "ssl = on");
    begin_anew();
    queue_rig_refused(&made, QUEUE_UNKNOWN, "certificate verify failed");
    path_join(authority, engine.postgresql.directory, "server.crt");
    made.config.ca_file = authority;
    queue_rig_refused(&made, QUEUE_UNKNOWN, "does not match host name");
    make_certificate(address);
    begin_anew();
    struct queue *queue = queue_rig_open(&made);
    queue_rig_append(queue, "one", "over TLS");
    queue_close(queue);
    made.config.ca_file = NULL;
    snprintf(engine.url, sizeof engine.url, "postgresql://tests@/%s?host=%s", name, engine.postgresql.directory);
}

/* ---- full disks ---- */

/* Of what nothing can be packed. */
static char *large_body(size_t length)
{
    char *body = malloc(length);
    unsigned random = 1;
    CU_ASSERT_PTR_NOT_NULL_FATAL(body);
    for (size_t i = 0; i < length; i++)
        body[i] = (char)('!' + rand_r(&random) % 90);
    return body;
}

/* Appends until one is not stored. Returns how many were. */
static int append_until(struct queue *queue, enum queue_result expected, struct error *why)
{
    char *body = large_body(LARGE);
    int stored = 0;
    enum queue_result result = QUEUE_STORED;
    while (result == QUEUE_STORED && stored < 200) {
        result = queue_append(queue, "one", body, LARGE, clock_now() + 8000, why);
        stored += result == QUEUE_STORED;
    }
    free(body);
    check(result == expected, "it ends as %d: %d, %s", (int)expected, (int)result, why->text);
    return stored;
}

static int count_all(struct queue *queue)
{
    struct error why = {0};
    queue_rig_claim(queue);
    int count = 0;
    uint64_t after = 0;
    while (queue_next(queue, "one", after, 5, 1 << 26, &found, &why) > 0) {
        count += (int)found.count;
        after = found.at[found.count - 1].id;
    }
    CU_ASSERT_STRING_EQUAL(why.text, "");
    return count;
}

/* A folder on a small disk, with room for what is there already; false where none can be mounted. */
static bool mount_small(const char *name, const char *size, char path[PATH_SIZE])
{
    path_join(path, engine.postgresql.directory, name);
    const char *const arguments[] = {"mkdir", path, NULL};
    return run_tool(arguments) && small_disk_mount(path, size);
}

/* The tables' disk: what is refused is full, what waits is settled, and room makes it good. */
static void a_full_disk_of_the_tables_is_said(void)
{
    char path[PATH_SIZE], sql[PATH_SIZE + 80];
    struct error why = {0};
    queue_rig_new(&engine, &made);
    process_stop(&engine.postgresql.server, PATIENCE_MS);
    bool mounted = mount_small("tables", "60m", path);
    CU_ASSERT_TRUE_FATAL(postgresql_begin(&engine.postgresql)); /* it sees the disk */
    if (!mounted)
        return;
    snprintf(sql, sizeof sql, "CREATE TABLESPACE small LOCATION '%s'", path);
    ask(sql);
    ask("SELECT 1");
    struct queue *queue = queue_rig_open(&made);
    queue_rig_append(queue, "one", "first");
    ask("ALTER TABLE closecrm.event SET TABLESPACE small");
    int stored = append_until(queue, QUEUE_FULL, &why);
    check(stored > 0 && strstr(why.text, "No space left on device") != NULL, "after %d: %s", stored, why.text);
    CU_ASSERT_EQUAL(count_all(queue), stored + 1);
    struct verdict verdict = {.id = 1, .kind = VERDICT_DELIVERED};
    check(queue_settle(queue, "one", &verdict, 1, &why), "what waits is settled: %s", why.text);
    queue_close(queue);
    ask("ALTER TABLE closecrm.event SET TABLESPACE pg_default");
    ask("DROP TABLESPACE small");
    queue = queue_rig_open(&made);
    queue_rig_append(queue, "one", "there is room");
    CU_ASSERT_EQUAL(count_all(queue), stored + 1);
    queue_close(queue);
    small_disk_unmount(path);
}

/* The log's disk: the server ends. What was answered 200 is there when it has room again. */
static void a_full_disk_of_the_log_loses_nothing(void)
{
    char path[PATH_SIZE], data[PATH_SIZE], filler[PATH_SIZE], log[PATH_SIZE];
    struct error why = {0};
    queue_rig_new(&engine, &made);
    struct queue *queue = queue_rig_open(&made);
    queue_rig_append(queue, "one", "first");
    queue_close(queue);
    process_stop(&engine.postgresql.server, PATIENCE_MS);
    path_join(data, engine.postgresql.directory, "data");
    path_join(log, data, "pg_wal");
    bool mounted = mount_small("log-disk", "160m", path);
    const char *const move[] = {"sh", "-c", "cp -r \"$0/.\" \"$1\" && rm -r \"$0\" && ln -s \"$1\" \"$0\"",
                                log,  path, NULL};
    if (mounted)
        CU_ASSERT_TRUE_FATAL(run_tool(move));
    CU_ASSERT_TRUE_FATAL(postgresql_begin(&engine.postgresql));
    if (!mounted)
        return;
    small_disk_fill(path, "filler");
    queue = queue_rig_open(&made);
    int stored = append_until(queue, QUEUE_UNKNOWN, &why);
    check(strstr(why.text, "the database") != NULL, "after %d: %s", stored, why.text);
    queue_close(queue);
    path_join(filler, path, "filler");
    CU_ASSERT_EQUAL(unlink(filler), 0);
    process_stop(&engine.postgresql.server, PATIENCE_MS);
    CU_ASSERT_TRUE_FATAL(postgresql_begin(&engine.postgresql));
    queue = queue_rig_open(&made);
    int left = count_all(queue); /* what was not answered may be there, or not */
    check(left == stored + 1 || left == stored + 2, "%d of %d are there", left, stored + 1);
    queue_close(queue);
    const char *const back[] = {"sh", "-c", "rm \"$0\" && cp -r \"$1\" \"$0\"", log, path, NULL};
    process_stop(&engine.postgresql.server, PATIENCE_MS);
    CU_ASSERT_TRUE_FATAL(run_tool(back));
    CU_ASSERT_TRUE_FATAL(postgresql_begin(&engine.postgresql));
    small_disk_unmount(path);
}

/* ---- slow lines ---- */

/* An event takes longer than the server may take for an answer. Who gives up its event does not hold up the next one
 * until that is over, and each is there once. */
static void a_slow_line_takes_a_large_event(void)
{
    enum { BYTES = 12 << 20, RATE = 1600000 };
    struct slow_line line;
    char place[PATH_SIZE], path[PATH_SIZE], to[PATH_SIZE], url[POSTGRESQL_URL];
    struct error why = {0};
    queue_rig_new(&engine, &made);
    CU_ASSERT_TRUE_FATAL(temporary_make(place));
    path_join(path, place, ".s.PGSQL.5432");
    path_join(to, engine.postgresql.directory, ".s.PGSQL.5432");
    CU_ASSERT_TRUE_FATAL(slow_line_start(&line, path, to, RATE));
    snprintf(url, sizeof url, "%s", engine.url);
    snprintf(engine.url, sizeof engine.url, "postgresql://tests@/%s?host=%s", database_name(), place);
    struct queue *queue = queue_rig_open(&made);
    char *body = large_body(BYTES);
    moment began = clock_now();
    enum queue_result result = queue_append(queue, "one", body, BYTES, began + PATIENCE_MS, &why);
    printf("(%lld ms) ", (long long)(clock_now() - began));
    check(result == QUEUE_STORED, "it is stored: %d, %s", (int)result, why.text);
    atomic_store(&line.rate, RATE / 4);
    CU_ASSERT_EQUAL(queue_append(queue, "one", body, BYTES, clock_now() + 1000, &why), QUEUE_UNKNOWN);
    result = queue_append(queue, "one", "small", 5, clock_now() + 8000, &why);
    check(result == QUEUE_STORED, "the next one is stored: %d, %s", (int)result, why.text);
    queue_close(queue);
    slow_line_stop(&line);
    snprintf(engine.url, sizeof engine.url, "%s", url);
    CU_ASSERT_STRING_EQUAL(postgresql_ask(engine.url, "SELECT count(*) FROM closecrm.event"), "2");
    free(body);
    temporary_remove(place);
}

/* ---- what `check` says ---- */

static struct queue_setup describe(void)
{
    struct error why = {0};
    struct queue_setup setup;
    struct queue *queue = queue_rig_open(&made);
    check(queue_describe(queue, &setup, &why), "it is described: %s", why.text);
    queue_close(queue);
    return setup;
}

static void reload(const char *sql)
{
    ask(sql);
    ask("SELECT pg_reload_conf()");
    usleep(300000);
}

/* A session that is called so, until its pipe is closed. */
static FILE *open_session(const char *name)
{
    char line[POSTGRESQL_URL + 200];
    snprintf(line, sizeof line, "PGAPPNAME='%s' psql -X -q -A -t -d '%s' >/dev/null 2>&1", name, engine.url);
    FILE *session = popen(line, "w"); /* NOLINT(cert-env33-c): of our own making */
    moment deadline = clock_now() + PATIENCE_MS;
    char sql[160];
    snprintf(sql, sizeof sql, "SELECT count(*) FROM pg_stat_activity WHERE application_name = '%s'", name);
    while (session != NULL && strcmp(postgresql_ask(engine.url, sql), "1") != 0 && clock_now() < deadline)
        usleep(20000);
    return session;
}

static void an_old_patroni_and_one_without_a_quorum_are_told(void)
{
    static const struct {
        const char *sessions[2], *names;
        const char *words; /* NULL: none of Patroni */
    } cases[] = {
        {{"Patroni"}, "ANY 1 (n2, n3)", "its Patroni is older than 3.2"},
        {{"Patroni", "Patroni heartbeat"}, "ANY 1 (n2, n3)", NULL},
        {{"Patroni restapi"}, "any 1 (n2, n3)", NULL},
        {{"Patroni heartbeat"}, "n2", "commits do not wait for a quorum"},
        {{"Patroni heartbeat"}, "", "commits do not wait for a quorum"},
        {{"Patroni ctl"}, "n2", NULL},
        {{NULL}, "n2", NULL},
    };
    queue_rig_new(&engine, &made);
    describe(); /* makes the tables, while nobody waits for a standby */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char sql[120];
        FILE *session[2] = {NULL, NULL};
        for (size_t j = 0; j < 2 && cases[i].sessions[j] != NULL; j++)
            session[j] = open_session(cases[i].sessions[j]);
        snprintf(sql, sizeof sql, "ALTER SYSTEM SET synchronous_standby_names = '%s'", cases[i].names);
        reload(sql);
        struct queue_setup setup = describe();
        const char *words = cases[i].words == NULL ? "Patroni" : cases[i].words;
        check((strstr(setup.worry.text, words) != NULL) == (cases[i].words != NULL), "case %zu: %s", i,
              setup.worry.text);
        for (size_t j = 0; j < 2; j++) {
            if (session[j] != NULL)
                pclose(session[j]);
        }
    }
    reload("ALTER SYSTEM RESET synchronous_standby_names");
}

static void standbys_and_connections_are_told(void)
{
    char url[POSTGRESQL_URL];
    queue_rig_new(&engine, &made);
    struct queue_setup setup = describe();
    CU_ASSERT_NSTRING_EQUAL(setup.server, "PostgreSQL ", 11);
    CU_ASSERT_NSTRING_EQUAL(setup.copies, "no standby is waited for", 24);
    CU_ASSERT_PTR_NOT_NULL(strstr(setup.connections, " are in use"));
    CU_ASSERT_PTR_NOT_NULL(strstr(setup.worry.text, "fsync or full_page_writes is off"));
    reload("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (n2, n3)'");
    setup = describe();
    CU_ASSERT_STRING_EQUAL(setup.copies, "each commit waits for ANY 1 (n2, n3); connected: none");
    CU_ASSERT_PTR_NOT_NULL(strstr(setup.worry.text, "no standby is there that commits wait for"));
    ask("SET synchronous_commit = off; CREATE ROLE narrow LOGIN CONNECTION LIMIT 1; GRANT ALL ON SCHEMA closecrm TO "
        "narrow;"
        "GRANT ALL ON ALL TABLES IN SCHEMA closecrm TO narrow");
    snprintf(url, sizeof url, "%s", engine.url);
    snprintf(engine.url, sizeof engine.url, "postgresql://narrow@%s", strstr(url, "/queue_"));
    setup = describe();
    CU_ASSERT_PTR_NOT_NULL(strstr(setup.copies, "GRANT pg_read_all_stats"));
    CU_ASSERT_STRING_EQUAL(setup.connections, "1 of 1 are in use");
    CU_ASSERT_PTR_NOT_NULL(strstr(setup.worry.text, "its connections are nearly used up"));
    snprintf(engine.url, sizeof engine.url, "%s", url);
    reload("ALTER SYSTEM RESET synchronous_standby_names");
}

/* A table that is written anew is another file, and each session sees that by losing itself; nothing is wrong. */
static void look_after(struct queue *queue, const char *sql)
{
    struct error why = {0};
    struct counts counts;
    struct strings names = {0};
    struct queue_room room;
    struct queue_setup setup = {.worry = {.text = ""}};
    struct notes notes = {.tries = 0};
    const uint64_t none = 1000;
    size_t done;
    check(queue_probe(queue, true, &why), "probe before %s: %s", sql, why.text);
    ask(sql);
    check(queue_probe(queue, true, &why), "probe after %s: %s", sql, why.text);
    ask(sql);
    check(queue_count(queue, "one", &counts, &why) && counts.waiting == 1, "count after %s: %s", sql, why.text);
    ask(sql);
    check(queue_names(queue, &names, &why) && names.count == 1, "names after %s: %s", sql, why.text);
    queue_names_free(&names);
    ask(sql);
    check(queue_list(queue, "one", 0, 1, 1000, &found, &why) == 1, "list after %s: %s", sql, why.text);
    ask(sql);
    check(queue_room(queue, &room, &why), "room after %s: %s", sql, why.text);
    ask(sql);
    check(queue_describe(queue, &setup, &why), "describe after %s: %s", sql, why.text);
    ask(sql);
    check(queue_notes(queue, "one", &notes, &why), "notes after %s: %s", sql, why.text);
    ask(sql);
    usleep(1100000); /* then the connection is tried before anything is changed */
    check(queue_discard(queue, &none, 1, &done, &why), "discard after %s: %s", sql, why.text);
}

static void who_looks_sees_nothing_of_a_session_that_ended(void)
{
    queue_rig_new(&engine, &made);
    struct queue *queue = queue_rig_open(&made);
    queue_rig_append(queue, "one", "first");
    look_after(queue, "VACUUM FULL closecrm.source");
    look_after(queue, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%looks'");
    queue_close(queue);
}

void suite_queue_postgresql_faults(void)
{
    static CU_TestInfo tests[] = {
        {"a pooler is refused", a_pooler_is_refused},
        {"a server that cannot be verified is refused", a_server_that_cannot_be_verified_is_refused},
        {"a full disk of the tables is said", a_full_disk_of_the_tables_is_said},
        {"a full disk of the log loses nothing", a_full_disk_of_the_log_loses_nothing},
        {"a slow line takes a large event", a_slow_line_takes_a_large_event},
        {"who looks sees nothing of a session that ended", who_looks_sees_nothing_of_a_session_that_ended},
        {"an old Patroni and one without a quorum are told", an_old_patroni_and_one_without_a_quorum_are_told},
        {"standbys and connections are told", standbys_and_connections_are_told},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue postgresql faults", begin, end, tests);
}
