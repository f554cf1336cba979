/* What the strict JSON reader takes and what it refuses: the families of cases that the public JSON parsing test suites
 * know (must accept, must refuse, implementation's choice), and the reader's own choices. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/suites.h"
#include "transform/json_reader.h"

struct text {
    bool taken;
    size_t length;
    const char *bytes;
};

/* Lengths are explicit, for a text may hold a NUL. */
#define YES(literal)                                                                                                   \
    {                                                                                                                  \
        true, sizeof(literal) - 1, literal                                                                             \
    }
#define NO(literal)                                                                                                    \
    {                                                                                                                  \
        false, sizeof(literal) - 1, literal                                                                            \
    }

static const struct text arrays[] = {
    YES("[]"),
    YES("[[]   ]"),
    YES("[\"\"]"),
    YES("[\"a\"]\n"),
    YES("[false]"),
    YES("[null, 1, \"1\", {}]"),
    YES("[null]"),
    YES("[1\n]"),
    YES(" [1]"),
    YES("[1,null,null,null,2]"),
    YES("[2] "),
    YES("[[[[[[]]]]],[[]]]"),
    YES("[\t\r\n 1 \t\r\n , \t\r\n 2 \t\r\n ]"),
    NO("[1 true]"),
    NO("[a\xE5]"),
    NO("[\"\": 1]"),
    NO("[\"\"],"),
    NO("[,1]"),
    NO("[1,,2]"),
    NO("[\"x\",,]"),
    NO("[\"x\"]]"),
    NO("[\"\",]"),
    NO("[\"x\""),
    NO("[x"),
    NO("[3[4]]"),
    NO("[\xFF]"),
    NO("[1;2]"),
    NO("[1:2]"),
    NO("[,]"),
    NO("[-]"),
    NO("[   , \"\"]"),
    NO("[\"a\",\n4\n,1,"),
    NO("[1,]"),
    NO("[1,,]"),
    NO("[\"\x0B"
       "a\"\\f]"),
    NO("[\x0C]"),
    NO("[*]"),
    NO("[\"\""),
    NO("[1,"),
    NO("[1,\n1\n,1"),
    NO("[{}"),
    NO("["),
    NO("]"),
    NO("[][]"),
    NO("[1]x"),
    NO("[1}"),
    NO("[1] // no"),
    NO("[1] /* no */"),
    NO("[undefined]"),
};

