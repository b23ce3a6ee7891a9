/* zmalloc.h - Redis's memory layer, counted exactly, for C99 and C++.
 *
 * Takes the place of the zmalloc.h and zmalloc.c of Redis 5 to 8 and Valkey 8 and 9: copy this file over theirs, drop
 * their zmalloc.c, and link libzmalloc. Which allocator lies beneath is chosen when the library is built.
 *
 * Macros that a program may define before it includes this file, or on the compiler's command line:
 *
 *   ZMALLOC_COMPAT_REDIS_5      names and signatures of Redis 5 and 6.0
 *   ZMALLOC_COMPAT_REDIS_7      of Redis 6.2, 7.0 and 7.2
 *   ZMALLOC_COMPAT_REDIS_8      of Redis 7.4 and 8 (the default)
 *   ZMALLOC_COMPAT_VALKEY_8     of Valkey 8.0
 *   ZMALLOC_COMPAT_VALKEY       of Valkey 8.1 and 9
 *   USE_JEMALLOC                the jemalloc shape: the program also calls je_mallctl and others itself. Needs a
 *                               library built over jemalloc; zmalloc_jemalloc.h declares them. Valkey 8.1 and 9
 *                               insist on one that is built with LG_QUANTUM=3.
 *   ZMALLOC_INLINE              zmalloc, zfree and a few more call jemalloc from where they stand, at the cost of jemalloc
 *                               alone. Needs the static library of this version, built over jemalloc; on another
 *                               system than Linux on x86-64 it changes nothing.
 *   ZMALLOC_SYMBOL_PREFIX       the prefix that the library was built with, like my_; the names in the source stay
 *                               as they are. For programs that link a static zlib, which has a zcalloc of its own.
 *                               `make install SYMBOL_PREFIX=my_` writes it into the header. Include
 *                               this file before zlib.h, which has a member zfree.
 *
 * In all calls:
 *
 *   - Sizes are in bytes. A block is aligned as malloc aligns it, also behind a size header; over a jemalloc built with
 *     LG_QUANTUM=3 to 8 only if its size is no multiple of 16.
 *   - The usable size of a block is what the allocator really set aside, and all of it may be written. It is what
 *     zmalloc_used_memory() counts; in a library built with size headers (the backend size-prefix), header and size are.
 *   - Any thread may call anything at any time, and free what another has allocated. Threads need no announcement, and
 *     a fork's child goes on with what it has (over mimalloc and snmalloc, not if other threads of the parent
 *     allocated, began or ended meanwhile).
 *   - A call finds no memory when the system has none, and when a limit refuses it (Budgets, below).
 *   - A plain call that finds no memory runs the out-of-memory handler; if that returns, the answer is NULL and
 *     everything is as it was before the call. The handler may leave by longjmp: no lock is held.
 *     The calls with try in their name answer NULL and do not run it.
 *   - errno means nothing after a call that found memory; after one that did not, it may be ENOMEM.
 *   - A block goes back to this library, by zfree or zrealloc, and never to free().
 */
#ifndef ZMALLOC_H
#define ZMALLOC_H

#include <stddef.h>
#include <stdint.h>

/* Written by `make install`, if it is so. */
#ifdef ZMALLOC_WITHOUT_JEMALLOC
#ifdef USE_JEMALLOC
#error "USE_JEMALLOC needs libzmalloc over jemalloc, and this one lies over another allocator: install it with BACKEND=jemalloc"
#endif
#ifdef ZMALLOC_INLINE
#error "ZMALLOC_INLINE needs libzmalloc over jemalloc, and this one lies over another allocator: install it with BACKEND=jemalloc"
#endif
#endif

/* The version of this header; zmalloc_version() is that of the library. */
#define ZMALLOC_VERSION_MAJOR 0
#define ZMALLOC_VERSION_MINOR 1
#define ZMALLOC_VERSION_PATCH 0
#define ZMALLOC_VERSION "0.1.0"

/* ---- Names ---------------------------------------------------------------------------------------------------- */

