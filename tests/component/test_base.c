/* What base/ has for all: encodings, UTF-8, hash, distance, numbers; waiting. */
#include "tests/suites.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/escape.h"
#include "base/files.h"
#include "base/http_request.h"
#include "base/text.h"
#include "tests/support/check.h"
#include "tests/support/temporary.h"

/* ---- unlocking ---- */

static _Thread_local unsigned unlocks_fail; /* so many */

/* In the place of libc's. */
int flock(int fd, int how)
{
    if (how == LOCK_UN && unlocks_fail > 0) {
        unlocks_fail--;
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_flock, fd, how);
}

/* Else who locks next would wait for ever. */
static void what_fails_to_be_unlocked_is_free(void)
{
    static const unsigned failures[] = {0, 1, 1000};
    char directory[PATH_SIZE], path[PATH_SIZE];
    CU_ASSERT_FATAL(temporary_make(directory));
    path_join(path, directory, "lock");
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        int one = -1, other = -1;
        CU_ASSERT_EQUAL(lock_take(&one, path, LOCK_EX), 0);
        CU_ASSERT_EQUAL(lock_take(&other, path, LOCK_EX | LOCK_NB), EWOULDBLOCK);
        unlocks_fail = failures[i];
        lock_release(&one);
        unlocks_fail = 0;
        check(lock_take(&other, path, LOCK_EX | LOCK_NB) == 0, "after %u failures it is free", failures[i]);
        CU_ASSERT_EQUAL(lock_take(&one, path, LOCK_EX | LOCK_NB), EWOULDBLOCK);
        close(one);
        close(other);
    }
    temporary_remove(directory);
}

