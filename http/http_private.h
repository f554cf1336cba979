/* Shared by the files of http/: requests as the transports read them, and the FastCGI server's threads, connections and
 * descriptors. */
#ifndef HTTP_HTTP_PRIVATE_H
#define HTTP_HTTP_PRIVATE_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "http/http.h"

/* ---- body.c: the memory of all bodies in hand together. It is taken as bytes arrive. Where it is used up the newest
 * unfinished body gives way, so that those begun before it come to their end; one that is alone may be as large as it
 * likes. Any thread, each request's share by its own. ---- */

/* One body's share of the budget. Zero-initialized except for the members that the request sets. */
struct body_share {
    moment started;
    void (*interrupt)(void *self); /* called when it has given way, by whoever needs its memory. NULL: nothing */
    void *self;
    bool large;   /* more than BUDGET_SMALL: the members below are under the lock. Own thread only */
    size_t taken; /* bytes */
    bool listed;  /* in the list: large and unfinished */
    bool given_way;
    struct body_share *next, *previous;
};

struct body_budget {
    atomic_size_t taken; /* bytes */
    size_t limit;
    _Atomic moment logged; /* last log line about missing memory */
    pthread_mutex_t lock;  /* protects the list and its members */
    struct body_share *first;
};

void budget_init(struct body_budget *budget, size_t limit);
void budget_free(struct body_budget *budget);

/* Reserves that many more bytes. Returns false when there is no room for this body: answer 503. */
bool budget_take(struct body_budget *budget, struct body_share *share, size_t bytes);

/* Marks the body as complete: it no longer gives way. Returns false when it already had to. */
bool budget_finish(struct body_budget *budget, struct body_share *share);

/* Whether the body had to give way. */
bool budget_has_given_way(struct body_budget *budget, const struct body_share *share);

/* Returns all bytes of the body to the budget. It is not interrupted after that. */
void budget_release(struct body_budget *budget, struct body_share *share);

/* Logs, rate-limited, that the process is out of memory. */
void budget_log_memory(struct body_budget *budget);

/* ---- a request ---- */

/* Result of reading a part of a body. */
enum arrival {
    ARRIVED_SOME,   /* more may follow */
    ARRIVED_END,    /* end of the body */
    ARRIVED_BROKEN, /* connection broken or deadline passed */
};

/* A transport for requests. self is the request's member of that name. */
struct transport {
    /* Returns a variable's value, valid as long as the request; NULL when absent. */
    const char *(*variable)(void *self, const char *name);

    /* Reads up to size bytes of the body, at least one unless it ends. *got: their number, also at the end. */
    enum arrival (*read)(void *self, char *out, size_t size, size_t *got);

    /* Writes a part of the answer. Returns false when the client is gone. */
    bool (*write)(void *self, const char *data, size_t length);

    /* Flushes the complete answer. Returns false when the client is gone. */
    bool (*finish)(void *self);

    const struct standing_aside *aside; /* NULL: each request has its thread for itself */
};

/* What a transport does for requests whose thread serves others, too (connection.c). */
struct standing_aside {
    void (*blocks)(void *self);
    void (*wait)(void *self, moment deadline, request_resume *resume, request_give_up *give_up, void *context);
    void (*wake)(void *self);
};

/* The kind of CONTENT_LENGTH. */
enum announcement { ANNOUNCED_NOTHING, ANNOUNCED_LENGTH, ANNOUNCED_NONSENSE };

#define PATH_SIZE 256 /* no route and no source's name comes near it */

struct request {
    const struct transport *transport;
    void *self;
    const struct http_limits *limits;
    struct body_budget *budget;
    moment started;
    char path[PATH_SIZE]; /* without trailing slash */
    bool slash;           /* it had a trailing slash */
    char *body;
    size_t length;   /* bytes received */
    size_t capacity; /* bytes allocated */
    struct body_share share;
    bool answered;
    bool waits; /* the handler has returned without an answer, which comes later */

    bool gathered;                  /* the body came before the request was handled: what follows holds */
    enum announcement announcement; /* of its length */
    size_t announced;
    size_t most;  /* bytes of it that are kept; 0: it is refused */
    bool no_room; /* it did not fit the budget, or gave way */
    bool broken;  /* it ended before its end */
};

/* ---- body.c: gathering a body ---- */

/* Before the first byte: reads what is announced. */
void body_begin(struct request *request);

/* Whether as many bytes have come as were announced. */
bool body_is_there(const struct request *request);

/* Adds bytes, or discards them where the body is refused. Returns whether more are wanted. */
bool body_put(struct request *request, const char *data, size_t length);

/* ---- */

/* Initializes a request from its transport: reads the path. Returns false when the path is too long for any route. */
bool request_begin(struct request *request);

/* Frees what the request holds. */
void request_end(struct request *request);

