/* Actions of the status page: replay a dead letter, show a webhook URL with its key. */
#include "status/status_private.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"

#define FORM_MOST 4096 /* bytes */

struct form {
    const struct config *config;
    struct queue_view *queue_view;
    struct request *request;
    const char *text;
    size_t length;
    struct shown_key *key;
    size_t *done;
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
    if (!request_field(form->text, form->length, "letter", id, sizeof id))
        return refuse_form(form, 400, "which dead letter?");
    if (!is_configured(form, strtoull(id, NULL, 10)))
        return refuse_form(
            form, 409,
            "its source is not in the configuration, so that it would wait for ever: configure that again, or "
            "give its events to another: closecrm.fcgi queue move OLD NEW");
    if (!queue_view_replay(form->queue_view, strtoull(id, NULL, 10), form->done, &why)) {
        log_write(LEVEL_ERROR, "msg=cannot_replay reason=%s", log_quote(words, why.text, strlen(why.text)));
        return refuse_form(form, 503, "it could not be replayed: the log says why");
    }
    log_write(LEVEL_INFO, "msg=replayed by=status letters=%zu", *form->done);
    return ACTION_REPLAYED;
}

/* Keys have only characters that may stand in a query. */
static enum action_result show_key(const struct form *form)
{
    char base[512];
    struct shown_key *key = form->key;
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
    {"replay", replay_letter},
    {"key", show_key},
};

enum action_result action_take(const struct config *config, struct tokens *tokens, struct queue_view *queue_view,
                               struct request *request, struct shown_key *key, size_t *done)
{
    struct error why = {0};
    struct form form = {.config = config, .queue_view = queue_view, .request = request, .key = key, .done = done};
    char token[TOKEN_SIZE + 1], name[16];
    if (request_body(request, &form.text, &form.length, &why) != BODY_OK || form.length > FORM_MOST)
        return refuse_form(&form, 400, "the form did not arrive");
    if (!request_field(form.text, form.length, "token", token, sizeof token) ||
        !tokens_are_good(tokens, config, clock_unix_ms(), token))
        return refuse_form(&form, 403, "this form is too old, or not from this page: reload it and try again");
    if (request_field(form.text, form.length, "action", name, sizeof name)) {
        for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
            if (strcmp(name, actions[i].name) == 0)
                return actions[i].act(&form);
        }
    }
    return refuse_form(&form, 400, "there is no such action");
}

void action_forget(struct shown_key *key)
{
    OPENSSL_cleanse(key, sizeof *key);
}
