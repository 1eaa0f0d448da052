//! The users that a client trusts, and that a service trusts with the path to its socket.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;

use livepatch::control::{BindError, UnsafePath};

use super::*;

/// Another user.
const NOBODY: u32 = 65534;

/// Returns whether this test can act as another user.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("not root: cannot be another user");
    }
    root
}

/// Acts as another user, on a separate thread: the system call, not the C library's function, which changes all threads.
fn as_nobody<R: Send>(act: impl FnOnce() -> R + Send) -> R {
    let act = || {
        let nobody = rustix::fs::Uid::from_raw(NOBODY);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        act()
    };
    thread::scope(|scope| scope.spawn(act).join().unwrap())
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[track_caller]
fn refused(result: Result<Client, ConnectError>) -> UnsafePath {
    match result {
        Err(ConnectError::UnsafePath { unsafe_path, .. }) => unsafe_path,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_directory_on_the_way_is_checked() {
    let service = Service::new();
    let root = service.directory.path().canonicalize().unwrap();
    let outer = root.join("outer");
    let path = outer.join("middle/inner/control");
    let control = Control::builder(&path).bind().unwrap();
    assert!(Client::connect(&path).is_ok());
    for unsafe_mode in [0o777, 0o770, 0o702] {
        // Not the directory that contains the socket, but one further up: a user who can rename that one controls the socket.
        chmod(&outer, unsafe_mode);
        let found = refused(Client::connect(&path));
        assert_eq!(found.path, outer, "{unsafe_mode:o}");
        assert!(found.to_string().contains("written to by others"), "{found}");
        match Control::builder(outer.join("middle/inner/other")).bind() {
            Err(BindError::UnsafePath(found)) => assert_eq!(found.path, outer),
            other => panic!("{other:?}"),
        }
    }
    for safe_mode in [0o700, 0o755, 0o1777] {
        chmod(&outer, safe_mode);
        assert!(Client::connect(&path).is_ok(), "{safe_mode:o}");
    }
    drop(control);
}

#[test]
fn links_are_followed_and_what_they_pass_is_checked() {
    let service = Service::new();
    let root = service.directory.path().canonicalize().unwrap();
    let open = root.join("open");
    fs::create_dir(&open).unwrap();
    chmod(&open, 0o777);
    symlink(&root, open.join("way")).unwrap();
    symlink("open/way", root.join("relative")).unwrap();
    // The path leads back here, through a directory where any user could have redirected it.
    assert_eq!(refused(Client::connect(root.join("relative/control"))).path, open);
    assert_eq!(refused(Client::connect(open.join("way/control"))).path, open);
    assert_eq!(refused(Client::connect(open.join("../control"))).path, open);
    chmod(&open, 0o755);
    for way in [
        "relative/control",
        "open/way/control",
        "open/../control",
        "open/way/open/../control",
    ] {
        assert!(Client::connect(root.join(way)).is_ok(), "{way}");
    }
    symlink("round", root.join("round")).unwrap();
    match Client::connect(root.join("round/control")) {
        Err(ConnectError::Io { path, .. }) => assert_eq!(path, root.join("round")),
        other => panic!("{other:?}"),
    }
    match Client::connect(root.join("nowhere/control")) {
        Err(ConnectError::Io { path, source }) => {
            assert_eq!(path, root.join("nowhere"));
            assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_listens_must_be_trusted() {
    if !is_root() {
        return;
    }
    let service = Service::new();
    let directory = service.directory.path();
    chmod(directory, 0o1777);
    let path = directory.join("theirs");
    let listener = as_nobody(|| UnixListener::bind(&path).unwrap());
    let found = refused(Client::connect(&path));
    assert_eq!(found.path, path);
    assert!(found.to_string().contains("a socket of another user, 65534"), "{found}");
    // The file now belongs to root; the listening process does not.
    chown(&path, Some(0), Some(0)).unwrap();
    match Client::connect(&path) {
        Err(ConnectError::Untrusted { user, process, .. }) => {
            assert_eq!((user, process), (NOBODY, i32::try_from(std::process::id()).unwrap()));
        }
        other => panic!("{other:?}"),
    }
    for named in [1, NOBODY + 1] {
        assert!(Client::builder(&path).trust_user(named).connect().is_err());
    }
    assert!(Client::builder(&path).trust_user(NOBODY).connect().is_ok());
    chown(&path, Some(NOBODY), Some(0)).unwrap();
    assert!(Client::builder(&path).trust_user(NOBODY).connect().is_ok());
    drop(listener);
}

#[test]
fn links_and_directories_of_others_are_refused() {
    if !is_root() {
        return;
    }
    let service = Service::new();
    let directory = service.directory.path().canonicalize().unwrap();
    chmod(&directory, 0o1777);
    let (link, theirs) = (directory.join("link"), directory.join("theirs"));
    as_nobody(|| {
        symlink(&directory, &link).unwrap();
        fs::create_dir(&theirs).unwrap();
    });
    let found = refused(Client::connect(link.join("control")));
    assert_eq!(
        found.to_string(),
        format!("{} is a symbolic link of another user, {NOBODY}", link.display())
    );
    assert_eq!(refused(Client::connect(theirs.join("../control"))).path, theirs);
    assert!(matches!(
        Control::builder(link.join("new")).bind(),
        Err(BindError::UnsafePath(found)) if found.path == link
    ));
    assert!(
        Client::builder(link.join("control"))
            .trust_user(NOBODY)
            .connect()
            .is_ok()
    );
}
