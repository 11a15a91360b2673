//! Places as people write them: `~` is the home, only data may lie in stores, and what looks like an address is never
//! taken for a folder of that name.

/// Stores that data is read from.
const STORES: [&str; 4] = ["gs", "s3", "http", "https"];
/// What else is no folder even without a `/` behind its colon.
const SCHEMES: [&str; 6] = ["file", "ftp", "hdfs", "abfs", "abfss", "wasb"];

/// Whether a word in front of a colon is a scheme, whatever follows.
pub(crate) fn is_known(scheme: &str) -> bool {
    let mut all = STORES.iter().chain(&SCHEMES);
    all.any(|known| known.eq_ignore_ascii_case(scheme))
}

/// The scheme of an address, well formed or not: `s3` of `s3://b/x` and of `s3:/b/x`. `None`: it is a path.
#[must_use]
pub fn scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once(':')?;
    // One letter may be a drive of another system, and is a folder here.
    let is_scheme = scheme.len() > 1
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    (is_scheme && (is_known(scheme) || rest.starts_with('/'))).then_some(scheme)
}

/// The path of a file or folder of this machine that `text` is, with `home` in place of a `~`.
///
/// # Errors
/// When it is an address, or begins with a `~` that is not to be had: what is wrong, and what to write.
pub fn local(text: &str, home: Option<&str>) -> Result<String, String> {
    let Some(scheme) = scheme(text) else {
        return at_home(text, home);
    };
    let rest = text[scheme.len() + 1..].trim_start_matches('/');
    Err(if scheme.eq_ignore_ascii_case("file") {
        format!(
            "{text} is an address (`{scheme}:`), no folder or file: write a path alone, such as /{rest}"
        )
    } else {
        format!(
            "{text} is no folder or file of this machine but an address (`{scheme}:`): only data may lie in a store, \
             write a path"
        )
    })
}

/// The pattern of files or the address of data that `text` is, with `home` in place of a `~`.
///
/// # Errors
/// When it is the address of no store that is known or not well formed, or as for [`local`].
pub fn data(text: &str, home: Option<&str>) -> Result<String, String> {
    let Some(scheme) = scheme(text) else {
        return at_home(text, home);
    };
    let rest = &text[scheme.len() + 1..];
    let is_store = STORES.contains(&scheme);
    if is_store && rest.starts_with("//") {
        return Ok(text.to_owned());
    }
    let rest = rest.trim_start_matches('/');
    Err(if is_store {
        format!("{text} is no address: write {scheme}://{rest}")
    } else if scheme.eq_ignore_ascii_case("file") {
        format!("{text} is in no store that is known: write the path alone, such as /{rest}")
    } else {
        format!(
            "{text} is in no store that is known (`{scheme}:`): write gs://, s3://, http://, https:// or a path"
        )
    })
}

/// `text` with `home` in place of a `~` at its beginning.
fn at_home(text: &str, home: Option<&str>) -> Result<String, String> {
    let Some(rest) = text.strip_prefix('~') else {
        return Ok(text.to_owned());
    };
    if !(rest.is_empty() || rest.starts_with('/')) {
        return Err(format!(
            "{text}: `~` is the home only before a `/`, that of somebody else is not looked up: write the path in full, \
             or ./{text} for a name that begins so"
        ));
    }
    match home.filter(|home| !home.is_empty()) {
        Some(home) => Ok(format!("{}{rest}", home.trim_end_matches('/'))),
        None => Err(format!("{text}: HOME is not set: write the path in full")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_an_address_is_no_folder() {
        for text in [
            "s3://b/x",
            "s3:/b/x",
            "s3:b/x",
            "gs:/b",
            "http:/h/x",
            "hdfs://n/x",
            "file:///x",
            "file:/x",
            "file:x",
            "S3://b",
            "gs+v2:/x",
        ] {
            let said = local(text, None).unwrap_err();
            let scheme = text.split(':').next().unwrap();
            assert!(
                said.contains(&format!("`{scheme}:`")) && said.contains("write a path"),
                "{said}"
            );
        }
        for text in [
            "/a/b",
            "a:b/c",
            "./s3:/b",
            "C:/x",
            "day=1/12:30/x",
            "x/y://z",
            "",
            ":/x",
        ] {
            assert_eq!(local(text, None).as_deref(), Ok(text));
            assert_eq!(data(text, None).as_deref(), Ok(text));
        }
    }

    #[test]
    fn data_lies_in_stores_that_are_known() {
        for text in ["s3://b/*.gz", "gs://b/year=202?/*.gz", "https://h/x.gz"] {
            assert_eq!(data(text, None).as_deref(), Ok(text));
        }
        let said = |text| data(text, None).unwrap_err();
        assert_eq!(said("s3:/b/x"), "s3:/b/x is no address: write s3://b/x");
        assert!(said("file:///d/*.gz").ends_with("write the path alone, such as /d/*.gz"));
        assert!(said("hdfs://n/x").contains("no store that is known (`hdfs:`)"));
        assert!(said("S3://b/x").contains("no store that is known"));
    }

    #[test]
    fn a_tilde_is_the_home_and_nobody_elses() {
        assert_eq!(local("~/runs", Some("/home/me/")).unwrap(), "/home/me/runs");
        assert_eq!(data("~", Some("/home/me")).unwrap(), "/home/me");
        assert_eq!(local("/a/~/b", Some("/h")).unwrap(), "/a/~/b");
        for text in ["~root", "~bob/runs", "~x*"] {
            let said = data(text, Some("/h")).unwrap_err();
            assert!(said.contains("write the path in full") && said.contains(text));
        }
        for home in [None, Some("")] {
            assert!(
                local("~/runs", home)
                    .unwrap_err()
                    .contains("HOME is not set")
            );
        }
    }
}
