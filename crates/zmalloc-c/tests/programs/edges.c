/* Every call and every edge; the counter is exact after each. Valid C99 and C++. */
#include <zmalloc.h>

#include "check.h"

/* What a block counts for beside its usable size. */
static size_t header = 0;

static size_t counted(void *ptr) { return zmalloc_usable_size(ptr) + header; }

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

#define CHECK_HANDLER(count, size)    \
    do {                              \
        CHECK_EQUAL(calls, count);    \
        if (count) CHECK_EQUAL(told, size); \
        calls = 0;                    \
        told = 0;                     \
    } while (0)

static int is_zero(const void *ptr, size_t size) {
    const unsigned char *bytes = (const unsigned char *)ptr;
    size_t i;
    for (i = 0; i < size; i++)
        if (bytes[i]) return 0;
    return 1;
}

static const size_t sizes[] = {0,  1,  7,   8,   9,    15,   16,   17,    24,    40,     63,     64,      65,      100,
                               123, 128, 129, 255, 1000, 4095, 4096, 4097, 14336, 14337, 65536, 100000, 1 << 20, 5 << 20};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

/* A block of any size: counted, aligned, writable to its end. */
static void check_block(void *ptr, size_t size, size_t before) {
    size_t usable = zmalloc_usable_size(ptr);
    CHECK(ptr != NULL);
    CHECK(usable >= size);
    CHECK_EQUAL(zmalloc_size(ptr), counted(ptr));
    CHECK_EQUAL(zmalloc_used_memory(), before + counted(ptr));
    /* As malloc: by what fits. */
    CHECK_EQUAL((uintptr_t)ptr % (usable >= 16 && usable % 16 == 0 ? 16 : 8), 0);
    memset(extend_to_usable(ptr, usable), 0xa5, usable);
}

static void allocations(void) {
    size_t i, usable, before = zmalloc_used_memory();
    for (i = 0; i < SIZES; i++) {
        size_t size = sizes[i];
        void *ptr;

#define BOTH(call, free_it)               \
    ptr = (call);                         \
    check_block(ptr, size, before);       \
    free_it;                              \
    CHECK_EQUAL(zmalloc_used_memory(), before)

        BOTH(zmalloc(size), zfree(ptr));
        BOTH(ztrymalloc(size), zfree_with_size(ptr, zmalloc_usable_size(ptr)));
        BOTH(zcalloc(size), zfree(ptr));
        BOTH(ztrycalloc(size), zfree(ptr));
        BOTH(zcalloc_num(1, size), zfree(ptr));
        BOTH(ztrycalloc_num(1, size), zfree(ptr));
        BOTH(zrealloc(NULL, size), zfree(ptr));
        BOTH(ztryrealloc(NULL, size), CHECK(zrealloc(ptr, 0) == NULL));
        BOTH(zmalloc_no_tcache(size), zfree_no_tcache(ptr));
        BOTH(zmalloc_with_flags(size, 0), zfree_with_flags(ptr, 0));
        BOTH(zrealloc_with_flags(NULL, size, 0), CHECK(zrealloc_with_flags(ptr, 0, 0) == NULL));

#define USABLE(call, free_it)                      \
    usable = 1;                                    \
    ptr = (call);                                  \
    CHECK_EQUAL(usable, zmalloc_usable_size(ptr)); \
    check_block(ptr, size, before);                \
    free_it;                                       \
    CHECK_EQUAL(zmalloc_used_memory(), before)

        USABLE(zmalloc_usable(size, &usable), zfree_with_size(ptr, usable));
        USABLE(ztrymalloc_usable(size, &usable), zfree(ptr));
        USABLE(zcalloc_usable(size, &usable), zfree_with_size(ptr, usable));
        USABLE(ztrycalloc_usable(size, &usable), zfree(ptr));
        USABLE(zrealloc_usable(NULL, size, &usable), zfree(ptr));
        USABLE(ztryrealloc_usable(NULL, size, &usable), zfree(ptr));
        BOTH(zmalloc_usable(size, NULL), zfree(ptr));
        BOTH(ztryrealloc_usable(NULL, size, NULL), zfree(ptr));

        ptr = zmalloc(size);
        usable = zmalloc_usable_size(ptr);
        {
            size_t freed = 1;
            zfree_usable(ptr, &freed);
            CHECK_EQUAL(freed, usable);
            zfree_usable(zmalloc(size), NULL);
        }
        ptr = zcalloc(size);
        CHECK(is_zero(ptr, size));
        zfree(ptr);
        ptr = zmalloc_with_flags(size, 0x40 | 6);
        CHECK(is_zero(ptr, size) && (uintptr_t)ptr % 64 == 0);
        zfree_with_flags(ptr, 6);
        CHECK_EQUAL(zmalloc_used_memory(), before);
    }
    zfree(NULL);
    zfree_with_size(NULL, 0);
    zfree_with_size(NULL, 100);
    zfree_no_tcache(NULL);
    zfree_with_flags(NULL, 0);
    usable = 7;
    zfree_usable(NULL, &usable);
    CHECK_EQUAL(usable, 0);
    CHECK_EQUAL(zmalloc_size(NULL), 0);
    CHECK_EQUAL(zmalloc_usable_size(NULL), 0);
    CHECK_EQUAL(zmalloc_used_memory(), before);
}

