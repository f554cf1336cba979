/* One whole site of a test: a stand-in data plane, the program with a configuration, and a web server before it that
 * runs with one of the samples of apache/, lighttpd/ or nginx/, just as they stand there. */
#ifndef TESTS_SUPPORT_SITE_H
#define TESTS_SUPPORT_SITE_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/support/client.h"
#include "tests/support/process.h"
#include "tests/support/standin.h"
#include "tests/support/temporary.h"

/* The sources of the usual configuration: alpha and beta take signed requests only, open has no signature key. */
#define ALPHA_WRITE_KEY "key-alpha"
#define ALPHA_SIGNATURE_KEY "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define BETA_WRITE_KEY "key-beta"
#define BETA_SIGNATURE_KEY "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
#define OPEN_WRITE_KEY "key-open"

/* A way to run the program. */
struct setup {
    const char *name;
    const char *server; /* "lighttpd", "apache2" or "nginx", which is also the folder's beginning; NULL: none */
    const char *sample; /* the file in that folder */
    const char *mount;  /* the program's path at the server */
    bool spawned;       /* spawn-fcgi starts the program, not the server */
    bool prefork;       /* Apache made of processes, so mod_cgi and not mod_cgid */
    bool htaccess;      /* with the sample .htaccess in cgi-bin */
    bool hides_basic;   /* HTTP Basic does not reach the program */
    bool admin_server;  /* with the sample's lines for a log-in; the user is admin, the password "correct horse" */
};

/* For tests that are not about the server: the program stands apart from it, behind spawn-fcgi. */
extern const struct setup setup_lighttpd_spawn;
extern const struct setup setup_apache_proxy;

/* Many processes of the program, each with one request at a time. */
extern const struct setup setup_apache_fcgid;

struct site {
    const struct setup *setup;
    char directory[PATH_SIZE]; /* holds all its files */
    uint16_t port;             /* of the web server */
    char url[128];             /* of the program, without a slash at its end */
    struct standin *standin;   /* NULL while it is down */
    uint16_t standin_port;
    struct process program;     /* none where the web server starts it */
    const char *const *wrapper; /* words before the program's path, for site_spawn: strace, env, ...; NULL: none */
    struct process server;
    struct client *client;    /* for the test's own thread */
    unsigned failures_before; /* CUnit's count when the site was opened */
};

/* Starts everything with the usual configuration and more (lines before its sections; NULL: none). Whether it worked
 * is a CUnit assertion too; returns false when it did not. Close it in either case. */
bool site_open(struct site *site, const struct setup *setup, const char *more);

/* Writes closecrm.conf anew. */
void site_configure(struct site *site, const char *more);

/* Stops the stand-in; and starts it again at the same port, with nothing in its memory. */
void site_standin_down(struct site *site);
bool site_standin_up(struct site *site);

/* Starts the program behind spawn-fcgi, after it ended. */
bool site_spawn(struct site *site);

/* The path of the socket and of the program's file. */
void site_socket(const struct site *site, char path[PATH_SIZE]);
void site_program(const struct site *site, char path[PATH_SIZE]);

/* The program under test: CLOSECRM_PROGRAM, else ./closecrm.fcgi. */
const char *program_under_test(void);

/* How often the log of the program (behind spawn-fcgi) holds the text. */
size_t site_count_logged(const struct site *site, const char *text);

/* Waits until it holds the text so often. Returns false when it does not after the milliseconds. */
bool site_wait_logged(const struct site *site, const char *text, size_t times, int64_t ms);

/* How often a process of the program has opened its queue, or could not. */
size_t site_opened(const struct site *site);

/* Waits until that is so often, or the program has ended: what comes while a queue is opened is answered 503 after 5 s,
 * which a busy machine may need for it. site_open does it itself. */
void site_wait_opened(const struct site *site, size_t opened);

/* Ends all and removes its files, unless CLOSECRM_TEST_KEEP is set; when an assertion of the test failed, shows the
 * logs first. Returns the program's exit code (behind spawn-fcgi; 0 where it was none or had ended). */
int site_close(struct site *site);

#endif
