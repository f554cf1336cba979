/* JSON tokens, decoded in place, and the fast building of json-c trees: see json.h. */
#include "base/json.h"

#include <endian.h>
#include <json-c/json.h>
#include <json-c/linkhash.h>
#include <json-c/printbuf.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

bool json_scan_refuse(struct json_scan *scan, const char *at, const char *problem)
{
    if (scan->problem == NULL) {
        scan->problem = problem;
        scan->problem_at = at;
    }
    return false;
}

char json_scan_space(struct json_scan *scan)
{
    char *at = scan->at;
    while (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')
        at++;
    scan->at = at;
    return *at;
}

/* ---- strings ---- */

/* Finds the first byte of a string that is not plain ASCII: a quote, backslash, control character or byte from 0x80 on.
 * Eight bytes at a time: `found` has the high bit set for each such byte. A borrow can set further bits, but only above
 * the lowest, and only the lowest counts. */
static char *skip_ascii(char *at)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    for (;;) {
        uint64_t bytes;
        memcpy(&bytes, at, sizeof bytes);
        bytes = le64toh(bytes);
        uint64_t found = bytes | (bytes - ones * ' ') | ((bytes ^ ones * '"') - ones) | ((bytes ^ ones * '\\') - ones);
        found &= ones * 0x80;
        if (found != 0)
            return at + __builtin_ctzll(found) / 8;
        at += sizeof bytes;
    }
}

/* Finds the first byte of a string that needs decoding or is invalid. */
static char *skip_plain(char *at)
{
    for (;;) {
        at = skip_ascii(at);
        size_t length = 0;
        while ((*at & 0x80) != 0 && (length = text_utf8_length(at, 4)) != 0) /* the NULs behind the text stop it */
            at += length;
        if (length == 0)
            return at;
    }
}