static const struct text words_and_numbers[] = {
    YES("true"),
    YES("false"),
    YES("null"),
    YES("42"),
    YES("-0.1"),
    YES("0"),
    YES("[-0]"),
    YES("[0e+1]"),
    YES("[0e1]"),
    YES("[0E0]"),
    YES("[ 4]"),
    YES("[-0.000000000000000000000000000000000000000000000000000000000000000000000000000001]"),
    YES("[20e1]"),
    YES("[-123]"),
    YES("[-1]"),
    YES("[-0.0e-0]"),
    YES("[1E22]"),
    YES("[1E-2]"),
    YES("[1E+2]"),
    YES("[123e45]"),
    YES("[123.456e78]"),
    YES("[1e-2]"),
    YES("[1e+2]"),
    YES("[123]"),
    YES("[123.456789]"),
    YES("[0.4e00669999999999999999999999999999999999999999999999999999999999999999999999999999]"),
    YES("[-1e+9999]"),
    YES("[1.5e+9999]"),
    YES("[123123e100000]"),
    YES("[-123123123123123123123123123123]"),
    YES("[100000000000000000000]"),
    YES("[9223372036854775808]"),
    YES("[1e00]"),
    NO("nul"),
    NO("tru"),
    NO("fals"),
    NO("True"),
    NO("TRUE"),
    NO("nulL"),
    NO("nullx"),
    NO("truefalse"),
    NO("[nul]"),
    NO("[tru]"),
    NO("[fals]"),
    NO("[None]"),
    NO("123\0"),
    NO("[++1234]"),
    NO("[+1]"),
    NO("[+Inf]"),
    NO("[-01]"),
    NO("[-1.0.]"),
    NO("[-2.]"),
    NO("[-NaN]"),
    NO("[.-1]"),
    NO("[.2e-3]"),
    NO("[0.1.2]"),
    NO("[0.3e]"),
    NO("[0.3e+]"),
    NO("[0.e1]"),
    NO("[0E]"),
    NO("[0E+]"),
    NO("[0e]"),
    NO("[0e+]"),
    NO("[00]"),
    NO("[000.1]"),
    NO("[1.0e]"),
    NO("[1.0e+]"),
    NO("[1.0e-]"),
    NO("[1 000.0]"),
    NO("[1eE2]"),
    NO("[1e+-2]"),
    NO("[1e1.5]"),
    NO("[2.e+3]"),
    NO("[2.e-3]"),
    NO("[2.e3]"),
    NO("[9.e+]"),
    NO("[1+2]"),
    NO("[0x1]"),
    NO("[0x42]"),
    NO("[0b1]"),
    NO("[1_000]"),
    NO("[Inf]"),
    NO("[Infinity]"),
    NO("[-Infinity]"),
    NO("[NaN]"),
    NO("[nan]"),
    NO("[0e+-1]"),
    NO("[-123.123foo]"),
    NO("[123\xE5]"),
    NO("[1e1\xE5]"),
    NO("[0\xE5]\n"),
    NO("[-foo]"),
    NO("[- 1]"),
    NO("[-012]"),
    NO("[-.123]"),
    NO("[-1x]"),
    NO("[1ea]"),
    NO("[1e\xE5]"),
    NO("[1.]"),
    NO("[.123]"),
    NO("[\xEF\xBC\x91]"),
    NO("[1.2a-3]"),
    NO("[1.8011670033376514H-308]"),
    NO("[012]"),
    NO("-"),
    NO("1 2"),
    NO("2@"),
    NO("1,"),
    NO("1e"),
    NO("1."),
};

static const struct text objects[] = {
    YES("{}"),
    YES("{\"asd\":\"sdf\", \"dfg\":\"fgh\"}"),
    YES("{\"asd\":\"sdf\"}"),
    YES("{\"a\":\"b\",\"a\":\"c\"}"),
    YES("{\"a\":\"b\",\"a\":\"b\"}"),
    YES("{\"\":0}"),
    YES("{ \"min\": -1.0e+28, \"max\": 1.0e+28 }"),
    YES("{\"a\":[]}"),
    YES("{\"title\":\"\\u041f\\u043e\\u043b\\u0442\\u043e\\u0440\\u0430\" }"),
    YES("{\n\"a\": \"b\"\n}"),
    YES("{\"a\" \t\r\n : \t\r\n 1 \t\r\n }"),
    YES("{\"\\uDFAA\":0}"),
    YES("{\"a\\\"b\":0}"),
    NO("{\"foo\\u0000bar\": 42}"), /* JSON, but the tree cannot hold it */
    NO("{\"\\u0000\":1}"),
    NO("[\"x\", truth]"),
    NO("{[: \"x\"}\n"),
    NO("{\"x\", null}"),
    NO("{\"x\"::\"b\"}"),
    NO("{\xF0\x9F\x87\xA8\xF0\x9F\x87\xAD}"),
    NO("{\"a\":\"a\" 123}"),
    NO("{key: 'value'}"),
    NO("{'a':0}"),
    NO("{\"\xB9\":\"0\",}"),
    NO("{\"\xB9\":\"0\"}"),
    NO("{\"a\" b}"),
    NO("{:\"b\"}"),
    NO("{\"a\" \"b\"}"),
    NO("{\"a\":"),
    NO("{\"a\""),
    NO("{\"a\":}"),
    NO("{1:1}"),
    NO("{9999E9999:1}"),
    NO("{null:null,null:null}"),
    NO("{true:1}"),
    NO("{\"id\":0,,,,,}"),
    NO("{\"id\":0,}"),
    NO("{\"a\":\"b\"}/**/"),
    NO("{\"a\":\"b\"}/**//"),
    NO("{\"a\":\"b\"}//"),
    NO("{\"a\":\"b\"}/"),
    NO("{\"a\":\"b\",,\"c\":\"d\"}"),
    NO("{,\"a\":1}"),
    NO("{,}"),
    NO("{a: \"b\"}"),
    NO("{\"a\":\"a"),
    NO("{ \"foo\" : \"bar\", \"a\" }"),
    NO("{\"a\":\"b\"}#"),
    NO("{\"a\":1}}"),
    NO("{\"a\":1]"),
    NO("{\"a\"=1}"),
    NO("{\"a\":1;\"b\":2}"),
    NO("{"),
    NO("}"),
    NO("{]"),
    NO("{{}}"),
    NO("{\"a\":/*comment*/\"b\"}"),
    NO("{\"asd\":\"asd\""),
    NO("{\"a\":1 \"b\":2}"),
    NO("{\"a\n\":1}"),
};

