/* A webhook sent as Close would send it, what its answer means, and what to change. */
#include "commands/delivery.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/escape.h"
#include "base/http_request.h"
#include "base/program_name.h"
#include "base/text.h"
#include "commands/commands.h"
#include "config/config.h"
#include "webhook/auth.h"
#include "webhook/webhook.h"

/* ---- advice ---- */

/* Who answered: the words of the program are JSON, those of a web server are a page. */
enum answered_by { ANYBODY, PROGRAM, SERVER };

/* mod_fcgid's limit where nobody has set another; it answers 500 above it. */
#define FCGID_LIMIT 131072

/* Whatever refuses. */
#define LATER "Close keeps the event and tries again for 72 hours"

static const struct {
    long first, last; /* statuses */
    enum answered_by by;
    size_t above; /* only where more bytes than this were sent */
    const char *text;
} answers[] = {
    {200, 299, ANYBODY, 0,
     "something else answers at this address, a page or an application of the site: the path does not lead to\n"
     "closecrm.fcgi. Compare it with where the web server's configuration mounts the program"},
    {300, 399, ANYBODY, 0,
     "the address redirects (often from http to https, or to a name with or without www): give Close the address that\n"
     "it leads to"},
    {400, 400, PROGRAM, 0, "the program cannot use this body; the answer says why"},
    {401, 401, PROGRAM, 0,
     "the running program has other keys for this source than this command's configuration: compare `path` in\n"
     "`closecrm.fcgi check` with the file it was started with, or the URL names another source"},
    {401, 401, SERVER, 0,
     "the web server asks for a password of its own: except this path from it, Close cannot give one"},
    {403, 403, SERVER, 0,
     "the web server refuses: an access rule, ModSecurity (look for its rule id in the error log), or the program's "
     "file\n"
     "may not be executed (chmod 755; suexec also wants its folder writable by its owner only)"},
    {404, 404, PROGRAM, 0, "the program has no source of the name that ends the URL: `closecrm.fcgi check` lists them"},
    {404, 404, SERVER, 0,
     "the web server knows nothing at this path: compare it with where its configuration mounts the program, and "
     "reload\n"
     "the web server after a change"},
    {405, 405, SERVER, 0,
     "the web server takes the program for a plain file and does not execute it: ExecCGI and a handler for it are "
     "missing"},
    {405, 405, PROGRAM, 0, "the POST arrived as something else: a proxy or a redirect on the way turned it into a GET"},
    {408, 408, ANYBODY, 0,
     "the body came too slowly for the web server (Apache: RequestReadTimeout) or the program (request_timeout)"},
    {411, 411, ANYBODY, 0,
     "a server on the way drops the body's length: lighttpd wants server.stream-request-body = 0, Apache's proxy\n"
     "SetEnv proxy-sendcl 1"},
    {413, 413, PROGRAM, 0, "larger than this program takes: raise max_body in closecrm.conf"},
    {413, 413, ANYBODY, 0,
     "larger than a server before the program takes. nginx: client_max_body_size (1m unless set); Apache:\n"
     "LimitRequestBody; ModSecurity: SecRequestBodyNoFilesLimit (131072 is usual); lighttpd: server.max-request-size "
     "(KB)"},
    {500, 500, ANYBODY, FCGID_LIMIT,
     "mod_fcgid answers 500 to a body above its FcgidMaxRequestLen, 131072 bytes unless set, which an e-mail event\n"
     "exceeds: set FcgidMaxRequestLen 16777216 in the server or virtual host (.htaccess cannot), or run the program "
     "as\n"
     "plain CGI, in cgi-bin under the name closecrm.cgi. If a small event fails too, look into the web server's error "
     "log"},
    {500, 500, ANYBODY, 0,
     "the program did not start or died: the web server's error log says why. Usual: not executable (chmod 755), "
     "uploaded\n"
     "as text, a missing library, a faulty configuration (`closecrm.fcgi check`)"},
    {502, 502, ANYBODY, 0,
     "the web server found no program behind its socket: is it running (spawn-fcgi starts it, and starts it only "
     "once),\n"
     "is the socket's path the same, and may the web server's user open it?"},
    {503, 503, PROGRAM, 0,
     "the program cannot take the event now: `closecrm.fcgi check` on the server and the program's log say "
     "why.\n" LATER},
    {503, 503, ANYBODY, 0,
     "the web server has no process for it: the program is not running (spawn-fcgi), died several times in a row "
     "(mod_fcgid\n"
     "then waits), or the host's limit of processes is reached. The error log says which"},
    {504, 504, ANYBODY, 0,
     "the web server waited too long for the program: its time-out must be above 15 s (nginx: fastcgi_read_timeout; "
     "Apache:\n"
     "ProxyTimeout, FcgidIOTimeout)"},
    {0, 999, PROGRAM, 0, "the program's answer says why"},
    {0, 999, ANYBODY, 0, "not an answer that this program gives: look into the web server's error log"},
};

