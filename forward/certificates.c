/* Looking for certificates: see certificates.h. */
#include "forward/certificates.h"

#include <stddef.h>
#include <unistd.h>

const char *certificates_of_system(void)
{
    static const char *const places[] = {
        "/etc/ssl/certs/ca-certificates.crt",                /* Debian, Ubuntu, Arch, Alpine */
        "/etc/pki/tls/certs/ca-bundle.crt",                  /* RHEL and its kin */
        "/etc/ssl/ca-bundle.pem",                            /* SUSE */
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* RHEL, where the older name is gone */
        "/var/lib/ca-certificates/ca-bundle.pem",            /* SUSE, likewise */
        "/etc/ssl/cert.pem",
    };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (access(places[i], R_OK) == 0)
            return places[i];
    }
    return NULL;
}
