/* Errors of Close's API and of the connection, in words for the person who has to mend them. */
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "closeapi/client.h"

struct error_text {
    int key; /* status or libcurl's code */
    bool lasting;
    const char *text;
};

static const struct error_text statuses[] = {
    {400, true, "Close does not take what was asked"},
    {401, true,
     "Close refuses close_api_key: make a new key in Close (Settings, Developer, API Keys) and put it into the "
     "configuration"},
    {402, true, "Close wants to be paid for this: see the plan of the organization"},
    {403, true, "the user of close_api_key may not do this in Close: use the key of an administrator"},
    {404, true, "Close knows no such thing: is the id right (`closecrm.fcgi subscriptions`), and close_api_url?"},
    {405, true, "this is not Close's API: is close_api_url right?"},
    {415, true, "Close does not take this kind of request: is close_api_url right?"},
    {429, false, "Close's rate limit stays exceeded: something else uses the API a lot; try again later"},
};

static const struct error_text failures[] = {
    {CURLE_COULDNT_RESOLVE_HOST, false, "no such host: is the network up, and close_api_url right?"},
    {CURLE_COULDNT_CONNECT, false, "no connection: is the network up, and close_api_url right?"},
    {CURLE_COULDNT_RESOLVE_PROXY, false, "the proxy of the environment is no such host: mend https_proxy"},
    {CURLE_OPERATION_TIMEDOUT, false, "no answer in time: try again later"},
    {CURLE_PEER_FAILED_VERIFICATION, true,
     "its certificate cannot be verified: is something in between? Set ca_file if its certificates are not the "
     "system's"},
    {CURLE_SSL_CACERT_BADFILE, true, "the certificates of ca_file cannot be read: mend ca_file"},
    {CURLE_SSL_CONNECT_ERROR, true, "TLS fails: is close_api_url right, and is something in between?"},
    {CURLE_UNSUPPORTED_PROTOCOL, true, "close_api_url must begin with https://"},
    {CURLE_URL_MALFORMAT, true, "close_api_url is no URL"},
    {CURLE_FILESIZE_EXCEEDED, true, "the answer is larger than any of Close's: is close_api_url right?"},
};

static const struct error_text *find_error_text(const struct error_text *table, size_t count, int key)
{
    for (size_t i = 0; i < count; i++) {
        if (table[i].key == key)
            return &table[i];
    }
    return NULL;
}

void close_error_of_status(struct error *why, int status, const char *body, size_t length)
{
    char quoted[LOG_QUOTED];
    const struct error_text *found = find_error_text(statuses, sizeof statuses / sizeof *statuses, status);
    const char *text = "Close does not answer as it should: try again later";
    if (found != NULL)
        text = found->text;
    else if (status < 500)
        text = "this is no answer of Close's API: is close_api_url right?";
    log_quote(quoted, body == NULL ? "" : body, length);
    error_set_kind(why, status == 400 ? ERROR_REJECTED : ERROR_GENERAL, "%s (answered %d%s%.*s)", text, status,
                   length == 0 ? "" : ": ", length == 0 ? 0 : 220, quoted);
}

bool close_error_is_lasting(int code)
{
    const struct error_text *found = find_error_text(failures, sizeof failures / sizeof *failures, code);
    return found != NULL && found->lasting;
}

void close_error_of_code(struct error *why, int code, const char *error, const char *url)
{
    const struct error_text *found = find_error_text(failures, sizeof failures / sizeof *failures, code);
    const char *words = error[0] != '\0' ? error : curl_easy_strerror((CURLcode)code);
    error_set(why, "cannot ask Close at %.150s: %s (%.180s)", url,
              found != NULL ? found->text : "the connection broke: try again later", words);
}
