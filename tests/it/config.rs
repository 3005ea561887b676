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
