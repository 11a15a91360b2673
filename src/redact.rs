//! What an address must not show: user and password before its host, and the query that a signed address carries.
//!
//! Everything that is logged goes through here, and the config refuses such addresses before it is shown anywhere.

use std::borrow::Cow;

use crate::place;

/// Stands for what is left out.
const HIDDEN: &str = "***";
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
/// Of `scheme://user:password@host/path?query#fragment` the user, the password, the query and the fragment go. Of
/// addresses in stores a `?` is a sign of patterns, and begins a query only where a name with a `=`, or what signs
/// addresses, follows. Addresses with a slash too few (`https:user:password@host`) count as well.
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    hidden(text, end_of)
}

/// `value`, which is one place or address and nothing else, with its secrets left out: blanks, quotes and control
/// characters in a password do not end it.
#[must_use]
pub fn value(value: &str) -> Cow<'_, str> {
    match Start::first_in(value) {
        Some(start) if start.before == 0 => hidden(value, str::len),
        _ => text(value),
    }
}

/// Whether `text`, a place or an address as a whole, holds what must not be shown.
#[must_use]
pub fn is_needed(text: &str) -> bool {
    value(text) != text
}

/// `text` without the secrets of its addresses; `end_of` says where an address ends.
fn hidden(text: &str, end_of: impl Fn(&str) -> usize) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(start) = Start::first_in(rest) {
        let (before, address) = rest.split_at(start.address);
        let (address, after) = address.split_at(end_of(&rest[start.address..]));
        shown += before;
        hide(&start, address, &mut shown);
        rest = after;
    }
    if shown.is_empty() {
        return Cow::Borrowed(text);
    }
    shown += rest;
    Cow::Owned(shown)
}

/// The beginning of an address in a text.
struct Start {
    /// Where its scheme, or what stands for one, begins, in bytes.
    before: usize,
    /// Where it goes on behind scheme and slashes, in bytes.
    address: usize,
    is_http: bool,
    /// It has the two slashes behind the scheme.
    is_whole: bool,
}

impl Start {
    /// The first address in `text`: behind `://`, or behind a colon or two slashes where a scheme or a host may stand.
    fn first_in(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        text.match_indices([':', '/']).find_map(|(at, sign)| {
            let scheme = &text[scheme_begin(text, at)..at];
            let slashes = bytes[at + 1..]
                .iter()
                .take_while(|&&byte| byte == b'/')
                .count();
            let is_colon = sign == ":";
            let is_host =
                !is_colon && slashes == 1 && !text[..at].ends_with(['/', ':']) && scheme.is_empty();
            let is_whole = is_colon && slashes >= 2;
            (is_whole || is_colon && place::is_known(scheme) || is_host).then(|| Self {
                before: at - scheme.len(),
                address: at + 1 + slashes.min(if is_whole { 2 } else { slashes }),
                is_http: scheme.to_ascii_lowercase().starts_with("http"),
                is_whole,
            })
        })
    }
}

/// Where the name that ends before byte `end` of `text` begins.
fn scheme_begin(text: &str, end: usize) -> usize {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._".contains(byte);
    let length = text.as_bytes()[..end]
        .iter()
        .rev()
        .take_while(|byte| is_part(byte))
        .count();
    end - length
}

/// Where `text`, which begins with an address behind its scheme, goes on with something else: at a blank, or at a quote,
/// unless they are in a password.
fn end_of(text: &str) -> usize {
    let is_blank = |sign: char| sign.is_whitespace() || sign.is_control();
    let end = |from: usize, ends: &dyn Fn(char) -> bool| {
        text[from..].find(ends).map_or(text.len(), |at| from + at)
    };
    let mut blank = end(0, &is_blank);
    let mut begin = user_end(&text[..blank]);
    if begin.is_none() && port_end(&text[..blank]).is_none() {
        // What follows the colon is no port: a password with a blank, if an `@` ends it.
        let quote = end(blank, &|sign| sign == '"');
        begin = text[..quote].find('@');
        blank = begin.map_or(blank, |begin| end(begin, &is_blank));
    }
    let begin = begin.unwrap_or(0);
    let quote = text[begin..blank].find(is_quote);
    quote.map_or(blank, |at| begin + at)
}

