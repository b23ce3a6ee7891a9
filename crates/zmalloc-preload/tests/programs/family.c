#include "recount.h"

extern void cfree(void *) __attribute__((weak));
extern void free_sized(void *, size_t) __attribute__((weak));
extern void free_aligned_sized(void *, size_t, size_t) __attribute__((weak));

static void *resized(void *block, size_t size) {
    gone(block);
    void *new = realloc(block, size);
    if (size)
        got(new);
    else
        CHECK(!new);
    return new;
}

int main(int argc, char **argv) {
    static const size_t sizes[] = {0, 1, 8, 24, 25, 100, 1000, 4096, 70000, 200000, 3000000};
    void *kept[11][8];
    for (int i = 0; i < 11; i++) {
        size_t size = sizes[i];
        void *block;
        kept[i][0] = got(malloc(size));
        kept[i][1] = got(calloc(size, 3));
        kept[i][2] = got(realloc(NULL, size));
        kept[i][3] = got(reallocarray(NULL, size + 1, 2));
        CHECK(posix_memalign(&block, 64, size) == 0 && (uintptr_t)block % 64 == 0);
        kept[i][4] = got(block);
        kept[i][5] = got(aligned_alloc(256, (size + 255) / 256 * 256));
        CHECK((uintptr_t)kept[i][5] % 256 == 0);
        kept[i][6] = got(memalign(32, size));
        kept[i][7] = got(i % 2 ? valloc(size) : pvalloc(size));
        CHECK((uintptr_t)kept[i][7] % 4096 == 0);
        memset(kept[i][0], 1, malloc_usable_size(kept[i][0]));
    }
    /* Growing, shrinking, in place and not, across mapped chunks; every second one stays. */
    for (int i = 0; i < 11; i++)
        for (int j = 0; j < 8; j++)
            if ((i + j) % 3 == 0)
                kept[i][j] = resized(kept[i][j], sizes[(i + 3 * j) % 11]);
    for (int i = 0; i < 11; i++)
        for (int j = i % 2; j < 8; j += 2)
            give(kept[i][j]), kept[i][j] = NULL;

    /* The edges. */
    free(NULL);
    CHECK(malloc_usable_size(NULL) == 0);
    void *block = got(malloc(10));
    errno = 0;
    CHECK(!realloc(block, SIZE_MAX / 2) && errno == ENOMEM); /* still ours */
    CHECK(!reallocarray(block, SIZE_MAX / 2, 3) && errno == ENOMEM);
    errno = 0;
    CHECK(!malloc(SIZE_MAX / 2 + 10) && errno == ENOMEM);
    errno = 0;
    CHECK(!calloc(SIZE_MAX / 2, 4) && errno == ENOMEM);
    errno = 0;
    CHECK(!pvalloc(SIZE_MAX - 100) && errno == ENOMEM);
    void *untouched = &untouched;
    errno = 7;
    CHECK(posix_memalign(&untouched, 3, 8) == EINVAL && posix_memalign(&untouched, 4, 8) == EINVAL);
    CHECK(posix_memalign(&untouched, 64, SIZE_MAX / 2 + 10) == ENOMEM && untouched == &untouched);
    errno = 7;
    gone(block);
    free(block);
    CHECK(errno == 7);
    block = got(malloc(10));
    CHECK(errno == 7);
    gone(block), cfree(block);
    block = got(malloc(300));
    CHECK(free_sized && free_aligned_sized);
    gone(block), free_sized(block, 300);
    block = got(aligned_alloc(64, 128));
    gone(block), free_aligned_sized(block, 64, 128);
    malloc_trim(0);

    /* A sparse calloc stays sparse. */
    char *sparse = got(calloc(1, 512 << 20));
    CHECK(sparse[0] == 0 && sparse[300 << 20] == 0);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    CHECK(usage.ru_maxrss < 64 << 10);

    report("");
    if (argc > 1 && !strcmp(argv[1], "_exit"))
        _exit(3);
    if (argc > 1 && !strcmp(argv[1], "quick"))
        quick_exit(3);
    if (argc > 1 && !strcmp(argv[1], "abort"))
        abort();
    if (argc > 1 && !strcmp(argv[1], "kill"))
        kill(getpid(), SIGKILL);
    return 0;
}
