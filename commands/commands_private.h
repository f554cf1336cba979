/* What the commands share: the session with its configuration and queue, options, output; and what one command has of
 * another. Each section names its file. */
#ifndef COMMANDS_COMMANDS_PRIVATE_H
#define COMMANDS_COMMANDS_PRIVATE_H

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buffer.h"
#include "config/config.h"
#include "health/findings.h"
#include "queue/inspect.h"
#include "transform/shown.h"
#include "transform/transform.h"

/* ---- session.c: what a command works on: the configuration, the source and the event that its arguments name, and the
 * queue. The queue is opened as the state directory's owner where root calls, and never created here: only the running
 * program knows the right owner. ---- */

/* Reads the configuration. NULL when it cannot be used: then stderr has all that is wrong with it, a line each, and the
 * command returns COMMAND_CONFIGURATION. */
struct config *session_configuration(const char *command);

/* The same; where there is no configuration at all, *missing is set and nothing is said. */
struct config *session_configuration_if_any(const char *command, bool *missing);

struct session {
    struct config *config;
    struct queue *queue;
    int code; /* the command's exit code, set when opening failed */
};

/* Reads the configuration and opens its queue. Returns false, with nothing to close, when it cannot; then stderr has
 * the command's name and the reason, and session->code is the exit code. */
bool session_open(struct session *session, const char *command);

/* The first part of session_open: reads the configuration and becomes the owner. Returns false likewise. */
bool session_prepare(struct session *session, const char *command);

/* The same for what makes a state directory that is missing. */
bool session_prepare_to_make(struct session *session, const char *command);

void session_close(struct session *session);

/* Prints "COMMAND: reason" on stderr. Returns COMMAND_FAILED. */
int session_failed(const char *command, const struct error *why);

enum session_place {
    SESSION_PLACE_READY,
    SESSION_PLACE_MISSING, /* there is no directory (yet) */
    SESSION_PLACE_BARRED,  /* it cannot be read, or belongs to another user */
    SESSION_PLACE_NONE,    /* the configured queue needs none */
};

/* Looks for the state directory and, where root calls, becomes its owner, with that user's group, for the rest of the
 * process. Creates nothing. Anything but READY and NONE comes with a reason that says what to do. Before threads start.
 */
enum session_place session_become_owner(const struct config *config, struct error *why);

/* Says on stderr which sources could not be looked into, where they have queues of their own. Returns code;
 * COMMAND_FAILED where it would be COMMAND_OK and there are such. source: the only one that was asked about, whose
 * queue was looked into; NULL: all were. Before session_close. */
int session_missed(const struct session *session, const char *command, const char *source, int code);

/* Becomes the owner, for a command that may create a missing state directory as the running program would. Not root:
 * the directory must not belong to root. Returns false with the reason when the queue must not be opened. */
bool session_may_open(const struct config *config, struct error *why);

/* Prints on `out` which other processes have the queue open, a line each. Returns how many it found. */
size_t session_print_holders(const struct config *config, FILE *out);

/* The source of that name; name NULL: the only one. Returns NULL when there is no such source or it must be named; then
 * stderr says which there are. command is its name for that message. Lives as long as config. */
const struct source *session_source(const struct config *config, const char *name, const char *command);

/* Finds out whether the queue has ever held anything of a source of that name, configured or not. Returns false with
 * the reason when the queue failed. */
bool session_knows_source(struct queue *queue, const char *name, bool *known, struct error *why);

/* Reads the waiting event of that number. Returns whether it is there, -1 when the queue failed. */
int session_read_event(struct queue *queue, const char *source, uint64_t id, struct events *events, struct error *why);

#define SESSION_SOURCE 104 /* bytes of a source's name, with its NUL */

/* Reads the waiting event that a number from `queue list` means. Each source counts for itself, so that several may
 * have that number: wanted says which is meant; NULL: the only one that has it. Returns false with the reason. */
bool session_find_event(struct queue *queue, uint64_t id, const char *wanted, char source[static SESSION_SOURCE],
                        struct events *events, struct error *why);

/* ---- session.c: options from a table: --name, --name VALUE or --name=VALUE, and a command's other arguments ---- */

