/* Scopes: what counts where, to the byte; handles, limits, texts, threads. Valid C99 and C++. */
#include <pthread.h>
#include <zmalloc.h>

#include "check.h"

static struct zmalloc_scope_figures figures(const zmalloc_scope *scope) {
    struct zmalloc_scope_figures told;
    told.size = sizeof(told);
    CHECK(zmalloc_scope_get_figures(scope, &told) == 0);
    CHECK(told.size == sizeof(told) && told.version == 1);
    return told;
}

/* A top scope's figures and all that is beside it are the program's. */
static void check_sums(const zmalloc_scope *only) {
    struct zmalloc_scope_figures all = figures(NULL), one = figures(only);
    CHECK_EQUAL(all.own.allocated_bytes + all.ended.allocated_bytes + one.total.allocated_bytes,
                all.total.allocated_bytes);
    CHECK_EQUAL(all.own.freed_bytes + all.ended.freed_bytes + one.total.freed_bytes, all.total.freed_bytes);
    CHECK_EQUAL(all.total.live_bytes, zmalloc_used_memory());
    CHECK_EQUAL(zmalloc_scope_live_bytes(NULL), zmalloc_used_memory());
    CHECK_EQUAL(all.children, 1);
}

static void flows(void) {
    zmalloc_scope *outer = zmalloc_scope_new("outer", NULL), *inner = zmalloc_scope_new("inner", outer);
    struct zmalloc_scope_figures told;
    void *first, *second, *outside = zmalloc(50);
    long long one, two;
    zmalloc_scope_entry entry = zmalloc_scope_enter(outer), within;
    first = zmalloc(1000);
    within = zmalloc_scope_enter(inner);
    second = zmalloc(20000);
    zmalloc_scope_leave(within);
    zmalloc_scope_leave(entry);
    one = (long long)zmalloc_size(first);
    two = (long long)zmalloc_size(second);
    CHECK_EQUAL(zmalloc_scope_live_bytes(outer), one + two);
    CHECK_EQUAL(zmalloc_scope_live_bytes(inner), two);
    told = figures(outer);
    CHECK_EQUAL(told.own.allocated_bytes, one);
    CHECK_EQUAL(told.total.allocated_bytes, one + two);
    CHECK_EQUAL(told.total.peak_live_bytes, one + two);
    CHECK(told.own.freed_bytes == 0 && told.ended.allocated_bytes == 0 && told.entered == 1 && told.children == 1);
    CHECK(told.ended.peak_live_bytes == ZMALLOC_UNKNOWN && told.spare[0] == ZMALLOC_UNKNOWN);
    check_sums(outer);

    /* Freed where it was not allocated: one shows less than nothing, the other what has gone. */
    entry = zmalloc_scope_enter(inner);
    zfree(first);
    zmalloc_scope_leave(entry);
    told = figures(inner);
    CHECK_EQUAL(told.own.freed_bytes, one);
    CHECK_EQUAL(told.own.live_bytes, two - one);
    CHECK_EQUAL(told.entered, 2);
    zfree(second);
    CHECK_EQUAL(zmalloc_scope_live_bytes(inner), two - one);
    check_sums(outer);

    /* A scope that ends passes its sums on. */
    zmalloc_scope_free(inner);
    told = figures(outer);
    CHECK(told.children == 0 && told.ended.live_bytes == two - one);
    CHECK_EQUAL(told.total.live_bytes, two);
    check_sums(outer);
    zmalloc_scope_free(outer);
    CHECK_EQUAL(figures(NULL).ended.live_bytes, two);
    zfree(outside);
}

static void entries(void) {
    zmalloc_scope *a = zmalloc_scope_new("a", NULL), *b = zmalloc_scope_new("b", NULL), *current;
    zmalloc_scope_entry first, second, third, none = zmalloc_scope_enter(NULL);
    void *block;
    CHECK(zmalloc_scope_current() == NULL);
    first = zmalloc_scope_enter(a);
    second = zmalloc_scope_enter(b);
    third = zmalloc_scope_enter(a);
    current = zmalloc_scope_current();
    CHECK(current == a);
    zmalloc_scope_free(current);
    /* The innermost stays, whatever is left around it. */
    zmalloc_scope_leave(second);
    zmalloc_scope_leave(first);
    block = zmalloc(100);
    zmalloc_scopes_settle();
    CHECK_EQUAL(zmalloc_scope_live_bytes(a), zmalloc_size(block));
    zmalloc_scope_leave(third);
    CHECK(zmalloc_scope_current() == NULL);
    zmalloc_scope_leave(none);
    memset(&none, 0, sizeof(none));
    zmalloc_scope_leave(none);
    CHECK(figures(a).entered == 2 && figures(b).entered == 1);
    zfree(block);
    zmalloc_scope_free(b);
    zmalloc_scope_free(a);
}

