//! Provides the facts about the build that records contain: the compiler, and the versions of the peers. With the feature for
//! them, builds the C++ peers that the machine has.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The packages whose versions a record contains.
const PEERS: [&str; 11] = [
    "papaya",
    "scc",
    "dashmap",
    "flurry",
    "leapfrog",
    "crossbeam-skiplist",
    "hashbrown",
    "seize",
    "crossbeam-epoch",
    "foldhash",
    "ahash",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = env::var_os("RUSTC").expect("cargo sets it");
    let version = Command::new(rustc).arg("--version").output().map_or_else(
        |_| "unknown".to_owned(),
        |out| String::from_utf8_lossy(&out.stdout).trim().to_owned(),
    );
    println!("cargo::rustc-env=PERF_COMPILER={version}");
    let target = env::var("TARGET").expect("cargo sets it");
    println!("cargo::rustc-env=PERF_TARGET={target}");
    let level = env::var("OPT_LEVEL").expect("cargo sets it");
    println!("cargo::rustc-env=PERF_OPT_LEVEL={level}");
    versions();
    for name in ["urcu", "tbb", "boost_flat", "boost_node"] {
        println!("cargo::rustc-check-cfg=cfg(perf_{name})");
    }
    #[cfg(feature = "cpp-peers")]
    cpp::build();
    #[cfg(not(feature = "cpp-peers"))]
    println!("cargo::rustc-env=PERF_CPP_MISSING=all, as the feature cpp-peers is off");
}

/// Reads the versions in the lock file, and computes a hash of it, by which lock files are compared.
fn versions() {
    let lock = Path::new("../Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    let text = fs::read_to_string(lock).unwrap_or_default();
    let mut found = Vec::new();
    for package in text.split("[[package]]") {
        let field = |name: &str| {
            let mut lines = package.lines();
            let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))?;
            Some(line.trim_matches('"'))
        };
        if let (Some(name), Some(version)) = (field("name"), field("version"))
            && PEERS.contains(&name)
        {
            found.push(format!("{name} {version}"));
        }
    }
    println!("cargo::rustc-env=PERF_PEERS={}", found.join(", "));
    // FNV-1a: only to tell files apart.
    let number = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    println!("cargo::rustc-env=PERF_LOCK={number:016x}");
}

#[cfg(feature = "cpp-peers")]
mod cpp {
    use std::env;
    use std::fs;
    use std::path::{Path, PathBuf};

    /// A C++ map: its name, the header that it needs, and the libraries to link.
    struct Peer {
        name: &'static str,
        about: &'static str,
        header: &'static str,
        /// The macro in the header that defines the version.
        version: &'static str,
        libraries: &'static [&'static str],
        package: &'static str,
    }

    const PEERS: [Peer; 4] = [
        Peer {
            name: "urcu",
            about: "liburcu's cds_lfht",
            header: "urcu/rculfhash.h",
            version: "",
            libraries: &["urcu", "urcu-cds", "urcu-common"],
            package: "liburcu-dev",
        },
        Peer {
            name: "tbb",
            about: "oneTBB's concurrent_hash_map",
            header: "oneapi/tbb/concurrent_hash_map.h",
            version: "TBB_VERSION_MAJOR.TBB_VERSION_MINOR",
            libraries: &["tbb"],
            package: "libtbb-dev",
        },
        Peer {
            name: "boost_flat",
            about: "Boost's concurrent_flat_map",
            header: "boost/unordered/concurrent_flat_map.hpp",
            version: "BOOST_LIB_VERSION",
            libraries: &[],
            package: "libboost-dev, 1.83 or later",
        },
        Peer {
            name: "boost_node",
            about: "Boost's concurrent_node_map",
            header: "boost/unordered/concurrent_node_map.hpp",
            version: "BOOST_LIB_VERSION",
            libraries: &[],
            package: "libboost-dev, 1.87 or later",
        },
    ];

    /// Builds each peer whose header exists, and reports the missing ones. A peer with a header that does not compile is an
    /// error.
    pub(crate) fn build() {
        println!("cargo::rerun-if-changed=cpp");
        println!("cargo::rerun-if-env-changed=PERF_CPP_INCLUDE");
        let (mut missing, mut versions) = (Vec::new(), Vec::new());
        for peer in &PEERS {
            let Some(version) = version(peer) else {
                missing.push(format!("{} ({})", peer.about, peer.package));
                continue;
            };
            compiler()
                .file(format!("cpp/{}.cpp", peer.name))
                .compile(&format!("perf_{}", peer.name));
            for library in peer.libraries {
                println!("cargo::rustc-link-lib={library}");
            }
            println!("cargo::rustc-cfg=perf_{}", peer.name);
            versions.push(format!("{} {version}", peer.name));
        }
        let all = if missing.is_empty() {
            "none".to_owned()
        } else {
            missing.join("; ")
        };
        if !missing.is_empty() {
            println!(
                "cargo::warning=C++ peers that are not built, as their headers, or a C++ compiler, are not there: {all}"
            );
        }
        println!("cargo::rustc-env=PERF_CPP_MISSING={all}");
        println!("cargo::rustc-env=PERF_CPP_PEERS={}", versions.join(", "));
    }

    fn compiler() -> cc::Build {
        let mut build = cc::Build::new();
        build.cpp(true).std("c++17").warnings(true);
        // For headers in other folders than the distribution's.
        if let Some(folder) = env::var_os("PERF_CPP_INCLUDE") {
            env::split_paths(&folder).for_each(|folder| {
                // As system headers, whose warnings are not shown.
                build.flag(format!("-isystem{}", folder.display()));
            });
        }
        build
    }

    /// Returns the version in the header, or else that of the package; `None` if there is no header, or no compiler.
    fn version(peer: &Peer) -> Option<String> {
        const MARK: &str = "perf_version_is";
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
        let probe: PathBuf = out.join(format!("{}_probe.cpp", peer.name));
        let more = match peer.name {
            "tbb" => "#include <oneapi/tbb/version.h>\n",
            name if name.starts_with("boost") => "#include <boost/version.hpp>\n",
            _ => "",
        };
        let text = format!("#include <{}>\n{more}{MARK} {}\n", peer.header, peer.version);
        fs::write(&probe, text).expect("the build has a folder");
        let mut compiler = compiler();
        compiler.cargo_warnings(false).warnings(false);
        let expanded = compiler.file(Path::new(&probe)).try_expand().ok()?;
        let expanded = String::from_utf8_lossy(&expanded);
        let (_, rest) = expanded.rsplit_once(MARK)?;
        // A line of the output may be a line marker, which begins with `#`.
        let lines = rest.lines().filter(|line| !line.starts_with('#'));
        let version: String = lines.flat_map(str::chars).filter(|c| !matches!(c, ' ' | '"')).collect();
        match (version.is_empty(), peer.libraries.first()) {
            (false, _) => Some(version.replace('_', ".")),
            (true, Some(library)) => Some(of_package(library)),
            (true, None) => Some("of an unknown version".to_owned()),
        }
    }

    /// Returns the version of a library from the distribution.
    fn of_package(library: &str) -> String {
        let asked = std::process::Command::new("pkg-config")
            .args(["--modversion", &format!("lib{library}")])
            .output();
        let known = asked.ok().filter(|out| out.status.success());
        known.map_or_else(
            || "of an unknown version".to_owned(),
            |out| String::from_utf8_lossy(&out.stdout).trim().to_owned(),
        )
    }
}
