/* What is said of a finding, from the texts of the table. */
#ifndef HEALTH_FINDING_TEXT_H
#define HEALTH_FINDING_TEXT_H

#include <stddef.h>

/* In a text of the table @ becomes the name, $ the state directory, and the program is called as it can be typed. What
 * does not fit is left out altogether: half a command is none. out is not text. */
void finding_text_expand(const char *text, const char *name, const char *state_dir, char *out, size_t size);

/* Calls the program as it can be typed, in a sentence that stands in out already. */
void finding_text_put_name(char *out, size_t size);

#endif
