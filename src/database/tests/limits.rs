//! Where numbers end: threads, memory, and what counts generations and files.

use super::*;

#[test]
fn any_number_of_threads_may_be_asked_for() {
    let floats = floats(1);
    let source = ArrayRows::of_floats(&floats, DIM).unwrap();
    let asked = |threads| BuildParams { threads, ..params() };
    let told = |threads| {
        create::estimate(ROWS as u64, DIM, ElementType::F32, GivenIds::None, &asked(threads)).unwrap()
    };
    let most = crate::pool::THREADS_MAX as u32;
    assert_eq!(told(u32::MAX).build_memory_best_bytes, told(most).build_memory_best_bytes);
    let lines = Mutex::new(Vec::new());
    let log = |_, line: &str| lines.lock().unwrap().push(line.to_owned());
    let job = Job { log: Some(&log), ..Job::default() };
    let params = BuildParams { memory_limit_bytes: told(1).build_memory_best_bytes, ..asked(u32::MAX) };
    let vfs: Arc<dyn Vfs> = Arc::new(MemVfs::new());
    create::build_vfs(&vfs, &source, None, &params, &job).unwrap();
    let room = format!("room for 1 threads of {most}");
    assert!(lines.into_inner().unwrap().iter().any(|line| line.contains(&room)));
    let options = OpenOptions { threads: u32::MAX, ..OpenOptions::default() };
    let database = Database::open_vfs(&vfs, &options, Instant::now()).unwrap();
    let params = SearchParams { threads: u32::MAX, ..SearchParams::default() };
    assert_eq!(database.threads(&params), most as usize);
}

#[test]
fn searches_that_borrow_memory_are_in_the_report() {
    let (_, database) = index();
    let floats = floats(2);
    let before = database.memory();
    let call = database.call(handle::K_MAX, &SearchParams::default(), Stop::NEVER);
    let call = handle::Call { plan: crate::search::Plan { rows: u64::MAX, k: 1 << 20, ..call.plan }, ..call };
    let scratch = database.run_alone(&floats[..DIM], &call, 1).unwrap();
    let during = database.memory();
    assert!(during.scratch_bytes > before.scratch_bytes && during.other_bytes > 1 << 20, "{during:?}");
    let lent = during.total_bytes - before.total_bytes;
    drop(scratch);
    let after = database.memory();
    assert_eq!(after.other_bytes, before.other_bytes);
    assert!(after.peak_bytes >= before.peak_bytes + lent, "{before:?} {after:?}");
}

#[test]
fn caches_leave_room_for_the_first_cursors() {
    let (vfs, _) = index();
    let floats = floats(2);
    let open_with = |memory_limit_bytes| {
        let all = Some(u64::MAX);
        let options = OpenOptions {
            memory_limit_bytes,
            threads: 1,
            no_mmap: true,
            vector_cache_bytes: all,
            answer_cache_bytes: all,
            ..OpenOptions::default()
        };
        Database::open_vfs(&vfs, &options, Instant::now())
    };
    let least = open_with(1).map(|_| ()).unwrap_err().needed_bytes().unwrap();
    for more in [0, 1 << 20, 64 << 20] {
        let database = open_with(least + more).unwrap();
        let mut cursors = Vec::new();
        for query in floats.chunks(DIM).take(3) {
            let mut cursor = database.cursor(query, &SearchParams::default()).unwrap();
            assert_eq!(cursor.next(100, &mut [0; 100], None, None).unwrap(), 100);
            cursors.push(cursor);
            for kind in [CacheKind::Vectors, CacheKind::Answers] {
                database.cache_resize(kind, u64::MAX).unwrap();
            }
        }
    }
}

#[test]
fn a_pool_without_its_threads_is_told_of_once() {
    let pool = Arc::new(crate::pool::Pool::new(4));
    pool.refuse_threads();
    let floats = floats(1);
    let heard: Arc<Heard> = Arc::default();
    let vfs: Arc<dyn Vfs> = Arc::new(MemVfs::new());
    let source = ArrayRows::of_floats(&floats, DIM).unwrap();
    let log = |level: LogLevel, line: &str| heard.line(level, line);
    let job = Job { log: Some(&log), pool: Some(&pool), ..Job::default() };
    create::build_vfs(&vfs, &source, None, &params(), &job).unwrap();
    let lines = heard.take(LogLevel::Warn);
    assert!(lines.len() == 1 && lines[0].contains("refuses to make 3 threads"), "{lines:?}");
    let ear = Arc::clone(&heard);
    let log: LogFn = Arc::new(move |level, line| ear.line(level, line));
    let options = OpenOptions { log: Some(log), pool: Some(pool), no_mmap: true, ..OpenOptions::default() };
    let database = Database::open_vfs(&vfs, &options, Instant::now()).unwrap();
    let mut ids = [0; 10];
    database.search(&floats[..DIM], 10, &SearchParams::default(), &mut ids, None).unwrap();
    database.batch_search(&floats[..DIM], DIM, 10, &SearchParams::default(), &mut ids, None, None).unwrap();
    let lines = heard.take(LogLevel::Warn);
    assert!(lines.len() == 1 && lines[0].contains("refuses to make 3 threads"), "{lines:?}");
}

