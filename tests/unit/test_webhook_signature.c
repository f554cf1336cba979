/* Close's signature. The hashes were made by `openssl dgst -sha256 -mac HMAC -macopt hexkey:...`. */
#include "tests/suites.h"
#include "webhook/auth.h"

#include <stdio.h>
#include <string.h>

static const char body[] = "{\"event\": {\"id\": \"ev_1\", \"action\": \"updated\"}, \"subscription_id\": \"whsub_1\"}";
#define BODY_LENGTH (sizeof body - 1)
#define TIMESTAMP "1700000000"
#define NOW_MS 1700000000000

static unsigned char first_bytes[32], second_bytes[32];
static struct signature_key keys[2] = {{first_bytes, 32}, {second_bytes, 32}};

/* Made with 000102...1f, with ffeedd...00 twice, and with the first one's hex text as the key. */
static const char by_first[] = "9ea5cc23519dde5b844b376efad0d3ce1ed39852a8ccc7fc8243cacd391d082b";
static const char by_second[] = "b9d6028b441986df93b120b3fc9185719acb5d88dbeffc0bb516fa7b1397d09f";
static const char by_hex_text[] = "522a29af9bd7ae1c962f40cff51214e132d24e9f89e9cf2f229c7ceef1bfd985";

static int make_keys(void)
{
    for (int i = 0; i < 32; i++) {
        first_bytes[i] = (unsigned char)i;
        second_bytes[i] = (unsigned char)(0xff - 0x11 * (i % 16));
    }
    return 0;
}

/* Checks a signature by the first so many keys. */
static enum signature_result check(size_t count, const char *timestamp, const char *hash, const char *text,
                                   size_t length)
{
    struct signers signers;
    struct signature signature;
    CU_ASSERT_TRUE_FATAL(signers_init(&signers, keys, count));
    CU_ASSERT_TRUE_FATAL(signature_read_timestamp(&signature, timestamp));
    CU_ASSERT_TRUE_FATAL(signature_read_hash(&signature, hash));
    enum signature_result result = signature_check(&signature, &signers, text, length);
    signers_free(&signers);
    return result;
}

static void takes_what_openssl_signed(void)
{
    CU_ASSERT_EQUAL(check(1, TIMESTAMP, by_first, body, BODY_LENGTH), SIGNATURE_GOOD);
    CU_ASSERT_EQUAL(
        check(1, TIMESTAMP, "9EA5CC23519DDE5B844B376EFAD0D3CE1ED39852A8CCC7FC8243CACD391D082B", body, BODY_LENGTH),
        SIGNATURE_GOOD);
}

static void takes_binary_bodies(void)
{
    char binary[4000];
    for (size_t i = 0; i < sizeof binary; i++)
        binary[i] = "\0\1\n\xff"[i % 4];
    CU_ASSERT_EQUAL(
        check(1, TIMESTAMP, "c95903714e0053d90939b51ebbfcc0ceb7da95b442b394cfeb93affe7b34f9a7", binary, sizeof binary),
        SIGNATURE_GOOD);
}

static void tries_every_key(void)
{
    CU_ASSERT_EQUAL(check(2, TIMESTAMP, by_first, body, BODY_LENGTH), SIGNATURE_GOOD);
    CU_ASSERT_EQUAL(check(2, TIMESTAMP, by_second, body, BODY_LENGTH), SIGNATURE_GOOD);
    CU_ASSERT_EQUAL(check(1, TIMESTAMP, by_second, body, BODY_LENGTH), SIGNATURE_WRONG);
}

static void takes_nothing_without_a_key(void)
{
    CU_ASSERT_EQUAL(check(0, TIMESTAMP, by_first, body, BODY_LENGTH), SIGNATURE_WRONG);
}

static void the_hex_text_is_not_the_key(void)
{
    CU_ASSERT_EQUAL(check(2, TIMESTAMP, by_hex_text, body, BODY_LENGTH), SIGNATURE_WRONG);
}

