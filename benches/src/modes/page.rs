//! What a mode found as one page that needs nothing beside itself: what the terminal was told, and pictures.

use std::fmt::Write;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::Finding;
use crate::report::html::{begin, escaped};

const SIZE: (u32, u32) = (760, 300);
const LINE: RGBColor = RGBColor(31, 119, 180);
const MARK: RGBColor = RGBColor(180, 40, 60);

/// A picture with its title.
#[derive(Debug)]
pub struct Picture {
    title: &'static str,
    svg: String,
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("a picture could not be drawn: {error}")
}

/// Lines of one kind above each other; what happened at 0 is marked.
pub fn lines(title: &'static str, y_name: &str, lines: &[Vec<(f64, f64)>]) -> Result<Picture> {
    let points = || lines.iter().flatten();
    let (from, until) = points().fold((0.0, 1.0), |(from, until), (x, _)| (x.min(from), x.max(until)));
    let most = points().map(|(_, y)| *y).fold(1e-9, f64::max) * 1.08;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .margin_right(18)
            .x_label_area_size(36)
            .y_label_area_size(62)
            .build_cartesian_2d(from..until, 0.0..most)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_desc("seconds")
            .y_desc(y_name)
            .y_labels(6)
            .light_line_style(WHITE.mix(0.0))
            .bold_line_style(RGBColor(225, 225, 225))
            .draw()
            .map_err(failed)?;
        chart
            .draw_series(LineSeries::new([(0.0, 0.0), (0.0, most)], MARK.stroke_width(1)))
            .map_err(failed)?;
        // Pale, so that what all have in common is dark.
        for line in lines {
            let series = LineSeries::new(line.iter().copied(), LINE.mix(0.45).stroke_width(1));
            chart.draw_series(series).map_err(failed)?;
        }
        area.present().map_err(failed)?;
    }
    Ok(Picture { title, svg })
}

/// The page.
pub fn page(finding: &Finding) -> String {
    let mut page = begin(finding.mode, "", finding.verdict, &finding.reasons);
    let _ = writeln!(
        page,
        "<pre style=\"white-space: pre-wrap\">{}</pre>\n<div class=\"grid\">",
        escaped(finding.to_text().trim())
    );
    for Picture { title, svg } in &finding.pictures {
        let _ = writeln!(
            page,
            "<figure><figcaption>{}</figcaption>{svg}</figure>",
            escaped(title)
        );
    }
    let environment = &finding.environment;
    let _ = writeln!(
        page,
        "</div>\n<h2>Where and how</h2>\n<p>{}; {}, {} cores, {:.1} GiB, Linux {}, {}; harness {}, {}; nodes {}; load average {} before, {} after</p>\n\
         </main></body></html>",
        escaped(&environment.at),
        escaped(&environment.machine),
        environment.cores,
        environment.memory_gib,
        escaped(&environment.kernel),
        escaped(&environment.file_system),
        escaped(&environment.commit),
        escaped(&environment.build),
        escaped(&environment.binary),
        escaped(&environment.load_before),
        escaped(&environment.load_after),
    );
    page
}
