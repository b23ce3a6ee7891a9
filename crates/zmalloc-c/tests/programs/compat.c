/* The names and signatures of one version, by the macro that chose it. */
#include <zmalloc.h>

#include "check.h"

int main(void) {
    size_t a, b, c;
    void *ptr;
#if defined(ZMALLOC_COMPAT_REDIS_5)
    int (*info)(size_t *, size_t *, size_t *) = zmalloc_get_allocator_info;
    CHECK_EQUAL(info(&a, &b, &c), 1);
    ptr = zmalloc(100);
    CHECK(zmalloc_usable(ptr) >= 100);
    zfree(ptr);
#elif defined(ZMALLOC_COMPAT_REDIS_7)
    int (*info)(size_t *, size_t *, size_t *) = zmalloc_get_allocator_info;
    CHECK_EQUAL(info(&a, &b, &c), 1);
#elif defined(ZMALLOC_COMPAT_VALKEY_8)
    int (*info)(size_t *, size_t *, size_t *, size_t *, size_t *, size_t *) = zmalloc_get_allocator_info;
    CHECK_EQUAL(info(&a, &b, &c, NULL, NULL, NULL), 1);
#elif defined(ZMALLOC_COMPAT_VALKEY)
    int (*info)(size_t *, size_t *, size_t *, size_t *, size_t *) = zmalloc_get_allocator_info;
    CHECK_EQUAL(info(&a, &b, &c, NULL, NULL), 1);
#else
    int (*info)(int, size_t *, size_t *, size_t *, size_t *, size_t *, size_t *) = zmalloc_get_allocator_info;
    CHECK_EQUAL(info(1, &a, &b, &c, NULL, NULL, NULL), 1);
#endif
#if defined(ZMALLOC_COMPAT_VALKEY) || defined(ZMALLOC_COMPAT_VALKEY_8)
    ptr = valkey_malloc(10);
    ptr = valkey_realloc(ptr, 20);
    valkey_free(ptr);
    valkey_free(valkey_calloc(10));
#endif
    {
        void *(*allocate)(size_t) = zmalloc;
        void (*release)(void *) = zfree;
        ptr = allocate(hide(10));
        CHECK(zmalloc_used_memory() >= 10);
        release(ptr);
    }
    ptr = zcalloc(10);
    zfree(zrealloc(ptr, 20));
    CHECK_EQUAL(zmalloc_used_memory(), 0);
    return done();
}
