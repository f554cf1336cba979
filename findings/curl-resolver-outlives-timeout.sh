#!/bin/sh
# libcurl with its threaded resolver: what a time limit of 300 ms bounds when a name takes 4 s to resolve.
#
# Guess: curl_easy_perform returns after 0.3 s, and so does everything after it.
# Seen:  PycURL 7.45.3 (libcurl 7.61.1): the error says "Resolving timed out after 30x milliseconds", and
#        curl_easy_perform returns after 4 s, when the resolver is done.
#        PycURL 7.49.0 (libcurl 8.23.0): curl_easy_perform returns after 0.3 s, and closing the handle takes the rest.
# So a program that limits each request still waits for the resolver when it ends. CURLOPT_QUICK_EXIT (7.87.0) is for
# processes that end right after.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/slow.c" <<'C'
#include <netdb.h>
#include <unistd.h>
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
    (void)name, (void)service, (void)hints, (void)result;
    sleep(4);
    return EAI_AGAIN;
}
C
gcc -shared -fPIC -o "$work/slow.so" "$work/slow.c"
cat >"$work/ask.py" <<'PY'
import pycurl, time

handle = pycurl.Curl()
handle.setopt(handle.URL, "http://name.invalid/")
handle.setopt(handle.NOSIGNAL, 1)
handle.setopt(handle.TIMEOUT_MS, 300)
start = time.monotonic()
try:
    handle.perform()
except pycurl.error as error:
    code = error.args[0]
performed = time.monotonic()
handle.close()
closed = time.monotonic()
word = lambda seconds: "waits" if seconds > 2 else "returns"
print(f"error {code}, perform {word(performed - start)}, close {word(closed - performed)}")
PY
failed=0
try() { # VERSION WHAT-IS-EXPECTED
    python3 -m venv "$work/$1"
    "$work/$1/bin/pip" -q install --only-binary :all: "pycurl==$1"
    "$work/$1/bin/python" -c 'import pycurl; print(pycurl.version.split(" OpenSSL")[0])'
    seen=$(LD_PRELOAD="$work/slow.so" "$work/$1/bin/python" "$work/ask.py")
    echo "  $seen"
    [ "$seen" = "$2" ] || { echo "  changed: it was $2"; failed=1; }
}
try 7.45.3 "error 28, perform waits, close returns"
try 7.49.0 "error 28, perform returns, close waits"
exit $failed
