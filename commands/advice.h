/* What to change when a test event was not taken: the table of answers, and that of failures to get one. */
#ifndef COMMANDS_ADVICE_H
#define COMMANDS_ADVICE_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>

/* Advice on an answer: its status, whether it was this program that gave it (and not a web server before it), and how
 * many bytes were sent. Never NULL. */
const char *advice_on_answer(long status, bool by_program, size_t sent);

/* Advice on a request that got no answer. Never NULL. */
const char *advice_on_failure(CURLcode code);

#endif
