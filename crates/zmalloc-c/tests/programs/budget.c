/* Budgets: every call under a limit, and those who are told and asked. With an argument it runs into the limit and aborts.
 * Valid C99 and C++. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <zmalloc.h>

#include "check.h"

static size_t told = 0;
static int calls = 0;

static void note(size_t size) {
    told = size;
    calls++;
}

static jmp_buf back;

static void leave(size_t size) {
    told = size;
    longjmp(back, 1);
}

static void limit_to(size_t bytes) {
    zmalloc_set_limit_hard(bytes);
    CHECK_EQUAL(zmalloc_limit_hard(), bytes);
}

static void settings(void) {
    struct zmalloc_scope_figures all;
    CHECK(zmalloc_limit_hard() == ZMALLOC_NO_LIMIT && zmalloc_limit_soft() == ZMALLOC_NO_LIMIT);
    zmalloc_set_limit_hard(2 << 20);
    zmalloc_set_limit_soft(1 << 20);
    CHECK(zmalloc_limit_hard() == 2 << 20 && zmalloc_limit_soft() == 1 << 20);
    all.size = sizeof(all);
    CHECK(zmalloc_scope_get_figures(NULL, &all) == 0);
    CHECK(all.limit_bytes_hard == 2 << 20 && all.limit_bytes_soft == 1 << 20);
    zmalloc_set_limit_hard(0);
    CHECK(zmalloc_limit_hard() == 0 && ztrymalloc(1) == NULL);
    zmalloc_set_limit_hard(ZMALLOC_NO_LIMIT);
    zmalloc_set_limit_soft(ZMALLOC_NO_LIMIT);
    CHECK(zmalloc_limit_hard() == ZMALLOC_NO_LIMIT && zmalloc_limit_soft() == ZMALLOC_NO_LIMIT);
    CHECK(zmalloc_level() == ZMALLOC_LEVEL_NORMAL);
}

/* Refused: nothing is counted; the handler ran, or did not. */
#define REFUSED(call, count)                     \
    do {                                         \
        calls = 0;                               \
        told = 0;                                \
        CHECK((call) == NULL);                   \
        CHECK_EQUAL(calls, count);               \
        if (count) CHECK_EQUAL(told, size);      \
        CHECK_EQUAL(zmalloc_used_memory(), used); \
    } while (0)
#define USABLE_REFUSED(call, count) \
    do {                            \
        usable = 7;                 \
        REFUSED(call, count);       \
        CHECK_EQUAL(usable, 0);     \
    } while (0)
/* Granted, once there is room. */
#define GRANTED(call)                                               \
    do {                                                            \
        void *granted = (call);                                     \
        CHECK(granted != NULL);                                     \
        CHECK_EQUAL(zmalloc_used_memory(), used + zmalloc_size(granted)); \
        zfree(granted);                                             \
        CHECK_EQUAL(zmalloc_used_memory(), used);                   \
    } while (0)

static const size_t sizes[] = {1, 100, 4000, 16000, 17000, 100000, 3 << 20};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

/* A handler that does not return. */
static void leaves(size_t size) {
    zmalloc_set_oom_handler(leave);
    if (setjmp(back) == 0) {
        zfree(zmalloc(size));
        CHECK(0);
    }
    CHECK_EQUAL(told, size);
    zmalloc_set_oom_handler(note);
}

