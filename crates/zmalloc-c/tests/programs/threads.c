/* Threads that come and go, blocks that others free, destructors that run late, forks: exact at rest after each. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmalloc.h>

#include "check.h"

/* The address sanitizer's malloc, mimalloc and snmalloc may hold a lock of their own when another thread forks: for good
 * in the child. Over them only forks while no thread is inside. */
#if defined(__SANITIZE_ADDRESS__) || defined(FORKS_ONLY_AT_REST)
#define FORKS_IN_MID_AIR 0
#else
#define FORKS_IN_MID_AIR 1
#endif

#define SHELF 512
static void *shelf[SHELF];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_key_t key;

static unsigned next(unsigned *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* A destructor of a thread's own, which allocates and frees, and comes again. */
static void late(void *value) {
    size_t rounds = (size_t)value;
    zfree(zmalloc(rounds * 100));
    if (rounds > 1) pthread_setspecific(key, (void *)(rounds - 1));
}

static void *work(void *seed) {
    unsigned state = (unsigned)(size_t)seed;
    int i;
    pthread_setspecific(key, (void *)(size_t)(1 + state % 3));
    for (i = 0; i < 4000; i++) {
        unsigned slot = next(&state) % SHELF, size = next(&state) % (i % 100 == 0 ? 200000 : 600);
        void *block, *taken;
        size_t usable;
        switch (next(&state) % 4) {
        case 0:
            block = zmalloc(size);
            break;
        case 1:
            block = zcalloc(size);
            break;
        case 2:
            block = zrealloc(zmalloc(size / 2), size + 1);
            break;
        default:
            block = zmalloc_usable(size, &usable);
        }
        pthread_mutex_lock(&lock);
        taken = shelf[slot];
        shelf[slot] = block;
        pthread_mutex_unlock(&lock);
        if (taken && i % 2)
            zfree(taken);
        else if (taken)
            zfree_with_size(taken, zmalloc_usable_size(taken));
    }
    return NULL;
}

static size_t recount(void) {
    size_t sum = 0;
    int i;
    for (i = 0; i < SHELF; i++) sum += zmalloc_size(shelf[i]);
    return sum;
}

static void *only_free(void *block) {
    zfree(block);
    return NULL;
}

static void round_of_threads(int threads, size_t round) {
    pthread_t ids[16];
    int i;
    for (i = 0; i < threads; i++) CHECK(pthread_create(&ids[i], NULL, work, (void *)(round * 16 + (size_t)i + 1)) == 0);
    for (i = 0; i < threads; i++) pthread_join(ids[i], NULL);
    CHECK_EQUAL(zmalloc_used_memory(), recount());
}

static void *forker(void *unused) {
    int i;
    (void)unused;
    for (i = 0; i < 10; i++) {
        pid_t child = fork();
        int status;
        CHECK(child >= 0);
        if (child == 0) {
            /* Alone now, with what the other threads were at. */
            void *block;
            size_t before = zmalloc_used_memory();
            pthread_t id;
            alarm(60);
            block = zmalloc(1000);
            CHECK_EQUAL(zmalloc_used_memory(), before + zmalloc_size(block));
            CHECK(pthread_create(&id, NULL, only_free, block) == 0);
            pthread_join(id, NULL);
            CHECK_EQUAL(zmalloc_used_memory(), before);
            _exit(0);
        }
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    return NULL;
}

/* Has a block, and its place in the allocator, while others fork. */
static void *park(void *barrier) {
    void *block = zmalloc(3000);
    pthread_barrier_wait((pthread_barrier_t *)barrier);
    pthread_barrier_wait((pthread_barrier_t *)barrier);
    zfree(block);
    return NULL;
}

#define PARKED 4

static void forks_at_rest(void) {
    pthread_barrier_t barrier;
    pthread_t ids[PARKED], forks;
    int i;
    CHECK(pthread_barrier_init(&barrier, NULL, PARKED + 1) == 0);
    for (i = 0; i < PARKED; i++) CHECK(pthread_create(&ids[i], NULL, park, &barrier) == 0);
    pthread_barrier_wait(&barrier);
    forker(NULL);
    CHECK(pthread_create(&forks, NULL, forker, NULL) == 0);
    pthread_join(forks, NULL);
    pthread_barrier_wait(&barrier);
    for (i = 0; i < PARKED; i++) pthread_join(ids[i], NULL);
    pthread_barrier_destroy(&barrier);
}

int main(void) {
    size_t round;
    pthread_t forks;
    int i;
    CHECK(pthread_key_create(&key, late) == 0);
    for (round = 0; round < 6; round++) {
        int forking = FORKS_IN_MID_AIR && round % 2;
        if (forking) CHECK(pthread_create(&forks, NULL, forker, NULL) == 0);
        round_of_threads(1 + (int)round * 3, round);
        if (forking) pthread_join(forks, NULL);
        if (round % 3 == 2) forks_at_rest();
        CHECK_EQUAL(zmalloc_used_memory(), recount());
    }
    /* A thread that only ever frees. */
    pthread_create(&forks, NULL, only_free, shelf[0]);
    pthread_join(forks, NULL);
    shelf[0] = NULL;
    CHECK_EQUAL(zmalloc_used_memory(), recount());
    for (i = 0; i < SHELF; i++) zfree(shelf[i]);
    CHECK_EQUAL(zmalloc_used_memory(), 0);
    return done();
}
