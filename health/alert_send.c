/* An alert on its way: its JSON, and the ways that carry it: a command, and a POST to a web address. */
#include "health/alerts.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/escape.h"
#include "base/http_request.h"
#include "base/times.h"
#include "config/config.h"

/* ---- JSON ---- */

#define HOST 128 /* bytes of this machine's name */

const char *alert_state_word(enum alert_state state)
{
    static const char *const words[] = {[ALERT_RAISED] = "raised", [ALERT_STILL] = "still", [ALERT_GONE] = "gone"};
    return words[state];
}

static void write_sentence(const struct alert *alert, const char *host, struct buffer *out)
{
    struct buffer text = {0};
    write_format(&text, "closecrm.fcgi (%s): %s%s%s%s", host, alert->source[0] != '\0' ? "source " : "", alert->source,
                 alert->source[0] != '\0' ? ": " : "", alert->brief);
    if (alert->waiting + alert->dead > 0)
        write_format(&text, " (waiting: %llu, dead letters: %llu)", (unsigned long long)alert->waiting,
                     (unsigned long long)alert->dead);
    buffer_append(&text, "", 1);
    if (!text.failed)
        write_text_member(out, "text", text.data);
    out->failed = out->failed || text.failed;
    buffer_free(&text);
}

/* Appends the alert as one JSON object without a line end. words: which of the two it gets. `text` says it in one
 * sentence, which is what chat services show; it is always made of brief. Returns false when memory is out. */
static bool alert_json(const struct alert *alert, const char *words, struct buffer *out)
{
    char since[DATE_PRINTED], now[DATE_PRINTED], host[HOST] = "";
    gethostname(host, sizeof host - 1);
    buffer_text(out, "{");
    write_text_member(out, "cause", alert->cause);
    write_text_member(out, "state", alert_state_word(alert->state));
    write_text_member(out, "source", alert->source);
    write_text_member(out, "words", words);
    write_number_member(out, "waiting", alert->waiting);
    write_number_member(out, "dead_letters", alert->dead);
    write_text_member(out, "since", times_print_ms(alert->since_ms, DATE_Z, since));
    write_text_member(out, "time", times_print_ms(alert->now_ms, DATE_Z, now));
    write_text_member(out, "host", host);
    write_sentence(alert, host, out);
    buffer_text(out, "}");
    return !out->failed;
}

/* ---- the command ---- */

#define ALERT_JSON 4096 /* bytes: every pipe holds so many. The longest words fit, unless most bytes are escaped */
#define PATIENCE_MS 10000
#define KILLED_MS 1000 /* for its end once it was killed */

/* One line on the command's stdin. What is longer than any pipe holds would block. */
static bool write_input(const struct alert *alert, struct buffer *out)
{
    char cut[512]; /* fits, each byte escaped */
    bool good = alert_json(alert, alert->words, out);
    if (good && out->length >= ALERT_JSON) {
        snprintf(cut, sizeof cut, "%.511s", alert->words);
        out->length = 0;
        good = alert_json(alert, cut, out);
    }
    buffer_text(out, "\n");
    return good && !out->failed && out->length <= ALERT_JSON;
}

/* Nothing of ours but its stdin and the log's stderr reaches it: sockets of requests least of all. */
static int spawn_command(char *const *command, int input, pid_t *child)
{
    static char path[] = "PATH=/usr/local/bin:/usr/bin:/bin";
    char *const environment[] = {path, NULL};
    sigset_t none, all;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    int error = posix_spawn(child, command[0], &actions, &attributes, command, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return error;
}

static bool judge_exit(int status, struct error *why)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (WIFEXITED(status))
        error_set(why, "it ended with %d", WEXITSTATUS(status));
    else
        error_set(why, "signal %d ended it (it may take %d s)", WTERMSIG(status), PATIENCE_MS / 1000);
    return false;
}

bool alert_command_await(pid_t child, int64_t patience_ms, const atomic_bool *hurry, struct error *why)
{
    int status = 0;
    bool killed = false;
    for (moment deadline = clock_now() + patience_ms;;) {
        pid_t ended = waitpid(child, &status, WNOHANG);
        if (ended == child)
            return judge_exit(status, why);
        if ((ended < 0 && errno != EINTR) || (hurry != NULL && atomic_load(hurry)))
            return true;
        if (clock_now() > deadline && killed) {
            error_set(why, "it does not end, and cannot be killed: process %ld is left behind", (long)child);
            return false;
        }
        if (clock_now() > deadline) {
            kill(-child, SIGKILL);
            kill(child, SIGKILL); /* it may have left its group */
            killed = true;
            deadline += KILLED_MS;
        }
        poll(NULL, 0, 10);
    }
}

