// cds_lfht of userspace RCU: split-ordered lists, readers under RCU, nodes that do not move. Called through the library, as
// by a program under another licence.

#include <cerrno>

#include <urcu.h>
#include <urcu/rculfhash.h>

#include "map.h"

namespace {

using perf::Key;
using perf::Value;

// Every reading thread is registered with the library, from its first call to its end.
struct Registered {
    Registered() { rcu_register_thread(); }
    ~Registered() { rcu_unregister_thread(); }
};

inline void registered() {
    thread_local Registered registered;
    (void)registered;
}

struct Node {
    cds_lfht_node link;
    rcu_head head;
    Key key;
    Value value;
};

Node *node_of(cds_lfht_node *link) {
    return reinterpret_cast<Node *>(reinterpret_cast<char *>(link) - offsetof(Node, link));
}

int matches(cds_lfht_node *link, const void *key) { return node_of(link)->key == *static_cast<const Key *>(key); }

void destroy(rcu_head *head) {
    delete reinterpret_cast<Node *>(reinterpret_cast<char *>(head) - offsetof(Node, head));
}

class Urcu {
  public:
    explicit Urcu(std::size_t capacity) {
        std::size_t buckets = 64;
        while (buckets < capacity) {
            buckets *= 2;
        }
        table = cds_lfht_new(buckets, 64, 0, CDS_LFHT_AUTO_RESIZE | CDS_LFHT_ACCOUNTING, nullptr);
    }

    ~Urcu() {
        // The nodes are freed when all present readers have finished, for which the table does not wait.
        clear([](Key) { return true; });
        cds_lfht_destroy(table, nullptr);
    }

    void lock() {
        registered();
        rcu_read_lock();
    }

    void unlock() { rcu_read_unlock(); }

    struct Guard {
        Urcu &map;
        explicit Guard(Urcu &map) : map(map) { map.lock(); }
        ~Guard() { map.unlock(); }
    };

    std::uint64_t get_in(Key key) const {
        const auto *link = find(key);
        return link ? node_of(const_cast<cds_lfht_node *>(link))->value.first : 0;
    }

    bool insert(Key key) {
        auto *node = new Node{{}, {}, key, Value::of(key)};
        const Guard guard(*this);
        return add(node) == node;
    }

    std::uint64_t get_or_insert(Key key) {
        const Guard guard(*this);
        if (auto *link = find(key)) {
            return node_of(link)->value.first;
        }
        return add(new Node{{}, {}, key, Value::of(key)})->value.first;
    }

    bool remove(Key key) {
        const Guard guard(*this);
        auto *link = find(key);
        return link && retire(link);
    }

    std::size_t clear_id(std::uint64_t id) {
        return clear([id](Key key) { return key.id == id; });
    }

    void settle() {
        registered();
        rcu_barrier();
    }

  private:
    cds_lfht *table;

    cds_lfht_node *find(Key key) const {
        cds_lfht_iter at;
        cds_lfht_lookup(table, perf::Hash()(key), matches, &key, &at);
        return cds_lfht_iter_get_node(&at);
    }

    // Returns the node of the key that is then in the map: this one, or another, and then this one has been freed.
    Node *add(Node *node) {
        auto *there = node_of(cds_lfht_add_unique(table, perf::Hash()(node->key), matches, &node->key, &node->link));
        if (there != node) {
            delete node;
        }
        return there;
    }

    bool retire(cds_lfht_node *link) {
        if (cds_lfht_del(table, link) != 0) {
            return false;
        }
        call_rcu(&node_of(link)->head, destroy);
        return true;
    }

    template <class Goes> std::size_t clear(Goes goes) {
        std::size_t count = 0;
        const Guard guard(*this);
        cds_lfht_iter at;
        for (cds_lfht_first(table, &at); auto *link = cds_lfht_iter_get_node(&at); cds_lfht_next(table, &at)) {
            if (goes(node_of(link)->key)) {
                count += retire(link);
            }
        }
        return count;
    }
};

} // namespace

PERF_MAP(urcu, Urcu)
