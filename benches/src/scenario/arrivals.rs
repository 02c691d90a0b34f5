//! When customers come, or messages are sent: fixed by the seed before the run begins, whatever the cluster does.

use node::toml_input::{Mistakes, Place, Raw, Reader, suggestion};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::distribution::{Unit, needed, optional, scalar};

/// Rates are looked at so often.
const CELL_S: f64 = 0.01;
const KINDS: [&str; 8] = [
    "constant", "poisson", "profile", "step", "ramp", "sine", "spike", "trace",
];

/// A rate over time, per second; times in seconds from the start of the run.
#[derive(Clone, Debug, PartialEq)]
pub enum Rate {
    /// Always the same.
    Flat(f64),
    /// Straight between points, level beyond them.
    Profile(Vec<(f64, f64)>),
    /// Mean, amplitude, period.
    Sine { mean: f64, amplitude: f64, period_s: f64 },
    /// `base`, but `peak` for a while.
    Spike {
        base: f64,
        peak: f64,
        at_s: f64,
        lasting_s: f64,
    },
    /// Each at its time.
    Trace(Vec<f64>),
}

impl Rate {
    /// The rate at a time. Of a trace: over the five seconds around it.
    pub fn at(&self, s: f64) -> f64 {
        match self {
            Self::Flat(rate) => *rate,
            Self::Profile(points) => {
                let after = points.partition_point(|(at, _)| *at <= s);
                match (after.checked_sub(1).map(|n| points[n]), points.get(after)) {
                    (Some((from, a)), Some(&(to, b))) => a + (b - a) * (s - from) / (to - from),
                    (Some((_, a)), None) => a,
                    (None, Some(&(_, b))) => b,
                    (None, None) => 0.0,
                }
            }
            Self::Sine {
                mean,
                amplitude,
                period_s,
            } => (mean + amplitude * (std::f64::consts::TAU * s / period_s).sin()).max(0.0),
            Self::Spike {
                base,
                peak,
                at_s,
                lasting_s,
            } => {
                if (*at_s..at_s + lasting_s).contains(&s) {
                    *peak
                } else {
                    *base
                }
            }
            Self::Trace(times) => {
                let until = |s: f64| times.partition_point(|at| *at < s) as f64;
                (until(s + 2.5) - until(s - 2.5)) / 5.0
            }
        }
    }
}

/// Arrivals.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrivals {
    /// How many per second.
    pub rate: Rate,
    /// Evenly spaced instead of independent of each other.
    pub even: bool,
}

/// The arrivals of one source, in order of time.
#[derive(Debug)]
pub struct Schedule {
    arrivals: Arrivals,
    scale: f64,
    until_s: f64,
    rng: ChaCha8Rng,
    at_s: f64,
    next_in_trace: usize,
}

impl Arrivals {
    /// Whether the rate is the same all the time and arrivals are independent.
    pub fn steady_poisson(&self) -> bool {
        !self.even && matches!(self.rate, Rate::Flat(_))
    }

    /// The times of the arrivals up to `until_s`; equal arguments, equal times. `scale` multiplies the rate (of a trace: that many
    /// copies of each arrival, the fraction by lot).
    pub fn schedule(&self, scale: f64, until_s: f64, seed: u64) -> impl Iterator<Item = f64> + Send + use<> {
        let mut schedule = Schedule {
            arrivals: self.clone(),
            scale,
            until_s,
            rng: ChaCha8Rng::seed_from_u64(seed),
            at_s: 0.0,
            next_in_trace: 0,
        };
        let mut copies = 0.0;
        std::iter::from_fn(move || {
            if let Rate::Trace(times) = &schedule.arrivals.rate {
                while copies < 1.0 {
                    schedule.at_s = *times.get(schedule.next_in_trace)?;
                    schedule.next_in_trace += 1;
                    copies = (schedule.scale + schedule.rng.random::<f64>()).floor();
                }
                copies -= 1.0;
                return (schedule.at_s < schedule.until_s).then_some(schedule.at_s);
            }
            schedule.next_by_rate()
        })
    }
}

