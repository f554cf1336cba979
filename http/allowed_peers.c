/* FCGI_WEB_SERVER_ADDRS: see allowed_peers.h. */
#include "http/allowed_peers.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void map_ipv4(const struct in_addr *from, struct in6_addr *to)
{
    memset(to, 0, sizeof *to);
    to->s6_addr[10] = 0xff;
    to->s6_addr[11] = 0xff;
    memcpy(to->s6_addr + 12, from, sizeof *from);
}

static bool parse_address(const char *text, size_t length, struct in6_addr *out)
{
    char address[INET6_ADDRSTRLEN];
    if (length >= sizeof address)
        return false;
    memcpy(address, text, length);
    address[length] = '\0';
    struct in_addr ipv4;
    if (inet_pton(AF_INET, address, &ipv4) == 1) {
        map_ipv4(&ipv4, out);
        return true;
    }
    return inet_pton(AF_INET6, address, out) == 1;
}

static bool add(struct peers *peers, const char *text, size_t length, struct error *why)
{
    struct in6_addr *at = realloc(peers->at, (peers->count + 1) * sizeof *at);
    if (at == NULL) {
        error_set(why, "out of memory");
        return false;
    }
    peers->at = at;
    if (!parse_address(text, length, &at[peers->count])) {
        error_set(why, "FCGI_WEB_SERVER_ADDRS: \"%.*s\" is no IP address; write them separated by commas",
                  (int)(length > 100 ? 100 : length), text);
        return false;
    }
    peers->count++;
    return true;
}

bool peers_init(struct peers *peers, const char *list, struct error *why)
{
    static const char separators[] = ", \t";
    *peers = (struct peers){0};
    for (const char *at = list == NULL ? "" : list; *(at += strspn(at, separators)) != '\0';) {
        size_t length = strcspn(at, separators);
        if (!add(peers, at, length, why)) {
            peers_free(peers);
            return false;
        }
        at += length;
    }
    return true;
}

bool peers_allow(const struct peers *peers, const struct sockaddr_storage *address)
{
    if (peers->count == 0)
        return true;
    struct in6_addr peer;
    if (address->ss_family == AF_INET)
        map_ipv4(&((const struct sockaddr_in *)address)->sin_addr, &peer);
    else if (address->ss_family == AF_INET6)
        peer = ((const struct sockaddr_in6 *)address)->sin6_addr;
    else
        return true;
    for (size_t i = 0; i < peers->count; i++) {
        if (memcmp(&peers->at[i], &peer, sizeof peer) == 0)
            return true;
    }
    return false;
}

void peers_free(struct peers *peers)
{
    free(peers->at);
    *peers = (struct peers){0};
}