/* What the program itself has said, where that tells more than the status. */
static const struct {
    enum refusal refusal;
    const char *text;
} refusals[] = {
    {REFUSED_UNCLEAR_SOURCE, "the URL does not say which source is meant: put /NAME at its end, or give --source"},
    {REFUSED_NO_WRITE_KEY, "the request arrived without its write key: does a redirect or a proxy on the way drop the "
                           "query (?writeKey=...)?"},
    {REFUSED_NO_SIGNATURE,
     "the running program takes only signed requests, and none came: has this command's configuration the source's\n"
     "signature key? If it was sent \"signed\", something on the way drops the headers close-sig-hash and\n"
     "close-sig-timestamp"},
    {REFUSED_SIGNATURE_TIME,
     "the clocks of this machine and of the program's differ by more than signature_tolerance: set the one that is "
     "wrong"},
    {REFUSED_NO_MEMORY, "the program has more in hand than it has memory for: more memory, fewer request_threads, or a "
                        "smaller max_body.\n" LATER},
    {REFUSED_QUEUE_FULL, "the program has no room for new events (queue_max_bytes, the disk, a quota): `closecrm.fcgi "
                         "check` on the server\n"
                         "says what is full and what to do. " LATER},
    {REFUSED_QUEUE_SLOW, "the program could not store the event within 12 s: the disk of its state_dir is too slow, or "
                         "the database of\n"
                         "queue_url did not answer; with `queue = none` the data plane did not take the event. "
                         "`closecrm.fcgi check` on the\n"
                         "server tries both. " LATER},
    {REFUSED_QUEUE_BROKEN,
     "the program cannot write into its queue: `closecrm.fcgi check` on the server and the web server's error log say\n"
     "why. " LATER},
    {REFUSED_NO_KEY,
     "this source takes only signed requests, and its signature key is missing: `closecrm.fcgi check` on the server "
     "says\n"
     "which, and the command that makes a new one. " LATER},
};

static const char *advice_on_refusal(enum refusal refusal)
{
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        if (refusals[i].refusal == refusal)
            return refusals[i].text;
    }
    return NULL;
}

const char *advice_on_answer(long status, const char *sentence, size_t sent)
{
    enum answered_by by = sentence != NULL ? PROGRAM : SERVER;
    const char *known = sentence != NULL ? advice_on_refusal(refusal_of(status, sentence)) : NULL;
    if (known != NULL)
        return known;
    size_t i = 0, last = sizeof answers / sizeof *answers - 1;
    for (; i < last; i++) {
        if (status >= answers[i].first && status <= answers[i].last &&
            (answers[i].above == 0 || sent > answers[i].above) && (answers[i].by == ANYBODY || answers[i].by == by))
            break;
    }
    return answers[i].text;
}

static const struct {
    CURLcode code;
    const char *text;
} failures[] = {
    {CURLE_COULDNT_RESOLVE_HOST,
     "the name has no address: look for a typing error, or the domain's DNS entry is missing"},
    {CURLE_COULDNT_RESOLVE_PROXY, "the proxy named in the environment (http_proxy, https_proxy) has no address"},
    {CURLE_COULDNT_CONNECT,
     "nothing listens there: is the web server running, is the port right, does a firewall refuse it?"},
    {CURLE_OPERATION_TIMEDOUT,
     "no answer in time. Close waits 5 s for a connection and 15 s for an answer: look for a firewall that swallows\n"
     "packets, or a program that hangs (the web server's error log)"},
    {CURLE_PEER_FAILED_VERIFICATION, "the certificate is not good for this name, expired, signed by nobody known, or "
                                     "sent without the certificates between\n"
                                     "(Apache: SSLCertificateFile with the full chain). Close would refuse it too"},
    {CURLE_SSL_CONNECT_ERROR,
     "no TLS there, or none that both sides speak: is it https on this port? TLS 1.2 or newer must be allowed"},
    {CURLE_GOT_NOTHING, "the connection was closed without an answer: the program or the web server's worker died. "
                        "Look into the error log"},
    {CURLE_SEND_ERROR,
     "the connection was cut while sending: usually a body limit of a server or proxy before the program"},
    {CURLE_RECV_ERROR, "the connection was cut while waiting: usually a body limit, or a worker that died"},
    {CURLE_WEIRD_SERVER_REPLY,
     "what listens there does not speak HTTP (a FastCGI port, perhaps): give the web server's"},
    {CURLE_UNSUPPORTED_PROTOCOL,
     "what listens there does not speak HTTP (a FastCGI port, perhaps), or the URL is not http(s)"},
};