static void allocations(void) {
    size_t i, usable, used;
    void *held = zmalloc(5000);
    zmalloc_set_oom_handler(note);
    used = zmalloc_used_memory();
    for (i = 0; i < SIZES; i++) {
        size_t size = hide(sizes[i]);
        char *text = (char *)malloc(size);
        memset(text, 'x', size);
        text[size - 1] = 0;
        limit_to(used);
        REFUSED(zmalloc(size), 1);
        REFUSED(ztrymalloc(size), 0);
        REFUSED(zcalloc(size), 1);
        REFUSED(ztrycalloc(size), 0);
        REFUSED(zcalloc_num(size, 1), 1);
        REFUSED(ztrycalloc_num(1, size), 0);
#ifndef ZMALLOC_COMPAT_REDIS_5
        USABLE_REFUSED(zmalloc_usable(size, &usable), 1);
#endif
        USABLE_REFUSED(ztrymalloc_usable(size, &usable), 0);
        USABLE_REFUSED(zcalloc_usable(size, &usable), 1);
        USABLE_REFUSED(ztrycalloc_usable(size, &usable), 0);
        REFUSED(zstrdup(text), 1);
        REFUSED(ztrystrdup(text), 0);
        USABLE_REFUSED(zstrdup_usable(text, &usable), 1);
        REFUSED(zrealloc(NULL, size), 1);
        REFUSED(ztryrealloc(NULL, size), 0);
        USABLE_REFUSED(zrealloc_usable(NULL, size, &usable), 1);
        USABLE_REFUSED(ztryrealloc_usable(NULL, size, &usable), 0);
        USABLE_REFUSED(zrealloc_usable2(NULL, size, &usable, NULL), 1);
        USABLE_REFUSED(ztryrealloc_usable2(NULL, size, &usable, NULL), 0);
        REFUSED(zmalloc_with_flags(size, 0), 1);
        REFUSED(zmalloc_with_flags(size, 0x40 | 6), 1);
        REFUSED(zrealloc_with_flags(NULL, size, 0), 1);
        REFUSED(zmalloc_no_tcache(size), 1);
#ifdef USE_JEMALLOC
        {
            void *place = NULL;
            errno = 0;
            REFUSED(je_malloc(size), 0);
            CHECK_EQUAL(errno, ENOMEM);
            errno = 0;
            REFUSED(je_calloc(1, size), 0);
            CHECK_EQUAL(errno, ENOMEM);
            CHECK_EQUAL(je_posix_memalign(&place, 64, size), ENOMEM);
            REFUSED(place, 0);
            REFUSED(je_aligned_alloc(64, size), 0);
            REFUSED(je_realloc(NULL, size), 0);
            REFUSED(je_mallocx(size, 0), 0);
            REFUSED(je_mallocx(size, MALLOCX_ALIGN(4096) | MALLOCX_TCACHE_NONE | MALLOCX_ZERO), 0);
        }
#endif
        leaves(size);
        limit_to(used + 2 * size + 8192);
        GRANTED(zmalloc(size));
        GRANTED(ztrymalloc(size));
        GRANTED(zcalloc(size));
        GRANTED(ztrycalloc_usable(size, &usable));
        GRANTED(zstrdup(text));
        GRANTED(zmalloc_with_flags(size, 6));
        GRANTED(zrealloc(NULL, size));
#ifdef USE_JEMALLOC
        GRANTED(je_malloc(size));
        GRANTED(je_mallocx(size, MALLOCX_ALIGN(64)));
#endif
        free(text);
    }
    zmalloc_set_limit_hard(ZMALLOC_NO_LIMIT);
    zmalloc_set_oom_handler(NULL);
    zfree(held);
    CHECK_EQUAL(zmalloc_used_memory(), 0);
}

/* The block stays, and what is in it. */
#define KEPT(call, count)                                                 \
    do {                                                                  \
        REFUSED(call, count);                                             \
        CHECK(zmalloc_usable_size(ptr) == was && memcmp(ptr, copy, from) == 0); \
    } while (0)

static void resizes(void) {
    size_t i, j, usable, usable_before, used;
    zmalloc_set_oom_handler(note);
    for (i = 0; i < SIZES; i++)
        for (j = i + 1; j < SIZES; j++) {
            size_t from = hide(sizes[i]), size = hide(sizes[j]), was;
            char *ptr = (char *)zmalloc(from), *copy = (char *)malloc(from);
            void *resized;
            memset(copy, (int)(i + j), from);
            memcpy(ptr, copy, from);
            was = zmalloc_usable_size(ptr);
            used = zmalloc_used_memory();
            limit_to(used);
            /* From 16000 to 17000 may be one block. */
            if (size <= was) size = was + 1;
            KEPT(zrealloc(ptr, size), 1);
            KEPT(ztryrealloc(ptr, size), 0);
            usable = usable_before = 7;
            KEPT(zrealloc_usable(ptr, size, &usable), 1);
            CHECK_EQUAL(usable, 0);
            KEPT(ztryrealloc_usable(ptr, size, NULL), 0);
            usable = 7;
            KEPT(zrealloc_usable2(ptr, size, &usable, &usable_before), 1);
            CHECK(usable == 0 && usable_before == was);
            KEPT(ztryrealloc_usable2(ptr, size, NULL, &usable_before), 0);
            CHECK_EQUAL(usable_before, was);
            KEPT(zrealloc_with_flags(ptr, size, 0), 1);
            KEPT(zrealloc_with_flags(ptr, size, 0x40), 1);
#ifdef USE_JEMALLOC
            KEPT(je_realloc(ptr, size), 0);
            KEPT(je_rallocx(ptr, size, 0), 0);
            KEPT(je_rallocx(ptr, size, MALLOCX_ZERO | MALLOCX_ALIGN(64)), 0);
            CHECK_EQUAL(je_xallocx(ptr, size, 100, 0), was);
            CHECK_EQUAL(zmalloc_used_memory(), used);
#endif
            /* Room for both, and for what an allocator that does not say so beforehand might make of the size. */
            limit_to(used + 2 * size + (65 << 10));
            calls = 0;
            resized = zrealloc(ptr, size);
            CHECK(resized != NULL && calls == 0 && memcmp(resized, copy, from) == 0);
            /* To less is never refused. */
            limit_to(1);
            resized = zrealloc(resized, from);
            CHECK(resized != NULL && calls == 0 && memcmp(resized, copy, from) == 0);
            CHECK_EQUAL(zmalloc_used_memory(), zmalloc_size(resized));
            CHECK(zrealloc(resized, 0) == NULL && calls == 0);
            CHECK_EQUAL(zmalloc_used_memory(), 0);
            zmalloc_set_limit_hard(ZMALLOC_NO_LIMIT);
            free(copy);
        }
    zmalloc_set_oom_handler(NULL);
}

