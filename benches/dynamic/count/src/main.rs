//! The cost of calling patchable functions where functions come from patch libraries. The argument is the case; callgrind counts
//! the instructions inside `counted_…`. `harness` is the cost of the loop itself.

use std::hint::black_box;
use std::time::Duration;

use interface::{answer, direct};
use livepatch::{ObjectPatch, Patch, UnitExt, registry, unit};

/// Operations of each case.
const N: u64 = 1024;

/// Far longer than any case takes.
const LONG: Duration = Duration::from_secs(60);

/// Checks the sum of `N` answers of this version.
fn check(sum: u64, version: u64) {
    assert_eq!(sum, N * (N - 1) / 2 + N * version);
}

#[inline(always)]
fn calls(call: impl Fn(u64) -> u64) -> u64 {
    (0..N).map(|n| call(black_box(n))).sum()
}

/// Defines functions that callgrind knows by name.
macro_rules! counted {
    ($($name:ident: $call:expr;)*) => {
        $(#[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> u64 {
            calls($call)
        })*
    };
}

counted! {
    counted_harness: |n| n;
    counted_direct_call: direct;
    counted_call: answer;
    // The same call in a function of its own, so that nothing is reused from one call for the next.
    counted_call_alone: alone;
    counted_unit_and_end: |n| { drop(black_box(unit())); n };
    counted_future_in_unit: |n| polled(async move { n }.in_unit());
}

#[inline(never)]
fn alone(number: u64) -> u64 {
    answer(number)
}

/// Polls a future that is ready at once.
fn polled<T>(future: impl Future<Output = T>) -> T {
    use std::task::{Context, Poll, Waker};
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("a future that never waits"),
    }
}

/// Enables a patch that adds one to the answer.
fn patch() {
    let object = ObjectPatch::program().function::<answer>(|number| black_box(number) + 1);
    let patch = Patch::builder("bench").object(object).build().expect("a valid patch");
    registry().enable(&patch).expect("no other is enabled");
    registry().wait(LONG).expect("no unit holds it up");
}

fn main() {
    // Creates the thread's record here, so that it is not counted.
    assert_eq!(answer(1), 1);
    match std::env::args().nth(1).as_deref() {
        Some("harness") => check(counted_harness(), 0),
        Some("direct_call") => check(counted_direct_call(), 0),
        Some("call_no_patch") => check(counted_call(), 0),
        Some("call_alone_no_patch") => check(counted_call_alone(), 0),
        Some("call_settled") => {
            patch();
            check(counted_call(), 1);
        }
        Some("call_inside_no_patch") => {
            let _unit = unit();
            check(counted_call(), 0);
        }
        Some("call_inside_alone_no_patch") => {
            let _unit = unit();
            check(counted_call_alone(), 0);
        }
        Some("call_inside_settled") => {
            patch();
            let _unit = unit();
            check(counted_call(), 1);
        }
        Some("unit_and_end") => check(counted_unit_and_end(), 0),
        Some("future_in_unit") => check(counted_future_in_unit(), 0),
        _ => {
            for case in [
                "harness",
                "direct_call",
                "call_no_patch",
                "call_alone_no_patch",
                "call_settled",
                "call_inside_no_patch",
                "call_inside_alone_no_patch",
                "call_inside_settled",
                "unit_and_end",
                "future_in_unit",
            ] {
                println!("{case}");
            }
        }
    }
}
