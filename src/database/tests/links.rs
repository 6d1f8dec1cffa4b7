//! Links that no build wrote: an error, or answers with true distances; never a crash, never a walk without end.

use super::*;
use crate::index::links::{LINKS_A_ROW, NO_LINK};

/// What a section may become.
type Change<'a> = &'a dyn Fn(&mut Vec<u32>);

/// The index with one section of words changed.
fn changed(vfs: &Arc<dyn Vfs>, kind: SectionKind, change: Change<'_>) -> Arc<dyn Vfs> {
    rewritten(vfs, |spec, content| {
        if spec.kind != kind {
            return Some((spec, content));
        }
        let mut words: Vec<u32> =
            content.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
        change(&mut words);
        let count = words.len() as u64 * 4 / u64::from(spec.stride);
        let bytes = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        Some((SectionSpec::array(spec.kind, count, spec.stride).unwrap(), bytes))
    })
}

fn without(vfs: &Arc<dyn Vfs>, kind: SectionKind) -> Arc<dyn Vfs> {
    rewritten(vfs, |spec, content| (spec.kind != kind).then_some((spec, content)))
}

/// Opens and searches at several efforts; answers have true distances. Gives what opening and verifying said.
fn meet(vfs: &Arc<dyn Vfs>) -> (Result<()>, Result<()>) {
    let verified = verify::verify_vfs(vfs, &Job::default());
    let options = OpenOptions { threads: 1, ..OpenOptions::default() };
    let database = match Database::open_vfs(vfs, &options, Instant::now()) {
        Ok(database) => database,
        Err(error) => return (Err(error), verified),
    };
    for (nth, query) in floats(3)[..20 * DIM].chunks_exact(DIM).enumerate() {
        for (recall, probes) in [(0.5, 0), (0.95, 0), (1.0, 0), (0.9, 1), (0.9, 7)] {
            let params = SearchParams { recall, probes, no_cache: true, ..SearchParams::default() };
            let (mut ids, mut distances) = ([0; 10], [0.0; 10]);
            let found = database.search(query, 10, &params, &mut ids, Some(&mut distances)).unwrap();
            assert_eq!(found.count, 10, "query {nth}");
            assert!(found.stats.codes_walked <= ROWS as u64);
            for (id, distance) in ids.iter().zip(distances) {
                let mut row = [0.0; DIM];
                database.get(&[*id], &mut row, None).unwrap();
                let truth: f32 = row.iter().zip(query).map(|(a, b)| (a - b) * (a - b)).sum();
                assert!((truth - distance).abs() < 1e-4, "query {nth}: {id} at {distance}, not {truth}");
            }
        }
    }
    (Ok(()), verified)
}

fn is_corrupt(result: Result<()>, what: &str) {
    let error = result.expect_err(what);
    assert_eq!(error.status(), Status::Corrupt, "{what}: {error}");
    assert!(error.message().contains("links") || error.message().contains("walk lists"), "{what}: {error}");
}

#[test]
fn links_that_lead_nowhere_are_refused() {
    let (vfs, whole) = index();
    assert!(whole.info().links);
    let (opened, verified) = meet(&rewritten(&vfs, |spec, content| Some((spec, content))));
    assert!(opened.is_ok() && verified.is_ok());
    let changes: [(&str, Change<'_>); 5] = [
        ("beyond the last row", &|links| links[7] = ROWS as u32),
        ("far beyond it", &|links| *links.last_mut().unwrap() = NO_LINK - 1),
        ("one row less", &|links| links.truncate(links.len() - LINKS_A_ROW)),
        ("one row more", &|links| links.extend([NO_LINK; LINKS_A_ROW])),
        ("none", &Vec::clear),
    ];
    for (what, change) in changes {
        let (opened, verified) = meet(&changed(&vfs, SectionKind::LINKS, change));
        is_corrupt(opened, what);
        is_corrupt(verified, what);
    }
}

#[test]
fn links_that_go_in_circles_end() {
    let (vfs, _) = index();
    let changes: [(&str, Change<'_>); 6] = [
        ("to itself", &|links| {
            links.iter_mut().enumerate().for_each(|(nth, link)| *link = (nth / LINKS_A_ROW) as u32);
        }),
        ("to one row", &|links| links.fill(5)),
        ("one ring", &|links| {
            links.iter_mut().enumerate().for_each(|(nth, link)| {
                *link = ((nth / LINKS_A_ROW + 1) % ROWS) as u32;
            });
        }),
        ("all over", &|links| {
            let mut random = SplitMix64::new(9);
            links.iter_mut().for_each(|link| *link = random.below(ROWS as u64) as u32);
        }),
        ("gaps", &|links| links.iter_mut().step_by(2).for_each(|link| *link = NO_LINK)),
        ("nowhere", &|links| links.fill(NO_LINK)),
    ];
    for (what, change) in changes {
        let (opened, verified) = meet(&changed(&vfs, SectionKind::LINKS, change));
        opened.unwrap();
        // An index whose rows have no links is poor, and sound.
        match what {
            "nowhere" => verified.unwrap(),
            _ => is_corrupt(verified, what),
        }
    }
}

#[test]
fn walks_that_no_build_measured() {
    let (vfs, _) = index();
    let refused: [(&str, Change<'_>); 4] = [
        ("too long", &|lists| lists[0] = 4_097),
        ("longest of all", &|lists| *lists.last_mut().unwrap() = u32::MAX),
        ("one less", &|lists| lists.truncate(lists.len() - 1)),
        ("none", &Vec::clear),
    ];
    for (what, change) in refused {
        let (opened, verified) = meet(&changed(&vfs, SectionKind::WALK_LISTS, change));
        is_corrupt(opened, what);
        is_corrupt(verified, what);
    }
    for length in [0, 1, 2, 4_096] {
        let (opened, verified) = meet(&changed(&vfs, SectionKind::WALK_LISTS, &|lists| lists.fill(length)));
        assert!(opened.is_ok() && verified.is_ok(), "{length}");
    }
}

#[test]
fn one_of_the_two_sections_alone_is_refused() {
    let (vfs, _) = index();
    for kind in [SectionKind::LINKS, SectionKind::WALK_LISTS] {
        let (opened, verified) = meet(&without(&vfs, kind));
        is_corrupt(opened, "one alone");
        is_corrupt(verified, "one alone");
    }
    // Links of a later version are not known, and so as good as not there.
    let later = rewritten(&vfs, |mut spec, content| {
        spec.version += u16::from(spec.kind == SectionKind::LINKS);
        Some((spec, content))
    });
    is_corrupt(meet(&later).0, "a later version");
    // Without both the index is one without links; its recall table speaks of walks, which it cannot know.
    let (opened, verified) = meet(&without(&without(&vfs, SectionKind::LINKS), SectionKind::WALK_LISTS));
    assert!(opened.is_ok() && verified.is_ok());
}
