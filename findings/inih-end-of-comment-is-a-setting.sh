#!/bin/sh
# inih (Debian 12, libinih1 55-1): a comment that is longer than 199 bytes.
#
# Guess: a long comment is a comment; at worst ini_parse returns the number of the line that is too long.
# Seen:  the line is cut after 199 bytes, and what is left of it is read as a line of its own: here the end of a comment
#        becomes the setting "debug"; where the cut is before a blank, it becomes another value of the setting before
#        the comment. ini_parse returns 0 for both, which means that there was no error.
# So a program that reads files of others through it has to refuse long lines itself, or bring a reader of its own to
# ini_parse_stream, which is given a buffer of the same size.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && apt-get -q download libinih1=55-1 libinih-dev=55-1 >/dev/null 2>&1)
for package in "$work"/*.deb; do
    dpkg -x "$package" "$work/root"
done
cat >"$work/read.c" <<'C'
#include <ini.h>
#include <stdio.h>
static int setting(void *user, const char *section, const char *name, const char *value)
{
    (void)user, (void)section;
    printf("%s = %s; ", name, value);
    return 1;
}
int main(int count, char **argument)
{
    (void)count;
    int result = ini_parse(argument[1], setting, NULL);
    printf("result %d\n", result);
    return 0;
}
C
libraries=$(dirname "$(find "$work/root" -name libinih.so.1)")
gcc -I"$work/root/usr/include" -o "$work/read" "$work/read.c" "$libraries/libinih.so.1"
failed=0
expect() { # BYTES-BEFORE-THE-END-OF-THE-COMMENT END WANTED
    printf 'first = 1\n; %0*d%s\nlast = 2\n' $(($1 - 2)) 0 "$2" >"$work/file.ini"
    seen=$(LD_LIBRARY_PATH="$libraries" "$work/read" "$work/file.ini")
    echo "inih 55-1: $seen"
    [ "$seen" = "$3" ] || { echo "changed: it was $3"; failed=1; }
}
expect 150 "debug = yes" "first = 1; last = 2; result 0"
expect 199 "debug = yes" "first = 1; debug = yes; last = 2; result 0"
expect 199 " second" "first = 1; first = second; last = 2; result 0"
exit $failed