#ifdef ZMALLOC_SYMBOL_PREFIX
#define ZMALLOC_JOIN_(prefix, name) prefix##name
#define ZMALLOC_JOIN(prefix, name) ZMALLOC_JOIN_(prefix, name)
#define ZMALLOC_NAME(name) ZMALLOC_JOIN(ZMALLOC_SYMBOL_PREFIX, name)
#define zmalloc ZMALLOC_NAME(zmalloc)
#define ztrymalloc ZMALLOC_NAME(ztrymalloc)
#define zcalloc ZMALLOC_NAME(zcalloc)
#define ztrycalloc ZMALLOC_NAME(ztrycalloc)
#define zcalloc_num ZMALLOC_NAME(zcalloc_num)
#define ztrycalloc_num ZMALLOC_NAME(ztrycalloc_num)
#define zmalloc_usable ZMALLOC_NAME(zmalloc_usable)
#define ztrymalloc_usable ZMALLOC_NAME(ztrymalloc_usable)
#define zcalloc_usable ZMALLOC_NAME(zcalloc_usable)
#define ztrycalloc_usable ZMALLOC_NAME(ztrycalloc_usable)
#define zstrdup ZMALLOC_NAME(zstrdup)
#define ztrystrdup ZMALLOC_NAME(ztrystrdup)
#define zstrdup_usable ZMALLOC_NAME(zstrdup_usable)
#define zrealloc ZMALLOC_NAME(zrealloc)
#define ztryrealloc ZMALLOC_NAME(ztryrealloc)
#define zrealloc_usable ZMALLOC_NAME(zrealloc_usable)
#define ztryrealloc_usable ZMALLOC_NAME(ztryrealloc_usable)
#define zrealloc_usable2 ZMALLOC_NAME(zrealloc_usable2)
#define ztryrealloc_usable2 ZMALLOC_NAME(ztryrealloc_usable2)
#define zfree ZMALLOC_NAME(zfree)
#define zfree_with_size ZMALLOC_NAME(zfree_with_size)
#define zfree_usable ZMALLOC_NAME(zfree_usable)
#define zmalloc_size ZMALLOC_NAME(zmalloc_size)
#define zmalloc_usable_size ZMALLOC_NAME(zmalloc_usable_size)
#define extend_to_usable ZMALLOC_NAME(extend_to_usable)
#define zmalloc_with_flags ZMALLOC_NAME(zmalloc_with_flags)
#define zrealloc_with_flags ZMALLOC_NAME(zrealloc_with_flags)
#define zfree_with_flags ZMALLOC_NAME(zfree_with_flags)
#define zmalloc_no_tcache ZMALLOC_NAME(zmalloc_no_tcache)
#define zfree_no_tcache ZMALLOC_NAME(zfree_no_tcache)
#define zmalloc_set_oom_handler ZMALLOC_NAME(zmalloc_set_oom_handler)
#define zmalloc_out_of_memory ZMALLOC_NAME(zmalloc_out_of_memory)
#define zmalloc_enable_thread_safeness ZMALLOC_NAME(zmalloc_enable_thread_safeness)
#define zmalloc_used_memory ZMALLOC_NAME(zmalloc_used_memory)
#define zmalloc_peak_memory ZMALLOC_NAME(zmalloc_peak_memory)
#define zmalloc_get_rss ZMALLOC_NAME(zmalloc_get_rss)
#define zmalloc_get_fragmentation_ratio ZMALLOC_NAME(zmalloc_get_fragmentation_ratio)
#define zmalloc_get_private_dirty ZMALLOC_NAME(zmalloc_get_private_dirty)
#define zmalloc_get_smap_bytes_by_field ZMALLOC_NAME(zmalloc_get_smap_bytes_by_field)
#define zmalloc_get_memory_size ZMALLOC_NAME(zmalloc_get_memory_size)
#define zmalloc_get_physical_memory_size ZMALLOC_NAME(zmalloc_get_physical_memory_size)
#define get_proc_stat_ll ZMALLOC_NAME(get_proc_stat_ll)
#define zmalloc_get_allocator_info ZMALLOC_NAME(zmalloc_get_allocator_info)
#define zmalloc_get_allocator_info_3 ZMALLOC_NAME(zmalloc_get_allocator_info_3)
#define zmalloc_get_allocator_info_5 ZMALLOC_NAME(zmalloc_get_allocator_info_5)
#define zmalloc_get_allocator_info_6 ZMALLOC_NAME(zmalloc_get_allocator_info_6)
#define zmalloc_get_allocator_info_by_arena ZMALLOC_NAME(zmalloc_get_allocator_info_by_arena)
#define zmalloc_get_frag_smallbins ZMALLOC_NAME(zmalloc_get_frag_smallbins)
#define zmalloc_get_frag_smallbins_by_arena ZMALLOC_NAME(zmalloc_get_frag_smallbins_by_arena)
#define zmalloc_get_defrag_hint ZMALLOC_NAME(zmalloc_get_defrag_hint)
#define zmalloc_relocate ZMALLOC_NAME(zmalloc_relocate)
#define set_jemalloc_bg_thread ZMALLOC_NAME(set_jemalloc_bg_thread)
#define jemalloc_purge ZMALLOC_NAME(jemalloc_purge)
#define zmalloc_purge ZMALLOC_NAME(zmalloc_purge)
#define zmadvise_dontneed ZMALLOC_NAME(zmadvise_dontneed)
#define zlibc_free ZMALLOC_NAME(zlibc_free)
#define zlibc_trim ZMALLOC_NAME(zlibc_trim)
#define zmalloc_allocator_name ZMALLOC_NAME(zmalloc_allocator_name)
#define zmalloc_allocator_version ZMALLOC_NAME(zmalloc_allocator_version)
#define zmalloc_version ZMALLOC_NAME(zmalloc_version)
#define zmalloc_get_report ZMALLOC_NAME(zmalloc_get_report)
#define zmalloc_report_text ZMALLOC_NAME(zmalloc_report_text)
#define zmalloc_report_info ZMALLOC_NAME(zmalloc_report_info)
#define zmalloc_scope_new ZMALLOC_NAME(zmalloc_scope_new)
#define zmalloc_scope_clone ZMALLOC_NAME(zmalloc_scope_clone)
#define zmalloc_scope_current ZMALLOC_NAME(zmalloc_scope_current)
#define zmalloc_scope_free ZMALLOC_NAME(zmalloc_scope_free)
#define zmalloc_scope_enter ZMALLOC_NAME(zmalloc_scope_enter)
#define zmalloc_scope_leave ZMALLOC_NAME(zmalloc_scope_leave)
#define zmalloc_scope_live_bytes ZMALLOC_NAME(zmalloc_scope_live_bytes)
#define zmalloc_scope_get_figures ZMALLOC_NAME(zmalloc_scope_get_figures)
#define zmalloc_scope_limit_bytes_soft ZMALLOC_NAME(zmalloc_scope_limit_bytes_soft)
#define zmalloc_scope_limit_bytes_hard ZMALLOC_NAME(zmalloc_scope_limit_bytes_hard)
#define zmalloc_scope_set_limit_bytes_soft ZMALLOC_NAME(zmalloc_scope_set_limit_bytes_soft)
#define zmalloc_scope_set_limit_bytes_hard ZMALLOC_NAME(zmalloc_scope_set_limit_bytes_hard)
#define zmalloc_scope_is_over_limit_soft ZMALLOC_NAME(zmalloc_scope_is_over_limit_soft)
#define zmalloc_scope_is_over_limit_hard ZMALLOC_NAME(zmalloc_scope_is_over_limit_hard)
#define zmalloc_scope_name ZMALLOC_NAME(zmalloc_scope_name)
#define zmalloc_scope_path ZMALLOC_NAME(zmalloc_scope_path)
#define zmalloc_scopes_settle ZMALLOC_NAME(zmalloc_scopes_settle)
#define zmalloc_scopes_text ZMALLOC_NAME(zmalloc_scopes_text)
#define zmalloc_scopes_open_metrics ZMALLOC_NAME(zmalloc_scopes_open_metrics)
#define zmalloc_limit_hard ZMALLOC_NAME(zmalloc_limit_hard)
#define zmalloc_set_limit_hard ZMALLOC_NAME(zmalloc_set_limit_hard)
#define zmalloc_limit_soft ZMALLOC_NAME(zmalloc_limit_soft)
#define zmalloc_set_limit_soft ZMALLOC_NAME(zmalloc_set_limit_soft)
#define zmalloc_level ZMALLOC_NAME(zmalloc_level)
#define zmalloc_watch ZMALLOC_NAME(zmalloc_watch)
#define zmalloc_unwatch ZMALLOC_NAME(zmalloc_unwatch)
#define zmalloc_reclaimer_add ZMALLOC_NAME(zmalloc_reclaimer_add)
#define zmalloc_reclaimer_remove ZMALLOC_NAME(zmalloc_reclaimer_remove)
#define zmalloc_bound_resident ZMALLOC_NAME(zmalloc_bound_resident)
#define zmalloc_bound_resident_to_cgroup ZMALLOC_NAME(zmalloc_bound_resident_to_cgroup)
#define zmalloc_fallible_enter ZMALLOC_NAME(zmalloc_fallible_enter)
#define zmalloc_fallible_leave ZMALLOC_NAME(zmalloc_fallible_leave)
#endif

