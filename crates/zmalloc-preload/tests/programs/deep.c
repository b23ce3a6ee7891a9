/* A library that is bound to the C library's functions, past the preloaded ones. */
#include <stdlib.h>
#include <string.h>
void *deep_make(void) { return strcpy(malloc(1000), "made past the preload"); }
void deep_free(void *block) { free(block); }