/* One thread alone is refused the first block that does not fit, and none long before. */
static void filling(void) {
    static void *blocks[100000];
    size_t limit = 4 << 20, i, count, charged[SIZES];
    int round;
    for (i = 0; i < SIZES; i++) {
        void *ptr = zmalloc(sizes[i]);
        charged[i] = zmalloc_size(ptr);
        zfree(ptr);
    }
    limit_to(limit);
    for (round = 0; round < (int)SIZES; round++) {
        for (count = 0; count < 100000; count++) {
            size_t at = round == 0 ? count % (SIZES - 2) : (size_t)round;
            blocks[count] = ztrymalloc(sizes[at]);
            CHECK(zmalloc_used_memory() <= limit);
            if (!blocks[count]) {
                /* A large request is not granted what the thread was given ahead for small ones; and what the C library gives
                 * for one size differs by its chunks' granularity. */
                size_t early = (sizes[at] < 16384 ? 0 : 65536) + 64;
                CHECK(zmalloc_used_memory() + charged[at] + early > limit);
                break;
            }
        }
        CHECK(count > 0 && count < 100000);
        for (i = 0; i < count; i++) zfree(blocks[i]);
        CHECK_EQUAL(zmalloc_used_memory(), 0);
    }
    zmalloc_set_limit_hard(ZMALLOC_NO_LIMIT);
}

#define THREADS 6
#define LIMIT (8 << 20)

/* Takes what it gets and gives it back, in turns; how often it was refused. */
static void *crowd(void *argument) {
    static const size_t to_take[] = {17, 300, 5000, 15000, 40000, 200000};
    void *blocks[256];
    size_t refused = 0, seed = (size_t)(uintptr_t)argument, count = 0;
    int i;
    for (i = 0; i < 30000; i++) {
        size_t size = to_take[(seed = seed * 1103515245 + 12345) / 65536 % 6];
        if (count == 256) {
            for (; count > 0; count--) zfree_with_size(blocks[count - 1], zmalloc_usable_size(blocks[count - 1]));
        }
        blocks[count] = i % 3 ? ztrymalloc(size) : zmalloc(size);
        if (blocks[count]) {
            if (i % 5 == 0) {
                void *resized = ztryrealloc(blocks[count], size * 2);
                if (resized) blocks[count] = resized;
            }
            count++;
        } else {
            refused++;
            for (; count > 128; count--) zfree(blocks[count - 1]);
        }
        if (zmalloc_used_memory() > LIMIT) return NULL;
    }
    while (count > 0) zfree(blocks[--count]);
    return (void *)(refused + 1);
}

static void no_memory(size_t size) { (void)size; }

static void threads(void) {
    pthread_t ids[THREADS];
    size_t i, refused = 0;
    zmalloc_set_oom_handler(no_memory);
    limit_to(LIMIT);
    for (i = 0; i < THREADS; i++) CHECK(pthread_create(&ids[i], NULL, crowd, (void *)(i + 1)) == 0);
    for (i = 0; i < THREADS; i++) {
        void *answer;
        pthread_join(ids[i], &answer);
        CHECK(answer != NULL);
        refused += (size_t)answer - 1;
    }
    CHECK(refused > 0);
    zmalloc_set_limit_hard(ZMALLOC_NO_LIMIT);
    zmalloc_set_oom_handler(NULL);
    CHECK_EQUAL(zmalloc_used_memory(), 0);
}