static const struct text strings[] = {
    YES("\"\""),
    YES("\"asd\""),
    YES("[\"\\u0060\\u012a\\u12AB\"]"),
    YES("[\"\\uD801\\udc37\"]"),
    YES("[\"\\ud83d\\ude39\\ud83d\\udc8d\"]"),
    YES("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]"),
    YES("[\"\\\\u0000\"]"),
    YES("[\"\\\"\"]"),
    YES("[\"a/*b*/c/*d//e\"]"),
    YES("[\"\\\\a\"]"),
    YES("[\"\\\\n\"]"),
    YES("[\"\\u0012\"]"),
    YES("[\"\\uFFFF\"]"),
    YES("[ \"asd\"]"),
    YES("[\"\\uDBFF\\uDFFF\"]"),
    YES("[\"new\\u00A0line\"]"),
    YES("[\"\xF4\x8F\xBF\xBF\"]"),
    YES("[\"\xEF\xBF\xBF\"]"),
    YES("[\"\\u0000\"]"),
    YES("[\"\\u002c\"]"),
    YES("[\"\xCF\x80\"]"),
    YES("[\"\xF0\x9B\xBF\xBF\"]"),
    YES("[\"asd \"]"),
    YES("\" \""),
    YES("[\"\\uD834\\uDd1e\"]"),
    YES("[\"\xE2\x80\xA8\xE2\x80\xA9\"]"),
    YES("[\"\x7F\"]"),
    YES("[\"\\u200B\\u2064\\uFDD0\\uFFFE\\uD83F\\uDFFE\"]"),
    YES("[\"\xE2\x8D\x82\xE3\x88\xB4\xE2\x8D\x82\"]"),
    YES("[\"\xED\x9F\xBF\xEE\x80\x80\"]"),
    YES("[\"\xF0\x90\x80\x80\xE0\xA0\x80\xC2\x80\"]"),
    /* Lone surrogates, escaped: taken, and replaced. */
    YES("[\"\\uDADA\"]"),
    YES("[\"\\uD888\\u1234\"]"),
    YES("[\"\\uD800\\n\"]"),
    YES("[\"\\uDd1ea\"]"),
    YES("[\"\\uD800\\uD800\\n\"]"),
    YES("[\"\\ud800abc\"]"),
    YES("[\"\\uDd1e\\uD834\"]"),
    YES("[\"\\uDFAA\"]"),
    NO("[\"\\uD800\\\"]"),
    NO("[\"\\uD800\\u\"]"),
    NO("[\"\\uD800\\u1\"]"),
    NO("[\"\\uD800\\u1x\"]"),
    NO("[\xC3\xA9]"),
    NO("[\"\\\0\"]"),
    NO("[\"\\x00\"]"),
    NO("[\"\\\\\\\"]"),
    NO("[\"\\\t\"]"),
    NO("[\"\\\xF0\x9F\x8C\x80\"]"),
    NO("[\"\\\"]"),
    NO("[\"\\u00A\"]"),
    NO("[\"\\u 0041\"]"),
    NO("[\"\\u+041\"]"),
    NO("[\"\\u-041\"]"),
    NO("[\"\\uD834\\uDd\"]"),
    NO("[\"\\uD800\\uD800\\x\"]"),
    NO("[\"\\u\xE5\"]"),
    NO("[\"\\a\"]"),
    NO("[\"\\v\"]"),
    NO("[\"\\0\"]"),
    NO("[\"\\'\"]"),
    NO("[\"\\uqqqq\"]"),
    NO("[\"\\\xE5\"]"),
    NO("[\\u0020\"asd\"]"),
    NO("[\\n]"),
    NO("\""),
    NO("['single quote']"),
    NO("abc"),
    NO("[\"\\"),
    NO("\"\\u"),
    NO("\"\\u12"),
    NO("\"abc"),
    NO("[\"a\0a\"]"),
    NO("[\"new\nline\"]"),
    NO("[\"a\rb\"]"),
    NO("[\"\t\"]"),
    NO("[\"\x1F\"]"),
    NO("\"\\UA66D\""),
    NO("\"\"x"),
    NO("\"a\"\"b\""),
    /* Bytes that are no UTF-8. */
    NO("[\"\xE6\x97\xA5\xD1\x88\xFA\"]"),
    NO("[\"\xE9\"]"),
    NO("[\"\x81\"]"),
    NO("[\"\xBF\"]"),
    NO("[\"\xF4\xBF\xBF\xBF\"]"),
    NO("[\"\xF4\x90\x80\x80\"]"),
    NO("[\"\xF5\x80\x80\x80\"]"),
    NO("[\"\xF8\x88\x80\x80\x80\"]"),
    NO("[\"\xC0\xAF\"]"),
    NO("[\"\xC1\xBF\"]"),
    NO("[\"\xC0\x80\"]"),
    NO("[\"\xE0\x80\xAF\"]"),
    NO("[\"\xE0\x9F\xBF\"]"),
    NO("[\"\xF0\x8F\xBF\xBF\"]"),
    NO("[\"\xF0\x80\x80\x80\"]"),
    NO("[\"\xFC\x83\xBF\xBF\xBF\xBF\"]"),
    NO("[\"\xFC\x80\x80\x80\x80\x80\"]"),
    NO("[\"\xE0\xFF\"]"),
    NO("[\"\xED\xA0\x80\"]"),
    NO("[\"\xED\xBF\xBF\"]"),
    NO("[\"\xED\xA0\x80\xED\xB0\x80\"]"),
    NO("[\"\xC2\"]"),
    NO("[\"\xE2\x82\"]"),
    NO("[\"\xF0\x9F\x98\"]"),
    NO("[\"\xF0\x9F\x98"),
    NO("[\"\xE2\x28\xA1\"]"),
    NO("[\"\xF0\x28\x8C\xBC\"]"),
    NO("[\"\xFE\"]"),
    NO("[\"\xFF\"]"),
};

