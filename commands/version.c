/* version: of the program and of the libraries whose version may explain what it does. */
#include "commands/commands.h"

#include <curl/curl.h>
#include <json-c/json_c_version.h>
#include <stdio.h>

#include "commands/options.h"

int command_version(int argc, char **argv)
{
    if (!options_read(argc, argv, NULL, 0, NULL))
        return COMMAND_USAGE;
    const curl_version_info_data *curl = curl_version_info(CURLVERSION_NOW);
    printf("closecrm.fcgi %s\n", CLOSECRM_VERSION);
    printf("libcurl %s (%s)\n", curl->version, curl->ssl_version != NULL ? curl->ssl_version : "no TLS");
    printf("json-c %s\n", json_c_version());
    return COMMAND_OK;
}
