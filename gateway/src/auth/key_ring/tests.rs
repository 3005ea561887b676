use metrics_exporter_prometheus::PrometheusBuilder;
use tempfile::NamedTempFile;

use super::*;
use crate::auth::keys::hash_key;
use crate::digest::digest;
use crate::metrics::KEYS_STALE;

fn entry(name: &str, key: &str) -> String {
    let hash = hash_key(key);
    format!("[[api_keys]]\nname = \"{name}\"\nsha256 = \"{hash}\"\nrole = \"operator\"\n\n")
}

async fn open(file: &str) -> Result<KeyRing, Error> {
    let inline = vec![ApiKey::operator("inline", "key-inline-0001")];
    KeyRing::open(inline, file, Duration::from_secs(3600)).await
}

fn write(file: &NamedTempFile, content: &str) {
    std::fs::write(file.path(), content).unwrap();
}

fn knows(ring: &KeyRing, key: &str) -> bool {
    ring.keys().find(&digest(key)).is_some()
}

#[tokio::test]
async fn the_keys_of_the_settings_and_of_the_file_are_in_force_together() {
    let file = NamedTempFile::new().unwrap();
    write(&file, &(entry("a", "key-a-0001") + &entry("b", "key-b-0001")));
    let ring = open(file.path().to_str().unwrap()).await.unwrap();
    assert!(["key-inline-0001", "key-a-0001", "key-b-0001"].iter().all(|key| knows(&ring, key)));

    let mut changes = ring.changes();
    write(&file, &(entry("b", "key-b-0001") + &entry("c", "key-c-0001")));
    ring.look().await.unwrap();
    assert!(changes.has_changed().unwrap());
    assert!(["key-inline-0001", "key-b-0001", "key-c-0001"].iter().all(|key| knows(&ring, key)));
    assert!(!knows(&ring, "key-a-0001"));

    changes.mark_unchanged();
    ring.look().await.unwrap();
    assert!(!changes.has_changed().unwrap(), "nothing is new");
    write(&file, "api_keys = []");
    ring.look().await.unwrap();
    assert!(knows(&ring, "key-inline-0001") && !knows(&ring, "key-b-0001"));
}

#[test]
fn a_file_that_cannot_be_used_leaves_the_keys_as_they_were_and_shows_in_a_metric() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let is_stale = || {
        let text = metrics.render();
        let line = text.lines().find(|line| line.starts_with(KEYS_STALE)).unwrap();
        assert!(line.contains("source=\"api_keys_file\""), "{line}");
        line.ends_with(" 1")
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let file = NamedTempFile::new().unwrap();
    let good = entry("a", "key-a-0001");
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            write(&file, &good);
            let ring = open(file.path().to_str().unwrap()).await.unwrap();
            assert!(!is_stale());
            for broken in [
                String::new(),
                "[[api_keys]".into(),
                "[[api_keys]]\nname = \"a\"".into(),
                format!("{good}role = \"operator\""),
                format!("{good}{good}"),
                entry("inline", "key-b-0001"),
                entry("b", "key-inline-0001"),
                entry("b", "key-b-0001").replace("operator", "customer"),
                good.replace("name", "nam"),
            ] {
                write(&file, &broken);
                assert!(ring.look().await.is_err(), "{broken}");
                assert!(is_stale() && knows(&ring, "key-a-0001"));
                write(&file, &good);
                ring.look().await.unwrap();
                assert!(!is_stale());
            }
            std::fs::remove_file(file.path()).unwrap();
            assert!(matches!(ring.look().await, Err(LoadError::Read(_))));
            assert!(is_stale() && knows(&ring, "key-a-0001"));
        });
    });
}

#[tokio::test]
async fn a_file_that_cannot_be_used_at_the_start_is_an_error_that_names_the_line() {
    let file = NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    write(&file, &format!("{}[[api_keys]]\nname = 5\n", entry("a", "key-a-0001")));
    let problem = open(&path).await.err().unwrap().to_string();
    assert!(
        problem.starts_with("gateway.api_keys_file can't be used: line 7 does not parse"),
        "{problem}"
    );
    assert!(!problem.contains(&hash_key("key-a-0001")));
    drop(file);
    let problem = open(&path).await.err().unwrap().to_string();
    assert!(
        problem.starts_with("gateway.api_keys_file can't be used: the file can't be read"),
        "{problem}"
    );
}
