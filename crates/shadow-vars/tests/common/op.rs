//! All operations on a store, as one type that has a fixed width in bytes.
//!
//! An operation is four bytes: a tag, then up to three operands. Every four bytes are an operation (operands are taken modulo
//! the number of choices), so that a fuzzer's byte strings, proptest's random bytes and the hand-written sequences of the
//! tests are interchangeable, a changed byte changes one operand, and zeros are the simplest sequence.

/// The parents: zero, ordinary addresses, and ones that do not fit into a packed word (odd, or wider than 48 bits),
/// which the store keeps differently.
pub const ADDRESSES: [usize; 6] = [
    0,
    0x1000,
    0x1003,
    0x7f12_3456_7890,
    0xbeef_0000_0000_0010_u64 as usize,
    usize::MAX,
];

/// Parents of variables that only fill the table, at the stride of an allocator's objects.
pub const fn filler(n: usize) -> usize {
    0x55_0000_0000 + n * 64
}

/// The bytes of one operation.
pub const WIDTH: usize = 4;

/// An operand, chosen by one byte.
pub trait Operand: Sized {
    fn from_byte(byte: u8) -> Self;
    fn to_byte(&self) -> u8;
}

impl Operand for u8 {
    fn from_byte(byte: u8) -> Self {
        byte
    }

    fn to_byte(&self) -> u8 {
        *self
    }
}

impl Operand for bool {
    fn from_byte(byte: u8) -> Self {
        byte % 2 == 1
    }

    fn to_byte(&self) -> u8 {
        u8::from(*self)
    }
}

/// Declares the operations and their encoding: the tag is the position in this list.
macro_rules! operations {
    ($( $(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty),* } )*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Op {
            $( $(#[$doc])* $name { $($field: $kind),* }, )*
        }

        enum Tag { $($name),* }

        impl Op {
            /// The number of operations.
            pub const KINDS: u8 = [$(Tag::$name as u8),*].len() as u8;

            /// Returns the operation that these bytes name; all bytes name one.
            pub fn decode(bytes: [u8; WIDTH]) -> Self {
                let tag = bytes[0] % Self::KINDS;
                let mut operands = bytes[1..].iter().copied();
                let mut next = || operands.next().expect("at most three operands");
                $(
                    if tag == Tag::$name as u8 {
                        return Op::$name { $($field: Operand::from_byte(next())),* };
                    }
                )*
                let _ = &mut next;
                unreachable!("{tag} is less than {}", Self::KINDS)
            }

            /// Returns the bytes that name this operation.
            pub fn encode(&self) -> [u8; WIDTH] {
                let mut bytes = [0; WIDTH];
                match self {
                    $(
                        Op::$name { $($field),* } => {
                            let operands: &[u8] = &[$($field.to_byte()),*];
                            bytes[0] = Tag::$name as u8;
                            bytes[1..=operands.len()].copy_from_slice(operands);
                        }
                    )*
                }
                bytes
            }
        }
    };
}

operations! {
    // Reading.
    Get { key: Key, via: Via }
    TryGet { key: Key, via: Via }
    Contains { key: Key, via: Via }
    /// Reads a clone, of the types that have one.
    GetCloned { key: Key }
    /// Reads many keys at once, into a slice of another length.
    GetMany { keys: u8, places: u8, via: Via }
    /// Changes the value in place, through the shared reference.
    Touch { key: Key }

    // Creating.
    Alloc { key: Key, via: Via }
    AllocWith { key: Key, how: Ctor, via: Via }
    TryAllocWith { key: Key, how: Ctor, via: Via }
    AllocZeroed { key: Key, via: Via }
    GetOrAlloc { key: Key, via: Via }
    GetOrAllocWith { key: Key, how: Ctor, via: Via }
    GetOrTryAllocWith { key: Key, how: Ctor, via: Via }
    GetOrAllocZeroed { key: Key, via: Via }

    // Removing.
    Free { key: Key, via: Via }
    FreeWith { key: Key, how: Dtor, via: Via }
    FreeAll { slot: Slot, via: Via }
    /// With a destructor that may panic.
    FreeAllWith { slot: Slot, panics: bool, via: Via }
    FreeObject { key: Key, via: Via }
    /// A parent that frees its variables.
    Parent { slot: Slot }

    // Operations on the whole store.
    IdsOf { key: Key, via: Via }
    Iterate { via: Via }
    /// Frees every variable of the id that the iteration finds, from within it.
    FreeWhileIterating { slot: Slot }
    /// Makes the table grow during an iteration.
    FillWhileIterating { count: u8 }
    Lengths {}
    Stats {}

    // Types and raw memory.
    CheckIds {}
    /// Requests the variable with another type than its id has.
    WrongType { key: Key, via: Via }
    /// Requests a typed variable as raw memory.
    RawOnTyped { key: Key }
    RawGet { key: Key, shape: Shape }
    RawAlloc { key: Key, shape: Shape, how: RawCtorKind }
    RawGetOrAlloc { key: Key, shape: Shape, how: RawCtorKind }
    RawFree { key: Key, dtor: bool }
    RawFreeAll { dtor: bool }

    // By many threads, if the feature is enabled; otherwise by this one.
    ParFreeAllWith { slot: Slot }
    ParIterate {}

    // Replacing the table, and producing garbage.
    Fill { count: u8 }
    Drain { count: u8 }
    /// Creates and frees this many variables, each at an address of its own.
    Churn { count: u8 }
    ShrinkToFit {}
    Flush {}
    Synchronize {}
    /// Takes a guard and holds it over the following operations.
    Hold { owned: bool }
    Repin {}
    Release {}
}

/// Declares an operand that is one of a list.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $( $(#[$vdoc:meta])* $variant:ident ),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $( $(#[$vdoc])* $variant ),* }

        impl $name {
            pub const ALL: &'static [Self] = &[$($name::$variant),*];
        }

        impl Operand for $name {
            fn from_byte(byte: u8) -> Self {
                Self::ALL[usize::from(byte) % Self::ALL.len()]
            }

            fn to_byte(&self) -> u8 {
                *self as u8
            }
        }
    };
}
pub(super) use choice;

