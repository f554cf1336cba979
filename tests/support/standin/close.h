/* The stand-in for Close as a program of its own. */
#ifndef TESTS_SUPPORT_STANDIN_CLOSE_PROGRAM_H
#define TESTS_SUPPORT_STANDIN_CLOSE_PROGRAM_H

/* Prints "url http://..." and serves until SIGINT or SIGTERM, when it prints its counts; SIGUSR1: a note is written,
 * and its event delivered to all subscriptions. Its API key is CLOSE_API_KEY of standin_close.h. What goes wrong, NULL:
 * nothing: "limit", every third request is answered 429; "cut", the first POST is done and its connection cut. Returns
 * the exit code. */
int standin_close_run(const char *fault);

#endif
