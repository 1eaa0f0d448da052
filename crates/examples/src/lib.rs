//! Programs that use the store and live patches, in `examples/`; and the pages of the guide whose examples need what the
//! libraries do not depend on.

#[cfg(doctest)]
#[doc = include_str!("../../shadow-vars/src/docs/service.md")]
struct Service;

#[cfg(doctest)]
#[doc = include_str!("../../shadow-vars/src/docs/monitoring.md")]
struct Monitoring;

#[cfg(doctest)]
#[doc = include_str!("../../shadow-vars/src/docs/fuzzing.md")]
struct Fuzzing;

#[cfg(doctest)]
#[doc = include_str!("../../livepatch/src/docs/service.md")]
struct PatchedService;
