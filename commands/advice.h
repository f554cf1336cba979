/* What to change when a test event was not taken: the table of answers, and that of failures to get one. */
#ifndef COMMANDS_ADVICE_H
#define COMMANDS_ADVICE_H

#include <curl/curl.h>
#include <stddef.h>

/* Room for any of it, with the program called as it can be typed (base/program_name). */
#define ADVICE_SIZE 1200

/* Advice on an answer: its status, the sentence of this program that came with it (NULL: it was a web server before the
 * program that answered), and how many bytes were sent. Never NULL. */
const char *advice_on_answer(long status, const char *sentence, size_t sent);

/* Advice on a request that got no answer. Never NULL. */
const char *advice_on_failure(CURLcode code);

#endif
