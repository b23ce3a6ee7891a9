#include "recount.h"

static pthread_key_t keys[3];

/* Runs when the thread ends, before and after the library's own destructor. */
static void at_end(void *block) {
    give(block);
    void *other = got(malloc(77));
    give(other);
    got(strdup("kept by a destructor"));
}

static _Atomic(void *) mailbox[64];

static pthread_barrier_t together;
static int idle;

static void *work(void *argument) {
    pthread_barrier_wait(&together);
    if (idle)
        return NULL;
    unsigned seed = (unsigned)(uintptr_t)argument;
    for (int k = 0; k < 3; k++)
        pthread_setspecific(keys[k], got(malloc(100 + k)));
    for (int i = 0; i < 3000; i++) {
        seed = seed * 1664525 + 1013904223;
        void *mine = got(malloc(1 + (seed >> 8) % 2000));
        /* Freed by whoever comes by. */
        give(atomic_exchange(&mailbox[(seed >> 24) % 64], mine));
    }
    return NULL;
}

int main(int argc, char **argv) {
    /* All threads live at once, on stacks that glibc keeps: what it allocates for them is the same every time. */
    idle = argc > 1;
    pthread_barrier_init(&together, NULL, 100);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 << 10);
    for (int k = 0; k < 3; k++)
        pthread_key_create(&keys[k], at_end);
    for (int round = 0; round < 2; round++) {
        pthread_t threads[100];
        for (long i = 0; i < 100; i++)
            CHECK(pthread_create(&threads[i], &small, work, (void *)(i + 1000 * round)) == 0);
        for (int i = 0; i < 100; i++)
            pthread_join(threads[i], NULL);
    }
    report("");
    return 0;
}
