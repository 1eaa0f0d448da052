//! What the benchmarks share. Nothing yet; see `criterion/` for the benchmarks themselves.