static void resizes(void) {
    size_t i, j, usable, usable_before, before = zmalloc_used_memory();
    for (i = 0; i < SIZES; i++)
        for (j = 1; j < SIZES; j++) {
            size_t from = sizes[i], to = sizes[j], kept = from < to ? from : to;
            char *ptr = (char *)zmalloc(from), *copy = (char *)malloc(kept + 1);
            size_t was = zmalloc_usable_size(ptr);
            memset(ptr, (int)(i + j), from);
            memcpy(copy, ptr, kept);
            switch ((i + j) % 5) {
            case 0:
                ptr = (char *)zrealloc(ptr, to);
                break;
            case 1:
                ptr = (char *)ztryrealloc(ptr, to);
                break;
            case 2:
                ptr = (char *)zrealloc_usable(ptr, to, &usable);
                CHECK_EQUAL(usable, zmalloc_usable_size(ptr));
                break;
            case 3:
                ptr = (char *)zrealloc_usable2(ptr, to, &usable, &usable_before);
                CHECK_EQUAL(usable, zmalloc_usable_size(ptr));
                CHECK_EQUAL(usable_before, was);
                break;
            default:
                ptr = (char *)zrealloc_with_flags(ptr, to, 0);
            }
            CHECK(memcmp(ptr, copy, kept) == 0);
            check_block(ptr, to, before);
            zfree(ptr);
            free(copy);
            CHECK_EQUAL(zmalloc_used_memory(), before);
        }
    usable = usable_before = 7;
    CHECK(zrealloc_usable2(zmalloc(100), 0, &usable, &usable_before) == NULL);
    CHECK(usable == 0 && usable_before >= 100);
    usable_before = 7;
    zfree(zrealloc_usable2(NULL, 10, NULL, &usable_before));
    CHECK_EQUAL(usable_before, 0);
    CHECK_EQUAL(calls, 0);
    CHECK_EQUAL(zmalloc_used_memory(), before);
}

static void strings(void) {
    size_t usable, before = zmalloc_used_memory();
    char *copy = zstrdup("");
    CHECK(strcmp(copy, "") == 0);
    check_block(copy, 1, before);
    zfree(copy);
    copy = zstrdup("a string of some length");
    CHECK(strcmp(copy, "a string of some length") == 0);
    zfree(copy);
    copy = ztrystrdup("try");
    CHECK(strcmp(copy, "try") == 0);
    zfree(copy);
    copy = zstrdup_usable("usable", &usable);
    CHECK(strcmp(copy, "usable") == 0);
    CHECK_EQUAL(usable, zmalloc_usable_size(copy));
    zfree(copy);
    CHECK_EQUAL(zmalloc_used_memory(), before);
}

