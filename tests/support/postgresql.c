/* See postgresql.h. The server refuses to run as root, so it runs as user_of_children, as all children do. */
#include "tests/support/postgresql.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define PATIENCE_MS 60000
#define VERSIONS "/usr/lib/postgresql"

/* The newest version's program. Returns false when there is none. */
static bool find_program(const char *name, char path[PATH_SIZE])
{
    DIR *versions = opendir(VERSIONS);
    int newest = 0;
    for (struct dirent *one; versions != NULL && (one = readdir(versions)) != NULL;) {
        int version = (int)strtol(one->d_name, NULL, 10);
        newest = version > newest ? version : newest;
    }
    if (versions != NULL)
        closedir(versions);
    snprintf(path, PATH_SIZE, VERSIONS "/%d/bin/%s", newest, name);
    return access(path, X_OK) == 0;
}

bool postgresql_is_there(void)
{
    char path[PATH_SIZE];
    return find_program("initdb", path);
}

static void show_log(const struct postgresql *postgresql)
{
    char *log = temporary_read(postgresql->directory, "log");
    fprintf(stderr, "PostgreSQL of the tests:\n%s\n", log == NULL ? "no log" : log);
    free(log);
}

static bool run(const struct postgresql *postgresql, const char *const *arguments)
{
    char log[PATH_SIZE];
    struct process process;
    int status = -1;
    path_join(log, postgresql->directory, "log");
    const struct process_options options = {.arguments = arguments, .directory = postgresql->directory, .log = log};
    return process_start(&process, &options) && process_wait(&process, PATIENCE_MS, &status) && status == 0;
}

