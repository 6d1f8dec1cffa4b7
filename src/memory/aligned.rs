//! Owned buffers that begin on a cache line, allocated fallibly, and the checked casts of their bytes.
//!
//! Kernels read codes and vectors in 64-byte registers; a buffer that begins on a cache line makes
//! each such load touch one line instead of two. From [`MAPPED_MIN_BYTES`] up a buffer is an anonymous
//! mapping that begins on a huge page and asks for huge pages: visiting codes at random would
//! otherwise miss the TLB at nearly every row. Such memory is zero without being touched, so its pages
//! count only once they are written, and freeing it gives it back to the system at once.
//!
//! Casts between bytes and numbers cannot fail: every buffer begins at a multiple of [`ALIGN_BYTES`],
//! and types of a larger alignment, or of no size, are refused when the program is compiled.
//!
//! Calls the allocator, `mmap`, `madvise`, `munmap`. Never aborts when memory is short.
#![allow(unsafe_code)]

use crate::types::{Error, Result};
use bytemuck::Pod;
use std::alloc::{alloc_zeroed, dealloc, Layout};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::{null_mut, NonNull};

/// Every buffer begins at a multiple of this: one cache line, and one AVX-512 register.
pub const ALIGN_BYTES: usize = 64;

/// Buffers of this size and above are mappings, smaller ones come from the allocator.
pub const MAPPED_MIN_BYTES: usize = 1 << 20;

/// Size and alignment of a huge page on x86-64, and on aarch64 with pages of 4 KiB.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// A buffer of bytes that begins on a cache line.
pub struct AlignedBytes {
    /// Start of `len` initialised bytes that this value owns; dangling, but aligned, if `len` is 0.
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the bytes are owned alone, like those of a `Vec<u8>`: `&self` reads them, `&mut self` writes
// them, and both the allocator and `munmap` may be called from any thread.
unsafe impl Send for AlignedBytes {}
// SAFETY: as above; there is no interior mutability.
unsafe impl Sync for AlignedBytes {}

impl AlignedBytes {
    /// A buffer of `len` zero bytes.
    ///
    /// # Errors
    /// `OutOfMemory` when the system refuses.
    pub fn zeroed(len: usize) -> Result<Self> {
        let start = match len {
            0 => Some(NonNull::<CacheLine>::dangling().cast()),
            MAPPED_MIN_BYTES.. => map_zeroed(len),
            // SAFETY: the layout's size is not 0, see the first arm.
            _ => layout(len).and_then(|layout| NonNull::new(unsafe { alloc_zeroed(layout) })),
        };
        match start {
            Some(start) => Ok(AlignedBytes { start, len }),
            None => Err(Error::out_of_memory("a buffer", len as u64)),
        }
    }

    /// A buffer of no bytes; allocates nothing.
    pub fn empty() -> Self {
        AlignedBytes { start: NonNull::<CacheLine>::dangling().cast(), len: 0 }
    }

    /// Makes the buffer at least `len` bytes long. What it held is lost if it grows.
    ///
    /// # Errors
    /// `OutOfMemory`; the buffer is then as before.
    pub fn grow(&mut self, len: usize) -> Result<()> {
        if len > self.len {
            *self = Self::zeroed(len)?;
        }
        Ok(())
    }

    /// The bytes as numbers in native order: as many as fit. Bytes that make no whole `T` at the end
    /// are left out.
    pub fn as_slice<T: Pod>(&self) -> &[T] {
        let count = self.len / checked_size::<T>();
        // SAFETY: `start` is valid for `len >= count * size_of::<T>()` initialised bytes as long as
        // `self` is borrowed, its alignment suffices by `checked_size`, and any bytes are a `Pod`.
        // Test: `casts_see_the_same_bytes_at_any_length`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast::<T>(), count) }
    }

    /// As [`as_slice`](Self::as_slice), to write to.
    pub fn as_mut_slice<T: Pod>(&mut self) -> &mut [T] {
        let count = self.len / checked_size::<T>();
        // SAFETY: as in `as_slice`; `&mut self` makes the borrow the only one, and any `Pod` that is
        // written leaves initialised bytes behind (`Pod` types have no padding).
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast::<T>(), count) }
    }
}

