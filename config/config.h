/* The configuration: file and environment, read once into one struct that nobody changes afterwards. */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "base/log.h"

/* Words of a list key, in the order of the file. */
struct strings {
    char **at;
    size_t count;
};

/* A signature key as Close gave it, decoded from its hex digits. */
struct signature_key {
    unsigned char *bytes;
    size_t length;
};

enum answer_no_yes { ANSWER_NO, ANSWER_YES };

enum queue_kind { QUEUE_SQLITE, QUEUE_NONE };

/* Who may see the status page. */
enum admin_access {
    ADMIN_PASSWORD, /* who knows admin_password; without one, nobody */
    ADMIN_SERVER,   /* whom the web server has let in, by REMOTE_USER */
};

/* One Close organization and where its events go. */
struct source {
    char *name; /* of [source NAME]; "default" for the short form */
    int line;   /* of [source NAME] in the file; 0 for the short form */

    char *data_plane_url;     /* http:, https: or file:, without a slash at its end */
    struct strings write_key; /* all are accepted, the first is sent */
    struct signature_key *signature_key;
    size_t signature_keys;
    bool signature_none; /* `signature_key = none`: its write keys let in, even if it had a signature key */
    int64_t signature_tolerance_ms;

    struct strings keep; /* object_type.action, `*` allowed */
    struct strings drop;
    struct strings remove; /* exact paths below the event: data.body_html */

    char *close_api_key; /* of Close; NULL: Close is not asked */
    char *close_api_url; /* http: or https:, without a slash at its end */
    int64_t reconcile_interval_ms;
    enum answer_no_yes auto_resume; /* whether a subscription that Close has paused is activated again */

    enum answer_no_yes accept_empty; /* whether 200 with an empty body means delivered */
};

struct config {
    char *path; /* of the file read; NULL: none, all came from the environment */

    enum queue_kind queue;
    char *state_dir; /* absolute; of the engine sqlite */
    int64_t queue_max_bytes;
    int64_t queue_retention_ms;
    int64_t dead_retention_ms; /* 0: dead letters are kept for ever */
    int64_t dedupe_window_ms;
    int64_t poison_after_ms;
    int64_t deliver_rate; /* events a second and source; 0: as many as the data plane takes */
    int64_t max_body;     /* bytes */
    char *ca_file;        /* NULL: see config_certificates */
    enum log_level log_level;

    char *admin_password; /* NULL: none */
    enum admin_access admin;
    struct strings alert_command; /* the words, ready for execv: a NULL follows them */
    int64_t alert_interval_ms;
    int64_t alert_waiting_ms;
    int64_t alert_silence_ms; /* 0: silence is no cause */

    int64_t request_threads;
    int64_t request_timeout_ms;
    int64_t shutdown_grace_ms;
    int64_t lanes;
    int64_t batch_events;

    struct source *source;
    size_t sources;

    struct setting *setting; /* what `check` shows; see config_print */
    size_t settings;
};

/* Finds and reads the configuration: the file named by CLOSECRM_CONFIG, else ~/closecrm/closecrm.conf (home by
 * getpwuid), else /etc/closecrm.conf; then CLOSECRM_<KEY> of the process's environment, which win. No file at all is
 * no error where the environment suffices.
 * Returns the configuration, to be freed with config_free; NULL with the reason, which names file and line and says
 * what to change, when anything in it is wrong; ERROR_MISSING: there is no configuration at all. Call before threads
 * start. */
struct config *config_load(struct error *why);

/* The same from a named file (NULL: none) and an environment such as environ. Sets inih's process-wide options. */
struct config *config_read(const char *path, char *const environment[], struct error *why);

/* Refuses a configuration file, or a KEY_file that it names, inside the document root that a web server named, for the
 * web server would serve it. document_root may be NULL or empty: then nothing is known and nothing refused. Resolves
 * symbolic links. Returns false with the reason and the command that mends it. */
bool config_outside(const struct config *config, const char *document_root, struct error *why);

/* Whether a place lies in the document root (NULL or empty: nothing is known), whether it is there or not. */
bool config_would_show(const char *place, const char *document_root);

/* The file of certificates that other machines' are checked with: ca_file, else (and for a config of NULL) the first of
 * the usual places on this system that can be read. NULL: there is none; what libcurl was built with may still do.
 * Borrowed from config, or static. */
const char *config_certificates(const struct config *config);

/* Writes every key, its value and where that came from (file and line, environment, default), a line each; secrets
 * masked. */
void config_print(const struct config *config, FILE *out);

/* Writes the table of keys as README has it: Markdown, from the same table that reads them. */
void config_print_keys(FILE *out);

/* The source of that name, or NULL. */
const struct source *config_source(const struct config *config, const char *name);

void config_free(struct config *config);

#endif
