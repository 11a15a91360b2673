//! Whether what a loader holds at once fits into this machine: rows into its memory, files into its descriptors.
//!
//! Only what is certain is refused: the least that the settings need, against the most that the process could have.

use super::columns::Spec;
use super::error::DataError;
use super::example::Layout;
use super::remote;
use super::schema::Dtype;
use super::source;
use super::stream::StreamSpec;
use crate::machine::{self, Memory, bytes_text};

/// What is known of a row beside its values: where it came from, its place in the shuffle, its share of a block.
const ROW_OVERHEAD: u64 = 100;
/// Rows that wait in a batch, and the batch that is made of them.
const COPIES: u64 = 2;
/// Decoded rows are seldom more times as large as the compressed files that they come from.
const INFLATION: u64 = 16;

/// Refuses `spec` where it cannot be held, `ranks` times on this machine.
pub(super) fn check(
    spec: &StreamSpec,
    layout: &Layout,
    threads: usize,
    ranks: usize,
) -> Result<(), DataError> {
    let memory = Memory::now().most() / (ranks.max(1) as u64);
    let row = row_bytes(&layout.specs);
    let rows = spec.rows as u64;
    let batch = rows.saturating_mul(row).saturating_mul(COPIES);
    if batch > memory {
        return Err(refusal("global_batch_size", (rows, row), batch, memory));
    }
    let shuffled = spec.window.saturating_mul(row);
    if shuffled > memory {
        // The buffer never holds more than an epoch.
        let mut epoch: u64 = 0;
        for file in &spec.files {
            epoch = epoch.saturating_add(source::size(file)?);
        }
        let epoch = epoch.saturating_mul(INFLATION);
        if epoch > memory {
            let key = "examples_shuffle_buffer_size";
            return Err(refusal(key, (spec.window, row), shuffled, memory));
        }
    }
    descriptors(spec, threads)
}

fn refusal(key: &str, (rows, row): (u64, u64), needs: u64, memory: u64) -> DataError {
    let reason = format!(
        "{rows} rows of {} need about {} of memory, this process may use {}: take fewer",
        bytes_text(row),
        bytes_text(needs),
        bytes_text(memory),
    );
    DataError::setting(key, reason)
}

/// The least that a decoded row takes; features of any length may be empty.
fn row_bytes(specs: &[Spec]) -> u64 {
    let bytes = |spec: &Spec| {
        let each = match spec.feature.dtype {
            Dtype::Float => 4,
            Dtype::Int64 => 8,
            Dtype::Bytes => size_of::<Vec<u8>>() as u64,
        };
        each * spec.keep.width() as u64
    };
    specs
        .iter()
        .map(bytes)
        .fold(ROW_OVERHEAD, u64::saturating_add)
}

/// Files are open one for each of the interleave, or one per thread.
fn descriptors(spec: &StreamSpec, threads: usize) -> Result<(), DataError> {
    let local = spec.files.iter().filter(|file| !remote::is_remote(file));
    let open = local.count().min(spec.interleave.max(threads)) as u64;
    let limit = machine::open_files();
    if open < limit {
        return Ok(());
    }
    let reason = format!(
        "{open} files would be open at once, this process may open {limit}: choose fewer, or raise the limit \
         (`ulimit -n`)"
    );
    Err(DataError::setting("interleave_num_parallel_calls", reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::schema::{Feature, Length};

    fn layout(width: usize) -> Layout {
        Layout::new(vec![Spec::new(Feature {
            key: "key".to_owned(),
            name: "name".into(),
            dtype: Dtype::Int64,
            length: Length::Fixed(width),
            parts: None,
        })])
    }

    fn spec(yaml: &str) -> StreamSpec {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.gz"), "1234").unwrap();
        let text = format!(
            "{{inputs: {}/*, seg_dense_schema: {{schema_path: s}}, tasks: {{t: {{}}}}, {yaml}}}",
            folder.path().display()
        );
        let config: crate::config::RecapDataConfig = crate::config::parse(&text).unwrap();
        let options = crate::data::LoaderOptions {
            seed: 0,
            rank: 0,
            world_size: 1,
            local_world_size: 1,
            any_labels: false,
            mode: crate::data::Mode::Train,
            threads: None,
            in_order: false,
            repeat: true,
            drop_remainder: true,
        };
        StreamSpec::new(&config, &options, config.global_batch_size.to_usize()).unwrap()
    }

    #[test]
    fn a_batch_that_fits_no_memory_is_refused_with_its_key_and_size() {
        let error = check(
            &spec("global_batch_size: 2000000000"),
            &layout(1 << 30),
            1,
            1,
        );
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with(
                "global_batch_size: 2000000000 rows of 8.6 GB need about 18.4 EB of memory, this process may use "
            ),
            "{error}"
        );
        assert!(check(&spec("global_batch_size: 4"), &layout(1000), 1, 1).is_ok());
    }

    #[test]
    fn ranks_of_one_machine_share_its_memory() {
        let rows = Memory::now().most() / 2 / COPIES / (8 * 1000 + ROW_OVERHEAD) * 9 / 10;
        let spec = spec(&format!("global_batch_size: {rows}"));
        assert!(check(&spec, &layout(1000), 1, 1).is_ok());
        assert!(check(&spec, &layout(1000), 1, 4).is_err());
    }

    #[test]
    fn a_shuffle_of_more_rows_than_there_are_is_no_mistake() {
        let yaml = "global_batch_size: 4, examples_shuffle_buffer_size: 9000000000000000000";
        let mut spec = spec(yaml);
        let sparse = tempfile::NamedTempFile::new().unwrap();
        spec.files = vec![sparse.path().into()];
        sparse.as_file().set_len(4).unwrap();
        assert!(check(&spec, &layout(1000), 1, 1).is_ok());
        sparse.as_file().set_len(1 << 43).unwrap();
        let error = check(&spec, &layout(1000), 1, 1).unwrap_err().to_string();
        assert!(
            error.starts_with("examples_shuffle_buffer_size: "),
            "{error}"
        );
    }
}
