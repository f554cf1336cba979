/* Signals as the program relies on them, whatever the process that started it has ignored or blocked. */
#ifndef PROCESS_SIGNALS_H
#define PROCESS_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

/* Nothing stays ignored but SIGPIPE and SIGXFSZ: waitpid needs SIGCHLD, and sigtimedwait what ends the process. For a
 * person's command SIGHUP, SIGINT and SIGQUIT stay ignored where they are: nohup and shells mean it. First thing in
 * main. */
void signals_heed(bool command);

/* Blocks none. Not for a process that was executed in its own place: what came meanwhile is blocked and pending. */
void signals_unblock(void);

/* Blocks those that tell a process that stays to end or to reload, and no others. Returns them. */
sigset_t signals_block_tidings(void);

#endif
