//! The plots of a report, as SVG.

use std::ops::Range;

use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

use super::Report;
use crate::run::record::{Interval, Summary};

const SIZE: (u32, u32) = (760, 300);
const COLOURS: [RGBColor; 6] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 93, 14),
    RGBColor(44, 140, 80),
    RGBColor(148, 103, 189),
    RGBColor(90, 90, 90),
    RGBColor(180, 40, 60),
];
/// Below it, a logarithmic axis shows nothing: 10 µs.
const LOG_MIN_MS: f64 = 0.01;
/// Points of a service level: of fewer customers it is chance.
const LEVEL_POINTS: usize = 60;

/// A line: what it is, its points, and whether it is theory.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
    theory: bool,
}

impl Line {
    fn of(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self {
            name: name.into(),
            points: points.into_iter().collect(),
            theory: false,
        }
    }
}

struct Plot {
    title: &'static str,
    y: &'static str,
    log: bool,
    y_max: Option<f64>,
    lines: Vec<Line>,
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("a plot could not be drawn: {error}")
}

/// A picture with what belongs around it.
pub struct Picture {
    pub title: &'static str,
    pub svg: String,
    /// Name and colour of each line. Beside the picture, where it hides nothing.
    pub legend: Vec<(String, String)>,
}

fn colour(n: usize, theory: bool) -> RGBColor {
    if theory { COLOURS[5] } else { COLOURS[n % 5] }
}

/// Every plot that there is something for.
pub fn all(report: &Report) -> Result<Vec<Picture>> {
    let mut pictures = Vec::new();
    for plot in plots(report) {
        if plot.lines.iter().any(|line| line.points.len() > 1) {
            let named = plot
                .lines
                .iter()
                .enumerate()
                .filter(|(_, line)| !line.points.is_empty());
            let legend = named.map(|(n, line)| {
                let RGBColor(r, g, b) = colour(n, line.theory);
                (line.name.clone(), format!("#{r:02x}{g:02x}{b:02x}"))
            });
            pictures.push(Picture {
                title: plot.title,
                svg: draw(&plot, report)?,
                legend: legend.collect(),
            });
        }
    }
    Ok(pictures)
}

/// Intervals up to the end of the schedule: after it, nothing new begins.
fn within(report: &Report) -> impl Iterator<Item = &Interval> {
    let until_s = report.warm_up_s + report.length_s;
    report.intervals.iter().filter(move |interval| interval.at_s < until_s)
}

fn plots(report: &Report) -> Vec<Plot> {
    let per_s = |name: &'static str| {
        let rate = |interval: &Interval| interval.counts.get(name).copied().unwrap_or(0) as f64 / report.interval_s;
        within(report).map(move |interval| (interval.at_s, rate(interval)))
    };
    let has = |name: &str| report.counts.get(name).is_some_and(|count| *count > 0);
    let mut messages = Vec::new();
    if has("messages") {
        messages.push(Line::of("intended", per_s("messages")));
        messages.push(Line::of("acknowledged", per_s("acknowledged")));
    }
    let mut conversations = Vec::new();
    if has("arrivals") {
        conversations.push(Line::of("arrivals", per_s("arrivals")));
        conversations.push(Line::of("assigned", per_s("assigned")));
        conversations.push(Line::of("abandoned", per_s("abandoned")));
    }
    let plain = |title, y, lines| Plot {
        title,
        y,
        log: false,
        y_max: None,
        lines,
    };
    let latency = |title, name| Plot {
        title,
        y: "ms",
        log: true,
        y_max: None,
        lines: percentiles(report, name),
    };
    vec![
        plain("Messages per second", "1/s", messages),
        plain("Conversations per second", "1/s", conversations),
        latency("Message: intended time → acknowledgement", "message_ack"),
        latency("Message: intended time → the other side", "message_delivery"),
        latency("Start: intended time → offer, when somebody was free", "start_offer"),
        latency("Generator: schedule lag", "schedule_lag"),
        latency("Connection broken → back", "reconnect"),
        plain("Conversations that wait", "", queue(report)),
        Plot {
            title: "Service level",
            y: "%",
            log: false,
            y_max: Some(105.0),
            lines: levels(report),
        },
        plain("CPU", "cores", cpu(report)),
        plain("Memory", "MiB", memory(report)),
        Plot {
            title: "Each generator: p99 of its schedule lag",
            y: "ms",
            log: true,
            y_max: None,
            lines: lags(report),
        },
        plain("Each generator: CPU", "cores", generators_cpu(report)),
    ]
}

