//! Temporary.
use super::{assign, kmeans, Centroids, KmeansParams};
use crate::pool::Pool;
use std::ops::Range;
/// x
pub struct CellTree {
    cells: Centroids,
    groups: Option<(Vec<Range<usize>>,)>,
}
impl CellTree {
    /// x
    pub fn train(sample: &[f32], dim: usize, cells: usize, fanout: usize, seed: u64, pool: &Pool) -> Self {
        let c = kmeans(sample, dim, cells, &KmeansParams { seed, ..Default::default() }, pool);
        let n = c.count();
        let f = if fanout == 0 { ((n as f64).sqrt() as usize).clamp(16, 64) } else { fanout };
        if n <= f {
            return CellTree { cells: c, groups: None };
        }
        let g = kmeans(&c.data, dim, f, &KmeansParams { seed, ..Default::default() }, pool);
        let mut own = vec![0u32; n];
        assign(&c.data, &g, pool, &mut own, None);
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by_key(|i| own[*i]);
        let mut data = Vec::new();
        let mut ranges = Vec::new();
        for gi in 0..g.count() as u32 {
            let s = data.len() / dim;
            for i in order.iter().filter(|i| own[**i] == gi) {
                data.extend_from_slice(c.centre(*i));
            }
            let e = data.len() / dim;
            if e > s {
                ranges.push(s..e);
            }
        }
        CellTree { cells: Centroids { data, dim }, groups: Some((ranges,)) }
    }
    /// x
    pub fn cell_count(&self) -> usize {
        self.cells.count()
    }
    /// x
    pub fn level_count(&self) -> usize {
        if self.groups.is_some() {
            2
        } else {
            1
        }
    }
    /// x
    pub fn node_count(&self, level: usize) -> usize {
        match (&self.groups, level) {
            (Some(g), 0) => g.0.len(),
            _ => self.cells.count(),
        }
    }
    /// x
    pub fn children(&self, level: usize, node: usize) -> Range<usize> {
        match (&self.groups, level) {
            (Some(g), 0) => g.0[node].clone(),
            _ => 0..0,
        }
    }
    /// x
    pub fn cells_below(&self, level: usize, node: usize) -> Range<usize> {
        match (&self.groups, level) {
            (Some(g), 0) => g.0[node].clone(),
            _ => node..node + 1,
        }
    }
    /// x
    pub fn assign(&self, rows: &[f32], pool: &Pool, out: &mut [u32]) {
        assign(rows, &self.cells, pool, out, None);
    }
}
/// x
pub fn sample_rows(n: u64, count: usize, seed: u64) -> Vec<u64> {
    if count == 0 {
        return Vec::new();
    }
    let mut r = crate::types::rng::SplitMix64::new(seed);
    let count = (count as u64).min(n);
    (0..count)
        .map(|i| {
            let a = n * i / count;
            let b = n * (i + 1) / count;
            a + r.below(b - a)
        })
        .collect()
}