struct option_spec {
    const char *name;   /* "--source" */
    const char **value; /* set to its value, which lives in argv; NULL: it takes none, and flag is set */
    bool *flag;
};

/* Makes the command use this configuration file: what --config does, which every command takes. Returns false when the
 * path is empty; then stderr says so. */
bool options_use_configuration(const char *command, const char *path);

/* At most 16 options, beside --config. Reads argv[1] and what follows, with getopt_long, so in one thread at a time;
 * argv[0] is the command's name. argument: set to the one argument that is no option; NULL: there may be none. Options
 * that do not occur are left as they were. `--` ends the options, `-` alone is an argument. Returns false when the
 * command line is wrong; then stderr has the fault, and the command returns COMMAND_USAGE. */
bool options_read(int argc, char **argv, const struct option_spec *specs, size_t count, const char **argument);

/* The same where the one other argument must be there, and is the number *id; question: what stderr asks for otherwise.
 */
bool options_read_id(int argc, char **argv, const struct option_spec *specs, size_t count, const char *question,
                     uint64_t *id);

/* The same for any number of other arguments: they are moved to argv[1] and what follows, and *arguments counts them.
 */
bool options_read_all(int argc, char **argv, const struct option_spec *specs, size_t count, int *arguments);

/* Reads from the terminal the answer to a [y/N] question, which the caller has printed on stderr. Returns whether it is
 * yes; if it is not, prints that nothing was done. */
bool options_confirmed(const char *command);

