#include "recount.h"

static unsigned long mapped, peak;

static void count(long change) {
    mapped += change;
    if (mapped > peak)
        peak = mapped;
}

#define P 4096ul
#define RW (PROT_READ | PROT_WRITE)
#define PRIVATE (MAP_PRIVATE | MAP_ANONYMOUS)

int main(void) {
    char *a = mmap(NULL, 100 * P, RW, PRIVATE, -1, 0);
    CHECK(a != MAP_FAILED), count(100 * P);
    CHECK(munmap(a + 10 * P, 5 * P) == 0), count(-5 * P);          /* a hole */
    CHECK(munmap(a + 8 * P, 10 * P) == 0), count(-5 * P);          /* over the hole */
    CHECK(munmap(a + 99 * P, 1) == 0), count(-1 * P);              /* part of a page is a page */
    CHECK(munmap(a + 1, P) == -1 && errno == EINVAL);              /* refused */
    CHECK(mmap(a + 20 * P, 4 * P, RW, PRIVATE | MAP_FIXED, -1, 0) == a + 20 * P);          /* over itself */
    CHECK(mmap(a + 8 * P, 4 * P, RW, PRIVATE | MAP_FIXED, -1, 0) == a + 8 * P), count(4 * P);
    CHECK(mmap(a + 30 * P, 3 * P, PROT_NONE, PRIVATE | MAP_FIXED, -1, 0) == a + 30 * P), count(-3 * P);
    CHECK(mprotect(a + 30 * P, P, PROT_READ) == 0), count(P);
    CHECK(mprotect(a + 40 * P, 2 * P, PROT_NONE) == 0), count(-2 * P);
    CHECK(mmap(a + 50 * P, P, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == a + 50 * P), count(-1 * P);

    char *reserved = mmap(NULL, 1ul << 30, PROT_NONE, PRIVATE | MAP_NORESERVE, -1, 0);
    CHECK(reserved != MAP_FAILED);
    CHECK(mprotect(reserved + (1 << 20), 64 * P, RW) == 0), count(64 * P);

    char *b = mmap(NULL, 10 * P, RW, PRIVATE, -1, 0);
    CHECK(b != MAP_FAILED), count(10 * P);
    b = mremap(b, 10 * P, 50 * P, MREMAP_MAYMOVE);
    CHECK(b != MAP_FAILED), count(40 * P);
    b = mremap(b, 50 * P, 20 * P, 0);
    CHECK(b != MAP_FAILED), count(-30 * P);
    char *c = mmap(NULL, 20 * P, RW, PRIVATE, -1, 0);
    CHECK(c != MAP_FAILED), count(20 * P);
    CHECK(mremap(b, 20 * P, 20 * P, MREMAP_MAYMOVE | MREMAP_FIXED, c) == c), count(-20 * P);
    CHECK(mremap(c, 20 * P, 1ul << 60, MREMAP_MAYMOVE) == MAP_FAILED);
    char *d = mremap(c, 20 * P, 20 * P, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
    if (d != MAP_FAILED)
        count(20 * P);

    CHECK(mmap(NULL, 0, RW, PRIVATE, -1, 0) == MAP_FAILED && errno == EINVAL);
    CHECK(mmap64(NULL, 5 * P - 7, RW, PRIVATE, -1, 0) != MAP_FAILED), count(5 * P);

    char *before = sbrk(0);
    CHECK(sbrk(3 * P) == before), count(3 * P);
    CHECK(brk(before + 5 * P) == 0), count(2 * P);
    CHECK(sbrk(-(long)P) != (void *)-1), count(-1 * P);

    /* What the allocator maps is not the program's: in the heap, and as a chunk of its own. */
    for (int i = 0; i < 50; i++)
        got(malloc(i % 2 ? 5000 : 1000000));
    char text[100];
    snprintf(text, sizeof text, "mapped=%lu peak=%lu", mapped, peak);
    report(text);
    return 0;
}
