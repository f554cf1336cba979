/* The stand-in's store. */
#include "tests/support/received.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

static int compare_ids(const void *a, const void *b)
{
    const struct standin_message *left = a;
    const struct standin_message *right = b;
    return strcmp(left->message_id, right->message_id);
}

static void free_nothing(void *node)
{
    (void)node;
}

static bool grow(struct received *received)
{
    if (received->count < received->capacity)
        return true;
    size_t capacity = received->capacity == 0 ? 1024 : received->capacity * 2;
    struct standin_message **messages = reallocarray(received->messages, capacity, sizeof(struct standin_message *));
    if (messages == NULL)
        return false;
    received->messages = messages;
    received->capacity = capacity;
    return true;
}

/* One block: the message, its id, its bytes. */
static struct standin_message *copy(const struct batch_message *from, bool keep_bytes)
{
    size_t id_size = strlen(from->message_id) + 1;
    size_t length = keep_bytes ? from->json.length : 0;
    struct standin_message *message = malloc(sizeof *message + id_size + length);
    if (message == NULL)
        return NULL;
    char *id = (char *)(message + 1);
    memcpy(id, from->message_id, id_size);
    memcpy(id + id_size, from->json.at, length);
    *message = (struct standin_message){.message_id = id};
    if (keep_bytes)
        message->json = (struct slice){id + id_size, length};
    return message;
}

bool received_add(struct received *received, const struct batch_message *from, const char *write_key, size_t request,
                  bool keep_bytes)
{
    struct standin_message *message = grow(received) ? copy(from, keep_bytes) : NULL;
    if (message == NULL)
        return false;
    message->write_key = write_key;
    message->arrived = clock_now();
    message->request = request;
    received->messages[received->count++] = message;
    if (*message->message_id == '\0')
        return true; /* the data plane gives it an id of its own */
    struct standin_message **first = tsearch(message, &received->by_id, compare_ids);
    if (first == NULL)
        return false;
    if ((*first)->times++ > 0)
        received->repeated++;
    return true;
}

struct standin_message *received_find(const struct received *received, const char *message_id)
{
    struct standin_message wanted = {.message_id = message_id};
    struct standin_message **found = tfind(&wanted, &received->by_id, compare_ids);
    return found == NULL ? NULL : *found;
}

void received_clear(struct received *received)
{
    tdestroy(received->by_id, free_nothing);
    for (size_t i = 0; i < received->count; i++)
        free(received->messages[i]);
    free(received->messages);
    *received = (struct received){.messages = NULL};
}
