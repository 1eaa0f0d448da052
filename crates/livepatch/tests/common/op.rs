//! All operations on a registry, as one type with a fixed width in bytes.
//!
//! Every eight bytes are an operation, so that a fuzzer's byte strings, proptest's random bytes and the hand-written
//! sequences of the tests are interchangeable, and zeros are the simplest sequence.

/// The length of an operation in bytes.
pub const WIDTH: usize = 8;
/// The number of names of patches.
pub const NAMES: u8 = 4;
/// One more name, for the patch that replaces all others at the end.
pub const LAST: u8 = NAMES;
/// The number of tasks whose units are entered and left.
pub const TASKS: u8 = 3;
/// Ids of shadow variables. The first three belong to the state of that id, the last to each state that owns it.
pub const SHADOWS: [u64; 4] = [1, 2, 3, 9];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Begins a unit in a task, or one more inside it.
    Enter(u8),
    /// Ends a unit.
    Leave(u8),
    /// Enables a new patch.
    Enable(Spec),
    /// Enables the most recent patch of that name once more.
    Again(u8),
    Disable(u8),
    Reverse(u8),
    Force(u8),
    Coming(Object),
    Live(Object),
    Going(Object),
    /// Attaches a variable of one of [`SHADOWS`] to a new object.
    Attach(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    Program,
    M,
    N,
}

/// A patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Spec {
    pub name: u8,
    pub replace: bool,
    /// Which of the objects it has; if none, the program.
    pub objects: [bool; 3],
    /// Whether it has them in reverse order.
    pub backwards: bool,
    /// Which functions it replaces, among those of its objects.
    pub functions: [bool; 5],
    /// Which callbacks its objects have, in the order of the life cycle.
    pub callbacks: [bool; 4],
    /// The defect of its first object.
    pub bad: Option<Bad>,
    pub states: [Option<StateSpec>; 3],
    pub manner: Manner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    UnknownPoint,
    Signature,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct StateSpec {
    /// From 1 to 3.
    pub version: u32,
    pub kind: StateKind,
    pub blocks: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StateKind {
    /// Neither callbacks nor variables.
    #[default]
    Note,
    /// Callbacks.
    Told,
    /// Variables of its own id.
    Owns,
    /// Callbacks, variables of its own id, and of the id that several states have.
    Both,
}

impl StateKind {
    pub fn is_told(self) -> bool {
        matches!(self, Self::Told | Self::Both)
    }

    pub fn shadows(self, id: u64) -> Vec<u64> {
        match self {
            Self::Note | Self::Told => vec![],
            Self::Owns => vec![id],
            Self::Both => vec![id, SHADOWS[3]],
        }
    }
}

/// How a patch's callbacks behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Manner {
    #[default]
    Calm,
    /// The `pre_patch` of this owner refuses; the states come first, then the objects. Taken modulo their number.
    Refuses(u8),
    /// The `pre_patch` of this owner panics.
    Panics(u8),
    /// All callbacks that cannot refuse panic.
    Trembles,
    /// All callbacks try to change patches and modules.
    Meddles,
}

impl Object {
    pub const ALL: [Self; 3] = [Self::Program, Self::M, Self::N];

    /// Returns the name as in the notation.
    pub fn short(self) -> &'static str {
        ["v", "m", "n"][self as usize]
    }

    /// Returns the name as in the registry.
    pub fn name(self) -> &'static str {
        [livepatch::PROGRAM, "m", "n"][self as usize]
    }

    /// Returns which of the functions it has.
    pub fn functions(self) -> std::ops::Range<usize> {
        [0..2, 2..4, 4..5][self as usize].clone()
    }

    fn module(byte: u8) -> Self {
        [Self::M, Self::N][usize::from(byte % 2)]
    }
}

impl Spec {
    /// Returns a patch of the program with all callbacks, which replaces all functions.
    pub fn full(name: u8) -> Self {
        Spec {
            name,
            objects: [true; 3],
            functions: [true; 5],
            callbacks: [true; 4],
            ..Spec::default()
        }
    }

    /// Returns a patch that replaces any others, and can be disabled.
    pub fn last() -> Self {
        let note = StateSpec {
            version: 3,
            ..StateSpec::default()
        };
        Spec {
            name: LAST,
            replace: true,
            states: [Some(note); 3],
            ..Spec::default()
        }
    }

    pub fn objects(&self) -> Vec<Object> {
        let none = self.objects == [false; 3];
        let has = |object: &Object| self.objects[*object as usize] || (none && *object == Object::Program);
        let mut objects: Vec<Object> = Object::ALL.into_iter().filter(has).collect();
        if self.backwards {
            objects.reverse();
        }
        objects
    }

    /// Returns the functions that the patch replaces in this object: at least one if there is no callback.
    pub fn functions_of(&self, object: Object) -> Vec<usize> {
        let mut functions: Vec<usize> = object.functions().filter(|&index| self.functions[index]).collect();
        if functions.is_empty() && self.callbacks == [false; 4] {
            functions.push(object.functions().start);
        }
        functions
    }

    /// Returns the states by id.
    pub fn states(&self) -> Vec<(u64, StateSpec)> {
        (1..)
            .zip(self.states)
            .filter_map(|(id, state)| Some((id, state?)))
            .collect()
    }

    pub fn bad(&self, object: Object) -> Option<Bad> {
        self.bad.filter(|_| self.objects()[0] == object)
    }

