/* Where the sanitizers report what they find in the program: into a folder that `make asan` and `make tsan` look at
 * afterwards, since the program's stderr is somewhere in a web server's log. The Makefile names it: REPORTS. Linked
 * into the program's asan and tsan variants only. */

const char *__asan_default_options(void);
const char *__tsan_default_options(void);
const char *__ubsan_default_options(void);

const char *__asan_default_options(void)
{
    return "log_path=" REPORTS;
}

const char *__tsan_default_options(void)
{
    return "log_path=" REPORTS;
}

const char *__ubsan_default_options(void)
{
    return "print_stacktrace=1:log_path=" REPORTS;
}
