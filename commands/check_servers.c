/* The web servers' limits on bodies, where their configuration can be read: an event that is refused there never gets
 * to the program, and Close drops it after 72 hours. */
#include "commands/commands_private.h"

#include <ctype.h>
#include <glob.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_SIZE 1024

/* A directive that limits bodies: where it stands, what its number counts, and what to do. */
struct limit {
    const char *directive;
    int64_t unit; /* bytes */
    const char *places[4];
    const char *advice;
};

static const struct limit limits[] = {
    {"FcgidMaxRequestLen",
     1,
     {"/etc/apache2/*-enabled/*", "/etc/apache2/*.conf", "/etc/httpd/conf.d/*.conf", "/etc/httpd/conf/*.conf"},
     "larger events are answered 500; in the server or virtual host: FcgidMaxRequestLen 33554432"},
    {"LimitRequestBody",
     1,
     {"/etc/apache2/*-enabled/*", "/etc/apache2/*.conf", "/etc/httpd/conf.d/*.conf", "/etc/httpd/conf/*.conf"},
     "larger events are answered 413: LimitRequestBody 17825792 for the program's address"},
    {"SecRequestBodyNoFilesLimit",
     1,
     {"/etc/modsecurity/*.conf", "/etc/httpd/conf.d/*.conf", "/etc/apache2/*-enabled/*"},
     "ModSecurity refuses larger events: raise it, or SecRuleEngine Off for the program's address"},
    {"client_max_body_size",
     1,
     {"/etc/nginx/nginx.conf", "/etc/nginx/conf.d/*.conf", "/etc/nginx/sites-enabled/*", "/etc/nginx/snippets/*"},
     "larger events are answered 413: client_max_body_size 17m in the program's location"},
    {"server.max-request-size",
     1024,
     {"/etc/lighttpd/*.conf", "/etc/lighttpd/conf-enabled/*.conf"},
     "larger events are answered 413: server.max-request-size = 17408 for the program's address"},
};

/* Reads a number with nginx's k, m, g behind it; *end is where it ends. Returns false when there is none. */
static bool read_limit(const char *text, int64_t unit, int64_t *bytes)
{
    static const char letters[] = "kmg";
    char *end = NULL;
    text += strspn(text, " \t=\"");
    if (!isdigit((unsigned char)*text))
        return false;
    long long number = strtoll(text, &end, 10);
    const char *letter = *end == '\0' ? NULL : strchr(letters, tolower((unsigned char)*end));
    for (ptrdiff_t i = letter == NULL ? -1 : letter - letters; i >= 0 && number < INT64_MAX / 1024; i--)
        number *= 1024;
    *bytes = number < INT64_MAX / unit ? number * unit : INT64_MAX;
    return true;
}

/* The directive's value in a line, if it stands there and is no comment. 0 is no limit, to all of them. */
static bool is_too_small(const char *line, const struct limit *limit, int64_t wanted, int64_t *bytes)
{
    size_t length = strlen(limit->directive);
    line += strspn(line, " \t");
    return strncasecmp(line, limit->directive, length) == 0 && strchr(" \t=", line[length]) != NULL &&
           line[length] != '\0' && read_limit(line + length, limit->unit, bytes) && *bytes > 0 && *bytes < wanted;
}

static size_t search_file(const char *path, const struct limit *limit, int64_t wanted)
{
    char line[LINE_SIZE];
    size_t found = 0;
    int64_t bytes = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    for (int number = 1; fgets(line, sizeof line, file) != NULL; number++) {
        if (!is_too_small(line, limit, wanted, &bytes))
            continue;
        printf("  %s:%d: %s is %" PRId64 " bytes, less than max_body: where it holds for the program's address,\n"
               "    %s\n",
               path, number, limit->directive, bytes, limit->advice);
        found++;
    }
    fclose(file);
    return found;
}

static size_t search_places(const struct limit *limit, const char *root, int64_t wanted)
{
    size_t found = 0;
    for (size_t i = 0; i < sizeof limit->places / sizeof *limit->places && limit->places[i] != NULL; i++) {
        char pattern[LINE_SIZE];
        glob_t files;
        snprintf(pattern, sizeof pattern, "%s%s", root, limit->places[i]);
        if (glob(pattern, 0, NULL, &files) == 0) {
            for (size_t j = 0; j < files.gl_pathc; j++)
                found += search_file(files.gl_pathv[j], limit, wanted);
            globfree(&files);
        }
    }
    return found;
}

/* mod_fcgid's default is too small, so that nothing said of it is a limit as well. */
static size_t search_fcgid(const char *root, const char *program)
{
    char path[LINE_SIZE];
    snprintf(path, sizeof path, "%s/etc/apache2/mods-enabled/fcgid.load", root);
    const char *dot = program == NULL ? NULL : strrchr(program, '.');
    if (dot == NULL || strcmp(dot, ".fcgi") != 0 || access(path, F_OK) != 0)
        return 0;
    printf(
        "  mod_fcgid is loaded here: if it runs the program, FcgidMaxRequestLen 33554432 must stand in the server or "
        "virtual\n    host, for without it events above 131072 bytes are answered 500 (apache/fcgid.conf has it)\n");
    return 1;
}

size_t check_servers(const struct config *config, const char *root, const char *program)
{
    char path[PROGRAM_PATH], beside[PROGRAM_PATH + 16];
    size_t found = search_fcgid(root, program);
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        found += search_places(&limits[i], root, config->max_body);
        if (program == NULL)
            continue;
        snprintf(path, sizeof path, "%s", program);
        snprintf(beside, sizeof beside, "%s/.htaccess", dirname(path));
        found += search_file(beside, &limits[i], config->max_body);
    }
    return found;
}
