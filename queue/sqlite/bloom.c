/* A Bloom filter: see bloom.h. */
#include "queue/sqlite/bloom.h"

#include <stdlib.h>
#include <string.h>

#define BITS ((uint32_t)1 << 24) /* 2 MiB */
#define PARTS 4                  /* 32-bit parts of the key, which is a hash, select one bit each */

bool bloom_begin(struct bloom *bloom)
{
    bloom_free(bloom);
    bloom->bits = calloc(BITS / 64, sizeof *bloom->bits);
    return bloom->bits != NULL;
}

static void bits_of(const unsigned char key[16], uint32_t bit[static PARTS])
{
    memcpy(bit, key, PARTS * sizeof *bit);
    for (int i = 0; i < PARTS; i++)
        bit[i] &= BITS - 1;
}

void bloom_add(struct bloom *bloom, const unsigned char key[16])
{
    uint32_t bit[PARTS];
    if (bloom->bits == NULL)
        return;
    bits_of(key, bit);
    for (int i = 0; i < PARTS; i++)
        bloom->bits[bit[i] / 64] |= (uint64_t)1 << bit[i] % 64;
}

bool bloom_may_have(const struct bloom *bloom, const unsigned char key[16])
{
    uint32_t bit[PARTS];
    if (!bloom->whole)
        return true;
    bits_of(key, bit);
    for (int i = 0; i < PARTS; i++) {
        if ((bloom->bits[bit[i] / 64] & (uint64_t)1 << bit[i] % 64) == 0)
            return false;
    }
    return true;
}

void bloom_free(struct bloom *bloom)
{
    free(bloom->bits);
    *bloom = (struct bloom){0};
}