static const struct text structure[] = {
    YES("[] \t\r\n"),
    YES("\n\n\n{}\n\n\n"),
    NO(""),
    NO(" "),
    NO("\n\t\r "),
    NO("\0"),
    NO("\0{}"),
    NO("{}\0"),
    NO("[\0]"),
    NO("<.>"),
    NO("[<null>]"),
    NO("aX"),
    NO("[True]"),
    NO("1]"),
    NO("{\"x\": true,"),
    NO("\xEF\xBB\xBF"),
    NO("\xEF\xBB\xBF{}"),
    NO("\xEF\xBB{}"),
    NO(" \xEF\xBB\xBF{}"),
    NO("{}\xEF\xBB\xBF"),
    NO("\xE5"),
    NO("\xC3\xA9"),
    NO("*"),
    NO("[\"asd]"),
    NO("['"),
    NO("[,"),
    NO("[{"),
    NO("[\"a"),
    NO("[\"a\""),
    NO("{,"),
    NO("{["),
    NO("{\"a"),
    NO("{'a'"),
    NO("[\"\\{[\"\\{[\"\\{[\"\\{"),
    NO("{}#"),
    NO("#{}"),
    NO("[\xE2\x81\xA0]"),
    NO("\xE2\x81\xA0[]"),
    NO("[\xC2\xA0]"),
    NO("[\x0B]"),
    NO("[ false, nul"),
    NO("[ true, fals"),
    NO("[ false, tru"),
    NO("{}{}"),
    NO("{} {}"),
    NO("{}\n{}"),
    NO("event=%7B%7D"),
    NO("\xFF\xFE[\0\"\0\xE9\0\"\0]\0"),
    NO("\0[\0\"\0\xE9\0\"\0]"),
    NO("[\0\"\0\xE9\0\"\0]\0"),
};