/* Valkey's names for the four calls that zlib has too. */
#if defined(ZMALLOC_COMPAT_VALKEY) || defined(ZMALLOC_COMPAT_VALKEY_8)
#ifndef ZMALLOC_SYMBOL_PREFIX
#define zmalloc valkey_malloc
#define zcalloc valkey_calloc
#define zrealloc valkey_realloc
#define zfree valkey_free
#else
#define valkey_malloc zmalloc
#define valkey_calloc zcalloc
#define valkey_realloc zrealloc
#define valkey_free zfree
#endif
#endif

/* ---- The shape ------------------------------------------------------------------------------------------------ */

/* The library always tells a block's size, without help from the allocator's own header. */
#define HAVE_MALLOC_SIZE 1

/* What Redis shows as mem_allocator. In the jemalloc shape the program may look for "jemalloc" in it. */
#ifdef USE_JEMALLOC
#include "zmalloc_jemalloc.h"
#define ZMALLOC_LIB ("jemalloc-" ZMALLOC_JEMALLOC_VERSION)
/* Active defragmentation works: je_get_defrag_hint() is answered without a patched jemalloc. */
#define HAVE_DEFRAG
#else
#define ZMALLOC_LIB ("zmalloc-" ZMALLOC_VERSION)
#endif

/* What the compiler may know of a call. */
#if defined(__GNUC__) || defined(__clang__)
#define ZMALLOC_MALLOC __attribute__((malloc))
#define ZMALLOC_SIZE(...) __attribute__((alloc_size(__VA_ARGS__)))
#define ZMALLOC_USE_RESULT __attribute__((warn_unused_result))
#else
#define ZMALLOC_MALLOC
#define ZMALLOC_SIZE(...)
#define ZMALLOC_USE_RESULT
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Blocks --------------------------------------------------------------------------------------------------- */

/* Allocates size bytes. A size of 0 gives a block too, of the smallest size. A size of half of the address space or
 * more finds no memory; whether other absurd ones do is the system's choice, which may promise more than it has. */
ZMALLOC_MALLOC ZMALLOC_SIZE(1) void *zmalloc(size_t size);
ZMALLOC_MALLOC ZMALLOC_SIZE(1) void *ztrymalloc(size_t size);

/* As zmalloc, filled with zeros; fresh pages stay untouched. */
ZMALLOC_MALLOC ZMALLOC_SIZE(1) void *zcalloc(size_t size);
ZMALLOC_MALLOC ZMALLOC_SIZE(1) void *ztrycalloc(size_t size);

/* As zcalloc, for count elements of size bytes. A product that overflows finds no memory, and the handler is told
 * SIZE_MAX. A size of 0 gives a block, as a count of 0 does: Redis takes the one for an overflow and not the other. */
ZMALLOC_MALLOC ZMALLOC_SIZE(1, 2) void *zcalloc_num(size_t count, size_t size);
ZMALLOC_MALLOC ZMALLOC_SIZE(1, 2) void *ztrycalloc_num(size_t count, size_t size);

/* Resizes a block, perhaps moving it, and keeps its first bytes.
 *
 *   ptr NULL                                     as zmalloc
 *   size 0                                       frees ptr and answers NULL; the handler does not run
 *   size of half of the address space or more    frees ptr; finds no memory
 *   no memory                                    ptr stays as it is; the handler runs
 *
 * So NULL from ztryrealloc means one of three things, told apart by size: freed, freed, or kept. */
ZMALLOC_SIZE(2) void *zrealloc(void *ptr, size_t size);
ZMALLOC_SIZE(2) void *ztryrealloc(void *ptr, size_t size);

/* Frees a block; NULL is ignored. */
void zfree(void *ptr);

/* As zfree, for a caller who knows the block's usable size, which spares its look-up. Any other size than
 * zmalloc_usable_size(ptr), or what a _usable call said, corrupts the heap. NULL is ignored, whatever the size. */
void zfree_with_size(void *ptr, size_t usable);

