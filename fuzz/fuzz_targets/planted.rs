//! Finds a planted fault, on two threads at once, so that `ci/fuzz.sh` can check that findings are written to disk.
#![no_main]

use std::sync::Barrier;
use std::thread::scope;

use libfuzzer_sys::fuzz_target;
use shadow_vars_fuzz::hunt;

fuzz_target!(|input: &[u8]| hunt(|| {
    if input == b"at once" {
        let together = Barrier::new(2);
        scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    together.wait();
                    panic!("planted");
                });
            }
        });
    }
}));
