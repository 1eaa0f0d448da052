//! The functions that `#[patchable]` accepts, what it preserves of them, and those that it refuses.

mod solo;

use std::fmt::Write as _;
use std::panic;

use livepatch::{ObjectPatch, Patch, Patchable, patchable, registry};

/// Enables a patch of this one function while `body` runs.
fn patched<P: Patchable>(name: &str, new: P::Fn, body: impl FnOnce()) {
    let patch = Patch::builder(name)
        .object(ObjectPatch::program().function::<P>(new))
        .build()
        .unwrap();
    registry().enable(&patch).unwrap();
    solo::settle();
    body();
    registry().disable(name).unwrap();
    solo::settle();
}

/// Documented, with lifetimes, references in and out, and its own lint levels.
#[patchable]
#[must_use]
#[expect(clippy::needless_lifetimes, reason = "they are what is tested")]
fn longer<'a, 'b>(one: &'a str, other: &'a str, _of: &'b [u8]) -> &'a str {
    if one.len() >= other.len() { one } else { other }
}

#[patchable]
fn elided(words: &mut Vec<String>, word: &str) -> usize {
    words.push(word.to_owned());
    words.len()
}

#[patchable]
fn patterns((a, b): (u32, u32), [first, ..]: [u32; 3], mut sum: u32, _: &str, argument_0: u32, call: u32) -> u32 {
    sum += a + b + first + argument_0 + call;
    sum
}

struct Point {
    x: i32,
    y: i32,
}

#[patchable]
fn destructured(Point { x, y }: Point, scale: i32) -> i32 {
    (x + y) * scale
}

/// Doubles.
///
/// # Safety
///
/// `number` points to a number.
#[patchable]
unsafe fn raw(number: *mut u32) -> u32 {
    // SAFETY: the caller guarantees that `number` points to a number.
    unsafe {
        *number *= 2;
        *number
    }
}

#[patchable]
extern "C" fn foreign(number: i32) -> i32 {
    number + 1
}

#[patchable]
fn callback(apply: fn(u32) -> u32, boxed: Box<dyn Fn(u32) -> u32>, by_ref: &dyn Fn(u32) -> u32) -> u32 {
    by_ref(boxed(apply(1)))
}

#[patchable]
fn fallible(text: &str) -> Result<u32, std::num::ParseIntError> {
    #![allow(unused_variables, reason = "attributes of the body are the function's")]
    let unused = 1;
    let number: u32 = text.parse()?;
    Ok(number)
}

#[patchable]
fn never(message: &str) -> ! {
    panic!("{message}")
}

#[patchable]
fn unit_result() {}

#[patchable(name = "service::by another name")]
pub(crate) fn named() {}

#[patchable]
fn r#move(r#type: u32) -> u32 {
    r#type
}

#[patchable]
#[cfg(test)]
#[inline]
#[track_caller]
fn attributed() -> u32 {
    1
}

#[patchable]
#[cfg(not(test))]
fn attributed() -> u32 {
    compile_error!("left out")
}

#[patchable]
fn many(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8) -> u32 {
    [a, b, c, d, e, f, g].iter().map(|&n| u32::from(n)).sum()
}

mod outer {
    pub(crate) mod one {
        #[livepatch::patchable]
        pub(crate) fn same() -> &'static str {
            "one"
        }
    }
    pub(crate) mod two {
        #[livepatch::patchable]
        pub(in super::super) fn same() -> &'static str {
            private()
        }

        #[livepatch::patchable]
        fn private() -> &'static str {
            "two"
        }
    }
}

#[patchable]
fn recursive(number: u64) -> u64 {
    if number == 0 { 1 } else { number * recursive(number - 1) }
}

