//! What can go wrong, and what the caller gets back when it does.

use std::fmt;

use crate::ObjAddr;

/// Why the store did not create a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// The variable exists already (only the `alloc` forms say so).
    Exists {
        /// The parent.
        obj: ObjAddr,
        /// The id.
        id: u64,
    },
    /// The id is bound to another type.
    TypeMismatch(TypeMismatch),
    /// The raw variable exists with a smaller size or weaker alignment than asked for.
    LayoutMismatch(LayoutMismatch),
    /// A raw variable was asked for with an alignment above 4096 or an impossible size.
    InvalidLayout {
        /// Bytes asked for.
        size: usize,
        /// Alignment asked for.
        align: usize,
    },
    /// The allocator gave no memory (or an address beyond 48 bits, which a slot cannot hold).
    OutOfMemory,
    /// More than 2^32 different ids.
    TooManyIds,
    /// A constructor asked for the very variable that it is constructing.
    Recursion {
        /// The parent.
        obj: ObjAddr,
        /// The id.
        id: u64,
    },
    /// Waiting for this variable's constructor would close a ring of threads that wait for each other's constructors; or it
    /// has closed one, with the feature `rayon`, through [work stealing](crate::docs::limits#constructors-and-thread-pools).
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
            Self::Exists { obj, id } => write!(f, "shadow variable <{obj}, {id:#x}> exists already"),
            Self::TypeMismatch(mismatch) => mismatch.fmt(f),
            Self::LayoutMismatch(mismatch) => mismatch.fmt(f),
            Self::InvalidLayout { size, align } => {
                write!(
                    f,
                    "no shadow variable can have {size} bytes aligned to {align}: at most 4096 is supported"
                )
            }
            Self::OutOfMemory => f.write_str("out of memory for a shadow variable"),
            Self::TooManyIds => f.write_str("more than 2^32 shadow ids in one store"),
            Self::Recursion { obj, id } => {
                write!(
                    f,
                    "the constructor of shadow variable <{obj}, {id:#x}> asked for the variable itself"
                )
            }
            Self::Cycle { obj, id } => write!(
                f,
                "waiting for the constructor of shadow variable <{obj}, {id:#x}> would deadlock: \
                 its thread waits, directly or through others, for this one"
            ),
        }
    }
}

impl std::error::Error for StoreError {}

/// One id used with two types. `Display` names both. Without memory for a name, the name is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeMismatch {
    /// The id.
    pub id: u64,
    /// The type that the id is bound to in this store (`raw` for untyped variables).
    pub bound: String,
    /// The type that it was used with.
    pub asked: String,
}

impl fmt::Display for TypeMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "shadow id {:#x} holds `{}` and was used with `{}`",
            self.id, self.bound, self.asked
        )
    }
}

impl std::error::Error for TypeMismatch {}

/// A raw variable that is smaller or less aligned than the caller needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutMismatch {
    /// The parent.
    pub obj: ObjAddr,
    /// The id.
    pub id: u64,
    /// Size in bytes and alignment that the variable has.
    pub has: (usize, usize),
    /// Size in bytes and alignment that were asked for.
    pub asked: (usize, usize),
}

impl fmt::Display for LayoutMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { obj, id, has, asked } = self;
        write!(
            f,
            "shadow variable <{obj}, {id:#x}> has {} bytes aligned to {}, {} aligned to {} were asked for",
            has.0, has.1, asked.0, asked.1
        )
    }
}

impl std::error::Error for LayoutMismatch {}

/// A variable was not created from a value; the value comes back.
#[derive(Clone, PartialEq, Eq)]
pub struct AllocError<T> {
    /// The value that was to be stored.
    pub value: T,
    /// Why it was not.
    pub error: StoreError,
}

impl<T> AllocError<T> {
    /// The value that was to be stored.
    pub fn into_value(self) -> T {
        self.value
    }

    /// Whether the reason is that the variable exists already.
    pub fn is_exists(&self) -> bool {
        matches!(self.error, StoreError::Exists { .. })
    }
}

impl<T> From<AllocError<T>> for StoreError {
    /// The reason alone; the value is dropped.
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

/// A variable was not created: its constructor refused, or the store did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CtorError<E> {
    /// The constructor's own error.
    Ctor(E),
    /// The store's.
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
            Self::Ctor(error) => write!(f, "the constructor refused: {error}"),
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

/// A store that cannot be built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// More variables than a table can address.
    CapacityTooLarge {
        /// Variables asked for.
        asked: usize,
    },
    /// The allocator gave no memory for the first table.
    OutOfMemory {
        /// Variables asked for.
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

/// A wait for reclamation that could never end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncError {
    /// This thread holds a guard, which is what the wait would be for.
    Pinned,
    /// This thread is inside the reclamation of a value (in a `Drop` that the store runs).
    Reclaiming,
    /// The system refuses the barrier that the backend stands on, and a thread that has pinned before has neither pinned
    /// since nor ended. What is freed waits until it does; see [`docs::processes`](crate::docs::processes).
    NoBarrier,
    /// The process is the child of a fork, and guards of before may be held by nobody; see
    /// [`docs::processes`](crate::docs::processes).
    Forked,
}

impl fmt::Display for SyncError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pinned => "synchronize would wait for a guard that this thread holds",
            Self::Reclaiming => "synchronize was called from a Drop that the store itself runs",
            Self::NoBarrier => {
                "membarrier is denied to this process, and a thread that has used stores has neither pinned since nor ended"
            }
            Self::Forked => "the process was forked while guards were held that may be nobody's now",
        })
    }
}

impl std::error::Error for SyncError {}
