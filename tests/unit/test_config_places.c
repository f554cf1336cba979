/* The configuration: where the file is looked for, and where it must not be. */
#include "config/internal.h"
#include "tests/suites.h"
#include "tests/support/config_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void places_in_their_order(void)
{
    struct folder folder;
    struct error why = {0};
    char standard[PATH_MAX + 64], named[PATH_MAX + 64], in_home[PATH_MAX + 64], *path = NULL;
    folder_make(&folder);
    snprintf(standard, sizeof standard, "%s/standard", folder.path);
    snprintf(named, sizeof named, "%s/named", folder.path);
    snprintf(in_home, sizeof in_home, "%s/closecrm", folder.path);

    CU_ASSERT_TRUE(places_find(NULL, folder.path, standard, &path, &why));
    CU_ASSERT_PTR_NULL(path);

    folder_write(&folder, "standard", "", 0, 0600);
    CU_ASSERT_TRUE(places_find("", folder.path, standard, &path, &why));
    CU_ASSERT_STRING_EQUAL(path, standard);
    free(path);

    CU_ASSERT_EQUAL(mkdir(in_home, 0700), 0);
    folder_write(&folder, "closecrm/closecrm.conf", "", 0, 0600);
    CU_ASSERT_TRUE(places_find(NULL, folder.path, standard, &path, &why));
    strcat(in_home, "/closecrm.conf");
    CU_ASSERT_STRING_EQUAL(path, in_home);
    free(path);

    CU_ASSERT_FALSE(places_find(named, folder.path, standard, &path, &why));
    folder_shorten(&folder, &why);
    CU_ASSERT_STRING_EQUAL(why.text,
                           "--config, or CLOSECRM_CONFIG, names ~/named, but there is no such file: write it, "
                           "or name no file");
    CU_ASSERT_FALSE(places_find("postgresql://u:s3cr3t@h/d", folder.path, standard, &path, &why));
    CU_ASSERT_STRING_EQUAL(why.text, "--config, or CLOSECRM_CONFIG, must name a file, not an address (which is not "
                                     "shown, for a password may be in it)");

    folder_write(&folder, "named", "", 0, 0600);
    CU_ASSERT_TRUE(places_find(named, folder.path, standard, &path, &why));
    CU_ASSERT_STRING_EQUAL(path, named);
    free(path);
    folder_remove(&folder);
}

/* home/, home/www/ (the document root), home/www/closecrm.conf. */
struct site {
    struct folder folder;
    char root[PATH_MAX + 64], inside[PATH_MAX + 64], home[PATH_MAX + 64];
};

static void site_make(struct site *site)
{
    folder_make(&site->folder);
    snprintf(site->root, sizeof site->root, "%s/www", site->folder.path);
    snprintf(site->inside, sizeof site->inside, "%s/www/closecrm.conf", site->folder.path);
    snprintf(site->home, sizeof site->home, "%s/home", site->folder.path);
    mkdir(site->root, 0700);
    mkdir(site->home, 0700);
    folder_write(&site->folder, "www/closecrm.conf", WHOLE, strlen(WHOLE), 0600);
}

static bool is_outside(const struct site *site, const char *path, const char *root, const char *home, struct error *why)
{
    struct config config = {.path = (char *)path};
    *why = (struct error){0};
    bool outside = places_outside(&config, root, home, why);
    folder_shorten(&site->folder, why);
    return outside;
}

static void outside_the_document_root(void)
{
    struct site site;
    struct error why;
    char beside[PATH_MAX + 64];
    site_make(&site);
    folder_write(&site.folder, "www.conf", WHOLE, strlen(WHOLE), 0600);
    snprintf(beside, sizeof beside, "%s/www.conf", site.folder.path);
    CU_ASSERT_TRUE(is_outside(&site, beside, site.root, site.home, &why));
    CU_ASSERT_TRUE(is_outside(&site, NULL, site.root, site.home, &why)); /* no file at all */
    CU_ASSERT_TRUE(is_outside(&site, site.inside, NULL, site.home, &why));
    CU_ASSERT_TRUE(is_outside(&site, site.inside, "", site.home, &why));
    CU_ASSERT_TRUE(is_outside(&site, site.inside, "/nowhere/at/all", site.home, &why));
    folder_remove(&site.folder);
}