/* Four hexadecimal digits as a number; -1: there are none. */
static inline int32_t four_digits(const char *at, const char *end)
{
    int32_t value = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = text_hex_digit(at[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

int32_t json_scan_code(const char **at, const char *end)
{
    int32_t code = four_digits(*at, end);
    if (code < 0)
        return code;
    *at += 4;
    if (code >= 0xD800 && code <= 0xDBFF && end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u') {
        int32_t low = four_digits(*at + 2, end);
        if (low >= 0xDC00 && low <= 0xDFFF) {
            *at += 6;
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
    }
    return code;
}

/* Decodes \uXXXX or a surrogate pair from *from to *to; advances both. */
static bool decode_code(struct json_scan *scan, char **from, char **to)
{
    const char *at = *from + 2;
    int32_t code = json_scan_code(&at, scan->end);
    if (code < 0)
        return json_scan_refuse(scan, *from, "\\u must be followed by four hexadecimal digits");
    *from += at - *from;
    scan->replaced += code >= 0xD800 && code <= 0xDFFF;
    scan->nuls += code == 0;
    *to += text_utf8_write(*to, (uint32_t)code);
    return true;
}

/* Decodes the escape from *from to *to; advances both. */
static bool decode_escape(struct json_scan *scan, char **from, char **to)
{
    static const char names[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    char name = (*from)[1];
    if (name == 'u')
        return decode_code(scan, from, to);
    const char *found = name == '\0' ? NULL : strchr(names, name);
    if (found == NULL)
        return json_scan_refuse(scan, *from, "JSON has no such escape; a backslash itself is written \\\\");
    *(*to)++ = meanings[found - names];
    *from += 2;
    return true;
}

/* Records why a byte is invalid in a string. */
static bool refuse_byte(struct json_scan *scan, const char *at)
{
    if (at == scan->end)
        return json_scan_refuse(scan, at, "a string is not closed");
    if ((unsigned char)*at < ' ')
        return json_scan_refuse(scan, at, "a control character in a string must be escaped, as \\n or \\u000a");
    return json_scan_refuse(scan, at, "a string is not valid UTF-8");
}

char *json_scan_string(struct json_scan *scan, size_t *length)
{
    char *start = scan->at + 1;
    char *from = start;
    char *to = start;
    for (;;) {
        char *run = from;
        from = skip_plain(run);
        if (to != run)
            memmove(to, run, (size_t)(from - run));
        to += from - run;
        if (*from == '"')
            break;
        if (*from == '\\' ? !decode_escape(scan, &from, &to) : !refuse_byte(scan, from))
            return NULL;
    }
    *to = '\0';
    *length = (size_t)(to - start);
    scan->at = from + 1;
    return start;
}

/* Of UTF-8, which all else is, only the surrogates' place begins with 0xED and goes on with 0xA0 or more. */
void json_scan_replace_surrogates(char *string, size_t length)
{
    for (size_t i = 0; i + 2 < length; i++) {
        if ((unsigned char)string[i] == 0xED && (unsigned char)string[i + 1] >= 0xA0)
            string[i] = '\xEF', string[i + 1] = '\xBF', string[i + 2] = '\xBD';
    }
}

size_t json_scan_replace_nuls(char *string, size_t length)
{
    size_t nuls = 0;
    for (size_t i = 0; i < length; i++)
        nuls += string[i] == '\0';
    size_t whole = length + 2 * nuls, to = whole;
    string[to] = '\0';
    for (size_t from = length; nuls > 0; from--) {
        if (string[from - 1] != '\0') {
            string[--to] = string[from - 1];
            continue;
        }
        to -= 3;
        memcpy(string + to, "\xEF\xBF\xBD", 3);
        nuls--;
    }
    return whole;
}

/* ---- numbers and words ---- */

static char *skip_digits(char *at)
{
    while (*at >= '0' && *at <= '9')
        at++;
    return at;
}

bool json_scan_number(struct json_scan *scan)
{
    char *at = scan->at;
    at += *at == '-';
    char *whole = at;
    at = skip_digits(at);
    if (at == whole)
        return json_scan_refuse(scan, at, "a number needs a digit here");
    if (*whole == '0' && at - whole > 1)
        return json_scan_refuse(scan, whole, "a number must not start with a 0 that others follow");
    if (*at == '.') {
        char *fraction = at + 1;
        at = skip_digits(fraction);
        if (at == fraction)
            return json_scan_refuse(scan, at, "a number needs a digit after its point");
    }
    if (*at == 'e' || *at == 'E') {
        at++;
        at += *at == '+' || *at == '-';
        char *exponent = at;
        at = skip_digits(exponent);
        if (at == exponent)
            return json_scan_refuse(scan, at, "a number needs a digit in its exponent");
    }
    scan->at = at;
    return true;
}

bool json_scan_word(struct json_scan *scan, const char *word)
{
    size_t length = strlen(word);
    if (strncmp(scan->at, word, length) != 0)
        return json_scan_refuse(scan, scan->at, "this is no value of JSON; only true, false and null are words");
    scan->at += length;
    return true;
}

/* ---- trees ---- */

struct json_part {
    const char *name;
    struct json_object *value;
};

bool json_parts_push(struct json_parts *parts, const char *name, struct json_object *value)
{
    if (parts->count == parts->capacity) {
        size_t capacity = parts->capacity == 0 ? 64 : parts->capacity * 2;
        struct json_part *at = realloc(parts->at, capacity * sizeof *at);
        if (at == NULL) {
            json_object_put(value);
            return false;
        }
        parts->at = at;
        parts->capacity = capacity;
    }
    parts->at[parts->count++] = (struct json_part){name, value};
    return true;
}

/* json-c creates every object with 16 slots of 40 bytes and doubles them, rehashing all names, before they are two
 * thirds full. A larger object gets its slots at once. A much smaller one gives some back, or a body of 16 MiB full of
 * {} would take 4 GiB. */
static bool make_places(struct lh_table *table, size_t members)
{
    if (members > 3 && members <= 10)
        return true;
    return members < INT32_MAX / 2 && lh_table_resize(table, (int)members * 2 + 1) == 0;
}

/* Moves a member into the object. json_object_object_add would hash the name again. */
static bool add_member(struct lh_table *table, struct json_part *part)
{
    unsigned long hash = lh_get_hash(table, part->name);
    struct lh_entry *earlier = lh_table_lookup_entry_w_hash(table, part->name, hash);
    if (earlier != NULL) {
        json_object_put(lh_entry_v(earlier));
        lh_entry_set_val(earlier, part->value);
    } else if (lh_table_insert_w_hash(table, part->name, part->value, hash, JSON_C_OBJECT_ADD_CONSTANT_KEY) != 0) {
        return false;
    }
    part->value = NULL;
    return true;
}

/* Called when the object is complete: a null may have replaced an earlier value, or have been replaced. */
static void remove_nulls(struct lh_table *table)
{
    struct lh_entry *entry;
    struct lh_entry *next;
    lh_foreach_safe(table, entry, next)
    {
        if (lh_entry_v(entry) == NULL)
            lh_table_delete_entry(table, entry);
    }
}

struct json_object *json_parts_object(struct json_parts *parts, size_t first)
{
    struct json_object *object = json_object_new_object();
    if (object == NULL)
        return NULL;
    struct lh_table *table = json_object_get_object(object);
    bool built = make_places(table, parts->count - first);
    bool nulls = false;
    for (size_t i = first; built && i < parts->count; i++) {
        nulls |= parts->at[i].value == NULL;
        built = add_member(table, &parts->at[i]);
    }
    if (!built) {
        json_object_put(object);
        return NULL;
    }
    if (nulls)
        remove_nulls(table);
    parts->count = first;
    return object;
}

struct json_object *json_parts_array(struct json_parts *parts, size_t first)
{
    /* One slot more than needed, because json-c grows an array as soon as it is full. */
    struct json_object *array = json_object_new_array_ext((int)(parts->count - first) + 1);
    if (array == NULL)
        return NULL;
    for (size_t i = first; i < parts->count; i++) {
        if (json_object_array_add(array, parts->at[i].value) != 0) {
            json_object_put(array);
            return NULL;
        }
        parts->at[i].value = NULL;
    }
    parts->count = first;
    return array;
}

void json_parts_free(struct json_parts *parts)
{
    while (parts->count > 0)
        json_object_put(parts->at[--parts->count].value);
    free(parts->at);
    *parts = (struct json_parts){0};
}

int json_tree_print_plain(struct printbuf *out, const char *text, int length)
{
    if (length >= out->size - out->bpos - 3) {
        printbuf_strappend(out, "\"");
        printbuf_memappend(out, text, length);
        return printbuf_strappend(out, "\"");
    }
    char *to = out->buf + out->bpos;
    to[0] = '"';
    memcpy(to + 1, text, (size_t)length);
    to[length + 1] = '"';
    to[length + 2] = '\0';
    out->bpos += length + 2;
    return length + 2;
}

/* A json_object_to_json_string_fn that prints a string without escaping it. */
static int print_plain(struct json_object *string, struct printbuf *out, int level, int flags)
{
    (void)level;
    (void)flags;
    return json_tree_print_plain(out, json_object_get_string(string), json_object_get_string_len(string));
}

struct json_object *json_tree_string(const char *bytes, size_t length, bool plain)
{
    struct json_object *string = json_object_new_string_len(bytes, (int)length);
    if (string != NULL && plain)
        json_object_set_serializer(string, print_plain, NULL, NULL);
    return string;
}

/* What a string was before replacing; the string's user data. */
struct exact {
    size_t length;
    char bytes[];
};

static void free_exact(struct json_object *string, void *exact)
{
    (void)string;
    free(exact);
}

struct json_object *json_tree_replaced(char *bytes, size_t length)
{
    struct exact *exact = malloc(sizeof *exact + length);
    if (exact == NULL)
        return NULL;
    exact->length = length;
    memcpy(exact->bytes, bytes, length);
    json_scan_replace_surrogates(bytes, length);
    struct json_object *string = json_object_new_string_len(bytes, (int)length);
    if (string == NULL)
        free(exact);
    else
        json_object_set_userdata(string, exact, free_exact);
    return string;
}

const char *json_tree_exact(struct json_object *string, size_t *length)
{
    const struct exact *exact = json_object_get_userdata(string);
    *length = exact != NULL ? exact->length : (size_t)json_object_get_string_len(string);
    return exact != NULL ? exact->bytes : json_object_get_string(string);
}

struct json_object *json_tree_number(const char *text)
{
    return json_object_new_double_s(0, text);
}
