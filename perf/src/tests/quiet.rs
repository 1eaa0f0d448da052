//! When a machine counts as quiet, how long a run waits for it, and the class of a machine.

use std::collections::BTreeMap;

use crate::class::{Class, kib};
use crate::quiet::{Patience, Quiet, ticks, wait_with};

/// Waits with seconds of the given shares, followed by busy ones.
fn after(seconds: &[f64], wait: usize, anyway: bool) -> (Result<Quiet, String>, usize) {
    let mut seconds = seconds.iter().copied();
    let mut told = 0;
    let second = || Some(seconds.next().unwrap_or(0.9));
    let result = wait_with(&Patience { wait, anyway }, second, |_| told += 1);
    (result.map_err(|busy| busy.to_string()), told)
}

#[test]
fn ten_quiet_seconds_in_a_row_are_enough() {
    let (result, told) = after(&[0.49; 10], 600, false);
    let expected = Quiet {
        busiest: Some(0.49),
        waited: 10,
        anyway: false,
    };
    assert_eq!((result, told), (Ok(expected), 0));
}

#[test]
fn a_busy_second_begins_the_count_anew() {
    let mut seconds = vec![0.1; 9];
    seconds.push(0.5);
    seconds.extend([0.2; 10]);
    let (result, told) = after(&seconds, 600, false);
    assert_eq!(result.unwrap().waited, 20);
    assert_eq!(told, 1, "the wait is said");
    let (result, _) = after(&seconds[..19], 600, false);
    assert!(result.is_err(), "nine are not enough");
}

#[test]
fn it_does_not_wait_for_ever() {
    let (result, told) = after(&[], 30, false);
    let message = result.unwrap_err();
    assert!(
        message.contains("within 30 s: 0.90") && message.contains("--anyway"),
        "{message}"
    );
    assert!(told > 0);
    let (result, _) = after(&[0.1; 10], 0, false);
    assert!(result.is_ok(), "ten seconds are looked at in any case");
}

#[test]
fn a_busy_machine_has_a_code_of_its_own() {
    let patience = Patience {
        wait: 10,
        anyway: false,
    };
    let busy = wait_with(&patience, || Some(1.0), |_| {}).unwrap_err();
    assert_eq!(crate::code_of(&busy), 3);
    assert_eq!(crate::code_of(&std::io::Error::other("another")), 2);
}

#[test]
fn to_go_on_anyway_is_put_on_record() {
    let (result, _) = after(&[0.8], 600, true);
    let expected = Quiet {
        busiest: Some(0.8),
        waited: 1,
        anyway: true,
    };
    assert_eq!(result, Ok(expected));
}

#[test]
fn a_system_that_does_not_say_is_not_waited_for() {
    let result = wait_with(
        &Patience {
            wait: 600,
            anyway: false,
        },
        || None,
        |_| {},
    );
    assert_eq!(result.unwrap().busiest, None);
}

#[test]
fn stolen_time_is_busy_and_waiting_for_a_disk_is_not() {
    let stat = "cpu  1 2 4 100 200 8 16 32 64 128\ncpu0 9 9 9 9 9 9 9 9 9 9\n";
    assert_eq!(ticks(stat), Some((63, 363)));
    assert_eq!(ticks("cpu0 1 2 3 4 5 6 7 8"), None);
    assert_eq!(ticks("cpu  1 2 3"), None);
}

#[test]
fn a_class_is_by_the_last_cache() {
    let of = |caches: &[(&str, u64)], machine: &str| {
        let caches: BTreeMap<String, u64> = caches.iter().map(|&(name, kib)| (name.to_owned(), kib)).collect();
        Class::of(&caches, machine)
    };
    let small = [("L1d", 32), ("L2", 512), ("L3", 32 << 10)];
    assert_eq!(of(&small, "Intel, cache 266240 KB"), Class::SmallCache);
    assert_eq!(of(&[("L2", 2048), ("L3", 260 << 10)], ""), Class::LargeCache);
    assert_eq!(of(&[("L2", 1024)], ""), Class::SmallCache);
    // Records made before caches were recorded.
    let old = "Intel(R) Xeon(R) Processor @ 2.10GHz, cache 266240 KB, virtual machine";
    assert_eq!(of(&[], old), Class::LargeCache);
    assert_eq!(
        of(&[], "AMD EPYC 7B13, cache 512 KB"),
        Class::Unknown,
        "that is the second one there"
    );
    assert_eq!(
        (kib("512K"), kib("32M"), kib("7"), kib("")),
        (Some(512), Some(32 << 10), None, None)
    );
}
