//! Which library this is. The numbers are Cargo's; the header's come from the same place
//! (`tests/it/header.rs`).

use std::ffi::{c_char, CString};
use std::sync::OnceLock;

use super::guard::quiet;
use crate::database;

/// Says which library is loaded, in the form of VDB_VERSION: major << 16 | minor << 8 | patch.
///
/// It may be another one than the header is of. The two fit if their majors are equal and the library is not
/// the older; before 1.0 the minor counts as the major. Programs that load the library by dlopen compare
/// first.
///
/// Never fails. Any thread, any time, callbacks included.
#[no_mangle]
pub extern "C" fn vdb_version() -> u32 {
    const PARTS: [u32; 3] = [
        number(env!("CARGO_PKG_VERSION_MAJOR")),
        number(env!("CARGO_PKG_VERSION_MINOR")),
        number(env!("CARGO_PKG_VERSION_PATCH")),
    ];
    PARTS[0] << 16 | PARTS[1] << 8 | PARTS[2]
}

/// Says which library is loaded in words for a bug report: version, system, and the kernels that this machine
/// gets, as in "0.1.0 x86_64-linux avx2".
///
/// Returns a string that stays valid. Never fails. Any thread.
#[no_mangle]
pub extern "C" fn vdb_build_info() -> *const c_char {
    static TEXT: OnceLock<CString> = OnceLock::new();
    quiet(c"".as_ptr(), || {
        let text = TEXT.get_or_init(|| {
            let version = env!("CARGO_PKG_VERSION");
            let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
            CString::new(format!("{version} {arch}-{os} {}", database::kernels_name())).unwrap_or_default()
        });
        text.as_ptr()
    })
}

/// The number that a part of a version is.
const fn number(text: &str) -> u32 {
    let mut value = 0;
    let mut index = 0;
    while index < text.len() {
        value = value * 10 + (text.as_bytes()[index] - b'0') as u32;
        index += 1;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn the_version_is_cargos() {
        let version = vdb_version();
        let text = format!("{}.{}.{}", version >> 16, version >> 8 & 0xff, version & 0xff);
        assert_eq!(text, env!("CARGO_PKG_VERSION"));
        // SAFETY: a static string.
        let info = unsafe { CStr::from_ptr(vdb_build_info()) }.to_str().unwrap();
        assert!(info.starts_with(&text), "{info}");
    }
}
