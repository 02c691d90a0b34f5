//! `kaiwa-bench find-max SCENARIO --slo …`: by how much all rates of a scenario can be multiplied until a limit is broken.
//!
//! Every try is a run of its own, on a fresh cluster unless there is a target, with another seed.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, ensure};
use clap::Args;
use node::toml_input::duration_ms;

use crate::report::{Report, Verdict};
use crate::run::{self, Job, PlaceArgs};
use crate::search::Search;

/// The search's unit: scales are looked for in percent.
const PERCENT: f64 = 100.0;
/// A cluster keeps up when it acknowledges this share of what was meant to be sent.
const KEPT_UP: f64 = 0.95;

/// What to look for.
#[derive(Debug, Args)]
pub struct FindMaxArgs {
    /// The scenario's file, or the name of a shipped one
    #[arg(value_name = "SCENARIO")]
    scenario: PathBuf,
    /// The limit: [MEASURE.](p50|p90|p99|p999|max|mean)<TIME, separated by commas; the measure is message_ack if none is named
    #[arg(long, value_name = "LIMITS", default_value = "p99<100ms", value_parser = slo)]
    slo: Slo,
    /// First try: all rates are multiplied by it
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Measured time of each try, instead of the scenario's
    #[arg(long = "for", value_name = "TIME", value_parser = run::time)]
    length_ms: Option<u64>,
    /// Folder for the report of each try
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// A line every few seconds, on a terminal too
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Limits, all of which must hold.
#[derive(Clone, Debug, PartialEq)]
struct Slo(Vec<Limit>);

#[derive(Clone, Debug, PartialEq)]
struct Limit {
    measure: String,
    value: String,
    most_ms: f64,
}

fn slo(text: &str) -> Result<Slo, String> {
    let limit = |part: &str| {
        let wrong = || format!("`{part}` is no limit: write p99<100ms or start_offer.p99<25ms");
        let (what, most) = part.split_once('<').ok_or_else(wrong)?;
        let (measure, value) = what.trim().split_once('.').unwrap_or(("message_ack", what.trim()));
        let known = run::record::MEASURES.iter().any(|(_, name, _)| *name == measure);
        let values = ["p50", "p90", "p99", "p999", "max", "mean"];
        if !known || !values.contains(&value) {
            return Err(wrong());
        }
        let most_ms = duration_ms(most.trim()).ok_or_else(wrong)? as f64;
        Ok(Limit {
            measure: measure.to_owned(),
            value: value.to_owned(),
            most_ms,
        })
    };
    text.split(',')
        .map(|part| limit(part.trim()))
        .collect::<Result<_, _>>()
        .map(Slo)
}

impl Slo {
    /// Why a run does not keep within it. Refused commands and a generator that is late are reasons too; faults are worse than that, and
    /// end the search.
    fn broken(&self, report: &Report) -> Option<String> {
        for limit in &self.0 {
            let Some(summary) = report.measures.get(&limit.measure) else {
                return Some(format!("nothing was measured of {}", limit.measure));
            };
            let found_ms = match limit.value.as_str() {
                "p50" => summary.p50_ms,
                "p90" => summary.p90_ms,
                "p99" => summary.p99_ms,
                "p999" => summary.p999_ms,
                "max" => summary.max_ms,
                _ => summary.mean_ms,
            };
            if found_ms > limit.most_ms {
                return Some(format!("{}.{} is {found_ms:.1} ms", limit.measure, limit.value));
            }
        }
        let count = |name: &str| report.counts.get(name).copied().unwrap_or(0) as f64;
        if count("acknowledged") < KEPT_UP * count("messages") {
            return Some(format!(
                "{} of {} messages were acknowledged in time",
                count("acknowledged"),
                count("messages")
            ));
        }
        (report.verdict != Verdict::Pass).then(|| report.reasons.join("; "))
    }
}

/// Searches. Success: a scale was found and confirmed, and nothing was ever lost, doubled or misordered.
pub fn run(args: &FindMaxArgs) -> Result<ExitCode> {
    let mut scenario = run::scenario(&args.scenario)?;
    scenario.length_ms = args.length_ms.unwrap_or(scenario.length_ms);
    ensure!(args.scale > 0.0 && args.scale.is_finite(), "--scale must be above 0");
    let scenario = Arc::new(scenario);
    let runtime = run::runtime()?;
    let mut search = Search::from(args.scale * PERCENT);
    let (mut tries, mut faults) = (0, 0);
    let mut best: Option<(f64, f64)> = None;
    let found = loop {
        if let Some(found) = search.ended() {
            break found;
        }
        let scale = search.next / PERCENT;
        let job = Job {
            scenario: Arc::clone(&scenario),
            place: args.place.clone(),
            seed: scenario.seed + tries,
            scale,
            metrics_addr: None,
            quiet: false,
            plain: args.plain,
            fleet: None,
        };
        tries += 1;
        let report = runtime.block_on(run::make(&job))?;
        if let Some(out) = &args.out {
            report.write(&out.join(format!("try-{tries:02}")))?;
        }
        ensure!(!report.cut_short, "ended by hand");
        let broken = args.slo.broken(&report);
        faults += report.faults.count() - report.faults.unanswered;
        let rate = report.counts.get("acknowledged").copied().unwrap_or(0) as f64 / report.length_s;
        let word = broken.as_deref().unwrap_or("kept within the limit");
        run::say(&format!(
            "try {tries}: scale {scale:.3}, {rate:.0} messages/s: {word}\n"
        ))?;
        if broken.is_none() {
            best = Some((search.next, rate));
        }
        search.learn(broken.is_none());
    };
    match (found, best) {
        (Some(percent), Some((_, rate))) => {
            run::say(&format!(
                "highest scale within the limit, confirmed: {:.3} ({rate:.0} messages/s)\n",
                percent / PERCENT
            ))?;
        }
        _ => run::say("no scale within the limit was found\n")?,
    }
    if faults > 0 {
        run::say(&format!(
            "FAIL: {faults} messages or conversations were not as they should be\n"
        ))?;
    }
    Ok(if found.is_some() && faults == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        let limit = |measure: &str, value: &str, most_ms| Limit {
            measure: measure.to_owned(),
            value: value.to_owned(),
            most_ms,
        };
        assert_eq!(slo("p99<100ms"), Ok(Slo(vec![limit("message_ack", "p99", 100.0)])));
        let both = vec![limit("message_ack", "p50", 5.0), limit("start_offer", "max", 1_000.0)];
        assert_eq!(slo("p50<5ms, start_offer.max<1s"), Ok(Slo(both)));
        for wrong in ["", "p99", "p99<100", "p98<1s", "nothing.p99<1s", "p99<1s,"] {
            assert!(slo(wrong).is_err(), "{wrong}");
        }
    }
}