/* Says on stderr what is wrong with the command line. Returns COMMAND_USAGE. */
int options_wrong(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- output.c: times for people, and JSON objects. When memory is out, these end the process with COMMAND_FAILED: a
 * command can do nothing better. ---- */

/* Prints a line for people: the label, a time, and how long ago it was; 0: "never". */
void output_moment(const char *label, int64_t ms, int64_t now_ms);

/* A new object, the caller's to print or put. */
struct json_object *output_new(void);

/* Adds a member. A text is made UTF-8; NULL is null. */
void output_text(struct json_object *object, const char *name, const char *text);
void output_number(struct json_object *object, const char *name, uint64_t number);
void output_bool(struct json_object *object, const char *name, bool value);

/* Adds a member of any kind, and takes it over; NULL is null. */
void output_member(struct json_object *object, const char *name, struct json_object *member);

/* Adds a time; 0 is null. Written as "2026-11-24T20:45:06.123Z", and in the way of Close's own dates
 * ("2026-11-24T20:45:06.123+00:00"). */
void output_ms(struct json_object *object, const char *name, int64_t ms);
void output_us(struct json_object *object, const char *name, int64_t us);

/* Prints it as one line, and frees it. All commands have one shape: an object, or of a list an object a line, which may
 * be more than memory holds. */
void output_print(struct json_object *object);

/* A new object with what all lists say of an event. */
struct json_object *output_event(uint64_t id, const char *source, const struct headline *headline, size_t bytes);

/* ---- output.c: lines for people: broken between words where they are longer than a terminal is wide. What stands
 * between backquotes stays together: it is there to be typed. ---- */

#define WRAP_COLUMNS 80 /* of a terminal that does not say how many it has */

/* The columns of the terminal that the descriptor is; WRAP_COLUMNS where it is none, or does not say. */
size_t wrap_columns(int fd);

/* Writes length bytes of a line, without its newline, from a column on; what does not fit goes into further lines,
 * which begin with `indent` blanks. Returns the column behind it. */
size_t wrap_line(FILE *out, const char *line, size_t length, size_t column, size_t indent, size_t columns);

/* Puts a stream before out that breaks the lines which are written to it. Returns NULL when memory is out. Closing it
 * writes what is left, and leaves out open. */
FILE *wrap_open(FILE *out, size_t columns);

/* ---- dead.c: which dead letters a command means: filters and ids, and the walk over the letters that match ---- */

/* All zero: every dead letter. Texts are borrowed from argv. */
struct dead_filter {
    const char *source; /* NULL: any, as below */
    const char *reason; /* a part of it, in any case */
    const char *event;  /* a pattern as in `keep` */
    const char *lead;
    const char *since, *until; /* as typed */
    int64_t since_ms, until_ms;
    uint64_t *ids; /* sorted, each once */
    size_t id_count;
    size_t ids_found; /* by the last walk */
    uint64_t last;    /* the walk goes up to this id; 0: to the end */
};

#define DEAD_PAGE_MOST 500 /* letters */

/* Some of the letters that match, oldest first, and the headline of each; borrowed. */
struct dead_page {
    const struct letter *const *letter;
    const struct headline *headline;
    size_t count; /* DEAD_PAGE_MOST at most */
};

/* Calls page for all letters that match, a page at a time, with no lock on the queue held meanwhile; page
 * returns false with the reason to end the walk. Returns false with the reason when page did or the queue failed. */
bool dead_filter_walk(struct queue *queue, struct dead_filter *filter,
                      bool (*page)(void *context, const struct dead_page *found, struct error *why), void *context,
                      struct error *why);

/* ---- view.c: transforms a body in a child process: a body that crashes the parser, or keeps it busy for ever, costs
 * the message and nothing else. ---- */

enum child_result {
    CHILD_MESSAGE,  /* the message was appended to out */
    CHILD_DROPPED,  /* the rules `keep` and `drop` leave the event out */
    CHILD_UNUSABLE, /* the body is no Close event: why says why */
    CHILD_FAILED,   /* the child died, or could not be started: why says why */
};

/* Makes the message, in 20 s of CPU time at most. rules NULL: makes none, and returns CHILD_MESSAGE for a usable body.
 * Call only from a process with one thread. */
enum child_result child_transform_message(const char *body, size_t length, const struct rules *rules,
                                          struct buffer *out, struct error *why);

/* Reads the identity by which deliveries of this event are recognized as the same. Returns CHILD_MESSAGE,
 * CHILD_UNUSABLE or CHILD_FAILED. The same conditions. */
enum child_result child_transform_identity(const char *body, size_t length, struct identity *identity,
                                           struct error *why);

/* ---- view.c: JSON on a terminal ---- */

/* Writes a JSON text, indented, with nothing that a terminal would obey, and a newline. paths: members to leave out,
 * from the root on, in the way of `remove` (transform.h). *removed counts what was left out. Returns false where the
 * text is no JSON, or when memory ran out: then the rest is missing. */
bool view_layout(FILE *out, const char *text, size_t length, const char *const *paths, size_t count, size_t *removed);

/* ---- queue_list.c: makes a waiting event a dead letter, for `queue set-aside`, and erases waiting events, for
 * `forget`. ---- */

/* Reads which event it is; the body as queue_list returned it. Reads its identity in a child process: call only from a
 * process with one thread. */
void waiting_end_read(struct waiting_end *end, const struct event *event);

/* Has the process that forwards do what the request says, for which it waits 10 s; where none does, this process claims
 * the queue and does it. *ended: how many events it ended, all in one transaction. *words: what was done, or why events
 * were left. Returns false with the reason there where nothing was done. */
bool end_waiting(struct queue *queue, const struct queue_request *request, size_t *ended, struct error *words);

/* ---- transform.c: splits input into JSON values, however they are laid out: one over many lines, one a line, several
 * on a line. Holds no more than the current value and its line. A broken value ends before the next line that is a
 * whole event, so that one bad line spoils no other. ---- */

/* What was found: a value, or text that is none; borrowed during the call. */
struct piece {
    const char *text;
    size_t length;
    size_t line; /* in which it begins, from 1 */
    size_t from; /* bytes of that line before it */
};

struct stream {
    void (*found)(void *context, const struct piece *piece);
    void *context;

    struct buffer pending; /* from the beginning of the line in which the value in hand begins */
    size_t start;          /* of the value in hand, in pending */
    size_t scanned;        /* bytes of pending that were looked at */
    size_t lines;          /* fed so far */
    size_t first_line;     /* of pending */
    size_t depth;          /* of brackets that are open */
    bool in_string;
    bool escaped; /* the last byte was a backslash in a string */
};

/* Takes the next line, with its newline where it has one, and calls found for each value that it completes. Initialize
 * a stream with found and context, the rest zero. Returns false when memory ran out. */
bool stream_feed(struct stream *stream, const char *line, size_t length);

/* The end of input: calls found for what is left, and frees the stream's memory. */
void stream_end(struct stream *stream);

/* ---- check_queue.c: what `check` says of the queue, and all else that is found. Each prints a line for each thing,
 * with WRONG in it where it must be mended, and returns how many those are. ---- */

/* What is to be checked, and what was found of each source. */
struct checking {
    const struct config *config;
    const struct source *only; /* NULL: all */
    bool offline;
    bool delivers; /* nothing keeps a data plane from taking events */
    bool worries;  /* something was found that is not wrong, and somebody should look at */
    struct checked_source {
        bool delivers; /* its data plane takes its key */
        bool asks;     /* Close takes its API key, and its subscriptions are in order */
    } * source;
};

/* *stands_still: events wait, and no process forwards; that is wrong only when it lasts. */
size_t check_queue(struct checking *checking, bool *stands_still);

/* Without looking into the queue, and what is missing in the state directory is no fault of a configuration. */
size_t check_offline(struct checking *checking);

/* ---- check_place.c, check_servers.c: what `check` says of the place where the program runs: what a host, its limits
 * and an upload may have made wrong, and of the state directory. Each prints a line for each thing that it finds, with
 * what to do; what must be mended has WRONG in it. All change nothing. ---- */

/* Looks at permissions and places of the program's file and the configuration, limits of the process, the certificates,
 * the clock, which it asks a data plane for, and check_servers. Returns how many things are wrong. */
size_t check_place(const struct config *config);

/* Looks only whether the state directory could be used: opens and makes nothing, and what waits does not matter.
 * Returns likewise. */
size_t check_state_directory(const struct config *config);

/* Whether this user may make the state directory where it is configured. */
bool check_may_make_state(const struct config *config);

/* Says what is to be known of the file system of a state directory that was opened. */
void check_file_system(const char *directory);

/* Reads the web servers' configuration in its usual places below root ("" on this machine), and a .htaccess beside the
 * program, where they can be read: limits on bodies that are smaller than max_body. They are no errors, for they may be
 * another site's. Returns how many were found. */
size_t check_servers(const struct config *config, const char *root, const char *program);

#define PROGRAM_PATH 4096 /* of the program's file */

/* ---- alert_test.c: whether alerts can be told in this place ---- */

/* Prints what stands in the way of alert_command: it is missing, cannot be executed, or is setuid where
 * the process that runs it may not start such programs. Returns how many things are wrong. Call as the state
 * directory's owner. */
size_t check_alerts(const struct config *config);

/* ---- check_place.c: the last errors that the program has kept (base/last_errors) ---- */

/* Prints the files of last errors that there are. config: NULL where there is none that can be used. */
void print_last_errors(const struct config *config);

/* Notes in such a file why a configuration is refused, which a running program tries before it takes it on. */
void keep_refused_configuration(void);

/* ---- cron_report.c: what one run of cron says: the problems that it met, those of them that are due, and those that
 * are over. While the report exists, lines of the log are part of it: cron mails all that is written. One at a time in
 * a process. ---- */

struct cron_report;

/* config: NULL where there is none that can be used; it must outlive the report. Returns NULL when memory is out. */
struct cron_report *cron_report_new(const struct config *config);

/* Something is wrong. */
void cron_report_trouble(struct cron_report *report, const char *words);

/* A source was reconciled: words: what somebody must look at; NULL: nothing. */
void cron_report_reconciled(struct cron_report *report, const char *source, const char *words);

/* Says what is due, on stderr. facts: judged; NULL: nobody could look, so that nothing of them is over. state_dir: NULL
 * where it cannot be used. Returns whether new dead letters were told, or there are none. */
bool cron_report_print(struct cron_report *report, const struct facts *facts, const char *state_dir);

/* How many problems there are, told or not. */
size_t cron_report_problems(const struct cron_report *report);

/* report may be NULL. */
void cron_report_free(struct cron_report *report);

#endif
