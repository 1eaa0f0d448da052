// The common part of the C++ peers: the key and the value of the study, a hash function, and the functions by which the
// program calls a map. A map is a class with the members that PERF_MAP names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace perf {

struct Key {
    std::uint64_t address;
    std::uint64_t id;

    bool operator==(const Key &other) const { return address == other.address && id == other.id; }
};

// A key as streams of accesses hold it: the id in the upper 16 bits, the address in the lower 48.
inline std::uint64_t packed(Key key) { return key.address | key.id << 48; }

struct Value {
    std::uint64_t first;
    std::uint64_t second;

    // Computed from the key as in the program.
    static Value of(Key key) { return Value{~packed(key), key.id}; }
};

// One multiplication, both halves of the product: as fast as the hashers of the Rust maps.
struct Hash {
    using is_avalanching = std::true_type;

    std::size_t operator()(const Key &key) const {
        const auto product = static_cast<unsigned __int128>(key.address ^ 0x9e3779b97f4a7c15u) *
                             (key.id ^ 0xd6e8feb86659fd93u);
        return static_cast<std::size_t>(product) ^ static_cast<std::size_t>(product >> 64);
    }
};

// Look-ups of one id under one guard: PERF_MAP's `get_each`.
template <class Map>
void get_each(Map &map, std::uint64_t id, const std::uint64_t *keys, std::size_t count, std::uint64_t *out) {
    const typename Map::Guard guard(map);
    for (std::size_t at = 0; at < count; at++) {
        out[at] = map.get_in(Key{keys[at] & ((std::uint64_t(1) << 48) - 1), id});
    }
}

} // namespace perf

// `Guard` protects a reader, and is made from the map. `lock` and `unlock` do the same as its constructor and destructor.
#define PERF_MAP(name, Map)                                                                                            \
    extern "C" {                                                                                                       \
    void *perf_##name##_new(std::size_t capacity) { return new Map(capacity); }                                        \
    void perf_##name##_drop(void *map) { delete static_cast<Map *>(map); }                                             \
    void perf_##name##_lock(void *map) { static_cast<Map *>(map)->lock(); }                                            \
    void perf_##name##_unlock(void *map) { static_cast<Map *>(map)->unlock(); }                                        \
    std::uint64_t perf_##name##_get_in(void *map, std::uint64_t address, std::uint64_t id) {                           \
        return static_cast<Map *>(map)->get_in(perf::Key{address, id});                                                \
    }                                                                                                                  \
    std::uint64_t perf_##name##_get(void *map, std::uint64_t address, std::uint64_t id) {                              \
        const Map::Guard guard(*static_cast<Map *>(map));                                                              \
        return static_cast<Map *>(map)->get_in(perf::Key{address, id});                                                \
    }                                                                                                                  \
    void perf_##name##_get_each(void *map, std::uint64_t id, const std::uint64_t *keys, std::size_t count,             \
                                std::uint64_t *out) {                                                                  \
        perf::get_each(*static_cast<Map *>(map), id, keys, count, out);                                                \
    }                                                                                                                  \
    bool perf_##name##_insert(void *map, std::uint64_t address, std::uint64_t id) {                                    \
        return static_cast<Map *>(map)->insert(perf::Key{address, id});                                                \
    }                                                                                                                  \
    std::uint64_t perf_##name##_get_or_insert(void *map, std::uint64_t address, std::uint64_t id) {                    \
        return static_cast<Map *>(map)->get_or_insert(perf::Key{address, id});                                         \
    }                                                                                                                  \
    bool perf_##name##_remove(void *map, std::uint64_t address, std::uint64_t id) {                                    \
        return static_cast<Map *>(map)->remove(perf::Key{address, id});                                                \
    }                                                                                                                  \
    std::size_t perf_##name##_clear_id(void *map, std::uint64_t id) { return static_cast<Map *>(map)->clear_id(id); }  \
    void perf_##name##_settle(void *map) { static_cast<Map *>(map)->settle(); }                                        \
    }
