//! Addresses of remote objects, and the store that each belongs to.

use std::path::Path;
use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::{ClientOptions, RetryConfig, path};

use super::client::Connector;
use super::store::Store;
use super::{ANSWER_TIME, RemoteError, variables};
use crate::redact;

/// Why such an address is refused.
const SECRET: &str = "a user, password or signed query does not belong into an address, because addresses are logged: \
    use the variables of the store (AWS_..., GOOGLE_...)";

/// Beginnings of addresses that are no local paths.
const SCHEMES: [&str; 4] = ["gs://", "s3://", "http://", "https://"];
/// What makes an address a pattern.
const GLOB_SIGNS: [char; 3] = ['*', '?', '['];
/// How often a request is made again after it failed, with pauses that double from 0.1 s.
const MAX_RETRIES: usize = 5;

/// Whether `file` is the address of a remote object rather than a path.
pub(crate) fn is_remote(file: &Path) -> bool {
    let text = file.to_str().unwrap_or_default();
    SCHEMES.iter().any(|scheme| text.starts_with(scheme))
}

/// The folder that holds everything `pattern` can match, and whether that may lie deeper; `None` if it is no pattern.
pub(crate) fn pattern_prefix(pattern: &str) -> Option<(&str, bool)> {
    let sign = pattern.find(GLOB_SIGNS)?;
    let slash = pattern[..sign].rfind('/')?;
    let rest = &pattern[slash + 1..];
    Some((&pattern[..slash], rest.contains('/') || rest.contains("**")))
}

/// An address in parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// What comes before the path: `s3://bucket`, `https://host:port`.
    pub(super) root: String,
    /// Name of the object in its store; may be empty.
    key: String,
}

impl Address {
    pub(super) fn of(file: &Path) -> Result<Self, RemoteError> {
        let wrong = |reason: &str| RemoteError::Address {
            reason: reason.to_owned(),
        };
        let text = file.to_str().ok_or_else(|| wrong("it is not UTF-8"))?;
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| wrong("it has no scheme"))?;
        let (host, key) = rest.split_once('/').unwrap_or((rest, ""));
        if host.is_empty() {
            return Err(wrong("it names no bucket or host"));
        }
        if redact::is_needed(text) {
            return Err(wrong(SECRET));
        }
        let address = Self {
            root: format!("{scheme}://{host}"),
            key: key.to_owned(),
        };
        if address.is_http() && key.contains(['?', '#', '*', '[']) {
            return Err(wrong(
                "HTTP servers do not list: an http address must name one file, without a fragment",
            ));
        }
        Ok(address)
    }

    fn is_http(&self) -> bool {
        self.root.starts_with("http")
    }

    /// Where the object lies in its store.
    pub(super) fn path(&self) -> Result<path::Path, RemoteError> {
        let parsed = if self.is_http() {
            path::Path::from_url_path(&self.key)
        } else {
            path::Path::parse(&self.key)
        };
        parsed.map_err(|error| RemoteError::Address {
            reason: error.to_string(),
        })
    }

    /// A connection with what the environment says: `AWS_*` for S3 and whatever speaks its protocol, `GOOGLE_*` for
    /// Google Cloud Storage.
    pub(super) fn store(&self) -> Result<Store, object_store::Error> {
        let retry = RetryConfig {
            max_retries: MAX_RETRIES,
            retry_timeout: ANSWER_TIME,
            ..RetryConfig::default()
        };
        Ok(match self.root.split_once("://") {
            Some(("s3", bucket)) => {
                variables::report_unused_of_s3();
                Store::listing(Arc::new(
                    AmazonS3Builder::from_env()
                        .with_http_connector(Connector::Signed)
                        .with_bucket_name(bucket)
                        .with_retry(retry)
                        .build()?,
                ))
            }
            Some(("gs", bucket)) => {
                variables::report_unused_of_gcs();
                Store::listing(Arc::new(
                    GoogleCloudStorageBuilder::from_env()
                        .with_http_connector(Connector::Signed)
                        .with_bucket_name(bucket)
                        .with_retry(retry)
                        .build()?,
                ))
            }
            _ => Store::of_files(Arc::new(
                HttpBuilder::new()
                    .with_http_connector(Connector::Open)
                    .with_url(&self.root)
                    .with_client_options(ClientOptions::new().with_allow_http(true))
                    .with_retry(retry)
                    .build()?,
            )),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_fall_apart_into_root_and_key() {
        let address = Address::of(Path::new("s3://bucket/a b/c?.gz")).unwrap();
        assert_eq!(address.root, "s3://bucket");
        assert_eq!(address.path().unwrap().as_ref(), "a b/c?.gz");
        let address = Address::of(Path::new("s3://bucket/year=202?/month=01/*.gz")).unwrap();
        assert_eq!(address.key, "year=202?/month=01/*.gz");
        let address = Address::of(Path::new("http://host:80/a%20b.gz")).unwrap();
        assert_eq!(address.root, "http://host:80");
        assert_eq!(address.path().unwrap().as_ref(), "a b.gz");
        assert_eq!(Address::of(Path::new("gs://bucket")).unwrap().key, "");
    }

    #[test]
    fn addresses_that_cannot_be_read_say_why() {
        let reason = |text: &str| Address::of(Path::new(text)).unwrap_err().to_string();
        assert!(reason("gs:///a.gz").contains("no bucket"));
        for secret in ["https://me:secret@host/a.gz", "s3://bucket/a.gz?sig=secret"] {
            assert!(reason(secret).contains("password"), "{secret}");
            assert!(!reason(secret).contains("secret"), "{secret}");
        }
        assert!(reason("https://host/*.gz").contains("do not list"));
        assert!(reason("https://host/a.gz?key=1").contains("query"));
    }

    #[test]
    fn a_pattern_is_looked_for_in_its_last_plain_folder() {
        assert_eq!(pattern_prefix("s3://b/d/a.gz"), None);
        assert_eq!(pattern_prefix("s3://b/d/*.gz"), Some(("s3://b/d", false)));
        assert_eq!(pattern_prefix("gs://b/d*/a.gz"), Some(("gs://b", true)));
        assert_eq!(pattern_prefix("gs://b/d/**"), Some(("gs://b/d", true)));
        assert!(is_remote(Path::new("gs://b/a")) && !is_remote(Path::new("/gs:/b")));
    }
}
