//! The prerequisites of the tests, and the one rule for a missing one: in CI the test fails,
//! elsewhere it says so loudly and passes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::Command;
use std::sync::Mutex;

/// A program that a test needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    Go,
    Java,
    Maven,
    Node,
    Npm,
    Python,
    Xz,
    /// Needed by root alone, to run PostgreSQL as somebody else.
    Setpriv,
}

impl Tool {
    /// Program, argument that makes it tell its version, and what to install where it is missing.
    fn facts(self) -> (&'static str, &'static [&'static str], &'static str) {
        match self {
            Self::Go => ("go", &["version"], "Go 1.24 or newer (https://go.dev/dl)"),
            Self::Java => {
                ("java", &["-version"], "Java 17 or newer (Debian: default-jre-headless)")
            }
            Self::Maven => ("mvn", &["-v"], "Maven (Debian: maven)"),
            Self::Node => ("node", &["--version"], "Node.js 20 or newer (Debian: nodejs)"),
            Self::Npm => ("npm", &["--version"], "npm (Debian: npm)"),
            Self::Python => {
                ("python3", &["-m", "pip", "--version"], "Python 3 with pip (Debian: python3-pip)")
            }
            Self::Xz => ("xz", &["--version"], "xz (Debian: xz-utils)"),
            Self::Setpriv => ("setpriv", &["--version"], "setpriv (Debian: util-linux)"),
        }
    }

    fn is_there(self) -> bool {
        static FOUND: Mutex<BTreeMap<Tool, bool>> = Mutex::new(BTreeMap::new());
        let mut found = FOUND.lock().unwrap_or_else(|e| e.into_inner());
        *found.entry(self).or_insert_with(|| {
            let (program, arguments, _) = self.facts();
            Command::new(program).args(arguments).output().is_ok_and(|o| o.status.success())
        })
    }
}

/// Whether all of `tools` are installed. If not: panics where `CI=true`, else says `SKIPPED`, once a
/// test.
#[must_use = "a test without its tools has to return"]
pub fn have(tools: &[Tool]) -> bool {
    let missing: Vec<&str> =
        tools.iter().filter(|tool| !tool.is_there()).map(|tool| tool.facts().2).collect();
    if missing.is_empty() {
        return true;
    }
    let missing = missing.join(", ");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "missing, please install: {missing}");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if TOLD.lock().unwrap_or_else(|e| e.into_inner()).insert(test.clone()) {
        // Past libtest's capture, which swallows what a passing test prints.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: missing, please install: {missing}");
    }
    false
}