choice! {
    /// A typed id.
    Slot {
        /// Counted values.
        Node,
        /// Values that may be zero.
        Plain,
        /// Values of no size.
        Flag,
        /// Counted values, aligned to 64 bytes.
        Wide,
        /// Counted values of the first id's type under another id.
        Twin,
    }
}

choice! {
    /// The door through which the operation accesses the store.
    Via {
        /// By a `Variable`, under a guard taken for this operation.
        Variable,
        /// By id, under a guard taken for this operation.
        Pin,
        /// The guard that is held, if one is.
        Held,
    }
}

choice! {
    /// What the constructor does besides, or instead of, constructing.
    Ctor {
        Succeeds,
        Fails,
        Panics,
        /// Creates another variable first.
        Nests,
        /// Creates another variable, then fails.
        NestsAndFails,
        /// Requests the variable that it is constructing, in every way that would have to wait for it.
        Recurses,
        /// Looks up the variable that it is constructing, in every way that does not wait.
        Looks,
        /// Frees another variable, then all of its own id.
        Frees,
        /// Makes the table grow.
        Fills,
        /// Constructs a value whose drop panics.
        Spites,
    }
}

choice! {
    /// What the destructor callback does.
    Dtor {
        Looks,
        Panics,
        /// Creates the same variable again.
        Revives,
        /// Makes the table grow.
        Fills,
    }
}

choice! {
    /// A layout for raw memory.
    Shape { Word, Long, Aligned, Byte, Page, Nothing }
}

impl Slot {
    /// The id's number. Zero and the largest are ids like any other.
    pub const fn id(self) -> u64 {
        match self {
            Slot::Node => 7,
            Slot::Twin => 8,
            Slot::Plain => 0,
            Slot::Wide => 1 << 40,
            Slot::Flag => u64::MAX,
        }
    }
}

/// The id of the variables that fill the table.
pub const FILLER: u64 = 0xf111;

/// The id of raw memory.
pub const RAW: u64 = 0x1234;

impl Shape {
    /// Size and alignment.
    pub fn layout(self) -> std::alloc::Layout {
        let (size, align) = match self {
            Shape::Word => (8, 8),
            Shape::Long => (100, 4),
            Shape::Aligned => (64, 64),
            Shape::Byte => (1, 1),
            Shape::Page => (4096, 4096),
            Shape::Nothing => (0, 1),
        };
        std::alloc::Layout::from_size_align(size, align).expect("a valid layout")
    }
}

choice! {
    /// What the constructor of raw memory does.
    RawCtorKind { Absent, Fills, Refuses }
}

/// One variable: a place in [`ADDRESSES`] and an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub obj: u8,
    pub slot: Slot,
}

impl Key {
    pub const fn new(obj: u8, slot: Slot) -> Self {
        Key { obj, slot }
    }

    pub fn address(self) -> usize {
        ADDRESSES[usize::from(self.obj)]
    }

    /// The same id with the next parent.
    pub fn next(self) -> Key {
        Key {
            obj: (self.obj + 1) % ADDRESSES.len() as u8,
            ..self
        }
    }

    /// Returns every key.
    pub fn all() -> impl Iterator<Item = Key> {
        (0..ADDRESSES.len() as u8).flat_map(|obj| Slot::ALL.iter().map(move |&slot| Key { obj, slot }))
    }
}

impl Operand for Key {
    fn from_byte(byte: u8) -> Self {
        let objs = ADDRESSES.len() as u8;
        Key {
            obj: byte % objs,
            slot: Slot::from_byte(byte / objs),
        }
    }

    fn to_byte(&self) -> u8 {
        self.obj + ADDRESSES.len() as u8 * self.slot.to_byte()
    }
}

/// Returns the operations that a string of bytes names.
pub fn decode_all(bytes: &[u8]) -> Vec<Op> {
    bytes
        .chunks_exact(WIDTH)
        .map(|chunk| Op::decode(chunk.try_into().expect("of this width")))
        .collect()
}

/// Returns the bytes that name these operations.
pub fn encode_all(ops: &[Op]) -> Vec<u8> {
    ops.iter().flat_map(Op::encode).collect()
}
