/* FCGI_WEB_SERVER_ADDRS: who may connect. */
#include "http/http_private.h"
#include "tests/suites.h"

#include <arpa/inet.h>
#include <string.h>

static bool allows(const struct peers *peers, int family, const char *text)
{
    struct sockaddr_storage address = {.ss_family = (sa_family_t)family};
    if (family == AF_INET)
        inet_pton(AF_INET, text, &((struct sockaddr_in *)&address)->sin_addr);
    else if (family == AF_INET6)
        inet_pton(AF_INET6, text, &((struct sockaddr_in6 *)&address)->sin6_addr);
    return peers_allow(peers, &address);
}

static void allows_those_listed(void)
{
    struct peers peers;
    struct error why = {0};
    CU_ASSERT_TRUE_FATAL(peers_init(&peers, "10.0.0.1, 192.168.1.2,,2001:db8::1", &why));
    CU_ASSERT_TRUE(allows(&peers, AF_INET, "10.0.0.1"));
    CU_ASSERT_TRUE(allows(&peers, AF_INET, "192.168.1.2"));
    CU_ASSERT_TRUE(allows(&peers, AF_INET6, "::ffff:10.0.0.1"));
    CU_ASSERT_TRUE(allows(&peers, AF_INET6, "2001:db8::1"));
    CU_ASSERT_TRUE(allows(&peers, AF_UNIX, ""));
    CU_ASSERT_FALSE(allows(&peers, AF_INET, "10.0.0.2"));
    CU_ASSERT_FALSE(allows(&peers, AF_INET6, "2001:db8::2"));
    peers_free(&peers);
}

static void allows_all_without_a_list(void)
{
    struct peers peers;
    struct error why = {0};
    CU_ASSERT_TRUE_FATAL(peers_init(&peers, NULL, &why));
    CU_ASSERT_TRUE(allows(&peers, AF_INET, "10.0.0.2"));
    peers_free(&peers);
    CU_ASSERT_TRUE_FATAL(peers_init(&peers, "", &why));
    CU_ASSERT_TRUE(allows(&peers, AF_INET, "10.0.0.2"));
    peers_free(&peers);
}

static void refuses_what_is_no_address(void)
{
    struct peers peers;
    struct error why = {0};
    CU_ASSERT_FALSE(peers_init(&peers, "10.0.0.1,localhost", &why));
    CU_ASSERT_STRING_EQUAL(why.text, "FCGI_WEB_SERVER_ADDRS: \"localhost\" is no IP address; write them separated by "
                                     "commas");
}

void suite_http_peers(void)
{
    static CU_TestInfo tests[] = {
        {"those listed may connect", allows_those_listed},
        {"without a list all may connect", allows_all_without_a_list},
        {"what is no address is refused", refuses_what_is_no_address},
        CU_TEST_INFO_NULL,
    };
    suite_add("http peers", NULL, NULL, tests);
}
