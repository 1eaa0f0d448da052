//! Planted defects, and the tests that catch them.