/* Every bit of hash, body and timestamp. */
static void each_bit_matters(void)
{
    struct signers signers;
    struct signature good;
    char text[BODY_LENGTH], timestamp[] = TIMESTAMP;
    CU_ASSERT_TRUE_FATAL(signers_init(&signers, keys, 2));
    CU_ASSERT_TRUE_FATAL(signature_read_timestamp(&good, TIMESTAMP) && signature_read_hash(&good, by_first));
    for (size_t bit = 0; bit < SIGNATURE_BYTES * 8; bit++) {
        struct signature signature = good;
        signature.hash[bit / 8] ^= (unsigned char)(1u << bit % 8);
        CU_ASSERT_EQUAL(signature_check(&signature, &signers, body, BODY_LENGTH), SIGNATURE_WRONG);
    }
    for (size_t bit = 0; bit < BODY_LENGTH * 8; bit++) {
        memcpy(text, body, BODY_LENGTH);
        text[bit / 8] = (char)(text[bit / 8] ^ (1 << bit % 8));
        CU_ASSERT_EQUAL(signature_check(&good, &signers, text, BODY_LENGTH), SIGNATURE_WRONG);
    }
    for (size_t i = 0; i < strlen(timestamp); i++) {
        struct signature signature = good;
        timestamp[i] ^= 1;
        signature.timestamp = timestamp;
        CU_ASSERT_EQUAL(signature_check(&signature, &signers, body, BODY_LENGTH), SIGNATURE_WRONG);
        timestamp[i] ^= 1;
    }
    CU_ASSERT_EQUAL(signature_check(&good, &signers, body, BODY_LENGTH), SIGNATURE_GOOD);
    CU_ASSERT_EQUAL(signature_check(&good, &signers, body, BODY_LENGTH - 1), SIGNATURE_WRONG);
    CU_ASSERT_EQUAL(signature_check(&good, &signers, body, 0), SIGNATURE_WRONG);
    signers_free(&signers);
}

static void reads_timestamps(void)
{
    static const struct {
        const char *text;
        bool good;
        int64_t seconds;
    } cases[] = {
        {"1700000000", true, 1700000000},
        {"0", true, 0},
        {"0001700000000", true, 1700000000},
        {"999999999999999", true, 999999999999999},
        {"1000000000000000", false, 0},
        {"99999999999999999999999999", false, 0},
        {"", false, 0},
        {"-1", false, 0},
        {"+1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"1.5", false, 0},
        {"1e9", false, 0},
        {"0x10", false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct signature signature = {0};
        CU_ASSERT_EQUAL(signature_read_timestamp(&signature, cases[i].text), cases[i].good);
        CU_ASSERT_EQUAL(signature.seconds, cases[i].seconds);
    }
}

static void refuses_what_is_no_hash(void)
{
    struct signature signature;
    char text[80];
    CU_ASSERT_FALSE(signature_read_hash(&signature, ""));
    snprintf(text, sizeof text, "%.63s", by_first);
    CU_ASSERT_FALSE(signature_read_hash(&signature, text));
    snprintf(text, sizeof text, "%s0", by_first);
    CU_ASSERT_FALSE(signature_read_hash(&signature, text));
    snprintf(text, sizeof text, "%.63sg", by_first);
    CU_ASSERT_FALSE(signature_read_hash(&signature, text));
    snprintf(text, sizeof text, "0x%.62s", by_first);
    CU_ASSERT_FALSE(signature_read_hash(&signature, text));
}

static void tolerates_both_ways(void)
{
    static const struct {
        const char *timestamp;
        int64_t tolerance_ms;
        bool current;
    } cases[] = {
        {"1700000000", 0, true},
        {"1699999999", 0, false},
        {"1700000001", 0, false},
        {"1699999000", 1000000, true},
        {"1699998999", 1000000, false},
        {"1700001000", 1000000, true},
        {"1700001001", 1000000, false},
        {"0", 262800000, false},
        {"999999999999999", 262800000, false},
        {"999999999999999", INT64_MAX, true},
        {"1699737200", 262800000, true},
        {"1699737199", 262800000, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct signature signature;
        CU_ASSERT_TRUE_FATAL(signature_read_timestamp(&signature, cases[i].timestamp));
        CU_ASSERT_EQUAL(signature_is_current(&signature, NOW_MS, cases[i].tolerance_ms), cases[i].current);
    }
}

void suite_webhook_signature(void)
{
    static CU_TestInfo tests[] = {
        {"what openssl signed is taken", takes_what_openssl_signed},
        {"binary bodies are taken", takes_binary_bodies},
        {"every key is tried", tries_every_key},
        {"without a key nothing is taken", takes_nothing_without_a_key},
        {"the key's hex text is not the key", the_hex_text_is_not_the_key},
        {"each bit matters", each_bit_matters},
        {"timestamps are digits", reads_timestamps},
        {"a hash is 64 hex digits", refuses_what_is_no_hash},
        {"the tolerance reaches both ways, to its edge", tolerates_both_ways},
        CU_TEST_INFO_NULL,
    };
    suite_add("webhook signature", make_keys, NULL, tests);
}
