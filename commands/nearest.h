/* How near a typed word is to a real one, to suggest what somebody probably meant. */
#ifndef COMMANDS_NEAREST_H
#define COMMANDS_NEAREST_H

#include <stddef.h>

/* How many letters must be put in, taken out or changed to make one of the other. Looks at the first 32 bytes. */
size_t nearest_distance(const char *a, const char *b);

#endif
