//! Rules of `train_data` and of each partition of `validation_data`.

use super::path::Path;
use super::reports::{Rules, path};
use super::{Preprocess, RecapDataConfig, TaskData};

/// Checks one data set: `section`, or its entry `partition`.
pub(super) fn check(
    section: &str,
    partition: Option<&str>,
    data: &RecapDataConfig,
    rules: &mut Rules<'_>,
) {
    let here = path(&[section]);
    let here = partition.map_or(here.clone(), |name| here.key(name));
    let tasks = here.key("tasks");
    rules.expect(
        !data.tasks.is_empty(),
        &tasks,
        "at least one task",
        "an empty mapping",
    );
    for (name, task) in &data.tasks {
        let rates = [
            ("pos_downsampling_rate", task.pos_downsampling_rate),
            ("neg_downsampling_rate", task.neg_downsampling_rate),
        ];
        for (key, rate) in rates {
            // Weights are f32, in which a smaller share would be 0.
            let fits = rate >= f64::from(f32::MIN_POSITIVE) && rate <= 1.0;
            rules.expect(
                fits,
                &tasks.key(name).key(key),
                "a share above 0 (1e-37, say) and at most 1",
                rate,
            );
        }
    }
    rules.expect(
        data.examples_shuffle_buffer_size >= 0,
        &here.key("examples_shuffle_buffer_size"),
        "an integer of at least 0",
        data.examples_shuffle_buffer_size,
    );
    dated_inputs(data, &here, rules);
    for (name, bits) in &data.seg_dense_schema.mask_mantissa_features {
        let at = here
            .key("seg_dense_schema")
            .key("mask_mantissa_features")
            .key(name);
        rules.expect(
            (0..=23).contains(bits),
            &at,
            "0 to 23, the number of mantissa bits of a float",
            bits,
        );
    }
    super::validate_columns::check(data, &here.key("seg_dense_schema"), rules);
    if let Some(config) = &data.preprocess {
        let here = here.key("preprocess");
        preprocess(config, &here, rules);
        num_engagements(data, &here, rules);
    }
    deprecated(data, &here, rules);
    let asks = data.cache_dir.is_some() || data.cache_memory_in_mb.is_some();
    rules.expect(
        data.cache || !asks,
        &here.key("cache"),
        "true where cache_dir or cache_memory_in_mb is given",
        data.cache,
    );
}

fn dated_inputs(data: &RecapDataConfig, here: &Path, rules: &mut Rules<'_>) {
    if let Some(inputs) = &data.explicit_datetime_inputs {
        let here = here.key("explicit_datetime_inputs");
        // The format has an hour alone, which no date type takes without its minutes.
        let end = format!("{}/00", inputs.end_datetime);
        let fits = chrono::NaiveDateTime::parse_from_str(&end, "%Y/%m/%d/%H/%M").is_ok();
        rules.expect(
            fits,
            &here.key("end_datetime"),
            "an hour written like 2023/01/31/23",
            &inputs.end_datetime,
        );
        span(
            &here,
            ["hours", "num_missing_hours_tol"],
            [inputs.hours, inputs.num_missing_hours_tol],
            36500 * 24,
            rules,
        );
    }
    if let Some(inputs) = &data.explicit_date_inputs {
        let here = here.key("explicit_date_inputs");
        let fits = chrono::NaiveDate::parse_from_str(&inputs.end_date, "%Y/%m/%d").is_ok();
        rules.expect(
            fits,
            &here.key("end_date"),
            "a day written like 2023/01/31",
            &inputs.end_date,
        );
        span(
            &here,
            ["days", "num_missing_days_tol"],
            [inputs.days, inputs.num_missing_days_tol],
            36500,
            rules,
        );
    }
}

/// A length from 1 to a century of them, and a tolerance of at least 0.
fn span(
    here: &Path,
    keys: [&str; 2],
    [length, tolerance]: [i64; 2],
    century: i64,
    rules: &mut Rules<'_>,
) {
    rules.expect(
        (1..=century).contains(&length),
        &here.key(keys[0]),
        &format!("an integer from 1 to {century}"),
        length,
    );
    rules.expect(
        tolerance >= 0,
        &here.key(keys[1]),
        "an integer of at least 0",
        tolerance,
    );
}

fn preprocess(config: &Preprocess, here: &Path, rules: &mut Rules<'_>) {
    let Preprocess {
        truncate_and_slice,
        downcast,
        rectify_labels,
        extract_features,
        downsample_negatives,
    } = config;
    let given = truncate_and_slice.is_some()
        || downcast.is_some()
        || rectify_labels.is_some()
        || extract_features.is_some()
        || downsample_negatives.is_some();
    rules.expect(
        given,
        here,
        "at least one of truncate_and_slice, downcast, rectify_labels, extract_features, downsample_negatives, or no preprocess at all", "none");
}

/// Where no rate and no feature gives weights, `downsample_negatives` does: one for each task.
fn num_engagements(data: &RecapDataConfig, here: &Path, rules: &mut Rules<'_>) {
    let section = data.preprocess.as_ref();
    let Some(section) = section.and_then(|section| section.downsample_negatives.as_ref()) else {
        return;
    };
    #[allow(clippy::float_cmp, reason = "the config's own literal 1")]
    let is_weighted = |task: &TaskData| {
        task.pos_downsampling_rate != 1.0
            || task.neg_downsampling_rate != 1.0
            || task.weight_feature.is_some()
    };
    let found = section.num_engagements.to_usize();
    rules.expect(
        data.tasks.values().any(is_weighted) || found == data.tasks.len(),
        &here.key("downsample_negatives").key("num_engagements"),
        &format!("{}, the number of tasks", data.tasks.len()),
        found,
    );
}

/// Warns of keys that are accepted and do nothing.
fn deprecated(data: &RecapDataConfig, here: &Path, rules: &mut Rules<'_>) {
    let was_given = |key: &str| {
        matches!(
            rules.at.origins.get(&here.key(key).to_string()),
            Some(Some(_))
        )
    };
    let mut warnings = Vec::new();
    if was_given("repeat_files") {
        warnings.push((
            "repeat_files",
            "is deprecated and has no effect: training always repeats",
        ));
    }
    if data.sampler.is_some() {
        warnings.push(("sampler", "is deprecated and has no effect"));
    }
    if data.data_service_dispatcher.is_some() {
        warnings.push((
            "data_service_dispatcher",
            "has no effect: records are read by this process",
        ));
    }
    let warnings = warnings
        .into_iter()
        .map(|(key, what)| format!("{} {what}", here.key(key)));
    rules.at.warnings.extend(warnings);
}
