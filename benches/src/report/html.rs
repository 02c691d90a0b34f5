//! The report as one page that needs nothing beside itself.

use std::fmt::Write;

use anyhow::Result;

use super::{GeneratorReport, Report, Verdict, plots};
use crate::run::record::MEASURES;

/// Of every page.
pub const STYLE: &str = include_str!("page.css");

/// Text in HTML.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// The head of a page, and what stands at its top.
pub fn begin(title: &str, about: &str, verdict: Verdict, reasons: &[String]) -> String {
    let (title, word) = (escaped(title), verdict.word());
    let class = word.to_lowercase();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title><style>\n{STYLE}</style></head><body><main>\n\
         <h1>{title} <span class=\"badge {class}\">{word}</span></h1>\n"
    );
    if !about.is_empty() {
        let _ = writeln!(page, "<p>{}</p>", escaped(about));
    }
    for reason in reasons {
        let _ = writeln!(page, "<p class=\"reasons\">{}</p>", escaped(reason));
    }
    page
}

/// The page.
pub fn page(report: &Report) -> Result<String> {
    let mut page = begin(&report.scenario, &report.about, report.verdict, &report.reasons);
    if report.cut_short {
        let _ = writeln!(
            page,
            "<p class=\"reasons\">Cut short: ended by hand after {:.0} s of measurement.</p>",
            report.length_s
        );
    }
    let _ = writeln!(page, "<h2>Latency, measured part only</h2>\n{}", latencies(report));
    let _ = writeln!(
        page,
        "<h2>Counts</h2>\n<div class=\"tables\">{}{}{}</div>",
        correctness(report),
        counts(report),
        theory(report)
    );
    if !report.generators.is_empty() {
        let _ = writeln!(page, "<h2>Generators</h2>\n{}", generators(report));
    }
    page.push_str("<h2>Over time</h2>\n<p class=\"small\">Grey: the warm-up, which is not in the numbers above. A latency stands at the \
         time at which it was meant to begin. Latency axes are logarithmic.</p>\n<div class=\"grid\">\n");
    for picture in plots::all(report)? {
        let legend: Vec<String> = picture
            .legend
            .iter()
            .map(|(name, colour)| format!("<span style=\"color: {colour}\">━ {}</span>", escaped(name)))
            .collect();
        let _ = writeln!(
            page,
            "<figure><figcaption>{} <small>{}</small></figcaption>{}</figure>",
            escaped(picture.title),
            legend.join(" "),
            picture.svg
        );
    }
    let _ = writeln!(page, "</div>\n<h2>Where and how</h2>\n{}", environment(report));
    let _ = writeln!(
        page,
        "<h2>The scenario</h2>\n<pre>{}</pre>\n</main></body></html>",
        escaped(&report.scenario_text)
    );
    Ok(page)
}

fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = String::from("<table><tr>");
    head.iter()
        .for_each(|cell| table.push_str(&format!("<th>{}</th>", escaped(cell))));
    table.push_str("</tr>\n");
    for row in rows {
        table.push_str("<tr>");
        row.iter()
            .for_each(|cell| table.push_str(&format!("<td>{}</td>", escaped(cell))));
        table.push_str("</tr>\n");
    }
    table + "</table>\n"
}

fn latencies(report: &Report) -> String {
    let rows = MEASURES.iter().filter_map(|(_, name, what)| {
        let m = report.measures.get(*name)?;
        let ms = |value: f64| {
            if value < 100.0 {
                format!("{value:.2}")
            } else {
                format!("{value:.0}")
            }
        };
        let values = [m.p50_ms, m.p90_ms, m.p99_ms, m.p999_ms, m.max_ms, m.mean_ms].map(ms);
        Some([vec![(*what).to_owned(), m.count.to_string()], values.to_vec()].concat())
    });
    table(
        &["milliseconds", "count", "p50", "p90", "p99", "p99.9", "max", "mean"],
        rows,
    )
}

fn correctness(report: &Report) -> String {
    let rows = report
        .faults
        .all()
        .into_iter()
        .map(|(name, count)| vec![name.to_owned(), count.to_string()]);
    let refused = report
        .refused
        .iter()
        .map(|(code, count)| vec![format!("refused: {code}"), count.to_string()]);
    table(&["correctness", ""], rows.chain(refused))
}

fn counts(report: &Report) -> String {
    let mut rows: Vec<(String, u64)> = report
        .counts
        .iter()
        .map(|(name, count)| (name.replace('_', " "), *count))
        .collect();
    rows.extend(
        [
            ("commands, warm-up included", report.commands),
            ("overtaken by another command", report.overtaken),
            ("arrivals dropped by the generator", report.dropped),
            ("connections lost", report.connections_lost),
            ("owners lost", report.owners_lost),
            ("transfers", report.transfers),
            ("most customers at a time", report.customers_most as u64),
        ]
        .map(|(name, count)| (name.to_owned(), count)),
    );
    table(
        &["counted", ""],
        rows.into_iter().map(|(name, count)| vec![name, count.to_string()]),
    )
}

