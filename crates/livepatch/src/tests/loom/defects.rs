//! The models on a broken protocol. A model that cannot fail proves nothing: each defect breaks one rule, and the model
//! named with it must notice.
//!
//! Every run is a separate process, as loom does not survive a failure.

use std::env;
use std::process::Command;
use std::time::Instant;

use crate::task::defect::Defect;

/// The variable that names the defect of a child process's world.
const PLANTED: &str = "LIVEPATCH_LOOM_DEFECT";

macro_rules! defects {
    ($($name:ident: $by:literal,)*) => {
        const ALL: &[(Defect, &str)] = &[$((Defect::$name, $by)),*];

        /// Fails to compile if a defect is missing above.
        const _: fn(Defect) = |defect| match defect {
            $(Defect::$name)|* => {}
        };
    };
}

defects! {
    NoLightBarrier: "transition::units_meet_a_transition_and_the_end_of_old_code",
    NoHeavyBarrier: "transition::units_meet_a_transition_and_the_end_of_old_code",
    NoSecondLook: "transition::units_meet_a_transition_and_the_end_of_old_code",
    RelaxedLeave: "transition::units_meet_a_transition_and_the_end_of_old_code",
    RelaxedBegin: "transition::a_scan_meets_the_unit_after_one_of_the_old_side",
    RelaxedFlip: "transition::units_meet_two_transitions",
    InsideUnlocked: "future::a_unit_begun_inside_another_meets_a_transition",
    NoScan: "transition::units_meet_a_transition_and_the_end_of_old_code",
    ForcedForgotten: "force::a_forced_unit_holds_up_the_reversal_of_the_next_transition",
    ForceByStore: "force::a_leaving_unit_is_forced",
    ForcedKeepsSide: "force::a_forced_unit_does_not_meet_what_the_next_transition_brings",
    SideFromBefore: "force::a_unit_begins_while_the_one_before_is_forced",
    ForcedUnseen: "force::a_unit_that_is_forced_as_it_begins_does_not_meet_what_the_next_transition_brings",
    FencesUnseen: "refused::units_meet_a_transition_and_the_refusal",
    FlipForgetsFences: "refused::units_meet_the_transition_after_the_refusal",
}

/// Returns the defect of all worlds of this process.
pub(super) fn planted() -> Option<Defect> {
    let name = env::var(PLANTED).ok()?;
    let found = ALL.iter().find(|(defect, _)| format!("{defect:?}") == name);
    Some(found.unwrap_or_else(|| panic!("no defect {name}")).0)
}

/// Runs a model with a defect in a child process. Returns the message of its panic, if it panicked.
fn run(model: &str, defect: Defect) -> Option<String> {
    let Ok(tests) = env::current_exe() else {
        panic!("this process has no file")
    };
    let child = Command::new(tests)
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .arg(format!("tests::loom::{model}"))
        .env(PLANTED, format!("{defect:?}"))
        .env("LOOM_MAX_PREEMPTIONS", "2")
        .env("RUST_BACKTRACE", "0")
        .output();
    let Ok(child) = child else { panic!("no child process") };
    let (out, err) = (
        String::from_utf8_lossy(&child.stdout),
        String::from_utf8_lossy(&child.stderr),
    );
    assert!(out.contains("running 1 test"), "no model {model}");
    if child.status.success() {
        return None;
    }
    let mut lines = err.lines().skip_while(|line| !line.contains("panicked at"));
    let (place, message) = (lines.next(), lines.next());
    assert!(place.is_some(), "{model} neither passed nor panicked: {err}");
    message.map(str::to_owned)
}

#[test]
fn planted_defects_are_noticed() {
    // A child that runs all tests, for whatever reason, must not start children in turn.
    if env::var_os(PLANTED).is_some() {
        return;
    }
    let mut missed = Vec::new();
    for &(defect, model) in ALL {
        let start = Instant::now();
        match run(model, defect) {
            Some(message) => eprintln!("{defect:?}: {model}, {:.1} s: {message}", start.elapsed().as_secs_f64()),
            None => missed.push((defect, model)),
        }
    }
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}
