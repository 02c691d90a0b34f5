//! Looks at the machine and the nodes once a second: CPU and memory of each process, and the depth of queues that the nodes tell.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use node::local::Scrape;
use serde::{Deserialize, Serialize};

use super::live::Live;
use crate::machine::CpuTimes;

const EVERY: Duration = Duration::from_secs(1);
/// Scrapes take at most this share of the time.
const SCRAPING_SHARE: u32 = 20;
const PAGE_KIB: f64 = 4.0;

/// One look.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// From the start of the run.
    pub at_s: f64,
    /// Cores that each node used since the last look.
    pub nodes_cpu: Vec<f64>,
    /// Memory of each node.
    pub nodes_mib: Vec<f64>,
    /// Of all generators on this machine, the coordinator with them.
    pub generator_cpu: f64,
    pub generator_mib: f64,
    /// Where there are several: each, on whichever machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generators_cpu: Vec<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generators_mib: Vec<f64>,
    /// Of all cores of the machine, whoever used them.
    pub machine_cpu: f64,
    /// Waiting conversations, as the nodes tell; the last that is known.
    pub queue_depth: Option<f64>,
}

/// Resident memory.
pub fn memory_mib(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages: f64 = text
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0.0);
    pages * PAGE_KIB / 1_024.0
}

/// Where to look.
pub struct Sampler {
    pub pids: Vec<u32>,
    pub admins: Vec<String>,
    /// Only what concerns these tenants, by the start of their names.
    pub prefix: String,
    pub http: reqwest::Client,
    pub live: Arc<Mutex<Live>>,
    pub over: Arc<AtomicBool>,
}

impl Sampler {
    /// Looks until it is over.
    pub async fn run(self) -> Vec<Sample> {
        let mut samples = Vec::new();
        let all: Vec<u32> = self.pids.iter().copied().chain([std::process::id()]).collect();
        let mut last: Option<(Instant, CpuTimes)> = None;
        let mut depth = None;
        let mut scrape_at = Instant::now();
        let mut next = Instant::now();
        while !self.over.load(Ordering::Relaxed) {
            next += EVERY;
            tokio::time::sleep_until(next.into()).await;
            let now = Instant::now();
            let started = self.live.lock().expect("nobody panics with it").started;
            // A node may be down for a moment.
            let Ok(times) = CpuTimes::now(&all) else {
                last = None;
                continue;
            };
            if now >= scrape_at {
                depth = self.depth().await;
                scrape_at = now + now.elapsed() * SCRAPING_SHARE;
            }
            if let (Some(started), Some((before, cpu))) = (started.filter(|started| now >= *started), &last) {
                let mut sample = self.sample(now - *before, &times.since(cpu), depth, now - started, &all);
                let mut live = self.live.lock().expect("nobody panics with it");
                live.processes = sample
                    .nodes_cpu
                    .iter()
                    .copied()
                    .zip(sample.nodes_mib.iter().copied())
                    .collect();
                live.processes.push((sample.generator_cpu, sample.generator_mib));
                live.queue_depth = depth;
                for generator in &live.generators {
                    sample.generators_cpu.push(generator.cpu);
                    sample.generators_mib.push(generator.mib);
                    if generator.here {
                        sample.generator_cpu += generator.cpu;
                        sample.generator_mib += generator.mib;
                    }
                }
                samples.push(sample);
            }
            last = Some((now, times));
        }
        samples
    }

    fn sample(&self, took: Duration, used: &CpuTimes, depth: Option<f64>, at: Duration, all: &[u32]) -> Sample {
        let cores = |seconds: f64| seconds / took.as_secs_f64();
        let nodes = self.pids.len();
        Sample {
            at_s: at.as_secs_f64(),
            nodes_cpu: used.processes[..nodes].iter().map(|seconds| cores(*seconds)).collect(),
            nodes_mib: self.pids.iter().map(|pid| memory_mib(*pid)).collect(),
            generator_cpu: cores(used.processes[nodes]),
            generator_mib: memory_mib(all[nodes]),
            generators_cpu: Vec::new(),
            generators_mib: Vec::new(),
            machine_cpu: cores(used.machine),
            queue_depth: depth,
        }
    }

    async fn depth(&self) -> Option<f64> {
        let mut sum = None;
        for admin in &self.admins {
            let Ok(answer) = self.http.get(format!("{admin}/metrics")).send().await else {
                continue;
            };
            let Ok(text) = answer.text().await else { continue };
            let tenant = format!("tenant=\"{}", self.prefix);
            let depth = Scrape::parse(&text).sum("kaiwa_queue_depth", &tenant);
            sum = Some(sum.unwrap_or(0.0) + depth);
        }
        sum
    }
}
