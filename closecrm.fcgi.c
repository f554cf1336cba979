/* closecrm.fcgi: takes Close's webhooks and forwards them to a RudderStack data plane. main finds out how it was
 * started (by a FastCGI spawner, as a CGI program, by hand with a command), and hands over. */
#include <signal.h>

#include "commands/commands.h"
#include "http/http.h"
#include "life/life.h"

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (http_is_fastcgi())
        return life_fastcgi();
    return http_is_cgi() ? life_cgi() : commands_run(argc, argv);
}
