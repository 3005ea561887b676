//! `compose/compose.yaml` without a container engine: it follows the compose specification, its
//! dependencies can be met, and comanda accepts every setting and command it passes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::harness::downloads;
use crate::harness::process::{run, run_with};
use crate::harness::tools::{self, Tool};

#[derive(Deserialize)]
struct Compose {
    services: BTreeMap<String, Service>,
}

#[derive(Deserialize)]
struct Service {
    image: String,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    profiles: BTreeSet<String>,
    #[serde(default)]
    depends_on: BTreeMap<String, Dependency>,
    healthcheck: Option<Value>,
}

#[derive(Deserialize)]
struct Dependency {
    condition: String,
}

impl Compose {
    /// Services that run the image of this repository.
    fn ours(&self) -> impl Iterator<Item = (&String, &Service)> {
        self.services.iter().filter(|(_, s)| s.image.starts_with("comanda:"))
    }
}

fn text() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/compose.yaml");
    std::fs::read_to_string(path).unwrap()
}

fn compose() -> Compose {
    serde_saphyr::from_str(&text()).unwrap()
}

#[tokio::test]
async fn it_follows_the_compose_specification() {
    if !tools::have(&[Tool::Npm]) {
        return;
    }
    let schema = tokio::task::spawn_blocking(downloads::compose_schema).await.unwrap().unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::draft7::new(&schema).unwrap();
    let mut compose: Value = serde_saphyr::from_str(&text()).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(&compose).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");

    compose["services"]["gateway"]["comand"] = "gateway".into();
    assert!(!validator.is_valid(&compose), "the schema lets everything pass");
}

#[test]
fn images_are_pinned() {
    for (name, service) in compose().services {
        let (_, tag) = service.image.rsplit_once(':').unwrap_or_else(|| panic!("{name}: no tag"));
        assert!(tag.split('.').count() == 3, "{name}: {tag} is not one version");
    }
}

#[test]
fn every_dependency_can_be_met() {
    let compose = compose();
    for (name, service) in &compose.services {
        for (needed, dependency) in &service.depends_on {
            let found = compose.services.get(needed);
            let found = found.unwrap_or_else(|| panic!("{name} depends on {needed}, not there"));
            assert!(found.profiles.is_superset(&service.profiles), "{name} without {needed}");
            match dependency.condition.as_str() {
                "service_healthy" => assert!(found.healthcheck.is_some(), "{needed} has no check"),
                "service_completed_successfully" => assert!(found.healthcheck.is_none()),
                other => panic!("{name} waits for {needed} to be {other}"),
            }
        }
    }
}

#[test]
fn the_infra_profile_has_what_up_on_the_host_needs() {
    let compose = compose();
    let of = |profile: &str| -> Vec<&str> {
        let services = compose.services.iter();
        services.filter(|(_, s)| s.profiles.contains(profile)).map(|(n, _)| n.as_str()).collect()
    };
    // No image of ours among them: nothing has to be built before `cargo run -- up` can start.
    assert_eq!(of("infra"), ["console", "redpanda"]);
    assert_eq!(of("all").len(), compose.services.len());
}

#[tokio::test]
async fn comanda_accepts_every_setting_and_command() {
    let compose = compose();
    let defaults = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/default.toml");
    let defaults = std::fs::read_to_string(defaults).unwrap();
    let defaults = toml::Value::Table(defaults.parse().unwrap());
    let mut roles = BTreeSet::new();
    for (name, service) in compose.ours() {
        for variable in service.environment.keys() {
            let setting = variable.strip_prefix("COMANDA__").map(str::to_lowercase);
            let setting = setting.unwrap_or_else(|| panic!("{name}: {variable} is not a setting"));
            let mut keys = setting.split("__");
            let known = keys.try_fold(&defaults, |at, key| at.get(key)).is_some();
            assert!(known, "{name}: {variable} is not in config/default.toml");
        }
        let variables: Vec<_> = service.environment.clone().into_iter().collect();
        let check = run_with(&["config", "check"], &variables).await;
        assert!(check.status.success(), "{name}: {check:#?}");

        let command: Vec<&str> = service.command.iter().map(String::as_str).collect();
        let help = run(&[&command[..], &["--help"]].concat()).await;
        assert!(help.status.success(), "{name}: {help:#?}");
        roles.insert(command[0]);
    }
    let all = ["gateway", "notifier", "payment", "projector", "sandbox", "schemas", "topics"];
    assert_eq!(Vec::from_iter(roles), all);
}
