//! The cost of a decision against the size of everything, one at a time, as a table and as a plot.

use std::path::Path;

use plotters::prelude::*;

use super::shop::{Policies, Shop, Size};
use super::singly;

const DECISIONS: usize = 10_000;
/// Rounds, by turns over all sizes, so that what else the machine does hits all of them; medians are told.
const ROUNDS: usize = 5;
const OUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plots/decision_cost.svg");

struct Axis {
    name: &'static str,
    sizes: Vec<(usize, Size)>,
}

/// Each quantity from a tenth to three times the target's, the others as in the target.
fn axes() -> Vec<Axis> {
    let target = Size::of(100_000);
    let of = |name, values: [usize; 4], with: fn(Size, usize) -> Size| Axis {
        name,
        sizes: values.iter().map(|n| (*n, with(target, *n))).collect(),
    };
    vec![
        of("agents", [1_000, 3_000, 10_000, 30_000], |size, agents| Size {
            agents,
            ..size
        }),
        of("waiting", [1_000, 10_000, 100_000, 300_000], |size, waiting| Size {
            waiting,
            ..size
        }),
        of("classes", [100, 300, 1_000, 3_000], |size, classes| Size {
            classes,
            ..size
        }),
        of("profiles", [100, 300, 1_000, 3_000], |size, profiles| Size {
            profiles,
            ..size
        }),
    ]
}

/// (size, p50, p99) in nanoseconds.
type Costs = Vec<(usize, f64, f64)>;

fn measure(axis: &Axis, policies: Policies) -> Costs {
    let mut shops: Vec<(usize, Shop)> = axis
        .sizes
        .iter()
        .map(|(n, size)| (*n, Shop::new(*size, policies)))
        .collect();
    let mut rounds: Vec<Vec<(f64, f64)>> = vec![Vec::new(); shops.len()];
    for _ in 0..ROUNDS {
        for ((_, shop), costs) in shops.iter_mut().zip(&mut rounds) {
            let nanos = singly(shop, DECISIONS, true);
            costs.push((
                nanos.value_at_quantile(0.5) as f64,
                nanos.value_at_quantile(0.99) as f64,
            ));
        }
    }
    let of = |costs: &[(f64, f64)], which: fn(&(f64, f64)) -> f64| super::median(costs.iter().map(which).collect());
    let costs = shops.iter().zip(&rounds);
    costs
        .map(|((n, _), costs)| (*n, of(costs, |c| c.0), of(costs, |c| c.1)))
        .collect()
}

/// Measures, tells, draws.
pub fn run() {
    let mut drawn = Vec::new();
    println!(
        "a decision with its explanation, one at a time, in nanoseconds; medians of {ROUNDS} rounds of {DECISIONS}"
    );
    println!("otherwise 10,000 agents, 1,000 profiles, 1,000 classes, 100,000 waiting\n");
    for axis in axes() {
        for (name, policies) in [("plain", Policies::Plain), ("every feature", Policies::Everything)] {
            let costs = measure(&axis, policies);
            for (n, p50, p99) in &costs {
                println!("{:<9} {n:>8}  {name:<14} p50 {p50:>8.0}  p99 {p99:>8.0}", axis.name);
            }
            drawn.push((axis.name, name, costs));
        }
    }
    match draw(&drawn) {
        Ok(()) => println!("\ndrawn: {OUT}"),
        Err(error) => println!("\nnot drawn: {error}"),
    }
}

fn draw(all: &[(&str, &str, Costs)]) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(folder) = Path::new(OUT).parent() {
        std::fs::create_dir_all(folder)?;
    }
    let root = SVGBackend::new(OUT, (1_180, 820)).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled("Cost of one decision with its explanation (µs)", ("sans-serif", 22))?;
    let most = all
        .iter()
        .flat_map(|(_, _, costs)| costs)
        .map(|cost| cost.2)
        .fold(1.0, f64::max)
        / 1000.0;
    let panels = root.split_evenly((2, 2));
    let mut names: Vec<&str> = all.iter().map(|(axis, ..)| *axis).collect();
    names.dedup();
    for (panel, axis) in panels.iter().zip(names) {
        let series: Vec<_> = all.iter().filter(|(of, ..)| *of == axis).collect();
        let sizes = || series.iter().flat_map(|(_, _, costs)| costs).map(|cost| cost.0 as f64);
        let (least, largest) = (sizes().fold(f64::MAX, f64::min), sizes().fold(1.0, f64::max));
        let mut chart = ChartBuilder::on(panel)
            .caption(format!("against {axis}"), ("sans-serif", 18))
            .margin(12)
            .margin_right(32)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(
                (least..largest).log_scale().with_key_points(sizes().collect()),
                // Room for the legend above the lines.
                0.0..most * 1.4,
            )?;
        chart
            .configure_mesh()
            .x_desc(axis)
            .y_desc("µs")
            .x_label_formatter(&|size| match *size as u64 {
                size if size >= 1_000 => format!("{},{:03}", size / 1_000, size % 1_000),
                size => size.to_string(),
            })
            .light_line_style(WHITE)
            .draw()?;
        let lines = series.iter().flat_map(|(_, name, costs)| {
            let points = |which: fn(&(usize, f64, f64)) -> f64| {
                costs
                    .iter()
                    .map(|cost| (cost.0 as f64, which(cost) / 1000.0))
                    .collect::<Vec<_>>()
            };
            [
                (format!("{name}, p50"), points(|c| c.1)),
                (format!("{name}, p99"), points(|c| c.2)),
            ]
        });
        let colours = [
            RGBColor(120, 120, 120),
            RGBColor(31, 119, 180),
            RGBColor(44, 140, 80),
            RGBColor(214, 93, 14),
        ];
        for ((name, points), colour) in lines.zip(colours) {
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(RGBColor(200, 200, 200))
            .position(SeriesLabelPosition::UpperLeft)
            .draw()?;
    }
    root.present()?;
    Ok(())
}