impl Schedule {
    /// Arrivals of a varying rate are those of rate 1 on the clock that the rate drives: time goes on until enough of it has
    /// gathered.
    fn next_by_rate(&mut self) -> Option<f64> {
        let mut wanted = if self.arrivals.even {
            1.0
        } else {
            -(1.0 - self.rng.random::<f64>()).ln()
        };
        if let Rate::Flat(rate) = self.arrivals.rate {
            self.at_s += wanted / (rate * self.scale);
            return (self.at_s < self.until_s).then_some(self.at_s);
        }
        while self.at_s < self.until_s {
            // Cells have fixed bounds, so that no error adds up.
            let end_s = ((self.at_s / CELL_S + 1e-9).floor() + 1.0) * CELL_S;
            let rate = self.arrivals.rate.at(f64::midpoint(self.at_s, end_s)) * self.scale;
            let gathers = rate * (end_s - self.at_s);
            if gathers >= wanted {
                self.at_s += wanted / rate;
                return (self.at_s < self.until_s).then_some(self.at_s);
            }
            wanted -= gathers;
            self.at_s = end_s;
        }
        None
    }
}

/// Reads `{ kind = "…", … }` under a key. `folder`: where the file of a trace is looked for.
pub fn read(
    reader: &mut Reader<'_>,
    key: &'static str,
    folder: &std::path::Path,
    mistakes: &mut Mistakes,
) -> Option<Arrivals> {
    let mut table = reader.table(key, mistakes)?;
    let kind = table.needed_text("kind", mistakes).unwrap_or_default().to_owned();
    let mut even = table.flag("even", mistakes).unwrap_or(kind == "constant");
    let mut rate = |key: &'static str| needed(&mut table, key, Unit::Number, mistakes);
    let read = match kind.as_str() {
        "" => None,
        "constant" | "poisson" => Some(Rate::Flat(rate("rate"))),
        "ramp" => {
            let (from, to) = (rate("from"), rate("to"));
            let over_s = needed(&mut table, "over", Unit::Time, mistakes) / 1e3;
            Some(Rate::Profile(vec![(0.0, from), (over_s.max(1e-3), to)]))
        }
        "step" => {
            let (before, after) = (rate("before"), rate("after"));
            let at_s = needed(&mut table, "at", Unit::Time, mistakes) / 1e3;
            Some(Rate::Profile(vec![(at_s, before), (at_s + 1e-6, after)]))
        }
        "sine" => {
            let (mean, amplitude) = (rate("mean"), rate("amplitude"));
            let period_s = needed(&mut table, "period", Unit::Time, mistakes) / 1e3;
            Some(Rate::Sine {
                mean,
                amplitude,
                period_s: period_s.max(1e-3),
            })
        }
        "spike" => {
            let (base, peak) = (rate("base"), rate("peak"));
            let mut seconds = |key| needed(&mut table, key, Unit::Time, mistakes) / 1e3;
            Some(Rate::Spike {
                base,
                peak,
                at_s: seconds("at"),
                lasting_s: seconds("lasting"),
            })
        }
        "profile" => Some(Rate::Profile(profile(&mut table, mistakes))),
        "trace" => {
            even = false;
            trace(&mut table, folder, mistakes).map(Rate::Trace)
        }
        other => {
            table.wrong(
                "kind",
                mistakes,
                format!("{other:?} is no kind of arrivals"),
                suggestion(other, KINDS),
            );
            return None;
        }
    };
    table.finish(mistakes);
    read.map(|rate| Arrivals { rate, even })
}

fn profile(table: &mut Reader<'_>, mistakes: &mut Mistakes) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for mut point in table.tables("points", mistakes) {
        let at_s = needed(&mut point, "at", Unit::Time, mistakes) / 1e3;
        let rate = needed(&mut point, "rate", Unit::Number, mistakes);
        if points.last().is_some_and(|(last, _)| *last >= at_s) {
            point.wrong(
                "at",
                mistakes,
                "not after the point before it",
                "points are in order of time",
            );
        }
        points.push((at_s, rate));
        point.finish(mistakes);
    }
    if points.is_empty() {
        let right = "write [{ at = \"0s\", rate = 1 }, …]";
        table.wrong("points", mistakes, "no points", right);
    }
    points
}