static bool is_taken(const char *bytes, size_t length, struct why *why)
{
    /* Exactly as long as the text, so that the sanitizers see a reader that goes beyond it. */
    char *copy = malloc(length > 0 ? length : 1);
    memcpy(copy, bytes, length);
    struct json_document document;
    bool out_of_memory;
    bool taken = json_read(copy, length, NULL, &document, &out_of_memory, why);
    json_document_free(&document);
    free(copy);
    return taken;
}

static void check_texts(const struct text *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct why why = {""};
        bool taken = is_taken(texts[i].bytes, texts[i].length, &why);
        if (taken != texts[i].taken)
            printf("\n    %s: %s %s", texts[i].bytes, taken ? "was taken" : "was refused:", why.text);
        CU_ASSERT_EQUAL(taken, texts[i].taken);
        CU_ASSERT_EQUAL(taken, why.text[0] == '\0');
    }
}

#define CHECK(table) check_texts(table, sizeof(table) / sizeof *(table))

static void test_arrays(void)
{
    CHECK(arrays);
}

static void test_words_and_numbers(void)
{
    CHECK(words_and_numbers);
}

static void test_objects(void)
{
    CHECK(objects);
}

static void test_strings(void)
{
    CHECK(strings);
}

static void test_structure(void)
{
    CHECK(structure);
}

/* depth arrays or objects inside one another. */
static bool is_depth_taken(size_t depth, const char *open, const char *inside, const char *close, struct why *why)
{
    size_t opening = strlen(open);
    size_t closing = strlen(close);
    char *text = calloc(depth * (opening + closing) + strlen(inside) + 1, 1);
    char *at = text;
    for (size_t i = 0; i < depth; i++, at += opening)
        memcpy(at, open, opening);
    at += sprintf(at, "%s", inside);
    for (size_t i = 0; i < depth; i++, at += closing)
        memcpy(at, close, closing);
    bool taken = is_taken(text, (size_t)(at - text), why);
    free(text);
    return taken;
}

static void test_depth(void)
{
    struct why why;
    CU_ASSERT_TRUE(is_depth_taken(512, "[", "", "]", &why));
    CU_ASSERT_FALSE(is_depth_taken(513, "[", "", "]", &why));
    CU_ASSERT_STRING_EQUAL(why.text, "byte 512: more than 512 arrays and objects lie inside one another");
    CU_ASSERT_TRUE(is_depth_taken(512, "{\"a\":", "1", "}", &why));
    CU_ASSERT_FALSE(is_depth_taken(513, "{\"a\":", "1", "}", &why));
    CU_ASSERT_FALSE(is_depth_taken(100000, "[", "", "", &why));
    CU_ASSERT_FALSE(is_depth_taken(50000, "[{\"\":", "", "", &why));
    CU_ASSERT_FALSE(is_depth_taken(512, "[", "", "", &why));
}

/* Every beginning of a good text is refused as unfinished, at its end or before. */
static void test_cut_anywhere(void)
{
    static const char text[] =
        "{\"a\\u00e9\": [1.5e+3, true, null, \"\xE2\x82\xAC\\ud83d\\ude39 abcdefgh\"], \"b\": {}}";
    struct why why;
    CU_ASSERT_TRUE(is_taken(text, sizeof text - 1, &why));
    for (size_t length = 0; length < sizeof text - 1; length++)
        CU_ASSERT_FALSE(is_taken(text, length, &why));
}

