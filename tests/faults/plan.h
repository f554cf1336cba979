/* What the test and the library that it loads into the program (shim/shim.c) share: which call is to fail, and how many
 * there were. It lies in a file that each process of the program maps, so that children count on. */
#ifndef TESTS_FAULTS_PLAN_H
#define TESTS_FAULTS_PLAN_H

#include <stdatomic.h>
#include <stdint.h>

/* Kinds of calls. calls.c has the functions and the errors of each. */
enum fault_call {
    FAULT_WRITE,
    FAULT_READ,
    FAULT_SYNC,
    FAULT_OPEN,
    FAULT_CLOSE,
    FAULT_RENAME,
    FAULT_EXCHANGE,
    FAULT_UNLINK,
    FAULT_MAKE,
    FAULT_ATTRIBUTES,
    FAULT_STAT,
    FAULT_LIST,
    FAULT_SIZE,
    FAULT_MAP,
    FAULT_LOCK,
    FAULT_MEMORY,
    FAULT_THREAD,
    FAULT_FORK,
    FAULT_EXECUTE,
    FAULT_DESCRIPTOR,
    FAULT_WATCH,
    FAULT_WAIT,
    FAULT_SOCKET,
    FAULT_CONNECT,
    FAULT_ACCEPT,
    FAULT_SEND,
    FAULT_RECEIVE,
    FAULT_RESOLVE,
    FAULT_CALLS,
};

/* In the place of an errno. */
#define FAULT_KILL (-1)  /* the process is gone, as by SIGKILL, before the call */
#define FAULT_SHORT (-2) /* half of it is written */

#define FAULT_PLAN "FAULT_PLAN" /* the environment variable with the file's path */
#define FAULT_FRAMES 24

struct fault_plan {
    atomic_int armed; /* calls are counted, and may fail */
    unsigned call;    /* enum fault_call */
    unsigned nth;     /* from 1; 0: none fails */
    int error;        /* an errno, or one of the above */
    atomic_uint seen[FAULT_CALLS];
    atomic_uint met;                     /* it has failed */
    char function[32];                   /* which one */
    char caller[64];                     /* the program or library that called it */
    uintptr_t frames[FAULT_FRAMES];      /* return addresses within the program, nearest first; 0: the end */
    atomic_uint by_library[FAULT_CALLS]; /* of `seen`: those that a library called */
    atomic_uint by_sqlite[FAULT_CALLS];  /* of those: SQLite */
};

#endif