/* As zfree; *usable becomes what was freed, 0 for NULL. usable may be NULL. (Redis leaves *usable alone for NULL.) */
void zfree_usable(void *ptr, size_t *usable);

/* Copies a string, end included. s must not be NULL. */
ZMALLOC_MALLOC char *zstrdup(const char *s);
ZMALLOC_MALLOC char *ztrystrdup(const char *s);

/* ---- Blocks, with their usable size --------------------------------------------------------------------------- */

/* As the calls above, and *usable becomes the block's usable size, or 0 if there is no block. usable may be NULL. */
#ifndef ZMALLOC_COMPAT_REDIS_5
void *zmalloc_usable(size_t size, size_t *usable);
#endif
void *ztrymalloc_usable(size_t size, size_t *usable);
void *zcalloc_usable(size_t size, size_t *usable);
void *ztrycalloc_usable(size_t size, size_t *usable);
void *zrealloc_usable(void *ptr, size_t size, size_t *usable);
void *ztryrealloc_usable(void *ptr, size_t size, size_t *usable);
ZMALLOC_MALLOC char *zstrdup_usable(const char *s, size_t *usable);

/* As zrealloc_usable, and *usable_before becomes the usable size that ptr had, 0 for NULL; also when ptr is freed or
 * kept. (Redis writes it to the wrong place there.) */
void *zrealloc_usable2(void *ptr, size_t size, size_t *usable, size_t *usable_before);
void *ztryrealloc_usable2(void *ptr, size_t size, size_t *usable, size_t *usable_before);

/* The bytes that a block counts for in zmalloc_used_memory(): its usable size, or in a library built with size headers
 * header and size. 0 for NULL. */
size_t zmalloc_size(void *ptr);

/* The bytes of a block that may be written: at least those asked for. 0 for NULL. Before they are written beyond what
 * was asked for, the compiler has to learn of them: extend_to_usable(). */
size_t zmalloc_usable_size(void *ptr);
#ifdef ZMALLOC_COMPAT_REDIS_5
#undef zmalloc_usable
#define zmalloc_usable(ptr) zmalloc_usable_size(ptr)
#endif

/* Answers ptr, and tells the compiler that size bytes of it may be written, so that FORTIFY checks agree. */
ZMALLOC_SIZE(2) void *extend_to_usable(void *ptr, size_t size);

/* ---- Blocks with jemalloc's flags ----------------------------------------------------------------------------- */

/* As zmalloc, zrealloc and zfree, with the flags of jemalloc's mallocx. Over another allocator, alignment and zeros are
 * kept, and flags that name a thread cache or an arena mean nothing. A block made with flags may be freed without. */
ZMALLOC_MALLOC ZMALLOC_SIZE(1) void *zmalloc_with_flags(size_t size, int flags);
ZMALLOC_SIZE(2) void *zrealloc_with_flags(void *ptr, size_t size, int flags);
void zfree_with_flags(void *ptr, int flags);

/* As zmalloc and zfree, past the thread's cache: from and to the slabs, as defragmentation needs it. */
ZMALLOC_MALLOC ZMALLOC_SIZE(1) void *zmalloc_no_tcache(size_t size);
void zfree_no_tcache(void *ptr);

/* ---- When memory runs out ------------------------------------------------------------------------------------- */

/* Sets the handler, which is called with the bytes that were asked for; NULL sets the default. That one writes to
 * standard error, without allocating, and aborts: the request, the used memory, the hard limit, the bytes in RAM and the
 * scopes that hold most. */
void zmalloc_set_oom_handler(void (*handler)(size_t requested));

/* Runs the handler, for a call of your own that found no memory; answers NULL if the handler returns. */
void *zmalloc_out_of_memory(size_t requested);

/* Does nothing: the library is always safe for threads. */
void zmalloc_enable_thread_safeness(void);

/* ---- What the program holds ----------------------------------------------------------------------------------- */

/* The usable bytes of all live blocks. 0 before the first one; exact to the byte while no other thread allocates or
 * frees, and never negative or far from the truth while they do. Costs two cache lines for each thread. */
size_t zmalloc_used_memory(void);

/* The most it ever was, as far as it was seen: below the true peak by at most 576 KiB for each thread, or 4 % in all
 * if that is more. */
size_t zmalloc_peak_memory(void);

/* Bytes of this process in RAM, or 0 where the system does not tell. About 1 us. */
size_t zmalloc_get_rss(void);

/* rss over the used memory: infinite if nothing is used. */
float zmalloc_get_fragmentation_ratio(size_t rss);

/* Bytes in pages that are a process's alone and written to, as after a fork: of the process pid, or of this one for
 * -1. 0 where the system does not tell. The kernel walks the page tables: 2 ms for each GiB. */
size_t zmalloc_get_private_dirty(long pid);

/* The sum of a field like "Rss:" over the mappings of a process, in bytes; the colon belongs to it. 0 for an unknown
 * field or process. (A const char * does for field; Redis's declaration lacks the const.) */
size_t zmalloc_get_smap_bytes_by_field(const char *field, long pid);

/* The memory that this process may have: the machine's, or the limit of its cgroup if that is lower. (Redis tells the
 * machine's, also inside a container.) */
size_t zmalloc_get_memory_size(void);

/* The machine's memory, whatever the limit. */
size_t zmalloc_get_physical_memory_size(void);

/* The i-th field of /proc/self/stat, counted from 1, into *value: 1 if it is there and a number, else 0. */
int get_proc_stat_ll(int i, long long *value);

/* ---- What the allocator says ---------------------------------------------------------------------------------- */

