//! The config that a conversion writes, and the vocabulary that it leaves: names stay text, training can be stopped by
//! rows it has not seen, unknown values are counted, a spoilt vocabulary is refused.

use std::path::Path;
use std::process::{Command, Output};

use recap_train::config::{self, RecapConfig};
use recap_train::convert::{ConvertOptions, Converted, convert};
use recap_train::data::Fault;
use serde_json::{Value, json};

use crate::convert::{Place, floats, ints};
use crate::support::stderr;

const LABELS: &str = "labels: {y: y == 1}\n";

/// `rows` rows: x, a text u shared by ten rows, an integer k, a label that follows x.
fn table(rows: usize) -> String {
    let row = |i: usize| {
        let x = (i * 7919 % 1000) as f64 / 500.0 - 1.0;
        format!("{x},user-{},{},{}\n", i / 10, i % 7, usize::from(x > 0.1))
    };
    std::iter::once("x,u,k,y\n".to_owned())
        .chain((0..rows).map(row))
        .collect()
}

fn written(place: &Place, output: &str) -> RecapConfig {
    let path = place.path(output).join("config.yaml");
    config::load_recap(&path, &[]).unwrap().config
}

fn program(place: &Place, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_recap-train"));
    command.current_dir(place.path("")).args(args);
    command
        .env_remove("RUST_LOG")
        .env("OMP_WAIT_POLICY", "PASSIVE");
    command.output().unwrap()
}

#[track_caller]
fn ok(place: &Place, args: &[&str]) -> String {
    let output = program(place, args);
    assert!(output.status.success(), "{args:?}:\n{}", stderr(&output));
    String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output)
}

#[test]
fn parts_stay_what_they_are_called_and_conversions_do_not_share_a_folder() {
    let place = Place::new();
    place.write("t.csv", table(40));
    let mut folders = Vec::new();
    for (i, part) in [
        "01",
        "2024_05",
        "2024-05-01",
        "no",
        "null",
        "1e3",
        "0x1F",
        "12_30",
        "val-01",
        "y",
    ]
    .into_iter()
    .enumerate()
    {
        let split = format!(
            "split: {{index: {{modulo: 4, parts: {{train: [0, 1, 2], \"{part}\": [3]}}}}}}\n"
        );
        let output = format!("out-{i}");
        let yaml = format!("continuous: [x]\n{LABELS}{split}");
        place.convert(&yaml, "t.csv", &output, 1).unwrap();
        let config = written(&place, &output);
        assert_eq!(config.validation_data.keys().collect::<Vec<_>>(), [part]);
        assert_eq!(config.training.evaluate, part.starts_with("val"), "{part}");
        folders.push(config.training.save_dir);
    }
    folders.sort();
    folders.dedup();
    assert_eq!(folders.len(), 10, "{folders:?}");
}

