/* SHA-256 and HMAC beside the standards' examples and libcrypto. */
#include "tests/suites.h"

#include <CUnit/CUnit.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#include "base/sha256.h"
#include "base/text.h"
#include "tests/support/check.h"

#define LENGTHS 300 /* each of them, as text and as key: around all edges of the first blocks */

static const char *hex_of(const void *data, size_t length, char out[static 2 * SHA256_BYTES + 1])
{
    unsigned char digest[SHA256_BYTES];
    sha256(data, length, digest);
    return text_hex_encode(digest, sizeof digest, out);
}

/* FIPS 180-2, appendix B. */
static void agrees_with_the_standard(void)
{
    static const char two_blocks[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    char hex[2 * SHA256_BYTES + 1];
    CU_ASSERT_STRING_EQUAL(hex_of("", 0, hex), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CU_ASSERT_STRING_EQUAL(hex_of("abc", 3, hex), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CU_ASSERT_STRING_EQUAL(hex_of(two_blocks, strlen(two_blocks), hex),
                           "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    size_t million = 1000000;
    char *letters = malloc(million);
    CU_ASSERT_PTR_NOT_NULL_FATAL(letters);
    memset(letters, 'a', million);
    CU_ASSERT_STRING_EQUAL(hex_of(letters, million, hex),
                           "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(letters);
}

static void agrees_with_libcrypto(void)
{
    unsigned char bytes[LENGTHS], ours[SHA256_BYTES], theirs[EVP_MAX_MD_SIZE];
    int differing = 0;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * i * 7 + 1);
    for (size_t length = 0; length < LENGTHS; length++) {
        size_t first = length * 5 % (length + 1);
        sha256(bytes, length, ours);
        EVP_Digest(bytes, length, theirs, NULL, EVP_sha256(), NULL);
        differing += memcmp(ours, theirs, sizeof ours) != 0;

        struct hmac hmac, copy;
        hmac_begin(&hmac, bytes, length);
        copy = hmac;
        hmac_add(&copy, bytes, first);
        hmac_add(&copy, bytes + first, sizeof bytes - first);
        hmac_end(&copy, ours);
        HMAC(EVP_sha256(), bytes, (int)length, bytes, sizeof bytes, theirs, NULL);
        differing += memcmp(ours, theirs, sizeof ours) != 0;
    }
    CU_ASSERT_EQUAL(differing, 0);
}

static void tells_secrets_apart(void)
{
    static const char one[] = "0123456789abcdef";
    char other[sizeof one];
    CU_ASSERT(secrets_equal(one, one, sizeof one));
    CU_ASSERT(secrets_equal(one, "", 0));
    for (size_t i = 0; i < sizeof one; i++) {
        memcpy(other, one, sizeof one);
        other[i] = (char)(other[i] ^ 0x80);
        CU_ASSERT_FALSE(secrets_equal(one, other, sizeof one));
    }
}

static void base64_of(const char *text, const char *right)
{
    char out[TEXT_BASE64(8)];
    CU_ASSERT_STRING_EQUAL(text_base64_encode(text, strlen(text), out), right);
}

/* RFC 4648, 10. */
static void writes_base64(void)
{
    base64_of("", "");
    base64_of("f", "Zg==");
    base64_of("fo", "Zm8=");
    base64_of("foo", "Zm9v");
    base64_of("foobar", "Zm9vYmFy");
    base64_of("\xff\xfe\xfb", "//77");
}

void suite_sha256(void)
{
    static CU_TestInfo tests[] = {
        {"SHA-256 as in the standard", agrees_with_the_standard},
        {"SHA-256 and HMAC as libcrypto's", agrees_with_libcrypto},
        {"secrets are told apart by any byte", tells_secrets_apart},
        {"Base64", writes_base64},
        CU_TEST_INFO_NULL,
    };
    suite_add("sha256", NULL, NULL, tests);
}