/* A fault is found wherever it lies among the bytes that are looked at together. */
static void test_fault_at_every_place(void)
{
    static const char faults[] = {'"', '\\', '\x01', '\x1F', '\0', '\x80', '\xFF'};
    char text[64];
    struct why why;
    for (size_t length = 3; length < sizeof text; length++) {
        memset(text, 'a', length);
        text[0] = text[length - 1] = '"';
        CU_ASSERT_TRUE(is_taken(text, length, &why));
        for (size_t at = 1; at < length - 1; at++) {
            for (size_t fault = 0; fault < sizeof faults; fault++) {
                text[at] = faults[fault];
                CU_ASSERT_FALSE(is_taken(text, length, &why));
            }
            text[at] = 'a';
        }
    }
}

static void test_reasons(void)
{
    static const struct {
        const char *text;
        const char *why;
    } cases[] = {
        {"", "byte 0, the end of the text: there is nothing in it but white space"},
        {"  ", "byte 2, the end of the text: there is nothing in it but white space"},
        {"{\"event\": {\"a\": 1 \"b\": 2}}", "byte 18: a comma or } is missing after a member"},
        {"{\"a\": 1", "byte 7, the end of the text: a comma or } is missing after a member"},
        {"[1 2]", "byte 3: a comma or ] is missing after an element"},
        {"{\"a\": 1,}", "byte 8: a comma must not stand before }"},
        {"{a: 1}", "byte 1: a name in double quotes is missing"},
        {"{\"a\" 1}", "byte 5: a colon is missing after a name"},
        {"{\"a\":}", "byte 5: a value is missing"},
        {"{\"a\\u0000\":1}", "byte 1: a name holds \\u0000, which cannot be used"},
        {"{\"a\": tru}", "byte 6: this is no value of JSON; only true, false and null are words"},
        {"event=%7B", "byte 0: no value of JSON starts like this"},
        {"[01]", "byte 1: a number must not start with a 0 that others follow"},
        {"[1.]", "byte 3: a number needs a digit after its point"},
        {"[1e]", "byte 3: a number needs a digit in its exponent"},
        {"[-]", "byte 2: a number needs a digit here"},
        {"[\"a\\x\"]", "byte 3: JSON has no such escape; a backslash itself is written \\\\"},
        {"[\"\\u12g4\"]", "byte 2: \\u must be followed by four hexadecimal digits"},
        {"[\"abc", "byte 5, the end of the text: a string is not closed"},
        {"[\"a\nb\"]", "byte 3: a control character in a string must be escaped, as \\n or \\u000a"},
        {"[\"caf\xE9\"]", "byte 5: a string is not valid UTF-8"},
        {"\xEF\xBB\xBF{}", "byte 0: a byte order mark must not stand before JSON"},
        {"{} x", "byte 3: something follows after the end of the JSON text"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct why why = {""};
        CU_ASSERT_FALSE(is_taken(cases[i].text, strlen(cases[i].text), &why));
        CU_ASSERT_STRING_EQUAL(why.text, cases[i].why);
    }
}

static void test_too_long(void)
{
    struct json_document document;
    bool out_of_memory = true;
    struct why why = {""};
    CU_ASSERT_FALSE(json_read("", JSON_TEXT_MAX + 1, NULL, &document, &out_of_memory, &why));
    CU_ASSERT_FALSE(out_of_memory);
    CU_ASSERT_STRING_EQUAL(why.text, "a JSON text of 268435457 bytes is more than can be read");
}

void suite_json(void)
{
    static CU_TestInfo tests[] = {
        {"arrays: taken and refused", test_arrays},
        {"words and numbers: taken and refused", test_words_and_numbers},
        {"objects: taken and refused", test_objects},
        {"strings: taken and refused", test_strings},
        {"the whole text: taken and refused", test_structure},
        {"512 levels are taken, 513 refused, 100,000 do no harm", test_depth},
        {"a text cut anywhere is refused", test_cut_anywhere},
        {"a fault in a string is found at every place", test_fault_at_every_place},
        {"each reason says what is wrong and at which byte", test_reasons},
        {"a text beyond what json-c can print is refused", test_too_long},
        CU_TEST_INFO_NULL,
    };
    suite_add("transform json", NULL, NULL, tests);
}
