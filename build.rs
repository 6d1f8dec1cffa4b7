//! Gives `libvdb.so` its name and its manners: a soname, and code that stays mapped.
//!
//! - `soname`: before 1.0 the minor version breaks compatibility, so it is part of the name. Programs that are
//!   linked against the library then ask for `libvdb.so.0.1` when they run; a link of that name is put beside the
//!   library, so that the build directory serves as it is.
//! - `nodelete`: the standard library registers a thread-local destructor on every thread of the host that
//!   comes in. Were the code unmapped by `dlclose`, the end of such a thread would jump into nothing.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    let soname = match (part("MAJOR"), part("MINOR")) {
        (major, minor) if major == "0" => format!("libvdb.so.0.{minor}"),
        (major, _) => format!("libvdb.so.{major}"),
    };
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,{soname},-z,nodelete");

    // target/<profile>/build/vdb-<hash>/out
    let out = env::var("OUT_DIR").unwrap_or_default();
    if let Some(profile) = Path::new(&out).ancestors().nth(3) {
        link(profile, &soname);
    }
}

fn part(name: &str) -> String {
    env::var(format!("CARGO_PKG_VERSION_{name}")).unwrap_or_default()
}

/// A convenience only: where links cannot be made, the library is still built.
#[cfg(unix)]
fn link(profile: &Path, soname: &str) {
    let link = profile.join(soname);
    let _ = std::fs::remove_file(&link);
    if let Err(error) = std::os::unix::fs::symlink("libvdb.so", &link) {
        println!("cargo::warning=cannot make {}: {error}; programs need it to start", link.display());
    }
}

#[cfg(not(unix))]
fn link(_: &Path, _: &str) {}
