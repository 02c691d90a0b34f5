//! Figures side by side, as one SVG picture: waits, service level over time, occupancy of agents, arrivals.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::figures::{Figures, QUARTER_MS};

const SIZE: (u32, u32) = (1_280, 880);
/// Curves of at most so many points show them.
const MARKED: usize = 48;
const COLOURS: [RGBColor; 6] = [
    RGBColor(90, 90, 90),
    RGBColor(31, 119, 180),
    RGBColor(214, 93, 14),
    RGBColor(44, 140, 80),
    RGBColor(148, 103, 189),
    RGBColor(180, 40, 60),
];

/// What the library could not draw.
#[derive(Debug, thiserror::Error)]
#[error("the picture could not be drawn: {0}")]
pub struct PlotError(String);

fn failed(error: impl std::fmt::Display) -> PlotError {
    PlotError(error.to_string())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One picture of all runs.
pub fn svg(title: &str, runs: &[Figures]) -> Result<String, PlotError> {
    let mut picture = String::new();
    {
        let root = SVGBackend::with_string(&mut picture, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let root = root.titled(title, ("sans-serif", 22)).map_err(failed)?;
        let panels = root.split_evenly((2, 2));
        waits(&panels[0], runs)?;
        levels(&panels[1], runs)?;
        agents(&panels[2], runs)?;
        arrivals(&panels[3], runs)?;
        root.present().map_err(failed)?;
    }
    Ok(picture)
}

struct Panel<'a> {
    title: &'a str,
    x: &'a str,
    y: &'a str,
    x_max: f64,
    y_max: f64,
}

struct Curve {
    name: String,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

/// A curve of each run, which has the same colour in every panel.
fn curves(runs: &[Figures], points: impl Fn(&Figures) -> Vec<(f64, f64)>) -> Vec<Curve> {
    let curves = runs.iter().zip(COLOURS.iter().cycle()).map(|(run, colour)| Curve {
        name: run.name.clone(),
        colour: *colour,
        points: points(run),
    });
    curves.filter(|curve| !curve.points.is_empty()).collect()
}

fn lines(area: &Area<'_>, panel: &Panel<'_>, curves: &[Curve]) -> Result<(), PlotError> {
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..panel.x_max.max(1e-9), 0.0..panel.y_max.max(1e-9))
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc(panel.x)
        .y_desc(panel.y)
        .light_line_style(WHITE)
        .draw()
        .map_err(failed)?;
    for Curve { name, colour, points } in curves {
        let colour = *colour;
        // Where they are few each is to be seen; one alone has no line.
        let dot = if points.len() <= MARKED { 3 } else { 0 };
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(dot))
            .map_err(failed)?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(RGBColor(200, 200, 200))
        .position(SeriesLabelPosition::LowerRight)
        .draw()
        .map_err(failed)
}

/// Share of the answered who waited at most so long; up to the longest 99th percentile.
fn waits(area: &Area<'_>, runs: &[Figures]) -> Result<(), PlotError> {
    let longest_s = runs.iter().map(|run| run.all.p99_ms).max().unwrap_or(0) as f64 / 1000.0;
    let curve = |run: &Figures| -> Vec<(f64, f64)> {
        let n = run.waits_ms.len().max(1);
        let step = n.div_ceil(400);
        let points = run.waits_ms.iter().enumerate().step_by(step);
        let points = points.map(|(at, wait)| (*wait as f64 / 1000.0, (at + 1) as f64 / n as f64 * 100.0));
        std::iter::once((0.0, 0.0))
            .chain(points.filter(|(s, _)| *s <= longest_s.max(1.0)))
            .collect()
    };
    let panel = Panel {
        title: "Answered after at most",
        x: "seconds",
        y: "% of the answered",
        x_max: longest_s.max(1.0),
        y_max: 100.0,
    };
    lines(area, &panel, &curves(runs, curve))
}

fn hours_from(runs: &[Figures]) -> (u64, f64) {
    let starts = runs.iter().flat_map(|run| run.quarters.iter().map(|(at, ..)| *at));
    let (first, last) = starts.fold((u64::MAX, 0), |(first, last), at| (first.min(at), last.max(at)));
    (first, (last.saturating_sub(first) + QUARTER_MS) as f64 / 3_600_000.0)
}

/// Where the figures of a quarter hour are drawn: in its middle.
fn middle_hour(at: u64, first: u64) -> f64 {
    (at - first + QUARTER_MS / 2) as f64 / 3_600_000.0
}

/// Of those who came in a quarter hour, how many were answered within the target.
fn levels(area: &Area<'_>, runs: &[Figures]) -> Result<(), PlotError> {
    let (first, hours) = hours_from(runs);
    let curve = |run: &Figures| {
        let quarters = run.quarters.iter().filter(|(_, offered, ..)| *offered > 0);
        quarters
            .map(|(at, offered, within, _)| {
                let share = *within as f64 / *offered as f64;
                (middle_hour(*at, first), share * 100.0)
            })
            .collect::<Vec<_>>()
    };
    let panel = Panel {
        title: "Answered within the target, by quarter hour of arrival",
        x: "hours",
        y: "% of those who came",
        x_max: hours,
        y_max: 100.0,
    };
    lines(area, &panel, &curves(runs, curve))
}

/// Each agent's share of time with work, from the least to the most.
fn agents(area: &Area<'_>, runs: &[Figures]) -> Result<(), PlotError> {
    let most = runs.iter().map(|run| run.agents.len()).max().unwrap_or(0);
    let curve = |run: &Figures| {
        let shares = run.agents.iter().enumerate();
        shares
            .map(|(n, share)| ((n + 1) as f64, share * 100.0))
            .collect::<Vec<_>>()
    };
    let panel = Panel {
        title: "Occupancy of each agent",
        x: "agents, from the least to the most occupied",
        y: "% of their time with work",
        x_max: most.max(1) as f64,
        y_max: 100.0,
    };
    lines(area, &panel, &curves(runs, curve))
}

/// Who came and who left, by quarter hour.
fn arrivals(area: &Area<'_>, runs: &[Figures]) -> Result<(), PlotError> {
    let (first, hours) = hours_from(runs);
    let hour = |at: u64| middle_hour(at, first);
    let mut all = curves(runs, |run| {
        let quarters = run.quarters.iter();
        quarters.map(|(at, _, _, left)| (hour(*at), *left as f64)).collect()
    });
    for curve in &mut all {
        curve.name = format!("left: {}", curve.name);
    }
    if let Some(run) = runs.first() {
        all.push(Curve {
            name: "came".to_owned(),
            colour: BLACK,
            points: run.quarters.iter().map(|(at, n, ..)| (hour(*at), *n as f64)).collect(),
        });
    }
    let most = all
        .iter()
        .flat_map(|curve| &curve.points)
        .map(|(_, n)| *n)
        .fold(1.0, f64::max);
    let panel = Panel {
        title: "Came, and left without an answer, by quarter hour",
        x: "hours",
        y: "conversations",
        x_max: hours,
        y_max: most * 1.1,
    };
    lines(area, &panel, &all)
}
