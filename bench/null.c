/* The null responder: the least that a FastCGI program can do behind a web server. Reads the body, answers `ok`, with
 * libfcgi alone and 32 threads: its best. What closecrm.fcgi takes is measured as a share of what this one takes.
 * Descriptor 0 is the listening socket: start it with spawn-fcgi. */
#include <fcgiapp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>

#define THREADS 32

static void *serve(void *unused)
{
    static const char answer[] = "Status: 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";
    FCGX_Request request;
    char scrap[16384];
    (void)unused;
    FCGX_InitRequest(&request, 0, 0);
    while (FCGX_Accept_r(&request) == 0) {
        while (FCGX_GetStr(scrap, sizeof scrap, request.in) == (int)sizeof scrap)
            ;
        FCGX_PutStr(answer, sizeof answer - 1, request.out);
        FCGX_Finish_r(&request);
    }
    return NULL;
}

int main(void)
{
    pthread_t thread;
    signal(SIGPIPE, SIG_IGN);
    if (FCGX_Init() != 0)
        return 1;
    for (int i = 1; i < THREADS; i++) {
        if (pthread_create(&thread, NULL, serve, NULL) != 0)
            return 1;
    }
    serve(NULL);
    return 0;
}