const char *advice_on_failure(CURLcode code)
{
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        if (failures[i].code == code)
            return failures[i].text;
    }
    return "the request did not get through";
}

/* ---- sending ---- */

#define CONNECT_MS 5000L /* as long as Close waits for a connection */
#define ANSWER_MS 60000L /* longer than Close waits, to see what would have come */
#define ANSWER_MAX 65536 /* bytes; a web page in the place of an answer may be long */

CURLU *delivery_url(const char *text)
{
    CURLU *url = curl_url();
    char *scheme = NULL;
    bool good = url != NULL && curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK &&
                curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    curl_free(scheme);
    if (good)
        return url;
    curl_url_cleanup(url);
    return NULL;
}

static size_t take_body(char *data, size_t size, size_t count, void *context)
{
    struct buffer *body = context;
    size_t room = ANSWER_MAX - body->length, length = size * count;
    buffer_append(body, data, length < room ? length : room);
    return body->failed ? 0 : length;
}

/* Whether the URL names this machine: then a proxy in the environment is not meant. */
static bool is_this_machine(CURLU *url)
{
    char *host = NULL;
    if (curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK)
        return false;
    bool is = config_host_is_loopback(host);
    curl_free(host);
    return is;
}

static bool set_up(struct http_request *request, const struct delivery *delivery, struct delivery_answer *answer)
{
    char timestamp[64], hash[128];
    const bool is_signed = delivery->timestamp != NULL;
    const char *const headers[] = {delivery->is_get ? "Accept: application/json" : "Content-Type: application/json",
                                   is_signed ? timestamp : NULL, hash, NULL};
    const struct http_options options = {
        .agent = "closecrm.fcgi/" CLOSECRM_VERSION " send-test",
        .certificates = config_certificates(NULL),
        .headers = headers,
        .connect_ms = CONNECT_MS,
        .whole_ms = ANSWER_MS,
        .take_body = take_body,
        .context = &answer->body,
    };
    snprintf(timestamp, sizeof timestamp, "close-sig-timestamp: %s", is_signed ? delivery->timestamp : "");
    snprintf(hash, sizeof hash, "close-sig-hash: %s", is_signed ? delivery->hash : "");
    if (!http_request_open(request, &options))
        return false;
    curl_easy_setopt(request->easy, CURLOPT_CURLU, delivery->url);
    curl_easy_setopt(request->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    if (is_this_machine(delivery->url))
        curl_easy_setopt(request->easy, CURLOPT_NOPROXY, "*");
    if (delivery->is_get)
        return true;
    curl_easy_setopt(request->easy, CURLOPT_POST, 1L);
    curl_easy_setopt(request->easy, CURLOPT_POSTFIELDS, delivery->length == 0 ? "" : delivery->body);
    curl_easy_setopt(request->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)delivery->length);
    return true;
}

bool delivery_send(const struct delivery *delivery, struct delivery_answer *answer)
{
    *answer = (struct delivery_answer){.code = CURLE_FAILED_INIT};
    struct http_request request;
    const char *type = NULL;
    if (!set_up(&request, delivery, answer))
        return false;
    moment started = clock_now();
    http_request_begin(&request);
    answer->code = http_request_end(&request, curl_easy_perform(request.easy));
    answer->took_ms = clock_now() - started;
    curl_easy_getinfo(request.easy, CURLINFO_RESPONSE_CODE, &answer->status);
    curl_easy_getinfo(request.easy, CURLINFO_CONTENT_TYPE, &type);
    if (type != NULL)
        snprintf(answer->type, sizeof answer->type, "%.*s", (int)strcspn(type, "; "), type);
    memcpy(answer->error, request.error, sizeof answer->error);
    http_request_close(&request);
    return true;
}

