/* The part of the program that uses the layer. */
#include <zmalloc.h>

size_t use_layer(void);

size_t use_layer(void) {
    void *ptr = zcalloc(100);
    size_t used = zmalloc_used_memory();
    zfree(ptr);
    return zmalloc_used_memory() == 0 ? used : 0;
}