#define SHOWN "where the web server shows it to everybody"

static void inside_the_document_root(void)
{
    struct site site;
    struct error why;
    site_make(&site);
    CU_ASSERT_FALSE(is_outside(&site, site.inside, site.root, site.home, &why));
    CU_ASSERT_STRING_EQUAL(why.text,
                           "~/www/closecrm.conf: lies in the document root, " SHOWN "; run: mkdir -p ~/home/closecrm "
                           "&& mv ~/www/closecrm.conf ~/home/closecrm/closecrm.conf, and unset CLOSECRM_CONFIG");

    /* A home inside it is no way out, nor is none, nor one where a file stands already. */
    static const char elsewhere[] = "~/www/closecrm.conf: lies in the document root ~/www, " SHOWN
                                    "; move it to a folder outside and name it in CLOSECRM_CONFIG";
    CU_ASSERT_FALSE(is_outside(&site, site.inside, site.root, site.root, &why));
    CU_ASSERT_STRING_EQUAL(why.text, elsewhere);
    CU_ASSERT_FALSE(is_outside(&site, site.inside, site.root, NULL, &why));
    CU_ASSERT_STRING_EQUAL(why.text, elsewhere);
    char folder[PATH_MAX + 96];
    snprintf(folder, sizeof folder, "%s/closecrm", site.home);
    mkdir(folder, 0700);
    folder_write(&site.folder, "home/closecrm/closecrm.conf", "", 0, 0600);
    CU_ASSERT_FALSE(is_outside(&site, site.inside, site.root, site.home, &why));
    CU_ASSERT_STRING_EQUAL(why.text, elsewhere);
    folder_remove(&site.folder);
}

static void links_hide_nothing(void)
{
    struct site site;
    struct error why;
    char link_out[PATH_MAX + 64], link_in[PATH_MAX + 64], link_root[PATH_MAX + 64], beside[PATH_MAX + 64];
    site_make(&site);
    snprintf(link_out, sizeof link_out, "%s/link.conf", site.folder.path);
    snprintf(link_in, sizeof link_in, "%s/www/link.conf", site.folder.path);
    snprintf(link_root, sizeof link_root, "%s/public_html", site.folder.path);
    snprintf(beside, sizeof beside, "%s/beside.conf", site.folder.path);
    folder_write(&site.folder, "beside.conf", WHOLE, strlen(WHOLE), 0600);
    CU_ASSERT_EQUAL(symlink(site.inside, link_out), 0);
    CU_ASSERT_EQUAL(symlink(beside, link_in), 0);
    CU_ASSERT_EQUAL(symlink(site.root, link_root), 0);

    CU_ASSERT_FALSE(is_outside(&site, link_out, site.root, site.home, &why)); /* a link from outside to a file inside */
    CU_ASSERT_FALSE(is_outside(&site, link_in, site.root, site.home, &why));  /* the web server follows links too */
    CU_ASSERT_FALSE(is_outside(&site, site.inside, link_root, site.home, &why)); /* the root is a link */
    CU_ASSERT_TRUE(is_outside(&site, beside, link_root, site.home, &why));
    folder_remove(&site.folder);
}

