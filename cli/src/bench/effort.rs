//! What is asked of a search: a recall, or a number of probes.

use vdb::types::params::SearchParams;

/// Recalls that are measured unless told otherwise.
const RECALLS: [f32; 3] = [0.9, 0.95, 0.99];

/// What is asked of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effort {
    /// recall@10 to aim for.
    Recall(f32),
    /// Leaves to visit in each segment.
    Probes(u32),
}

impl Effort {
    /// The efforts that a command line names, or the usual ones if it names none.
    pub fn list(recalls: &[f32], probes: &[u32]) -> Vec<Effort> {
        if recalls.is_empty() && probes.is_empty() {
            return RECALLS.map(Effort::Recall).to_vec();
        }
        let recalls = recalls.iter().copied().map(Effort::Recall);
        recalls.chain(probes.iter().copied().map(Effort::Probes)).collect()
    }

    /// For a search on the calling thread, or a batch on some threads.
    pub fn params(self, threads: u32) -> SearchParams<'static> {
        let params = SearchParams { threads, ..SearchParams::default() };
        match self {
            Effort::Recall(recall) => SearchParams { recall, ..params },
            Effort::Probes(probes) => SearchParams { probes, ..params },
        }
    }

    /// "0.95", or "16 probes".
    pub fn name(self) -> String {
        match self {
            Effort::Recall(recall) => recall.to_string(),
            Effort::Probes(probes) => format!("{probes} probes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_measured_and_the_usual_else() {
        assert_eq!(Effort::list(&[], &[]).len(), 3);
        assert_eq!(Effort::list(&[], &[8]), [Effort::Probes(8)]);
        assert_eq!(Effort::list(&[0.5], &[8]), [Effort::Recall(0.5), Effort::Probes(8)]);
    }
}