bool alert_command_run(char *const *command, const struct alert *alert, const atomic_bool *hurry, struct error *why)
{
    int input[2];
    pid_t child;
    struct buffer json = {0};
    if (!write_input(alert, &json) || pipe2(input, O_CLOEXEC) != 0) {
        error_set(why, "no pipe, or no memory: %s", strerror(errno));
        buffer_free(&json);
        return false;
    }
    ssize_t written = write(input[1], json.data, json.length); /* a pipe holds more than that */
    close(input[1]);
    int error = written == (ssize_t)json.length ? spawn_command(command, input[0], &child) : EIO;
    close(input[0]);
    buffer_free(&json);
    if (error != 0) {
        error_set(why, "%.300s: %s", command[0], strerror(error));
        return false;
    }
    return alert_command_await(child, PATIENCE_MS, hurry, why);
}

/* ---- the web address ---- */

#define WHOLE_MS 10000L
#define CONNECT_MS 5000L
#define LOOK_MS 100 /* whether it is to be given up */

/* Runs the request until it ends, or is to be given up. */
static CURLcode perform(CURLM *multi, CURL *easy, const atomic_bool *hurry)
{
    int running = 0, left = 0;
    if (curl_multi_add_handle(multi, easy) != CURLM_OK)
        return CURLE_OUT_OF_MEMORY;
    CURLcode result = CURLE_OPERATION_TIMEDOUT;
    for (moment late = clock_now() + 2 * WHOLE_MS; clock_now() < late;) {
        if (hurry != NULL && atomic_load(hurry)) {
            result = CURLE_ABORTED_BY_CALLBACK;
            break;
        }
        if (curl_multi_perform(multi, &running) != CURLM_OK)
            break;
        const CURLMsg *message = curl_multi_info_read(multi, &left);
        if (message != NULL && message->msg == CURLMSG_DONE) {
            result = message->data.result;
            break;
        }
        curl_multi_poll(multi, NULL, 0, LOOK_MS, NULL);
    }
    curl_multi_remove_handle(multi, easy);
    return result;
}

static bool judge(struct http_request *request, CURLcode result, const char *host, struct error *why)
{
    long status = 0;
    result = http_request_end(request, result);
    if (result == CURLE_ABORTED_BY_CALLBACK)
        error_set(why, "%.200s: given up, for the program ends: it is told again", host);
    else if (result != CURLE_OK)
        error_set(why, "%.200s: %.250s", host, request->error);
    else if (curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK || status / 100 != 2)
        error_set(why, "%.200s answered %ld%s", host, status,
                  status / 100 == 3 ? ", a redirect, which is not followed: give the address to which it leads" : "");
    return result == CURLE_OK && status / 100 == 2;
}

static bool set_body(CURL *easy, const struct buffer *json)
{
    CURLcode failed = curl_easy_setopt(easy, CURLOPT_POSTFIELDS, json->data);
    failed |= curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)json->length);
    return failed == CURLE_OK;
}

bool alert_webhook_post(const char *url, const char *certificates, const struct alert *alert, const atomic_bool *hurry,
                        struct error *why)
{
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    const struct http_options options = {.url = url,
                                         .agent = "closecrm.fcgi/" CLOSECRM_VERSION,
                                         .certificates = certificates,
                                         .headers = headers,
                                         .connect_ms = CONNECT_MS,
                                         .whole_ms = WHOLE_MS};
    char host[URL_HOST];
    struct http_request request = {.easy = NULL};
    struct buffer json = {0};
    bool good = false;
    CURLM *multi = curl_multi_init();
    error_set(why, "out of memory");
    if (multi != NULL && alert_json(alert, alert->brief, &json) && http_request_open(&request, &options)) {
        http_request_begin(&request);
        if (set_body(request.easy, &json))
            good = judge(&request, perform(multi, request.easy, hurry), config_url_host(url, host), why);
        http_request_close(&request);
    }
    curl_multi_cleanup(multi);
    buffer_free(&json);
    if (good)
        error_set(why, "%s", "");
    return good;
}

/* ---- both ways ---- */

struct alert_ways alert_ways_of(const struct config *config)
{
    return (struct alert_ways){.command = config->alert_command.count > 0 ? config->alert_command.at : NULL,
                               .webhook_url = config->alert_webhook_url,
                               .certificates = config_certificates(config)};
}

unsigned alert_ways_all(const struct alert_ways *ways)
{
    unsigned all = ways->command != NULL && ways->command[0] != NULL ? ALERT_BY_COMMAND : 0;
    return all | (ways->webhook_url != NULL ? ALERT_BY_WEBHOOK : 0);
}

bool alert_send(const struct alert_ways *ways, enum alert_way way, const struct alert *alert, const atomic_bool *hurry,
                struct error *why)
{
    if ((alert_ways_all(ways) & way) == 0)
        return true;
    if (way == ALERT_BY_COMMAND)
        return alert_command_run(ways->command, alert, hurry, why);
    return alert_webhook_post(ways->webhook_url, ways->certificates, alert, hurry, why);
}