fn theory(report: &Report) -> String {
    let (Some(level), Some(abandonment)) = (report.service_level, report.abandonment) else {
        return String::new();
    };
    let predicted = report.prediction.as_ref();
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let row = |name: String, measured: String, theory: Option<String>| {
        vec![name, measured, theory.unwrap_or_else(|| "–".to_owned())]
    };
    let arrivals = report.counts.get("arrivals").copied().unwrap_or(0) as f64 / report.length_s;
    let rows = vec![
        row(
            "arrivals per second".to_owned(),
            format!("{arrivals:.2}"),
            predicted.map(|p| format!("{:.2}", p.arrivals_per_s)),
        ),
        row(
            format!("answered within {} s", report.service_level_s),
            percent(level),
            predicted.map(|p| percent(p.service_level)),
        ),
        row(
            "abandoned".to_owned(),
            percent(abandonment),
            predicted.map(|p| percent(p.abandonment)),
        ),
        row(
            "waiting, mean".to_owned(),
            format!("{:.2}", report.waiting_mean),
            predicted.map(|p| format!("{:.2}", p.queue)),
        ),
        row(
            "occupancy of places".to_owned(),
            percent(report.occupancy),
            predicted.map(|p| percent(p.occupancy)),
        ),
    ];
    let mut text = format!("<div>{}", table(&["queueing", "measured", "theory"], rows));
    let note = match predicted {
        Some(p) => {
            let model = if p.patience_s > 0.0 { "Erlang A" } else { "Erlang C" };
            let but = if p.assumptions.is_empty() {
                String::new()
            } else {
                format!(", although {}", p.assumptions.join("; "))
            };
            format!(
                "Theory: {model}, {:.0} places, mean service {:.2} s{}{but}. A short run scatters around it: the fewer customers, the more.",
                p.places,
                p.service_s,
                if p.patience_s > 0.0 {
                    format!(", mean patience {:.1} s", p.patience_s)
                } else {
                    String::new()
                },
            )
        }
        None => "No prediction: without patience and with too little service, the queue grows without end.".to_owned(),
    };
    let _ = write!(
        text,
        "<p class=\"small\" style=\"max-width: 52ch\">{}</p></div>",
        escaped(&note)
    );
    text
}

fn generators(report: &Report) -> String {
    let row = |g: &GeneratorReport| {
        vec![
            g.name.clone(),
            if g.here { "the coordinator's" } else { "another" }.to_owned(),
            g.agents.to_string(),
            g.customers.to_string(),
            format!("{:.2}", g.lag.p99_ms),
            format!("{:.2}", g.runtime.p99_ms),
            g.dropped.to_string(),
            format!("{:.2} of {}", g.cpu, g.cores),
            format!("{:.0}", g.mib),
            format!("{:+} ± {}", g.clock_offset_us, g.clock_round_trip_us.div_ceil(2)),
            format!("{:+}", g.clock_drift_us),
        ]
    };
    let head = [
        "generator",
        "machine",
        "agents",
        "customers",
        "lag p99, ms",
        "late timers p99, ms",
        "dropped",
        "cores",
        "MiB",
        "clock, µs",
        "drift, µs",
    ];
    let mut text = table(&head, report.generators.iter().map(row));
    if let Some(accounted) = &report.accounted {
        let _ = writeln!(
            text,
            "<p class=\"small\">Their accounts, put together: {} conversations, {} of them between several generators; {} acknowledged \
             messages, warm-up included.</p>",
            accounted.conversations, accounted.across, accounted.messages
        );
    }
    text
}

fn environment(report: &Report) -> String {
    let e = &report.environment;
    let rows = [
        ("durability", report.durability.clone()),
        ("when", e.at.clone()),
        (
            "machine",
            format!(
                "{}, {} cores, {:.1} GiB, Linux {}",
                e.machine, e.cores, e.memory_gib, e.kernel
            ),
        ),
        (
            "load average",
            format!("{} before, {} after", e.load_before, e.load_after),
        ),
        ("data on", e.file_system.clone()),
        ("harness", format!("{}, commit {}", e.build, e.commit)),
        ("nodes' binary", e.binary.clone()),
        ("nodes", e.nodes.join(", ")),
        (
            "run",
            format!(
                "seed {}, all rates × {}, {} s measured after {} s of warm-up, intervals of {} s; {} agents with {} places",
                report.seed,
                report.scale,
                report.length_s,
                report.warm_up_s,
                report.interval_s,
                report.agents,
                report.places
            ),
        ),
    ];
    let cells = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]);
    table(&["", ""], cells).replace("<td>", "<td style=\"text-align: left\">")
}