#[test]
fn tasks_columns_and_folders_of_any_name_can_be_read_again() {
    let place = Place::new();
    place.write(
        "t.csv",
        table(40)
            .replacen("x,u,k,y", "x,$u: \"#é,k,y", 1)
            .replace('"', "\"\""),
    );
    let header = "\"$u: \"\"#é\"";
    let text = table(40).replacen("x,u,", &format!("x,{header},"), 1);
    place.write("t.csv", &text);
    let yaml = "
continuous: [x]
discrete: [{columns: ['$u: \"#é']}]
labels: {'no': y == 1, \"2024-05-01\": y == 0, '$HOME: {}': k == 3}
";
    let output = "a $HOME [b] 'c' é";
    place.convert(yaml, "t.csv", output, 1).unwrap();
    let config = written(&place, output);
    let tasks: Vec<&String> = config.model.tasks.keys().collect();
    assert_eq!(tasks, ["no", "2024-05-01", "$HOME: {}"]);
    let embeddings = config.model.small_embeddings.unwrap();
    assert_eq!(embeddings.tables[0].name, "$u: \"#é");
    assert_eq!(place.rows(output, "train").rows, 40);
}

#[test]
fn rows_are_kept_apart_to_stop_by_where_the_mapping_names_none() {
    let place = Place::new();
    place.write("t.csv", table(1200));
    let yaml = format!("continuous: [x]\nids: {{meta__row: {{}}}}\n{LABELS}");
    let converted = place.convert(&yaml, "t.csv", "out", 2).unwrap();
    let rows: Vec<u64> = converted.parts.values().map(|part| part.rows).collect();
    assert!(converted.keeps_apart);
    assert_eq!(rows.iter().sum::<u64>(), 1200);
    assert!((80..170).contains(&rows[1]), "{rows:?}");
    let config = written(&place, "out");
    assert_eq!(
        config.training.evaluate_partitions,
        Some(vec!["validation".to_owned()])
    );
    assert!(config.training.early_stopping_patience.is_some());
    let metric = config.training.keep_best_metric.unwrap();
    assert!(
        ["validation/loss", "validation/y/auroc"].contains(&metric.as_str()),
        "{metric}"
    );
    // Users that the split keeps together are not parted.
    let hash = "split: {hash: {column: u, parts: {train: 0.9, test: 0.1}}}\n";
    let by_user = format!(
        "discrete: [{{columns: [u]}}]\nids: {{meta__user_id: {{column: u, kind: text}}}}\n{LABELS}{hash}"
    );
    place.convert(&by_user, "t.csv", "users", 1).unwrap();
    let users = |part| ints(&place.rows("users", part), "discrete");
    let (train, validation) = (users("train"), users("validation"));
    assert!(!validation.is_empty() && !validation.iter().any(|user| train.contains(user)));
    let none = place
        .convert(&format!("{yaml}validation_share: 0\n"), "t.csv", "none", 1)
        .unwrap();
    assert_eq!((none.parts.len(), none.keeps_apart), (1, false));
    assert!(!written(&place, "none").training.evaluate);
}

#[test]
fn an_empty_cell_is_the_median_of_its_column() {
    let place = Place::new();
    place.write("t.csv", "x,y\n5,1\n,0\n7,1\n100,0\n");
    let yaml = format!("continuous: [x]\n{LABELS}");
    place.convert(&yaml, "t.csv", "out", 1).unwrap();
    assert_eq!(
        floats(&place.rows("out", "train"), "continuous"),
        [5.0, 7.0, 7.0, 100.0]
    );
}

#[test]
fn a_column_without_any_number_is_said() {
    let place = Place::new();
    place.write("t.csv", "x,none,y\n5,,1\n6,NaN,0\n7,,1\n");
    let yaml = format!("continuous: [x, none]\n{LABELS}");
    std::fs::write(place.path("m.yaml"), yaml).unwrap();
    let convert = [
        "convert",
        "--mapping=m.yaml",
        "--inputs=t.csv",
        "--output_dir=out",
    ];
    let text = ok(&place, &convert);
    assert!(
        text.contains("no number in any row") && text.contains("column=\"none\""),
        "{text}"
    );
    assert!(!text.contains("column=\"x\""), "{text}");
}

fn again(
    place: &Place,
    yaml: &str,
    vocabulary: &str,
    output: &str,
) -> Result<Converted, recap_train::convert::ConvertError> {
    let options = ConvertOptions {
        inputs: vec![place.path("new.csv").display().to_string()],
        output_dir: Some(place.path(output)),
        vocabulary: Some(place.path(vocabulary)),
        threads: None,
    };
    convert(&config::parse(yaml).unwrap(), &options)
}

const CODES: &str = "
one_hot: [{columns: [k]}]
discrete: [{columns: [u], min_count: 2}]
buckets: [{columns: [x], boundaries: [0, 0.5]}]
labels: {y: y == 1}
";

#[test]
fn values_that_no_vocabulary_knows_are_counted_beside_those_at_training() {
    let place = Place::new();
    place.write("t.csv", table(100));
    place.convert(CODES, "t.csv", "out", 1).unwrap();
    // Integers that became floats are the integers; users are written in another way.
    let new = table(100).replace("user-", "USER ");
    let floats = new
        .lines()
        .enumerate()
        .map(|(i, line)| match line.rsplit_once(',') {
            Some((rest, label)) if i > 0 => format!("{rest}.0,{label}\n"),
            _ => format!("{line}\n"),
        });
    place.write("new.csv", floats.collect::<String>());
    let converted = again(&place, CODES, "out/vocabulary.json", "new").unwrap();
    let [codes, users] = &converted.unknown[..] else {
        panic!("{converted:?}")
    };
    assert_eq!(
        (codes.key, codes.column.as_str(), codes.at_training),
        ("one_hot", "k", Some(0.0))
    );
    assert!(codes.parts["train"].share < 1e-9, "{codes:?}");
    let found = &users.parts["train"];
    assert_eq!((found.share, found.is_jump), (1.0, true));
    assert_eq!(found.examples[..2], ["USER 0", "USER 1"]);
    place.write("m.yaml", CODES);
    let args = [
        "convert",
        "--mapping=m.yaml",
        "--inputs=new.csv",
        "--output_dir=said",
        "--vocabulary=out/vocabulary.json",
    ];
    let said = ok(&place, &args);
    assert!(
        said.contains(
            "unknown values of discrete.u: train 100.000 %, when the vocabulary was learned 0.000 %"
        ),
        "{said}"
    );
    assert!(said.contains("the first are `USER 0`, `USER 1`"), "{said}");
    assert!(said.contains("1 columns without unknown values"), "{said}");
}

/// The vocabulary with one change.
fn changed(good: &Value, change: impl Fn(&mut Value)) -> String {
    let mut value = good.clone();
    change(&mut value);
    value.to_string()
}

/// Values and counts that cannot be, and what is said of them.
fn spoilt_values(good: &Value) -> Vec<(String, &'static str)> {
    let one_more = |v: &mut Value| v["one_hot"]["k"]["values"][1] = "0".into();
    let one_less = |v: &mut Value| drop(v["discrete"]["u"]["counts"].as_array_mut().unwrap().pop());
    let few = |v: &mut Value| v["one_hot"]["k"] = json!({"values": ["0"], "counts": [5]});
    let same = |v: &mut Value| v["one_hot"]["k"]["values"][1] = "0.0".into();
    let turned = |v: &mut Value| {
        v["discrete"]["u"]["values"]
            .as_array_mut()
            .unwrap()
            .reverse()
    };
    let rare_first = |v: &mut Value| v["one_hot"]["k"]["counts"][0] = 1.into();
    let often = |v: &mut Value| v["one_hot"]["k"]["counts"][0] = 1000.into();
    vec![
        (
            changed(good, one_more),
            "one_hot.k: the value `0` has two ids, 1 and 2",
        ),
        (
            changed(good, same),
            "one_hot.k: `0` and `0.0` are one number with two ids",
        ),
        (changed(good, turned), "as ids follow the order"),
        (changed(good, rare_first), "expected the commonest first"),
        (
            changed(good, one_less),
            "discrete.u: 10 values, but 9 counts",
        ),
        (changed(good, few), "binary_width: the file says 11"),
        (
            changed(good, often),
            "one_hot.k.counts: more than there were rows",
        ),
    ]
}

/// Ranges that cannot be, and what is said of them.
fn spoilt_ranges(good: &Value) -> Vec<(String, &'static str)> {
    let ranges = |ends: Value| changed(good, |v| v["buckets"]["x"] = ends.clone());
    let boundaries = "buckets.x: the ends of ranges are not the boundaries of the mapping";
    vec![
        (
            ranges(json!([0.5, 0.0])),
            "buckets.x: the ends of ranges do not ascend",
        ),
        (ranges(json!([0.0, 0.25])), boundaries),
        (ranges(json!([0.0, null])), "not a vocabulary"),
    ]
}

/// Files that are no vocabulary, and what is said of them.
fn spoilt_files(good: &Value) -> Vec<(String, &'static str)> {
    let text = good.to_string();
    let twice = "\"one_hot\":{\"k\":{\"values\":[],\"counts\":[]},";
    let remove = |v: &mut Value| drop(v.as_object_mut().unwrap().remove("discrete"));
    vec![
        (
            changed(good, |v| v["version"] = 2.into()),
            "version: expected at most 1, found 2",
        ),
        (
            changed(good, |v| v["words"] = 1.into()),
            "unknown field `words`",
        ),
        (changed(good, remove), "missing field `discrete`"),
        (
            text.replacen("\"one_hot\":{", twice, 1),
            "the column `k` is there twice",
        ),
        (text[..text.len() / 2].to_owned(), "not a vocabulary"),
        (String::new(), "not a vocabulary"),
    ]
}

#[test]
fn a_spoilt_vocabulary_is_refused_by_its_key() {
    let place = Place::new();
    place.write("new.csv", table(100));
    place.convert(CODES, "new.csv", "out", 1).unwrap();
    let good = std::fs::read_to_string(place.path("out/vocabulary.json")).unwrap();
    let good: Value = serde_json::from_str(&good).unwrap();
    let samples = [
        spoilt_values(&good),
        spoilt_ranges(&good),
        spoilt_files(&good),
    ];
    for (text, expected) in samples.concat() {
        place.write("bad.json", &text);
        let error = again(&place, CODES, "bad.json", "bad").unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains(expected),
            "expected {expected}, found {message}"
        );
        assert!(message.contains("bad.json"), "{message}");
        assert_eq!(error.fault(), Fault::Config);
        assert!(!place.path("bad").exists());
    }
}

