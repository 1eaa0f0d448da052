//! The socket's file: which users can reach it, and what happens to it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener};

use livepatch::control::BindError;

use super::*;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn it_is_the_owners_alone() {
    let service = Service::new();
    assert_eq!(mode(&service.path()), 0o600);
    let nested = service.directory.path().join("a/b/control");
    let control = Control::builder(&nested).bind().unwrap();
    assert_eq!(mode(&nested), 0o600);
    assert_eq!(mode(nested.parent().unwrap()), 0o700);
    assert_eq!(control.path(), nested);
    drop(control);
    assert!(!nested.exists());
}

#[test]
fn no_umask_changes_that() {
    use rustix::fs::Mode;
    let service = Service::new();
    let path = service.directory.path().join("masked");
    for umask in [0, 0o777] {
        let before = rustix::process::umask(Mode::from_raw_mode(umask));
        let control = Control::builder(&path).bind();
        rustix::process::umask(before);
        assert_eq!(mode(&path), 0o600, "{umask:o}");
        drop(control.unwrap());
    }
}

#[test]
fn a_stale_one_is_replaced() {
    let service = Service::new();
    let path = service.directory.path().join("stale");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let control = Control::builder(&path).bind().unwrap();
    assert_eq!(mode(&path), 0o600);
    assert!(Client::connect(&path).unwrap().status().is_ok());
    drop(control);
    assert!(!path.exists());
}

#[test]
fn what_else_is_there_is_left_alone() {
    let service = Service::new();
    let refused = |path: &Path| match Control::builder(path).bind() {
        Err(BindError::NotOurs { .. }) => assert!(fs::symlink_metadata(path).is_ok()),
        other => panic!("{other:?}"),
    };
    let directory = service.directory.path();
    fs::write(directory.join("file"), "mine").unwrap();
    refused(&directory.join("file"));
    assert_eq!(fs::read_to_string(directory.join("file")).unwrap(), "mine");
    fs::create_dir(directory.join("directory")).unwrap();
    refused(&directory.join("directory"));
    symlink(directory.join("stale"), directory.join("link")).unwrap();
    refused(&directory.join("link"));
    drop(UnixDatagram::bind(directory.join("datagrams")).unwrap());
    let _open = UnixDatagram::bind(directory.join("open datagrams")).unwrap();
    refused(&directory.join("open datagrams"));
}

#[test]
fn one_path_has_one_service() {
    let service = Service::new();
    match Control::builder(service.path()).bind() {
        Err(BindError::InUse { path }) => assert_eq!(path, service.path()),
        other => panic!("{other:?}"),
    }
    assert!(service.client().status().is_ok());
    // Many at once, on a stale socket: exactly one gets it.
    for _ in 0..20 {
        let path = service.directory.path().join("contended");
        drop(UnixListener::bind(&path).unwrap());
        let bind = || Control::builder(&path).bind();
        let bound: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(bind)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let refused = bound.iter().filter(|one| matches!(one, Err(BindError::InUse { .. })));
        assert_eq!((refused.count(), bound.len()), (3, 4), "{bound:?}");
        assert!(Client::connect(&path).unwrap().status().is_ok());
        drop(bound);
        assert!(!path.exists());
    }
}

#[test]
fn another_services_socket_is_not_removed() {
    let service = Service::new();
    let path = service.directory.path().join("moved");
    let first = Control::builder(&path).bind().unwrap();
    fs::remove_file(&path).unwrap();
    let second = Control::builder(&path).bind().unwrap();
    drop(first);
    assert!(Client::connect(&path).unwrap().status().is_ok());
    drop(second);
    assert!(!path.exists());
}

#[test]
fn directories_must_be_safe() {
    let service = Service::new();
    let directory = service.directory.path().join("open");
    fs::create_dir(&directory).unwrap();
    let bind = |mode: u32| {
        fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
        Control::builder(directory.join("control")).bind().map(drop)
    };
    for unsafe_mode in [0o777, 0o770, 0o702] {
        assert!(
            matches!(bind(unsafe_mode), Err(BindError::UnsafePath(_))),
            "{unsafe_mode:o}"
        );
    }
    for safe_mode in [0o700, 0o755, 0o1777] {
        assert!(bind(safe_mode).is_ok(), "{safe_mode:o}");
    }
    let long = service.directory.path().join("x".repeat(200));
    assert!(matches!(Control::builder(long).bind(), Err(BindError::Io { .. })));
}

/// The file's mode keeps other users out; if it or a directory's permissions are changed, the kernel still reports the peer.
#[test]
fn other_users_are_refused() {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: cannot be another user");
        return;
    }
    let service = Service::new();
    let path = service.path();
    let as_nobody = |act: fn(&Path) -> Result<livepatch::Status, ClientError>| {
        // For this thread only: the system call, not the C library's function, which changes all threads.
        let be = || {
            let nobody = rustix::fs::Uid::from_raw(NOBODY);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            act(&path)
        };
        thread::scope(|scope| scope.spawn(be).join().unwrap())
    };
    let ask = |path: &Path| Client::connect(path)?.status();
    fs::set_permissions(service.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    match as_nobody(ask) {
        Err(ClientError::Connect(ConnectError::Io { source, .. })) => {
            assert_eq!(source.kind(), std::io::ErrorKind::PermissionDenied);
        }
        other => panic!("{other:?}"),
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(code(as_nobody(ask)), ErrorCode::NotPermitted);
    // A service of the user `nobody`: root may connect, and the socket is owned by `nobody`; root does not take over such
    // a socket.
    fs::set_permissions(service.directory.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let theirs = service.directory.path().join("theirs");
    let stale = || {
        let nobody = rustix::fs::Uid::from_raw(NOBODY);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        drop(UnixListener::bind(&theirs).unwrap());
    };
    thread::scope(|scope| scope.spawn(stale).join().unwrap());
    let taken = Control::builder(&theirs).bind();
    assert!(matches!(taken, Err(BindError::NotOurs { .. })), "{taken:?}");
}
