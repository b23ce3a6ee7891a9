/* A heap with sparse slabs is compacted, by the hints of an unpatched jemalloc. */
#define USE_JEMALLOC
#include <zmalloc.h>

#include "check.h"

#define BLOCKS 400000

static void *blocks[BLOCKS];

static size_t active(void) {
    size_t bytes;
    zmalloc_get_allocator_info(1, NULL, &bytes, NULL, NULL, NULL, NULL);
    return bytes;
}

int main(void) {
    size_t i, before, sparse, used, moved = 0, kept = 0, unused;
    int round;
    for (i = 0; i < BLOCKS; i++) {
        blocks[i] = zmalloc(40 + i % 3 * 60);
        memset(blocks[i], (int)i, 40);
    }
    before = active();
    /* A full heap has nothing to move. */
    for (i = 0; i < BLOCKS; i += 7) kept += zmalloc_get_defrag_hint(blocks[i]) != 0;
    CHECK(kept < BLOCKS / 7 / 20);
    /* One block in eight stays, all over. */
    for (i = 0; i < BLOCKS; i++)
        if (i % 8) {
            zfree(blocks[i]);
            blocks[i] = NULL;
        }
    je_mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
    used = zmalloc_used_memory();
    sparse = active();
    CHECK(sparse > before / 2);
    zmalloc_get_allocator_info(1, NULL, NULL, NULL, NULL, NULL, &unused);
    CHECK(unused > sparse / 2);

    /* Where a limit leaves no room for the new place, a block stays. */
    zmalloc_set_limit_hard(used);
    for (i = 0; i < BLOCKS; i += 8) CHECK(zmalloc_relocate(blocks[i]) == NULL);
    zmalloc_set_limit_hard(used + 1000);

    for (round = 0; round < 4; round++)
        for (i = 0; i < BLOCKS; i++) {
            void *to;
            if (!blocks[i]) continue;
            if (round % 2) {
                /* As Redis does it. */
                if (!je_get_defrag_hint(blocks[i])) continue;
                to = zmalloc_no_tcache(zmalloc_usable_size(blocks[i]));
                memcpy(to, blocks[i], zmalloc_usable_size(blocks[i]));
                zfree_no_tcache(blocks[i]);
            } else {
                to = zmalloc_relocate(blocks[i]);
            }
            if (to) {
                blocks[i] = to;
                moved++;
            }
        }
    CHECK_EQUAL(zmalloc_used_memory(), used);
    for (i = 0; i < BLOCKS; i += 8) CHECK(((unsigned char *)blocks[i])[39] == (unsigned char)i);
    fprintf(stderr, "active: full %zu, sparse %zu, compacted %zu; used %zu, moved %zu\n", before, sparse, active(), used,
            moved);
    CHECK(active() < used + used / 4);
    /* And it comes to rest. */
    for (i = 0, kept = 0; i < BLOCKS; i += 8) kept += zmalloc_get_defrag_hint(blocks[i]) != 0;
    CHECK(kept < BLOCKS / 8 / 20);
    for (i = 0; i < BLOCKS; i++) zfree(blocks[i]);
    /* A large block never moves. */
    blocks[0] = zmalloc(1 << 20);
    CHECK(zmalloc_relocate(blocks[0]) == NULL);
    zfree(blocks[0]);
    CHECK_EQUAL(zmalloc_used_memory(), 0);
    return done();
}
