//! Kinds of text, told from how they begin.

use super::Known;
use super::remedy::{CONVERT, FETCH, REMOVE, REWRITE};
use crate::printable;

/// Characters of a text that are shown.
const SHOWN: usize = 40;

/// The whole as text, if it can be one: no control characters but those of text. The length before a record has zeros.
pub(super) fn of(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let is_text = |&byte: &u8| byte >= 0x20 && byte != 0x7f || b"\t\n\r\x0c\x1b".contains(&byte);
    (bytes.len() >= 3 && bytes.iter().all(is_text)).then(|| String::from_utf8_lossy(bytes).into())
}

/// What kind of text it is.
pub(super) fn kind(text: &str) -> Known {
    let trimmed = text.trim_start();
    let lower = trimmed.get(..64).unwrap_or(trimmed).to_ascii_lowercase();
    let begins = |words: &[&str]| words.iter().any(|word| lower.starts_with(word));
    let first = trimmed.lines().next().unwrap_or_default();
    let delimiters = |c: char| first.matches(c).count();
    if begins(&["version https://git-lfs", "version https://hawser"]) {
        (
            "a Git LFS pointer, not the file itself,",
            "fetch the file with `git lfs pull`",
        )
    } else if first.contains("annex/objects/") {
        (
            "a git-annex pointer, not the file itself,",
            "fetch the file with `git annex get`",
        )
    } else if begins(&["outs:", "md5:"]) {
        (
            "a DVC pointer, not the file itself,",
            "fetch the file with `dvc pull`",
        )
    } else if begins(&["<!doctype html", "<html", "<head", "<body"]) {
        ("an HTML page", FETCH)
    } else if begins(&["<?xml", "<error", "<listbucketresult"]) || is_tag(trimmed) {
        ("an XML document", FETCH)
    } else if begins(&["{", "["]) {
        ("JSON", REWRITE)
    } else if [',', '\t', ';', '|'].into_iter().any(|c| delimiters(c) > 0) && text.contains('\n') {
        ("a text, perhaps CSV,", CONVERT)
    } else {
        ("a text", REMOVE)
    }
}

fn is_tag(text: &str) -> bool {
    let name = text.strip_prefix('<');
    name.is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '!'))
}

/// The first line, cut, with nothing in it that a terminal would act on.
pub(super) fn shown(text: &str) -> String {
    let line = text.trim_start().lines().next().unwrap_or_default();
    let cut: String = line.chars().take(SHOWN).collect();
    let more = if cut.len() < line.len() { "…" } else { "" };
    format!("{}{more}", printable::line(cut.trim_end()))
}
