#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <malloc.h>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>
#include <unistd.h>

struct alignas(256) Wide { char bytes[512]; };

static int handled;

int main() {
    unsigned long allocated = 0;
    auto got = [&](void *p) { allocated += malloc_usable_size(p); return p; };
    got(new int);
    got(new char[1000]);
    got(new (std::nothrow) char[2000]);
    Wide *wide = new Wide;
    got(wide);
    Wide *wides = new Wide[4];
    if (reinterpret_cast<std::uintptr_t>(wide) % 256 || reinterpret_cast<std::uintptr_t>(wides) % 256) abort();
    delete wide;
    delete[] wides;
    operator delete(operator new(100), std::size_t(64)); // a wrong size
    operator delete(operator new(100, std::align_val_t(64)), std::size_t(3), std::align_val_t(64));
    {
        std::map<std::string, std::vector<int>> map;
        for (int i = 0; i < 1000; i++) map["a key that is long enough " + std::to_string(i)].resize(i);
        auto shared = std::make_shared<std::string>(100, 'x');
    }
    std::set_new_handler([] { if (++handled == 3) std::set_new_handler(nullptr); });
    bool thrown = false;
    volatile std::size_t huge = std::size_t(-1) / 2 - 100;
    try { (void)new char[huge]; } catch (const std::bad_alloc &) { thrown = true; }
    if (!thrown || handled != 3) abort();
    struct Mine {};
    std::set_new_handler([] { throw Mine(); });
    thrown = false;
    try { (void)operator new(huge, std::align_val_t(64)); } catch (const Mine &) { thrown = true; }
    catch (const std::bad_alloc &) { thrown = true; }
    if (!thrown) abort();
    std::set_new_handler(nullptr);
    if (new (std::nothrow) char[huge]) abort();
    dprintf(1, "live=%lu\n", allocated - 512);
    return 0;
}
