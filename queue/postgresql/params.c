/* Parameters and results in PostgreSQL's binary format: integers in network order. */
#include "queue/postgresql/statements.h"

#include <endian.h>
#include <string.h>

#include "base/escape.h"

static void add(struct params *params, Oid type, const void *value, size_t length)
{
    params->type[params->count] = type;
    params->value[params->count] = value;
    params->length[params->count++] = (int)length;
}

static void add_number(struct params *params, Oid type, const void *number, size_t length)
{
    memcpy(params->number[params->count], number, length);
    add(params, type, params->number[params->count], length);
}

void params_int4(struct params *params, int32_t value)
{
    uint32_t number = htobe32((uint32_t)value);
    add_number(params, TYPE_INT4, &number, sizeof number);
}

void params_int8(struct params *params, int64_t value)
{
    uint64_t number = htobe64((uint64_t)value);
    add_number(params, TYPE_INT8, &number, sizeof number);
}

void params_text(struct params *params, const char *text)
{
    add(params, TYPE_TEXT, text, text == NULL ? 0 : strlen(text));
}

void params_words(struct params *params, char *words)
{
    plain_utf8_in_place(words, strlen(words));
    params_text(params, words);
}

void params_bytes(struct params *params, const void *bytes, size_t length)
{
    add(params, TYPE_BYTEA, bytes, length);
}

void params_uuid(struct params *params, const void *key)
{
    add(params, TYPE_UUID, key, key == NULL ? 0 : 16);
}

void params_null_texts(struct params *params)
{
    add(params, 1009, NULL, 0);
}

/* ---- arrays ---- */

/* dimensions, whether there are NULLs, the elements' type; then of the one dimension its length and first index */
#define HEAD_WORDS 5

static void add_word(struct buffer *bytes, uint32_t word)
{
    word = htobe32(word);
    buffer_append(bytes, &word, sizeof word);
}

void array_add(struct array *array, const void *value, size_t length)
{
    if (array->count == 0) {
        for (size_t i = 0; i < HEAD_WORDS; i++)
            add_word(&array->bytes, i == 2 ? array->type : 1);
    }
    array->count++;
    add_word(&array->bytes, value == NULL ? UINT32_MAX : (uint32_t)length);
    if (value != NULL)
        buffer_append(&array->bytes, value, length);
    if (value != NULL && array->type == TYPE_TEXT && !array->bytes.failed)
        plain_utf8_in_place(array->bytes.data + array->bytes.length - length, length);
}

void array_int8(struct array *array, int64_t value)
{
    uint64_t number = htobe64((uint64_t)value);
    array_add(array, &number, sizeof number);
}

void array_int4(struct array *array, int32_t value)
{
    uint32_t number = htobe32((uint32_t)value);
    array_add(array, &number, sizeof number);
}

void array_int2(struct array *array, int value)
{
    uint16_t number = htobe16((uint16_t)value);
    array_add(array, &number, sizeof number);
}

static Oid array_type_of(Oid element)
{
    switch (element) {
    case TYPE_BYTEA:
        return 1001;
    case TYPE_INT2:
        return 1005;
    case TYPE_INT4:
        return 1007;
    case TYPE_INT8:
        return 1016;
    case TYPE_TEXT:
        return 1009;
    default:
        return 2951; /* of uuid */
    }
}

bool params_array(struct params *params, struct array *array)
{
    if (array->count == 0) {
        buffer_clear(&array->bytes);
        for (size_t i = 0; i < 3; i++)
            add_word(&array->bytes, i == 2 ? array->type : 0);
    } else if (!array->bytes.failed) {
        uint32_t count = htobe32(array->count);
        memcpy(array->bytes.data + 3 * sizeof count, &count, sizeof count);
    }
    add(params, array_type_of(array->type), array->bytes.data, array->bytes.length);
    return !array->bytes.failed;
}

int64_t result_int(const PGresult *result, int row, int column)
{
    const char *value = PQgetvalue(result, row, column);
    int length = PQgetlength(result, row, column);
    uint64_t eight;
    uint32_t four;
    uint16_t two;
    if (length == 8) {
        memcpy(&eight, value, sizeof eight);
        return (int64_t)be64toh(eight);
    }
    if (length == 4) {
        memcpy(&four, value, sizeof four);
        return (int32_t)be32toh(four);
    }
    if (length == 2) {
        memcpy(&two, value, sizeof two);
        return (int16_t)be16toh(two);
    }
    return 0;
}