impl Default for AlignedBytes {
    fn default() -> Self {
        Self::empty()
    }
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        match self.len {
            0 => {}
            // SAFETY: `zeroed` mapped exactly these bytes (the same arm, by the same `len`), and nothing
            // borrows them any more. Test: `a_dropped_mapping_is_given_back`.
            MAPPED_MIN_BYTES.. => unsafe {
                libc::munmap(self.start.as_ptr().cast(), self.len);
            },
            _ => {
                if let Some(layout) = layout(self.len) {
                    // SAFETY: `zeroed` allocated with this layout, which follows from `len` alone.
                    unsafe { dealloc(self.start.as_ptr(), layout) }
                }
            }
        }
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.as_mut_slice()
    }
}

impl fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBytes({} bytes)", self.len)
    }
}

/// Numbers in an [`AlignedBytes`]: a slice of `T` that begins on a cache line. Its length is fixed.
pub struct AlignedVec<T> {
    bytes: AlignedBytes,
    element: PhantomData<T>,
}

impl<T: Pod> AlignedVec<T> {
    /// `count` zeros.
    ///
    /// # Errors
    /// `OutOfMemory` when the system refuses, or the size does not fit in the address space.
    pub fn zeroed(count: usize) -> Result<Self> {
        match count.checked_mul(checked_size::<T>()) {
            Some(len) => Ok(AlignedVec { bytes: AlignedBytes::zeroed(len)?, element: PhantomData }),
            None => Err(Error::out_of_memory("a buffer", u64::MAX)),
        }
    }
}

impl<T: Pod> Deref for AlignedVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.bytes.as_slice()
    }
}

impl<T: Pod> DerefMut for AlignedVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.bytes.as_mut_slice()
    }
}

impl<T> fmt::Debug for AlignedVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedVec({} bytes)", self.bytes.len)
    }
}

/// Has the alignment of every buffer.
#[repr(align(64))]
struct CacheLine;

/// Size of a type that buffers may be cast to; others do not compile.
const fn checked_size<T>() -> usize {
    const { assert!(size_of::<T>() > 0 && align_of::<T>() <= ALIGN_BYTES) };
    const { assert!(align_of::<CacheLine>() == ALIGN_BYTES) };
    size_of::<T>()
}

/// Layout of a buffer from the allocator; `None` beyond what an address space holds.
fn layout(len: usize) -> Option<Layout> {
    Layout::from_size_align(len, ALIGN_BYTES).ok()
}

