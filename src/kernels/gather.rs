//! Rows at listed places of a block: how a walk over a graph meets codes.
//!
//! In: a block of rows at equal distances, numbers of rows in any order. Out: each row's bytes, with the rows that
//! come next asked for while the present one is worked on. A place is checked once, before anything is read.

use super::prefetch::{prefetch_line, LINE_BYTES};

/// How many bytes of rows travel while one is worked on, of 2 to 32 rows: the best of 2, 4 and 8 KiB on Zen 4
/// (`docs/experiments.md`: which cache is asked for).
const AHEAD_BYTES: usize = 8192;

/// A list of rows, all inside their block.
#[derive(Clone, Copy)]
pub(super) struct Gather<'a> {
    block: &'a [u8],
    stride: usize,
    row_bytes: usize,
    rows: &'a [u32],
    ahead: usize,
}

impl<'a> Gather<'a> {
    /// Rows `rows` of a block whose row `r` is the `row_bytes` bytes from `r * stride` on.
    ///
    /// # Panics
    /// When a row ends behind the block, or has no bytes.
    #[inline]
    pub(super) fn new(block: &'a [u8], stride: usize, row_bytes: usize, rows: &'a [u32]) -> Gather<'a> {
        assert!(row_bytes > 0);
        if !rows.is_empty() {
            let highest = rows.iter().fold(0, |highest: u32, &row| highest.max(row)) as usize;
            let end = highest.checked_mul(stride).and_then(|start| start.checked_add(row_bytes));
            assert!(end.is_some_and(|end| end <= block.len()), "row {highest} is not in the block");
        }
        Gather { block, stride, row_bytes, rows, ahead: (AHEAD_BYTES / row_bytes).clamp(2, 32) }
    }

    /// How many rows there are.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Bytes of each row.
    #[inline(always)]
    pub(super) fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Asks for the rows that [`Gather::next`] will not have asked for in time.
    #[inline(always)]
    pub(super) fn ask_first(&self) {
        for r in 0..self.ahead.min(self.rows.len()) {
            self.ask(r);
        }
    }

    /// Row `r` of the list, after the one that is [`Self::ahead`] of it is asked for.
    #[inline(always)]
    pub(super) fn next(&self, r: usize) -> &'a [u8] {
        if r + self.ahead < self.rows.len() {
            self.ask(r + self.ahead);
        }
        let start = self.rows[r] as usize * self.stride;
        // SAFETY: `new` has checked that the highest row ends inside the block.
        unsafe { self.block.get_unchecked(start..start + self.row_bytes) }
    }

    #[inline(always)]
    fn ask(&self, r: usize) {
        let start = self.block.as_ptr().wrapping_add(self.rows[r] as usize * self.stride);
        let skew = start.addr() % LINE_BYTES;
        let first = start.wrapping_sub(skew);
        for offset in (0..skew + self.row_bytes).step_by(LINE_BYTES) {
            prefetch_line(first.wrapping_add(offset));
        }
    }

    /// Calls `kernel` with each row and its place in `out`.
    #[inline(always)]
    pub(super) fn each<T>(&self, out: &mut [T], mut kernel: impl FnMut(&[u8], &mut [T])) {
        assert_eq!(out.len(), self.rows.len());
        self.ask_first();
        for r in 0..self.rows.len() {
            kernel(self.next(r), &mut out[r..=r]);
        }
    }
}

/// A kernel for lists of rows, made of one for blocks: each row is a block of its own, of bytes of the kernel's type.
macro_rules! one_by_one {
    ($kernel:path, $byte:ty) => {
        |list: $crate::kernels::gather::Gather, query: &[i8], out: &mut [i32]| {
            let kernel: unsafe fn(&[$byte], &[i8], &mut [i32]) = $kernel;
            // SAFETY: the caller has the CPU that the table is for.
            list.each(out, |row, out| unsafe { kernel(bytemuck::cast_slice(row), query, out) })
        }
    };
}
pub(super) use one_by_one;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_those_of_the_list_and_end_inside_the_block() {
        let block: Vec<u8> = (0..200).collect();
        let gather = Gather::new(&block, 48, 8, &[4, 0, 4, 3]);
        let mut firsts = [0; 4];
        gather.each(&mut firsts, |row, out| {
            assert_eq!(row.len(), 8);
            out[0] = row[0];
        });
        assert_eq!(firsts, [192, 0, 192, 144]);
        Gather::new(&block, 48, 1000, &[]).each(&mut [0u8; 0], |_, _| unreachable!());
    }

    #[test]
    #[should_panic(expected = "row 4 is not in the block")]
    fn a_row_behind_the_block_is_refused() {
        Gather::new(&[0; 199], 48, 8, &[1, 4, 2]);
    }

    #[test]
    #[should_panic(expected = "is not in the block")]
    fn a_place_that_overflows_is_refused() {
        Gather::new(&[0; 199], usize::MAX / 2, 8, &[3]);
    }
}
