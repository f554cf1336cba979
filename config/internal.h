/* What the files of this stage share: the table of keys, the types of their values, and the settings as they were
 * read. Nobody outside config/ includes it. */
#ifndef CONFIG_INTERNAL_H
#define CONFIG_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "config/config.h"

/* ---- keys.c: the table of keys ---- */

/* Where a key may stand. */
enum scope {
    SCOPE_PROGRAM, /* at top level only */
    SCOPE_SOURCE,  /* in [source NAME], or at top level when there are no sections */
    SCOPE_DEFAULT, /* in [source NAME]; at top level it is what sources without one of their own take */
};

struct key;

/* A kind of value. base is the struct config or struct source that the key's offset counts from. */
struct type {
    const char *noun; /* for the table of keys: "duration" */
    bool list;        /* several values, which parse appends */
    bool path;        /* relative to the configuration file's folder; parse gets it absolute */

    /* Reads text into the field. Returns false with a reason that follows the key's name ("must be ..."). It shows no
     * value of a secret key, and no URL, for there may be a password in it. */
    bool (*parse)(const struct key *key, const char *text, void *base, struct error *why);

    void (*clear)(const struct key *key, void *base);   /* frees what parse made; secrets are overwritten */
    void (*format)(int64_t value, char *out, size_t n); /* numbers only: for the range */
};

extern const struct type type_count, type_size, type_duration, type_choice, type_path, type_folder, type_url,
    type_patterns, type_members, type_write_keys, type_signature_keys, type_secret, type_api_url;
extern const struct type type_password, type_command; /* values.c */

struct key {
    const char *name;
    const struct type *type;
    enum scope scope;
    const char *standard;       /* the default as one would write it; "": none */
    int64_t least, most;        /* numbers only: bytes, milliseconds or a count */
    const char *help;           /* for the table of keys */
    bool secret;                /* never shown; there is KEY_file as well */
    size_t offset;              /* in struct config (SCOPE_PROGRAM) or struct source */
    const char *const *choices; /* type_choice only: ends with NULL; the enum counts in this order */
};

/* The keys in the order in which people read them. */
const struct key *keys_all(size_t *count);

/* The key of that name; for the KEY_file of a secret, the secret with *from_file. NULL: there is none. */
const struct key *keys_find(const char *name, bool *from_file);

/* The real name that a misspelt one probably means, written to out; false when none is near. */
bool keys_nearest(const char *name, char *out, size_t size);

/* The environment's name for a key: CLOSECRM_WRITE_KEY_FILE. Returns out. */
#define VARIABLE_SIZE 64
const char *key_variable(const struct key *key, bool from_file, char out[static VARIABLE_SIZE]);

/* ---- values.c, url.c: text to values ---- */

/* The next word of a list (commas and white space separate) and its length; *rest moves behind it. NULL at the end. */
const char *value_word(const char **rest, size_t *length);

/* The place of the first control character but tab (NUL among them), counted from 1; 0: there is none. */
size_t value_control(const char *text, size_t length);

/* Checks a data_plane_url and returns it as it is used, without slashes at its end; the caller frees it. NULL with a
 * reason that does not show it. */
char *url_data_plane(const char *text, struct error *why);

/* The same for a close_api_url. */
char *url_close_api(const char *text, struct error *why);

/* ---- file.c: files that hold secrets ---- */

#define FILE_LIMIT 262144 /* bytes; a configuration is some hundreds */

/* Reads a whole regular file that others cannot read. Returns its bytes and a NUL, to be freed with file_free; *length
 * is without the NUL, and a UTF-8 byte order mark is left out. NULL with the reason, which begins with the path. */
char *file_read(const char *path, size_t *length, struct error *why);

/* Overwrites and frees what file_read returned. */
void file_free(char *data);

/* Overwrites and frees length bytes; NULL is allowed. */
void secret_free(void *data, size_t length);

/* ---- settings.c: what was read, and which of it counts ---- */

#define TOP SIZE_MAX /* the section of what stands above all sections, and of the environment */

/* One line of the file that sets something (a continued list has several), or one variable. */
struct setting {
    const struct key *key;
    size_t section; /* index of the source, or TOP */
    char *value;    /* as written; of a KEY_file its lines; of a path the absolute one */
    char *file;     /* of a KEY_file: its absolute path; else NULL */
    int line;       /* 0: from the environment */
};

/* Checks a value and adds it. Of given, key, section, line and value count, and value is copied; from_file: it is the
 * path of a KEY_file, which is read; continued: its line continues the one above. Returns false with the reason, which
 * begins with the place. */
bool settings_add(struct config *config, const struct setting *given, bool from_file, bool continued,
                  struct error *why);

/* How many values those settings have that count for a list key of a source. */
size_t settings_words(const struct config *config, const struct key *key, size_t source);

/* The settings that count for a key of a source (TOP for SCOPE_PROGRAM): those of its own section, else the
 * environment's, else the file's top level. Returns the one after previous (NULL: the first), NULL at the end. */
const struct setting *settings_effective(const struct config *config, const struct key *key, size_t source,
                                         const struct setting *previous);

/* Adds a source; line as in struct source. Returns false when memory ran out. */
bool sources_add(struct config *config, const char *name, int line);

/* "/home/x/closecrm/closecrm.conf:12" or "environment: CLOSECRM_LANES". Returns out. */
#define WHERE_SIZE 400
const char *setting_where(const struct config *config, const struct setting *setting, char out[static WHERE_SIZE]);

/* What a person wrote to set it: "write_key_file". Returns out. */
#define SPELLING_SIZE 64
const char *setting_spelling(const struct setting *setting, char out[static SPELLING_SIZE]);

void settings_free(struct config *config);

/* Parses a value only to see whether it is one; the reason follows the key's name. */
bool value_is_good(const struct key *key, const char *value, struct error *why);

/* settings.c: the values in the KEY_file that setting->file names, a line each; to be freed with secret_free. NULL with
 * the reason, which begins with the path. */
char *file_values(const struct setting *setting, struct error *why);

/* ---- lines.c, config.c, validate.c: the steps of config_read ---- */

bool lines_read(struct config *config, struct error *why);
bool environment_read(struct config *config, char *const environment[], struct error *why);
bool environment_has_keys(char *const environment[]);
bool apply_settings(struct config *config, struct error *why);
bool validate_config(const struct config *config, struct error *why);

/* ---- places.c: where the file is looked for, and where it must not be ---- */

/* Finds the file: named (CLOSECRM_CONFIG; NULL or "": not set), else home/closecrm/closecrm.conf (home may be NULL),
 * else standard. *path is NULL when there is none, and the caller frees it. Returns false with the reason when a named
 * file is missing or a place cannot be looked at. */
bool places_find(const char *named, const char *home, const char *standard, char **path, struct error *why);

/* Sets the reason for no configuration at all: the places looked at and an example. */
void places_nowhere(const char *home, struct error *why);

/* config_outside for a user whose home is home (may be NULL). */
bool places_outside(const struct config *config, const char *document_root, const char *home, struct error *why);

/* The home of the user this process runs as, by getpwuid; the caller frees it. NULL in *home: none. Returns false with
 * the reason when that cannot be told. */
bool places_home(char **home, struct error *why);

#endif