static void handles(void) {
    zmalloc_scope *scope = zmalloc_scope_new("scope", NULL), *twin = zmalloc_scope_new("scope", NULL);
    zmalloc_scope *clone = zmalloc_scope_clone(scope), *child;
    zmalloc_scope_entry entry;
    char text[64];
    CHECK(clone == scope && twin != scope);
    zmalloc_scope_free(scope);
    CHECK(zmalloc_scope_name(clone, text, sizeof(text)) == 5 && strcmp(text, "scope") == 0);
    child = zmalloc_scope_new("a \"child\"", clone);
    zmalloc_scope_free(clone);
    /* A child keeps the scope. */
    CHECK(zmalloc_scope_path(child, text, sizeof(text)) == 15 && strcmp(text, "scope/a \"child\"") == 0);
    CHECK(zmalloc_scope_path(child, text, 4) == 15 && strcmp(text, "sco") == 0);
    CHECK_EQUAL(zmalloc_scope_path(child, NULL, 0), 15);
    zmalloc_scope_free(child);
    /* What is no UTF-8 is replaced. */
    child = zmalloc_scope_new("\xff", twin);
    CHECK(zmalloc_scope_name(child, text, sizeof(text)) == 3 && strcmp(text, "\xef\xbf\xbd") == 0);
    /* Freed before it is left: nothing is reached that is gone. */
    entry = zmalloc_scope_enter(child);
    zmalloc_scope_free(child);
    CHECK(zmalloc_scope_current() == NULL);
    zmalloc_scope_leave(entry);
    zmalloc_scope_free(twin);
    CHECK(zmalloc_scope_new(NULL, NULL) == NULL && zmalloc_scope_clone(NULL) == NULL);
    CHECK(zmalloc_scope_name(NULL, text, sizeof(text)) == 0 && text[0] == 0);
    CHECK(zmalloc_scope_path(NULL, text, sizeof(text)) == 0 && text[0] == 0);
    zmalloc_scope_free(NULL);
}

static void limits(void) {
    zmalloc_scope *parent = zmalloc_scope_new("parent", NULL), *child = zmalloc_scope_new("child", parent);
    struct zmalloc_scope_figures told;
    void *block;
    zmalloc_scope_entry entry;
    CHECK(zmalloc_scope_limit_bytes_soft(parent) == ZMALLOC_NO_LIMIT);
    CHECK(zmalloc_scope_limit_bytes_hard(parent) == ZMALLOC_NO_LIMIT);
    CHECK(figures(parent).limit_bytes_soft == ZMALLOC_NO_LIMIT && figures(parent).limit_bytes_hard == ZMALLOC_NO_LIMIT);
    zmalloc_scope_set_limit_bytes_soft(parent, 1000);
    zmalloc_scope_set_limit_bytes_hard(parent, 100000);
    CHECK(zmalloc_scope_limit_bytes_soft(parent) == 1000 && zmalloc_scope_limit_bytes_hard(parent) == 100000);
    told = figures(parent);
    CHECK(told.limit_bytes_soft == 1000 && told.limit_bytes_hard == 100000);
    CHECK(!zmalloc_scope_is_over_limit_soft(parent) && !zmalloc_scope_is_over_limit_hard(parent));
    entry = zmalloc_scope_enter(child);
    block = zmalloc(2000);
    CHECK(zmalloc_scope_is_over_limit_soft(parent) && !zmalloc_scope_is_over_limit_hard(parent));
    block = zrealloc(block, 200000);
    CHECK(zmalloc_scope_is_over_limit_hard(parent) && !zmalloc_scope_is_over_limit_hard(child));
    zfree(block);
    CHECK(!zmalloc_scope_is_over_limit_soft(parent) && !zmalloc_scope_is_over_limit_hard(parent));
    zmalloc_scope_leave(entry);
    zmalloc_scope_set_limit_bytes_soft(parent, ZMALLOC_NO_LIMIT);
    CHECK(zmalloc_scope_limit_bytes_soft(parent) == ZMALLOC_NO_LIMIT);
    zmalloc_scope_set_limit_bytes_soft(NULL, 5);
    zmalloc_scope_set_limit_bytes_hard(NULL, 5);
    CHECK(zmalloc_scope_limit_bytes_soft(NULL) == ZMALLOC_NO_LIMIT && zmalloc_scope_limit_bytes_hard(NULL) == ZMALLOC_NO_LIMIT);
    CHECK(!zmalloc_scope_is_over_limit_soft(NULL) && !zmalloc_scope_is_over_limit_hard(NULL));
    zmalloc_scope_free(parent);
    zmalloc_scope_free(child);
}

