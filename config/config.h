/* The configuration: file and environment, parsed once into a struct that is immutable afterwards. */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/log.h"

/* The values of a list key, in the order of the file. */
struct strings {
    char **at;
    size_t count;
};

/* A signature key from Close, decoded from hexadecimal. */
struct signature_key {
    unsigned char *bytes;
    size_t length;
};

enum answer_no_yes { ANSWER_NO, ANSWER_YES };

enum queue_kind { QUEUE_SQLITE, QUEUE_NONE, QUEUE_POSTGRESQL };

enum nul_handling { NUL_REPLACE, NUL_KEEP }; /* of U+0000 in texts and names */

enum warehouse_columns { WAREHOUSE_COLUMNS, WAREHOUSE_JSON };

enum context_content { CONTEXT_NONE, CONTEXT_CLOSE };

/* Whether request threads are confined (process/confine.h). */
enum confinement {
    CONFINE_AUTO, /* where systemd has started this very process */
    CONFINE_YES,
    CONFINE_NO,
};

/* Who may see the status page. */
enum admin_access {
    ADMIN_PASSWORD, /* whoever knows admin_password; without a password, nobody */
    ADMIN_SERVER,   /* users authenticated by the web server (REMOTE_USER) */
};

/* One Close organization and where its events go. */
struct source {
    char *name; /* NAME of [source NAME]; "default" for the short form */
    int line;   /* of [source NAME] in the file; 0 for the short form */

    char *data_plane_url;     /* http:, https: or file:, without a trailing slash */
    struct strings write_key; /* all are accepted, the first is sent */
    struct signature_key *signature_key;
    size_t signature_keys;
    bool signature_none; /* `signature_key = none`: the write key suffices, even if the source had a signature key */
    int64_t signature_tolerance_ms;

    struct strings keep; /* object_type.action, `*` allowed */
    struct strings drop;
    struct strings remove; /* exact paths below the event, such as data.body_html */

    enum nul_handling nul;
    enum warehouse_columns warehouse;
    enum context_content context;
    struct strings include; /* members of the event: previous_data, changed_fields */
    enum answer_no_yes identify, alias;
    struct strings traits; /* custom fields of a lead: cf_... */

    char *close_api_key; /* NULL: Close's API is not used */
    char *close_api_url; /* http: or https:, without a trailing slash */
    int64_t reconcile_interval_ms;
    enum answer_no_yes auto_resume; /* whether to activate a subscription again that Close has paused */

    char *queue_url; /* of the engine postgresql, a secret; NULL: none */

    enum answer_no_yes accept_empty; /* whether 200 with an empty body counts as delivered */
};

struct config {
    char *path; /* the file read; NULL: everything came from the environment */

    enum queue_kind queue;
    char *queue_url;  /* the top level's, else the first source's, which it borrows; NULL: none */
    bool is_of_route; /* a copy with the address and the sources of another database: queue/routes.h */
    char *state_dir;  /* absolute; NULL: none */
    int64_t queue_max_bytes;
    int64_t queue_retention_ms;
    int64_t dead_retention_ms; /* 0: dead letters are kept for ever */
    int64_t dedupe_window_ms;
    int64_t poison_after_ms;
    int64_t deliver_rate; /* events per second and source; 0: unlimited */
    int64_t max_body;     /* bytes */
    char *ca_file;        /* NULL: see config_certificates */
    enum log_level log_level;

    char *admin_password; /* NULL: none */
    enum admin_access admin;
    struct strings alert_command; /* NULL-terminated argv */
    char *alert_webhook_url;      /* https: (http: of this machine), a secret; NULL: none */
    int64_t alert_interval_ms;
    int64_t alert_waiting_ms;
    int64_t alert_silence_ms; /* 0: silence raises no alert */

    int64_t request_threads;
    int64_t request_timeout_ms;
    int64_t shutdown_grace_ms;
    enum confinement confine;
    int64_t lanes;
    int64_t batch_events;

    struct source *source;
    size_t sources;

    struct setting *setting; /* for config_print */
    size_t settings;

    /* What looks like a mistake and is taken all the same: sentences, each with its place, in the order of the file. */
    struct strings warnings;

    struct faults *faults; /* while it is read */
};

/* Whether accepted events are kept until they are delivered: Close is answered before. */
static inline bool config_keeps_events(const struct config *config)
{
    return config->queue != QUEUE_NONE;
}

/* The directory that this machine's processes share; NULL: they share none. */
static inline const char *config_state_dir(const struct config *config)
{
    return config_keeps_events(config) ? config->state_dir : NULL;
}

/* Finds and reads the configuration: the file named by CLOSECRM_CONFIG, else ~/closecrm/closecrm.conf (home from
 * getpwuid), else /etc/closecrm.conf; then CLOSECRM_<KEY> from the environment, which override the file. A missing file
 * is no error if the environment suffices. Returns the configuration, to be freed with config_free; NULL with the
 * reason, which names file and line and says what to change. ERROR_MISSING: there is no configuration at all. Call
 * before threads start. */
struct config *config_load(struct error *why);

/* As config_load. What is wrong is noted to its end: *faults is set to all of it, first that of lines, in their order
 * (none: the file could not be read), and why to the first. Free with strings_free. */
struct config *config_load_all(struct strings *faults, struct error *why);
/* The folder of the file that config_load reads, or would read where there is none. Returns out; NULL: it cannot be
 * told. */