/* The allocator's own figures: bytes in blocks, in pages with blocks, in pages in RAM, in address space kept for later,
 * in pages given back lazily, and in slabs of small blocks that no block uses. 0 for what it does not know: without
 * jemalloc, most of them. Any place may be NULL. Answers 1.
 *
 * With refresh, the figures are brought up to date, all at one moment; otherwise they are those of the last refresh.
 * 10 to 50 us, and 4 us for each thread. Signatures without refresh always do it. */
#if defined(ZMALLOC_COMPAT_REDIS_5) || defined(ZMALLOC_COMPAT_REDIS_7)
#undef zmalloc_get_allocator_info
#define zmalloc_get_allocator_info zmalloc_get_allocator_info_3
#elif defined(ZMALLOC_COMPAT_VALKEY_8)
#undef zmalloc_get_allocator_info
#define zmalloc_get_allocator_info zmalloc_get_allocator_info_6
#elif defined(ZMALLOC_COMPAT_VALKEY)
#undef zmalloc_get_allocator_info
#define zmalloc_get_allocator_info zmalloc_get_allocator_info_5
#else
int zmalloc_get_allocator_info(int refresh, size_t *allocated, size_t *active, size_t *resident, size_t *retained,
                               size_t *muzzy, size_t *frag_smallbins_bytes);
#endif
int zmalloc_get_allocator_info_3(size_t *allocated, size_t *active, size_t *resident);
int zmalloc_get_allocator_info_5(size_t *allocated, size_t *active, size_t *resident, size_t *retained, size_t *muzzy);
int zmalloc_get_allocator_info_6(size_t *allocated, size_t *active, size_t *resident, size_t *retained, size_t *muzzy,
                                 size_t *frag_smallbins_bytes);

/* As above for one of jemalloc's arenas, or 4096 for all of them; 0 for an arena that there is not. */
int zmalloc_get_allocator_info_by_arena(unsigned int arena, int refresh, size_t *allocated, size_t *active,
                                        size_t *resident, size_t *frag_smallbins_bytes);

/* The bytes in slabs of small blocks that no block uses, as of the last refresh: of all arenas, or of one. */
size_t zmalloc_get_frag_smallbins(void);
size_t zmalloc_get_frag_smallbins_by_arena(unsigned int arena);

/* The allocator's name, like "jemalloc"; and its version, like "5.3.1", into the buffer as snprintf does. */
const char *zmalloc_allocator_name(void);
size_t zmalloc_allocator_version(char *buffer, size_t capacity);

/* ---- What the allocator can be asked -------------------------------------------------------------------------- */

/* Whether jemalloc's own threads give pages back in the background. Nothing over another allocator. */
void set_jemalloc_bg_thread(int enabled);

/* Gives unused pages back to the system. 0 if that worked or there is no such call, -1 if it failed. */
int jemalloc_purge(void);

/* As jemalloc_purge, and zlibc_trim too. */
int zmalloc_purge(void);

/* Lets the system take the whole pages within a block. DESTROYS its content; the block stays allocated. For the child
 * of a fork, so that pages it has done with are not copied. Only over jemalloc on Linux. */
void zmadvise_dontneed(void *ptr);

/* free() and malloc_trim(0) of the C library, for blocks that came from there. They are not counted. */
void zlibc_free(void *ptr);
void zlibc_trim(void);

/* ---- Defragmentation ------------------------------------------------------------------------------------------ */

/* Whether moving this block is likely to help to free its slab: the slab has places left, new blocks do not come from
 * it anyway, and it is no fuller than 9/8 of the average of its size class. Always 0 without jemalloc and for large
 * blocks. Answers what Redis asks its patched jemalloc; needs no patch. About 0.1 us. */
int zmalloc_get_defrag_hint(void *ptr);

/* Moves a block if that is likely to help, all usable bytes of it, past the thread's cache: answers the new place, and
 * ptr is freed, or NULL if it stays. Call it for each block whose pointers can be replaced. */
void *zmalloc_relocate(void *ptr);

/* ---- All figures at once -------------------------------------------------------------------------------------- */

/* A figure that is not known. */
#define ZMALLOC_UNKNOWN UINT64_MAX

/* Set size to sizeof(struct zmalloc_report) before the call. Later versions add fields in the place of spare ones, and
 * at the end; a library fills as many as the program's structure has. */
struct zmalloc_report {
    size_t size;            /* in: of the program's structure. out: bytes filled */
    uint32_t version;       /* of the fields: 1 */
    uint32_t reserved;
    uint64_t used;          /* zmalloc_used_memory() */
    uint64_t peak;          /* zmalloc_peak_memory() */
    uint64_t allocated_total; /* bytes of all blocks ever given out; only grows */
    uint64_t freed_total;   /* bytes of all blocks ever taken back; only grows */
    uint64_t threads;       /* threads alive that have used the library */
    uint64_t rss;           /* the process in RAM */
    uint64_t rss_peak;      /* the most it ever was */
    uint64_t physical_memory;
    uint64_t cgroup_limit;  /* unknown if there is none */
    uint64_t allocator_allocated;
    uint64_t allocator_active;
    uint64_t allocator_resident;
    uint64_t allocator_retained;
    uint64_t allocator_muzzy;
    uint64_t spare[8];
};

/* Fills the report: 0, or -1 if report is NULL or too small for the first version. Each figure is as fresh as the call;
 * they are read one after the other. About 100 us. */
ZMALLOC_USE_RESULT int zmalloc_get_report(struct zmalloc_report *report);

/* The report as a table for people, or in the form of Redis's INFO memory, into the buffer as snprintf does: cut to fit
 * and ended with 0; answers the length of the whole text. buffer may be NULL if capacity is 0. */
size_t zmalloc_report_text(char *buffer, size_t capacity);
size_t zmalloc_report_info(char *buffer, size_t capacity);

/* The library's version, like "0.1.0". */
const char *zmalloc_version(void);

/* ---- Scopes: whose bytes these are ---------------------------------------------------------------------------- */

