//! What the kernels' tests share: seeded numbers, and memory that ends where a mapping ends.

pub(super) use crate::types::rng::SplitMix64 as Rng;

impl Rng {
    /// Any bytes.
    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next_u64() as u8).collect()
    }

    /// In -1..1, of very different sizes, so that a wrong order of sums shows.
    pub(super) fn floats(&mut self, length: usize) -> Vec<f32> {
        let mut float = || {
            let unit = self.next_f32() * 2.0 - 1.0;
            unit * [1.0, 1.0, 1e-3, 0.1][(self.next_u64() & 3) as usize]
        };
        (0..length).map(|_| float()).collect()
    }
}

/// A copy of a slice that ends exactly where a page without access begins: reading past it is a fault.
pub(super) struct Guarded<T: Copy> {
    map: *mut libc::c_void,
    map_bytes: usize,
    start: *mut T,
    length: usize,
}

impl<T: Copy> Guarded<T> {
    /// Miri has no such pages, and needs none: it knows where an allocation ends.
    #[cfg(miri)]
    pub(super) fn new(values: &[T]) -> Guarded<T> {
        let start = Box::leak(values.to_vec().into_boxed_slice()).as_mut_ptr();
        Guarded { map: std::ptr::null_mut(), map_bytes: 0, start, length: values.len() }
    }

    #[cfg(not(miri))]
    pub(super) fn new(values: &[T]) -> Guarded<T> {
        // SAFETY: sysconf has no preconditions.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let bytes = size_of_val(values);
        let used = bytes.div_ceil(page) * page;
        let map_bytes = used + page;
        // SAFETY: a fresh private anonymous mapping; its last page is made inaccessible before anything points to
        // it, and the copy fits before that page, at an address aligned as T since bytes is a multiple of its size.
        unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let map = libc::mmap(std::ptr::null_mut(), map_bytes, protection, flags, -1, 0);
            assert_ne!(map, libc::MAP_FAILED);
            let guard = map.byte_add(used);
            assert_eq!(libc::mprotect(guard, page, libc::PROT_NONE), 0);
            let start = guard.byte_sub(bytes).cast::<T>();
            std::ptr::copy_nonoverlapping(values.as_ptr(), start, values.len());
            Guarded { map, map_bytes, start, length: values.len() }
        }
    }

    pub(super) fn slice(&self) -> &[T] {
        // SAFETY: `new` copied `length` values there.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }

    pub(super) fn slice_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `slice`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.length) }
    }
}

impl<T: Copy> Drop for Guarded<T> {
    fn drop(&mut self) {
        #[cfg(not(miri))]
        // SAFETY: the mapping was made by `new`, and no slice outlives `self`.
        unsafe {
            libc::munmap(self.map, self.map_bytes);
        }
    }
}
