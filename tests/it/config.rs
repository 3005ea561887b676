//! `comanda config`: what is accepted, what is refused and in which words, what is never shown.

use crate::harness::process::{run, run_with};
use crate::harness::run_dir;

#[tokio::test]
async fn the_defaults_are_valid() {
    let check = run(&["config", "check"]).await;
    assert!(check.status.success(), "{check:#?}");
}

#[tokio::test]
async fn a_mistake_is_refused_by_its_name_wherever_it_stands() {
    let refused = async |arguments: &[&str], variable: Option<(&str, &str)>, name: &str| {
        let arguments = [&["config", "check"], arguments].concat();
        let variables: Vec<_> =
            variable.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let check = run_with(&arguments, &variables).await;
        assert!(!check.status.success(), "{arguments:?} {variables:?} was accepted");
        assert!(check.stderr.contains(name), "no {name} in {check:#?}");
        assert!(!check.stderr.contains("panicked"), "{check:#?}");
    };
    refused(&["--set", "topics.partition=3"], None, "topics.partition").await;
    refused(&["--set", "topics.partitions=many"], None, "topics.partitions").await;
    refused(&[], Some(("COMANDA__KAFKA__BROKER", "b:9092")), "KAFKA__BROKER").await;
    refused(&[], Some(("COMANDA__ADMIN__LISTEN", "nowhere")), "admin.listen").await;

    let folder = run_dir::folder("config");
    let file = folder.join("comanda.toml");
    let named = file.display().to_string();
    for (text, name) in [
        ("[gatway]\nlisten = \"127.0.0.1:0\"\n", "gatway"),
        ("[topics]\npartitions = \"three\"\n", "topics.partitions"),
        ("[topics\n", "comanda.toml"),
    ] {
        std::fs::write(&file, text).unwrap();
        refused(&["--config", &named], None, name).await;
    }
    refused(&["--config", "missing.toml"], None, "missing.toml").await;
}

#[tokio::test]
async fn secrets_are_masked_and_origins_told() {
    let show = run_with(
        &["config", "show", "--set", "registry.password=hunter2", "--set", "topics.prefix=dev."],
        &[("COMANDA__KAFKA__SASL_PASSWORD".to_owned(), "hunter2".to_owned())],
    )
    .await;
    assert!(show.status.success(), "{show:#?}");
    assert!(!show.stdout.contains("hunter2"), "{show:#?}");
    let line = |key: &str| {
        let found = show.stdout.lines().find(|line| line.starts_with(key));
        found.unwrap_or_else(|| panic!("no {key} in {}", show.stdout))
    };
    assert!(line("kafka.sasl_password").contains("environment"));
    assert!(line("registry.password").contains("command line"));
    assert!(line("topics.prefix").contains("dev."));
    assert!(line("topics.orders").contains("default"));
}

#[tokio::test]
async fn settings_come_through_a_pipe() {
    let folder = run_dir::folder("config-pipe");
    let file = folder.join("comanda.toml");
    std::fs::write(&file, "[topics]\nprefix = \"piped.\"\n").unwrap();
    let shown = shell(&format!("cat {} | comanda config show --config /dev/stdin", file.display()));
    assert!(shown.status.success(), "{shown:#?}");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("piped."), "{shown:#?}");
}

#[tokio::test]
async fn a_command_that_cannot_print_ends_without_a_panic() {
    for arguments in [
        &["config", "show"][..],
        &["config", "check"],
        &["schema", "graphql"],
        &["--help"],
        &["config", "check", "--set", "topics.partition=1"],
        &["no-such-command"],
    ] {
        let (reader, gone) = std::io::pipe().unwrap();
        drop(reader);
        let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        for (out, err) in
            [(full().into(), None), (gone.into(), None), (full().into(), Some(full()))]
        {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_comanda"));
            let (out, silent): (std::process::Stdio, bool) = (out, err.is_some());
            command.args(arguments).stdout(out);
            let err = err.map_or_else(std::process::Stdio::piped, std::process::Stdio::from);
            let ended = command.stderr(err).spawn().unwrap().wait_with_output().unwrap();
            let told = String::from_utf8_lossy(&ended.stderr);
            assert!(!told.contains("panicked"), "{arguments:?}: {told}");
            // A panic's own status, where it can't be told.
            assert!(ended.status.code().is_some_and(|code| code < 101), "{arguments:?} {silent}");
        }
    }
}

/// What comes of a line of the shell, in which `comanda` is this build's.
fn shell(line: &str) -> std::process::Output {
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_comanda")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", line]).env("PATH", path).output().unwrap()
}
