/* What can be done on the status page: each action is a form with a token, and says what happened. */
#include "status/status_private.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "closeapi/closeapi.h"
#include "closeapi/subscriptions.h"
#include "config/config.h"
#include "forward/forward.h"
#include "kept/kept.h"

/* ---- activating what Close has paused ---- */

/* Somebody looks at the page and waits. */
#define PATIENCE_MS 5000
#define LOCK_WAIT_MS 2000

struct resuming {
    const struct config *config;
    const struct source *source;
    char directory[4096];
    struct close_client *client;
    struct subscriptions list;
    char resumed[400]; /* ids */
    size_t count;
    size_t by_command; /* paused by `closecrm.fcgi pause`: they stay so */
};

/* Activates those that Close has paused; what an operator has paused by the command stays paused. */
static bool activate_paused(struct resuming *run, struct error *why)
{
    for (size_t i = 0; i < run->list.count; i++) {
        const struct subscription *one = &run->list.at[i];
        size_t used = strlen(run->resumed);
        if (!subscription_is_paused(one))
            continue;
        if (closeapi_paused_by_us(run->directory, one->id)) {
            run->by_command++;
            continue;
        }
        if (subscriptions_set_status(run->client, one->id, "active", why) != CLOSE_DONE)
            return false;
        snprintf(run->resumed + used, sizeof run->resumed - used, "%s%s", used == 0 ? "" : ", ", one->id);
        run->count++;
    }
    return true;
}

/* The page is not to go on saying that it is paused, and the gap is to be filled soon: the next run is due. Not while a
 * run is under way, which finds out itself. */
static void note_resumed(const struct resuming *run)
{
    struct error why;
    struct completeness state = {0};
    struct kept *lock = closeapi_lock(run->config, run->directory, "reconcile.lock", LOCK_WAIT_MS, &why);
    if (lock == NULL)
        return;
    if (completeness_read(run->directory, &state, &why) && state.last_run_ms > 0) {
        state.paused = false;
        state.trouble[0] = '\0';
        state.last_run_ms = 1;
        completeness_write(lock, run->directory, &state, &why);
    }
    completeness_free(&state);
    kept_close(lock);
}

static bool resume_paused(struct resuming *run, struct error *why)
{
    static const struct close_options options = {.patience_ms = PATIENCE_MS, .stop_fd = -1};
    if (run->source->close_api_key == NULL) {
        error_set(why, "this needs close_api_key in the configuration");
        return false;
    }
    run->client = close_client_new(run->config, run->source, &options, why);
    if (run->client == NULL || !closeapi_directory(run->config, run->source, run->directory, why))
        return false;
    struct kept *lock = closeapi_lock(run->config, run->directory, "subscribe.lock", LOCK_WAIT_MS, why);
    if (lock == NULL)
        return false;
    bool good = subscriptions_list(run->client, &run->list, why) == CLOSE_DONE;
    good = good && activate_paused(run, why);
    kept_close(lock);
    if (good)
        note_resumed(run);
    return good;
}

static void say_result(const struct resuming *run, char words[static ACTION_WORDS])
{
    char line[OWN_COMMAND];
    const char *gap = run->config->queue == QUEUE_NONE
                          ? "What was missed meanwhile stays missing: queue = none does not fill it."
                          : "What was missed meanwhile is fetched from the Event Log within a quarter of an hour.";
    if (run->count > 0)
        snprintf(words, ACTION_WORDS, "%s %s active again: Close sends. %s", run->resumed,
                 run->count == 1 ? "is" : "are", gap);
    else if (run->by_command > 0)
        snprintf(words, ACTION_WORDS,
                 "Nothing was changed: what is paused was paused by the command `pause`, and `%s` activates it.",
                 own_command(line, run->config, run->source->name, "resume ID"));
    else
        snprintf(words, ACTION_WORDS, "Nothing is paused in Close any more: it was activated meanwhile.");
}

/* Activates the subscriptions of a source that Close has paused. */
static bool resume_subscriptions(const struct config *config, const struct source *source,
                                 char words[static ACTION_WORDS])
{
    struct error why = {0};
    struct resuming run = {.config = config, .source = source};
    bool good = resume_paused(&run, &why);
    if (good)
        say_result(&run, words);
    else
        snprintf(words, ACTION_WORDS, "It could not be activated: %s%s%s", why.text,
                 run.count > 0 ? "; active again is " : "", run.resumed);
    subscriptions_free(&run.list);
    close_client_free(run.client);
    return good;
}

/* ---- the forms ---- */

#define FORM_MOST 4096         /* bytes */
#define REPLAY_ALL_MS 10000    /* then it says how far it got: somebody waits */
#define REPLAY_MOST UINT32_MAX /* no form asks for more */

