//! Errors, and the values that they give back.

use std::fmt;

use crate::ObjAddr;

/// The reason why the store did not create a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// The variable exists already (returned only by the `alloc` operations).
    Exists {
        /// The parent.
        obj: ObjAddr,
        /// The id.
        id: u64,
    },
    /// The id is bound to another type.
    TypeMismatch(TypeMismatch),
    /// The raw variable exists with a smaller size or a weaker alignment than requested.
    LayoutMismatch(LayoutMismatch),
    /// A raw variable was requested with an alignment above 4096 or an impossible size.
    InvalidLayout {
        /// The requested size in bytes.
        size: usize,
        /// The requested alignment in bytes.
        align: usize,
    },
    /// Allocation failed (or returned an address beyond 48 bits, which a slot cannot hold).
    OutOfMemory,
    /// The store was used with more than 2^32 different ids.
    TooManyIds,
    /// A constructor requested the variable that it is constructing.
    Recursion {
        /// The parent.
        obj: ObjAddr,
        /// The id.
        id: u64,
    },
    /// Waiting for this variable's constructor would close a cycle of threads that wait for each other's constructors;
    /// or, with the feature `rayon`, has closed one through
    /// [work stealing](crate::docs::limits#constructors-and-thread-pools).
    Cycle {
        /// The parent.
        obj: ObjAddr,
        /// The id.
        id: u64,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists { obj, id } => write!(f, "shadow variable <{obj}, {id:#x}> already exists"),
            Self::TypeMismatch(mismatch) => mismatch.fmt(f),
            Self::LayoutMismatch(mismatch) => mismatch.fmt(f),
            Self::InvalidLayout { size, align } => {
                write!(
                    f,
                    "a shadow variable cannot have {size} bytes aligned to {align}: the largest alignment is 4096"
                )
            }
            Self::OutOfMemory => f.write_str("out of memory for a shadow variable"),
            Self::TooManyIds => f.write_str("more than 2^32 shadow ids in one store"),
            Self::Recursion { obj, id } => {
                write!(
                    f,
                    "the constructor of shadow variable <{obj}, {id:#x}> requested the variable itself"
                )
            }
            Self::Cycle { obj, id } => write!(
                f,
                "waiting for the constructor of shadow variable <{obj}, {id:#x}> would deadlock: \
                 its thread waits, directly or indirectly, for this one"
            ),
        }
    }
}

impl std::error::Error for StoreError {}

/// An id was used with two types. `Display` names both. If there was no memory for a name, the name is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeMismatch {
    /// The id.
    pub id: u64,
    /// The type that the id is bound to in this store (`raw` for untyped variables).
    pub bound: String,
    /// The type that the id was used with.
    pub asked: String,
}

impl fmt::Display for TypeMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "shadow id {:#x} is bound to `{}` but was used with `{}`",
            self.id, self.bound, self.asked
        )
    }
}

impl std::error::Error for TypeMismatch {}

/// A raw variable is smaller or less aligned than the caller requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutMismatch {
    /// The parent.
    pub obj: ObjAddr,
    /// The id.
    pub id: u64,
    /// The variable's size and alignment, in bytes.
    pub has: (usize, usize),
    /// The requested size and alignment, in bytes.
    pub asked: (usize, usize),
}

impl fmt::Display for LayoutMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { obj, id, has, asked } = self;
        write!(
            f,
            "shadow variable <{obj}, {id:#x}> has {} bytes aligned to {}, but {} bytes aligned to {} were requested",
            has.0, has.1, asked.0, asked.1
        )
    }
}

impl std::error::Error for LayoutMismatch {}

/// A variable was not created from a value; the error gives the value back.
#[derive(Clone, PartialEq, Eq)]
pub struct AllocError<T> {
    /// The value that was to be stored.
    pub value: T,
    /// The reason why it was not.
    pub error: StoreError,
}

impl<T> AllocError<T> {
    /// Returns whether the reason is that the variable exists already.
    pub fn is_exists(&self) -> bool {
        matches!(self.error, StoreError::Exists { .. })
    }
}

impl<T> From<AllocError<T>> for StoreError {
    /// Returns the reason, and drops the value.
    fn from(failed: AllocError<T>) -> Self {
        failed.error
    }
}

impl<T> fmt::Debug for AllocError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllocError")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Display for AllocError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T> std::error::Error for AllocError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// A variable was not created, because of an error of its constructor or of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CtorError<E> {
    /// The constructor's error.
    Ctor(E),
    /// The store's error.
    Store(StoreError),
}

impl<E> From<StoreError> for CtorError<E> {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl<E: fmt::Display> fmt::Display for CtorError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ctor(error) => write!(f, "the constructor failed: {error}"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for CtorError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Ctor(error) => Some(error),
            Self::Store(error) => Some(error),
        }
    }
}

/// The reason why a store could not be built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The capacity is more than a table can address.
    CapacityTooLarge {
        /// The requested number of variables.
        asked: usize,
    },
    /// The first table could not be allocated.
    OutOfMemory {
        /// The requested number of variables.
        asked: usize,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CapacityTooLarge { asked } => write!(f, "no table can hold {asked} shadow variables"),
            Self::OutOfMemory { asked } => write!(f, "out of memory for a table of {asked} shadow variables"),
        }
    }
}

impl std::error::Error for BuildError {}

/// The reason why waiting for reclamation would never end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncError {
    /// This thread holds a guard, for which it would wait.
    Pinned,
    /// This thread is reclaiming a value (in a `Drop` that a store runs).
    Reclaiming,
    /// The system denies the barrier that the backend relies on, and a thread that has pinned before has neither pinned
    /// since nor ended. Freed values wait until it does; see [`docs::processes`](crate::docs::processes).
    NoBarrier,
    /// The process is the child of a fork, and guards that were taken before the fork may never be dropped; see
    /// [`docs::processes`](crate::docs::processes).
    Forked,
}

impl fmt::Display for SyncError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pinned => "synchronize would wait for a guard that this thread holds",
            Self::Reclaiming => "synchronize was called from a Drop that a store runs",
            Self::NoBarrier => {
                "membarrier is denied to this process, and a thread that has used stores has neither pinned since nor ended"
            }
            Self::Forked => "the process was forked while guards were held, which may never be dropped now",
        })
    }
}

impl std::error::Error for SyncError {}