/* A named part of the program, whose bytes are told apart: of a tenant, a command, a phase. Scopes nest; a child's bytes
 * are its parent's too. Counting costs nothing per allocation and free: what a thread does while it is in a scope is the
 * difference of its sums.
 *
 *     zmalloc_scope *tenant = zmalloc_scope_new("tenant-42", tenants);
 *     zmalloc_scope_entry entry = zmalloc_scope_enter(tenant);
 *     ...                                                          what this thread allocates and frees here counts there
 *     zmalloc_scope_leave(entry);
 *     printf("%lld bytes\n", (long long)zmalloc_scope_live_bytes(tenant));
 *     zmalloc_scope_free(tenant);
 *
 * An allocation counts in the innermost scope that its thread is in, and a free in the innermost one that its own thread
 * is in, wherever the block came from: live bytes of a scope that frees what others allocated are negative. What counts
 * in no scope is outside. At rest, the sums of all scopes, of those that ended and of what is outside are the program's,
 * to the byte.
 *
 * Any thread may use a handle; a new thread is in no scope until it enters one. Figures have what each thread did until
 * it last entered or left a scope, and those of the calling thread are up to date.
 *
 * To enter and leave takes about 10 ns. To make and free a scope takes a lock and about 100 ns; the memory for it, some
 * 400 bytes and the name, comes from C's malloc, which ends the process when it has none, and is not counted. Not for
 * signal handlers. A child that is forked while another thread makes, frees or reads scopes must do none of these; it
 * may enter and leave those that it has. */
typedef struct zmalloc_scope zmalloc_scope;

/* A scope of this name within parent, or at the top if that is NULL. The name is copied, and may be any: other scopes of
 * the same name are other scopes; what of it is no UTF-8 is replaced. NULL if name is NULL. At most 256 scopes lie in
 * each other: a child of the innermost is made beside it. */
ZMALLOC_USE_RESULT zmalloc_scope *zmalloc_scope_new(const char *name, zmalloc_scope *parent);

/* One more handle of the scope; NULL for NULL. */
ZMALLOC_USE_RESULT zmalloc_scope *zmalloc_scope_clone(const zmalloc_scope *scope);

/* A handle of the innermost scope that the calling thread is in; NULL if it is in none. */
ZMALLOC_USE_RESULT zmalloc_scope *zmalloc_scope_current(void);

/* Gives a handle back; NULL is ignored. A scope ends with its last handle and its last child: then what it counted passes
 * to its parent's figures of what ended. */
void zmalloc_scope_free(zmalloc_scope *scope);

/* That a thread entered a scope; zeros for none. */
typedef struct zmalloc_scope_entry {
    uint64_t opaque[6];
} zmalloc_scope_entry;

/* Enters the scope on the calling thread; for NULL, does nothing. Keep a handle until it is left: once the scope has ended,
 * what the thread does there counts outside, or in a scope made later. */
ZMALLOC_USE_RESULT zmalloc_scope_entry zmalloc_scope_enter(zmalloc_scope *scope);

/* Leaves a scope, once for each time that it was entered, and on the thread that did. Not necessarily the innermost: any
 * other is left as well, and the thread stays in the innermost. */
void zmalloc_scope_leave(zmalloc_scope_entry entry);

/* Counts what the calling thread did until now in the scope that it is in, for other threads to read. */
void zmalloc_scopes_settle(void);

/* Live bytes of the scope and its children, which may be negative; of the program for NULL. A few nanoseconds. */
int64_t zmalloc_scope_live_bytes(const zmalloc_scope *scope);

/* Bytes that were counted. */
struct zmalloc_scope_flow {
    uint64_t allocated_bytes; /* only grows */
    uint64_t freed_bytes;     /* only grows */
    int64_t live_bytes;       /* the difference */
    uint64_t peak_live_bytes; /* the most that was seen when a thread entered or left a scope, or unknown */
};

/* Set size to sizeof(struct zmalloc_scope_figures) before the call; as with struct zmalloc_report. */
struct zmalloc_scope_figures {
    size_t size;      /* in: of the program's structure. out: bytes filled */
    uint32_t version; /* of the fields: 1 */
    uint32_t reserved;
    struct zmalloc_scope_flow own;   /* in the scope and in no child */
    struct zmalloc_scope_flow total; /* in the scope and all below it, those that ended included */
    struct zmalloc_scope_flow ended; /* in children that have ended, and theirs; the peak is unknown */
    uint64_t entered;                /* times it was entered and left again */
    uint64_t children;               /* children that there are */
    uint64_t limit_bytes_soft;       /* or ZMALLOC_NO_LIMIT */
    uint64_t limit_bytes_hard;       /* or ZMALLOC_NO_LIMIT */
    uint64_t spare[8];
};

/* Fills the figures of the scope: 0, or -1 if figures is NULL or too small for the first version. For NULL, those of the
 * program, as if it were the scope around all, with its limits: own is what counted outside of every scope. A lock, and about
 * 100 ns for each scope below it. */
ZMALLOC_USE_RESULT int zmalloc_scope_get_figures(const zmalloc_scope *scope, struct zmalloc_scope_figures *figures);

/* No limit, as at first. */
#define ZMALLOC_NO_LIMIT UINT64_MAX

/* The scope's limits, in bytes, its children included: above the soft one the program should let go of some, above the
 * hard one it should refuse. Neither acts by itself, but for the hard one between zmalloc_fallible_enter() and _leave(): ask
 * whether the live bytes are above. Of NULL there are none. */