static void hex_goes_both_ways(void)
{
    unsigned char bytes[4] = {0};
    char digits[9];
    CU_ASSERT_TRUE(text_hex_decode("00fFa509", 8, bytes));
    CU_ASSERT_EQUAL(memcmp(bytes, "\x00\xff\xa5\x09", 4), 0);
    CU_ASSERT_STRING_EQUAL(text_hex_encode(bytes, sizeof bytes, digits), "00ffa509");
    CU_ASSERT_STRING_EQUAL(text_hex_encode(bytes, 0, digits), "");
    static const char *const wrong[] = {"0", "000", "0g", "g0", "0x", " 0", "@0", "/0", ":0", "`0"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CU_ASSERT_FALSE(text_hex_decode(wrong[i], strlen(wrong[i]), bytes));
}

static void percent_is_decoded(void)
{
    char out[8];
    CU_ASSERT_EQUAL(text_percent_decode("a+%2B%4a", 8, out, sizeof out), 4);
    CU_ASSERT_STRING_EQUAL(out, "a +J");
    CU_ASSERT_EQUAL(text_percent_decode("%zz%4", 5, out, sizeof out), 5);
    CU_ASSERT_STRING_EQUAL(out, "%zz%4");
    CU_ASSERT_EQUAL(text_percent_decode("a%00", 4, out, sizeof out), -1);
    CU_ASSERT_EQUAL(text_percent_decode("12345678", 8, out, sizeof out), -1);
    CU_ASSERT_EQUAL(text_percent_decode("1234567", 7, out, sizeof out), 7);
    CU_ASSERT_EQUAL(text_percent_decode("", 0, out, 0), -1);
}

/* The vectors of RFC 4648, with and without their padding. */
static void base64_is_decoded(void)
{
    static const char *const cases[][2] = {
        {"", ""},        {"Zg==", "f"},        {"Zg", "f"},          {"Zm8=", "fo"},         {"Zm8", "fo"},
        {"Zm9v", "foo"}, {"Zm9vYg==", "foob"}, {"Zm9vYmE", "fooba"}, {"Zm9vYmFy", "foobar"}, {"+/+/", "\xfb\xff\xbf"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[6];
        long length = text_base64_decode(cases[i][0], strlen(cases[i][0]), out, sizeof out);
        CU_ASSERT_EQUAL(length, (long)strlen(cases[i][1]));
        CU_ASSERT_EQUAL(memcmp(out, cases[i][1], strlen(cases[i][1])), 0);
    }
    static const char *const wrong[] = {"Z", "Zm9vY", "Zm 9", "Z-8_", "Zm9vYmFyZg==" /* does not fit */};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char out[6];
        CU_ASSERT_EQUAL(text_base64_decode(wrong[i], strlen(wrong[i]), out, sizeof out), -1);
    }
}

/* Every code point there and back; surrogates and what is beyond are none. */
static void utf8_is_stepped_over(void)
{
    size_t wrong = 0;
    for (uint32_t code = 0; code < 0x110400; code++) {
        char bytes[4];
        size_t length = text_utf8_write(bytes, code);
        bool is_one = code < 0x110000 && (code < 0xD800 || code > 0xDFFF);
        wrong += text_utf8_length(bytes, length) != (is_one ? length : 0);
        wrong += is_one && text_utf8_read(bytes, length) != code;
        wrong += length > 1 && text_utf8_length(bytes, length - 1) != 0;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    static const char *const none[] = {"\x80",         "\xbf",      "\xc0\x80",         "\xc1\xbf",         "\xc3(",
                                       "\xe0\x9f\xbf", "\xe2\x82(", "\xf0\x8f\xbf\xbf", "\xf5\x80\x80\x80", "\xff"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        CU_ASSERT_EQUAL(text_utf8_length(none[i], 4), 0);
}

/* The vectors of the algorithm's authors. */
static void hash_is_fnv_1a(void)
{
    CU_ASSERT_EQUAL(text_hash(TEXT_HASH, "", 0), UINT64_C(0xcbf29ce484222325));
    CU_ASSERT_EQUAL(text_hash(TEXT_HASH, "a", 1), UINT64_C(0xaf63dc4c8601ec8c));
    CU_ASSERT_EQUAL(text_hash(TEXT_HASH, "foobar", 6), UINT64_C(0x85944171f73967e8));
    CU_ASSERT_EQUAL(text_hash(text_hash(TEXT_HASH, "foo", 3), "bar", 3), UINT64_C(0x85944171f73967e8));
}

static void distance_counts_letters(void)
{
    CU_ASSERT_EQUAL(text_distance("check", "check"), 0);
    CU_ASSERT_EQUAL(text_distance("Check", "cHECK"), 0);
    CU_ASSERT_EQUAL(text_distance("", "check"), 5);
    CU_ASSERT_EQUAL(text_distance("chek", "check"), 1);
    CU_ASSERT_EQUAL(text_distance("check", "chick"), 1);
    CU_ASSERT_EQUAL(text_distance("hceck", "check"), 1);
    CU_ASSERT_EQUAL(text_distance("kitten", "sitting"), 3);
    CU_ASSERT_EQUAL(text_distance("12345678901234567890123456789012345678901", "check"), SIZE_MAX);
}

static void ids_are_digits(void)
{
    uint64_t number = 0;
    CU_ASSERT_TRUE(text_read_id("9223372036854775807", &number));
    CU_ASSERT_EQUAL(number, INT64_MAX);
    static const char *const wrong[] = {"", "0", "-1", "+1", " 1", "1 ", "0x1", "9223372036854775808", "1e3"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CU_ASSERT_FALSE(text_read_id(wrong[i], &number));
}

struct waiter {
    pthread_cond_t condition;
    atomic_bool woken;
};

static void *signal_until_woken(void *context)
{
    struct waiter *waiter = context;
    while (!atomic_load(&waiter->woken)) { /* the other one may not wait yet */
        poll(NULL, 0, 2);
        pthread_cond_broadcast(&waiter->condition);
    }
    return NULL;
}

/* A wait ends when the moment has come, at once when it has passed, and without it by a signal only. */
static void waits_go_by_the_monotonic_clock(void)
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    struct waiter waiter = {.woken = false};
    pthread_t thread;
    CU_ASSERT_TRUE_FATAL(clock_condition_init(&waiter.condition));
    pthread_mutex_lock(&mutex);
    moment until = clock_now() + 30;
    while (clock_condition_wait(&waiter.condition, &mutex, until))
        ;
    CU_ASSERT_TRUE(clock_now() >= until);
    CU_ASSERT_FALSE(clock_condition_wait(&waiter.condition, &mutex, until));
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, signal_until_woken, &waiter), 0);
    CU_ASSERT_TRUE(clock_condition_wait(&waiter.condition, &mutex, MOMENT_NEVER));
    atomic_store(&waiter.woken, true);
    pthread_mutex_unlock(&mutex);
    pthread_join(thread, NULL);
    pthread_cond_destroy(&waiter.condition);
    struct timespec time = clock_timespec(12345);
    CU_ASSERT_EQUAL(time.tv_sec, 12);
    CU_ASSERT_EQUAL(time.tv_nsec, 345000000);
    CU_ASSERT_EQUAL(clock_timespec_ms(time), 12345);
}

static void shell_reads_the_word(void)
{
    static const char *const cases[][2] = {
        {"/etc/closecrm.conf", "/etc/closecrm.conf"},
        {"a b", "'a b'"},
        {"", "''"},
        {"-rf", "'-rf'"},
        {"it's", "'it'\\''s'"},
        {"$(x)", "'$(x)'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *quoted = escape_shell(cases[i][0]);
        CU_ASSERT_STRING_EQUAL(quoted, cases[i][1]);
        free(quoted);
    }
}

/* ---- an answer that is none ---- */

struct answering {
    int listening;
    const char *answer;
};

static void *answer_once(void *context)
{
    const struct answering *answering = context;
    char request[1024];
    int fd = accept(answering->listening, NULL, NULL);
    if (fd < 0 || read(fd, request, sizeof request) <= 0 || write(fd, answering->answer, strlen(answering->answer)) < 0)
        perror("answer_once");
    close(fd);
    return NULL;
}

/* What a request that gets this answer has for a status; 0: an error with a reason. */
static long status_of(const char *answer)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct answering answering = {socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), answer};
    socklen_t size = sizeof address;
    CU_ASSERT_FATAL(bind(answering.listening, (struct sockaddr *)&address, size) == 0 &&
                    listen(answering.listening, 1) == 0 &&
                    getsockname(answering.listening, (struct sockaddr *)&address, &size) == 0);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d", ntohs(address.sin_port));
    pthread_t thread;
    CU_ASSERT_FATAL(pthread_create(&thread, NULL, answer_once, &answering) == 0);
    struct http_request request;
    const struct http_options options = {.url = url, .whole_ms = 20000};
    CU_ASSERT_FATAL(http_request_open(&request, &options));
    http_request_begin(&request);
    long status = 0;
    CURLcode result = http_request_end(&request, curl_easy_perform(request.easy));
    curl_easy_getinfo(request.easy, CURLINFO_RESPONSE_CODE, &status);
    CU_ASSERT_EQUAL(result == CURLE_OK, request.error[0] == '\0');
    http_request_close(&request);
    pthread_join(thread, NULL);
    close(answering.listening);
    return result == CURLE_OK ? status : 0;
}