#[test]
fn numbers_that_cannot_go_on_are_damage() {
    let (vfs, _) = index();
    let written = Manifest::load(&*vfs).unwrap();
    for last in [
        Manifest { generation: u64::MAX, ..written.clone() },
        Manifest { next_number: u64::MAX, ..written.clone() },
    ] {
        last.commit(&*vfs).unwrap();
        let error = build_into(&vfs, true).unwrap_err();
        assert_eq!(error.status(), Status::Corrupt);
        assert!(error.message().contains("the last"), "{error}");
        assert_eq!(Manifest::load(&*vfs).unwrap(), last);
        open(&vfs, OpenOptions::default());
    }
    vfs.remove(FileName::Manifest).unwrap();
    vfs.create_new(FileName::Segment(u64::MAX)).unwrap();
    vfs.create_new(FileName::Manifest).unwrap();
    assert_eq!(build_into(&vfs, true).unwrap_err().status(), Status::Corrupt);
}

#[test]
fn a_search_looks_at_the_token_within_a_long_leaf() {
    let vfs: Arc<dyn Vfs> = Arc::new(MemVfs::new());
    let rows = 40_000;
    let floats: Vec<f32> = (0..rows * 16).map(|i| (i * 7 % 1_009) as f32).collect();
    let source = ArrayRows::of_floats(&floats, 16).unwrap();
    let flat = BuildParams { flat: true, ..params() };
    create::build_vfs(&vfs, &source, None, &flat, &Job::default()).unwrap();
    let database = open(&vfs, OpenOptions::default());
    for rerank in [0, RERANK_ALL] {
        let looks = AtomicUsize::new(0);
        let count = || looks.fetch_add(1, SeqCst) == usize::MAX;
        let params = SearchParams { rerank, ..SearchParams::default() };
        let call = database.call(3, &params, Stop::NEVER.with_callback(&count));
        let (mut ids, mut counts) = ([0; 3], [0; 1]);
        let job = TileJob { queries: &floats[..16], ids: &mut ids, distances: None, counts: &mut counts };
        database.run_batch(job, &call, 1).unwrap();
        assert_eq!(counts[0], 3);
        // Before each 8,192 codes, and before each 256 KiB of rows.
        let stride = database.inner.snapshot.segments[0].vectors.stride();
        let least = if rerank == 0 { rows / 8_192 } else { rows * stride / (256 << 10) };
        assert!(least > 2);
        let looks = looks.into_inner();
        assert!(looks >= least, "{looks} looks, rerank {rerank}");
    }
}

#[test]
fn what_a_segment_keeps_is_what_an_open_asked_for() {
    for (leaf_rows, links) in
        [(1, LinkMode::Off), (4, LinkMode::Off), (16, LinkMode::On), (4_000, LinkMode::Off)]
    {
        let floats = floats(1);
        let source = ArrayRows::of_floats(&floats, DIM).unwrap();
        let vfs: Arc<dyn Vfs> = Arc::new(MemVfs::new());
        let params = BuildParams { leaf_rows, links, ..params() };
        create::build_vfs(&vfs, &source, None, &params, &Job::default()).unwrap();
        let (_, files) = open::open_files(&*vfs).unwrap();
        let asked = open::segment_memory_bytes(files[0].as_ref().unwrap());
        let database = super::open(&vfs, OpenOptions::default());
        let memory = database.memory();
        let kept = memory.total_bytes - memory.scratch_bytes - memory.other_bytes;
        // The recall table and the rest of the quantiser count as tables, not as parts.
        assert!(
            kept <= asked && asked <= kept + (8 << 10),
            "leaves of {leaf_rows}: {kept}, asked for {asked}"
        );
        let estimate = create::estimate(ROWS as u64, DIM, ElementType::F32, GivenIds::None, &params).unwrap();
        assert!(estimate.open_memory_bytes >= asked, "leaves of {leaf_rows}");

        let tree = &database.inner.snapshot.segments[0].index.tree;
        for position in 0..ROWS as u32 {
            assert_eq!(tree.centre_of(position), tree.leaf(tree.leaf_of(position)).centre);
        }
    }
}
