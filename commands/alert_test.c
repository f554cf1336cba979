/* alert-test: tells somebody that this is a test, by every way that is configured, and says what became of it; and for
 * `check`, whether alerts can be told. */
#include "commands/commands_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/escape.h"
#include "base/files.h"
#include "commands/commands.h"
#include "config/config.h"
#include "health/alerts.h"

#define DROP_IN "/usr/share/doc/closecrm.fcgi/packaging/systemd/alert-mail.conf"

/* Whether a process may not gain privileges: NoNewPrivileges= of its unit. */
static bool is_restrained(pid_t pid)
{
    char path[64], line[128];
    bool found = false;
    snprintf(path, sizeof path, "/proc/%ld/status", (long)pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL)
        found = strncmp(line, "NoNewPrivs:\t1", 13) == 0;
    if (file != NULL)
        fclose(file);
    return found;
}

/* Of the process that tells alerts, where there is one: it may be a systemd unit, and this is a shell. */
static bool nobody_gains_privileges(const struct config *config)
{
    char path[PATH_MAX];
    struct lock_holder holder = {.pid = 0};
    if (config->state_dir != NULL && snprintf(path, sizeof path, "%s/" ALERTS_FILE, config->state_dir) < PATH_MAX)
        holder = lock_find_holder(path);
    return holder.pid > 0 ? is_restrained(holder.pid) : prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
}

static bool is_set_id(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode) &&
           ((status.st_mode & S_ISUID) != 0 || (status.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP));
}

/* What scripts use to send mail, where that needs privileges; NULL: nothing of it. */
static const char *find_mailer(void)
{
    static const char *const mailers[] = {"/usr/sbin/postdrop", "/usr/sbin/sendmail", "/usr/lib/sendmail",
                                          "/usr/sbin/exim4", "/usr/bin/mail"};
    for (size_t i = 0; i < sizeof mailers / sizeof *mailers; i++) {
        if (is_set_id(mailers[i]))
            return mailers[i];
    }
    return NULL;
}

static size_t check_privileges(const char *program, const struct config *config)
{
    if (!nobody_gains_privileges(config))
        return 0;
    const char *mailer = find_mailer();
    bool is_wrong = is_set_id(program);
    if (!is_wrong && mailer == NULL)
        return 0;
    printf("  %sthe program runs where nothing gains privileges (NoNewPrivileges), which %s needs%s: use\n"
           "    alert_webhook_url, or the drop-in that " DROP_IN " explains\n",
           is_wrong ? "WRONG: " : "", is_wrong ? "alert_command" : mailer,
           is_wrong ? "" : ", if alert_command sends mail by it");
    return is_wrong;
}

size_t check_alerts(const struct config *config)
{
    char user[OWNER_NAME];
    size_t wrong = 0;
    if (config->alert_command.count == 0)
        return 0;
    const char *program = config->alert_command.at[0];
    if (faccessat(AT_FDCWD, program, X_OK, AT_EACCESS) != 0) {
        printf("  WRONG: user %s cannot execute alert_command, %s: %s\n", owner_name(geteuid(), user), program,
               strerror(errno));
        wrong++;
    }
    return wrong + check_privileges(program, config);
}

/* ---- alert-test ---- */

#define WORDS "this is a test by `closecrm.fcgi alert-test`: nothing is wrong"

/* Returns whether it could be told. */
static bool try_way(const struct alert_ways *ways, enum alert_way way, const char *name, const char *whom)
{
    struct error why = {0};
    int64_t now_ms = clock_unix_ms();
    const struct alert alert = {.cause = "test",
                                .source = "",
                                .state = ALERT_RAISED,
                                .words = WORDS,
                                .since_ms = now_ms,
                                .now_ms = now_ms,
                                .brief = WORDS};
    printf("%s, %s: ", name, whom);
    fflush(stdout); /* it may take ten seconds */
    bool good = alert_send(ways, way, &alert, NULL, &why);
    fputs(good ? "ok: it was told, and ended well" : "WRONG: ", stdout);
    plain_write(stdout, why.text, strlen(why.text));
    putchar('\n');
    return good;
}

static bool try_all(const struct config *config)
{
    char host[URL_HOST];
    const struct alert_ways ways = alert_ways_of(config);
    unsigned all = alert_ways_all(&ways);
    bool good = true;
    if ((all & ALERT_BY_COMMAND) != 0)
        good = try_way(&ways, ALERT_BY_COMMAND, "alert_command", ways.command[0]);
    if ((all & ALERT_BY_WEBHOOK) != 0)
        good = try_way(&ways, ALERT_BY_WEBHOOK, "alert_webhook_url", config_url_host(ways.webhook_url, host)) && good;
    if (all == 0)
        puts("nobody is told: set alert_command or alert_webhook_url in the configuration");
    return good && all != 0;
}

int command_alert_test(int argc, char **argv)
{
    struct error why = {0};
    if (!options_read(argc, argv, NULL, 0, NULL))
        return COMMAND_USAGE;
    struct config *config = config_load(&why);
    if (config == NULL) {
        fprintf(stderr, "%s: %s\n", argv[0], why.text);
        return COMMAND_CONFIGURATION;
    }
    bool good = try_all(config);
    good = check_alerts(config) == 0 && good;
    config_free(config);
    return good ? COMMAND_OK : COMMAND_FAILED;
}
