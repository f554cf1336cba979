/* Files that the program carries in itself. */
#ifndef STATUS_EMBEDDED_H
#define STATUS_EMBEDDED_H

#include <stddef.h>

struct embedded {
    const char *data; /* no NUL at its end */
    size_t length;
};

extern const struct embedded embedded_style;  /* page.css */
extern const struct embedded embedded_script; /* page.js */

#endif