/* Finds the request's route and calls its handler; answers itself when there is none. */
void routes_serve(const struct route *routes, size_t count, struct request *request);

/* ---- accept.c: which peers may connect (FCGI_WEB_SERVER_ADDRS) ---- */

/* The allowed addresses, IPv4 mapped into IPv6. Empty: all are allowed. */
struct peers {
    struct in6_addr *at;
    size_t count;
};

/* Parses a comma-separated list of addresses; NULL or empty allows all. Returns false with the reason when one is no IP
 * address, rather than silently allow nobody or everybody. */
bool peers_init(struct peers *peers, const char *list, struct error *why);

/* Whether this peer may connect. Peers on Unix sockets always may: the socket's file mode protects it. */
bool peers_allow(const struct peers *peers, const struct sockaddr_storage *address);

void peers_free(struct peers *peers);

/* ---- accept.c: where memory is limited, a request is begun only while there is enough for it; else it is answered
 * 503. ---- */

struct headroom {
    bool watched; /* memory is limited */
};

/* Determines whether memory is limited. */
void headroom_init(struct headroom *headroom);

/* Whether there is enough memory to begin a request. Free of cost where memory is not limited. Any
 * thread. */
bool headroom_is_sufficient(const struct headroom *headroom);

/* ---- records.c: FastCGI's records (https://fastcgi-archives.github.io/FastCGI_Specification.html) to requests, and
 * answers to records. A connection carries one request at a time. ---- */

enum gathering {
    GATHERING_ON,        /* more must come */
    GATHERING_WHOLE,     /* the request is there */
    GATHERING_ENDED,     /* given up by the web server, or not for a responder; the reply says so: nothing to answer */
    GATHERING_TOO_LARGE, /* too many bytes of parameters: answer 431 */
    GATHERING_BROKEN,    /* no FastCGI: close the connection */
    GATHERING_NO_MEMORY, /* answer 503, and close the connection */
};

enum gathering_stage { STAGE_BEGIN, STAGE_PARAMETERS, STAGE_BODY, STAGE_WHOLE };

/* A request as far as it has come. Zero-initialized; free with incoming_free. */
struct incoming {
    enum gathering_stage stage;
    unsigned char header[8]; /* of the record that is being read */
    size_t header_length;    /* bytes of it that have come */
    size_t content, padding; /* bytes of the record that are still to come */
    unsigned id;             /* of the request */
    bool keep;               /* the web server wants to keep the connection */
    bool too_much;           /* bytes came behind the request's end */
    struct buffer small;     /* the content of a record that is understood as a whole */
    struct buffer parameters;
    char **variables; /* "NAME=VALUE", into parameters, NULL-terminated; NULL: not known yet */
    size_t discarded; /* bytes of a body that is refused */
};

/* Takes what was received. Parameters become variables, the body goes to the request (body_begin, body_put). Answers
 * that the protocol requires at once are appended to reply. */
enum gathering incoming_take(struct incoming *incoming, struct request *request, const char *data, size_t length,
                             struct buffer *reply);

void incoming_free(struct incoming *incoming);

/* An answer in records. Zero-initialized. */
struct outgoing {
    struct buffer bytes;
    size_t record; /* where the record begins that is being filled */
    bool filling;
    size_t sent;
};

void outgoing_put(struct outgoing *outgoing, unsigned id, const char *data, size_t length);

/* Ends the answer. */
void outgoing_end(struct outgoing *outgoing, unsigned id);

/* Answers 503 to the request that begins on this connection, or has this number, without allocating. Does not close it.
 */
void headroom_refuse(int fd);
void headroom_refuse_request(int fd, unsigned id);

/* ---- connection.c: a web server's connection, from its first byte to its end. All connections belong to the thread
 * that leads (worker.c), but while a request's handler runs in a thread that gave up the lead: that one has its
 * connection to itself. ---- */

enum connection_state {
    CONNECTION_FRESH,     /* has not said anything yet */
    CONNECTION_IDLE,      /* kept by the web server, between two requests */
    CONNECTION_GATHERING, /* a request is arriving */
    CONNECTION_SERVED,    /* its handler runs */
    CONNECTION_WAITING,   /* its handler has returned, and what it waits for comes later */
    CONNECTION_WRITING,   /* the web server takes the answer slowly */
    CONNECTION_LINGERING, /* answered: the web server may still be sending */
};

struct connection {
    struct http *http;
    struct worker *worker; /* whose handler runs */
    struct connection *next, *previous;
    struct connection *next_back; /* in the list of those that come back to the leader */
    int fd;
    enum connection_state state;
    bool watched; /* by epoll */
    bool given_way;
    bool judged;     /* whether a body that takes its time is wanted */
    bool refused;    /* beyond the limit of connections */
    moment deadline; /* MOMENT_NEVER: none */
    struct incoming incoming;
    struct outgoing outgoing;
    struct request request;
    request_resume *resume; /* of one that waits, as the next three */
    request_give_up *give_up;
    void *context;
    moment give_up_at;
    bool away;  /* its handler's thread gave up the lead: until it has come back. Under back_lock, as the next one */
    bool woken; /* meanwhile */
};

