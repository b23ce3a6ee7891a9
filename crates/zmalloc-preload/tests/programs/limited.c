/* Allocates until it is refused, by every call of the family, and counts along what lives: never above the limit. */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_size_t live, most, refused;

static void count(void *block) {
    size_t now = atomic_fetch_add(&live, malloc_usable_size(block)) + malloc_usable_size(block);
    size_t seen = atomic_load(&most);
    while (now > seen && !atomic_compare_exchange_weak(&most, &seen, now)) {}
}

static void forget(void *block) { atomic_fetch_sub(&live, malloc_usable_size(block)); }

static void *make(unsigned kind, size_t size) {
    void *block = NULL;
    errno = 0;
    switch (kind) {
    case 0: block = calloc(1, size); break;
    case 1: if (posix_memalign(&block, 64, size)) errno = ENOMEM; break;
    case 2: block = aligned_alloc(4096, (size + 4095) / 4096 * 4096); break;
    case 3: block = memalign(32, size); break;
    case 4: block = realloc(NULL, size); break;
    /* A small one, that may be charged as much as it is aligned. */
    case 5: block = memalign(262144, size); break;
    default: block = malloc(size);
    }
    if (!block) {
        if (errno != ENOMEM) abort();
        atomic_fetch_add(&refused, 1);
    }
    return block;
}

static void *work(void *seed) {
    unsigned state = (unsigned)(size_t)seed;
    void *own[400] = {0};
    int i;
    for (i = 0; i < 20000; i++) {
        unsigned at, kind;
        size_t size;
        state = state * 1664525u + 1013904223u;
        at = (state >> 8) % 400;
        kind = (state >> 16) % 12;
        size = 1 + (state >> 10) % (kind == 5 || (state >> 20) % 50 ? 700 : 300000);
        if (own[at] && kind == 11) {
            void *resized;
            forget(own[at]);
            resized = realloc(own[at], size);
            if (resized) own[at] = resized;
            else atomic_fetch_add(&refused, 1);
            count(own[at]);
        } else if (own[at]) {
            forget(own[at]);
            free(own[at]);
            own[at] = NULL;
        } else if ((own[at] = make(kind, size))) {
            memset(own[at], 1, size);
            count(own[at]);
        }
    }
    for (i = 0; i < 400; i++)
        if (own[i]) {
            forget(own[i]);
            free(own[i]);
        }
    return NULL;
}

int main(void) {
    size_t limit = strtoull(getenv("ZMALLOC_LIMIT_BYTES"), NULL, 10);
    pthread_t ids[6];
    size_t i, before, rest = 0;
    void *block;
    pid_t child;
    int status;
    for (i = 0; i < 6; i++) pthread_create(&ids[i], NULL, work, (void *)(i * 77 + 1));
    for (i = 0; i < 6; i++) pthread_join(ids[i], NULL);
    if (!refused) return 1;
    if (most > limit) {
        printf("%zu live under %zu\n", (size_t)most, limit);
        return 2;
    }
    /* A child has the same limit, and its own account. */
    child = fork();
    if (child == 0) {
        while ((block = malloc(1000))) rest += malloc_usable_size(block);
        _exit(rest > limit || rest < limit / 2);
    }
    waitpid(child, &status, 0);
    if (status) return 3;
    /* Alone, all but what the program and the C library hold is there again. */
    before = 0;
    while ((block = malloc(100))) before += malloc_usable_size(block);
    return before > limit || before < limit - limit / 4 ? 4 : 0;
}