/* A cache that gives up a block each time until it has freed what is missing. */
struct cache {
    void *blocks[64];
    int count, asked, order;
    size_t missing;
};

static int asked_in_all = 0;

static size_t shed(size_t missing, void *user) {
    struct cache *cache = (struct cache *)user;
    size_t freed = 0;
    cache->asked++;
    cache->order = asked_in_all++;
    cache->missing = missing;
    /* It gets none itself, and asks nobody. */
    CHECK(ztrymalloc(5 << 20) == NULL);
    while (cache->count > 0 && freed < missing) {
        freed += zmalloc_size(cache->blocks[--cache->count]);
        zfree(cache->blocks[cache->count]);
    }
    return freed;
}

static void fill(struct cache *cache, int count) {
    memset(cache, 0, sizeof(*cache));
    while (cache->count < count) cache->blocks[cache->count++] = zmalloc(100000);
}

static void reclaimers(void) {
    struct cache cheap, dear;
    zmalloc_reclaimer *of_dear, *of_cheap, *many[64];
    void *ptr;
    size_t used;
    int i;
    fill(&cheap, 10);
    fill(&dear, 30);
    of_dear = zmalloc_reclaimer_add(20, shed, &dear);
    of_cheap = zmalloc_reclaimer_add(10, shed, &cheap);
    CHECK(of_dear != NULL && of_cheap != NULL);
    limit_to(zmalloc_used_memory());
    /* The cheap one is asked, and is enough. */
    ptr = zmalloc(150000);
    CHECK(ptr != NULL && cheap.asked == 1 && dear.asked == 0 && cheap.count < 10);
    CHECK(cheap.missing >= 150000 && zmalloc_used_memory() <= zmalloc_limit_hard());
    zfree(ptr);
    /* Then both, in that order. */
    ptr = ztrymalloc(2000000);
    CHECK(ptr != NULL && cheap.asked == 2 && dear.asked == 1 && cheap.order < dear.order);
    CHECK(cheap.count == 0 && dear.count > 0 && zmalloc_used_memory() <= zmalloc_limit_hard());
    /* A resize asks too; and if nobody can help, it is refused. */
    memset(ptr, 1, 2000000);
    used = zmalloc_used_memory();
    CHECK(ztryrealloc(ptr, 9000000) == NULL && dear.asked == 2 && dear.count == 0);
    CHECK(zmalloc_used_memory() <= used && ((char *)ptr)[1999999] == 1);
    zfree(ptr);
    zmalloc_reclaimer_remove(of_cheap);
    CHECK(ztrymalloc(9000000) == NULL && cheap.asked == 3 && dear.asked == 3);
    zmalloc_reclaimer_remove(of_dear);
    CHECK(ztrymalloc(9000000) == NULL && dear.asked == 3);
    zmalloc_set_limit_hard(ZMALLOC_NO_LIMIT);
    for (i = 0; i < 64; i++) CHECK((many[i] = zmalloc_reclaimer_add((uint32_t)i, shed, &cheap)) != NULL);
    CHECK(zmalloc_reclaimer_add(0, shed, &cheap) == NULL);
    for (i = 0; i < 64; i++) zmalloc_reclaimer_remove(many[i]);
    CHECK(zmalloc_reclaimer_add(0, NULL, NULL) == NULL);
    zmalloc_reclaimer_remove(NULL);
    CHECK_EQUAL(zmalloc_used_memory(), 0);
}

/* What a watcher was told. */
struct news {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct zmalloc_level_change last;
    pthread_t thread;
    int count, sleeps, finished, signals;
    zmalloc_watcher *own;
};

static void hear(const struct zmalloc_level_change *change, void *user) {
    struct news *news = (struct news *)user;
    sigset_t blocked;
    zfree(zmalloc(100));
    pthread_mutex_lock(&news->lock);
    news->last = *change;
    news->thread = pthread_self();
    news->count++;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    news->signals = !sigismember(&blocked, SIGTERM);
    if (news->own) {
        zmalloc_unwatch(news->own);
        news->own = NULL;
    }
    pthread_cond_broadcast(&news->more);
    pthread_mutex_unlock(&news->lock);
    if (news->sleeps) {
        usleep(100000);
        news->finished = 1;
    }
}