fn percentiles(report: &Report, name: &str) -> Vec<Line> {
    let of = |pick: fn(&Summary) -> f64| {
        let point = |interval: &Interval| Some((interval.at_s, pick(interval.measures.get(name)?).max(LOG_MIN_MS)));
        report.intervals.iter().filter_map(point).collect::<Vec<_>>()
    };
    vec![
        Line::of("p50", of(|s| s.p50_ms)),
        Line::of("p90", of(|s| s.p90_ms)),
        Line::of("p99", of(|s| s.p99_ms)),
        Line::of("max", of(|s| s.max_ms)),
    ]
}

fn queue(report: &Report) -> Vec<Line> {
    let mut lines = vec![Line::of(
        "as the generator knows",
        within(report).map(|i| (i.at_s, i.waiting as f64)),
    )];
    let depth = report
        .samples
        .iter()
        .filter_map(|sample| Some((sample.at_s, sample.queue_depth?)));
    lines.push(Line::of("as the nodes tell", depth));
    if let Some(theory) = &report.prediction {
        let points = theory
            .over_time
            .iter()
            .map(|(at_s, queue, _)| (*at_s, *queue))
            .collect();
        lines.push(Line {
            name: "theory".to_owned(),
            points,
            theory: true,
        });
    }
    if report.counts.get("arrivals").is_none_or(|count| *count == 0) {
        lines.clear();
    }
    lines
}

fn levels(report: &Report) -> Vec<Line> {
    let of = |interval: &Interval, name: &str| interval.counts.get(name).copied().unwrap_or(0) as f64;
    let group = report.intervals.len().div_ceil(LEVEL_POINTS).max(1);
    let points = report.intervals.chunks(group).filter_map(|chunk| {
        let arrivals: f64 = chunk.iter().map(|interval| of(interval, "arrivals")).sum();
        let in_target: f64 = chunk.iter().map(|interval| of(interval, "in_target")).sum();
        let middle = chunk[0].at_s + chunk.len() as f64 * report.interval_s / 2.0;
        (arrivals > 0.0).then_some((middle, in_target / arrivals * 100.0))
    });
    let mut lines = vec![Line::of("measured", points)];
    if let Some(theory) = &report.prediction {
        let points = theory
            .over_time
            .iter()
            .map(|(at_s, _, level)| (*at_s, level * 100.0))
            .collect();
        lines.push(Line {
            name: "theory".to_owned(),
            points,
            theory: true,
        });
    }
    if report.counts.get("arrivals").is_none_or(|count| *count == 0) {
        lines.clear();
    }
    lines
}

fn cpu(report: &Report) -> Vec<Line> {
    let nodes = report.samples.first().map_or(0, |sample| sample.nodes_cpu.len());
    let node = |n: usize| {
        let points = report
            .samples
            .iter()
            .filter_map(move |s| Some((s.at_s, *s.nodes_cpu.get(n)?)));
        Line::of(format!("node {}", n + 1), points)
    };
    let mut lines: Vec<Line> = (0..nodes).map(node).collect();
    lines.push(Line::of(
        generator(report),
        report.samples.iter().map(|s| (s.at_s, s.generator_cpu)),
    ));
    lines.push(Line::of(
        "whole machine",
        report.samples.iter().map(|s| (s.at_s, s.machine_cpu)),
    ));
    lines
}

fn generator(report: &Report) -> &'static str {
    if report.generators.is_empty() {
        "generator"
    } else {
        "generators and coordinator here"
    }
}

fn lags(report: &Report) -> Vec<Line> {
    let of = |generator: &super::GeneratorReport| {
        let points = generator
            .lag_over_time
            .iter()
            .map(|(at_s, ms)| (*at_s, ms.max(LOG_MIN_MS)));
        Line::of(format!("generator {}", generator.name), points)
    };
    report.generators.iter().map(of).collect()
}

