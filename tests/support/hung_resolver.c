/* Mounting a resolv.conf and listening: see hung_resolver.h. */
#include "tests/support/hung_resolver.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/check.h"

#define ADDRESS "127.0.0.53" /* of this machine; port 53 */

static bool mount_over(const char *path, const char *over)
{
    char target[PATH_SIZE];
    char *real = realpath(over, NULL);
    if (real == NULL || strlen(real) >= sizeof target)
        return false;
    strcpy(target, real);
    free(real);
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount(path, target, NULL, MS_BIND, NULL) == 0;
}

bool hung_resolver_start(struct hung_resolver *resolver, unsigned seconds)
{
    char path[PATH_SIZE], text[128];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(53)};
    *resolver = (struct hung_resolver){.socket = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    inet_pton(AF_INET, ADDRESS, &address.sin_addr);
    if (!check(bind(resolver->socket, (const struct sockaddr *)&address, sizeof address) == 0, ADDRESS ":53 is free") ||
        !check(temporary_make(resolver->directory), "a temporary directory can be made"))
        return false;
    path_join(path, resolver->directory, "resolv.conf");
    int length = snprintf(text, sizeof text, "nameserver " ADDRESS "\noptions timeout:%u attempts:1\n", seconds);
    resolver->mounted = temporary_write(resolver->directory, "resolv.conf", 0644, text, (size_t)length) &&
                        mount_over(path, "/etc/resolv.conf");
    return check(resolver->mounted, "root can put another resolv.conf in its place");
}

void hung_resolver_forget(const struct hung_resolver *resolver)
{
    char scrap[512];
    while (recv(resolver->socket, scrap, sizeof scrap, 0) >= 0)
        ;
}

bool hung_resolver_wait_asked(const struct hung_resolver *resolver, int64_t ms)
{
    struct pollfd asked = {.fd = resolver->socket, .events = POLLIN};
    return poll(&asked, 1, (int)ms) == 1;
}

void hung_resolver_stop(struct hung_resolver *resolver)
{
    if (resolver->mounted)
        check(umount2("/etc/resolv.conf", MNT_DETACH) == 0, "resolv.conf is unmounted");
    if (resolver->directory[0] != '\0')
        temporary_remove(resolver->directory);
    close(resolver->socket);
}
