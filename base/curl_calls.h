/* libcurl's functions, with libcurl's own names and types, from a library that is loaded when the first
 * of them is called. Where it cannot be loaded each of them fails as where memory is out, and the next call tries
 * again. */
#ifndef BASE_CURL_CALLS_H
#define BASE_CURL_CALLS_H

#include <stdbool.h>

#include "base/error.h"

/* Loads it now. Returns false with the reason, and which package brings it. Any thread. */
bool curl_calls_load(struct error *why);

/* Why a set-up with libcurl failed, for a message: as above where it cannot be loaded, else that memory is out. */
void curl_calls_say(struct error *why);

#endif
