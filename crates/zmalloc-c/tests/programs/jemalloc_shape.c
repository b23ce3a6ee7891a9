/* The jemalloc shape: je_ calls beside the layer's, on the same blocks and in the same count. */
#include <errno.h>
#include <pthread.h>
#define USE_JEMALLOC
#include <zmalloc.h>

#include "check.h"

#define COUNTED(ptr) CHECK_EQUAL(zmalloc_used_memory(), before + je_malloc_usable_size(ptr))

/* A thread that never calls the layer. */
static void *only_je(void *block) {
    je_free(block);
    return je_malloc(3000);
}

int main(void) {
    size_t before = 0, size, length = sizeof(size);
    void *ptr, *other;
    const char *version;
    pthread_t thread;
    CHECK_EQUAL(zmalloc_used_memory(), 0);

    ptr = je_malloc(100);
    COUNTED(ptr);
    zfree(ptr);
    ptr = zmalloc(100);
    je_free(ptr);
    CHECK_EQUAL(zmalloc_used_memory(), 0);
    ptr = je_calloc(10, 100);
    COUNTED(ptr);
    ptr = je_realloc(ptr, 10000);
    COUNTED(ptr);
    ptr = je_rallocx(ptr, 500, MALLOCX_ZERO);
    COUNTED(ptr);
    CHECK_EQUAL(je_sallocx(ptr, 0), je_malloc_usable_size(ptr));
    CHECK_EQUAL(je_xallocx(ptr, 500, 0, 0), je_malloc_usable_size(ptr));
    COUNTED(ptr);
    je_dallocx(ptr, 0);
    ptr = je_mallocx(1 << 20, MALLOCX_ALIGN(4096) | MALLOCX_ARENA(0) | MALLOCX_TCACHE_NONE);
    CHECK((uintptr_t)ptr % 4096 == 0);
    COUNTED(ptr);
    size = je_xallocx(ptr, 1 << 19, 0, 0);
    COUNTED(ptr);
    je_sdallocx(ptr, size, MALLOCX_TCACHE_NONE);
    CHECK_EQUAL(zmalloc_used_memory(), 0);
    CHECK_EQUAL(je_posix_memalign(&ptr, 256, 1000), 0);
    COUNTED(ptr);
    je_free(ptr);
    CHECK_EQUAL(je_posix_memalign(&ptr, 3, 1000), EINVAL);
    CHECK_EQUAL(je_posix_memalign(&ptr, 64, hide(SIZE_MAX / 2)), ENOMEM);
    ptr = je_aligned_alloc(64, 640);
    CHECK((uintptr_t)ptr % 64 == 0);
    COUNTED(ptr);
    zfree(ptr);
    CHECK_EQUAL(je_nallocx(100, 0), 112);

    /* C's rules, not the layer's. */
    errno = 0;
    CHECK(je_malloc(hide(SIZE_MAX / 2)) == NULL && errno == ENOMEM);
    ptr = je_malloc(10);
    CHECK(je_realloc(ptr, hide(SIZE_MAX / 2)) == NULL);
    CHECK(je_rallocx(ptr, hide(SIZE_MAX / 2), 0) == NULL);
    COUNTED(ptr);
    je_free(ptr);
    je_free(NULL);
    CHECK_EQUAL(zmalloc_used_memory(), 0);

    other = zmalloc(2000);
    pthread_create(&thread, NULL, only_je, other);
    pthread_join(thread, &ptr);
    COUNTED(ptr);
    zfree(ptr);
    CHECK_EQUAL(zmalloc_used_memory(), 0);

    length = sizeof(version);
    CHECK_EQUAL(je_mallctl("version", &version, &length, NULL, 0), 0);
    CHECK(strncmp(version, ZMALLOC_JEMALLOC_VERSION "-", strlen(ZMALLOC_JEMALLOC_VERSION) + 1) == 0);
    CHECK(strcmp(ZMALLOC_LIB, "jemalloc-" ZMALLOC_JEMALLOC_VERSION) == 0);
    length = sizeof(size);
    CHECK_EQUAL(je_mallctl("arenas.page", &size, &length, NULL, 0), 0);
    CHECK(size >= 4096);
    {
        size_t place[4], parts = 4;
        CHECK_EQUAL(je_mallctlnametomib("arenas.bin.0.size", place, &parts), 0);
        CHECK_EQUAL(parts, 4);
        length = sizeof(size);
        CHECK_EQUAL(je_mallctlbymib(place, parts, &size, &length, NULL, 0), 0);
        CHECK_EQUAL(size, 8);
    }
    je_malloc_stats_print(NULL, NULL, "gmdablx");
    return done();
}
