/* A Bloom filter: see bloom.h. */
#include "queue/sqlite/bloom.h"

#include <stdlib.h>
#include <string.h>

#define BITS ((uint32_t)1 << 24) /* 2 MiB */
#define PARTS 4                  /* of the key, a bit each: it is a hash already */

bool sketch_begin(struct sketch *sketch)
{
    sketch_free(sketch);
    sketch->bits = calloc(BITS / 64, sizeof *sketch->bits);
    return sketch->bits != NULL;
}

static void bits_of(const unsigned char key[16], uint32_t bit[static PARTS])
{
    memcpy(bit, key, PARTS * sizeof *bit);
    for (int i = 0; i < PARTS; i++)
        bit[i] &= BITS - 1;
}

void sketch_add(struct sketch *sketch, const unsigned char key[16])
{
    uint32_t bit[PARTS];
    if (sketch->bits == NULL)
        return;
    bits_of(key, bit);
    for (int i = 0; i < PARTS; i++)
        sketch->bits[bit[i] / 64] |= (uint64_t)1 << bit[i] % 64;
}

bool sketch_may_have(const struct sketch *sketch, const unsigned char key[16])
{
    uint32_t bit[PARTS];
    if (!sketch->whole)
        return true;
    bits_of(key, bit);
    for (int i = 0; i < PARTS; i++) {
        if ((sketch->bits[bit[i] / 64] & (uint64_t)1 << bit[i] % 64) == 0)
            return false;
    }
    return true;
}

void sketch_free(struct sketch *sketch)
{
    free(sketch->bits);
    *sketch = (struct sketch){0};
}
