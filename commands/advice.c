/* Answers, what they mean and what to change: see advice.h. */
#include "commands/advice.h"

#include "webhook/refusals.h"

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
     "the program cannot take the event now; its answer says why. `closecrm.fcgi check` on the server says "
     "more.\n" LATER},
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
    {REFUSED_QUEUE_SLOW, "the program could not store the event within 12 s: the disk of its state_dir is too slow; "
                         "with `queue = none` the\n"
                         "data plane did not take the event, which `closecrm.fcgi check` tries. " LATER},
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
