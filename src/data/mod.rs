//! From files of records to batches on the host: deterministic, resumable, as fast as the machine inflates.
//!
//! `files` lists, `source` opens (`remote` what is not on this machine), `epoch` deals files to ranks, `tfrecord` finds
//! records, `decoder` turns them into rows on the spot (`example` parses into `columns`), `cache` keeps rows, `interleave`
//! and `shuffle` order them, `pipeline` and `preprocess` make batches of them. `sequencer` decides, `feed` and `workers`
//! carry it out on threads, `loader` is the door. `inventory` tells whether others have the same files, `background` is a
//! thread that may hang in a read. No torch.

mod background;
mod cache;
pub(crate) mod columns;
mod counters;
mod decoder;
mod draw;
pub(crate) mod encode;
mod epoch;
mod error;
pub(crate) mod example;
mod feed;
mod files;
mod fit;
mod hidden;
mod interleave;
mod inventory;
mod lists;
mod loader;
pub(crate) mod mask;
mod no_records;
mod open_file;
pub(crate) mod payload;
mod pipeline;
mod places;
mod position;
mod preprocess;
pub mod random;
mod reader;
mod remote;
mod scalars;
pub(crate) mod schema;
mod sequencer;
mod shuffle;
mod source;
mod stream;
pub(crate) mod survey;
mod targets;
pub(crate) mod tfrecord;
mod wire;
mod workers;

pub(crate) use background::{Background, NotJoined};
pub(crate) use files::{list as list_files, matching_objects};
pub(crate) use hidden::{is_hidden, is_hidden_name};
pub(crate) use remote::is_remote;
pub(crate) use source::size as file_size;
pub(crate) use stream::refuse_empty;

pub use counters::{Counters, Meter};
pub use error::{DataError, Fault, RecordError};
pub use inventory::{Inventory, inventory};
pub use loader::{LoadedBatch, Loader, LoaderOptions, Next, RecordId};
pub use no_records::NoRecords;
pub use pipeline::{Mode, empty_batch, feature_widths};
pub use position::Position;
pub use remote::{RemoteError, Version as RemoteVersion};
pub use source::NotRegular;
pub use survey::Survey;
pub(crate) use tfrecord::try_records;
pub use tfrecord::{Foreign, uncompressed};

/// The files that `config` finds now, sorted and cut to `num_files_to_keep`.
///
/// # Errors
/// When there are none, or they cannot be listed.
pub fn file_names(
    config: &crate::config::RecapDataConfig,
) -> Result<Vec<std::sync::Arc<std::path::Path>>, DataError> {
    files::list(config)
}