bool postgresql_begin(struct postgresql *postgresql)
{
    char program[PATH_SIZE], data[PATH_SIZE], log[PATH_SIZE], socket[PATH_SIZE];
    path_join(data, postgresql->directory, "data");
    path_join(log, postgresql->directory, "log");
    path_join(socket, postgresql->directory, ".s.PGSQL.5432");
    const char *const arguments[] = {program, "-D", data, "-k", postgresql->directory, NULL};
    const struct process_options options = {.arguments = arguments, .directory = postgresql->directory, .log = log};
    char url[POSTGRESQL_URL];
    snprintf(url, sizeof url, "postgresql://tests@/postgres?host=%s", postgresql->directory);
    if (!find_program("postgres", program) || !process_start(&postgresql->server, &options))
        return false;
    for (moment until = clock_now() + PATIENCE_MS; process_alive(&postgresql->server) && clock_now() < until;) {
        char *one = postgresql_run(url, "SELECT 1");
        bool works = one != NULL && strcmp(one, "1") == 0;
        free(one);
        if (works)
            return true;
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    process_stop(&postgresql->server, PATIENCE_MS);
    return false;
}

bool postgresql_start(struct postgresql *postgresql, const char *settings)
{
    static const char usual[] = "listen_addresses = ''\nfsync = off\nmax_connections = 60\nshared_buffers = 32MB\n"
                                "log_min_messages = fatal\ndynamic_shared_memory_type = mmap\n";
    static const char hba[] = "local all secret scram-sha-256\nlocal all all trust\n";
    char program[PATH_SIZE], data[PATH_SIZE], *all = NULL;
    *postgresql = (struct postgresql){.databases = 0};
    if (!find_program("initdb", program) || !temporary_make(postgresql->directory))
        return false;
    path_join(data, postgresql->directory, "data");
    const char *const arguments[] = {program,     "-D",         data, "-U",   "tests", "--auth=trust",
                                     "--no-sync", "--locale=C", "-E", "UTF8", NULL};
    bool good = run(postgresql, arguments) && asprintf(&all, "%s%s", usual, settings) > 0 &&
                temporary_write(data, "postgresql.conf", 0644, all, strlen(all));
    free(all);
    good = good && temporary_write(data, "pg_hba.conf", 0600, hba, sizeof hba - 1);
    if (good && postgresql_begin(postgresql))
        return true;
    show_log(postgresql);
    postgresql_stop(postgresql);
    return false;
}

/* Each of the server's children leads a process group of its own. The server itself is the first to be stopped, for it
 * starts others, and the last to be killed, for they are found by it. */
void postgresql_signal(const struct postgresql *postgresql, int signal)
{
    DIR *processes = opendir("/proc");
    if (signal == SIGSTOP)
        kill(postgresql->server.pid, signal);
    for (struct dirent *one; processes != NULL && (one = readdir(processes)) != NULL;) {
        char path[PATH_SIZE];
        int pid = (int)strtol(one->d_name, NULL, 10), parent = 0;
        snprintf(path, sizeof path, "/proc/%d/stat", pid);
        FILE *file = pid > 0 ? fopen(path, "re") : NULL;
        if (file == NULL)
            continue;
        if (fscanf(file, "%*d (%*[^)]) %*c %d", &parent) == 1 && parent == postgresql->server.pid) /* NOLINT */
            kill(pid, signal);
        fclose(file);
    }
    if (processes != NULL)
        closedir(processes);
    kill(postgresql->server.pid, signal);
}

bool postgresql_crash(struct postgresql *postgresql)
{
    postgresql_signal(postgresql, SIGSTOP); /* from here on it starts none */
    postgresql_signal(postgresql, SIGKILL);
    process_stop(&postgresql->server, PATIENCE_MS);
    bool begun = false; /* one that was being forked just then lives for a moment, and holds on to the memory */
    for (moment until = clock_now() + PATIENCE_MS; !begun && clock_now() < until;)
        begun = postgresql_begin(postgresql);
    return begun;
}

void postgresql_stop(struct postgresql *postgresql)
{
    if (postgresql->server.pid > 0) {
        postgresql_signal(postgresql, SIGCONT);
        kill(postgresql->server.pid, SIGQUIT);
        process_stop(&postgresql->server, PATIENCE_MS);
    }
    if (postgresql->directory[0] != '\0')
        temporary_remove(postgresql->directory);
    *postgresql = (struct postgresql){.databases = 0};
}

bool postgresql_pooler(const struct postgresql *postgresql, const char *place, const char *more, struct process *pooler)
{
    char text[PATH_SIZE * 4], path[PATH_SIZE], log[PATH_SIZE], socket[PATH_SIZE];
    if (access("/usr/sbin/pgbouncer", X_OK) != 0)
        return false;
    path_join(log, place, "log");
    path_join(socket, place, ".s.PGSQL.6432");
    int length = snprintf(text, sizeof text,
                          "[databases]\n* = host=%s user=tests\n[pgbouncer]\nlisten_addr =\nunix_socket_dir = %s\n"
                          "auth_type = any\npool_mode = transaction\n%s\n",
                          postgresql->directory, place, more);
    path_join(path, place, "pgbouncer.ini");
    const char *const arguments[] = {"/usr/sbin/pgbouncer", "-q", path, NULL};
    const struct process_options options = {.arguments = arguments, .directory = place, .log = log};
    return temporary_write(place, "pgbouncer.ini", 0644, text, (size_t)length) && process_start(pooler, &options) &&
           process_wait_socket(pooler, socket, PATIENCE_MS);
}

bool postgresql_database(struct postgresql *postgresql, char url[static POSTGRESQL_URL])
{
    char text[64];
    unsigned number = ++postgresql->databases;
    snprintf(url, POSTGRESQL_URL, "postgresql://tests@/postgres?host=%s", postgresql->directory);
    snprintf(text, sizeof text, "CREATE DATABASE queue_%u STRATEGY file_copy", number);
    char *made = postgresql_run(url, text);
    bool good = made != NULL;
    free(made);
    snprintf(url, POSTGRESQL_URL, "postgresql://tests@/queue_%u?host=%s", number, postgresql->directory);
    return good;
}

char *postgresql_run(const char *url, const char *sql)
{
    char *out = NULL, line[4096];
    size_t length = 0, got;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) /* else what another thread starts would hold it open */
        return NULL;
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* the server ends when its last client has */
        dup2(ends[1], 1);
        execlp("psql", "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    FILE *in = fdopen(ends[0], "r"), *memory = open_memstream(&out, &length);
    while (in != NULL && memory != NULL && (got = fread(line, 1, sizeof line, in)) > 0)
        fwrite(line, 1, got, memory);
    int status = -1;
    waitpid(child, &status, 0);
    if (in != NULL)
        fclose(in);
    if (memory != NULL)
        fclose(memory);
    if (status == 0 && out != NULL && length > 0 && out[length - 1] == '\n')
        out[length - 1] = '\0';
    if (status == 0)
        return out;
    free(out);
    return NULL;
}

const char *postgresql_ask(const char *url, const char *sql)
{
    static char answer[200];
    char *text = postgresql_run(url, sql);
    snprintf(answer, sizeof answer, "%s", text == NULL ? "" : text);
    free(text);
    return answer;
}
