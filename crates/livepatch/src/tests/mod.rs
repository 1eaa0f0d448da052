//! Tests of internals: models, planted defects, records.

#[cfg(shadow_loom)]
mod loom;

#[cfg(not(shadow_loom))]
mod records;
