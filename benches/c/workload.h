/* One workload over one way: nanoseconds of processor time per pair of allocate and free. A size of 0 is a working set
 * of so many blocks of 16 to 1024 bytes, of which one at random is replaced each time. */
#include <stddef.h>
#include <stdint.h>

typedef double workload(long count, size_t size, size_t blocks, uint64_t seed);

workload bare, bare_sized, in_place, in_place_sized, called, called_sized;
