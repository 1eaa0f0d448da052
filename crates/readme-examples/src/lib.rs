//! The examples of READMEs as tests, where the README's own package cannot compile them: the repository's has no package, the
//! tool no library, and the macros' crate must not depend on the one that uses it. The other libraries test their own.

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Repository;

#[cfg(doctest)]
#[doc = include_str!("../../livepatch-macros/README.md")]
struct Macros;

#[cfg(doctest)]
#[doc = include_str!("../../livepatch-cli/README.md")]
struct Tool;
