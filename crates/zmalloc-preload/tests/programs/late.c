/* The library itself, loaded late, and unloaded while a thread that it counts goes on. */
#include "recount.h"
#include <dlfcn.h>
static pthread_barrier_t unloading;
static void *work(void *library) {
    void *(*make)(size_t) = (void *(*)(size_t))dlsym(library, "malloc");
    void (*give_back)(void *) = (void (*)(void *))dlsym(library, "free");
    for (int i = 0; i < 1000; i++)
        give_back(make(i));
    return NULL;
}
static void *outlive(void *library) {
    work(library);
    pthread_barrier_wait(&unloading);
    pthread_barrier_wait(&unloading);
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
    pthread_barrier_init(&unloading, NULL, 2);
    pthread_create(&thread, NULL, outlive, library);
    pthread_barrier_wait(&unloading);
    CHECK(dlclose(library) == 0);
    pthread_barrier_wait(&unloading);
    pthread_join(thread, NULL);
    CHECK(fork() == 0 || wait(NULL) > 0);
    return 0;
}
