//! What is seen while a run goes on: a screen on a terminal, a line every few seconds elsewhere.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::live::{Control, Live};
use super::record::Measure;
use super::screen;

const LINE_EVERY: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Writes to standard output.
pub fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Shows until it is over.
pub fn start(live: Arc<Mutex<Live>>, over: Arc<AtomicBool>, control: Arc<Control>, plain: bool) -> JoinHandle<()> {
    if !plain && io::stdout().is_terminal() && io::stdin().is_terminal() {
        return screen::start(live, over, control);
    }
    tokio::spawn(lines(live, over))
}

async fn lines(live: Arc<Mutex<Live>>, over: Arc<AtomicBool>) {
    let mut shown = 0;
    while !over.load(Ordering::Relaxed) {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = live.lock().expect("nobody panics with it").clone();
        if now.ticks >= shown + LINE_EVERY.as_secs() {
            shown = now.ticks;
            // Nobody may be looking any more.
            let _ = say(&line(&now));
        }
    }
}

fn line(live: &Live) -> String {
    let phase = if live.at_s <= live.from_s {
        "warm-up"
    } else {
        "measured"
    };
    let ms = |summary: Option<super::record::Summary>| {
        summary.map_or_else(|| "-".to_owned(), |s| format!("{:.1}/{:.1}", s.p50_ms, s.p99_ms))
    };
    format!(
        "{:>5.0} s {phase}: {} arrivals/s, {} messages/s, ack p50/p99 {} ms, offer {} ms, lag {} ms; {} wait, {} served, {} faults, {} refused\n",
        live.at_s,
        live.arrivals,
        live.messages,
        ms(live.last(Measure::MessageAck)),
        ms(live.last(Measure::StartOffer)),
        ms(live.last(Measure::Lag)),
        live.waiting,
        live.busy,
        live.faults.count(),
        live.refused,
    )
}