struct form {
    const struct config *config;
    struct queue_view *queue_view;
    struct request *request;
    const char *text;
    size_t length;
    struct action_outcome *outcome;
};

static bool is_https(const struct request *request)
{
    const char *https = request_variable(request, "HTTPS");
    const char *scheme = request_variable(request, "REQUEST_SCHEME");
    const char *forwarded = request_header(request, "X_FORWARDED_PROTO");
    return (https != NULL && strcasecmp(https, "off") != 0) || (scheme != NULL && strcmp(scheme, "https") == 0) ||
           (forwarded != NULL && strcmp(forwarded, "https") == 0);
}

void action_base(const struct request *request, char *out, size_t size)
{
    const char *host = request_header(request, "HOST");
    const char *mount = request_variable(request, "SCRIPT_NAME");
    const char *path = request_path(request);
    if (mount == NULL)
        mount = "";
    size_t length = strlen(mount), behind = strlen(path);
    /* Some servers leave the whole path in SCRIPT_NAME. */
    if (length >= behind && strcmp(mount + length - behind, path) == 0)
        length -= behind;
    while (length > 0 && mount[length - 1] == '/')
        length--;
    snprintf(out, size, "http%s://%s%.*s", is_https(request) ? "s" : "", host == NULL ? "YOUR-SITE" : host, (int)length,
             mount);
}

static enum action_result refuse_form(const struct form *form, int status, const char *words)
{
    request_refuse(form->request, status, NULL, words);
    return ACTION_REFUSED;
}

/* Whether the dead letter's source is configured, or it is not there any more. */
static bool is_configured(const struct form *form, uint64_t id)
{
    struct letters letters = {0};
    bool found = queue_view_letter(form->queue_view, id, &letters);
    bool configured = !found || config_source(form->config, letters.at[0].source) != NULL;
    letters_free(&letters);
    return configured;
}

static enum action_result replay_letter(const struct form *form)
{
    char id[24], words[LOG_QUOTED];
    struct error why = {0};
    struct action_outcome *outcome = form->outcome;
    if (!request_field(form->text, form->length, "letter", id, sizeof id))
        return refuse_form(form, 400, "which dead letter?");
    if (!is_configured(form, strtoull(id, NULL, 10)))
        return refuse_form(
            form, 409,
            "its source is not in the configuration, so that it would wait for ever: configure that again, or "
            "give its events to another, as the page says where it tells of this");
    if (!queue_view_replay(form->queue_view, strtoull(id, NULL, 10), &outcome->done, &why)) {
        log_write(LEVEL_ERROR, "msg=cannot_replay reason=%s", log_quote_reason(words, why.text));
        return refuse_form(form, 503, "it could not be replayed: the log says why");
    }
    log_write(LEVEL_INFO, "msg=replayed by=status letters=%zu", outcome->done);
    snprintf(outcome->words, sizeof outcome->words, "%s",
             outcome->done > 0 ? "The event is on its way again." : "That dead letter is on its way already, or gone.");
    return ACTION_REPLAYED;
}

/* The source that the form names; NULL: it is not configured. */
static const struct source *form_source(const struct form *form)
{
    char name[104];
    return request_field(form->text, form->length, "source", name, sizeof name) ? config_source(form->config, name)
                                                                                : NULL;
}

static enum action_result refuse_source(const struct form *form)
{
    return refuse_form(form, 404, "there is no such source in the configuration");
}

/* The count that was read before the button was pressed is the most that goes. */
static enum action_result replay_all(const struct form *form)
{
    char text[24];
    struct error why = {0};
    struct action_outcome *outcome = form->outcome;
    const struct source *source = form_source(form);
    if (source == NULL)
        return refuse_source(form);
    unsigned long long wanted =
        request_field(form->text, form->length, "count", text, sizeof text) ? strtoull(text, NULL, 10) : 0;
    if (wanted == 0 || wanted > REPLAY_MOST)
        return refuse_form(form, 400, "how many?");
    outcome->good = queue_view_replay_all(form->queue_view, source->name, (size_t)wanted, clock_now() + REPLAY_ALL_MS,
                                          &outcome->done, &why);
    if (!outcome->good)
        log_write(LEVEL_ERROR, "msg=cannot_replay reason=%s", log_quote_reason((char[LOG_QUOTED]){""}, why.text));
    log_write(LEVEL_INFO, "msg=replayed by=status source=%s letters=%zu", source->name, outcome->done);
    snprintf(outcome->words, sizeof outcome->words, "%zu dead letter%s of %s %s on %s way again.%s", outcome->done,
             text_plural(outcome->done), source->name, outcome->done == 1 ? "is" : "are",
             outcome->done == 1 ? "its" : "their",
             !outcome->good           ? " Then it failed: the log says why."
             : outcome->done < wanted ? " The others were on their way already, or gone, or are left for another press."
                                      : "");
    return ACTION_SAID;
}

