//! Planted defects, and the models that catch them. Those not listed here are caught by runs (`tests::defects`).

use std::process::Command;

use crate::table::defect::Defect;

/// Says to a child what to plant.
const PLANT: &str = "SHADOW_PLANTED_DEFECT";

/// Each with a model that fails when it is planted.
const CAUGHT: &[(Defect, &str)] = &[
    (
        Defect::AnyTomb,
        "read::lists::what_two_threads_retire_is_dropped_once_and_not_under_a_reader",
    ),
    (
        Defect::EmptyAfterMovedIsAbsent,
        "migrate::inserts_grow_the_table_under_each_other",
    ),
    (
        Defect::SealedIsAbsent,
        "migrate::inserts_grow_the_table_under_each_other",
    ),
    (Defect::FullIsAbsent, "migrate::inserts_grow_the_table_under_each_other"),
    (
        Defect::BuildingIsFound,
        "construct::a_constructor_runs_once_for_two_who_want_the_variable",
    ),
    (
        Defect::BuildingExists,
        "construct::a_constructor_runs_once_for_two_who_want_the_variable",
    ),
    (
        Defect::DeadExists,
        "construct::a_failed_constructor_leaves_the_turn_to_who_waits",
    ),
    (Defect::KillByStore, "read::two_frees_take_a_value_once"),
    (Defect::FrozenLeft, "remove::a_remove_meets_a_helper"),
    (Defect::PlaceOverTomb, "remove::a_remove_meets_a_helper"),
    (Defect::HelperRetires, "remove::a_remove_meets_a_helper"),
    (
        Defect::SealByStore,
        "migrate::an_insert_of_another_key_meets_the_migration",
    ),
];

/// The defect that this process is told to plant, if it is a child.
pub(super) fn planted() -> Option<Defect> {
    let name = std::env::var(PLANT).ok()?;
    let found = CAUGHT.iter().find(|(defect, _)| format!("{defect:?}") == name);
    Some(found.unwrap_or_else(|| panic!("no such defect: {name}")).0)
}

#[test]
fn each_planted_defect_fails_its_model() {
    if planted().is_some() {
        return;
    }
    let Ok(this) = std::env::current_exe() else {
        panic!("where is this test?")
    };
    for (defect, model) in CAUGHT {
        let mut child = Command::new(&this);
        child.args(["--exact", &format!("tests::loom::{model}"), "--test-threads=1"]);
        let Ok(output) = child.env(PLANT, format!("{defect:?}")).output() else {
            panic!("cannot run {model}")
        };
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("running 1 test"), "there is no model {model}");
        assert!(!output.status.success(), "{defect:?} passes {model}");
    }
    eprintln!("{} defects, each caught by its model", CAUGHT.len());
}
