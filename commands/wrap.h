/* Lines for people: broken between words where they are longer than a terminal is wide. What stands between backquotes
 * stays together: it is there to be typed. */
#ifndef COMMANDS_WRAP_H
#define COMMANDS_WRAP_H

#include <stddef.h>
#include <stdio.h>

#define WRAP_COLUMNS 80 /* of a terminal that does not say how many it has */

/* The columns of the terminal that the descriptor is; WRAP_COLUMNS where it is none, or does not say. */
size_t wrap_columns(int fd);

/* Writes length bytes of a line, without its newline, from a column on; what does not fit goes into further lines,
 * which begin with `indent` blanks. Returns the column behind it. */
size_t wrap_line(FILE *out, const char *line, size_t length, size_t column, size_t indent, size_t columns);

/* Puts a stream before out that breaks the lines which are written to it. Returns NULL when memory is out. Closing it
 * writes what is left, and leaves out open. */
FILE *wrap_open(FILE *out, size_t columns);

#endif