uint64_t zmalloc_scope_limit_bytes_soft(const zmalloc_scope *scope);
uint64_t zmalloc_scope_limit_bytes_hard(const zmalloc_scope *scope);
void zmalloc_scope_set_limit_bytes_soft(zmalloc_scope *scope, uint64_t bytes);
void zmalloc_scope_set_limit_bytes_hard(zmalloc_scope *scope, uint64_t bytes);
int zmalloc_scope_is_over_limit_soft(const zmalloc_scope *scope);
int zmalloc_scope_is_over_limit_hard(const zmalloc_scope *scope);

/* The scope's name, and its path, which is its name after those of the scopes around it with slashes between, into the
 * buffer as snprintf does. Empty for NULL. */
size_t zmalloc_scope_name(const zmalloc_scope *scope, char *buffer, size_t capacity);
size_t zmalloc_scope_path(const zmalloc_scope *scope, char *buffer, size_t capacity);

/* All scopes as a table for people, or as OpenMetrics for Prometheus, into the buffer as snprintf does. Between two calls
 * the text may grow. */
size_t zmalloc_scopes_text(char *buffer, size_t capacity);
size_t zmalloc_scopes_open_metrics(char *buffer, size_t capacity);

/* ---- Budgets: how much may it be ------------------------------------------------------------------------------ */

/* Limits on what the whole program holds, in bytes, or ZMALLOC_NO_LIMIT, as at first. Any thread may set them at any time,
 * but for signal handlers. Over jemalloc they cost no allocation anything until one is close to the hard limit; over
 * others, requests of 16 KiB and more some 20 ns.
 *
 *     zmalloc_set_limit_hard(512 << 20);
 *     zmalloc_set_limit_soft(400 << 20);
 *     if (zmalloc_used_memory() > zmalloc_limit_soft()) evict();             what Redis does for its maxmemory
 *
 * Hard: zmalloc_used_memory() is never above it, not by a byte and not for a moment, by whichever call of this library it
 * would be, in place or called, those under je_ names included. What would be is refused: as a call that finds no memory is.
 * Early, by what other threads were given ahead and have not used: 64 KiB each at most, and less close to the limit.
 * A resize needs room for the old block and the new one at once, over mimalloc, tcmalloc and the C library's malloc for a quarter
 * of the size and 64 KiB more; one to less is not refused, and over jemalloc may for that moment be above. A limit below what is used refuses all but what shrinks, until enough is freed; 0 refuses everything.
 * While it is lowered, other threads may still land the operation that they are at, and over other allocators than jemalloc use
 * what they were given: 64 KiB each at most. Not bounded is what other code takes of the same jemalloc past this library.
 *
 * Soft: nothing is refused; the level rises, and who watches is told. */
uint64_t zmalloc_limit_hard(void);
void zmalloc_set_limit_hard(uint64_t bytes);
uint64_t zmalloc_limit_soft(void);
void zmalloc_set_limit_soft(uint64_t bytes);

/* How near the limits the use is. Without a hard limit, the way from the soft one is a quarter of it. A level is left when
 * the use has fallen 1/32 of the soft limit below where it begins. */
enum zmalloc_budget_level {
    ZMALLOC_LEVEL_NORMAL = 0,  /* below the soft limit, or there is none */
    ZMALLOC_LEVEL_LOW = 1,     /* above the soft limit: let go of what is cheap */
    ZMALLOC_LEVEL_MEDIUM = 2,  /* halfway to the hard limit: let go of more, take no new work */
    ZMALLOC_LEVEL_CRITICAL = 3 /* seven eighths of the way: let go of all that can be */
};

/* The level as it was seen last, one of the above: a rise within 64 KiB that the thread which crosses allocates, a fall
 * within 100 ms. A nanosecond. */
enum zmalloc_budget_level zmalloc_level(void);

/* That the level changed. Later versions add fields at the end; size says how many bytes the library filled. */
struct zmalloc_level_change {
    size_t size;
    uint32_t from; /* of enum zmalloc_budget_level: as told before */
    uint32_t to;
    uint64_t used_bytes;     /* when that was seen */
    uint64_t resident_bytes; /* in RAM, if that is bounded, or ZMALLOC_UNKNOWN */
};

/* Has tell called with user each time the level changes; NULL if tell is, or if the thread cannot be started. One thread of the
 * library's, which all share and which takes no signals, calls: tell should be quick, may allocate, and must not throw or
 * leave by longjmp. The child of a fork has no such thread until it sets a soft limit or watches. */
typedef struct zmalloc_watcher zmalloc_watcher;
ZMALLOC_USE_RESULT zmalloc_watcher *zmalloc_watch(void (*tell)(const struct zmalloc_level_change *change, void *user),
                                                  void *user);

/* Gives a watcher back; NULL is ignored. Waits for a call of it that is being made, so do not hold what that call waits
 * for; after it, user may be freed. From within tell too: then that call is the last. */
void zmalloc_unwatch(zmalloc_watcher *watcher);

/* Registers what can free memory when a call is about to be refused, like a cache: reclaim is told how many bytes are
 * missing, and user, and answers how many it freed, as far as it knows. They are called in the order of cost, the
 * lowest first, until the request fits. NULL if reclaim is, or if there are 64 already.
 *
 * reclaim runs on the thread that allocates, WITHIN that allocation: it must not wait for a lock that its caller may hold
 * (pthread_mutex_trylock), must not throw or leave by longjmp, and what it allocates itself is refused without asking
 * again. One thread at a time calls it. Over jemalloc a request below 16 KiB that the system has no memory for, rather than a
 * limit, is refused without asking. */
typedef struct zmalloc_reclaimer zmalloc_reclaimer;
ZMALLOC_USE_RESULT zmalloc_reclaimer *zmalloc_reclaimer_add(uint32_t cost, size_t (*reclaim)(size_t missing, void *user),
                                                            void *user);

/* Gives a reclaimer back; NULL is ignored. Waits for a call of it that another thread is making; after it, user may be freed.
 * Not from within reclaim. */
