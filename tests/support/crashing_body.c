/* json-c's function in the way of the library's own: see crashing_body.h. */
#include "tests/support/crashing_body.h"

#include <dlfcn.h>
#include <json-c/json_object.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

typedef struct json_object *maker(const char *text, const int length);

static maker *library_s_own;

static void find_it(void)
{
    void *found = dlsym(RTLD_NEXT, "json_object_new_string_len");
    memcpy(&library_s_own, &found, sizeof library_s_own); /* ISO C knows no cast from data to functions */
}

struct json_object *json_object_new_string_len(const char *text, const int length)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find_it);
    if ((size_t)length == sizeof CRASHING_TEXT - 1 && memcmp(text, CRASHING_TEXT, sizeof CRASHING_TEXT - 1) == 0) {
        signal(SIGSEGV, SIG_DFL); /* a sanitizer would make an ordinary end of it */
        raise(SIGSEGV);
    }
    return library_s_own(text, length);
}