fn generators_cpu(report: &Report) -> Vec<Line> {
    let of = |(n, generator): (usize, &super::GeneratorReport)| {
        let point = |s: &super::Sample| Some((s.at_s, *s.generators_cpu.get(n)?));
        Line::of(
            format!("generator {}", generator.name),
            report.samples.iter().filter_map(point),
        )
    };
    report.generators.iter().enumerate().map(of).collect()
}

fn memory(report: &Report) -> Vec<Line> {
    let nodes = report.samples.first().map_or(0, |sample| sample.nodes_mib.len());
    let node = |n: usize| {
        let points = report
            .samples
            .iter()
            .filter_map(move |s| Some((s.at_s, *s.nodes_mib.get(n)?)));
        Line::of(format!("node {}", n + 1), points)
    };
    let mut lines: Vec<Line> = (0..nodes).map(node).collect();
    lines.push(Line::of(
        generator(report),
        report.samples.iter().map(|s| (s.at_s, s.generator_mib)),
    ));
    lines
}

fn draw(plot: &Plot, report: &Report) -> Result<String> {
    let points = || plot.lines.iter().flat_map(|line| &line.points);
    let most = points().map(|(_, y)| *y).fold(0.0, f64::max);
    let least = points().map(|(_, y)| *y).fold(f64::INFINITY, f64::min);
    let mut picture = String::new();
    {
        let area = SVGBackend::with_string(&mut picture, SIZE).into_drawing_area();
        let until_s = points()
            .map(|(x, _)| *x)
            .fold(report.warm_up_s + report.length_s, f64::max);
        let x = 0.0..until_s;
        if plot.log {
            // Whole decades, so that lines of the grid are at the ends.
            let (low, high) = (
                10_f64.powf(least.max(LOG_MIN_MS).log10().floor()),
                10_f64.powf(most.log10().ceil()),
            );
            chart(
                &area,
                plot,
                report,
                x,
                (low..high.max(low * 10.0)).log_scale(),
                low..high,
            )?;
        } else {
            let high = plot.y_max.unwrap_or(most * 1.08).max(1e-9);
            chart(&area, plot, report, x, 0.0..high, 0.0..high)?;
        }
        area.present().map_err(failed)?;
    }
    Ok(picture)
}

fn number(value: &f64) -> String {
    if *value >= 10.0 || *value == 0.0 {
        format!("{value:.0}")
    } else if *value >= 1.0 {
        format!("{value:.1}").trim_end_matches(".0").to_owned()
    } else {
        format!("{value:.3}").trim_end_matches('0').to_owned()
    }
}

fn chart<Y>(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    plot: &Plot,
    report: &Report,
    x: Range<f64>,
    y: Y,
    heights: Range<f64>,
) -> Result<()>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    area.fill(&WHITE).map_err(failed)?;
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(18)
        .x_label_area_size(36)
        .y_label_area_size(62)
        .build_cartesian_2d(x, y)
        .map_err(failed)?;
    // The warm-up is grey: it is not in the numbers.
    let warm_up = [(0.0, heights.start), (report.warm_up_s, heights.end)];
    chart
        .draw_series([Rectangle::new(warm_up, RGBColor(238, 238, 238).filled())])
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .y_desc(plot.y)
        .y_labels(6)
        .y_label_formatter(&number)
        .x_label_formatter(&number)
        .light_line_style(WHITE.mix(0.0))
        .bold_line_style(RGBColor(225, 225, 225))
        .draw()
        .map_err(failed)?;
    for (n, line) in plot
        .lines
        .iter()
        .enumerate()
        .filter(|(_, line)| !line.points.is_empty())
    {
        let style = colour(n, line.theory).stroke_width(if line.theory { 2 } else { 1 });
        let points = line.points.iter().copied();
        let drawn = if line.theory {
            chart.draw_series(DashedLineSeries::new(points, 6, 4, style))
        } else {
            chart.draw_series(LineSeries::new(points, style))
        };
        drawn.map_err(failed)?;
    }
    Ok(())
}
