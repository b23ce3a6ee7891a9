/* Every call of the family through a recount of its own, by malloc_usable_size. */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static _Atomic unsigned long allocated, freed, blocks_allocated, blocks_freed;

static void failed(const char *file, int line, const char *what) {
    dprintf(2, "%s:%d: %s\n", file, line, what);
    abort();
}

#define CHECK(condition) ((condition) ? (void)0 : failed(__FILE__, __LINE__, #condition))

static void *got(void *block) {
    CHECK(block);
    allocated += malloc_usable_size(block);
    blocks_allocated++;
    return block;
}

static void gone(void *block) {
    if (block) {
        freed += malloc_usable_size(block);
        blocks_freed++;
    }
}

static void give(void *block) {
    gone(block);
    free(block);
}

/* One write, of no memory: dprintf allocates a buffer. */
static void say(const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    CHECK(write(1, text, length) == length);
}

static void report(const char *before) {
    say("%s pid=%d allocated=%lu freed=%lu blocks_allocated=%lu blocks_freed=%lu\n", before, getpid(), allocated, freed,
        blocks_allocated, blocks_freed);
}
