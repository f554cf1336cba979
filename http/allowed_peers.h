/* Which hosts may connect to a TCP port: what FCGI_WEB_SERVER_ADDRS says, as libfcgi's own accept would obey it. */
#ifndef HTTP_ALLOWED_PEERS_H
#define HTTP_ALLOWED_PEERS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/error.h"

/* The addresses allowed, IPv4 ones mapped into IPv6. None: all are. */
struct peers {
    struct in6_addr *at;
    size_t count;
};

/* Reads a list of addresses separated by commas; NULL or empty allows all. Returns false with the reason when one of
 * them is no IP address, for a list that silently allowed nobody, or all, would help nobody. */
bool peers_init(struct peers *peers, const char *list, struct error *why);

/* Whether this peer may connect. Peers on Unix sockets always may: the file's mode guards those. */
bool peers_allow(const struct peers *peers, const struct sockaddr_storage *address);

void peers_free(struct peers *peers);

#endif
