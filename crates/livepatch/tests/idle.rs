//! A transition that waits for a long unit uses no processor time.

use std::thread;
use std::time::Duration;

use livepatch::{ObjectPatch, Patch, patchable, registry, unit};

#[patchable]
fn answer() -> u32 {
    1
}

/// Returns the processor time of this process, in ticks.
#[cfg(target_os = "linux")]
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn waiting_for_a_unit_takes_no_processor() {
    let patch = Patch::builder("idle")
        .object(ObjectPatch::program().function::<answer>(|| 2))
        .build()
        .unwrap();
    let guard = unit();
    registry().enable(&patch).unwrap();
    let before = ticks();
    thread::sleep(Duration::from_millis(1500));
    let spent = ticks() - before;
    assert!(registry().status().transition.is_some());
    drop(guard);
    registry().wait(Duration::from_secs(20)).unwrap();
    assert_eq!(answer(), 2);
    registry().disable("idle").unwrap();
    registry().wait(Duration::from_secs(20)).unwrap();
    // A tick is 10 ms: a busy loop would have used some 100 of them, however busy the machine.
    assert!(spent < 30, "{spent} ticks");
}
