/* Dispositions and masks: see signals.h. Over exec only "ignored" and "blocked" are inherited; handlers that are there
 * already are a sanitizer's. */
#include "process/signals.h"

#include <stddef.h>

static bool is_a_persons(int number)
{
    return number == SIGHUP || number == SIGINT || number == SIGQUIT;
}

void signals_heed(bool command)
{
    for (int number = 1; number < NSIG; number++) {
        struct sigaction now;
        if (sigaction(number, NULL, &now) == 0 && now.sa_handler == SIG_IGN && !(command && is_a_persons(number)))
            signal(number, SIG_DFL);
    }
    signal(SIGPIPE, SIG_IGN); /* a client that has gone is an error of write */
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow, likewise */
}

void signals_unblock(void)
{
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
}

sigset_t signals_block_tidings(void)
{
    static const int numbers[] = {SIGTERM, SIGUSR1, SIGINT, SIGHUP};
    sigset_t signals;
    sigemptyset(&signals);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaddset(&signals, numbers[i]);
    pthread_sigmask(SIG_SETMASK, &signals, NULL);
    return signals;
}
