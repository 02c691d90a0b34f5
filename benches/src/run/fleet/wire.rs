//! What coordinator and generators say to each other.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::{Buf, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::run::account::{Account, Faults};
use crate::run::environment::build;
use crate::run::record::{Packed, PackedRecord};
use crate::run::stage::Tenant;
use crate::run::world::Tally;
use crate::run::world::books::Books;

/// Changes with every change of the frames.
pub const PROTOCOL: u32 = 1;
/// The length before each.
const HEAD: usize = size_of::<u32>();
/// A frame is no longer than that.
const FRAME_MAX_BYTES: usize = 256 << 20;
/// A greeting is answered within it.
pub const GREETING_WITHIN: Duration = Duration::from_secs(10);
/// Who says nothing for so long is given up. Both say something every second.
pub const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Conversations in one frame.
pub const ACCOUNTS_AT_ONCE: usize = 2_000;

/// Who comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    /// Of the harness, and how it was built.
    pub version: String,
    pub name: String,
    /// Equal on one machine, until it starts anew.
    pub machine: String,
    pub cores: usize,
    /// Of the scenario that it has; without one it takes the coordinator's.
    pub scenario: Option<String>,
}

/// What a generator is to play.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Welcome {
    pub generator: usize,
    pub of: usize,
    pub scenario: String,
    pub text: String,
    pub hash: String,
    pub warm_up_ms: u64,
    pub length_ms: u64,
    pub seed: u64,
    pub scale: f64,
    pub nonce: u32,
    pub urls: Vec<String>,
    pub tenants: Vec<Tenant>,
}

/// An interval, and how the generator is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tick {
    /// Intervals so far; the same as before is a sign of life and no more.
    pub ticks: u64,
    pub at_s: f64,
    pub interval_s: f64,
    /// Arrivals, assigned, messages, acknowledged.
    pub counts: [u64; 4],
    pub waiting: u64,
    pub busy: u64,
    pub present: u64,
    pub totals: [u64; 4],
    pub faults: Faults,
    pub refused: u64,
    pub packed: Packed,
    pub cpu: f64,
    pub mib: f64,
    pub machine_cpu: f64,
}

/// All that a generator measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    pub agents: usize,
    pub record: PackedRecord,
    pub tally: Tally,
    pub books: Books,
    pub cut_us: Option<u64>,
}

/// How a generator's clock stands to the coordinator's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockFound {
    /// To be added to the generator's.
    pub offset_us: i64,
    /// Of the best exchange; the offset is not known better than half of it.
    pub round_trip_us: u64,
}

/// From a generator.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromGenerator {
    Hello(Hello),
    Ping,
    Clock(ClockFound),
    Ready,
    Tick(Box<Tick>),
    Settled,
    Accounts { rows: Vec<(u32, Account)>, last: bool },
    Outcome(Box<Outcome>),
    Failed { why: String },
}

/// To a generator.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToGenerator {
    Refused {
        why: String,
    },
    Welcome(Box<Welcome>),
    /// On the coordinator's clock.
    Pong {
        received_us: u64,
        sent_us: u64,
    },
    Begin {
        at_us: u64,
    },
    /// Nothing new from this time of the run on.
    Stop {
        at_us: u64,
    },
    Account,
    End,
    Alive,
}

/// Writes one frame.
pub async fn write<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), frame: &T) -> Result<()> {
    // In one piece: a head that goes alone would have to be acknowledged before the rest goes.
    let mut bytes = vec![0; HEAD];
    serde_json::to_writer(&mut bytes, frame)?;
    let length = bytes.len() - HEAD;
    ensure!(length <= FRAME_MAX_BYTES, "a frame of {length} bytes is too long");
    bytes[..HEAD].copy_from_slice(&(length as u32).to_be_bytes());
    to.write_all(&bytes).await?;
    to.flush().await?;
    Ok(())
}

/// Frames as they come. The wait for one can be given up: nothing is lost by it.
#[derive(Debug)]
pub struct Frames<R> {
    from: R,
    bytes: BytesMut,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// From a connection.
    pub fn new(from: R) -> Self {
        Self {
            from,
            bytes: BytesMut::new(),
        }
    }

    /// The next one. `None`: the other side has closed.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        loop {
            if let Some((head, rest)) = self.bytes.split_first_chunk::<HEAD>() {
                let length = u32::from_be_bytes(*head) as usize;
                ensure!(
                    length <= FRAME_MAX_BYTES,
                    "a frame of {length} bytes is too long: is that kaiwa-bench?"
                );
                if let Some(bytes) = rest.get(..length) {
                    let frame = serde_json::from_slice(bytes).context("a frame cannot be read")?;
                    self.bytes.advance(HEAD + length);
                    return Ok(Some(frame));
                }
            }
            if self.from.read_buf(&mut self.bytes).await? == 0 {
                ensure!(self.bytes.is_empty(), "the connection broke in a frame");
                return Ok(None);
            }
        }
    }
}

/// Which machine this is.
pub fn machine() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// Why a generator cannot take part.
pub fn refusal(hello: &Hello, hash: &str, taken: &[String], wanted: usize) -> Option<String> {
    if hello.protocol != PROTOCOL {
        return Some(format!(
            "the generator speaks version {} of the protocol, the coordinator version {PROTOCOL}: use one kaiwa-bench on both sides",
            hello.protocol
        ));
    }
    if hello.version != build() {
        return Some(format!(
            "the generator is kaiwa-bench {}, the coordinator {}: use one kaiwa-bench on both sides",
            hello.version,
            build()
        ));
    }
    if let Some(theirs) = hello.scenario.as_ref().filter(|theirs| *theirs != hash) {
        return Some(format!(
            "the generator has another scenario than the coordinator (hash {theirs}, and not {hash})"
        ));
    }
    if taken.len() >= wanted {
        return Some(format!("all {wanted} generators are here already"));
    }
    let name = &hello.name;
    taken
        .contains(name)
        .then(|| format!("there is a generator of the name {name} already: say another --name"))
}
