/* Looking at a site's status page as its operator does. */
#ifndef TESTS_SUPPORT_LOOKED_H
#define TESTS_SUPPORT_LOOKED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "tests/support/site.h"

#define LOOKED_CONFIG "admin_password = correct horse\n" /* a line of the site's configuration */

/* GETs a path after the program's own with the password; out gets the body, NUL-terminated. Returns the status. */
int looked_get(const struct site *site, const char *path, struct buffer *out);

/* POSTs a form to the page. Returns the status. */
int looked_post(const struct site *site, const char *form);

/* A number of the source alpha in the page's JSON ("delivered"); -1: there is none. */
int64_t looked_number(const struct site *site, const char *name);

/* Waits until that number is this. Returns false when it is not after the milliseconds. */
bool looked_wait(const struct site *site, const char *name, int64_t value, int64_t ms);

/* A sample's value in /metrics, by its name with its labels, but for a machine's name behind them; -1: there is none.
 */
int64_t looked_metric(const struct site *site, const char *sample);

/* The token of the page's forms. */
#define LOOKED_TOKEN 65
bool looked_token(const struct site *site, char token[static LOOKED_TOKEN]);

#endif
