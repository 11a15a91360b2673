//! Variables of the environment that other tools obey and this program does not: said once, since somebody who has set
//! one would look for the mistake elsewhere.

use std::sync::Once;

use object_store::ClientConfigKey;
use object_store::aws::AmazonS3ConfigKey;
use object_store::gcp::GoogleConfigKey;
use tracing::warn;

/// What concerns no reading of data.
const OF_NO_CONCERN: [&str; 4] = [
    "AWS_PAGER",
    "AWS_EXECUTION_ENV",
    "AWS_DEFAULT_OUTPUT",
    "GOOGLE_CLOUD_PROJECT",
];

/// Reports variables for S3 that have no effect; once in a process.
pub(super) fn report_unused_of_s3() {
    static ONCE: Once = Once::new();
    report(&ONCE, "AWS_", is_used_for_s3);
}

fn is_used_for_s3(name: &str) -> bool {
    match name.parse() {
        Ok(AmazonS3ConfigKey::Client(key)) => is_obeyed(key),
        // The bucket is that of the address.
        Ok(AmazonS3ConfigKey::Bucket) => false,
        parsed => parsed.is_ok(),
    }
}

/// Reports variables for Google Cloud Storage that have no effect; once in a process.
pub(super) fn report_unused_of_gcs() {
    static ONCE: Once = Once::new();
    report(&ONCE, "GOOGLE_", |name| match name.parse() {
        Ok(GoogleConfigKey::Client(key)) => is_obeyed(key),
        parsed => parsed.is_ok(),
    });
}

/// Whether [`super::client::Connector`] looks at the setting.
fn is_obeyed(key: ClientConfigKey) -> bool {
    matches!(
        key,
        ClientConfigKey::AllowHttp
            | ClientConfigKey::AllowInvalidCertificates
            | ClientConfigKey::ProxyUrl
            | ClientConfigKey::ProxyExcludes
    )
}

fn report(once: &Once, prefix: &str, is_used: impl Fn(&str) -> bool) {
    once.call_once(|| {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let unused = unused(names, prefix, is_used);
        if !unused.is_empty() {
            warn!(
                variables = unused.join(", "),
                "these variables have no effect here: files of credentials, profiles and settings of other clients are \
                 not read; export keys and region themselves"
            );
        }
    });
}

/// The sorted `names` that begin with `prefix` and are not used.
fn unused(
    names: impl Iterator<Item = String>,
    prefix: &str,
    is_used: impl Fn(&str) -> bool,
) -> Vec<String> {
    let concerns = |name: &String| {
        name.starts_with(prefix)
            && !OF_NO_CONCERN.contains(&name.as_str())
            && !is_used(&name.to_ascii_lowercase())
    };
    let mut unused: Vec<String> = names.filter(concerns).collect();
    unused.sort_unstable();
    unused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_and_settings_of_other_clients_are_told_from_what_is_used() {
        let names = [
            "AWS_TIMEOUT",
            "AWS_PROFILE",
            "AWS_ACCESS_KEY_ID",
            "AWS_REGION",
            "AWS_ALLOW_HTTP",
            "AWS_MAX_ATTEMPTS",
            "AWS_PAGER",
            "PATH",
        ];
        let found = unused(names.map(str::to_owned).into_iter(), "AWS_", is_used_for_s3);
        assert_eq!(found, ["AWS_MAX_ATTEMPTS", "AWS_PROFILE", "AWS_TIMEOUT"]);
    }
}
