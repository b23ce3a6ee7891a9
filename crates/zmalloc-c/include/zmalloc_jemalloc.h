/* zmalloc_jemalloc.h - jemalloc's interface as libzmalloc offers it when it is built over jemalloc.
 *
 * Under the names with the prefix je_ that Redis builds jemalloc with. What each call does stands in jemalloc's manual
 * page; blocks given out here are counted as those of zmalloc.h, and either may be freed by the other. Differences:
 *
 *   - je_sdallocx looks the block's size up; zfree_with_size is the fast one.
 *   - jemalloc reads its options from _RJEM_MALLOC_CONF in the environment and from a variable _rjem_malloc_conf of the
 *     program, not from MALLOC_CONF or je_malloc_conf.
 *   - Blocks of an arena that je_mallctl destroys or resets stay in zmalloc_used_memory(): free them first.
 *   - je_get_defrag_hint, which only Redis's patched jemalloc has, is zmalloc_get_defrag_hint.
 */
#ifndef ZMALLOC_JEMALLOC_H
#define ZMALLOC_JEMALLOC_H

#include <stddef.h>
#include <limits.h>
#include <strings.h>

#ifdef ZMALLOC_SYMBOL_PREFIX
#define je_malloc ZMALLOC_NAME(je_malloc)
#define je_calloc ZMALLOC_NAME(je_calloc)
#define je_posix_memalign ZMALLOC_NAME(je_posix_memalign)
#define je_aligned_alloc ZMALLOC_NAME(je_aligned_alloc)
#define je_realloc ZMALLOC_NAME(je_realloc)
#define je_free ZMALLOC_NAME(je_free)
#define je_mallocx ZMALLOC_NAME(je_mallocx)
#define je_rallocx ZMALLOC_NAME(je_rallocx)
#define je_xallocx ZMALLOC_NAME(je_xallocx)
#define je_sallocx ZMALLOC_NAME(je_sallocx)
#define je_dallocx ZMALLOC_NAME(je_dallocx)
#define je_sdallocx ZMALLOC_NAME(je_sdallocx)
#define je_nallocx ZMALLOC_NAME(je_nallocx)
#define je_malloc_usable_size ZMALLOC_NAME(je_malloc_usable_size)
#define je_mallctl ZMALLOC_NAME(je_mallctl)
#define je_mallctlnametomib ZMALLOC_NAME(je_mallctlnametomib)
#define je_mallctlbymib ZMALLOC_NAME(je_mallctlbymib)
#define je_malloc_stats_print ZMALLOC_NAME(je_malloc_stats_print)
#define je_get_defrag_hint ZMALLOC_NAME(je_get_defrag_hint)
#endif

/* The jemalloc that the library is built with. */
#define JEMALLOC_VERSION_MAJOR 5
#define JEMALLOC_VERSION_MINOR 3
#define JEMALLOC_VERSION_BUGFIX 1
#define ZMALLOC_JEMALLOC_VERSION "5.3.1"
#define JEMALLOC_FRAG_HINT

/* Flags of the extended calls. */
#define MALLOCX_LG_ALIGN(log) ((int)(log))
#define MALLOCX_ALIGN(alignment) \
    ((int)((alignment) < (size_t)INT_MAX ? ffs((int)(alignment)) - 1 : ffs((int)((size_t)(alignment) >> 32)) + 31))
#define MALLOCX_ZERO ((int)0x40)
#define MALLOCX_TCACHE(cache) ((int)(((cache) + 2) << 8))
#define MALLOCX_TCACHE_NONE MALLOCX_TCACHE(-1)
#define MALLOCX_ARENA(arena) ((((int)(arena)) + 1) << 20)
#define MALLCTL_ARENAS_ALL 4096
#define MALLCTL_ARENAS_DESTROYED 4097

#ifdef __cplusplus
extern "C" {
#endif

void *je_malloc(size_t size);
void *je_calloc(size_t count, size_t size);
int je_posix_memalign(void **place, size_t alignment, size_t size);
void *je_aligned_alloc(size_t alignment, size_t size);
void *je_realloc(void *ptr, size_t size);
void je_free(void *ptr);
void *je_mallocx(size_t size, int flags);
void *je_rallocx(void *ptr, size_t size, int flags);
size_t je_xallocx(void *ptr, size_t size, size_t extra, int flags);
size_t je_sallocx(const void *ptr, int flags);
void je_dallocx(void *ptr, int flags);
void je_sdallocx(void *ptr, size_t size, int flags);
size_t je_nallocx(size_t size, int flags);
size_t je_malloc_usable_size(const void *ptr);
int je_mallctl(const char *name, void *oldp, size_t *oldlenp, void *newp, size_t newlen);
int je_mallctlnametomib(const char *name, size_t *mibp, size_t *miblenp);
int je_mallctlbymib(const size_t *mib, size_t miblen, void *oldp, size_t *oldlenp, void *newp, size_t newlen);
void je_malloc_stats_print(void (*write_cb)(void *, const char *), void *cbopaque, const char *opts);
int je_get_defrag_hint(void *ptr);

#ifdef __cplusplus
}
#endif

#endif /* ZMALLOC_JEMALLOC_H */
