/* Shared by confine.c and aside.c. */
#ifndef PROCESS_CONFINE_PRIVATE_H
#define PROCESS_CONFINE_PRIVATE_H

#include <stdbool.h>

/* ---- aside.c: Jobs that request threads have no right to, each in a thread of its own, which a thread that is not
 * confined starts, since a confined one would hand its confinement on. Where no thread can be started, that one does
 * the job itself, one after the other. Any thread. ---- */

struct aside;

/* prepare(context) is called in each thread before its job. Returns NULL when there is no memory, or no thread. */
struct aside *aside_start(void (*prepare)(void *context), void *context);

/* Runs a job and waits until it is done. */
void aside_run(struct aside *aside, void (*job)(void *argument), void *argument);

/* No job may be running any more. */
void aside_stop(struct aside *aside);

#endif
