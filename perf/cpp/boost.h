// Boost's concurrent maps: open addressing under locks of groups of slots; values are visited, never referred to.
#pragma once

#include "map.h"

namespace perf {

template <class Map> class Boost {
  public:
    explicit Boost(std::size_t capacity) : map(capacity) {}

    void lock() {}
    void unlock() {}

    struct Guard {
        explicit Guard(Boost &) {}
    };

    std::uint64_t get_in(Key key) const {
        std::uint64_t first = 0;
        map.cvisit(key, [&](const auto &entry) { first = entry.second.first; });
        return first;
    }

    bool insert(Key key) { return map.try_emplace(key, Value::of(key)); }

    std::uint64_t get_or_insert(Key key) {
        std::uint64_t first = get_in(key);
        if (first == 0) {
            const Value value = Value::of(key);
            first = value.first;
            map.try_emplace_or_cvisit(key, value, [&](const auto &entry) { first = entry.second.first; });
        }
        return first;
    }

    bool remove(Key key) { return map.erase(key) != 0; }

    std::size_t clear_id(std::uint64_t id) {
        return map.erase_if([id](const auto &entry) { return entry.first.id == id; });
    }

    void settle() {}

  private:
    Map map;
};

} // namespace perf
