/* The library loaded and closed again, by a thread that ends later: its destructor has to be there still. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>

#include "check.h"

static const char *path;

static void *work(void *unused) {
    void *library = dlopen(path, RTLD_NOW);
    void *(*allocate)(size_t);
    void (*release)(void *);
    (void)unused;
    if (!library) fprintf(stderr, "%s\n", dlerror());
    CHECK(library != NULL);
    *(void **)&allocate = dlsym(library, "zmalloc");
    *(void **)&release = dlsym(library, "zfree");
    release(allocate(hide(100)));
    dlclose(library);
    return NULL;
}

int main(int count, char **arguments) {
    pthread_t thread;
    CHECK(count == 2);
    path = arguments[1];
    CHECK(pthread_create(&thread, NULL, work, NULL) == 0);
    pthread_join(thread, NULL);
    return done();
}