#define CONFIG_FOLDER 4096
const char *config_folder(char out[static CONFIG_FOLDER]);

/* As config_load, from a named file (NULL: none) and an environment such as environ. Sets inih's process-wide
 * options. */
struct config *config_read(const char *path, char *const environment[], struct error *why);

/* Both. */
struct config *config_read_all(const char *path, char *const environment[], struct strings *faults, struct error *why);

void strings_free(struct strings *strings);

/* Returns false, with the reason and the command that fixes it, when the configuration file or a KEY_file lies inside
 * the document root named by the web server, which would serve it. document_root NULL or empty: unknown, nothing is
 * refused. Resolves symbolic links. */
bool config_outside(const struct config *config, const char *document_root, struct error *why);

/* Whether a path, existing or not, lies in the document root. document_root NULL or empty: false. */
bool config_would_show(const char *place, const char *document_root);

/* Whether a path has a folder of the kind that web servers show: public_html, htdocs. */
bool config_looks_shown(const char *path);

/* Returns the file of CA certificates: ca_file, else (also when config is NULL) the first readable one of the usual
 * system paths; NULL: none, and libcurl's built-in default may still work. Borrowed from config, or static. */
const char *config_certificates(const struct config *config);

/* Writes every key with its value and origin (file and line, environment, default), one per line; secrets are
 * masked. */
void config_print(const struct config *config, FILE *out);

/* Writes a line "SOURCE KEY HASH" for each key that machines which share a queue must have alike; SOURCE is "-" where
 * the key stands at top level. No value can be told from its hash, unless it can be guessed. */
void config_print_hashes(const struct config *config, FILE *out);

/* Writes the table of keys for docs/configuration.md in Markdown. */
void config_print_keys(FILE *out);

/* The host of a URL, for messages about one that is a secret. Returns out. */
#define URL_HOST 256
const char *config_url_host(const char *url, char out[static URL_HOST]);

/* Whether a URL's host, as config_url_host gives it, is this machine's loopback interface, by its name: then what is
 * sent does not leave the machine. */
bool config_host_is_loopback(const char *host);

/* With queue = postgresql: the address of a source's queue, its own queue_url or else the top level's; "": neither. A
 * secret. */
const char *config_queue_url_of(const struct config *config, const struct source *source);

/* Whether that is another one than the top level's, and whether any source's is. */
bool config_has_own_queue(const struct config *config, const struct source *source);
bool config_has_several_queues(const struct config *config);

/* The first parameter of a queue_url, of those that PostgreSQL's documentation has, that is_known does not know; NULL:
 * none. What is returned is the documentation's word, not a part of the address, and may be told. */
const char *config_queue_url_unknown(const char *url, bool (*is_known)(const char *name, const void *context),
                                     const void *context);

/* Returns the source of that name, or NULL. */
const struct source *config_source(const struct config *config, const char *name);

/* What stands behind the program's address in that of a source, for Close: "/NAME" of [source NAME], which stays good
 * when a second source is added; nothing in the short form, whose source nobody has named. Returns out. */
#define SOURCE_PATH 72
const char *config_source_path(const struct source *source, char out[static SOURCE_PATH]);

void config_free(struct config *config);

/* ---- keys.c: commands of this program as they are printed for somebody to type ---- */

#define OWN_COMMAND 400

/* Writes a command: the program as it is called (base/program_name), the words, and behind the command's name
 * `--source NAME` where several sources are configured and the command is about one. source: its name; NULL: about
 * none, or it takes no such option. config may be NULL where source is. words begin with the command's name and are a
 * literal: a test tries each. Returns out; what does not fit is cut to the program's name and the command's. */
const char *own_command(char out[static OWN_COMMAND], const struct config *config, const char *source,
                        const char *words, ...) __attribute__((format(printf, 4, 5)));

/* ---- as_read.c: the files of a configuration as they were read, in memory (memfd_create), for the program executed
 * next: it runs with what was checked, or is in force, and not with what somebody has made of the files since. An
 * environment variable names the descriptor; while it does, each file that is read for a configuration is noted there,
 * and one that is noted already is taken from there. It holds secrets, as the process's memory does. Before threads
 * start, but for as_read_new and as_read_environment. ---- */

/* Makes one with nothing in it, close-on-exec. -1: the system has none. */
int as_read_new(void);

/* Uses the one that was inherited, now close-on-exec, or a new one, from here on. Returns it; -1: none can be had, and
 * files are read as ever. */
int as_read_begin(void);

/* Configurations are read from the disk again. The descriptor stays open. */
void as_read_end(void);

/* Whether the file at the path is on disk as it is noted. True where it is not noted. Any thread. */
bool as_read_is_on_disk(int fd, const char *path);

/* An environment in which fd is named (-1: none is), for a program to be executed with it: environ's own strings and
 * variable. The caller frees the array alone; NULL: memory is out. */
#define AS_READ_VARIABLE 48
char **as_read_environment(int fd, char variable[static AS_READ_VARIABLE]);

/* ---- places.c: what is said of a state directory ---- */

/* Whether its owner or mode may be changed without harm. One that cannot be looked into is not known to be so. */
bool state_folder_is_own(const char *path);

/* Sets why: it belongs to another user (base/error.h), and what to do. */
void state_folder_owner_error(const char *path, uid_t owner, struct error *why);

/* Sets why: others can get into it, and what to do. */
void state_folder_open_error(const char *path, struct error *why);

#endif
