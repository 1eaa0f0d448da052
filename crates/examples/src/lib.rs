//! Programs that use the store and live patches, in `examples/`; and the pages of the guide whose examples need what the
//! libraries do not depend on.
