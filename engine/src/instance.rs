//! A name that is this process's alone and comes back after a restart.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

/// More processes of one stage on one host than this ask for a name by hand.
const SLOTS: u32 = 1024;

/// A claimed name; the claim ends with the process, however it ends.
#[derive(Debug)]
pub(crate) struct Instance {
    pub name: String,
    _claim: Option<File>,
}

impl Instance {
    /// `configured` as it is, or, for `auto`, the host's name and the lowest free number among
    /// the claims on `scope` in `folder`.
    ///
    /// A process that is killed and started again finds its number free and takes it, so its
    /// transactional id is the same and its orphaned transaction is aborted at once.
    pub fn claim(configured: &str, scope: &str, folder: &Path) -> io::Result<Self> {
        if configured != "auto" {
            return Ok(Self { name: configured.to_owned(), _claim: None });
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = Some(host.trim()).filter(|h| !h.is_empty()).unwrap_or("localhost");
        for slot in 0..SLOTS {
            let path = folder.join(format!("{scope}-{slot}.lock"));
            let claim = OpenOptions::new().create(true).truncate(false).write(true).open(path);
            let claim = match claim {
                Ok(claim) => claim,
                // Another user's.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => continue,
                Err(error) => return Err(error),
            };
            match claim.try_lock() {
                Ok(()) => {
                    return Ok(Self { name: format!("{host}-{slot}"), _claim: Some(claim) });
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Err(io::Error::other("all names are taken"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_claim_is_its_own_and_is_free_again_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let claim = |name| Instance::claim(name, "payment", folder.path()).unwrap();
        let first = claim("auto");
        let second = claim("auto");
        assert!(first.name.ends_with("-0") && second.name.ends_with("-1"));
        let name = first.name.clone();
        drop(first);
        assert_eq!(claim("auto").name, name);
        assert_eq!(claim("a").name, "a");
    }
}
