// Boost's concurrent_node_map: values in nodes, which do not move.

#include <boost/unordered/concurrent_node_map.hpp>

#include "boost.h"

using Node = perf::Boost<boost::concurrent_node_map<perf::Key, perf::Value, perf::Hash>>;

PERF_MAP(boost_node, Node)