#[test]
fn a_vocabulary_of_the_first_versions_has_none_of_the_new_keys() {
    let place = Place::new();
    place.write("new.csv", table(100));
    place.convert(CODES, "new.csv", "out", 1).unwrap();
    let good = std::fs::read_to_string(place.path("out/vocabulary.json")).unwrap();
    let old = changed(&serde_json::from_str(&good).unwrap(), |v| {
        for key in ["version", "rows", "binary_width", "medians"] {
            v.as_object_mut().unwrap().remove(key);
        }
    });
    place.write("old.json", &old);
    let converted = again(&place, CODES, "old.json", "old").unwrap();
    let columns = &converted.unknown;
    assert!(columns.iter().all(|column| column.at_training.is_none()));
}

#[test]
fn set_changes_the_mapping_or_is_refused() {
    let place = Place::new();
    place.write("t.csv", table(40).replace(',', ";"));
    place.write("m.yaml", format!("continuous: [x]\n{LABELS}"));
    let args = [
        "convert",
        "--mapping=m.yaml",
        "--inputs=t.csv",
        "--output_dir=out",
    ];
    let with = |more: &[&'static str]| [&args[..], more].concat();
    let said = ok(
        &place,
        &with(&["--set", "csv.delimiter=;", "--set", "continuous=[x, k]"]),
    );
    assert!(said.contains("continuous 2, "), "{said}");
    for (args, expected) in [
        (with(&["--set", "csv.delimeter=;"]), "delimeter"),
        (with(&["--config_path=m.yaml"]), "remove --config_path"),
        (vec!["man", "--set", "a=b"], "there is no config to change"),
        (
            vec!["doctor", "--set", "a=b"],
            "there is no config to change",
        ),
    ] {
        let output = program(&place, &args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(
            stderr(&output).contains(expected),
            "{args:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn ids_of_text_group_gauc_as_numbers_do() {
    let place = Place::new();
    place.write("t.csv", table(400));
    let split = "split: {index: {modulo: 4, parts: {train: [0, 1, 2], test: [3]}}}\n";
    let mut gauc = Vec::new();
    for (output, id) in [
        ("text", "{column: u, kind: text}"),
        ("number", "{column: n}"),
    ] {
        let rows = table(400);
        let text = rows.lines().enumerate().map(|(i, line)| match i {
            0 => format!("{line},n\n"),
            _ => format!("{line},{}\n", (i - 1) / 10),
        });
        place.write("t.csv", text.collect::<String>());
        let yaml = format!("continuous: [x]\nids: {{meta__user_id: {id}}}\n{LABELS}{split}");
        place.convert(&yaml, "t.csv", output, 1).unwrap();
        let config = format!("--config_path={output}/config.yaml");
        ok(&place, &[&config, "check", "--dry_run"]);
        ok(&place, &[&config, "--set", "training.num_train_steps=3"]);
        ok(&place, &[&config, "evaluate", "--output=found.json"]);
        let found = std::fs::read_to_string(place.path("found.json")).unwrap();
        let found: Value = serde_json::from_str(&found).unwrap();
        let results = found["partitions"]["test"]["results"].clone();
        let text = found.to_string();
        let at = text
            .find("gauc\":")
            .unwrap_or_else(|| panic!("no gauc: {results} {text}"));
        let number: String = text[at + 6..]
            .chars()
            .take_while(|c| !",}".contains(*c))
            .collect();
        gauc.push(number.parse::<f64>().unwrap());
    }
    assert!(gauc[0].is_finite(), "{gauc:?}");
    assert_eq!(gauc[0].to_bits(), gauc[1].to_bits(), "{gauc:?}");
}

#[test]
fn categories_alone_and_a_single_column_make_models_that_learn() {
    let place = Place::new();
    let rows =
        (0..600).map(|i| format!("{},{}\n", ["a", "b", "c"][i % 3], usize::from(i % 3 == 1)));
    let categories: String = std::iter::once("c,y\n".to_owned()).chain(rows).collect();
    place.write("t.csv", &categories);
    let split = "split: {index: {modulo: 5, parts: {train: [0, 1, 2, 3], test: [4]}}}\n";
    for (output, inputs) in [
        ("one_hot", "one_hot: [{columns: [c]}]"),
        ("discrete", "discrete: [{columns: [c]}]"),
    ] {
        place
            .convert(&format!("{inputs}\n{LABELS}{split}"), "t.csv", output, 1)
            .unwrap();
        assert!(auroc(&place, output) > 0.999, "{output}");
    }
    place.write("t.csv", table(600));
    place
        .convert(
            &format!("continuous: [x]\n{LABELS}{split}"),
            "t.csv",
            "one",
            1,
        )
        .unwrap();
    assert!(auroc(&place, "one") > 0.99);
}

/// Trains as the config says, and measures on the part `test`.
fn auroc(place: &Place, output: &str) -> f64 {
    let config = format!("--config_path={output}/config.yaml");
    ok(place, &[&config]);
    let said = ok(place, &[&config, "evaluate", "--partition=test"]);
    let line = said.lines().find(|line| line.starts_with("y "));
    let line = line.unwrap_or_else(|| panic!("{said}"));
    line.split_whitespace().nth(7).unwrap().parse().unwrap()
}

#[test]
fn training_stops_early_and_a_resumed_run_stops_where_the_other_did() {
    let place = Place::new();
    place.write("t.csv", table(1200));
    let yaml = format!("continuous: [x]\n{LABELS}");
    place.convert(&yaml, "t.csv", "out", 1).unwrap();
    let run = |save_dir: &str, steps: &str| {
        let save_dir = format!("training.save_dir={save_dir}");
        let steps = format!("training.num_train_steps={steps}");
        let mut args = vec!["--config_path=out/config.yaml"];
        // A rate of 0 is never better than the first evaluation.
        let sets = [
            &save_dir,
            &steps,
            "optimizer.single_task_learning_rate={constant: 0}",
            "training.eval_log_every_n=2",
            "training.checkpoint_every_n=3",
            "training.early_stopping_patience=3",
            "training.keep_best_metric=validation/y/auroc",
            "model.featurization_config.double_norm_log_config.batch_norm_config=null",
        ];
        for set in &sets {
            args.extend(["--set", set]);
        }
        ok(&place, &args)
    };
    let said = run("whole", "100");
    assert!(
        said.contains("stopped early: 3 evaluations in a row"),
        "{said}"
    );
    let weights =
        |save_dir: &str| std::fs::read(place.path(save_dir).join("8/model.safetensors")).unwrap();
    for steps in ["3", "5", "7"] {
        let save_dir = format!("parted-{steps}");
        let said = run(&save_dir, steps);
        assert!(!said.contains("stopped early"), "{said}");
        run(&save_dir, "100");
        assert!(weights(&save_dir) == weights("whole"), "{steps}");
        assert!(!Path::new(&place.path(&save_dir).join("9")).exists());
    }
    let said = run("whole", "100");
    assert!(
        said.contains("training is finished: it stopped early at step 8"),
        "{said}"
    );
}

/// A table of `rows` rows and `countries` countries, and a mapping that splits by them.
fn by_country(place: &Place, rows: usize, countries: usize) -> String {
    let mut table = "x,country,y\n".to_owned();
    for row in 0..rows {
        table += &format!("{row},c{},{}\n", row % countries, row / 7 % 2);
    }
    place.write("t.csv", &table);
    let yaml = "continuous: [x]\nlabels: {y: y == 1}\n\
        split: {hash: {column: country, parts: {train: 0.8, test: 0.2}}}\n";
    yaml.to_owned()
}

#[test]
fn few_values_to_split_by_keep_no_rows_apart_unless_that_is_asked_for() {
    for countries in 3..9 {
        let place = Place::new();
        let yaml = by_country(&place, 4000, countries);
        let made = place.convert(&yaml, "t.csv", "out", 2);
        let made = match made {
            Ok(made) => made,
            // The split itself may leave a part empty.
            Err(error) => {
                assert!(error.to_string().contains("`test`"), "{countries}: {error}");
                continue;
            }
        };
        let rows: Vec<u64> = made.parts.values().map(|part| part.rows).collect();
        match made.keeps_apart {
            true => assert!(rows[1] <= (rows[0] + rows[1]) / 4, "{countries}: {rows:?}"),
            false => assert_eq!(rows.len(), 2, "{countries}: {rows:?}"),
        }
    }
    let place = Place::new();
    let yaml = by_country(&place, 4000, 200);
    assert!(place.convert(&yaml, "t.csv", "out", 2).unwrap().keeps_apart);
}

#[test]
fn an_empty_part_that_was_asked_for_names_its_key() {
    let place = Place::new();
    place.write("t.csv", "x,y\n1,1\n2,0\n");
    let yaml = format!("continuous: [x]\nvalidation_share: 0.0001\n{LABELS}");
    let error = place.convert(&yaml, "t.csv", "out", 1).unwrap_err();
    assert!(error.to_string().contains("`validation_share`"), "{error}");
}
