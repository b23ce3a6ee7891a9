// Processes with threads that do little, for `zm top` to look at: PROCESSES THREADS.
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void *work(void *unused) {
    char *block = malloc(1000);
    for (;;) {
        free(block);
        block = malloc(1000 + rand() % 500);
        memset(block, 1, 1000);
        usleep(900000 + rand() % 200000);
    }
    return unused;
}

int main(int count, char **arguments) {
    if (count < 3) return 2;
    for (int process = 0; process < atoi(arguments[1]); process++) {
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            pthread_attr_t attributes;
            pthread_attr_init(&attributes);
            pthread_attr_setstacksize(&attributes, 65536);
            pthread_t thread;
            for (int number = 1; number < atoi(arguments[2]); number++) {
                if (pthread_create(&thread, &attributes, work, 0)) _exit(3);
            }
            work(0);
        }
    }
    while (wait(0) > 0) {
    }
    return 0;
}
