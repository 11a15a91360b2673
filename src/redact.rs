//! What an address must not show: user and password before its host, and the query that a signed address carries.
//!
//! Everything that is logged goes through here, and the config refuses such addresses before it is shown anywhere.

use std::borrow::Cow;

/// Stands for what is left out.
const HIDDEN: &str = "***";
const SCHEME_END: &str = "://";

/// `text` with the secrets of the addresses in it left out.
///
/// Of `scheme://user:password@host/path?query` the user, the password and the query go; of addresses in stores a `?` is
/// a sign of patterns, and begins a query only where a `=` follows.
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(SCHEME_END) {
        let (before, address) = rest.split_at(at + SCHEME_END.len());
        let end = address.find(ends_address).unwrap_or(address.len());
        let (address, after) = address.split_at(end);
        shown += before;
        hide(is_http(&before[..at]), address, &mut shown);
        rest = after;
    }
    if shown.is_empty() {
        return Cow::Borrowed(text);
    }
    shown += rest;
    Cow::Owned(shown)
}

/// Whether an address in `text` holds what must not be shown.
#[must_use]
pub fn is_needed(text: &str) -> bool {
    self::text(text) != text
}

/// Quotes, brackets and whatever cannot stand in an address.
fn ends_address(sign: char) -> bool {
    sign.is_whitespace() || sign.is_control() || "\"'`<>\\".contains(sign)
}

fn is_http(scheme: &str) -> bool {
    let scheme = scheme.to_ascii_lowercase();
    scheme.ends_with("http") || scheme.ends_with("https")
}

/// Appends the address behind `scheme://` without its secrets.
fn hide(is_http: bool, address: &str, shown: &mut String) {
    let (place, query) = match address.find('?') {
        Some(at) if is_http || address[at..].contains('=') => address.split_at(at),
        _ => (address, ""),
    };
    let place = match user_end(place) {
        Some(end) => {
            *shown += HIDDEN;
            &place[end..]
        }
        None => place,
    };
    *shown += place;
    if query.len() > 1 {
        *shown += "?";
        *shown += HIDDEN;
    }
}

/// Where the `@` behind user and password stands, if there are any.
fn user_end(place: &str) -> Option<usize> {
    let authority = place.split('/').next().unwrap_or_default();
    if let Some(end) = authority.rfind('@') {
        return Some(end);
    }
    // A password may hold a slash that nobody has escaped; a port is a number.
    let (_, port) = authority.split_once(':')?;
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    if is_port { None } else { place.rfind('@') }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_and_the_rest_stays() {
        for (text, shown) in [
            ("s3://bucket/a*/b?.gz", "s3://bucket/a*/b?.gz"),
            ("https://host:80/a@b.gz", "https://host:80/a@b.gz"),
            ("https://me:pw@host/a.gz", "https://***@host/a.gz"),
            ("https://token@host/a.gz", "https://***@host/a.gz"),
            ("HTTPS://me:p@w@host/a", "HTTPS://***@host/a"),
            ("s3://KEY:sec/ret+@bucket/a", "s3://***@bucket/a"),
            ("gs://b/a?X-Goog-Signature=f00&x=1", "gs://b/a?***"),
            ("http://h/a?sig=1", "http://h/a?***"),
            ("http://h/a?signature", "http://h/a?***"),
            ("no address: a@b?c=d", "no address: a@b?c=d"),
            (
                "inputs: \"https://me:pw@h/a?t=1\" and 'ftp://u:p@h', once",
                "inputs: \"https://***@h/a?***\" and 'ftp://***@h', once",
            ),
            (
                r#"{"m":"see https://u:p@h\n"}"#,
                r#"{"m":"see https://***@h\n"}"#,
            ),
        ] {
            assert_eq!(super::text(text), shown);
            assert_eq!(is_needed(text), text != shown, "{text}");
        }
    }

    #[test]
    fn what_is_left_out_once_stays_as_it_is() {
        let once = text("https://me:pw@host/a.gz?sig=1").into_owned();
        assert_eq!(text(&once), once.as_str());
    }
}
