/* What ThreadSanitizer must not report: races inside libfcgi 2.4, which was not compiled with it, by the function in
 * which they are. Nothing of this program may stand here. Linked into the tsan variant only. */

const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void)
{
    return "race:OS_LibInit\n"
           "race:OS_Accept\n"
           "race:FCGX_Accept_r\n"
           "race:FCGX_ShutdownPending\n";
}
