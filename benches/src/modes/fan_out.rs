//! `kaiwa-bench fan-out`: one conversation to which many listen, on all nodes: how long until each of them has each message.

use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::pairs::{self, Crowd, Script, Talk, Talked};
use super::{Against, Finding, Output, Setting, Watch, cpu, row};
use crate::machine::load_average;
use crate::run::account::Side;
use crate::run::record::Summary;
use crate::run::sampler::Sample;
use crate::run::stage::Stage;
use crate::run::{self, PlaceArgs};

/// How many listen to what.
#[derive(Debug, Args)]
pub struct FanOutArgs {
    /// Supervisors who follow the conversation, on all nodes by turns
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    listeners: u64,
    /// Messages per second of the one who speaks
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// Measured time
    #[arg(long = "for", value_name = "TIME", default_value = "20s", value_parser = run::time)]
    length: u64,
    /// Bytes of a message's text
    #[arg(long, default_value_t = 200)]
    bytes: usize,
    /// Seed of the schedule
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    output: Output,
}

/// Listens and tells.
pub fn run(args: &FanOutArgs) -> Result<ExitCode> {
    let finding = run::runtime()?.block_on(make(args))?;
    args.output.end(&finding)
}

async fn make(args: &FanOutArgs) -> Result<Finding> {
    let script = Script::new(args.rate, args.seed, args.bytes, &[Side::Customer])?;
    let temporary = tempfile::tempdir()?;
    let place = args.place.place(temporary.path())?;
    let (load_before, nonce) = (load_average(), rand::random());
    let scenario = pairs::scenario(&pairs::Layout {
        name: "fan-out",
        about: "One conversation to which many listen",
        nodes: 1,
        tenants: 1,
        conversations: 1,
        supervisors: args.listeners as usize,
    })?;
    let mut stage = Stage::set(&place, &scenario, nonce).await?;
    args.output.introduce(&stage)?;
    let mut crowd = Crowd::come(&stage, &scenario, nonce).await?;
    crowd.listen(&stage, &scenario).await?;
    let people = Arc::clone(&crowd.people);
    args.output.say(&format!("{} listen\n", people.listeners.len()))?;
    let watch = Watch::begin(&stage.pids(), &[std::process::id()])?;
    let talk = Talk::begin(crowd, script);
    tokio::time::sleep(Duration::from_millis(args.length)).await;
    let sample = watch.end()?;
    let talked = talk.end().await?;
    let missing = pairs::compare(&stage, &people, &talked.accounts).await?;
    people.leave();
    let mut against = Against::default();
    against.fault("not in the transcript", missing);
    let setting = Setting::of(&stage, &place, load_before);
    let finding = tell(args, &talked, &sample, against, setting);
    stage.end().await?;
    Ok(finding)
}

fn tell(args: &FanOutArgs, talked: &Talked, sample: &Sample, mut against: Against, setting: Setting) -> Finding {
    talked.weigh(&mut against);
    against.machine(&[sample]);
    let acknowledged = talked.said.iter().filter(|said| said.done_us != u64::MAX).count() as u64;
    let (mut lost, mut heard) = (0, 0);
    for listener in &talked.listeners {
        heard += listener.heard;
        lost += acknowledged.saturating_sub(listener.heard - listener.duplicated);
        against.fault("duplicated at a listener", listener.duplicated);
        against.fault("misordered at a listener", listener.misordered);
    }
    against.fault("lost at a listener", lost);
    let (acked, delivered, listened) = (
        talked.acknowledged(|_| true),
        talked.delivered(|_| true),
        Summary::from(&talked.listened),
    );
    let length_s = args.length as f64 / 1e3;
    let mut out = format!(
        "\nfan-out: {} messages/s to {} listeners for {length_s:.0} s\n",
        args.rate, args.listeners
    );
    row(&mut out, "message: intended → acknowledged", &acked);
    row(&mut out, "message: intended → the other side", &delivered);
    row(&mut out, "message: intended → a listener", &listened);
    row(&mut out, "the generator: schedule lag", &(&talked.lag).into());
    let _ = writeln!(
        out,
        "  messages {}, heard {heard} times, {:.0} per second; refused {:?}, connections lost {}",
        talked.said.len(),
        heard as f64 / length_s,
        talked.refused,
        talked.connections_lost
    );
    let _ = writeln!(out, "  {}", cpu(sample));
    let figures = json!({
        "listeners": args.listeners, "rate": args.rate, "length_s": length_s, "bytes": args.bytes,
        "messages": talked.said.len(), "heard": heard, "ack": acked, "delivery": delivered, "listener": listened,
        "schedule_lag": Summary::from(&talked.lag), "refused": talked.refused, "cpu": sample,
    });
    Finding::new("fan-out", setting, against, figures, out)
}
