/* Apple's malloc zone functions over another C library's allocator, so that the Apple backend is tested anywhere. */

#include <malloc.h>
#include <stddef.h>

typedef struct malloc_statistics_t {
    unsigned blocks_in_use;
    size_t size_in_use;
    size_t max_size_in_use;
    size_t size_allocated;
} malloc_statistics_t;

size_t malloc_size(const void *block) {
    return malloc_usable_size((void *)block); /* 0 for NULL, as Apple's. */
}

/* The size that malloc would really give: a word of header, then a multiple of two words, at least four in all. */
size_t malloc_good_size(size_t size) {
    const size_t word = sizeof(size_t), step = 2 * word;
    if (size < 3 * word) return 3 * word;
    return (size + word + step - 1) / step * step - word;
}

/* Only all zones together: `zone` is NULL. */
void malloc_zone_statistics(void *zone, malloc_statistics_t *statistics) {
    (void)zone;
    *statistics = (malloc_statistics_t){0};
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
    const struct mallinfo2 info = mallinfo2();
    statistics->size_in_use = info.uordblks + info.hblkhd;
    statistics->size_allocated = info.arena + info.hblkhd;
#endif
}

size_t malloc_zone_pressure_relief(void *zone, size_t goal) {
    (void)zone;
    (void)goal;
#ifdef __GLIBC__
    malloc_trim(0);
#endif
    return 0;
}
