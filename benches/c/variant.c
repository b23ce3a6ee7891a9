/* The workloads over one way to call the allocator, which the compiler's command line names. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "workload.h"

#if defined(BARE) || defined(BARE_SIZED)
#include <stddef.h>
/* jemalloc itself, the same one that lies beneath the library in this process. */
__attribute__((malloc, alloc_size(1))) void *_rjem_malloc(size_t size);
void _rjem_free(void *ptr);
void _rjem_sdallocx(void *ptr, size_t size, int flags);
#define ALLOCATE(size) _rjem_malloc(size)
#ifdef BARE
#define RELEASE(ptr, size) _rjem_free(ptr)
#else
#define RELEASE(ptr, size) _rjem_sdallocx(ptr, size, 0)
#endif
#else
#include <zmalloc.h>
#define ALLOCATE(size) zmalloc(size)
#ifdef SIZED
#define RELEASE(ptr, size) zfree_with_size(ptr, size)
#else
#define RELEASE(ptr, size) zfree(ptr)
#endif
#endif

static uint64_t next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* A size class of jemalloc, so that a sized free can be told it without a look-up. */
static size_t size_class(size_t size) {
    size_t step = 16;
    while (size > step * 8) step *= 2;
    return (size + step - 1) / step * step;
}

static double nanoseconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

__attribute__((aligned(64), noinline)) static void pairs(long count, size_t size) {
    long i;
    for (i = 0; i < count; i++) {
        volatile char *ptr = ALLOCATE(size);
        *ptr = 1;
        RELEASE((void *)ptr, size);
    }
}

double WORKLOAD_NAME(long count, size_t size, size_t blocks, uint64_t seed) {
    double start;
    if (size) {
        start = nanoseconds();
        pairs(count, size);
        return (nanoseconds() - start) / (double)count;
    } else {
        struct block {
            char *ptr;
            size_t size;
        } *set = malloc(blocks * sizeof(struct block));
        size_t i, at;
        long round;
        for (i = 0; i < blocks; i++) {
            set[i].size = size_class(16 + next(&seed) % 1009);
            set[i].ptr = ALLOCATE(set[i].size);
            *set[i].ptr = 1;
        }
        start = nanoseconds();
        for (round = 0; round < count; round++) {
            at = next(&seed) % blocks;
            RELEASE(set[at].ptr, set[at].size);
            set[at].size = size_class(16 + next(&seed) % 1009);
            set[at].ptr = ALLOCATE(set[at].size);
            *set[at].ptr = 1;
        }
        start = nanoseconds() - start;
        for (i = 0; i < blocks; i++) RELEASE(set[i].ptr, set[i].size);
        free(set);
        return start / (double)count;
    }
}
