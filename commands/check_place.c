/* The place where the program runs, as `check` sees it: the host, its limits, the state directory, and the last errors
 * that were kept there. */
#include "commands/commands_private.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/escape.h"
#include "base/http_request.h"
#include "base/last_errors.h"
#include "base/times.h"
#include "config/config.h"
#include "process/confine.h"
#include "process/process.h"
#include "queue/inspect.h"

#define TRY_MS 5000L            /* for asking a data plane what time it is */
#define WRONG_MS INT64_C(60000) /* a difference of the clocks beyond this is told */
#define MIB ((uint64_t)1024 * 1024)
#define MEMORY_LEAST (384 * MIB) /* of address space: code of the libraries, threads, bodies in hand */
#define DESCRIPTORS_BESIDE 64    /* database, data plane, libraries */
#define CGI_MEMORY (48 * MIB)    /* of a CGI request and its child: they forward with 32 descriptors and 40 MiB */
#define CGI_DESCRIPTORS 32
#define PROCESSES_BESIDE 16 /* threads beside the requests' */

/* The path of the program's file as the web server knows it: of the bundle, its launcher. Returns out, or NULL. */
static const char *program_path(char out[static PROGRAM_PATH])
{
    char *path = reexec_path();
    snprintf(out, PROGRAM_PATH, "%s", path == NULL ? "" : path);
    free(path);
    return out[0] == '\0' ? NULL : out;
}

/* ---- files ---- */

/* What others can write they can put something else in the place of. A sticky folder's files are safe from that. */
static bool others_can_write(const char *path, mode_t *mode)
{
    struct stat status;
    if (stat(path, &status) != 0 || (status.st_mode & S_ISVTX) != 0)
        return false;
    *mode = status.st_mode & 07777;
    return (status.st_mode & S_IWOTH) != 0;
}

static size_t check_writable(const char *what, const char *path)
{
    mode_t mode = 0;
    if (!others_can_write(path, &mode))
        return 0;
    printf("  WRONG: others can write to %s (mode %o): chmod go-w '%s'\n", what, (unsigned)mode, path);
    return 1;
}

/* Whether a folder is one that an upload of the bundle has made, or the user's cgi-bin; others may use any other one.
 */
static bool is_own_folder(const char *path)
{
    char name[PROGRAM_PATH];
    struct stat status;
    snprintf(name, sizeof name, "%s", path);
    const char *last = basename(name);
    return stat(path, &status) == 0 && status.st_uid == geteuid() &&
           (strncmp(last, "closecrm", 8) == 0 || strcmp(last, "cgi-bin") == 0);
}

/* what: of the file that is in the folder. */
static size_t check_folder(const char *what, const char *file, const char *path)
{
    mode_t mode = 0;
    char folder[64];
    snprintf(folder, sizeof folder, "the folder of %s", what);
    if (is_own_folder(path))
        return check_writable(folder, path);
    if (!others_can_write(path, &mode))
        return 0;
    printf(
        "  WRONG: others can write to %s, %s (mode %o): name a folder of its own, into which only its user can write, "
        "and move %s there\n",
        folder, path, (unsigned)mode, file);
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
    if (program_path(program) == NULL)
        return 0;
    printf("  program: %s\n", program);
    size_t wrong = check_writable("the program", program);
    snprintf(path, sizeof path, "%s", program);
    const char *folder = dirname(path);
    return wrong + check_folder("the program", program, folder) + check_cgi_bin(program, folder);
}

static size_t check_configuration(const struct config *config)
{
    char path[PROGRAM_PATH];
    if (config->path == NULL)
        return 0;
    if (config_looks_shown(config->path))
        printf(
            "  the configuration %s seems to lie where a web server shows files: move it outside of that folder, to\n"
            "    closecrm/closecrm.conf in the home directory\n",
            config->path);
    snprintf(path, sizeof path, "%s", config->path);
    return check_folder("the configuration", config->path, dirname(path));
}

static size_t check_files(const struct config *config)
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

