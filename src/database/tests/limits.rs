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
