//! Instruction counts of live patching: calls, units. Each benchmark runs its operation [`N`] times, unless its name says
//! otherwise; `harness` is the cost of the loop itself.

use iai_callgrind::main;

/// In a module, because the macro's own functions are public.
mod live {
    use std::hint::black_box;

    use iai_callgrind::{library_benchmark, library_benchmark_group};
    use livepatch::{Unit, UnitExt, unit};
    use shadow_benches::{Elsewhere, Other, Patched, answer, direct, pollster};

    /// Operations of each benchmark.
    const N: u64 = 1024;

    /// Checks the sum of `N` answers of this version.
    fn check(sum: u64, version: u64) {
        assert_eq!(sum, N * (N - 1) / 2 + N * version);
    }

    fn calls(call: impl Fn(u64) -> u64) -> u64 {
        (0..N).map(|n| call(black_box(n))).sum()
    }

    /// Creates the thread's record here, so that it is not counted.
    fn no_patch() {
        assert_eq!(answer(1), 1);
    }

    fn settled() -> Patched {
        no_patch();
        Patched::on()
    }

    #[library_benchmark]
    fn harness() {
        check(calls(|n| n), 0);
    }

    #[library_benchmark]
    fn direct_call() {
        check(calls(direct), 0);
    }

    #[library_benchmark]
    #[bench::n(Other::new())]
    fn pointer(other: Other) {
        check(calls(|n| other.pointer(n)), 0);
    }

    #[library_benchmark]
    #[bench::n(Other::new())]
    fn arc_swap(other: Other) {
        check(calls(|n| other.arc_swap(n)), 0);
    }

    #[library_benchmark]
    #[bench::n(Other::new())]
    fn rw_lock(other: Other) {
        check(calls(|n| other.rw_lock(n)), 0);
    }

    #[library_benchmark]
    #[bench::n(no_patch())]
    fn call_no_patch((): ()) {
        check(calls(answer), 0);
    }

    #[library_benchmark]
    #[bench::n(settled())]
    fn call_settled(patched: Patched) -> Patched {
        check(calls(answer), 1);
        patched
    }

    #[library_benchmark]
    #[bench::n(no_patch())]
    fn call_inside_no_patch((): ()) {
        let guard = unit();
        check(calls(answer), 0);
        drop(guard);
    }

    #[library_benchmark]
    #[bench::n(settled())]
    fn call_inside_settled(patched: Patched) -> Patched {
        let guard = unit();
        check(calls(answer), 1);
        drop(guard);
        patched
    }

    /// Begins a transition that waits for the unit of this thread, which runs the old function.
    fn old_side() -> (Unit, Patched) {
        no_patch();
        (unit(), Patched::begin())
    }

    /// Begins a transition that waits for a unit of another thread: a unit that begins on this one runs the new function.
    fn new_side() -> (Elsewhere, Patched) {
        no_patch();
        (Elsewhere::unit(), Patched::begin())
    }

    #[library_benchmark]
    #[bench::n(old_side())]
    fn call_inside_old_side(held: (Unit, Patched)) -> (Unit, Patched) {
        check(calls(answer), 0);
        held
    }

    #[library_benchmark]
    #[bench::n(new_side())]
    fn call_inside_new_side(held: (Elsewhere, Patched)) -> (Elsewhere, Patched) {
        let guard = unit();
        check(calls(answer), 1);
        drop(guard);
        held
    }

    #[library_benchmark]
    #[bench::n(new_side())]
    fn call_new_side(held: (Elsewhere, Patched)) -> (Elsewhere, Patched) {
        check(calls(answer), 1);
        held
    }

    #[library_benchmark]
    #[bench::n(no_patch())]
    fn unit_and_end((): ()) {
        check(
            calls(|n| {
                drop(black_box(unit()));
                n
            }),
            0,
        );
    }

    #[library_benchmark]
    #[bench::n(no_patch())]
    fn future_in_unit((): ()) {
        check(calls(|n| pollster(async move { n }.in_unit())), 0);
    }

    library_benchmark_group!(
        name = livepatch_group;
        benchmarks =
            harness, direct_call, pointer, arc_swap, rw_lock, call_no_patch, call_settled, call_inside_no_patch,
            call_inside_settled, call_inside_old_side, call_inside_new_side, call_new_side, unit_and_end, future_in_unit
    );
}
use live::livepatch_group;

main!(library_benchmark_groups = livepatch_group);
