/* Children: servers and the program. Each leads a process group of its own, runs as user_of_children, and gets SIGTERM
 * from the kernel should the test program die. Start them from the main thread: the kernel's promise is the thread's.
 */
#ifndef TESTS_SUPPORT_PROCESS_H
#define TESTS_SUPPORT_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* All zero is no process. */
struct process {
    pid_t pid;
};

struct process_options {
    const char *const *arguments;   /* NULL-terminated; the first is the program, looked for in PATH and the sbin's */
    const char *const *environment; /* NULL-terminated NAME=value, beside PATH; NULL: nothing else */
    const char *directory;          /* to run in */
    const char *log;                /* file that its stdout and stderr are appended to */
};

/* Returns false when it could not be started; a program that could not be executed ends with 127. */
bool process_start(struct process *process, const struct process_options *options);

/* Waits until it ends. Returns false when it has not after the milliseconds; else *status is as from waitpid, what is
 * left of its group is killed, and the process is none any more. */
bool process_wait(struct process *process, int64_t ms, int *status);

/* SIGTERM, and after the milliseconds SIGKILL for the group. Returns the exit code, or -1 when a signal ended it. Of no
 * process: 0. */
int process_stop(struct process *process, int64_t ms);

/* True while it has not ended. */
bool process_alive(const struct process *process);

/* A number that /proc/PID/status has for it, such as VmRSS (resident memory in KiB); 0 when it cannot be known. */
long process_status(pid_t pid, const char *field);

/* Whether the addresses of a process of this program can be limited: the sanitizers reserve terabytes of them, and
 * valgrind needs its own. */
bool process_can_limit_addresses(void);

/* A TCP port on 127.0.0.1 that was free just now. */
uint16_t port_free(void);

/* Connect to 127.0.0.1 or to a Unix socket. Return a descriptor, or -1. */
int connect_port(uint16_t port);
int connect_socket(const char *path);

/* Wait until the port or socket accepts. Return false when the process ended, or after the milliseconds. */
bool process_wait_port(const struct process *process, uint16_t port, int64_t ms);
bool process_wait_socket(const struct process *process, const char *path, int64_t ms);

#endif
