//! Runs the models on a broken protocol. A model that cannot fail proves nothing: each defect breaks one rule, and the
//! model named with it must notice.

use crate::defect::Defect;

/// The environment variable that names the defect of all stores of a child process.
const PLANTED: &str = "SHADOW_LOOM_DEFECT";

/// The models that notice a defect.
#[derive(Clone, Copy)]
enum By {
    Model(&'static str),
    /// Each of these models.
    Models(&'static [&'static str]),
    /// No model, for this reason.
    None(&'static str),
}

macro_rules! defects {
    ($($name:ident: $by:expr,)*) => {
        const ALL: &[(Defect, By)] = &[$((Defect::$name, $by)),*];

        /// Does not compile if a defect is missing above.
        const _: fn(Defect) = |defect| match defect {
            $(Defect::$name)|* => {}
        };
    };
}

defects! {
    AnyTomb: By::Model("remove::a_remove_beside_another_key_meets_a_migration"),
    EmptyBeforeSealed: By::Model("migrate::two_inserts_of_a_key_meet_beside_a_sleeping_helper"),
    AnyIsLast: By::Model("promote::a_finder_sees_the_key_beside_a_free_slot_across_a_migration"),
    LastWithoutFence: By::Model("promote::a_finder_that_is_older_than_a_migration_sees_the_key"),
    SieveIsLast: By::Model("sieve::what_was_inserted_into_the_successor_is_found"),
    SieveAfterClaim: By::Model("sieve::what_was_inserted_is_found"),
    TombNotNoted: By::Model("sieve::what_takes_the_place_of_a_removers_tomb_is_found"),
    EmptyAfterMovedIsAbsent: By::Model("promote::a_finder_sees_the_second_key_of_a_bucket_across_the_promotion"),
    SealedIsAbsent: By::Model("migrate::an_insert_moves_its_tomb_on_if_the_helper_sleeps"),
    FrozenDeadIsAbsent: By::None("harmless alone: insert makes FROZEN(dead) MOVED before it goes on"),
    FullIsAbsent: By::Model("migrate::inserts_grow_the_table_under_each_other"),
    BuildingIsFound: By::Model("construct::a_finder_sees_nothing_or_the_whole_value"),
    BuildingExists: By::Model("construct::an_alloc_waits_for_the_constructor"),
    DeadExists: By::Model("migrate::an_insert_leaves_a_frozen_dead_node_alone"),
    ClaimAfterMoved: By::Model("migrate::an_insert_meets_a_whole_migration_of_a_full_bucket"),
    NoSeal: By::None("harmless alone: an insert that looked for a successor just before there was one does the same"),
    DeadLinkLeft: By::Model("migrate::an_insert_moves_a_dead_node_on_if_the_helper_sleeps"),
    TombLeft: By::Model("migrate::an_insert_moves_its_tomb_on_if_the_helper_sleeps"),
    FrozenDeadReused: By::Model("migrate::an_insert_leaves_a_frozen_dead_node_alone"),
    ReplacerRetires: By::Model("reuse::a_dead_node_is_replaced_and_retired_by_its_remover"),
    KillByStore: By::Model("read::of_two_frees_one_takes_the_value"),
    RetireBeforeUnlink: By::Model("read::a_reader_keeps_what_it_found_through_a_free"),
    UnlinkByStore: By::Model("reuse::a_dead_node_is_replaced_and_retired_by_its_remover"),
    UnlinkToEmpty: By::Model("remove::a_remove_meets_two_helpers"),
    UnlinkFromFound: By::Model("sweep::a_sweep_lets_go_in_the_root_of_what_it_frees_in_the_successor"),
    RemoverStopsAtFrozen: By::Model("remove::a_remove_meets_a_helper"),
    RemoverNeverClaims: By::Model("remove::a_remove_meets_a_helper"),
    FrozenLeft: By::Model("remove::a_remove_meets_a_helper_of_two_blocks"),
    FrozenToTomb: By::Model("migrate::an_insert_meets_a_remove_and_a_migration"),
    TombAfterMoved: By::Model("remove::a_remove_beside_another_key_meets_a_migration"),
    FailedNotUnlinked: By::Model("construct::two_failed_constructors_leave_nothing"),
    PlaceBeforeFreeze: By::Model("remove::a_remove_meets_a_helper"),
    MovedBeforePlace: By::Model("promote::a_finder_sees_a_live_key_across_the_promotion"),
    FreezeByStore: By::Model("remove::a_remove_meets_a_helper"),
    SealByStore: By::Model("migrate::an_insert_of_another_key_meets_the_migration"),
    SealLast: By::Model("migrate::an_insert_into_an_empty_bucket_meets_the_migration"),
    BuildingNotPlaced: By::Model("construct::a_variable_under_construction_moves_with_its_table"),
    PlaceOverTomb: By::Model("remove::a_remove_meets_a_helper"),
    PlaceAfterMoved: By::Model("remove::a_helper_sleeps_from_one_migration_into_the_next"),
    HelperRetires: By::Model("remove::a_remove_meets_a_helper"),
    PromoteEarly: By::Model("promote::a_finder_sees_the_key_of_the_last_block_across_the_promotion"),
    RetireTableFirst: By::Model("promote::a_finder_sees_a_live_key_across_the_promotion"),
    SweepNextFirst: By::Model("sweep::a_sweep_takes_variables_across_a_whole_migration"),
    SweepWithoutFence: By::Model("sweep::a_sweep_takes_variables_across_a_whole_migration"),
    FirstPlaceOnly: By::Model("sweep::a_parents_variables_in_two_places_are_met_while_they_move"),
    LastPlaceDecides: By::Model("sweep::a_parents_variables_in_two_places_are_met_while_they_move"),
    PushBesideClose: By::Model("retire::an_owner_retires_beside_one_who_closes_for_it"),
    CloseBesidePush: By::Model("retire::an_owner_retires_beside_one_who_closes_for_it"),
    TakeBesideOwner: By::Model("retire::an_owner_drops_beside_one_who_drains_for_it"),
    OwnedIgnored: By::Model("grace::an_owned_guard_protects_what_it_finds"),
    OwnedSeenEarly: By::Model("grace::an_owned_guard_holds_up_a_scan_of_before"),
    HandForgotten: By::Model("retire::what_an_owner_has_in_hand_is_not_done"),
    CountAfterClose: By::Model("retire::what_was_retired_before_the_mark_is_gone_when_it_is_done"),
    MarkForgetsOpen: By::Model("retire::what_was_retired_before_the_mark_is_gone_when_it_is_done"),
    NoLightBarrier: By::Model("grace::nothing_is_dropped_before_a_readers_guard_goes"),
    NoHeavyBarrier: By::Models(&[
        "grace::nothing_is_dropped_before_a_readers_guard_goes",
        "eras::nothing_is_sifted_before_the_barrier",
    ]),
    RefusedCountsAsFenced: By::Model("grace::nothing_is_dropped_while_the_barrier_is_refused"),
    ReadersIgnored: By::Model("grace::nothing_is_dropped_before_a_readers_guard_goes"),
    UpperNotPublished: By::Model("eras::a_reader_in_a_look_up_announces_what_it_finds"),
    NoReload: By::Model("eras::a_word_counts_that_was_loaded_after_the_announcement"),
    UppersSeenEarly: By::Model("eras::nothing_is_sifted_without_a_barrier"),
    BornLate: By::Model("eras::a_reader_in_a_look_up_announces_what_it_finds"),
    SuccessorUnchecked: By::Models(&[
        "eras::a_reader_in_a_table_passes_by_a_successor_that_is_gone",
        "eras::a_remover_in_a_table_passes_by_a_successor_that_is_gone",
    ]),
    PhaseIgnored: By::Model("tally::a_variable_that_comes_and_goes_is_counted_once"),
    PhaseMovedLast: By::Model("tally::a_variable_that_comes_and_goes_is_counted_once"),
    LookUnchecked: By::Model("tally::two_looks_at_once_are_both_true"),
    LookWithoutFence: By::Model("tally::a_variable_that_comes_and_goes_is_counted_once"),
}

/// The defect of all stores of this process.
pub(super) fn planted() -> Option<Defect> {
    test_kit::planted(PLANTED, ALL.iter().map(|&(defect, _)| defect))
}

#[test]
fn planted_defects_are_noticed() {
    let runs = ALL.iter().flat_map(|&(defect, by)| {
        let models = match by {
            By::Model(model) => vec![model],
            By::Models(models) => models.to_vec(),
            By::None(why) => {
                eprintln!("{defect:?}: {why}");
                Vec::new()
            }
        };
        models.into_iter().map(move |model| (defect, model))
    });
    test_kit::expect_noticed(PLANTED, runs);
}
