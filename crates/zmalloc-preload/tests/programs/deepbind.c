#include "recount.h"
#include <dlfcn.h>
int main(int argc, char **argv) {
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_DEEPBIND);
    CHECK(library);
    void *(*make)(void) = (void *(*)(void))dlsym(library, "deep_make");
    void (*deep_free)(void *) = (void (*)(void *))dlsym(library, "deep_free");
    for (int i = 0; i < 100; i++) {
        free(make());
        deep_free(malloc(500));
    }
    return 0;
}
