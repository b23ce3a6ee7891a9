/* The C face and the bare jemalloc of the same process, interleaved.
 *
 *   face ROUNDS SCALE            a line for each round: threads, workload, nanoseconds of each way
 *   face once WAY PAIRS SIZE     one workload, for counting instructions
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workload.h"

static const struct {
    const char *name;
    workload *run;
} ways[] = {{"bare", bare},         {"bare, sized free", bare_sized}, {"in place", in_place}, {"in place, sized free", in_place_sized},
            {"called", called},     {"called, sized free", called_sized}};
#define WAYS 6

static const struct {
    const char *name;
    size_t size;
    long pairs;
} loads[] = {{"16 B", 16, 6000000}, {"64 B", 64, 6000000}, {"256 B", 256, 6000000}, {"4096 B", 4096, 4000000}, {"100k set", 0, 1500000}};
#define LOADS 5

struct job {
    workload *run;
    long count;
    size_t size, blocks;
    uint64_t seed;
    double result;
    pthread_barrier_t *start;
};

static void *work(void *argument) {
    struct job *job = argument;
    pthread_barrier_wait(job->start);
    job->result = job->run(job->count, job->size, job->blocks, job->seed);
    return NULL;
}

static double measure(int way, int load, int threads, double scale) {
    struct job jobs[8];
    pthread_t ids[8];
    pthread_barrier_t start;
    double sum = 0;
    int i;
    pthread_barrier_init(&start, NULL, (unsigned)threads);
    for (i = 0; i < threads; i++) {
        struct job job = {ways[way].run,     (long)((double)loads[load].pairs * scale / threads), loads[load].size,
                          100000u / (unsigned)threads, 88172645463325252ull + (unsigned)i * 7919u,          0, &start};
        jobs[i] = job;
        pthread_create(&ids[i], NULL, work, &jobs[i]);
    }
    for (i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        sum += jobs[i].result;
    }
    pthread_barrier_destroy(&start);
    return sum / threads;
}

int main(int count, char **arguments) {
    int rounds = count > 1 ? atoi(arguments[1]) : 11, threads, load, way, round;
    double scale = count > 2 ? atof(arguments[2]) : 1;
    if (count == 5 && strcmp(arguments[1], "once") == 0) {
        for (way = 0; way < WAYS; way++)
            if (strcmp(ways[way].name, arguments[2]) == 0) ways[way].run(atol(arguments[3]), (size_t)atol(arguments[4]), 10000, 1);
        return 0;
    }
    for (threads = 1; threads <= 8; threads = threads == 1 ? 2 : threads * 4)
        for (load = 0; load < LOADS; load++)
            for (round = 0; round < rounds; round++) {
                double times[WAYS];
                /* Another order in each round. */
                for (way = 0; way < WAYS; way++) {
                    int turn = (way * 5 + round) % WAYS;
                    times[turn] = measure(turn, load, threads, scale);
                }
                printf("%d\t%s", threads, loads[load].name);
                for (way = 0; way < WAYS; way++) printf("\t%.3f", times[way]);
                printf("\n");
            }
    return 0;
}
