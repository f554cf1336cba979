/* check: what is wrong? The configuration with where each value came from, the addresses for Close, the data planes,
 * the place, the queue. The running program also calls it, with --offline, to try a new configuration before it takes
 * it on: then it changes nothing, and what waits in the queue does not matter. */
#include "commands/commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"
#include "base/times.h"
#include "closeapi/closeapi.h"
#include "commands/check_alerts.h"
#include "commands/check_errors.h"
#include "commands/check_place.h"
#include "commands/options.h"
#include "commands/session.h"
#include "config/config.h"
#include "config/keyring.h"
#include "forward/forward.h"
#include "health/report.h"

/* Whether the source takes signed requests only: by a key of the configuration, or one that `subscribe` obtained; also
 * where such a key is missing. */
static bool has_key(const struct config *config, const struct source *source)
{
    struct keyring held;
    struct error words;
    enum signed_state state = signed_look(config, source, &words);
    bool found = source->signature_keys > 0 || state == SIGNED_PART || state == SIGNED_LOST;
    if (found || !keyring_read(config->state_dir, &held, NULL))
        return found;
    for (size_t i = 0; i < held.count; i++)
        found = found || strcmp(held.at[i].source, source->name) == 0;
    keyring_free(&held);
    return found;
}

/* Where Close is to send a source's events. */
static void print_address(const struct config *config, const struct source *source)
{
    bool keyed = has_key(config, source);
    printf("  address for Close: https://YOUR-SITE/WHERE-IT-IS-MOUNTED/%s%s\n", source->name,
           !keyed ? "?writeKey=<your write key>" : "");
    if (!keyed)
        printf("    without a signature_key anybody who learns that address can send events: better let `closecrm.fcgi "
               "subscribe`\n"
               "    make the subscription, or set the key that Close gave when it was made\n");
}

static bool is_plain_http(const char *url)
{
    static const char *const near[] = {"http://127.", "http://localhost", "http://[::1]"};
    if (strncmp(url, "http://", 7) != 0)
        return false;
    for (size_t i = 0; i < sizeof near / sizeof *near; i++) {
        if (strncmp(url, near[i], strlen(near[i])) == 0)
            return false;
    }
    return true;
}

/* Tries a source's data plane and says what was found. Returns false when it is not as it should be. */
static bool try_data_plane(const struct config *config, const struct source *source)
{
    struct error why = {0};
    bool good = forward_try(config, source, &why);
    printf("  data plane: %s: %s\n", good ? "ok" : "WRONG", why.text);
    return good;
}

/* Asks Close whether it takes the API key, and looks at the subscriptions, where the source has a key. */
static bool try_close(const struct config *config, const struct source *source)
{
    struct error why = {0};
    if (source->close_api_key == NULL)
        return true;
    bool good = closeapi_check(config, source, &why);
    printf("  Close: %s: %s\n", good ? "ok" : "WRONG", why.text);
    return good;
}

/* delivers: is told for each source whether its data plane takes its key. */
static size_t check_sources(const struct config *config, bool offline, bool *delivers)
{
    size_t wrong = 0;
    for (size_t i = 0; i < config->sources; i++) {
        const struct source *source = &config->source[i];
        printf("\nsource %s\n", source->name);
        print_address(config, source);
        if (is_plain_http(source->data_plane_url))
            printf("  data_plane_url is http: events and write key travel readable by others; use https\n");
        if (source->accept_empty == ANSWER_YES)
            printf(
                "  accept_empty = yes: any server that answers 200 with an empty body, also one that is not the data "
                "plane,\n    counts as having stored the events; set it only where `no` keeps real deliveries "
                "waiting\n");
        if (source->signature_none)
            printf("  warning: signature_key = none: whoever knows the address and the write key can send events\n");
        fflush(stdout); /* trying may take a while */
        if (offline)
            continue;
        delivers[i] = try_data_plane(config, source);
        fflush(stdout);
        bool asks = try_close(config, source);
        wrong += !delivers[i] || !asks;
    }
    return wrong;
}

/* Keys that are held for sources that are not configured. */
static void print_stray_keys(const struct config *config)
{
    struct keyring held;
    if (!keyring_read(config->state_dir, &held, NULL))
        return;
    for (size_t i = 0; i < held.count; i++) {
        if (config_source(config, held.at[i].source) == NULL)
            printf("\nthe key of subscription %s is held for source %s, which is not in the configuration: if that was "
                   "renamed,\n  closecrm.fcgi queue move %s NEW\n",
                   held.at[i].subscription, held.at[i].source, held.at[i].source);
    }
    keyring_free(&held);
}