/* Asks first, with a batch that holds nothing: the answer tells more than to see the events wait still. */
static enum action_result try_now(const struct form *form)
{
    struct error why = {0};
    struct action_outcome *outcome = form->outcome;
    const struct source *source = form_source(form);
    if (source == NULL)
        return refuse_source(form);
    outcome->good = forward_try(form->config, source, &why);
    if (why.text[0] != '\0')
        why.text[0] = (char)toupper((unsigned char)why.text[0]);
    bool noted = form->config->queue != QUEUE_NONE && forward_mended(form->config, NULL);
    if (noted)
        queue_view_wake(form->queue_view);
    snprintf(outcome->words, sizeof outcome->words, "%.500s.%s", why.text,
             form->config->queue == QUEUE_NONE ? " With queue = none Close sends again what was not taken."
             : !noted                          ? " What waits is tried again when its time comes."
             : outcome->good                   ? " What waits is sent now, and what is held back is tried."
                                               : " What waits is tried once all the same.");
    log_write(LEVEL_INFO, "msg=tried by=status source=%s good=%d", source->name, outcome->good);
    return ACTION_SAID;
}

static enum action_result send_test(const struct form *form)
{
    char base[512];
    const struct source *source = form_source(form);
    if (source == NULL)
        return refuse_source(form);
    action_base(form->request, base, sizeof base);
    form->outcome->good = self_test(form->config, source, base, form->outcome->words);
    return ACTION_SAID;
}

static enum action_result resume(const struct form *form)
{
    const struct source *source = form_source(form);
    if (source == NULL)
        return refuse_source(form);
    form->outcome->good = resume_subscriptions(form->config, source, form->outcome->words);
    log_write(LEVEL_INFO, "msg=resume by=status source=%s good=%d", source->name, form->outcome->good);
    return ACTION_SAID;
}

/* Keys have only characters that may stand in a query. */
static enum action_result show_key(const struct form *form)
{
    char base[512];
    struct shown_key *key = &form->outcome->key;
    const struct source *source = NULL;
    if (request_field(form->text, form->length, "source", key->source, sizeof key->source))
        source = config_source(form->config, key->source);
    if (source == NULL || source->write_key.count == 0)
        return refuse_form(form, 404, "there is no such source, or it has no write key");
    action_base(form->request, base, sizeof base);
    snprintf(key->url, sizeof key->url, "%s%s%s?writeKey=", base, source->line > 0 ? "/" : "",
             source->line > 0 ? source->name : "");
    for (const char *c = source->write_key.at[0]; *c != '\0'; c++) {
        size_t used = strlen(key->url);
        snprintf(key->url + used, sizeof key->url - used, strchr("%&+=?/", *c) == NULL ? "%c" : "%%%02X", (unsigned)*c);
    }
    log_write(LEVEL_INFO, "msg=write_key_shown source=%s", source->name);
    return ACTION_KEY;
}

static const struct {
    const char *name;
    enum action_result (*act)(const struct form *);
} actions[] = {
    {"replay", replay_letter}, {"replay_all", replay_all}, {"try", try_now},
    {"test", send_test},       {"resume", resume},         {"key", show_key},
};

static enum action_result take_form(const struct form *form, struct tokens *tokens)
{
    char token[TOKEN_SIZE + 1], name[16];
    if (!request_field(form->text, form->length, "token", token, sizeof token) ||
        !tokens_are_good(tokens, form->config, clock_unix_ms(), token))
        return refuse_form(form, 403, "this form is too old, or not from this page: reload it and try again");
    if (request_field(form->text, form->length, "action", name, sizeof name)) {
        for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
            if (strcmp(name, actions[i].name) == 0)
                return actions[i].act(form);
        }
    }
    return refuse_form(form, 400, "there is no such action");
}

void action_take(const struct config *config, struct tokens *tokens, struct queue_view *queue_view,
                 struct request *request, struct action_outcome *outcome, bool *json)
{
    char format[8];
    struct error why = {0};
    struct form form = {.config = config, .queue_view = queue_view, .request = request, .outcome = outcome};
    if (request_body(request, &form.text, &form.length, &why) != BODY_OK || form.length > FORM_MOST) {
        outcome->result = refuse_form(&form, 400, "the form did not arrive");
        return;
    }
    *json = request_field(form.text, form.length, "format", format, sizeof format) && strcmp(format, "json") == 0;
    outcome->result = take_form(&form, tokens);
}

void action_forget(struct shown_key *key)
{
    explicit_bzero(key, sizeof *key);
}
