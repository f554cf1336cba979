/* What the pages show, and what makes them, for the files of status/ alone. What writes appends to out; when
 * out->failed then, memory was out. */
#ifndef STATUS_STATUS_PRIVATE_H
#define STATUS_STATUS_PRIVATE_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>

#include "base/clock.h"
#include "config/config.h"
#include "health/facts.h"
#include "health/findings.h"
#include "health/queue_view.h"
#include "http/http.h"
#include "telemetry/telemetry.h"

/* ---- access.c: Who may see the status page, and whether what was posted comes from it. ---- */

/* Wrong admin passwords: each address may guess a little, and then once a second; what it sends beyond that is not even
 * compared, so nothing is learnt from it. Counted per address, so that nobody's guesses hinder another's right
 * password. An address from which the right password came lately is compared always: behind a proxy that hides its
 * clients, where all have one address, a stranger shall not lock the operator out. In memory, per process. Any thread.
 */
#define GUESSES_ADDRESSES 256                      /* kept; of more the one that was quiet for longest is forgotten */
#define GUESSES_AT_ONCE 10                         /* wrong ones that are compared before an address is slowed down */
#define GUESSES_EVERY_MS 1000                      /* one more each such time */
#define GUESSES_KNOWN_MS ((int64_t)15 * 60 * 1000) /* the right password was sent within this time */
#define GUESSES_LOG_MS 1000                        /* between two log lines about one address */

/* An IPv4 address, or an IPv6 network of 64 bits: who has one has all its addresses. */
struct guesses_key {
    unsigned char bytes[16];
};

struct guesses_address {
    struct guesses_key key;
    bool taken;
    moment seen;
    moment paid;   /* when the wrong ones so far are paid for, each with GUESSES_EVERY_MS */
    moment right;  /* the last right one; INT64_MIN / 2: none */
    moment logged; /* likewise, the last log line */
};

struct guesses {
    pthread_mutex_t lock;
    struct guesses_address at[GUESSES_ADDRESSES];
};

void guesses_init(struct guesses *guesses);
void guesses_free(struct guesses *guesses);

/* Whether a password from this address is to be compared at all. address is REMOTE_ADDR's text; NULL or nonsense: those
 * without an address count as one. */
bool guesses_may_try(struct guesses *guesses, const char *address, moment now);

/* It was wrong; compared: else it was not looked at. Returns whether the log is to say so. */
bool guesses_wrong(struct guesses *guesses, const char *address, bool compared, moment now);

enum access_result {
    ACCESS_ALLOWED,
    ACCESS_NONE,       /* there is no such page: 404 */
    ACCESS_ASK,        /* 401, asking for the password */
    ACCESS_SLOWED,     /* too many wrong passwords came from this address: 429 */
    ACCESS_NOT_LET_IN, /* the web server lets in whom it likes, and did not say that it did: 403 */
};

/* Counts and logs wrong passwords. With `admin = server` it believes REMOTE_USER only beside an AUTH_TYPE, which a
 * web server sets when it has checked a password, or from a server that sets REMOTE_USER only when it knows who that
 * is. nginx can be made to fill REMOTE_USER from a header that nobody has checked. Any thread. */
enum access_result access_check(const struct config *config, struct guesses *guesses, const struct request *request);

#define TOKEN_SIZE 65 /* hexadecimal digits and a NUL */
#define TOKEN_SECRET 32

/* What tokens are made with: shared by the processes of a state directory, else this process's own. */
struct tokens {
    pthread_mutex_t lock;
    bool known;
    unsigned char secret[TOKEN_SECRET];
};

void tokens_init(struct tokens *tokens);

/* Writes the token of this hour. Returns false when none can be made. Any thread, as tokens_are_good. */
bool tokens_make(struct tokens *tokens, const struct config *config, int64_t now_ms, char out[static TOKEN_SIZE]);

/* Whether it is the token of this hour or of the one before. */
bool tokens_are_good(struct tokens *tokens, const struct config *config, int64_t now_ms, const char *token);

void tokens_free(struct tokens *tokens);

/* What somebody looks for among the events; "": anything. */
struct event_filter {
    char text[96];  /* in what is shown of them, bodies included, without regard to case */
    char type[96];  /* the name's beginning: "lead", "lead updated" */
    char lead[80];  /* whole */
    char state[16]; /* likewise */
};

/* One page's worth of facts. */
struct view {
    const struct facts *facts;
    const char *source;                /* the only one to be shown; NULL: all */
    struct event_filter filter;        /* of events */
    bool filtered;                     /* it asks for something */
    const struct recent_event *events; /* newest first; number 0: it waits */
    size_t events_count;
    const struct letters *letters;
    bool more_letters;
    uint64_t letters_after; /* where the next page of them begins, if there is more */
    const char *base;       /* the program's address, without a slash at its end */
    char token[TOKEN_SIZE];
    const char *notice; /* what the last action did; NULL: nothing */
    bool notice_is_bad;
    const char *shown_key;    /* a webhook URL with its key, asked for just now; NULL: none */
    const char *shown_source; /* whose it is */
    bool part;                /* only what changes is wanted: page.js puts it into the page */
};

/* One event, with its bodies as they are to be shown. */
struct view_bodies {
    const struct recent_event *event;
    struct buffer incoming, message;          /* indented; empty: not known */
    const char *incoming_note, *message_note; /* "": none */
    const char *title;                        /* what it is */
    struct attempt attempt[ATTEMPTS_KEPT];    /* the oldest first */
    size_t attempts;
};