/* Sizes that no allocator has: refused by the layer, and by the allocator itself. */
static void refusals(void) {
    size_t too_large[4], i, usable, usable_before, before = zmalloc_used_memory();
    too_large[0] = hide(SIZE_MAX / 2);
    too_large[1] = hide(SIZE_MAX);
    too_large[2] = hide(SIZE_MAX / 2 + 4096);
    /* The layer lets it pass. */
    too_large[3] = hide(SIZE_MAX / 4);
    zmalloc_set_oom_handler(note);
    for (i = 0; i < 4; i++) {
        size_t size = too_large[i];
        int freed = i < 3;
        void *ptr;
        CHECK(zmalloc(size) == NULL);
        CHECK_HANDLER(1, size);
        CHECK(zcalloc(size) == NULL);
        CHECK_HANDLER(1, size);
        CHECK(zcalloc_num(1, size) == NULL);
        CHECK_HANDLER(1, size);
        CHECK(ztrymalloc(size) == NULL && ztrycalloc(size) == NULL && ztrycalloc_num(1, size) == NULL);
        CHECK(ztryrealloc(NULL, size) == NULL);
        CHECK_HANDLER(0, 0);
        usable = 7;
        CHECK(zmalloc_usable(size, &usable) == NULL && usable == 0);
        CHECK_HANDLER(1, size);
        usable = 7;
        CHECK(zcalloc_usable(size, &usable) == NULL && usable == 0);
        CHECK_HANDLER(1, size);
        usable = 7;
        CHECK(ztrymalloc_usable(size, &usable) == NULL && usable == 0);
        usable = 7;
        CHECK(ztrycalloc_usable(size, &usable) == NULL && usable == 0);
        CHECK_HANDLER(0, 0);
        CHECK(zrealloc(NULL, size) == NULL);
        CHECK_HANDLER(1, size);
        CHECK(zmalloc_no_tcache(size) == NULL);
        CHECK_HANDLER(1, size);
        CHECK(zmalloc_with_flags(size, 0) == NULL);
        CHECK_HANDLER(1, size);
        CHECK_EQUAL(zmalloc_used_memory(), before);

        /* A resize of half of the address space or more frees the block; any other that fails keeps it. */
        ptr = zmalloc(100);
        memset(ptr, 0x5a, 100);
        CHECK(zrealloc(ptr, size) == NULL);
        CHECK_HANDLER(1, size);
        CHECK_EQUAL(zmalloc_used_memory(), freed ? before : before + counted(ptr));
        if (!freed) {
            CHECK(((char *)ptr)[99] == 0x5a);
            zfree(ptr);
        }
        ptr = zmalloc(100);
        CHECK(ztryrealloc(ptr, size) == NULL);
        CHECK_HANDLER(0, 0);
        CHECK_EQUAL(zmalloc_used_memory(), freed ? before : before + counted(ptr));
        if (!freed) zfree(ptr);
        ptr = zmalloc(100);
        usable = usable_before = 7;
        CHECK(ztryrealloc_usable2(ptr, size, &usable, &usable_before) == NULL);
        CHECK(usable == 0 && usable_before >= 100);
        if (!freed) zfree(ptr);
        ptr = zmalloc(100);
        CHECK(zrealloc_with_flags(ptr, size, 0) == NULL);
        CHECK_HANDLER(1, size);
        if (!freed) zfree(ptr);
        CHECK_EQUAL(zmalloc_used_memory(), before);

        /* A handler that does not return. */
        ptr = zmalloc(100);
        zmalloc_set_oom_handler(leave);
        if (setjmp(back) == 0) {
            zfree(zmalloc(size));
            CHECK(0);
        }
        CHECK_EQUAL(told, size);
        if (setjmp(back) == 0) {
            zfree(zrealloc(ptr, size));
            CHECK(0);
        }
        CHECK_EQUAL(told, size);
        zmalloc_set_oom_handler(note);
        calls = 0;
        CHECK_EQUAL(zmalloc_used_memory(), freed ? before : before + counted(ptr));
        if (!freed) zfree(ptr);
        CHECK_EQUAL(zmalloc_used_memory(), before);
    }

    /* Products. */
    CHECK(zcalloc_num(hide(SIZE_MAX / 2), 3) == NULL);
    CHECK_HANDLER(1, SIZE_MAX);
    CHECK(ztrycalloc_num(hide(SIZE_MAX / 2), 3) == NULL);
    CHECK_HANDLER(0, 0);
    zfree(zcalloc_num(0, 10));
    zfree(zcalloc_num(10, hide(0)));
    zfree(zcalloc_num(0, hide(0)));
    CHECK_HANDLER(0, 0);
    CHECK(zmalloc_out_of_memory(77) == NULL);
    CHECK_HANDLER(1, 77);
    zmalloc_set_oom_handler(NULL);
    CHECK_EQUAL(zmalloc_used_memory(), before);
}