/* A structure of an older program, and of a newer one. */
static void structures(void) {
    zmalloc_scope *scope = zmalloc_scope_new("scope", NULL);
    struct {
        struct zmalloc_scope_figures known;
        uint64_t later;
    } newer;
    struct zmalloc_scope_figures told;
    told.size = offsetof(struct zmalloc_scope_figures, spare);
    told.spare[0] = 5;
    CHECK(zmalloc_scope_get_figures(scope, &told) == 0);
    CHECK(told.size == offsetof(struct zmalloc_scope_figures, spare) && told.spare[0] == 5);
    newer.known.size = sizeof(newer);
    newer.later = 7;
    CHECK(zmalloc_scope_get_figures(scope, &newer.known) == 0);
    CHECK(newer.known.size == sizeof(newer.known) && newer.later == 7);
    told.size = 8;
    CHECK(zmalloc_scope_get_figures(scope, &told) == -1);
    CHECK(zmalloc_scope_get_figures(scope, NULL) == -1);
    zmalloc_scope_free(scope);
}

static void texts(void) {
    zmalloc_scope *scope = zmalloc_scope_new("te\nxt\"", NULL);
    char text[8192], line[128], tiny[8];
    size_t size;
    zmalloc_scope_entry entry = zmalloc_scope_enter(scope);
    void *block = zmalloc(3000);
    size = zmalloc_scopes_open_metrics(text, sizeof(text));
    CHECK(size == strlen(text) && size > 6 && strcmp(text + size - 6, "# EOF\n") == 0);
    sprintf(line, "zmalloc_scope_live_bytes{scope=\"te\\nxt\\\"\"} %lu\n", (unsigned long)zmalloc_size(block));
    CHECK(strstr(text, line) != NULL);
    CHECK(zmalloc_scopes_open_metrics(tiny, sizeof(tiny)) > sizeof(tiny) && strncmp(tiny, text, 7) == 0 && tiny[7] == 0);
    size = zmalloc_scopes_text(text, sizeof(text));
    CHECK(size == strlen(text) && strncmp(text, "scope", 5) == 0 && strstr(text, "(outside)") != NULL);
    CHECK_EQUAL(zmalloc_scopes_text(NULL, 0) > 0, 1);
    zfree(block);
    zmalloc_scope_leave(entry);
    zmalloc_scope_free(scope);
}

#define THREADS 8
#define ROUNDS 2000

struct part {
    zmalloc_scope *scope;
    size_t kept;
};

/* Each thread has a handle of its own of the one scope, and a child in it. */
static void *work(void *argument) {
    struct part *part = (struct part *)argument;
    zmalloc_scope *child = zmalloc_scope_new("thread", part->scope);
    int i;
    for (i = 0; i < ROUNDS; i++) {
        zmalloc_scope_entry outer = zmalloc_scope_enter(part->scope), inner = zmalloc_scope_enter(i % 3 ? child : part->scope);
        void *block = zmalloc((size_t)(i % 700));
        if (i % 2) {
            zmalloc_scope_leave(inner);
            zmalloc_scope_leave(outer);
        } else {
            zmalloc_scope_leave(outer);
            zmalloc_scope_leave(inner);
        }
        if (i % 100 == 0)
            part->kept += zmalloc_size(block);
        else {
            zmalloc_scope_entry again = zmalloc_scope_enter(part->scope);
            zfree(block);
            zmalloc_scope_leave(again);
        }
    }
    CHECK(zmalloc_scope_live_bytes(part->scope) != 0);
    zmalloc_scope_free(child);
    zmalloc_scope_free(part->scope);
    return NULL;
}

static void threads(void) {
    zmalloc_scope *scope = zmalloc_scope_new("all", NULL);
    struct part parts[THREADS];
    pthread_t ids[THREADS];
    struct zmalloc_scope_figures told;
    size_t kept = 0;
    int i;
    for (i = 0; i < THREADS; i++) {
        parts[i].scope = zmalloc_scope_clone(scope);
        parts[i].kept = 0;
        CHECK(pthread_create(&ids[i], NULL, work, &parts[i]) == 0);
    }
    for (i = 0; i < THREADS; i++) {
        pthread_join(ids[i], NULL);
        kept += parts[i].kept;
    }
    told = figures(scope);
    CHECK_EQUAL(told.total.live_bytes, kept);
    CHECK_EQUAL(told.children, 0);
    CHECK_EQUAL(zmalloc_scope_live_bytes(scope), zmalloc_used_memory());
    check_sums(scope);
    zmalloc_scope_free(scope);
}

int main(void) {
    /* Scopes take nothing of what they count. */
    zmalloc_scope *scope = zmalloc_scope_new("first", NULL);
    CHECK_EQUAL(zmalloc_used_memory(), 0);
    zmalloc_scope_free(scope);
    flows();
    entries();
    handles();
    limits();
    structures();
    texts();
    CHECK_EQUAL(zmalloc_used_memory(), 0);
    threads();
    return done();
}
