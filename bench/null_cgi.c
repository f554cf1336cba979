/* The null CGI program: the least that one can do. Reads the body, answers `ok`, with the C library alone. What
 * closecrm.fcgi takes under CGI is measured as a multiple of what this one takes. */
#include <unistd.h>

int main(void)
{
    static const char answer[] = "Status: 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";
    char scrap[16384];
    while (read(STDIN_FILENO, scrap, sizeof scrap) > 0)
        ;
    return write(STDOUT_FILENO, answer, sizeof answer - 1) != (ssize_t)sizeof answer - 1;
}
