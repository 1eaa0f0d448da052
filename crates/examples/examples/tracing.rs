//! What the store and live patches log, with their features `tracing`.
//!
//! `cargo run --example tracing`

use std::error::Error;
use std::io;
use std::thread;
use std::time::Duration;

use livepatch::{ObjectPatch, Patch, patchable, registry};
use shadow_vars::{ShadowId, global, report_old_guards};
use tracing::Level;

#[patchable]
fn limit() -> u32 {
    4
}

fn doubled() -> u32 {
    8
}

fn main() -> Result<(), Box<dyn Error>> {
    // The targets are `livepatch` and the modules of `shadow_vars`.
    tracing_subscriber::fmt()
        .with_max_level(Level::DEBUG)
        .with_writer(io::stdout)
        .without_time()
        .init();
    let object = 7_u32;
    let store = global();

    // A variable that exists already: an error of the call, and a warning.
    let vars = store.pin();
    vars.alloc(&object, ShadowId::new(1), "the first")?;
    assert!(vars.alloc(&object, ShadowId::new(1), "the second").is_err());

    // An id of another type: `get` finds nothing, and an error is logged. Two parts of the program use one number.
    assert_eq!(vars.get(&object, ShadowId::<u64>::new(1)), None);
    drop(vars);

    // A guard that is held for too long: a warning that names its thread, or for an owned guard the line that took it.
    report_old_guards(Some(Duration::from_millis(50)));
    let forgotten = store.pin_owned();
    while store.stats().old_guards == 0 {
        thread::sleep(Duration::from_millis(10));
    }
    drop(forgotten);

    // Each step of a patch.
    let patch = Patch::builder("double")
        .object(ObjectPatch::program().function::<limit>(doubled))
        .build()?;
    registry().enable(&patch)?;
    registry().wait(Duration::from_secs(10))?;
    assert_eq!(limit(), 8);
    registry().disable("double")?;
    registry().wait(Duration::from_secs(10))?;
    Ok(())
}