#[test]
fn calls_are_as_without_the_attribute() {
    let _alone = solo::alone();
    assert_eq!(longer("abc", "de", b""), "abc");
    let mut words = Vec::new();
    assert_eq!((elided(&mut words, "a"), elided(&mut words, "b")), (1, 2));
    assert_eq!(patterns((1, 2), [3, 9, 9], 4, "", 5, 6), 21);
    assert_eq!(destructured(Point { x: 1, y: 2 }, 3), 9);
    let mut number = 4;
    // SAFETY: it points to a number.
    assert_eq!((unsafe { raw(&raw mut number) }, number), (8, 8));
    assert_eq!(foreign(1), 2);
    assert_eq!(callback(|n| n + 1, Box::new(|n| n * 10), &|n| n + 5), 25);
    assert_eq!(fallible("7"), Ok(7));
    assert!(fallible("seven").is_err());
    assert!(panic::catch_unwind(|| never("on purpose")).is_err());
    unit_result();
    named();
    assert_eq!(r#move(3), 3);
    assert_eq!(attributed(), 1);
    assert_eq!(many(1, 2, 3, 4, 5, 6, 7), 28);
    assert_eq!(outer::one::same(), "one");
    assert_eq!(outer::two::same(), "two");
    assert_eq!(recursive(10), 3_628_800);
    // Used as values, they are functions of the type they were written with.
    let pointers: [fn(u32) -> u32; 1] = [r#move];
    assert_eq!(pointers.map(|pointer| pointer(9)), [9]);
    assert_eq!(["1", "2"].map(fallible), [Ok(1), Ok(2)]);
}

#[test]
fn each_kind_is_replaced() {
    fn shorter<'a>(one: &'a str, other: &'a str, _: &[u8]) -> &'a str {
        if one.len() < other.len() { one } else { other }
    }
    fn product((a, b): (u32, u32), _: [u32; 3], c: u32, _: &str, _: u32, _: u32) -> u32 {
        a * b * c
    }
    /// # Safety
    ///
    /// Same as [`raw`].
    unsafe fn tripled(number: *mut u32) -> u32 {
        // SAFETY: the caller guarantees that `number` points to a number.
        unsafe { *number * 3 }
    }
    extern "C" fn minus(number: i32) -> i32 {
        number - 1
    }
    fn refuses(_: &str) -> ! {
        panic!("replaced")
    }
    let _alone = solo::alone();
    patched::<longer>("longer", shorter, || assert_eq!(longer("abc", "de", b""), "de"));
    patched::<patterns>("patterns", product, || {
        assert_eq!(patterns((2, 3), [0; 3], 7, "", 0, 0), 42);
    });
    let mut number = 5;
    patched::<raw>("raw", tripled, || {
        // SAFETY: it points to a number.
        assert_eq!(unsafe { raw(&raw mut number) }, 15);
    });
    patched::<foreign>("foreign", minus, || assert_eq!(foreign(1), 0));
    patched::<never>("never", refuses, || {
        let payload = panic::catch_unwind(|| never("original")).expect_err("it does not return");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"replaced"));
    });
    patched::<outer::one::same>(
        "same",
        || "three",
        || {
            assert_eq!((outer::one::same(), outer::two::same()), ("three", "two"));
        },
    );
    patched::<recursive>("recursive", |number| number, || assert_eq!(recursive(10), 10));
    assert_eq!(recursive(3), 6);
}

#[test]
fn points_have_names_and_types() {
    assert_eq!(longer::point().raw().name(), "macros::longer");
    assert_eq!(outer::two::same::point().raw().name(), "macros::outer::two::same");
    assert_eq!(named::point().raw().name(), "service::by another name");
    let mut text = String::new();
    write!(text, "{:?}", foreign::point()).unwrap();
    assert!(text.contains("macros::foreign"), "{text}");
}

#[test]
fn within_a_body_and_in_macros() {
    macro_rules! define {
        ($name:ident, $answer:expr) => {
            #[patchable]
            fn $name(call: u32) -> u32 {
                call + $answer
            }
        };
    }
    #[patchable]
    fn local(argument: u32) -> u32 {
        #[patchable]
        fn local(argument: u32) -> u32 {
            argument + 1
        }
        local(argument) * 2
    }
    define!(defined, 40);
    let _alone = solo::alone();
    assert_eq!(local(1), 4);
    assert_eq!(defined(2), 42);
    patched::<defined>("defined", |_| 0, || assert_eq!(defined(2), 0));
}

#[test]
fn what_cannot_be_patchable_is_refused() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/refused/*.rs");
}