bool delivery_sentence(const struct delivery_answer *answer, char sentence[static DELIVERY_SENTENCE])
{
    static const char start[] = "{\"error\": \"";
    const struct buffer *body = &answer->body;
    size_t from = sizeof start - 1, length = 0;
    sentence[0] = '\0';
    if (strcmp(answer->type, "application/json") != 0 || body->length < from || memcmp(body->data, start, from) != 0)
        return false;
    for (size_t i = from; i < body->length && length < DELIVERY_SENTENCE - 1; i++) {
        char c = body->data[i];
        if (c == '"' && body->data[i - 1] != '\\')
            break;
        sentence[length++] = c < 0x20 || c >= 0x7f ? '?' : c;
    }
    sentence[length] = '\0';
    return true;
}

void delivery_answer_free(struct delivery_answer *answer)
{
    buffer_free(&answer->body);
}

_Static_assert(DELIVERY_HASH_SIZE == 2 * SIGNATURE_BYTES + 1, "two digits a byte and a NUL");

void delivery_sign(const struct signature_key *key, const char *timestamp, const char *body, size_t length,
                   char out[static DELIVERY_HASH_SIZE])
{
    unsigned char hash[SIGNATURE_BYTES];
    signature_sign(key, timestamp, body, length, hash);
    text_hex_encode(hash, sizeof hash, out);
}

#define SHOWN_MOST 600                /* bytes of an answer that are shown */
#define CLOSE_WAITS_MS INT64_C(15000) /* for an answer */

/* Borrowed bytes of an answer. */
struct answer_text {
    const char *at;
    size_t length;
};

static bool is_accepted(const struct delivery_answer *answer, const char *wanted)
{
    size_t length = answer->body.length;
    while (length > 0 && (answer->body.data[length - 1] == '\n' || answer->body.data[length - 1] == '\r'))
        length--;
    return answer->status == 200 && length == strlen(wanted) && memcmp(answer->body.data, wanted, length) == 0;
}

/* The answer's body; of a web page only its title. */
static struct answer_text find_answer_text(const struct delivery_answer *answer)
{
    static const char open[] = "<title>", close[] = "</title>";
    const char *body = answer->body.data;
    size_t length = answer->body.length;
    const char *title = length == 0 ? NULL : memmem(body, length, open, sizeof open - 1);
    if (title == NULL)
        return (struct answer_text){body, length};
    title += sizeof open - 1;
    size_t rest = length - (size_t)(title - body);
    const char *end = memmem(title, rest, close, sizeof close - 1);
    return (struct answer_text){title, end == NULL ? rest : (size_t)(end - title)};
}

/* Prints the answer's words as one line. What could move the terminal's cursor becomes a `?`. */
static void print_answer_text(const struct delivery_answer *answer)
{
    struct answer_text words = find_answer_text(answer);
    size_t length = words.length < SHOWN_MOST ? words.length : SHOWN_MOST;
    while (length > 0 && strchr(" \t\r\n", words.at[length - 1]) != NULL)
        length--;
    if (words.at != answer->body.data)
        fputs("a web page: ", stdout);
    plain_line(stdout, words.at, length);
    puts(length == 0 ? "nothing" : "");
}

int delivery_explain(const struct delivery_answer *answer, size_t sent, const char *wanted)
{
    if (answer->code != CURLE_OK) {
        printf("no answer after %lld ms: %s\n%s\n", (long long)answer->took_ms, answer->error,
               advice_on_failure(answer->code));
        return COMMAND_FAILED;
    }
    printf("answer: %ld after %lld ms: ", answer->status, (long long)answer->took_ms);
    print_answer_text(answer);
    if (!is_accepted(answer, wanted)) {
        char sentence[DELIVERY_SENTENCE], named[ADVICE_SIZE];
        bool by_program = delivery_sentence(answer, sentence);
        puts(program_name_put(advice_on_answer(answer->status, by_program ? sentence : NULL, sent), named,
                              sizeof named));
        return COMMAND_FAILED;
    }
    if (answer->took_ms > CLOSE_WAITS_MS) {
        printf("Close waits 15 s for an answer: it would have counted this as a failure and sent the event again\n");
        return COMMAND_FAILED;
    }
    return COMMAND_OK;
}
