/* The configuration: whatever may be in a file, it is read or refused with a reason, and nothing worse. */
#include "tests/suites.h"
#include "tests/support/config_text.h"

#include <stdio.h>
#include <string.h>

/* A small generator of its own, so that every run does the same. */
static unsigned next_random(unsigned *state)
{
    *state = *state * 1103515245U + 12345U;
    return *state >> 16;
}

static size_t mutate(char *text, size_t length, unsigned *state)
{
    static const char interesting[] = "\n\r\t =:#;[],.*~/\0\x7f\xef\xbb\xbf"
                                      "09azAZ_";
    for (unsigned changes = 1 + next_random(state) % 3; changes > 0 && length > 1; changes--) {
        size_t at = next_random(state) % length, run = 1 + next_random(state) % 40;
        run = run > length - at ? length - at : run;
        switch (next_random(state) % 4) {
        case 0:
            text[at] = interesting[next_random(state) % (sizeof interesting - 1)];
            break;
        case 1:
            memmove(text + at, text + at + run, length - at - run);
            length -= run;
            break;
        case 2:
            memmove(text + at, text + next_random(state) % (length - run + 1), run);
            break;
        default:
            text[at] = (char)next_random(state);
        }
    }
    return length;
}

static void mutations_do_no_harm(void)
{
    static const char base[] = WHOLE "queue_max_bytes = 9G\nlanes = 3\nca_file = certificates.pem\nkeep = lead.*,\n"
                                     "    contact.created\nremove = data.body_html\nlog_level = warn\n"
                                     "dedupe_window = 40d\n";
    static const char with_sections[] =
        "data_plane_url = http://[::1]:80/x/\n[source a]\nwrite_key = one, two\n\tthree\nsignature_key = " SIGNATURE_1
        "\n[source b]\nwrite_key_file = key\nsignature_key = " SIGNATURE_2 "\ndrop = *.deleted\n";
    char *const nothing[] = {NULL};
    struct folder folder;
    unsigned state = 42, read = 0, refused = 0;
    FILE *sink = fopen("/dev/null", "we");
    CU_ASSERT_PTR_NOT_NULL_FATAL(sink);
    folder_make(&folder);
    for (int i = 0; i < 4000; i++) {
        char text[sizeof base + sizeof with_sections];
        const char *original = i % 2 == 0 ? base : with_sections;
        memcpy(text, original, strlen(original));
        size_t length = mutate(text, strlen(original), &state);
        folder_write(&folder, "closecrm.conf", text, length, 0600);
        char key[] = "key-one\nkey-two\n";
        length = i % 8 == 1 ? mutate(key, strlen(key), &state) : strlen(key);
        folder_write(&folder, "key", key, length, 0600);
        struct error why = {0};
        struct config *config = config_read(folder.file, nothing, &why);
        CU_ASSERT_EQUAL(config == NULL, why.text[0] != '\0');
        if (config != NULL)
            config_print(config, sink);
        read += config != NULL ? 1 : 0;
        refused += config == NULL ? 1 : 0;
        config_free(config);
    }
    fclose(sink);
    folder_remove(&folder);
    CU_ASSERT_TRUE(read > 100);
    CU_ASSERT_TRUE(refused > 100);
}

void suite_config_mutations(void)
{
    static CU_TestInfo tests[] = {
        {"whatever may be in a file is read or refused", mutations_do_no_harm},
        CU_TEST_INFO_NULL,
    };
    suite_add("config mutations", NULL, NULL, tests);
}
