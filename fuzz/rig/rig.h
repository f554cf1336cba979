/* What all fuzzers share: taking an input apart, the verdict that something is wrong, and a record of what was
 * produced, for a judge in another language (fuzz/judge.py). A fuzzer is one file in fuzz/: it defines
 * LLVMFuzzerTestOneInput and checks by what is not the program's own reader. One thread. */
#ifndef FUZZ_RIG_RIG_H
#define FUZZ_RIG_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "tests/support/slice.h"

/* libFuzzer's: it calls the first one once, the second one for each input. Return 0. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Says what is wrong, printf-like, and aborts: libFuzzer keeps the input. */
_Noreturn void rig_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same, where the condition does not hold. */
#define RIG_CHECK(holds, ...) ((holds) ? (void)0 : rig_fail(__VA_ARGS__))

/* Where two texts differ, says what they are and aborts. */
void rig_check_equal(struct slice found, struct slice expected, const char *what);

/* The text must be JSON in SQLite's opinion, and UTF-8. */
void rig_check_json(struct slice text, const char *what);

/* An input that is taken apart from its start. */
struct rig_input {
    const char *at;
    size_t left;
};

struct rig_input rig_input_of(const uint8_t *data, size_t size);

/* The next byte; at the end: 0. */
unsigned rig_byte(struct rig_input *input);

/* What stands before the next byte of this value, which is taken too; without one, the rest. */
struct slice rig_until(struct rig_input *input, char end);

/* A copy with a NUL behind it, for functions that take C strings; what stands behind a NUL in it is cut. The caller
 * frees it. */
char *rig_string(struct slice text);

struct slice rig_slice(const struct buffer *buffer);

/* A file's path in a directory of this process's own, in memory where there is such; removed at exit. */
const char *rig_path(const char *name, char out[static 256]);

/* Appends what was produced from an input to the file that RIG_RECORD names, for fuzz/judge.py; without the variable,
 * nothing. kind: which of its judges; both are texts of any bytes. */
void rig_record(const char *kind, struct slice from, struct slice made);

/* Lines that the program logs from now on are dropped. */
void rig_no_log(void);

#endif
