//! Pictures of an evaluation: per partition and task the ROC curve, the precision-recall curve and the reliability
//! table, as SVG or PNG.

mod png;

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::{
    BLUE, ChartBuilder, Circle, Color, DrawingArea, IntoDrawingArea, LineSeries, RED, RGBColor,
    SVGBackend, WHITE,
};

pub use png::{Fonts, png};

use crate::metrics::{Auroc, Curve, MetricSet, PrAuc, ReliabilityTable, TaskMetrics};

/// Size of one panel in pixels.
const PANEL: (u32, u32) = (360, 320);

/// Points along either axis of a curve.
const RESOLUTION: u16 = 400;

const GREY: RGBColor = RGBColor(160, 160, 160);

/// A picture cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw the picture: {0}")]
pub struct PlotError(String);

fn failed(error: impl std::fmt::Display) -> PlotError {
    PlotError(error.to_string())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One panel: what it is called, its axes, and what is drawn.
struct Panel {
    title: String,
    axes: [&'static str; 2],
    range: Range<f64>,
    line: Vec<(f64, f64)>,
    /// What a model without skill, or a perfect one, would give.
    reference: Vec<(f64, f64)>,
    dots: bool,
}

/// Draws every task of every set, one row of panels each; `sets` come with the name of their partition.
///
/// # Errors
/// When the drawing library fails, which it has no reason to.
pub fn svg(sets: &[(&str, &MetricSet)]) -> Result<String, PlotError> {
    let mut rows = Vec::new();
    for (partition, set) in sets {
        for (task, metrics) in set.tasks() {
            rows.push(panels(&format!("{task} ({partition})"), metrics));
        }
    }
    let num_rows = u32::try_from(rows.len().max(1)).map_err(failed)?;
    let mut text = String::new();
    {
        let size = (3 * PANEL.0, num_rows * PANEL.1);
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let areas = root.split_evenly((rows.len().max(1), 3));
        for (area, panel) in areas.iter().zip(rows.iter().flatten()) {
            panel.draw(area)?;
        }
        root.present().map_err(failed)?;
    }
    Ok(text)
}

fn panels(name: &str, metrics: &TaskMetrics) -> [Panel; 3] {
    let curve = metrics.curve(RESOLUTION).unwrap_or_default();
    let areas = metrics.ranking();
    let areas = areas.map(|ranking| (Auroc::of(ranking).value, PrAuc::of(ranking).value));
    let (auroc, pr_auc) = areas.unwrap_or((f64::NAN, f64::NAN));
    [
        roc(format!("{name}: AUROC {auroc:.4}"), &curve),
        precision_recall(format!("PR-AUC {pr_auc:.4}"), &curve),
        reliability(metrics.reliability()),
    ]
}

fn roc(title: String, curve: &Curve) -> Panel {
    let points = curve.points.iter();
    let points = points.map(|point| (point.false_positive_rate, point.true_positive_rate));
    Panel {
        title,
        axes: ["false positive rate", "true positive rate"],
        range: 0.0..1.0,
        line: std::iter::once((0.0, 0.0)).chain(points).collect(),
        reference: vec![(0.0, 0.0), (1.0, 1.0)],
        dots: false,
    }
}

fn precision_recall(title: String, curve: &Curve) -> Panel {
    let points = curve.points.iter();
    let line: Vec<_> = points
        .map(|p| (p.true_positive_rate, p.precision))
        .collect();
    // Calling every row positive has the precision of chance.
    let chance = line.last().map_or(0.0, |last| last.1);
    Panel {
        title,
        axes: ["recall", "precision"],
        range: 0.0..1.0,
        line,
        reference: vec![(0.0, chance), (1.0, chance)],
        dots: false,
    }
}

fn reliability(table: Option<ReliabilityTable>) -> Panel {
    let bins = table.as_ref().map_or(&[][..], |table| &table.bins);
    let bins = bins.iter().filter(|bin| bin.weight > 0.0);
    let line: Vec<_> = bins
        .map(|bin| (bin.mean_prediction, bin.mean_label))
        .collect();
    // Rare positives live near zero: the panel ends where the points end.
    let largest = line.iter().map(|&(x, y)| x.max(y)).fold(0.0, f64::max);
    let end = if largest > 0.0 {
        (largest * 1.05).min(1.0)
    } else {
        1.0
    };
    let error = table.map_or(f64::NAN, |table| table.expected_calibration_error);
    Panel {
        title: format!("calibration error {error:.4}"),
        axes: ["mean prediction", "mean label"],
        range: 0.0..end,
        line,
        reference: vec![(0.0, 0.0), (end, end)],
        dots: true,
    }
}

impl Panel {
    fn draw(&self, area: &Area<'_>) -> Result<(), PlotError> {
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 13))
            .margin(10)
            .x_label_area_size(36)
            .y_label_area_size(48)
            .build_cartesian_2d(self.range.clone(), self.range.clone())
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_desc(self.axes[0])
            .y_desc(self.axes[1])
            .x_labels(6)
            .y_labels(6)
            .light_line_style(WHITE)
            .draw()
            .map_err(failed)?;
        let reference = self.reference.iter().copied();
        chart
            .draw_series(LineSeries::new(reference, &GREY))
            .map_err(failed)?;
        let line = LineSeries::new(self.line.iter().copied(), BLUE.stroke_width(2));
        chart.draw_series(line).map_err(failed)?;
        if self.dots {
            let dots = self.line.iter();
            let dots = dots.map(|&point| Circle::new(point, 3, RED.filled()));
            chart.draw_series(dots).map_err(failed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Scores, SetBatch};

    #[test]
    fn every_task_has_its_row_of_panels() {
        let tasks = ["fav & more".to_owned(), "reply".to_owned()];
        let mut set = MetricSet::build(&tasks, None, None, &[]).unwrap();
        let empty = svg(&[("valid", &set)]).unwrap();
        assert!(empty.contains("AUROC NaN"), "no rows, no numbers");
        set.update(&SetBatch {
            scores: Scores::Probabilities(&[0.1, 0.9, 0.2, 0.8, 0.3, 0.7]),
            labels: &[0.0, 1.0, 1.0, 0.0, 1.0, 1.0],
            weights: None,
            groups: None,
            columns: &[],
        })
        .unwrap();
        let text = svg(&[("valid", &set), ("test", &set)]).unwrap();
        assert!(
            text.starts_with("<svg width=\"1080\" height=\"1280\""),
            "{text}"
        );
        assert!(
            text.contains("fav &amp; more (valid): AUROC 1.0000"),
            "{text}"
        );
        assert!(text.contains("reply (test): AUROC 0.5000"));
        assert!(text.trim_end().ends_with("</svg>"));
        assert_eq!(
            text.matches("<circle").count(),
            2 * 6,
            "a dot for each filled bin"
        );
    }
}
