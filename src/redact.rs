//! What an address must not show: user and password before its host, and the query that a signed address carries.
//!
//! Everything that is logged goes through here, and the config refuses such addresses before it is shown anywhere.

use std::borrow::Cow;

/// Stands for what is left out.
const HIDDEN: &str = "***";
const SCHEME_END: &str = "://";
/// How parameters begin that sign an address.
const SIGNING: [&str; 6] = [
    "X-Amz-",
    "X-Goog-",
    "AWSAccessKeyId=",
    "Signature=",
    "sig=",
    "token=",
];

/// `text` with the secrets of the addresses in it left out.
///
/// Of `scheme://user:password@host/path?query` the user, the password and the query go. Of addresses in stores a `?` is
/// a sign of patterns, and begins a query only where a name with a `=`, or what signs addresses, follows.
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(SCHEME_END) {
        let (before, address) = rest.split_at(at + SCHEME_END.len());
        let (address, after) = address.split_at(end_of(address));
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

/// Where `text`, which begins with an address behind its scheme, goes on with something else: at a blank, or at a quote
/// that is not in a password.
fn end_of(text: &str) -> usize {
    let is_blank = |sign: char| sign.is_whitespace() || sign.is_control();
    let blank = text.find(is_blank).unwrap_or(text.len());
    let begin = user_end(&text[..blank]).unwrap_or(0);
    let quote = text[begin..blank].find(is_quote);
    quote.map_or(blank, |at| begin + at)
}

/// What a text puts around an address.
fn is_quote(sign: char) -> bool {
    "\"'`<>\\".contains(sign)
}

fn is_http(scheme: &str) -> bool {
    let scheme = scheme.to_ascii_lowercase();
    scheme.ends_with("http") || scheme.ends_with("https")
}

/// Appends the address behind `scheme://` without its secrets.
fn hide(is_http: bool, address: &str, shown: &mut String) {
    let mut signs = address.match_indices('?').map(|(at, _)| at);
    let query = signs.find(|at| is_http || is_query(&address[at + 1..]));
    let (place, query) = address.split_at(query.unwrap_or(address.len()));
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

/// Whether `text`, behind a `?` in the address of an object, is a query rather than the rest of a pattern: in
/// `year=202?/month=01` it is none.
fn is_query(text: &str) -> bool {
    let begins = |parameter: &str, key: &str| {
        let begin = parameter.get(..key.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(key))
    };
    let text = text.split('?').next().unwrap_or_default();
    let mut parameters = text.split('&');
    let is_signed = parameters.any(|it| SIGNING.iter().any(|key| begins(it, key)));
    let name = text.split_once('=').map_or("", |(name, _)| name);
    is_signed || !(name.is_empty() || name.contains(['/', '*']))
}

/// Where the `@` behind user and password stands, if there are any.
fn user_end(place: &str) -> Option<usize> {
    let authority = place.split('/').next().unwrap_or_default();
    if let Some(end) = authority.rfind('@') {
        return Some(end);
    }
    // A password may hold a slash that nobody has escaped; a port is a number.
    let (_, port) = authority.split_once(':')?;
    let port = port.split(is_quote).next().unwrap_or_default();
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
            ("s3://b/a?x=1", "s3://b/a?***"),
            ("s3://b/202?/a.gz?sig=f00", "s3://b/202?/a.gz?***"),
            ("s3://b/a?/b&x-amz-signature=f00", "s3://b/a?***"),
            ("s3://b/year=202?/month=01/*", "s3://b/year=202?/month=01/*"),
            ("s3://b/day=??/?=1/k?*=2", "s3://b/day=??/?=1/k?*=2"),
            ("https://me:p'w@h/", "https://***@h/"),
            ("<https://me:`p<w>\"\\@h>", "<https://***@h>"),
            ("'s3://KEY:s'c/ret@b/a'", "'s3://***@b/a'"),
            ("\"https://h:80\",\"a/b@c\"", "\"https://h:80\",\"a/b@c\""),
            ("'https://h/a' of 'b@c'", "'https://h/a' of 'b@c'"),
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
