/* Every operation that gives, resizes, moves or takes a block, at random, with an independent recount of all blocks after
 * each: as a thread's first operation, later, and in destructors that run when the library has let go of the thread. */
#define _GNU_SOURCE
#include <pthread.h>
#define USE_JEMALLOC
#include <zmalloc.h>

#include "check.h"

#define SHELF 64
static void *shelf[SHELF];

static size_t recount(void) {
    size_t sum = 0;
    int i;
    for (i = 0; i < SHELF; i++) sum += je_malloc_usable_size(shelf[i]);
    return sum;
}

static unsigned random_number(void) {
    static unsigned long long state = 88172645463325252ull;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state >> 20);
}

static void ignore(size_t size) { (void)size; }

/* Refused by the allocator, and refused by the layer, which frees. */
#define ABSURD ((size_t)1 << 60)
#define TOO_LARGE (SIZE_MAX - 5)

#define OPERATIONS 22

static void operate(int operation) {
    static const int flags_of[] = {0,
                                   MALLOCX_TCACHE_NONE,
                                   MALLOCX_ALIGN(64),
                                   MALLOCX_ZERO,
                                   MALLOCX_ALIGN(4096) | MALLOCX_ZERO,
                                   MALLOCX_ARENA(0) | MALLOCX_TCACHE_NONE};
    size_t size = hide(random_number() % (random_number() % 10 == 0 ? 300000 : 700)), usable, before;
    int flags = flags_of[random_number() % 6];
    void **place = &shelf[random_number() % SHELF], *moved;

    switch (operation) {
    case 0:
        zfree(*place);
        *place = zmalloc(size);
        break;
    case 1:
        zfree_with_size(*place, zmalloc_usable_size(*place));
        *place = zcalloc(size);
        break;
    case 2:
        zfree_with_flags(*place, flags & MALLOCX_TCACHE_NONE);
        *place = zmalloc_with_flags(size, flags);
        break;
    case 3:
        *place = zrealloc_with_flags(*place, size, flags);
        break;
    case 4:
        if (*place) je_xallocx(*place, size + 1, random_number() % 100000, 0);
        break;
    case 5:
        if (*place) je_xallocx(*place, ABSURD >> 15, 0, 0);
        break;
    case 6:
        *place = zrealloc(*place, size);
        break;
    case 7:
        CHECK(zrealloc(*place, hide(ABSURD)) == NULL);
        break;
    case 8:
        CHECK(zrealloc(*place, hide(TOO_LARGE)) == NULL);
        *place = NULL;
        break;
    case 9:
        CHECK(zrealloc_with_flags(*place, hide(TOO_LARGE), flags) == NULL);
        *place = NULL;
        break;
    case 10:
        CHECK(zrealloc_with_flags(*place, hide(ABSURD), flags) == NULL);
        break;
    case 11:
        if (*place) *place = je_rallocx(*place, size, flags);
        break;
    case 12:
        if (*place) CHECK(je_rallocx(*place, hide(TOO_LARGE), flags) == NULL);
        if (*place) CHECK(je_realloc(*place, hide(TOO_LARGE)) == NULL);
        break;
    case 13:
        zfree_no_tcache(*place);
        *place = zmalloc_no_tcache(size);
        break;
    case 14:
        moved = *place ? zmalloc_relocate(*place) : NULL;
        if (moved) *place = moved;
        break;
    case 15:
        *place = zrealloc_usable2(*place, size, &usable, &before);
        break;
    case 16:
        zfree_usable(*place, &usable);
        *place = zmalloc_usable(size, &usable);
        break;
    case 17:
        if (*place) je_sdallocx(*place, 3, 0);
        *place = NULL;
        break;
    case 18:
        zfree(*place);
        CHECK(je_posix_memalign(place, 256, size) == 0);
        break;
    case 19:
        je_mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
        break;
    case 20:
        zfree(zrealloc(NULL, 0));
        CHECK(zrealloc(zmalloc(5), 0) == NULL);
        break;
    default:
        je_free(*place);
        *place = je_realloc(je_realloc(NULL, size), 0);
    }
    CHECK_EQUAL(zmalloc_used_memory(), recount());
}

static pthread_key_t before_ours, after_ours;
static int first, late;

/* Comes again while its value is above 1. */
#define DESTRUCTOR(name, key)                                                            \
    static void name(void *value) {                                                      \
        size_t rounds = (size_t)value;                                                   \
        int i;                                                                           \
        operate(late);                                                                   \
        for (i = 0; i < 5; i++) operate((int)(random_number() % OPERATIONS));            \
        if (rounds > 1) pthread_setspecific(key, (void *)(rounds - 1));                  \
    }
DESTRUCTOR(end_before_ours, before_ours)
DESTRUCTOR(end_after_ours, after_ours)

static void *work(void *uses_the_heap) {
    int i;
    pthread_setspecific(before_ours, (void *)(size_t)(1 + random_number() % 4));
    pthread_setspecific(after_ours, (void *)(size_t)(1 + random_number() % 4));
    if (uses_the_heap) {
        operate(first);
        for (i = 0; i < 20; i++) operate((int)(random_number() % OPERATIONS));
    }
    return NULL;
}

int main(void) {
    int round, i;
    zmalloc_set_oom_handler(ignore);
    CHECK(pthread_key_create(&before_ours, end_before_ours) == 0);
    for (i = 0; i < 20000; i++) operate(i % OPERATIONS);
    CHECK(pthread_key_create(&after_ours, end_after_ours) == 0);
    for (round = 0; round < 30; round++)
        for (first = 0; first < OPERATIONS; first++) {
            pthread_t thread;
            late = (first + round) % OPERATIONS;
            CHECK(pthread_create(&thread, NULL, work, round % 4 ? &thread : NULL) == 0);
            pthread_join(thread, NULL);
            CHECK_EQUAL(zmalloc_used_memory(), recount());
        }
    for (i = 0; i < SHELF; i++) zfree(shelf[i]);
    CHECK_EQUAL(zmalloc_used_memory(), 0);
    return done();
}
