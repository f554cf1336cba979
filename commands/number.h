/* Numbers on the command line. */
#ifndef COMMANDS_NUMBER_H
#define COMMANDS_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

/* Reads decimal digits and nothing else, from 1 to what an id may be (INT64_MAX). Returns false for all else. */
bool number_read(const char *text, uint64_t *number);

#endif