/// Maps `len` zero bytes (not 0) from the start of a huge page on.
fn map_zeroed(len: usize) -> Option<NonNull<u8>> {
    // Ask for one huge page more, then give back what lies before and after. The page that `len` ends
    // in belongs to the buffer as a whole, and `munmap` by `len` frees it as a whole.
    let whole = len.checked_next_multiple_of(page_bytes())?;
    let asked = whole.checked_add(HUGE_PAGE_BYTES)?;
    if asked > isize::MAX as usize {
        return None;
    }
    // SAFETY: an anonymous mapping at a place of the kernel's choice replaces nothing.
    let mapped = unsafe {
        libc::mmap(
            null_mut(),
            asked,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if mapped == libc::MAP_FAILED {
        return None;
    }
    let before = mapped.cast::<u8>().align_offset(HUGE_PAGE_BYTES);
    let after = HUGE_PAGE_BYTES.checked_sub(before)?;
    // SAFETY: `before + whole + after == asked`, so all three parts lie in the new mapping, which
    // nothing knows yet, and all begin and end on pages. A refused `munmap` or `madvise` only costs
    // address space or speed. Test: `a_mapping_begins_on_a_huge_page_and_keeps_no_more`.
    unsafe {
        let start = mapped.cast::<u8>().add(before);
        if before > 0 {
            libc::munmap(mapped, before);
        }
        if after > 0 {
            libc::munmap(start.add(whole).cast(), after);
        }
        #[cfg(target_os = "linux")]
        libc::madvise(start.cast(), whole, libc::MADV_HUGEPAGE);
        NonNull::new(start)
    }
}

/// Size of the pages that `mmap` hands out.
fn page_bytes() -> usize {
    // SAFETY: `sysconf` reads a constant of the system. A failure (-1) becomes the smallest page there is.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Status;

    /// Around every change of behaviour: none, one line, the allocator's end, odd tails, huge pages.
    const LENGTHS: [usize; 14] = [
        0,
        1,
        3,
        63,
        64,
        65,
        4096,
        MAPPED_MIN_BYTES - 1,
        MAPPED_MIN_BYTES,
        MAPPED_MIN_BYTES + 1,
        HUGE_PAGE_BYTES - 4096,
        HUGE_PAGE_BYTES,
        HUGE_PAGE_BYTES + 17,
        5 * HUGE_PAGE_BYTES + 4095,
    ];

    #[test]
    fn every_length_is_aligned_zero_and_writable_to_its_end() {
        for len in LENGTHS {
            let mut bytes = AlignedBytes::zeroed(len).unwrap();
            assert_eq!(bytes.len(), len);
            assert_eq!(bytes.as_ptr() as usize % ALIGN_BYTES, 0);
            assert!(bytes.iter().all(|&byte| byte == 0));
            bytes.fill(0xa5);
            assert!(bytes.iter().all(|&byte| byte == 0xa5));
        }
    }

    #[test]
    fn casts_see_the_same_bytes_at_any_length() {
        for len in LENGTHS {
            let mut bytes = AlignedBytes::zeroed(len).unwrap();
            for (index, value) in bytes.as_mut_slice::<u32>().iter_mut().enumerate() {
                *value = (index as u32).wrapping_mul(0x9e37_79b9);
            }
            assert_eq!(bytes.as_slice::<u32>().len(), len / 4);
            for (index, chunk) in bytes.chunks_exact(4).enumerate() {
                let value = u32::from_ne_bytes(chunk.try_into().unwrap());
                assert_eq!(value, (index as u32).wrapping_mul(0x9e37_79b9));
            }
            assert_eq!(bytes.as_slice::<[f32; 16]>().len(), len / 64);
        }
    }

    #[test]
    fn a_typed_buffer_holds_its_numbers() {
        let mut large = AlignedVec::<f32>::zeroed(MAPPED_MIN_BYTES).unwrap();
        large[MAPPED_MIN_BYTES - 1] = 1.0;
        assert_eq!(large.iter().sum::<f32>(), 1.0);
        assert!(AlignedVec::<u64>::zeroed(0).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_had_is_an_error_with_its_bytes() {
        for len in [usize::MAX, usize::MAX - 4096, isize::MAX as usize, 1 << 60] {
            let error = AlignedBytes::zeroed(len).unwrap_err();
            assert_eq!((error.status(), error.needed_bytes()), (Status::OutOfMemory, Some(len as u64)));
        }
        let error = AlignedVec::<u64>::zeroed(usize::MAX / 2).unwrap_err();
        assert_eq!(error.status(), Status::OutOfMemory);
    }

    #[test]
    fn buffers_move_between_threads() {
        let mut bytes = AlignedBytes::zeroed(MAPPED_MIN_BYTES).unwrap();
        let bytes = std::thread::spawn(move || {
            bytes[7] = 9;
            bytes
        });
        assert_eq!(bytes.join().unwrap()[7], 9);
    }

    /// Asks the kernel whether the page at `address` is mapped: `mincore` fails with `ENOMEM` if not.
    #[cfg(target_os = "linux")]
    fn is_mapped(address: usize) -> bool {
        let mut resident = [0u8; 1];
        // SAFETY: one page is asked about, and one byte is written.
        unsafe { libc::mincore(address as *mut libc::c_void, 1, resident.as_mut_ptr()) == 0 }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_mapping_begins_on_a_huge_page_and_keeps_no_more() {
        for len in LENGTHS.into_iter().filter(|&len| len >= MAPPED_MIN_BYTES) {
            let bytes = AlignedBytes::zeroed(len).unwrap();
            let start = bytes.as_ptr() as usize;
            assert_eq!(start % HUGE_PAGE_BYTES, 0);
            for page in (start..start + len).step_by(page_bytes()) {
                assert!(is_mapped(page));
            }
        }
    }

    /// Address space of this process.
    #[cfg(target_os = "linux")]
    fn address_space_bytes() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split_whitespace().next().unwrap().parse::<usize>().unwrap() * page_bytes()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_dropped_mapping_is_given_back() {
        // A margin that is kept would add up to 4 GiB, a buffer that is kept to more; the other tests
        // of this process take far less at a time.
        let before = address_space_bytes();
        for _ in 0..2048 {
            let bytes = AlignedBytes::zeroed(3 * HUGE_PAGE_BYTES + 1).unwrap();
            assert_eq!(bytes.len(), 3 * HUGE_PAGE_BYTES + 1);
        }
        assert!(address_space_bytes() < before + (2 << 30));
    }
}
