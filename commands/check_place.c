/* The place, as `check` sees it: see check_place.h. */
#include "commands/check_place.h"

#include "base/clock.h"
#include "base/times.h"
#include "process/reexec.h"
#include "telemetry/cron_mark.h"

#include <inttypes.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MIB ((uint64_t)1024 * 1024)
#define CRON_OLD_MS INT64_C(900000) /* where it must run, the longest that hosts allow is 5 or 15 minutes */
#define DISK_LEAST (256 * MIB)      /* bytes free */
#define MEMORY_LEAST (384 * MIB)    /* of address space: code of the libraries, threads, bodies in hand */
#define DESCRIPTORS_BESIDE 64       /* database, data plane, libraries */
#define PROCESSES_BESIDE 16         /* threads beside the requests' */

const char *check_program_path(char out[static PROGRAM_PATH])
{
    char *path = reexec_path();
    if (path == NULL)
        return NULL;
    snprintf(out, PROGRAM_PATH, "%s", path);
    free(path);
    return out;
}

/* Started by the bundle's launcher: on a shared host, under CGI. */
static bool is_bundle(void)
{
    return getenv("CLOSECRM_LAUNCHER") != NULL;
}

/* ---- files ---- */

/* A folder of the kind that web servers show, somewhere in the path. */
bool place_looks_shown(const char *path)
{
    static const char *const names[] = {"/public_html/", "/htdocs/", "/httpdocs/", "/wwwroot/",
                                        "/webroot/",     "/html/",   "/public/",   "/cgi-bin/"};
    if (strncmp(path, "/var/www/", 9) == 0)
        return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strstr(path, names[i]) != NULL)
            return true;
    }
    return false;
}

/* What others can write they can put something else in the place of. A sticky folder's files are safe from that. */
static bool others_can_write(const char *path, mode_t *mode)
{
    struct stat status;
    if (stat(path, &status) != 0 || (status.st_mode & S_ISVTX) != 0)
        return false;
    *mode = status.st_mode & 07777;
    return (status.st_mode & S_IWOTH) != 0;
}

static size_t check_writable(const char *what, const char *path, const char *mend)
{
    mode_t mode = 0;
    if (!others_can_write(path, &mode))
        return 0;
    printf("  WRONG: others can write to %s (mode %o): chmod %s '%s'\n", what, (unsigned)mode, mend, path);
    return 1;
}

/* suexec refuses without a word to the visitor what a group can write. */
static size_t check_cgi_bin(const char *program, const char *folder)
{
    struct stat file, above;
    size_t wrong = 0;
    if (strstr(program, "/cgi-bin/") == NULL || stat(program, &file) != 0 || stat(folder, &above) != 0)
        return 0;
    if ((file.st_mode & 0777) != 0755 || (above.st_mode & S_IWGRP) != 0) {
        printf(
            "  WRONG: suexec runs no program that is not executable or that a group can write: chmod 755 '%s' '%s'\n",
            program, folder);
        wrong++;
    }
    const char *dot = strrchr(program, '.');
    if (dot != NULL && strcmp(dot, ".fcgi") == 0) {
        printf("  WRONG: in cgi-bin a name with .fcgi is run by mod_fcgid at many hosts, which refuses events above "
               "128 KiB"
               "\n    (e-mails): rename it to closecrm.cgi, and give Close the new address\n");
        wrong++;
    }
    return wrong;
}

static size_t check_program(void)
{
    char program[PROGRAM_PATH], path[PROGRAM_PATH];
    if (check_program_path(program) == NULL)
        return 0;
    printf("  program: %s\n", program);
    size_t wrong = check_writable("the program", program, "go-w");
    snprintf(path, sizeof path, "%s", program);
    const char *folder = dirname(path);
    return wrong + check_writable("the program's folder", folder, "go-w") + check_cgi_bin(program, folder);
}

static size_t check_configuration(const struct config *config)
{
    char path[PROGRAM_PATH];
    if (config->path == NULL)
        return 0;
    if (place_looks_shown(config->path))
        printf(
            "  the configuration %s seems to lie where a web server shows files: move it outside of that folder, to\n"
            "    closecrm/closecrm.conf in the home directory\n",
            config->path);
    snprintf(path, sizeof path, "%s", config->path);
    return check_writable("the folder of the configuration", dirname(path), "go-w");
}

size_t check_files(const struct config *config)
{
    return check_program() + check_configuration(config);
}

/* ---- limits ---- */