/* libcurl 7.88 says 200 of lines that it cannot read. */
static void an_answer_without_a_status_is_none(void)
{
    CU_ASSERT_EQUAL(status_of("HTTP/2 000\r\n\r\nok"), 0);
    CU_ASSERT_EQUAL(status_of("HTTP/1.1 000 x\r\n\r\nok"), 0);
    CU_ASSERT_EQUAL(status_of("HTTP/1.1 OK\r\n\r\nok"), 0);
    CU_ASSERT_EQUAL(status_of("HTTP/x\r\n\r\nok"), 0);
    CU_ASSERT_EQUAL(status_of("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2x0\r\n\r\nok"), 0);
    CU_ASSERT_EQUAL(status_of("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 x\r\n\r\nok"), 201);
    CU_ASSERT_EQUAL(status_of("HTTP/1.0 200\r\n\r\nok"), 200);
    CU_ASSERT_EQUAL(status_of("HTTP/1.1 100 Continue\r\n\r\nHTTp/0\xd0\x30 OK\r\n\r\nok"), 0);
    CU_ASSERT_EQUAL(status_of("HTTP/1.1 503 x\r\nhttp/2: 200\r\n\r\n"), 503);
}

/* ---- who holds a lock ---- */

#define OTHER_LOCKS 150 /* so that /proc/locks is longer than what one read gives */

