/* Where the certificates are that others' are checked with: see config.h. libcurl knows only the place of the system
 * that it was built on, and the bundle runs on others. */
#include <stddef.h>
#include <unistd.h>

#include "config/config.h"

const char *config_certificates(const struct config *config)
{
    static const char *const places[] = {
        "/etc/ssl/certs/ca-certificates.crt",                /* Debian, Ubuntu, Arch, Alpine */
        "/etc/pki/tls/certs/ca-bundle.crt",                  /* RHEL and its kin */
        "/etc/ssl/ca-bundle.pem",                            /* SUSE */
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* RHEL, where the older name is gone */
        "/var/lib/ca-certificates/ca-bundle.pem",            /* SUSE, likewise */
        "/etc/ssl/cert.pem",
    };
    if (config != NULL && config->ca_file != NULL)
        return config->ca_file;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (access(places[i], R_OK) == 0)
            return places[i];
    }
    return NULL;
}