    /// Returns whether this owner's `pre_patch` is the one that a manner refers to.
    pub fn is_meant(&self, which: u8, owner: usize) -> bool {
        usize::from(which) % (self.states().len() + self.objects().len()) == owner
    }
}

const TAGS: [u8; 32] = [
    0, 1, 2, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 4, 4, 4, 5, 5, 6, 7, 7, 7, 8, 9, 9, 10, 10, 10,
];

impl Op {
    pub fn decode(bytes: [u8; WIDTH]) -> Self {
        let [tag, operand, ..] = bytes;
        match TAGS[usize::from(tag) % TAGS.len()] {
            0 => Self::Enter(operand % TASKS),
            1 => Self::Leave(operand % TASKS),
            2 => Self::Enable(Spec::decode([1, 2, 3, 4, 5, 6, 7].map(|place| bytes[place]))),
            3 => Self::Again(operand % NAMES),
            4 => Self::Disable(operand % NAMES),
            5 => Self::Reverse(operand % NAMES),
            6 => Self::Force(operand % NAMES),
            7 => Self::Coming(Object::module(operand)),
            8 => Self::Live(Object::module(operand)),
            9 => Self::Going(Object::module(operand)),
            _ => Self::Attach(operand % SHADOWS.len() as u8),
        }
    }

    pub fn encode(&self) -> [u8; WIDTH] {
        let (tag, operand) = match *self {
            Self::Enter(task) => (0, task),
            Self::Leave(task) => (1, task),
            Self::Enable(_) => (2, 0),
            Self::Again(name) => (3, name),
            Self::Disable(name) => (4, name),
            Self::Reverse(name) => (5, name),
            Self::Force(name) => (6, name),
            Self::Coming(module) => (7, module as u8 - 1),
            Self::Live(module) => (8, module as u8 - 1),
            Self::Going(module) => (9, module as u8 - 1),
            Self::Attach(shadow) => (10, shadow),
        };
        let place = TAGS.iter().position(|&one| one == tag).expect("each has a place");
        let mut bytes = [0; WIDTH];
        (bytes[0], bytes[1]) = (place as u8, operand);
        if let Self::Enable(spec) = self {
            bytes[1..].copy_from_slice(&spec.encode());
        }
        bytes
    }
}

impl Spec {
    fn decode([head, functions, callbacks, s1, s2, s3, manner]: [u8; WIDTH - 1]) -> Self {
        Spec {
            name: head % NAMES,
            replace: bit(head, 2),
            objects: [3, 4, 5].map(|place| bit(head, place)),
            backwards: bit(head, 6),
            functions: [0, 1, 2, 3, 4].map(|place| bit(functions, place)),
            callbacks: [0, 1, 2, 3].map(|place| bit(callbacks, place)),
            bad: match callbacks >> 4 {
                14 => Some(Bad::UnknownPoint),
                15 => Some(Bad::Signature),
                _ => None,
            },
            states: [s1, s2, s3].map(StateSpec::decode),
            manner: match manner % 8 {
                0..4 => Manner::Calm,
                4 => Manner::Refuses(manner >> 3),
                5 => Manner::Panics(manner >> 3),
                6 => Manner::Trembles,
                _ => Manner::Meddles,
            },
        }
    }

    fn encode(&self) -> [u8; WIDTH - 1] {
        let bits = |bits: &[bool]| (0..).zip(bits).map(|(place, &one)| u8::from(one) << place).sum::<u8>();
        let bad = match self.bad {
            None => 0,
            Some(Bad::UnknownPoint) => 14,
            Some(Bad::Signature) => 15,
        };
        let [s1, s2, s3] = self.states.map(|state| state.map_or(0, StateSpec::encode));
        [
            self.name | u8::from(self.replace) << 2 | bits(&self.objects) << 3 | u8::from(self.backwards) << 6,
            bits(&self.functions),
            bits(&self.callbacks) | bad << 4,
            s1,
            s2,
            s3,
            match self.manner {
                Manner::Calm => 0,
                Manner::Refuses(which) => 4 | which << 3,
                Manner::Panics(which) => 5 | which << 3,
                Manner::Trembles => 6,
                Manner::Meddles => 7,
            },
        ]
    }
}

impl StateSpec {
    /// A quarter of the bytes decode to a state; few of these block.
    fn decode(byte: u8) -> Option<Self> {
        (byte % 4 == 3).then(|| StateSpec {
            version: 1 + u32::from(byte >> 2 & 3) % 3,
            kind: [StateKind::Note, StateKind::Told, StateKind::Owns, StateKind::Both][usize::from(byte >> 4) % 4],
            blocks: byte >> 6 == 3,
        })
    }

    fn encode(self) -> u8 {
        3 | (((self.version - 1) as u8 % 3) << 2) | ((self.kind as u8) << 4) | (u8::from(self.blocks) * 0xc0)
    }
}

fn bit(byte: u8, place: u8) -> bool {
    byte >> place & 1 == 1
}

/// Decodes as many operations as the bytes contain.
pub fn decode_all(bytes: &[u8]) -> Vec<Op> {
    let (ops, _) = bytes.as_chunks::<WIDTH>();
    ops.iter().map(|&op| Op::decode(op)).collect()
}

pub fn encode_all(ops: &[Op]) -> Vec<u8> {
    ops.iter().flat_map(Op::encode).collect()
}
