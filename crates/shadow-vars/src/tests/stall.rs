//! Threads stopped in the middle of each step of migration and removal.