static void figures(void) {
    struct zmalloc_report report;
    char text[8192], tiny[8];
    size_t allocated = 7, active = 7, resident = 7, retained = 7, muzzy = 7, unused = 7, size;
    long long value = 0;
    void *ptr = zmalloc(hide(3 << 20));
    memset(ptr, 1, 3 << 20);

    CHECK(zmalloc_peak_memory() >= zmalloc_used_memory());
    CHECK(zmalloc_get_rss() > 3 << 20);
    CHECK(zmalloc_get_fragmentation_ratio(zmalloc_used_memory()) == 1.0f);
    CHECK(zmalloc_get_private_dirty(-1) > 3 << 20);
    CHECK(zmalloc_get_smap_bytes_by_field("Rss:", -1) > 3 << 20);
    CHECK_EQUAL(zmalloc_get_smap_bytes_by_field("NoSuchField:", -1), 0);
    CHECK_EQUAL(zmalloc_get_smap_bytes_by_field("Rss:", 0x7ffffffe), 0);
    CHECK_EQUAL(zmalloc_get_private_dirty(-2), 0);
    CHECK(zmalloc_get_memory_size() > 16 << 20);
    CHECK(zmalloc_get_memory_size() <= zmalloc_get_physical_memory_size());
    CHECK(get_proc_stat_ll(24, &value) == 1 && value > 0);
    CHECK(get_proc_stat_ll(2, &value) == 0 && get_proc_stat_ll(-1, &value) == 0 && get_proc_stat_ll(999, &value) == 0);

    CHECK_EQUAL(zmalloc_get_allocator_info(1, &allocated, &active, &resident, &retained, &muzzy, &unused), 1);
    if (strcmp(zmalloc_allocator_name(), "jemalloc") == 0) {
        CHECK(zmalloc_used_memory() <= allocated && allocated <= active && active <= resident);
        CHECK_EQUAL(unused, zmalloc_get_frag_smallbins());
        CHECK_EQUAL(zmalloc_get_allocator_info_by_arena(4096, 0, &size, NULL, NULL, NULL), 1);
        CHECK_EQUAL(size, allocated);
        CHECK_EQUAL(zmalloc_get_allocator_info_by_arena(0, 1, &size, &active, &resident, &unused), 1);
        CHECK(size > 3 << 20 && size <= active && active <= resident);
        CHECK_EQUAL(unused, zmalloc_get_frag_smallbins_by_arena(0));
        /* None of these is one of the first arenas, and jemalloc has an index beyond the last for all. */
        for (value = 100; value < 4096; value++) {
            CHECK_EQUAL(zmalloc_get_allocator_info_by_arena((unsigned)value, 0, &size, NULL, NULL, NULL), 1);
            CHECK_EQUAL(size, 0);
        }
    } else {
        CHECK(unused == 0 && zmalloc_get_frag_smallbins() == 0);
        CHECK_EQUAL(zmalloc_get_allocator_info_by_arena(0, 1, &size, NULL, NULL, NULL), 1);
        CHECK_EQUAL(size, 0);
    }
    CHECK_EQUAL(zmalloc_get_allocator_info(1, NULL, NULL, NULL, NULL, NULL, NULL), 1);
    CHECK_EQUAL(zmalloc_get_allocator_info_3(&allocated, &active, &resident), 1);
    CHECK_EQUAL(zmalloc_get_allocator_info_5(&allocated, &active, &resident, &retained, &muzzy), 1);
    CHECK_EQUAL(zmalloc_get_allocator_info_6(&allocated, &active, &resident, &retained, &muzzy, &unused), 1);

    report.size = sizeof(report);
    CHECK(zmalloc_get_report(&report) == 0);
    CHECK_EQUAL(report.size, sizeof(report));
    CHECK_EQUAL(report.version, 1);
    CHECK_EQUAL(report.used, zmalloc_used_memory());
    CHECK_EQUAL(report.allocated_total - report.freed_total, report.used);
    CHECK(report.peak >= report.used && report.rss > 3 << 20 && report.rss_peak > 3 << 20);
    CHECK_EQUAL(report.spare[0], ZMALLOC_UNKNOWN);
    report.size = offsetof(struct zmalloc_report, spare);
    report.spare[0] = 5;
    CHECK(zmalloc_get_report(&report) == 0);
    CHECK_EQUAL(report.spare[0], 5);
    report.size = 8;
    CHECK(zmalloc_get_report(&report) == -1);
    CHECK(zmalloc_get_report(NULL) == -1);

    size = zmalloc_report_text(text, sizeof(text));
    CHECK(size == strlen(text) && strstr(text, "used") && strstr(text, zmalloc_allocator_name()));
    CHECK_EQUAL(zmalloc_report_text(NULL, 0) > 0, 1);
    CHECK(zmalloc_report_text(tiny, sizeof(tiny)) > sizeof(tiny));
    CHECK(strlen(tiny) == sizeof(tiny) - 1 && strncmp(tiny, text, sizeof(tiny) - 1) == 0);
    size = zmalloc_report_info(text, sizeof(text));
    CHECK(size == strlen(text) && strstr(text, "used_memory:"));
    size = zmalloc_allocator_version(text, sizeof(text));
    CHECK_EQUAL(size, strlen(text));
    CHECK(strcmp(zmalloc_version(), ZMALLOC_VERSION) == 0);
    sprintf(text, "%d.%d.%d", ZMALLOC_VERSION_MAJOR, ZMALLOC_VERSION_MINOR, ZMALLOC_VERSION_PATCH);
    CHECK(strcmp(text, ZMALLOC_VERSION) == 0);
    CHECK(strlen(ZMALLOC_LIB) > 0);

    set_jemalloc_bg_thread(1);
    set_jemalloc_bg_thread(0);
    zmadvise_dontneed(NULL);
    zmadvise_dontneed(ptr);
    if (strcmp(zmalloc_allocator_name(), "jemalloc") == 0) CHECK_EQUAL(((char *)ptr)[1 << 20], 0);
    zfree(ptr);
    CHECK_EQUAL(jemalloc_purge(), 0);
    CHECK_EQUAL(zmalloc_purge(), 0);
    zlibc_free(malloc(100));
    zlibc_free(NULL);
    zlibc_trim();
    zmalloc_enable_thread_safeness();
    ptr = zmalloc(10);
    CHECK_EQUAL(zmalloc_get_defrag_hint(NULL), 0);
    CHECK(zmalloc_relocate(NULL) == NULL);
    CHECK(zmalloc_get_defrag_hint(ptr) >= 0);
    zfree(ptr);
}

int main(void) {
    void *ptr;
    CHECK_EQUAL(zmalloc_used_memory(), 0);
    ptr = zmalloc(100);
    header = zmalloc_size(ptr) - zmalloc_usable_size(ptr);
    zfree(ptr);
    CHECK_EQUAL(zmalloc_used_memory(), 0);
    allocations();
    resizes();
    strings();
    refusals();
    figures();
    CHECK_EQUAL(zmalloc_used_memory(), 0);
    return done();
}