/* ---- the queue ---- */

static void print_library(const struct config *config)
{
    char library[QUEUE_LIBRARY];
    queue_library(config, library);
    printf("  library: %s. Nobody else may write or checkpoint the queue while it is in use: look only at a copy\n"
           "    made by `closecrm.fcgi backup`\n",
           library);
}

static void print_moment(const char *label, int64_t ms, int64_t now_ms)
{
    char date[WHEN_SIZE], age[WHEN_SIZE];
    if (ms == 0)
        printf("  %s: never\n", label);
    else
        printf("  %s: %s (%s ago)\n", label, times_print_utc(ms, date), times_print_age(now_ms - ms, age));
}

/* How many things are wrong, of those that a view shows. */
static size_t print_findings(const struct facts *facts, enum finding_view view)
{
    size_t wrong = 0;
    for (const struct finding *one = NULL; (one = report_next(facts, one, view)) != NULL;) {
        bool is_bad = one->severity == SEVERITY_BAD;
        printf("  %s%s%s%s", is_bad ? "WRONG: " : "", one->source != NULL ? "source " : "",
               one->source != NULL ? one->source->name : "", one->source != NULL ? ": " : "");
        plain_write(stdout, one->sentence, strlen(one->sentence));
        if (one->remedy[0] != '\0')
            printf("\n    %s%s%s", one->remedy, one->command[0] != '\0' ? ": " : "", one->command);
        putchar('\n');
        wrong += is_bad;
    }
    return wrong;
}

/* Tells the process that forwards, if the data plane of a source that waits was just found to take its key. */
static void tell_mended(struct facts *facts, const bool *delivers, struct queue *queue)
{
    bool mended = false;
    for (size_t i = 0; i < facts->config->sources; i++) {
        facts->source[i].takes_key = delivers[i];
        mended = mended || finding_judge(FINDING_DATA_PLANE_MENDED, facts, &facts->source[i], NULL) == FINDING_FOUND;
    }
    if (mended && queue != NULL && forward_mended(facts->config))
        queue_wake(queue);
}

static void print_queue(const struct facts *facts)
{
    char age[WHEN_SIZE];
    check_file_system(facts->config->state_dir);
    print_library(facts->config);
    printf("  waiting: %" PRIu64, facts->all.waiting);
    if (facts->all.waiting > 0)
        printf(", the oldest since %s", times_print_age(facts->now_ms - facts->all.oldest_received_ms, age));
    printf("\n  forwarding: %s\n", facts->owner.text);
    print_moment("last accepted", facts->all.last_accepted_ms, facts->now_ms);
    print_moment("last delivered", facts->all.last_delivered_ms, facts->now_ms);
    print_moment("last cron", facts->cron_ms, facts->now_ms);
    if (facts->cron_ms == 0 && facts->launcher == NULL)
        printf("    where the web server starts the program (CGI, mod_fcgid), `closecrm.fcgi cron` belongs into the\n"
               "    crontab of its user, for every minute\n");
}

/* The queue was `sqlite` before, and is `none` now. */
static size_t check_left_behind(const struct config *config)
{
    uint64_t waiting;
    struct error why = {0};
    bool known = queue_left_behind(config, &waiting, &why);
    if (known && waiting == 0)
        return 0;
    printf("\nstate directory %s\n", config->state_dir);
    if (!known) {
        printf(
            "  WRONG: there is a queue.db, which queue = none does not use, and what waits in it cannot be told: %s\n",
            why.text);
        return 1;
    }
    printf("  WRONG: %" PRIu64 " events wait in its queue.db, and with queue = none nothing delivers them: set\n"
           "    queue = sqlite until they are delivered, which `closecrm.fcgi queue status` shows\n",
           waiting);
    return 1;
}

/* Whether the queue may be opened; *wrong counts what is wrong otherwise. */
static bool look_at_state(const struct config *config, size_t *wrong)
{
    struct error why = {0};
    switch (session_become_owner(config, &why)) {
    case SESSION_PLACE_NONE:
        *wrong = check_left_behind(config);
        return false;
    case SESSION_PLACE_MISSING:
        printf("\nstate directory %s\n  %s\n", config->state_dir, why.text);
        return false;
    case SESSION_PLACE_BARRED:
        printf("\nstate directory %s\n  WRONG: %s\n", config->state_dir, why.text);
        *wrong = 1;
        return false;
    case SESSION_PLACE_READY:
        break;
    }
    *wrong = check_state_directory(config);
    return *wrong == 0;
}