static bool is_below(int resource, uint64_t least, uint64_t *limit)
{
    struct rlimit now;
    if (getrlimit((__rlimit_resource_t)resource, &now) != 0 || now.rlim_cur == RLIM_INFINITY)
        return false;
    *limit = now.rlim_cur;
    return now.rlim_cur < least;
}

static size_t check_process(const struct config *config)
{
    uint64_t threads = (uint64_t)config->request_threads, body = (uint64_t)config->max_body, has = 0;
    const struct {
        int resource;
        uint64_t least;
        const char *name;
        const char *mend;
    } limits[] = {
        {RLIMIT_NOFILE, 2 * threads + DESCRIPTORS_BESIDE, "open files (ulimit -n)",
         "raise it, or lower request_threads"},
        {RLIMIT_NPROC, threads + PROCESSES_BESIDE, "processes and threads (ulimit -u)",
         "raise it, or lower request_threads"},
        {RLIMIT_AS, MEMORY_LEAST, "address space in bytes (ulimit -v)",
         "ask the host for more memory, or lower request_threads"},
        {RLIMIT_FSIZE, 4 * body, "size of a file in bytes (ulimit -f)",
         "the queue ends there: raise it, or set queue_max_bytes below it"},
    };
    size_t wrong = 0;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        if (!is_below(limits[i].resource, limits[i].least, &has))
            continue;
        printf("  WRONG: the limit of %s is %" PRIu64 ", and %" PRIu64 " are needed: %s\n", limits[i].name, has,
               limits[i].least, limits[i].mend);
        wrong++;
    }
    return wrong;
}

static size_t check_disk(const char *directory)
{
    struct statvfs disk;
    if (statvfs(directory, &disk) != 0)
        return 0;
    uint64_t left = (uint64_t)disk.f_bavail * disk.f_frsize;
    size_t wrong = 0;
    if (left < DISK_LEAST) {
        printf("  WRONG: %" PRIu64 " MiB are left on the disk of %s: make room, for events wait there\n", left / MIB,
               directory);
        wrong++;
    }
    if (disk.f_files > 0 && disk.f_favail == 0) {
        printf("  WRONG: no more files can be made on the disk of %s (inodes): remove some\n", directory);
        wrong++;
    }
    return wrong;
}

size_t check_limits(const struct config *config)
{
    size_t wrong = check_process(config);
    return wrong + (config->queue == QUEUE_SQLITE ? check_disk(config->state_dir) : 0);
}

/* ---- certificates, cron ---- */

static bool needs_certificates(const struct config *config)
{
    for (size_t i = 0; i < config->sources; i++) {
        if (strncmp(config->source[i].data_plane_url, "https:", 6) == 0)
            return true;
    }
    return false;
}

size_t check_certificates(const struct config *config)
{
    const char *found = config_certificates(config);
    if (!needs_certificates(config))
        return 0;
    if (found != NULL) {
        printf("  certificates: %s (%s)\n", found, config->ca_file != NULL ? "ca_file" : "the system's");
        return 0;
    }
    printf(
        "  WRONG: this system has no certificates in any usual place, so the data plane's cannot be checked: install "
        "them\n    (package ca-certificates), or upload https://curl.se/ca/cacert.pem beside closecrm.conf and set\n"
        "    ca_file = cacert.pem\n");
    return 1;
}

size_t check_cron(const struct config *config)
{
    struct cron_mark mark;
    char program[PROGRAM_PATH], age[WHEN_SIZE];
    if (config->queue != QUEUE_SQLITE || !is_bundle() || check_program_path(program) == NULL)
        return 0;
    cron_mark_read(config->state_dir, &mark);
    int64_t since = clock_unix_ms() - mark.ran_ms;
    if (mark.ran_ms > 0 && since < CRON_OLD_MS) {
        printf("  cron: was here %s ago\n", times_print_age(since, age));
        return 0;
    }
    if (mark.ran_ms > 0)
        printf("  WRONG: cron was here last %s ago", times_print_age(since, age));
    else
        printf("  WRONG: cron has never been here");
    printf(": events that could not be delivered at once wait for it. Add the line\n"
           "    * * * * * %s cron\n"
           "    to the crontab (control panel: Cron jobs)\n",
           program);
    return 1;
}

size_t check_place(const struct config *config)
{
    char program[PROGRAM_PATH];
    printf("\nplace\n");
    size_t wrong = check_files(config) + check_limits(config) + check_certificates(config) + check_clock(config);
    check_servers(config, "", check_program_path(program));
    return wrong + check_cron(config);
}
