/* The harmless event: see test_event.h. */
#include "commands/test_event.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "base/times.h"

void test_event_id(const struct test_event *event, char out[static 48])
{
    char digits[2 * sizeof event->unique + 1];
    snprintf(out, 48, "ev_test_%s", text_hex_encode(event->unique, sizeof event->unique, digits));
}

/* All of the body but the padding, which goes between head and tail. */
static void write_parts(const struct test_event *event, struct buffer *head, struct buffer *tail)
{
    char id[48], date[DATE_PRINTED], text[1024];
    test_event_id(event, id);
    times_print_ms(event->now_ms, DATE_BARE_MICROSECONDS, date);
    snprintf(text, sizeof text,
             "{\"event\": {\"id\": \"%s\", \"date_created\": \"%s\", \"date_updated\": \"%s\", "
             "\"organization_id\": \"orga_closecrm_test\", \"user_id\": null, \"request_id\": null, "
             "\"lead_id\": \"lead_closecrm_test\", ",
             id, date, date);
    buffer_text(head, text);
    snprintf(text, sizeof text, "\"object_id\": \"closecrm_test_%s\", \"meta\": {}, \"changed_fields\": [], ",
             id + strlen("ev_test_"));
    buffer_text(head, text);
    const char *fields[] = {"\"object_type\": \"", event->object_type, "\", \"action\": \"", event->action, "\", "};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        buffer_text(head, fields[i]);
    buffer_text(head, "\"data\": {\"note\": \"a test by closecrm.fcgi send-test\", \"padding\": \"");
    buffer_text(tail, "\"}, \"previous_data\": {}}, \"subscription_id\": \"whsub_closecrm_test\"}");
}

void test_event_write(const struct test_event *event, struct buffer *out)
{
    struct buffer head = {0}, tail = {0};
    write_parts(event, &head, &tail);
    if (head.failed || tail.failed) {
        out->failed = true;
    } else {
        size_t own = head.length + tail.length;
        size_t padding = event->size > own ? event->size - own : 0;
        buffer_append(out, head.data, head.length);
        char *room = buffer_room(out, padding);
        if (room != NULL && padding > 0) {
            memset(room, 'x', padding);
            out->length += padding;
        }
        buffer_append(out, tail.data, tail.length);
    }
    buffer_free(&head);
    buffer_free(&tail);
}

bool test_event_name_fits(const char *name, size_t length)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.";
    for (size_t i = 0; i < length; i++) {
        if (strchr(allowed, name[i]) == NULL || name[i] == '\0')
            return false;
    }
    return length > 0;
}
