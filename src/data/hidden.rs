//! Files beside the data that are none of it: what a glob passes over unless it names them.

/// What Hadoop, Spark and table formats put beside their files. Other names with an underscore may be data.
const MARKERS: [&str; 8] = [
    "_SUCCESS",
    "_temporary",
    "_metadata",
    "_common_metadata",
    "_delta_log",
    "_spark_metadata",
    "_committed_",
    "_started_",
];

/// Whether `path`, which matches the glob `pattern`, is hidden below the folders that the pattern spells out: in a file
/// or folder whose name begins with a dot, or that is a [marker](MARKERS). A pattern that begins with that itself
/// (`.*`, `_SUCCESS*`) names it.
pub(crate) fn is_hidden(pattern: &str, path: &str) -> bool {
    let is_spelt_out = |part: &&str| !part.contains(['*', '?', '[']);
    let wanted = || parts(pattern).skip_while(is_spelt_out);
    let fixed = parts(pattern).take_while(is_spelt_out).count();
    let is_named = |part: &str| {
        let begin = part.chars().next();
        let mut wanted = wanted().filter(|wanted| wanted.chars().next() == begin);
        wanted.any(|wanted| glob::Pattern::new(wanted).is_ok_and(|wanted| wanted.matches(part)))
    };
    let mut found = parts(path).skip(fixed);
    found.any(|part| is_hidden_name(part) && !is_named(part))
}

/// Whether a file or folder of this name is none of the data.
pub(crate) fn is_hidden_name(name: &str) -> bool {
    let is_marker = |marker: &&str| match marker.ends_with('_') {
        true => name.starts_with(*marker),
        false => name == *marker,
    };
    name.starts_with('.') || MARKERS.iter().any(is_marker)
}

/// The names along a path, those that say nothing left out.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !matches!(*part, "" | "."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_passes_over_what_is_hidden_below_it() {
        for (pattern, path) in [
            ("data/*", "data/.a.gz.crc"),
            ("data/*", "data/_SUCCESS"),
            ("./data/*", "data/_committed_42"),
            ("/data/*.gz", "/data/._a.gz"),
            ("data/**/*.gz", "data/.ipynb_checkpoints/a.gz"),
            ("data/*/*", "data/_temporary/0"),
            ("data/.old/*", "data/.old/.a"),
            ("s3://bucket/day/*", "s3://bucket/day/_SUCCESS"),
        ] {
            assert!(is_hidden(pattern, path), "{pattern}: {path}");
        }
    }

    #[test]
    fn what_the_pattern_names_is_not_hidden() {
        for (pattern, path) in [
            ("data/.a.gz", "data/.a.gz"),
            ("data/.*.gz", "data/.a.gz"),
            ("data/_SUCCESS*", "data/_SUCCESS"),
            ("/home/u/.cache/*.gz", "/home/u/.cache/a.gz"),
            ("../data/*.gz", "../data/a.gz"),
            ("/x[[]1]/.cache/*.gz", "/x[1]/.cache/a.gz"),
            ("*/.cache/*.gz", "u/.cache/a.gz"),
            ("data/*", "data/_part-0.gz"),
            ("data/*", "data/a.gz"),
            ("data/*", "data/_SUCCESSFUL.gz"),
        ] {
            assert!(!is_hidden(pattern, path), "{pattern}: {path}");
        }
    }
}
