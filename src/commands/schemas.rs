//! `comanda schemas register` and `schemas check`.

use anyhow::{Context, Result, bail};
use comanda_schemas::{Registry, Topic};

use crate::config::Loaded;

/// Registers the schemas of all topics and asks for full compatibility from then on.
pub async fn register(loaded: Loaded) -> Result<()> {
    let (names, registry) = (loaded.settings.topics.names(), client(&loaded)?);
    for topic in Topic::ALL {
        let subject = names.subject(topic);
        let id = registry.register(&subject, topic).await?;
        registry.require_full_compatibility(&subject).await?;
        say!("{subject:<40} id {id}, FULL_TRANSITIVE");
    }
    Ok(())
}

/// Whether the schemas of this build may be registered where they are to go.
pub async fn check(loaded: Loaded) -> Result<()> {
    let (names, registry) = (loaded.settings.topics.names(), client(&loaded)?);
    let mut refused = Vec::new();
    for topic in Topic::ALL {
        let subject = names.subject(topic);
        let compatible = registry.is_compatible(&subject, topic).await?;
        say!("{subject:<40} {}", if compatible { "compatible" } else { "INCOMPATIBLE" });
        if !compatible {
            refused.push(subject);
        }
    }
    if !refused.is_empty() {
        bail!("incompatible with what is registered: {}", refused.join(", "));
    }
    Ok(())
}

fn client(loaded: &Loaded) -> Result<Registry> {
    Registry::new(&loaded.settings.registry).context("registry settings")
}
