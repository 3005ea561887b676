//! `comanda topics apply`.

use anyhow::Result;
use tracing::warn;

use crate::config::Loaded;
use crate::topics::{self, Applied};

/// Creates what is missing, verifies what is there.
pub async fn apply(loaded: Loaded) -> Result<()> {
    let settings = loaded.settings;
    let outcome = topics::apply(&settings.kafka, &settings.topics).await?;
    for (topic, applied) in outcome.topics {
        let words = match applied {
            Applied::Created => "created",
            Applied::Present => "present",
        };
        say!("{topic:<40} {words}, {} partitions", settings.topics.partitions);
    }
    for remark in outcome.remarks {
        warn!("{remark}");
    }
    Ok(())
}
