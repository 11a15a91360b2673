//! What the sample of the data makes one wonder about.

use super::sample::DataReport;
use super::statistics::{Feature, Label};
use crate::config::RecapConfig;

/// Warnings, each with what may be behind it.
pub(super) fn of(config: &RecapConfig, data: &DataReport) -> Vec<String> {
    let mut warnings = Vec::new();
    for partition in &data.validation {
        if let Some(problem) = &partition.problem {
            let name = &partition.name;
            warnings.push(format!(
                "validation_data.{name} cannot be evaluated: {problem}"
            ));
        }
    }
    let batch = config.train_data.global_batch_size.get();
    if (data.rows as u64) < batch {
        warnings.push(format!(
            "train_data.global_batch_size is {batch}, and one pass over the data fills no batch of it ({} rows)",
            data.rows
        ));
    }
    if data.rows == 0 {
        return warnings;
    }
    data.features
        .iter()
        .for_each(|feature| of_feature(feature, data.rows, &mut warnings));
    of_labels(&data.labels, data.rows, &mut warnings);
    warnings
}

fn of_feature(feature: &Feature, rows: usize, warnings: &mut Vec<String>) {
    let Feature { name, width, .. } = feature;
    // A `binary` without columns has nothing that could be set.
    let has_columns = *width > 0 || feature.kind == "any length";
    if has_columns && feature.set == 0 {
        warnings.push(format!(
            "feature `{name}` is at its default in all {rows} rows: is its name in the records another one?"
        ));
    }
    if feature.non_finite > 0 {
        warnings.push(format!(
            "feature `{name}` holds {} values of {} that are not finite",
            feature.non_finite, feature.values
        ));
    }
    let never = feature.never_set();
    if feature.set > 0 && never > 0 {
        warnings.push(format!(
            "feature `{name}`: {never} of {width} columns are 0 in all {rows} rows"
        ));
    }
}

fn of_labels(labels: &[Label], rows: usize, warnings: &mut Vec<String>) {
    // Bits, so that a label that is not a number equals itself.
    let bits = |label: &Label| -> Vec<u32> { label.values.iter().map(|v| v.to_bits()).collect() };
    let used: Vec<(&Label, Vec<u32>)> = labels
        .iter()
        .filter(|label| label.is_used)
        .map(|label| (label, bits(label)))
        .collect();
    let is_constant = |bits: &[u32]| bits.windows(2).all(|pair| pair[0] == pair[1]);
    for (i, (label, bits)) in used.iter().enumerate() {
        let name = &label.name;
        if is_constant(bits) {
            let value = label.values.first().copied().unwrap_or_default();
            warnings.push(format!(
                "label `{name}` is {value} in all {rows} rows: its tower learns nothing but that"
            ));
            continue;
        }
        let same = used[..i].iter().find(|(_, earlier)| earlier == bits);
        if let Some((earlier, _)) = same {
            warnings.push(format!(
                "labels `{}` and `{name}` are the same in all {rows} rows",
                earlier.name
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(name: &str, values: &[f32]) -> Label {
        Label {
            name: name.to_owned(),
            is_used: name != "unused",
            positive_rate: 0.0,
            values: values.to_vec(),
        }
    }

    fn said_of(labels: &[Label]) -> Vec<String> {
        let mut warnings = Vec::new();
        of_labels(labels, 3, &mut warnings);
        warnings
    }

    #[test]
    fn labels_that_say_nothing_are_named() {
        let good = label("a", &[0.0, 1.0, 0.0]);
        assert_eq!(
            said_of(&[good, label("unused", &[0.0; 3])]),
            Vec::<String>::new()
        );
        let constant = said_of(&[label("a", &[1.0; 3]), label("b", &[1.0; 3])]);
        assert_eq!(constant.len(), 2, "{constant:?}");
        assert!(constant[0].contains("`a` is 1 in all 3 rows"));
    }

    #[test]
    fn twins_are_named() {
        let values = [0.0, 1.0, 0.0];
        let twins = said_of(&[label("a", &values), label("b", &values)]);
        assert_eq!(twins.len(), 1, "{twins:?}");
        assert!(twins[0].contains("`a` and `b` are the same"));
    }
}