static void secret_files_count_too(void)
{
    static const char text[] = "data_plane_url = https://h\nwrite_key_file = www/key\n";
    struct site site;
    struct error why = {0};
    char *const nothing[] = {NULL};
    site_make(&site);
    folder_write(&site.folder, "closecrm.conf", text, strlen(text), 0600);
    folder_write(&site.folder, "www/key", "k\n", 2, 0600);
    struct config *config = config_read(site.folder.file, nothing, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    CU_ASSERT_TRUE(places_outside(config, site.home, site.home, &why));
    CU_ASSERT_FALSE(places_outside(config, site.root, site.home, &why));
    folder_shorten(&site.folder, &why);
    CU_ASSERT_STRING_EQUAL(why.text, "~/closecrm.conf:2: ~/www/key lies in the document root, " SHOWN
                                     "; move it to a folder outside and name that here");
    config_free(config);
    folder_remove(&site.folder);
}

/* ---- config_load: for what only the real user's places can show ---- */

static void load_by_name(void)
{
    struct folder folder;
    struct error why = {0};
    /* The system tests' own variable, which is no key. */
    const char *program = getenv("CLOSECRM_PROGRAM");
    char *aside = program == NULL ? NULL : strdup(program);
    unsetenv("CLOSECRM_PROGRAM");
    folder_make(&folder);
    folder_write(&folder, "closecrm.conf", WHOLE, strlen(WHOLE), 0600);
    setenv("CLOSECRM_CONFIG", folder.file, 1);
    setenv("CLOSECRM_LANES", "9", 1);
    struct config *config = config_load(&why);
    unsetenv("CLOSECRM_CONFIG");
    unsetenv("CLOSECRM_LANES");
    if (aside != NULL)
        setenv("CLOSECRM_PROGRAM", aside, 1);
    free(aside);
    CU_ASSERT_STRING_EQUAL(why.text, "");
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    CU_ASSERT_STRING_EQUAL(config->path, folder.file);
    CU_ASSERT_EQUAL(config->lanes, 9);
    config_free(config);
    folder_remove(&folder);
}

static void nothing_anywhere(void)
{
    struct error why = {0};
    places_nowhere(NULL, "/home/x", &why);
    CU_ASSERT_STRING_EQUAL(why.text,
                           "there is no configuration: /home/x/closecrm/closecrm.conf and /etc/closecrm.conf do not "
                           "exist, CLOSECRM_CONFIG names no other file, and no CLOSECRM_DATA_PLANE_URL is set. Write "
                           "the file, for example:\n"
                           "data_plane_url = https://DATA_PLANE\n"
                           "write_key = KEY_OF_THE_RUDDERSTACK_SOURCE\n"
                           "signature_key = KEY_OF_THE_CLOSE_SUBSCRIPTION");
    places_nowhere("", "/home/x", &why);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, " do not exist, CLOSECRM_CONFIG is set but empty, and no CLOSECRM_"));
}

/* /etc/closecrm.conf does not lead to /etc/state; but what waits there is not left behind. */
static void state_does_not_lie_in_etc(void)
{
    struct folder etc;
    char file[PATH_MAX + 32], beside[PATH_MAX + 32], queue[PATH_MAX + 64];
    folder_make(&etc);
    snprintf(file, sizeof file, "%s/closecrm.conf", etc.path);
    snprintf(beside, sizeof beside, "%s/state", etc.path);
    snprintf(queue, sizeof queue, "%s/state/queue.db", etc.path);

    char *path = places_standard(file, "state", etc.path, "/var/lib/closecrm");
    CU_ASSERT_STRING_EQUAL(path, "/var/lib/closecrm");
    free(path);
    path = places_standard(file, "state", "/etc", "/var/lib/closecrm");
    CU_ASSERT_STRING_EQUAL(path, beside);
    free(path);

    CU_ASSERT_EQUAL(mkdir(beside, 0700), 0); /* somebody's */
    path = places_standard(file, "state", etc.path, "/var/lib/closecrm");
    CU_ASSERT_STRING_EQUAL(path, "/var/lib/closecrm");
    free(path);
    FILE *made = fopen(queue, "we"); /* ours */
    CU_ASSERT_PTR_NOT_NULL_FATAL(made);
    fclose(made);
    path = places_standard(file, "state", etc.path, "/var/lib/closecrm");
    CU_ASSERT_STRING_EQUAL(path, beside);
    free(path);
    folder_remove(&etc);
}

void suite_config_places(void)
{
    static CU_TestInfo tests[] = {
        {"places are looked at in their order", places_in_their_order},
        {"a file outside the document root", outside_the_document_root},
        {"a file inside the document root", inside_the_document_root},
        {"links hide nothing", links_hide_nothing},
        {"files of secrets count too", secret_files_count_too},
        {"CLOSECRM_CONFIG names the file", load_by_name},
        {"no configuration anywhere", nothing_anywhere},
        {"/etc/closecrm.conf does not lead to /etc/state", state_does_not_lie_in_etc},
        CU_TEST_INFO_NULL,
    };
    suite_add("config places", NULL, NULL, tests);
}