/* The queue, and all else that is found. It is closed before anything is printed, which takes as long as a pager likes.
 * *stands_still: events wait, and no process forwards; that is wrong only when it lasts. */
static size_t check_queue(const struct config *config, const bool *delivers, bool *stands_still)
{
    size_t wrong = 0;
    struct error why = {0};
    bool opens = look_at_state(config, &wrong);
    struct queue *queue = opens ? queue_open(config, &why) : NULL;
    struct facts *facts = facts_gather(config, queue, opens ? &why : NULL, NULL, clock_unix_ms());
    if (facts != NULL)
        tell_mended(facts, delivers, queue);
    queue_close(queue);
    if (facts == NULL || !findings_judge(facts)) {
        printf("  WRONG: out of memory\n");
        facts_free(facts);
        return wrong + 1;
    }
    if (opens && facts->queue_works)
        print_queue(facts);
    if (config->queue == QUEUE_NONE && report_next(facts, NULL, VIEW_CHECK) != NULL)
        puts("\nqueue = none");
    wrong += print_findings(facts, VIEW_CHECK);
    wrong += check_alerts(config);
    print_last_errors(config);
    *stands_still = report_finds(facts, FINDING_NOT_FORWARDED_NOW, VIEW_CHECK);
    facts_free(facts);
    return wrong;
}

/* Without looking into the queue, and what is missing in the state directory is no fault of a configuration. */
static size_t check_offline(const struct config *config)
{
    size_t wrong = check_state_directory(config);
    struct facts *facts = facts_gather(config, NULL, NULL, NULL, clock_unix_ms());
    if (facts != NULL && findings_judge(facts))
        print_findings(facts, VIEW_OFFLINE);
    facts_free(facts);
    return wrong;
}

/* ---- all of it ---- */

struct check_end {
    size_t sources_wrong, sources;
    size_t queue_wrong, place_wrong;
    bool stands_still; /* events wait, and nothing forwards them */
    bool offline;
};

static void print_check_end(const struct check_end *end)
{
    if (end->sources_wrong > 0)
        printf("\n%zu of %zu sources have something wrong: see WRONG above\n", end->sources_wrong, end->sources);
    if (end->queue_wrong > 0)
        printf("\nThe queue needs attention: see WRONG above\n");
    if (end->place_wrong > 0)
        printf("\nThe place where the program runs needs attention: see WRONG above\n");
    if (end->sources_wrong + end->queue_wrong + end->place_wrong > 0)
        return;
    if (end->stands_still)
        puts("\nEvents wait, and no process forwards them now: see above. No other fault was found");
    else
        printf("\n%s\n", end->offline ? "The configuration is good; nothing else was tried" : "Nothing is wrong");
}

int command_check(int argc, char **argv)
{
    bool offline = false;
    const struct option_spec specs[] = {{"--offline", NULL, &offline}};
    if (!options_read(argc, argv, specs, 1, NULL))
        return COMMAND_USAGE;
    struct error why = {0};
    struct config *config = config_load(&why);
    if (config == NULL) {
        fprintf(stderr, "check: %s\n", why.text);
        if (offline)
            keep_refused_configuration(&why);
        else
            print_last_errors(NULL);
        return COMMAND_CONFIGURATION;
    }
    bool *delivers = calloc(config->sources + 1, sizeof *delivers);
    if (delivers == NULL) {
        fprintf(stderr, "check: out of memory\n");
        config_free(config);
        return COMMAND_FAILED;
    }
    config_print(config, stdout);
    size_t sources_wrong = check_sources(config, offline, delivers);
    print_stray_keys(config);
    size_t place_wrong = offline ? 0 : check_place(config);
    bool stands_still = false;
    size_t queue_wrong = offline ? check_offline(config) : check_queue(config, delivers, &stands_still);
    print_check_end(
        &(struct check_end){sources_wrong, config->sources, queue_wrong, place_wrong, stands_still, offline});
    free(delivers);
    config_free(config);
    return sources_wrong + queue_wrong + place_wrong == 0 ? COMMAND_OK : COMMAND_FAILED;
}