/* Takes a descriptor that does not block; closes it where memory is out. Reads at once: a web server writes at once
 * after connecting. refused: there are too many, and its request is answered 503. */
void connection_open(struct worker *worker, int fd, bool refused);

/* Takes one that does not block and that the web server keeps, before threads start. */
void connection_adopt(struct http *http, int fd);

/* epoll says that something can be read, or written. */
void connection_ready(struct worker *worker, struct connection *connection);

/* Its deadline has passed, or it has given way, or (cut) the process is about to stop. */
void connection_late(struct worker *worker, struct connection *connection);

/* It came back to the leader: answered by its handler, or woken. */
void connection_back(struct worker *worker, struct connection *connection);

/* Closes and frees it. */
void connection_close(struct connection *connection);

/* ---- accept.c: connections beyond the limits, and those kept for the program executed next. By the leader ---- */

/* Logs, rate-limited, that no more connections can be served. */
void accept_log_full(struct http *http, const char *reason);

/* accept failed with an errno that means that descriptors or memory are out: answers one connection 503 by the
 * descriptor that is reserved. Where even that is not possible pauses accepting, since the next would fail, too. */
void accept_beyond(struct http *http, int error);

/* Answers a connection 503, as far as its request is there, and closes it. */
void accept_refuse(int fd);

/* Raises the limit of descriptors as far as it may be, and reserves one to refuse with. */
void accept_prepare(struct http *http);

/* Makes idle connections inheritable and names them in the environment. No thread may run any more. */
void accept_hand_over(struct http *http);

/* Adopts the connections that a predecessor named in the environment, and removes that variable. Before threads start.
 */
void accept_take_over(struct http *http);

/* ---- the server ---- */

struct http {
    struct http_limits limits;
    const struct route *routes; /* borrowed */
    size_t routes_count;
    int epoll;
    int wake;                  /* an eventfd by which the leader is woken */
    int reserve;               /* a descriptor that is given up to refuse a connection; -1: none */
    atomic_bool cut;           /* what still arrives is given up */
    _Atomic moment stopped_at; /* MOMENT_NEVER: not stopped */
    bool is_tcp;               /* whether the listening socket is TCP */
    struct peers peers;
    struct body_budget budget;
    struct headroom headroom;

    /* the leader's: */
    struct connection *first;
    size_t count;        /* of connections */
    size_t most;         /* connections that are served: beyond, the answer is 503 */
    size_t busy;         /* neither fresh nor idle */
    size_t fresh;        /* in CONNECTION_FRESH */
    moment earliest;     /* no deadline is earlier */
    moment swept;        /* when deadlines were last looked at */
    moment listen_again; /* MOMENT_NEVER: the listening socket is watched */
    moment full_logged;  /* last log line about missing descriptors */
    moment wait_logged;  /* last log line about a wait that failed */
    char scratch[65536]; /* what was just received */

    pthread_mutex_t back_lock; /* protects the list of those that come back, and: */
    bool sleeps;               /* the leader waits in epoll, and must be woken */
    struct connection *back;
    struct connection **back_end;

    struct worker *workers;
    size_t started;            /* threads that were started */
    pthread_mutex_t lock;      /* protects what follows */
    pthread_cond_t leaderless; /* wakes one thread that may lead */
    bool led;
    bool over;            /* the server has stopped, and nothing is in hand */
    pthread_cond_t ended; /* signalled when running becomes 0 */
    size_t running;       /* threads still running */
};

struct worker {
    struct http *http;
    bool leads; /* own thread only */
    pthread_t thread;
    bool ended;  /* under http's lock */
    bool joined; /* used by http_join only */
};

/* A request thread's main function: leads, or waits until it may. argument: its struct worker. */
void *worker_run(void *argument);

/* Watches the listening socket. Returns false with errno. */
bool worker_listen(struct http *http);

/* Gives up the lead, as the thread is going to wait for something. */
void worker_give_up_lead(struct worker *worker);

/* Brings a connection back to the leader, by the thread that had it. */
void worker_bring_back(struct connection *connection);

/* The same, when what it waits for is there; while it is away that is noted only. Any thread. */
void worker_bring_back_woken(struct connection *connection);

/* Once it has come back: whether it was woken while it was away. By the leader. */
bool worker_take_up(struct connection *connection);

/* Wakes the leader. Any thread. */
void worker_wake(struct http *http);

/* Notes a deadline that the leader must look at. */
void worker_note_deadline(struct http *http, moment deadline);

#endif