/// From a list (`at`) or a file with a time in seconds in each line (`file`).
fn trace(table: &mut Reader<'_>, folder: &std::path::Path, mistakes: &mut Mistakes) -> Option<Vec<f64>> {
    let mut times: Vec<f64> = Vec::new();
    if let Some(item) = table.item("at") {
        let Raw::List(list) = &item.value else {
            table.wrong("at", mistakes, "no list", "write [\"1s\", \"2s\"]");
            return None;
        };
        for item in list {
            match scalar(item, Unit::Time) {
                Some(ms) => times.push(ms / 1e3),
                None => {
                    let wrong = format!("{} is no duration", item.value.describe());
                    mistakes.add(Place::Line(item.line), &table.path_of("at"), wrong, "");
                }
            }
        }
    } else {
        let name = table.needed_text("file", mistakes)?;
        match std::fs::read_to_string(folder.join(name)) {
            Ok(text) => {
                for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                    match line.trim().parse::<f64>() {
                        Ok(s) if s.is_finite() && s >= 0.0 => times.push(s),
                        _ => {
                            let wrong = format!("line {} of {name} is no time: {line:?}", n + 1);
                            table.wrong("file", mistakes, wrong, "each line has the seconds from the start");
                            return None;
                        }
                    }
                }
            }
            Err(error) => table.wrong(
                "file",
                mistakes,
                format!("{name}: {error}"),
                "beside the scenario's file",
            ),
        }
    }
    times.sort_by(f64::total_cmp);
    Some(times)
}

/// A rate that is given straight, without kind: `0` and absent are the same.
pub fn share(reader: &mut Reader<'_>, key: &'static str, mistakes: &mut Mistakes) -> f64 {
    let percent = optional(reader, key, Unit::Number, mistakes).unwrap_or(0.0);
    if percent > 100.0 {
        reader.wrong(key, mistakes, format!("{percent} is no share"), "percent, at most 100");
    }
    percent / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(rate: Rate, even: bool, from_s: f64, until_s: f64) -> f64 {
        let times = Arrivals { rate, even }.schedule(1.0, 100.0, 5);
        times.filter(|at| (from_s..until_s).contains(at)).count() as f64
    }

    #[test]
    fn each_kind_has_its_rate_over_time() {
        let near = |found: f64, wanted: f64, what: &str| {
            assert!(
                (found - wanted).abs() <= 5.0 * wanted.sqrt() + 1.0,
                "{what}: {found} for {wanted}"
            );
        };
        near(count(Rate::Flat(50.0), false, 0.0, 100.0), 5_000.0, "flat");
        let ramp = Rate::Profile(vec![(0.0, 0.0), (100.0, 100.0)]);
        near(count(ramp.clone(), false, 0.0, 50.0), 1_250.0, "ramp, first half");
        near(count(ramp, false, 50.0, 100.0), 3_750.0, "ramp, second half");
        let sine = Rate::Sine {
            mean: 50.0,
            amplitude: 50.0,
            period_s: 100.0,
        };
        let half = 50.0 * 50.0 + 50.0 * 100.0 / std::f64::consts::PI;
        near(count(sine, false, 0.0, 50.0), half, "sine");
        let spike = Rate::Spike {
            base: 1.0,
            peak: 100.0,
            at_s: 40.0,
            lasting_s: 10.0,
        };
        near(count(spike.clone(), false, 40.0, 50.0), 1_000.0, "spike");
        near(count(spike, false, 50.0, 100.0), 50.0, "after the spike");
        assert_eq!(count(Rate::Trace(vec![1.0, 2.0, 2.0, 99.0]), false, 0.0, 50.0), 3.0);
    }

    #[test]
    fn even_arrivals_are_even() {
        let times: Vec<f64> = Arrivals {
            rate: Rate::Flat(10.0),
            even: true,
        }
        .schedule(2.0, 10.0, 5)
        .collect();
        assert!(times.len().abs_diff(200) <= 1, "{}", times.len());
        assert!(times.windows(2).all(|pair| (pair[1] - pair[0] - 0.05).abs() < 1e-9));
        let ramp = Rate::Profile(vec![(0.0, 10.0), (100.0, 10.0)]);
        assert!((count(ramp, true, 0.0, 100.0) - 1_000.0).abs() <= 1.0);
    }

    #[test]
    fn a_seed_gives_its_times_again() {
        let arrivals = Arrivals {
            rate: Rate::Flat(10.0),
            even: false,
        };
        let times = |seed| arrivals.schedule(1.0, 50.0, seed).collect::<Vec<f64>>();
        assert_eq!(times(7), times(7));
        assert_ne!(times(7), times(8));
    }

    #[test]
    fn poisson_gaps_vary_as_much_as_their_mean() {
        let arrivals = Arrivals {
            rate: Rate::Profile(vec![(0.0, 100.0), (90.0, 100.0)]),
            even: false,
        };
        let times: Vec<f64> = arrivals.schedule(1.0, 100.0, 3).collect();
        let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((0.95..1.05).contains(&(variance.sqrt() / mean)));
    }
}
