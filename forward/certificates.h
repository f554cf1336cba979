/* Where this system keeps the certificates that others' are checked with: libcurl knows only the place of the system
 * that it was built on, and the bundle runs on others. */
#ifndef FORWARD_CERTIFICATES_H
#define FORWARD_CERTIFICATES_H

/* The first of the usual files that can be read; NULL: none, then what libcurl was built with may still do. Static
 * storage. Any thread. */
const char *certificates_of_system(void);

#endif
