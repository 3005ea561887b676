//! `comanda topics apply`.

use anyhow::Result;

use crate::config::Loaded;
use crate::topics::{self, Applied};

/// Creates what is missing, verifies what is there.
pub async fn apply(loaded: Loaded) -> Result<()> {
    let settings = loaded.settings;
    for (topic, applied) in topics::apply(&settings.kafka, &settings.topics).await? {
        let words = match applied {
            Applied::Created => "created",
            Applied::Present => "present",
        };
        say!("{topic:<40} {words}, {} partitions", settings.topics.partitions);
    }
    Ok(())
}