/* Waits until it is told that level. */
static void expect(struct news *news, enum zmalloc_budget_level level) {
    pthread_mutex_lock(&news->lock);
    while (news->count == 0 || news->last.to != (uint32_t)level) pthread_cond_wait(&news->more, &news->lock);
    pthread_mutex_unlock(&news->lock);
}

static int heard(struct news *news) {
    int count;
    pthread_mutex_lock(&news->lock);
    count = news->count;
    pthread_mutex_unlock(&news->lock);
    return count;
}

static void prepare(struct news *news) {
    memset(news, 0, sizeof(*news));
    pthread_mutex_init(&news->lock, NULL);
    pthread_cond_init(&news->more, NULL);
}

/* Small blocks, as a program's are, until so much is used. */
static void *taken[2000];
static size_t count_taken = 0;

static void take(size_t bytes) {
    while (zmalloc_used_memory() < bytes) CHECK((taken[count_taken++] = zmalloc(10000)) != NULL);
}

static void give_back(void) {
    while (count_taken > 0) zfree(taken[--count_taken]);
}

static void watchers(void) {
    struct news first, second, third;
    zmalloc_watcher *of_first, *of_second;
    int before;
    prepare(&first);
    prepare(&second);
    prepare(&third);
    of_first = zmalloc_watch(hear, &first);
    CHECK(of_first != NULL && zmalloc_watch(NULL, &first) == NULL);
    zmalloc_set_limit_soft(8 << 20);
    zmalloc_set_limit_hard(16 << 20);
    take(9 << 20);
    expect(&first, ZMALLOC_LEVEL_LOW);
    CHECK(zmalloc_level() == ZMALLOC_LEVEL_LOW);
    CHECK_EQUAL(first.last.size, sizeof(first.last));
    CHECK(first.last.from == ZMALLOC_LEVEL_NORMAL && first.last.used_bytes > 8 << 20);
    CHECK(first.last.resident_bytes == ZMALLOC_UNKNOWN);
    CHECK(!pthread_equal(first.thread, pthread_self()) && !first.signals);
    give_back();
    expect(&first, ZMALLOC_LEVEL_NORMAL);
    CHECK(first.last.from == ZMALLOC_LEVEL_LOW);
    take(13 << 20);
    expect(&first, ZMALLOC_LEVEL_MEDIUM);
    give_back();
    expect(&first, ZMALLOC_LEVEL_NORMAL);
    take((16 << 20) - 200000);
    expect(&first, ZMALLOC_LEVEL_CRITICAL);
    give_back();
    expect(&first, ZMALLOC_LEVEL_NORMAL);

    /* Given back while it is being called: that is waited for, so that what it uses may go; and it is not called again. */
    second.sleeps = 1;
    of_second = zmalloc_watch(hear, &second);
    take(9 << 20);
    expect(&second, ZMALLOC_LEVEL_LOW);
    zmalloc_unwatch(of_second);
    CHECK_EQUAL(second.finished, 1);
    before = second.count;
    memset(&second, 0x5a, sizeof(second));
    give_back();
    expect(&first, ZMALLOC_LEVEL_NORMAL);
    prepare(&second);
    CHECK(before == 1);

    /* Given back by the call itself. */
    third.own = zmalloc_watch(hear, &third);
    take(9 << 20);
    expect(&third, ZMALLOC_LEVEL_LOW);
    give_back();
    of_second = zmalloc_watch(hear, &second);
    expect(&first, ZMALLOC_LEVEL_NORMAL);
    take(9 << 20);
    expect(&second, ZMALLOC_LEVEL_LOW);
    give_back();
    expect(&second, ZMALLOC_LEVEL_NORMAL);
    CHECK_EQUAL(heard(&third), 1);
    CHECK(zmalloc_level() == ZMALLOC_LEVEL_NORMAL);

    /* A child has the limits, and watches anew. */
    {
        int status = 1;
        pid_t child = fork();
        if (child == 0) {
            zmalloc_unwatch(of_second);
            CHECK(zmalloc_limit_hard() == 16 << 20 && ztrymalloc(17 << 20) == NULL);
            prepare(&third);
            of_second = zmalloc_watch(hear, &third);
            take(9 << 20);
            expect(&third, ZMALLOC_LEVEL_LOW);
            zmalloc_unwatch(of_second);
            _exit(0);
        }
        CHECK(child > 0 && waitpid(child, &status, 0) == child);
        CHECK_EQUAL(status, 0);
    }
    zmalloc_unwatch(of_second);
    zmalloc_unwatch(of_first);
    zmalloc_unwatch(NULL);
    zmalloc_set_limit_soft(ZMALLOC_NO_LIMIT);
    zmalloc_set_limit_hard(ZMALLOC_NO_LIMIT);
    CHECK_EQUAL(zmalloc_used_memory(), 0);
}