void zmalloc_reclaimer_remove(zmalloc_reclaimer *reclaimer);

/* Bounds the process's pages in RAM, in bytes, or with ZMALLOC_NO_LIMIT for both no longer. They are looked at each 100 ms,
 * above the soft bound each 10 ms. Above the soft bound unused pages are given back, once a second at most, and the level
 * rises; above the hard one, each time, reclaimers are asked, and allocations refused until enough is freed. Between two looks
 * it may be exceeded by pages touched of what was allocated or mapped before. Stacks, files and other allocators count;
 * a bound below what the program is without its heap refuses everything. The child of a fork has no bound until it sets one. */
void zmalloc_bound_resident(uint64_t soft, uint64_t hard);

/* As zmalloc_bound_resident, in parts of the lowest limit of the process's cgroup and those above it, like 0.8 and 0.9, read
 * anew each second; where tasks of the cgroup wait for memory a tenth of the time, the level is critical as well. 0, or
 * of <errno.h> ENOENT if there is no limit to follow, EINVAL if a part is not above 0 and at most 1: then it stays as
 * it was. */
ZMALLOC_USE_RESULT int zmalloc_bound_resident_to_cgroup(double soft, double hard);

/* Between the two, a call of this thread is refused that would take a scope, which the thread is in, above its hard limit:
 * for calls whose callers can do without. Sections nest:
 *
 *     int before = zmalloc_fallible_enter();
 *     void *ptr = ztrymalloc(size);                                         NULL if the tenant may not have so much
 *     zmalloc_fallible_leave(before);
 *
 * Exact for what this thread does in the scope; what others do is known as they enter and leave scopes. Within, each call
 * takes some 20 ns more. */
ZMALLOC_USE_RESULT int zmalloc_fallible_enter(void);
void zmalloc_fallible_leave(int before);

/* ---- Inline --------------------------------------------------------------------------------------------------- */

/* The same calls, where the compiler can put them in place; their symbols exist all the same. */
#if (defined(__GNUC__) || defined(__clang__)) && !defined(ZMALLOC_NO_INLINE)
#define ZMALLOC_IN_PLACE extern __inline__ __attribute__((gnu_inline, always_inline))
#define ZMALLOC_USUALLY(condition) __builtin_expect(!!(condition), 1)

#if defined(ZMALLOC_INLINE) && defined(__linux__) && defined(__x86_64__)
/* The calling thread's part of the ledger. A size below unasked_below needs not be asked for: jemalloc's own counters of
 * this thread are read, and no limit has a say. Other threads may change that.
 * Where the last byte of counted is set, they are read and nothing is left to do for a block that is given back. The word that
 * ends with it is then above every address, else below those of all blocks: to compare a pointer with it is one operation of
 * the processor where a test of the byte is two. */
struct zmalloc_local {
    const void *slot;
    union {
        unsigned char bytes[8];
        uint64_t above;
    } counted;
    volatile size_t unasked_below;
    const void *own;
};
#if defined(__PIC__) && !defined(__PIE__)
#define ZMALLOC_LOCAL_MODEL "initial-exec"
#else
#define ZMALLOC_LOCAL_MODEL "local-exec"
#endif
extern __thread struct zmalloc_local zmalloc_local_0_1 __attribute__((tls_model(ZMALLOC_LOCAL_MODEL)));
ZMALLOC_MALLOC ZMALLOC_SIZE(1) void *_rjem_malloc(size_t size);
ZMALLOC_MALLOC ZMALLOC_SIZE(1, 2) void *_rjem_calloc(size_t count, size_t size);
void _rjem_free(void *ptr);
void _rjem_sdallocx(void *ptr, size_t size, int flags);

ZMALLOC_IN_PLACE void *zmalloc(size_t size) {
    void *ptr = ZMALLOC_USUALLY(size < zmalloc_local_0_1.unasked_below) ? _rjem_malloc(size) : ztrymalloc(size);
    return ZMALLOC_USUALLY(ptr != NULL) ? ptr : zmalloc_out_of_memory(size);
}

ZMALLOC_IN_PLACE void *zcalloc(size_t size) {
    void *ptr = ZMALLOC_USUALLY(size < zmalloc_local_0_1.unasked_below) ? _rjem_calloc(1, size) : ztrycalloc(size);
    return ZMALLOC_USUALLY(ptr != NULL) ? ptr : zmalloc_out_of_memory(size);
}

ZMALLOC_IN_PLACE void zfree(void *ptr) {
    if (ZMALLOC_USUALLY((uint64_t)(uintptr_t)ptr < zmalloc_local_0_1.counted.above))
        _rjem_free(ptr);
    else
        zfree_with_flags(ptr, 0);
}

ZMALLOC_IN_PLACE void zfree_with_size(void *ptr, size_t usable) {
    /* NULL is not for _rjem_sdallocx. Where the compiler knows that it is a block, nothing is left of that test. */
    if (ZMALLOC_USUALLY(ptr != NULL && (uint64_t)(uintptr_t)ptr < zmalloc_local_0_1.counted.above))
        _rjem_sdallocx(ptr, usable, 0);
    else
        zfree_with_flags(ptr, 0);
}
#else
/* The test for NULL stands here, so that the library's part ends in the allocator's. */
ZMALLOC_IN_PLACE void *zmalloc(size_t size) {
    void *ptr = ztrymalloc(size);
    return ZMALLOC_USUALLY(ptr != NULL) ? ptr : zmalloc_out_of_memory(size);
}

ZMALLOC_IN_PLACE void *zcalloc(size_t size) {
    void *ptr = ztrycalloc(size);
    return ZMALLOC_USUALLY(ptr != NULL) ? ptr : zmalloc_out_of_memory(size);
}
#endif
#endif

#ifdef __cplusplus
}
#endif

#endif /* ZMALLOC_H */
