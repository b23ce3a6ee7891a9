/* The library itself, loaded late. */
#include "recount.h"
#include <dlfcn.h>
static void *work(void *library) {
    void *(*make)(size_t) = (void *(*)(size_t))dlsym(library, "malloc");
    void (*give_back)(void *) = (void (*)(void *))dlsym(library, "free");
    for (int i = 0; i < 1000; i++)
        give_back(make(i));
    return NULL;
}
int main(int argc, char **argv) {
    void *library = dlopen(argv[1], RTLD_NOW);
    if (!library)
        dprintf(2, "%s\n", dlerror());
    CHECK(library);
    pthread_t thread;
    pthread_create(&thread, NULL, work, library);
    pthread_join(thread, NULL);
    work(library);
    CHECK(dlclose(library) == 0);
    return 0;
}
