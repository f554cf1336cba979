/* closecrm.fcgi: takes Close's webhooks and forwards them to a RudderStack data plane. main finds out how it was
 * started (by a FastCGI spawner, as a CGI program, by hand with a command), and hands over. */
#include "commands/commands.h"
#include "http/http.h"
#include "process/process.h"

#include <malloc.h>
#include <stdbool.h>

/* glibc keeps what large buffers leave behind: twice as much after a backlog, and not a bit faster. Its arenas are few
 * on small machines already and many on large ones; with only two, the request threads and the forwarder waited for
 * each other a tenth of their time (measured: a tenth more requests with these, at the same memory). */
static void keep_memory_small(bool cgi)
{
    mallopt(M_ARENA_MAX, cgi ? 1 : 16);    /* a second one is made for a second thread, and costs more than it saves */
    mallopt(M_MMAP_THRESHOLD, 128 * 1024); /* set, it stays: by itself it grows to 32 MiB */
    mallopt(M_TRIM_THRESHOLD, 128 * 1024);
}

int main(int argc, char **argv)
{
    process_block_signals(); /* one to reload that comes now must not end what serves; others are unblocked again */
    bool fastcgi = http_is_fastcgi(), cgi = !fastcgi && http_is_cgi();
    keep_memory_small(cgi);
    process_reset_signals(!fastcgi && !cgi);
    if (fastcgi)
        return daemon_serve();
    if (!cgi && cgi_child_is_started(argc, argv))
        return cgi_child_serve();
    return cgi ? cgi_serve() : commands_run(argc, argv);
}
