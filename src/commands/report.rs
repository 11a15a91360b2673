//! What an evaluation says: a table for people, JSON for programs.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::Serialize;

use crate::metrics::{MetricName, ReliabilityTable, Results};
use crate::printable;
use crate::train::evaluation::Evaluation;

/// Columns of the table unless `which_metrics` says otherwise; the JSON has every number.
const COLUMNS: [MetricName; 9] = [
    MetricName::Count,
    MetricName::Ctr,
    MetricName::Pctr,
    MetricName::LogLoss,
    MetricName::Rce,
    MetricName::Nrce,
    MetricName::Auroc,
    MetricName::PrAuc,
    MetricName::Gauc,
];

/// One checkpoint on some partitions.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    checkpoint: PathBuf,
    /// Null where the checkpoint does not know it.
    global_step: Option<u64>,
    partitions: IndexMap<String, PartitionReport>,
}

#[derive(Debug, Serialize)]
pub(super) struct PartitionReport {
    batches: u64,
    examples: u64,
    /// NaN is null in JSON.
    loss: f64,
    /// By task, and by `task/column=value` for a stratum.
    metrics: IndexMap<String, Results>,
    /// Most that the area under the ROC curve of a task can be off, where it is not exact.
    auroc_error: IndexMap<String, f64>,
    reliability: IndexMap<String, ReliabilityTable>,
}

impl Report {
    pub(super) fn new(folder: &Path, global_step: Option<u64>, evaluations: &[Evaluation]) -> Self {
        let partitions = evaluations.iter();
        let partitions = partitions.map(|e| (e.partition.clone(), PartitionReport::new(e)));
        Self {
            checkpoint: folder.to_owned(),
            global_step,
            partitions: partitions.collect(),
        }
    }

    /// The partition `name` of the report.
    pub(super) fn partition(&self, name: &str) -> Option<&PartitionReport> {
        self.partitions.get(name)
    }

    /// A table per partition: tasks and strata down, metrics across; a list where that is wider than `width` columns.
    /// `chosen` shows every metric that was computed.
    pub(super) fn table(&self, chosen: bool, width: Option<usize>) -> String {
        let text = self.checkpoint.display().to_string();
        let mut text = format!("checkpoint {}\n", printable::line(&text));
        for (name, partition) in &self.partitions {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "\npartition {}: {} examples in {} batches, loss {:.6}",
                printable::line(name),
                partition.examples,
                partition.batches,
                partition.loss
            );
            let columns = partition.columns(chosen);
            let table = partition.table(&columns);
            let widest = table.lines().map(|line| line.chars().count()).max();
            text += &match width.filter(|width| widest > Some(*width)) {
                Some(width) => partition.list(&columns, width),
                None => table,
            };
        }
        text
    }
}

impl PartitionReport {
    fn new(evaluation: &Evaluation) -> Self {
        let mut metrics: IndexMap<String, Results> = IndexMap::new();
        for (name, value) in evaluation.metrics.compute() {
            if let Some((of, metric)) = name.rsplit_once('/') {
                let results = metrics.entry(of.to_owned()).or_default();
                results.insert(metric.to_owned(), value);
            }
        }
        let mut auroc_error = IndexMap::new();
        let mut reliability = IndexMap::new();
        for (task, all) in evaluation.metrics.tasks() {
            if let Some(ranking) = all.ranking() {
                let estimate = crate::metrics::Auroc::of(ranking);
                auroc_error.insert(task.to_owned(), estimate.error_bound);
            }
            if let Some(table) = all.reliability() {
                reliability.insert(task.to_owned(), table);
            }
        }
        Self {
            batches: evaluation.batches,
            examples: evaluation.examples,
            loss: evaluation.loss(),
            metrics,
            auroc_error,
            reliability,
        }
    }

    /// The metrics to show.
    fn columns(&self, chosen: bool) -> Vec<&str> {
        let is_shown =
            |name: &&str| chosen || COLUMNS.iter().any(|column| column.as_str() == *name);
        let first = self.metrics.values().next();
        let names = first.into_iter().flat_map(|first| first.keys());
        names.map(String::as_str).filter(is_shown).collect()
    }

    fn table(&self, columns: &[&str]) -> String {
        let widest = self.metrics.keys().map(|name| name.chars().count()).max();
        let width = widest.unwrap_or(0).max(4);
        let mut text = format!("{:width$}", "task");
        for column in columns {
            // Writing to a string cannot fail.
            let _ = write!(text, "  {column:>10}");
        }
        text.push('\n');
        for (task, results) in &self.metrics {
            let _ = write!(text, "{:width$}", printable::line(task));
            for column in columns {
                let value = results.get(*column).copied().unwrap_or(f64::NAN);
                let _ = write!(text, "  {:>10}", number(value));
            }
            text.push('\n');
        }
        text
    }

    /// Each task on a line of its own, its metrics below it, in lines of at most `width` columns.
    fn list(&self, columns: &[&str], width: usize) -> String {
        let mut text = String::new();
        for (task, results) in &self.metrics {
            text += &printable::line(task);
            let mut length = usize::MAX;
            for column in columns {
                let value = results.get(*column).copied().unwrap_or(f64::NAN);
                let cell = format!("  {column} {}", number(value));
                if length.saturating_add(cell.len()) > width {
                    text.push('\n');
                    length = 0;
                }
                length += cell.len();
                text += &cell;
            }
            text.push('\n');
        }
        text
    }
}

/// Whole numbers as such, others with what fits into a column.
fn number(value: f64) -> String {
    if value.is_nan() {
        return "-".to_owned();
    }
    let size = value.abs();
    // Counts are sums of weights, which may be off in the last digit.
    if (value - value.round()).abs() <= 1e-9 * size && size < 1e10 {
        format!("{value:.0}")
    } else if (1e-3..1e5).contains(&size) {
        format!("{value:.5}")
    } else {
        format!("{value:.3e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_terminal_gets_a_list() {
        let names = ["count", "ctr", "auroc"];
        let results = names.map(|name| (name.to_owned(), 0.25));
        let report = PartitionReport {
            batches: 1,
            examples: 4,
            loss: 0.5,
            metrics: IndexMap::from([("a.long.name".to_owned(), results.into_iter().collect())]),
            auroc_error: IndexMap::new(),
            reliability: IndexMap::new(),
        };
        assert_eq!(
            report.list(&names, 30),
            "a.long.name\n  count 0.25000  ctr 0.25000\n  auroc 0.25000\n"
        );
        let table = report.table(&names);
        assert!(
            table.lines().all(|line| line.len() == 11 + 3 * 12),
            "{table}"
        );
    }

    #[test]
    fn numbers_fit_their_column() {
        let cases = [
            (f64::NAN, "-"),
            (1234.0, "1234"),
            (0.0, "0"),
            (0.123_456_789, "0.12346"),
            (-12.5, "-12.50000"),
            (0.000_012_34, "1.234e-5"),
            (123_456_789.5, "1.235e8"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }
}