struct other_locks {
    char path[PATH_SIZE];
    atomic_bool stop;
};

static void run_on(size_t processor)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set); /* where that may not be, it is tried less */
}

/* Takes many locks, and releases them, again and again. */
static void *lock_and_unlock(void *context)
{
    struct other_locks *others = context;
    int fds[OTHER_LOCKS];
    run_on(0);
    for (size_t i = 0; i < OTHER_LOCKS; i++)
        fds[i] = open(others->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    while (!atomic_load(&others->stop)) {
        for (size_t i = 0; i < OTHER_LOCKS; i++)
            flock(fds[i], LOCK_SH);
        for (size_t i = 0; i < OTHER_LOCKS; i++)
            flock(fds[i], LOCK_UN);
    }
    for (size_t i = 0; i < OTHER_LOCKS; i++)
        close(fds[i]);
    return NULL;
}

/* The kernel lists the locks of one processor after those of another, and who reads the list misses some when others
 * are released meanwhile. */
static void a_lock_is_found_while_others_come_and_go(void)
{
    static struct other_locks others;
    char directory[PATH_SIZE], path[PATH_SIZE];
    cpu_set_t before;
    pthread_t thread;
    unsigned missed = 0;
    int lock = -1;
    CU_ASSERT_TRUE_FATAL(temporary_make(directory));
    path_join(others.path, directory, "others");
    path_join(path, directory, "lock");
    pthread_getaffinity_np(pthread_self(), sizeof before, &before);
    run_on((size_t)sysconf(_SC_NPROCESSORS_ONLN) - 1);
    CU_ASSERT_EQUAL(lock_take(&lock, path, LOCK_EX), 0);
    atomic_store(&others.stop, false);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, lock_and_unlock, &others), 0);
    for (unsigned i = 0; i < 500; i++)
        missed += lock_find_holder(path).pid != getpid();
    atomic_store(&others.stop, true);
    pthread_join(thread, NULL);
    pthread_setaffinity_np(pthread_self(), sizeof before, &before);
    check(missed == 0, "missed %u times", missed);
    close(lock);
    temporary_remove(directory);
}

void suite_base(void)
{
    static CU_TestInfo tests[] = {
        {"hexadecimal digits both ways", hex_goes_both_ways},
        {"percent-encoding is decoded", percent_is_decoded},
        {"Base64 is decoded", base64_is_decoded},
        {"every code point of UTF-8 and nothing else", utf8_is_stepped_over},
        {"the hash is FNV-1a", hash_is_fnv_1a},
        {"the distance of two words counts letters", distance_counts_letters},
        {"an id is digits and not zero", ids_are_digits},
        {"waits go by the monotonic clock", waits_go_by_the_monotonic_clock},
        {"a shell reads the word that was quoted", shell_reads_the_word},
        {"an answer without a status is none", an_answer_without_a_status_is_none},
        {"a lock is found while others come and go", a_lock_is_found_while_others_come_and_go},
        {"what fails to be unlocked is free", what_fails_to_be_unlocked_is_free},
        CU_TEST_INFO_NULL,
    };
    suite_add("base", NULL, NULL, tests);
}