static void resident(void) {
    struct zmalloc_report report;
    void *ptr, *held = zmalloc(100);
    int answer;
    double zero = 0;
    zmalloc_bound_resident(ZMALLOC_NO_LIMIT, zmalloc_get_rss() + (64 << 20));
    CHECK(ztrymalloc(200 << 20) == NULL);
    ptr = ztrymalloc(16 << 20);
    CHECK(ptr != NULL);
    zfree(ptr);
    /* Below what the program is in any case: nothing is given any more. */
    zmalloc_bound_resident(1000, 2000);
    CHECK(ztrymalloc(100000) == NULL);
    zmalloc_bound_resident(ZMALLOC_NO_LIMIT, ZMALLOC_NO_LIMIT);
    ptr = ztrymalloc(200 << 20);
    CHECK(ptr != NULL);
    zfree(ptr);

    CHECK(zmalloc_bound_resident_to_cgroup(0, 0.9) == EINVAL && zmalloc_bound_resident_to_cgroup(0.8, 90) == EINVAL);
    CHECK(zmalloc_bound_resident_to_cgroup(zero / zero, 0.9) == EINVAL);
    report.size = sizeof(report);
    CHECK(zmalloc_get_report(&report) == 0);
    answer = zmalloc_bound_resident_to_cgroup(0.9, 1.0);
    CHECK_EQUAL(answer, report.cgroup_limit == ZMALLOC_UNKNOWN ? ENOENT : 0);
    zmalloc_bound_resident(ZMALLOC_NO_LIMIT, ZMALLOC_NO_LIMIT);
    zfree(held);
    CHECK_EQUAL(zmalloc_used_memory(), 0);
}

static void fallible(void) {
    zmalloc_scope *tenant = zmalloc_scope_new("tenant", NULL), *request = zmalloc_scope_new("request", tenant);
    zmalloc_scope_entry entry = zmalloc_scope_enter(request);
    int outer, inner;
    void *ptr, *kept;
    zmalloc_set_oom_handler(note);
    zmalloc_scope_set_limit_bytes_hard(tenant, 100000);
    kept = zmalloc(200000);
    CHECK(kept != NULL);
    outer = zmalloc_fallible_enter();
    calls = 0;
    CHECK(outer == 0 && ztrymalloc(10) == NULL && calls == 0);
    CHECK(zmalloc(10) == NULL && zcalloc(10) == NULL && calls == 2);
    CHECK(ztryrealloc(kept, 300000) == NULL);
    zfree(kept);
    inner = zmalloc_fallible_enter();
    CHECK(inner == 1);
    kept = zmalloc(50000);
    CHECK(kept != NULL && ztrymalloc(60000) == NULL);
    zmalloc_fallible_leave(inner);
    CHECK(ztrymalloc(60000) == NULL);
    zmalloc_fallible_leave(outer);
    ptr = zmalloc(60000);
    CHECK(ptr != NULL && zmalloc_scope_is_over_limit_hard(tenant));
    zfree(ptr);
    zfree(kept);
    zmalloc_scope_leave(entry);
    CHECK_EQUAL(zmalloc_scope_live_bytes(tenant), 0);
    zmalloc_scope_free(request);
    zmalloc_scope_free(tenant);
    zmalloc_set_oom_handler(NULL);
    CHECK_EQUAL(zmalloc_used_memory(), 0);
}

int main(int count, char **arguments) {
    (void)arguments;
    if (count > 1) {
        zmalloc_scope *tenant = zmalloc_scope_new("tenant-42", NULL);
        zmalloc_scope_entry entry = zmalloc_scope_enter(tenant);
        zmalloc_set_limit_hard(1234567);
        memset(zmalloc(hide(1000000)), 1, 1000000);
        zfree(zmalloc(hide(765432)));
        zmalloc_scope_leave(entry);
        return 0;
    }
    settings();
    allocations();
    resizes();
    filling();
    threads();
    reclaimers();
    watchers();
    resident();
    fallible();
    return done();
}
