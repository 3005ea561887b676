//! Where a run of the tests keeps its files: `target/it/run/<process>`, locked while it lives.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// `target/it`: what outlives a run.
pub fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("it")
}

/// A new folder of this run; `name` tells whose.
pub fn folder(name: &str) -> PathBuf {
    static RUN: LazyLock<(PathBuf, File)> = LazyLock::new(|| {
        let runs = cache().join("run");
        fs::create_dir_all(&runs).expect("target is writable");
        remove_finished(&runs);
        let id = format!("{}-{}", std::process::id(), &super::unique("")[1..9]);
        let run = runs.join(id);
        fs::create_dir(&run).expect("target is writable");
        let lock = File::create(run.join("lock")).expect("target is writable");
        lock.lock().expect("nobody else has it");
        (run, lock)
    });
    let folder = RUN.0.join(super::unique(name).trim_end_matches('-'));
    fs::create_dir(&folder).expect("target is writable");
    folder
}

/// Removes what earlier runs left: those whose lock nobody holds any more. The last one stays
/// until now so that its logs can be read.
fn remove_finished(runs: &Path) {
    for run in fs::read_dir(runs).into_iter().flatten().flatten() {
        let Ok(lock) = File::open(run.path().join("lock")) else { continue };
        match lock.try_lock() {
            Ok(()) => {
                let _ = fs::remove_dir_all(run.path());
            }
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}
