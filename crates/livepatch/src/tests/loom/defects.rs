//! The models on a broken protocol. A model that cannot fail proves nothing: each defect breaks one rule, and the model
//! named with it must notice.

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
    test_kit::planted(PLANTED, ALL.iter().map(|&(defect, _)| defect))
}

#[test]
fn planted_defects_are_noticed() {
    test_kit::expect_noticed(PLANTED, ALL.iter().copied());
}
