#include "recount.h"
#include <sys/time.h>

/* A handler that allocates, under a timer, while the main thread maps, frees and forks: no lock may wait for itself.
   glibc's own malloc has locks, so the handler only runs where the main thread is not inside it. */
static _Atomic int inside, storms;

static void handler(int signal) {
    storms++;
    if (!inside) {
        free(malloc(100));
        void *m = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        munmap(m, 4096);
    } else {
        void *m = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        munmap(m, 4096);
    }
}

static void *other(void *stop) {
    while (!*(_Atomic int *)stop) {
        free(malloc(rand() % 100000));
        void *m = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        munmap(m, 4096);
    }
    return NULL;
}

int main(void) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    _Atomic int stop = 0;
    pthread_t thread;
    sigset_t alarm;
    sigemptyset(&alarm), sigaddset(&alarm, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm, NULL);
    pthread_create(&thread, NULL, other, &stop);
    pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
    struct itimerval timer = {{0, 50}, {0, 50}};
    setitimer(ITIMER_REAL, &timer, NULL);
    time_t end = time(NULL) + 2;
    for (int i = 0; time(NULL) < end; i++) {
        inside = 1;
        void *block = malloc(i % 50000);
        inside = 0;
        void *m = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        munmap(m, 8192);
        inside = 1;
        free(block);
        if (i % 500 == 0) {
            pid_t child = fork();
            if (!child) {
#ifndef CHILD_MUST_NOT_ALLOCATE
                free(malloc(1000000));
#endif
                _exit(0);
            }
            while (waitpid(child, NULL, 0) != child)
                ;
        }
        inside = 0;
    }
    timer = (struct itimerval){0};
    setitimer(ITIMER_REAL, &timer, NULL);
    stop = 1;
    pthread_join(thread, NULL);
    dprintf(1, "storms=%d\n", storms);
    return 0;
}
