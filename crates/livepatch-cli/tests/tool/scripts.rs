//! The interface for scripts and programs: the one form of all JSON output, and the exit codes.

use super::*;

#[test]
fn all_that_is_said_in_json_has_one_form() {
    let service = Service::new();
    let _busy = Busy::new("slow");
    let directory = service.directory.path().join("open");
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let open = directory.join("control");
    for (arguments, exit, code) in [
        (&["reverse", "fix"][..], 1, "unknown_patch"),
        (&["load", "bad.so"], 1, "load_failed"),
        (&["force", "fix"], 2, "usage"),
        (&["reboot"], 2, "usage"),
        (&["load"], 2, "usage"),
        (&["--socket", "/nowhere/x", "list"], 3, "cannot_connect"),
        (&["--socket", open.to_str().unwrap(), "list"], 3, "untrusted"),
        (&["disable", "fix"], 5, "unknown_patch"),
    ] {
        let mut arguments = arguments.to_vec();
        arguments.insert(0, "--json");
        let said = service.run(&arguments).with(exit).json();
        assert_eq!(
            (said["v"].as_u64(), said["answer"].as_str(), said["code"].as_str()),
            (Some(1), Some("error"), Some(code)),
            "{arguments:?}: {said}"
        );
        assert!(!said["message"].as_str().unwrap().is_empty(), "{said}");
    }
    let mut without = service.tool(&["--json", "list"]);
    let said = Ended::of(without.env_remove("LIVEPATCH_SOCKET").output().unwrap())
        .with(2)
        .json();
    assert_eq!((said["v"].as_u64(), said["code"].as_str()), (Some(1), Some("usage")));
    for arguments in [
        &["list"][..],
        &["status"],
        &["load", "fix"],
        &["disable", "fix"],
        &["watch"],
    ] {
        let mut arguments = arguments.to_vec();
        arguments.insert(0, "--json");
        let mut tool = service.tool(&arguments).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(tool.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(said["v"], 1, "{arguments:?}: {said}");
        let _ = tool.kill();
        tool.wait().unwrap();
    }
}

/// An operation that a script may repeat has its own exit code the second time.
#[test]
fn what_is_so_already_is_5() {
    let service = Service::new();
    service.run(&["load", "fix", "--wait"]).with(0);
    let again = service.run(&["load", "fix"]).with(5);
    assert!(again.err.contains("is enabled"), "{again:?}");
    assert_eq!(
        service.run(&["--json", "load", "fix"]).with(5).json()["code"],
        "already_enabled"
    );
    let busy = Busy::new("slow");
    service.run(&["disable", "fix"]).with(0);
    assert_eq!(
        service.run(&["--json", "disable", "fix"]).with(5).json()["code"],
        "already_disabled"
    );
    drop(busy);
    registry().wait(LONG).unwrap();
    service.run(&["disable", "fix"]).with(5);
    // A missing transition cannot be reversed or forced: that is not a success.
    service.run(&["reverse", "fix"]).with(1);
    service.run(&["force", "fix", "--yes"]).with(1);
}

#[test]
fn what_is_not_over_in_time_is_reversed_if_asked_for() {
    let service = Service::new();
    let busy = Busy::new("slow");
    // The unit is on the old side, so the reversal ends at once.
    let loaded = service.run(&["load", "fix", "--wait", "0.05", "--or-reverse"]).with(6);
    assert_eq!(
        loaded.out,
        "the transition of patch 'fix' did not end in time, and was reversed\npatch 'fix' is disabled\n"
    );
    assert!(registry().status().patches.is_empty());
    drop(busy);
    let loaded = service
        .run(&["--json", "load", "fix", "--wait", "60", "--or-reverse"])
        .with(0)
        .json();
    assert_eq!(
        (loaded["enabled"].as_bool(), loaded["reversed"].as_bool()),
        (Some(true), Some(false))
    );
    let _busy = Busy::new("slow");
    let disabled = service
        .run(&["--json", "disable", "fix", "--wait", "0.05", "--or-reverse"])
        .with(6)
        .json();
    assert_eq!(
        (disabled["enabled"].as_bool(), disabled["reversed"].as_bool()),
        (Some(true), Some(true))
    );
    assert!(disabled["transition"].is_null(), "{disabled}");
    assert_eq!(answer(), 42);
}

#[test]
fn force_is_said_with_the_end() {
    let service = Service::new();
    service.run(&["load", "fix", "--wait"]).with(0);
    let _busy = Busy::new("slow");
    service.run(&["disable", "fix"]).with(0);
    let mut watch = service.tool(&["watch", "fix"]).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("in transition"));
    service.run(&["force", "fix", "--yes"]).with(0);
    let rest: Vec<_> = lines.map(Result::unwrap).collect();
    assert!(
        rest.contains(&"'fix': unpatching complete, forced".to_owned()),
        "{rest:?}"
    );
    assert_eq!(watch.wait().unwrap().code(), Some(0));
    assert!(
        registry().status().patches.is_empty(),
        "it is gone, and so is what a list said of it"
    );
}

#[test]
fn a_trusted_user_can_be_named() {
    let service = Service::new();
    service.run(&["--user", "root", "list"]).with(0);
    service.run(&["--user", "65533", "list"]).with(0);
    service.run(&["--user", "nobody at all", "list"]).with(2);
}
