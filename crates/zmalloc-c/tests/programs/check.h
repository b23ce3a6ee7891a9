/* What the test programs share. Valid C99 and C++. */
#ifndef CHECK_H
#define CHECK_H

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int checks = 0;

#define CHECK(condition)                                                         \
    do {                                                                         \
        checks++;                                                                \
        if (!(condition)) {                                                      \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                             \
        }                                                                        \
    } while (0)

#define CHECK_EQUAL(left, right)                                                                                   \
    do {                                                                                                           \
        unsigned long long left_ = (unsigned long long)(left), right_ = (unsigned long long)(right);               \
        checks++;                                                                                                  \
        if (left_ != right_) {                                                                                     \
            fprintf(stderr, "%s:%d: %s is %llu, %s is %llu\n", __FILE__, __LINE__, #left, left_, #right, right_); \
            exit(1);                                                                                               \
        }                                                                                                          \
    } while (0)

/* A program that hangs ends, and says so by its status. */
#if defined(__GNUC__)
__attribute__((constructor)) static void limit_time(void) { alarm(120); }
#endif

/* The harness wants to see that checks ran. */
static int done(void) {
    printf("checks=%d\n", checks);
    return 0;
}

/* Hides from the compiler what it could know of a size or a pointer. */
#if defined(__GNUC__)
__attribute__((unused))
#endif
static size_t hide(size_t value) {
    volatile size_t hidden = value;
    return hidden;
}

#endif
