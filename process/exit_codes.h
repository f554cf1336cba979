/* Exit codes, of every command and of the program when it ends. */
#ifndef PROCESS_EXIT_CODES_H
#define PROCESS_EXIT_CODES_H

enum {
    CODE_OK = 0,            /* done, or stopped */
    CODE_FAILED = 1,        /* something is wrong, or the input was bad */
    CODE_USAGE = 2,         /* the command line is wrong */
    CODE_CONFIGURATION = 3, /* the configuration cannot be used */
    CODE_STATE = 4,         /* the state directory, or the queue in it, cannot be used */
};

#endif
