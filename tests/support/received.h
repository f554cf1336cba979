/* What the stand-in stored: messages in order, and how often each messageId came. Its user does the locking. */
#ifndef TESTS_SUPPORT_RECEIVED_H
#define TESTS_SUPPORT_RECEIVED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "tests/support/batch.h"

/* A message as it was stored. Lives until received_clear. */
struct standin_message {
    struct slice json; /* its bytes as they were sent; none when the stand-in keeps no bytes */
    const char *message_id;
    const char *write_key;
    moment arrived;
    size_t request; /* number of the request that brought it, from 1 */
    size_t times;   /* how often its messageId was stored; kept in the first message that had it */
};

/* All zero is empty. */
struct received {
    struct standin_message **messages;
    size_t count;
    size_t capacity;
    size_t repeated; /* messages whose messageId had been stored before */
    void *by_id;     /* tsearch's tree: the first message of each messageId */
};

/* Stores a message. write_key is borrowed for as long as the record lives. Returns false without memory. */
bool received_add(struct received *received, const struct batch_message *message, const char *write_key, size_t request,
                  bool keep_bytes);

/* The first message of that messageId, or NULL. */
struct standin_message *received_find(const struct received *received, const char *message_id);

/* Forgets all and gives the memory back. */
void received_clear(struct received *received);

#endif