/* ---- events.c: what somebody looks for ---- */

/* Reads what a request asks for. Returns whether it asks for anything. */
bool filter_read(struct event_filter *filter, const struct request *request);

/* Takes out what is not asked for. Returns how many are left. */
size_t filter_events(const struct event_filter *filter, struct queue_view *queue_view, struct recent_event *events,
                     size_t count);

/* ---- page.c: pieces of HTML ---- */

/* "good", "worry", "bad": as a class in HTML, and in JSON. */
const char *severity_word(enum severity severity);

/* Appends text, escaped, between two pieces of HTML: tags, or the two ends of an attribute. */
void markup_text(struct buffer *out, const char *before, const char *text, const char *after);

/* Appends a time, which page.js shows in the reader's own zone; 0: "never". */
void markup_time(struct buffer *out, int64_t ms);

/* Appends "1.2 KiB". */
void markup_bytes(struct buffer *out, uint64_t bytes);

/* Begins a form that does something, up to its button; of a source, unless that is NULL. The caller ends it. */
void markup_form(struct buffer *out, const struct view *view, const char *action, const char *source);

/* The form that asks whether all dead letters of a source are to be replayed. */
void markup_replay_all(struct buffer *out, const struct view *view, const char *source, uint64_t count);

/* ---- the page's parts ---- */

/* page_top.c: how all is, what is wrong and what to do about it, the first steps. */
void page_top(struct buffer *out, const struct view *view);

/* How all is, in a few words: the title. Returns out. */
#define HEADLINE_SIZE 64
const char *page_headline(const struct facts *facts, char out[static HEADLINE_SIZE]);

/* events.c: events and dead letters. */
void page_events(struct buffer *out, const struct view *view);
void page_letters(struct buffer *out, const struct view *view);

/* page.c: the status page, and the page of one event. */
void page_write(struct buffer *out, const struct view *view);

/* part: only what is shown below the event's row. */
void page_write_event(struct buffer *out, const struct view_bodies *bodies, bool part);

/* Appends the header lines of those pages: they allow their own style and script and nothing else. */
void page_headers(struct buffer *out);

/* views.c */
void json_write(struct buffer *out, const struct view *view);
void json_write_event(struct buffer *out, const struct view_bodies *bodies);

/* views.c: open_metrics: in OpenMetrics' form, else in Prometheus' older one. */
void metrics_write(struct buffer *out, const struct facts *facts, bool open_metrics);

/* ---- chart.c: charts as inline SVG ---- */

/* Appends the figures of the last hour and of the last day: events a minute, delay, size; of all sources together, or
 * of the one named (NULL: all). */
void chart_write_all(struct buffer *out, const struct facts *facts, const char *source);

/* The sum of all sources' minutes, or of the one named; out has COUNTED_MINUTES. */
void chart_sum(const struct facts *facts, const char *source, struct tally_minute *out);

/* ---- events.c: one event or dead letter, opened: its bodies as people may see them ---- */

/* All zero is empty. */
struct bodies {
    struct view_bodies view;
    struct recent_whole *whole; /* of an event */
    struct recent_event event;  /* made of a dead letter or an event that waits */
    struct letters letters;
    struct events events;
};

/* Return false when it is not kept any more, or memory is out. Then, too, call bodies_free. */
bool bodies_of_event(struct bodies *bodies, struct queue_view *queue_view, uint64_t number);
bool bodies_of_letter(struct bodies *bodies, const struct config *config, struct queue_view *queue_view, uint64_t id);

/* One that waits, by its id in that source's queue; or waited a moment ago. */
bool bodies_of_waiting(struct bodies *bodies, const struct config *config, struct queue_view *queue_view,
                       const char *source, uint64_t id);

void bodies_free(struct bodies *bodies);

/* ---- actions.c: what can be done on the page ---- */

/* A webhook URL with its key in it. */
struct shown_key {
    char source[104];
    char url[1024];
};

enum action_result {
    ACTION_REFUSED,  /* and answered */
    ACTION_REPLAYED, /* one dead letter, or it was on its way already */
    ACTION_KEY,
    ACTION_SAID, /* words say what happened */
};

#define ACTION_WORDS 2000

/* What an action did. */
struct action_outcome {
    enum action_result result;
    size_t done;              /* of REPLAYED: how many went on their way */
    struct shown_key key;     /* of KEY; overwrite it: action_forget */
    bool good;                /* of SAID */
    char words[ACTION_WORDS]; /* sentences; of REPLAYED, too */
};

/* Reads what was posted and does it, if it comes from our own page. *json: it is page.js that asks, and wants the words
 * alone. */
void action_take(const struct config *config, struct tokens *tokens, struct queue_view *queue_view,
                 struct request *request, struct action_outcome *outcome, bool *json);

/* The program's own address as the request came to it, without a slash at its end. */
void action_base(const struct request *request, char *out, size_t size);

/* Overwrites it. */
void action_forget(struct shown_key *key);

/* ---- what takes a while: words say what happened, in sentences ---- */

/* self_test.c: sends a signed test event to a source's own address, which goes as far as the program and no further. */
bool self_test(const struct config *config, const struct source *source, const char *base,
               char words[static ACTION_WORDS]);

#endif