/* By its name: other servers run FastCGI, or it cannot be known. */
static bool is_plain_cgi(void)
{
    char program[PROGRAM_PATH];
    const char *dot = program_path(program) == NULL ? NULL : strrchr(program, '.');
    return dot != NULL && strcmp(dot, ".cgi") == 0;
}

static size_t check_limits(const struct config *config)
{
    const bool cgi = is_plain_cgi();
    uint64_t threads = cgi ? 0 : (uint64_t)config->request_threads, body = (uint64_t)config->max_body, has = 0;
    const struct {
        int resource;
        uint64_t least;
        const char *name;
        const char *mend;
    } limits[] = {
        {RLIMIT_NOFILE, cgi ? CGI_DESCRIPTORS : 2 * threads + DESCRIPTORS_BESIDE, "open files (ulimit -n)",
         "raise it, or lower request_threads"},
        {RLIMIT_NPROC, threads + PROCESSES_BESIDE, "processes and threads (ulimit -u)",
         "raise it, or lower request_threads"},
        {RLIMIT_AS, cgi ? CGI_MEMORY : MEMORY_LEAST, "address space in bytes (ulimit -v)",
         "ask the host for more memory, or lower request_threads"},
        {RLIMIT_FSIZE, 4 * body, "size of a file in bytes (ulimit -f)",
         "the queue ends there: set it to unlimited, or to 64 MiB more than queue_max_bytes"},
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

/* ---- certificates ---- */

static bool needs_certificates(const struct config *config)
{
    for (size_t i = 0; i < config->sources; i++) {
        if (strncmp(config->source[i].data_plane_url, "https:", 6) == 0)
            return true;
    }
    return false;
}

static size_t check_certificates(const struct config *config)
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

/* ---- the clock ----
 * A data plane's answer says what time it is there. Close's signatures are judged by the clock here, and so is the age
 * of what waits. */

/* Takes the Date of an answer: at *context, a time_t. */
static size_t take_date(char *line, size_t size, size_t count, void *context)
{
    char date[64];
    size_t length = size * count;
    if (length > 5 && length < sizeof date && strncasecmp(line, "Date:", 5) == 0) {
        snprintf(date, sizeof date, "%.*s", (int)(length - 5), line + 5);
        *(time_t *)context = curl_getdate(date, NULL);
    }
    return length;
}

static void print_own_time(void)
{
    char now[WHEN_SIZE];
    printf("  clock: it says %s here. If that is wrong, certificates look outdated: set it right\n",
           times_print_utc(clock_unix_ms(), now));
}

/* The time there, in seconds; -1: it did not say. */
static time_t time_at(const char *url, const char *certificates)
{
    time_t date = -1;
    struct http_request request;
    const struct http_options options = {
        .url = url,
        .agent = "closecrm.fcgi/" CLOSECRM_VERSION,
        .certificates = certificates,
        .connect_ms = TRY_MS,
        .whole_ms = TRY_MS,
        .take_header = take_date,
        .context = &date,
    };
    if (!http_request_open(&request, &options))
        return -1;
    /* Where the clock is so wrong that certificates look outdated, there is no Date to compare with. */
    if (curl_easy_perform(request.easy) == CURLE_PEER_FAILED_VERIFICATION)
        print_own_time();
    http_request_close(&request);
    return date;
}

static size_t check_clock(const struct config *config)
{
    char url[2048], age[WHEN_SIZE];
    for (size_t i = 0; i < config->sources; i++) {
        const char *data_plane = config->source[i].data_plane_url;
        if (strncmp(data_plane, "http", 4) != 0 ||
            snprintf(url, sizeof url, "%s/health", data_plane) >= (int)sizeof url)
            continue;
        time_t there = time_at(url, config_certificates(config));
        if (there == -1)
            continue;
        int64_t ahead = clock_unix_ms() - (int64_t)there * 1000;
        if (llabs(ahead) < WRONG_MS) {
            printf("  clock: agrees with the data plane's\n");
            return 0;
        }
        printf(
            "  WRONG: this machine's clock is %s %s, compared with the data plane's: signatures are judged by it, and\n"
            "    certificates; set it right (timedatectl set-ntp true), or ask the host\n",
            times_print_age(llabs(ahead), age), ahead > 0 ? "fast" : "slow");
        return 1;
    }
    return 0;
}

size_t check_place(const struct config *config)
{
    char program[PROGRAM_PATH], words[CONFINE_WORDS];
    printf("\nplace\n");
    confine_say(config, confine_means(), words);
    printf("  %s\n", words);
    size_t wrong = check_files(config) + check_limits(config) + check_certificates(config) + check_clock(config);
    check_servers(config, "", program_path(program));
    return wrong;
}

/* ---- the state directory ---- */

struct file_system {
    long type;
    const char *name;
};

/* Those that other machines may share. */
static const struct file_system remote[] = {
    {0x6969, "NFS"},       {0xff534d42, "CIFS"}, {0xfe534d42, "SMB"},    {0x517b, "SMB"},
    {0x01021997, "9p"},    {0x65735546, "FUSE"}, {0x00c36400, "Ceph"},   {0x5346414f, "AFS"},
    {0x7461636f, "OCFS2"}, {0x01161970, "GFS2"}, {0x0bd00bd0, "Lustre"},
};

/* Those that write each block to a new place: a mapped file may find no room there, and end the program. */
static const struct file_system copying[] = {
    {0x9123683e, "btrfs"}, {0x2fc12fc1, "ZFS"}, {0xca451a4e, "bcachefs"}, {0x3434, "NILFS"}};

static const char *file_system_in(const struct file_system *table, size_t count, const char *directory)
{
    struct statfs status;
    for (size_t i = 0; statfs(directory, &status) == 0 && i < count; i++) {
        if (((long)status.f_type & 0xffffffffL) == table[i].type)
            return table[i].name;
    }
    return NULL;
}

/* Where the file system is not surely this machine's own, the queue does without a write-ahead log: once it was opened
 * there is none. */
void check_file_system(const char *directory)
{
    char path[PROGRAM_PATH];
    const char *name = file_system_in(remote, sizeof remote / sizeof *remote, directory);
    const char *copies = file_system_in(copying, sizeof copying / sizeof *copying, directory);
    snprintf(path, sizeof path, "%s/queue.db-wal", directory);
    if (name == NULL && access(path, F_OK) == 0)
        return;
    if (copies != NULL) {
        printf(
            "  file system: %s: the queue does without a write-ahead log there (SQLite's mode TRUNCATE), for on a\n"
            "    full disk the log's mapped index would end the program; that is safe, and slower than ext4 or xfs\n",
            copies);
        return;
    }
    printf("  file system: %s: the queue does without a write-ahead log there (SQLite's mode TRUNCATE),\n"
           "    which is safe, and slower. Only one machine may use this state directory; a local disk is better\n",
           name == NULL ? "one that may be another machine's" : name);
}

bool check_may_make_state(const struct config *config)
{
    char folder[PROGRAM_PATH];
    snprintf(folder, sizeof folder, "%s", config->state_dir);
    return access(dirname(folder), W_OK | X_OK) == 0;
}

/* Whether the folder in which it is to be made is there, and this user may write there. One that was there is no fault
 * of the configuration. */
static bool could_be_made(const struct config *config)
{
    struct error why;
    struct stat status;
    char folder[PROGRAM_PATH];
    snprintf(folder, sizeof folder, "%s", config->state_dir);
    const char *parent = dirname(folder);
    if (!state_place_may_open(config, &why)) {
        printf("  %s\n", why.text);
        return true;
    }
    if (lstat(config->state_dir, &status) == 0) {
        printf(
            "  WRONG: it is a symbolic link to what is not there: make that, for the user as which the program runs, "
            "or remove the link\n");
        return false;
    }
    if (access(parent, W_OK | X_OK) == 0) {
        puts("  it does not exist: if it was moved or removed while the program runs, put it back, and nothing is\n"
             "    lost; where the program has never run, it makes it when it starts");
        return true;
    }
    printf(
        "  WRONG: it does not exist, and cannot be made in %s: %s; make it, for the user as which the program runs\n",
        parent, strerror(errno));
    return false;
}

static bool is_private(const char *directory, const struct stat *status)
{
    struct error why = {0};
    if (!S_ISDIR(status->st_mode)) {
        printf("  WRONG: it is no directory\n");
        return false;
    }
    if (geteuid() != 0 && status->st_uid != geteuid()) {
        state_folder_owner_error(directory, status->st_uid, &why);
        printf("  WRONG: %s\n", why.text);
        return false;
    }
    if ((status->st_mode & 077) != 0) {
        state_folder_open_error(directory, &why);
        printf("  WRONG: %s\n", why.text);
        return false;
    }
    return true;
}

size_t check_state_directory(const struct config *config)
{
    struct error why;
    struct stat status;
    if (config_state_dir(config) == NULL)
        return 0;
    printf("\nstate directory %s\n", config->state_dir);
    if (stat(config->state_dir, &status) == 0 && !state_place_may_open(config, &why)) {
        printf("  WRONG: %s\n", why.text);
        return 1;
    }
    if (stat(config->state_dir, &status) == 0)
        return is_private(config->state_dir, &status) ? 0 : 1;
    if (errno == ENOENT)
        return could_be_made(config) ? 0 : 1;
    printf("  WRONG: it cannot be looked at: %s\n", strerror(errno));
    return 1;
}

/* ---- the last errors ---- */

#define EARLIER_MS (60 * INT64_C(60000))
#define DATE_LENGTH (sizeof "2026-11-24T20:45:06Z" - 1)

/* Whether it was last seen before that. What is over is not to be taken for what is wrong now. */
static bool is_earlier(const char *line, size_t length, int64_t now_ms)
{
    int64_t last_us = length < DATE_LENGTH ? DATE_UNREADABLE : times_read(line, DATE_LENGTH);
    return last_us != DATE_UNREADABLE && now_ms - last_us / 1000 > EARLIER_MS;
}

/* The newest comes first, in each of the parts that a title begins. */
static void print_file(const char *folder)
{
    char *text = last_errors_read(folder);
    if (text == NULL)
        return;
    printf("\nlast errors, %s/" LAST_ERRORS_FILE "\n", folder);
    const char *line = strchr(text, '\n'); /* the first one says what this is */
    bool earlier = false;
    for (line = line == NULL ? "" : line + 1; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        bool was = is_earlier(line, length, clock_unix_ms());
        if (was && !earlier)
            puts("  (not again within the last hour:)");
        earlier = was;
        if (length > 0) {
            fputs("  ", stdout);
            plain_write(stdout, line, length);
            putchar('\n');
        }
        line += length + (line[length] == '\n' ? 1 : 0);
    }
    free(text);
}

void print_last_errors(const struct config *config)
{
    char folder[CONFIG_FOLDER];
    const char *beside = config_folder(folder), *state = config == NULL ? NULL : config->state_dir;
    if (state != NULL)
        print_file(state);
    if (beside != NULL && (state == NULL || strcmp(beside, state) != 0))
        print_file(beside);
}

void keep_refused_configuration(void)
{
    struct strings faults;
    struct error why = {0};
    config_free(config_load_all(&faults, &why));
    errors_keep(NULL);
    log_observe(NULL, NULL); /* only what follows */
    for (size_t i = 0; i <= faults.count; i++) {
        char line[sizeof why.text + 64];
        const char *words = i < faults.count ? faults.at[i] : faults.count == 0 ? why.text : "";
        int length = snprintf(line, sizeof line, "error msg=configuration_refused %.*s", (int)sizeof why.text, words);
        if (words[0] != '\0')
            last_errors_note(NULL, LEVEL_ERROR, line, (size_t)length);
    }
    last_errors_flush(true);
    last_errors_open(NULL, 0);
    strings_free(&faults);
}
