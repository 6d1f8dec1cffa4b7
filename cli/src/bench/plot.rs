//! Recall against queries a second, as an SVG: a line a mode, a point an effort.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use plotters::prelude::*;

use super::report::{Measured, Setting};
use crate::failure::Failure;
use crate::output::count;

/// A mode's name, and its (recall, QPS) by ascending recall.
type Series = (String, Vec<(f64, f64)>);

/// Draws all results.
pub fn draw(path: &Path, setting: &Setting, results: &[Measured]) -> Result<(), Failure> {
    let title = format!(
        "{} rows x {}, {}, k {}",
        count(setting.info.rows),
        setting.info.dim,
        setting.info.metric.name(),
        setting.k
    );
    let svg = render(&title, setting.k, &series(results)).map_err(|e| Failure::at(path, e))?;
    std::fs::write(path, svg).map_err(|e| Failure::at(path, e))
}

fn series(results: &[Measured]) -> Vec<Series> {
    let mut by_mode: BTreeMap<(u32, usize), Vec<(f64, f64)>> = BTreeMap::new();
    for result in results {
        by_mode.entry((result.threads, result.batch)).or_default().push((result.found.recall, result.qps));
    }
    let named = |((threads, batch), mut points): ((u32, usize), Vec<(f64, f64)>)| {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let threads = if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
        let calls =
            if batch == 1 { "single".to_owned() } else { format!("batches of {}", count(batch as u64)) };
        (format!("{calls}, {threads}"), points)
    };
    by_mode.into_iter().map(named).collect()
}

/// From the step of 0.01, or of 0.1 when recall is low, below the least recall to 1.
fn recall_axis(series: &[Series]) -> Range<f64> {
    let least = series.iter().flat_map(|(_, points)| points).map(|p| p.0).fold(1.0, f64::min);
    let step = if least >= 0.9 { 0.01 } else { 0.1 };
    ((least / step - 0.5).floor() * step).max(0.0)..1.0 + step / 10.0
}

/// Whole powers of ten around all figures.
fn qps_axis(series: &[Series]) -> Range<f64> {
    let all = || series.iter().flat_map(|(_, points)| points).map(|p| p.1.max(1e-3));
    let (least, most) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    10f64.powf(least.log10().floor())..10f64.powf((most.log10() + 1e-9).ceil())
}

fn render(title: &str, k: usize, series: &[Series]) -> Result<String, Box<dyn std::error::Error>> {
    const COLOURS: [RGBColor; 3] =
        [RGBColor(0x1f, 0x77, 0xb4), RGBColor(0xd6, 0x5f, 0x0e), RGBColor(0x2c, 0x8c, 0x3c)];
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (800, 560)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 20))
            .margin(16)
            .x_label_area_size(48)
            .y_label_area_size(80)
            .build_cartesian_2d(recall_axis(series), qps_axis(series).log_scale())?;
        chart
            .configure_mesh()
            .x_desc(format!("recall@{k}"))
            .y_desc("queries a second")
            .x_label_formatter(&|recall| format!("{recall:.3}"))
            .y_label_formatter(&|qps| count(qps.round() as u64))
            .label_style(("sans-serif", 14))
            .x_max_light_lines(0)
            .y_max_light_lines(0)
            .draw()?;
        for ((name, points), colour) in series.iter().zip(COLOURS.iter().cycle()) {
            chart
                .draw_series(
                    LineSeries::new(points.iter().copied(), colour.filled().stroke_width(2)).point_size(4),
                )?
                .label(name.as_str())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerLeft)
            .label_font(("sans-serif", 14))
            .background_style(WHITE)
            .border_style(BLACK)
            .draw()?;
        area.present()?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_hold_all_points_even_if_there_is_one_alone() {
        let one = vec![("a".to_owned(), vec![(0.951, 1000.0)])];
        let (x, y) = (recall_axis(&one), qps_axis(&one));
        assert!(x.contains(&0.951) && x.contains(&1.0) && x.start > 0.9, "{x:?}");
        assert!(y.start <= 1000.0 && y.end >= 1000.0 && y.end > y.start, "{y:?}");
        let low = vec![("a".to_owned(), vec![(0.0, 0.5), (1.0, 123_456.0)])];
        assert_eq!((recall_axis(&low).start, qps_axis(&low)), (0.0, 0.1..1e6));
    }

    #[test]
    fn a_plot_names_its_axes_and_modes() {
        let series = vec![("single, 1 thread".to_owned(), vec![(0.91, 5000.0), (0.99, 900.0)])];
        let svg = render("1,000 rows x 8", 10, &series).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for text in ["recall@10", "queries a second", "single, 1 thread", "1,000 rows x 8"] {
            assert!(svg.contains(text), "{text}");
        }
    }
}
