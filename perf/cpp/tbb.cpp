// oneTBB's concurrent_hash_map: a lock for each entry, which its accessors hold. Uses the same allocator as the others.

#include <memory>
#include <utility>
#include <vector>

#include <oneapi/tbb/concurrent_hash_map.h>
#include <oneapi/tbb/version.h>

#include "map.h"

namespace {

using perf::Key;
using perf::Value;

struct Compare {
    std::size_t hash(const Key &key) const { return perf::Hash()(key); }
    bool equal(const Key &one, const Key &other) const { return one == other; }
};

class Tbb {
    using Entry = std::pair<const Key, Value>;
    using Map = oneapi::tbb::concurrent_hash_map<Key, Value, Compare, std::allocator<Entry>>;

  public:
    explicit Tbb(std::size_t capacity) : map(capacity) {}

    void lock() {}
    void unlock() {}

    struct Guard {
        explicit Guard(Tbb &) {}
    };

    std::uint64_t get_in(Key key) const {
        Map::const_accessor found;
        return map.find(found, key) ? found->second.first : 0;
    }

    bool insert(Key key) { return map.insert(Entry(key, Value::of(key))); }

    std::uint64_t get_or_insert(Key key) {
        Map::const_accessor found;
        if (!map.find(found, key)) {
            map.insert(found, Entry(key, Value::of(key)));
        }
        return found->second.first;
    }

    bool remove(Key key) { return map.erase(key); }

    // No other thread may change the map during the walk; none does in any workload.
    std::size_t clear_id(std::uint64_t id) {
        std::vector<Key> keys;
        for (const auto &entry : map) {
            if (entry.first.id == id) {
                keys.push_back(entry.first);
            }
        }
        std::size_t count = 0;
        for (const auto &key : keys) {
            count += map.erase(key);
        }
        return count;
    }

    void settle() {}

  private:
    Map map;
};

} // namespace

PERF_MAP(tbb, Tbb)