/// What a text puts around an address.
fn is_quote(sign: char) -> bool {
    "\"'`<>\\".contains(sign)
}

/// Appends the address behind `start` without its secrets.
fn hide(start: &Start, address: &str, shown: &mut String) {
    if !start.is_whole {
        // Only what can be nothing else: a user and a password.
        let end = user_end(address).filter(|&end| address[..end].contains(':'));
        *shown += if end.is_some() { HIDDEN } else { "" };
        *shown += &address[end.unwrap_or(0)..];
        return;
    }
    let place_end = user_end(address).unwrap_or(0);
    if place_end > 0 {
        *shown += HIDDEN;
    }
    let address = &address[place_end..];
    let is_begin = |&(at, sign): &(usize, &str)| match sign {
        "#" => start.is_http,
        _ => start.is_http || is_query(&address[at + 1..]),
    };
    let query = address.match_indices(['?', '#']).find(is_begin);
    let (place, query) = address.split_at(query.map_or(address.len(), |(at, _)| at));
    *shown += place;
    if query.len() > 1 {
        *shown += &query[..1];
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
    let authority = place.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some(end) = authority.rfind('@') {
        return Some(end);
    }
    // A password may hold a slash, a `?` or a `#` that nobody has escaped.
    match port_end(place) {
        Some(_) => None,
        None => place.rfind('@'),
    }
}

/// Where host and port end at the beginning of `place`; `None` if what follows its colon is no port.
fn port_end(place: &str) -> Option<usize> {
    let authority = place.split(['/', '?', '#']).next().unwrap_or_default();
    let host = if authority.starts_with('[') {
        authority.find(']').map_or(0, |end| end + 1)
    } else {
        0
    };
    let Some(colon) = authority[host..].find(':') else {
        return Some(authority.len());
    };
    let port = authority[host + colon + 1..]
        .split(is_quote)
        .next()
        .unwrap_or_default();
    port.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(authority.len())
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
            ("http://[::1]:80/a@b.gz", "http://[::1]:80/a@b.gz"),
            ("https://h/a.gz#token=1", "https://h/a.gz#***"),
            ("https://h/a.gz#u:p@h", "https://h/a.gz#***"),
            ("https://me:p?w@h/a", "https://***@h/a"),
            ("https://me:p#w@h/a", "https://***@h/a"),
            ("http:/me:pw@h/a", "http:/***@h/a"),
            ("https:me:pw@h", "https:***@h"),
            ("S3:KEY:sec/ret@b/a", "S3:***@b/a"),
            ("//me:pw@h/a", "//***@h/a"),
            ("'//me:pw@h/a' of //b/c", "'//***@h/a' of //b/c"),
            ("https://me:p w@h/a b", "https://***@h/a b"),
            ("https://me:p\tw@h/a", "https://***@h/a"),
            (
                "at 12:30: a@b, /a//b:c@d, src//x:1",
                "at 12:30: a@b, /a//b:c@d, src//x:1",
            ),
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
    fn a_value_is_one_address_whatever_its_password_holds() {
        for (text, shown) in [
            ("https://me:p w@h/a b", "https://***@h/a b"),
            ("https://me p\n\"w@h/a", "https://***@h/a"),
            ("http:/me:p w@h", "http:/***@h"),
            ("/data/a b@c", "/data/a b@c"),
            ("a == \"x://y\"", "a == \"x://y\""),
        ] {
            assert_eq!(value(text), shown);
        }
    }

    #[test]
    fn what_is_left_out_once_stays_as_it_is() {
        let once = text("https://me:pw@host/a.gz?sig=1").into_owned();
        assert_eq!(text(&once), once.as_str());
    }
}
