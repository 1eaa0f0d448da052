// Boost's concurrent_flat_map: values in the slots.

#include <boost/unordered/concurrent_flat_map.hpp>

#include "boost.h"

using Flat = perf::Boost<boost::concurrent_flat_map<perf::Key, perf::Value, perf::Hash>>;

PERF_MAP(boost_flat, Flat)
