//! What a rank says of itself at the meeting: everything in which ranks must be alike, or should.

use tch::Device;

use super::engine::Engine;
use crate::config::{RecapConfig, RecapDataConfig};
use crate::data::{self, DataError, Inventory};
use crate::distributed::{Card, Fact};

/// The card of a rank that trains by `config` on `device`.
///
/// # Errors
/// When the data cannot be listed or the schema cannot be read.
pub(super) fn card(config: &RecapConfig, device: Device) -> Result<Card, DataError> {
    let engine = Engine::now();
    let kind = if device.is_cuda() { "GPU" } else { "CPU" };
    let mut facts = vec![
        must(
            "program",
            crate::cli::VERSION.to_owned(),
            "run the same build on every machine",
        ),
        must(
            "libtorch",
            engine.libtorch.clone(),
            "use the same libtorch on every machine",
        ),
        must(
            "device",
            kind.to_owned(),
            "see `recap-train doctor` on the machine of each rank",
        ),
        config_fact(config),
    ];
    facts.extend(data_facts("train_data", &config.train_data)?);
    if config.training.evaluate {
        for (name, data) in &config.validation_data {
            facts.extend(data_facts(&format!("validation_data.{name}"), data)?);
        }
    }
    facts.extend(engine.facts());
    Ok(Card {
        facts,
        ..Card::default()
    })
}

fn must(name: &str, value: String, remedy: &str) -> Fact {
    Fact {
        name: name.to_owned(),
        value,
        details: Vec::new(),
        must_agree: true,
        remedy: remedy.to_owned(),
    }
}

fn config_fact(config: &RecapConfig) -> Fact {
    let mut digest = config.digest();
    digest.truncate(12);
    Fact {
        details: config.to_yaml().lines().map(str::to_owned).collect(),
        ..must(
            "config",
            digest,
            "give all ranks the same config file and overrides",
        )
    }
}

fn data_facts(place: &str, config: &RecapDataConfig) -> Result<[Fact; 2], DataError> {
    let Inventory {
        num_files,
        bytes,
        digest,
        schema_digest,
        lines,
    } = data::inventory(config)?;
    let files = Fact {
        details: lines,
        ..must(
            &format!("{place}: its data is"),
            format!("{num_files} files of {bytes} bytes ({digest:016x})"),
            "every rank must see the same files, under the same names",
        )
    };
    let schema = must(
        &format!("{place}: its schema is"),
        format!("{schema_digest:016x}"),
        "every rank must read the same schema",
    );
    Ok([files, schema])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Decode;

    #[test]
    fn data_that_is_not_there_is_an_error_and_a_config_shows_its_lines() {
        let config = RecapConfig::placeholder();
        assert!(card(&config, Device::Cpu).is_err());
        let fact = config_fact(&config);
        assert_eq!(fact.value.len(), 12);
        assert!(fact.details.len() > 10, "{:?}", fact.details);
    }
}
