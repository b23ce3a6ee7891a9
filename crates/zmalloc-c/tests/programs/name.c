/* Tells the allocator, and its version. */
#include <stdio.h>
#include <zmalloc.h>

int main(void) {
    char version[32];
    zmalloc_allocator_version(version, sizeof(version));
    printf("%s %s\n", zmalloc_allocator_name(), version);
    return 0;
}
