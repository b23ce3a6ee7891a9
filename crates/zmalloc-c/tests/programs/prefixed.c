/* A library with a prefix beside code that has names of its own, as a static zlib does. */
#include "check.h"

void *zcalloc(void *opaque, unsigned items, unsigned size) {
    (void)opaque;
    return malloc((size_t)items * size);
}

void zfree(void *opaque, void *ptr) {
    (void)opaque;
    free(ptr);
}

size_t use_layer(void);

int main(void) {
    zfree(NULL, zcalloc(NULL, 10, 10));
    CHECK(use_layer() >= 100);
    return done();
}
